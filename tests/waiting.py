"""Wait for conditions that take a moment, and longer on a machine that is slow or stalls for some seconds."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from playhead.errors import Unavailable
from playhead.ports.broker import Broker, Delivery

T = TypeVar("T")

SECONDS = 60.0
"""After this time a wait has failed."""
_PAUSE_SECONDS = 0.05


async def until(
    look: Callable[[], object],
    what: str = "it to come to be",
    *,
    seconds: float = SECONDS,
    not_yet: tuple[type[Exception], ...] = (),
) -> None:
    """Call `look` until its result is true; it may be a coroutine function.

    Args:
        what: the condition, for the message of the failure.
        not_yet: errors that mean that the condition does not hold yet.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            seen = look()
            if inspect.isawaitable(seen):
                seen = await seen
            if seen:
                return
        except not_yet:
            pass
        assert time.monotonic() < end, f"waited in vain for {what}"
        await asyncio.sleep(_PAUSE_SECONDS)


def eventually(
    look: Callable[[], object], what: str = "it to come to be", *, seconds: float = SECONDS
) -> None:
    """Call `look` until its result is true, without an event loop."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(_PAUSE_SECONDS)


async def until_told(
    ask: Callable[[], Awaitable[T]], *errors: type[Exception], seconds: float = SECONDS
) -> T:
    """Repeat `ask` while it raises one of these errors, and return its first result."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(seconds) as patience:
            while True:
                try:
                    return await ask()
                except errors as exc:
                    last = exc
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        if not patience.expired():
            raise
        raise AssertionError(f"no answer within {seconds} s; the last was {last!r}") from last


async def take(
    broker: Broker,
    count: int,
    queue: str = "docs.convert",
    *,
    limit: int | None = None,
    seconds: float = 20.0,
) -> list[Delivery]:
    """Receive until there are `count` deliveries: a confirmed message may arrive a moment later.

    Args:
        limit: of one call; by default the number that is still missing.
        seconds: less than the visibility timeout. Otherwise the first ones would be redelivered and counted
            twice.
    """
    taken: list[Delivery] = []
    end = time.monotonic() + seconds
    while len(taken) < count:
        assert time.monotonic() < end, f"{len(taken)} of {count} came"
        most = limit or count - len(taken)
        try:
            some = await broker.receive(queue, most, wait=seconds / 6)
        except Unavailable:
            # RabbitMQ 4.0.5 may close a connection that declares a new queue while another declares it too.
            # Deliveries received before that would be redelivered.
            if taken:
                raise
            await asyncio.sleep(0.05)
            continue
        assert len(some) <= most
        taken += some
    return taken
