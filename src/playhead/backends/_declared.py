"""Publishing to brokers whose queues must be declared first: NATS and RabbitMQ.

If a queue cannot be declared, only its own dispatches fail. The queues of one publish are declared at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter

from playhead.envelope import Dispatch, Headers
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import PublishResult


async def publish_declared(
    dispatches: Sequence[Dispatch],
    publish: Callable[[Sequence[Dispatch]], Awaitable[list[PublishResult]]],
    *,
    unfit: Callable[[str], str | None],
    declare: Callable[[str], Awaitable[object]],
    queue_of: Callable[[Headers], str] = attrgetter("queue"),
) -> list[PublishResult]:
    """Declare the queues of dispatches, and publish to those that can be used.

    Args:
        unfit: returns why a queue name is invalid, or None. The dispatches of an invalid queue are refused.
        declare: declares a queue. If it raises `Unavailable`, the dispatches of the queue are uncertain.
        queue_of: returns the queue to declare.

    Raises `Unavailable` if no queue could be declared, and at least one of the faults is temporary.
    """
    blocked: dict[str, PublishResult] = {}

    async def prepare(queue: str) -> None:
        if why := unfit(queue):
            blocked[queue] = PublishResult("refused", why)
            return
        try:
            await declare(queue)
        except Unavailable as exc:
            blocked[queue] = PublishResult("uncertain", exc.detail)

    await asyncio.gather(*map(prepare, {queue_of(dispatch.headers) for dispatch in dispatches}))
    if not blocked:
        return await publish(dispatches)
    unblocked = [dispatch for dispatch in dispatches if queue_of(dispatch.headers) not in blocked]
    if not unblocked:
        for result in blocked.values():
            if result.result == "uncertain":
                raise broker_unavailable(result.reason)
    sent = iter(await publish(unblocked) if unblocked else ())
    return [blocked.get(queue_of(dispatch.headers)) or next(sent) for dispatch in dispatches]
