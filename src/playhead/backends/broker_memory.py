"""A broker in this process's memory, for tests and as the plain reading of the port.

It keeps nothing when the process ends. It touches no event loop unless it has to wait, so a test may
drive coroutines over it by hand.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from playhead.envelope import Dispatch, Message, decode_payload
from playhead.ports.broker import CONFIRMED, Delivery, Depth, PublishResult

_POLL_SECONDS = 0.005


@dataclass(slots=True, eq=False)
class _Entry:
    """A call that a queue holds. `tag` names its last hand-out; it is hidden until `visible_at`."""

    message_id: str
    headers: dict[str, str]
    payload: str
    visible_at: float = 0.0
    tag: int = 0


class MemoryBroker:
    """Queues as lists, in the order of publishing.

    Args:
        clock: seconds since the epoch.
        visibility: seconds for which a received call is hidden from others.
        pause: awaited once at the start of every method; what follows it happens in one step.
    """

    name: str = "memory"

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        visibility: float = 30.0,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._clock = clock
        self._visibility = visibility
        self._pause = pause
        self._queues: dict[str, list[_Entry]] = {}
        self._tags = itertools.count(1)

    async def publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]:
        await self._begin()
        for call in calls:
            headers = call.headers.shared() | call.own_headers()
            self._queues.setdefault(call.headers.queue, []).append(
                _Entry(call.message_id, headers, call.payload())
            )
        return [CONFIRMED] * len(calls)

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        await self._begin()
        until = time.monotonic() + wait
        while True:
            taken = self._take(queue, limit)
            # Under a pause, waiting is the scheduler's: a look that finds nothing is an answer.
            if taken or self._pause or time.monotonic() >= until:
                return taken
            # No event would do: a visibility that runs out tells nobody.
            await asyncio.sleep(_POLL_SECONDS)

    def _take(self, queue: str, limit: int) -> list[Delivery]:
        now = self._clock()
        ready = [entry for entry in self._queues.get(queue, []) if entry.visible_at <= now]
        # What nobody had yet comes first: a call that kills who takes it does not keep the others waiting.
        first = sorted(ready, key=lambda entry: entry.visible_at)[:limit]
        for entry in first:
            entry.visible_at = now + self._visibility
            entry.tag = next(self._tags)
        return [Delivery(queue, e.message_id, dict(e.headers), e.tag) for e in ready if e in first]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._begin()
        for delivery in deliveries:
            held = self._queues.get(delivery.queue, [])
            held[:] = [entry for entry in held if entry.tag != delivery.tag]

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        await self._begin()
        tags = {delivery.tag for delivery in deliveries}
        for queue in {delivery.queue for delivery in deliveries}:
            for entry in self._queues.get(queue, []):
                if entry.tag in tags:
                    entry.visible_at = self._clock() + self._visibility

    async def depth(self, queue: str) -> Depth:
        await self._begin()
        now = self._clock()
        held = self._queues.get(queue, [])
        ready = sum(entry.visible_at <= now for entry in held)
        return Depth(ready, len(held) - ready)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        await self._begin()
        first = self._queues.get(queue, [])[:limit]
        return [Message(dict(entry.headers), decode_payload(entry.payload)) for entry in first]

    async def check(self) -> str:
        await self._begin()
        return "memory of this process"

    async def close(self) -> None:
        await self._begin()

    async def _begin(self) -> None:
        if self._pause:
            await self._pause()
