"""Requests with an Idempotency-Key, which are sent again if their answer is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from playhead.errors import Unavailable

T = TypeVar("T")

DELAYS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each repetition of a request whose answer was lost."""
_LONG_SECONDS: Final = 30.0
"""The connection of a request that lasted so long has worked; its loss is not one more failure in a row."""
_LOST: Final = ("answer_lost", "server_unavailable")


async def repeated(send: Callable[[], Awaitable[T]], lost: str, each: tuple[float, ...] = DELAYS) -> T:
    """Send a request that may be repeated, until an answer arrives.

    Args:
        lost: end of the error message if no answer arrives.
        each: seconds before each repetition.
    """
    delays = iter(each)
    was_sent = False
    while True:
        began = time.monotonic()
        try:
            return await send()
        except Unavailable as exc:
            if exc.code not in _LOST or (exc.code == "server_unavailable" and not was_sent):
                raise
            was_sent = True
            if time.monotonic() - began >= _LONG_SECONDS:
                delays = iter(each)
            delay = next(delays, None)
            if delay is None:
                raise Unavailable("answer_lost", f"{exc.detail.partition(';')[0]}; {lost}") from exc
            await asyncio.sleep(delay)
