"""A state that is read again and again until it has changed: the only loop that waits for such a change.

All that wait for one state share its reads: the first one whose next read is due reads for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Generic, TypeVar

from playhead.errors import Unavailable

T = TypeVar("T")

_SHARE: Final = 5
"""Reads take at most one in `_SHARE` seconds: counting a million rows is slow."""
_AGE: Final = 20
"""Without slow reads, a change is seen within a twentieth of the time since the first read."""


class Looks(Generic[T]):
    """The reads of one state.

    Args:
        look: reads it.
        first: seconds between the first two reads. Later ones are rarer.
        every: the longest time between two reads, unless they are slow.
        clock: elapsed seconds.
        sleep: waits for seconds; returns True if no read may follow.

    Attributes:
        due: the time of the next read.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[T]],
        *,
        first: float,
        every: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[bool | None]],
    ) -> None:
        self._look = look
        self._first = first
        self._every = every
        self._clock = clock
        self._sleep = sleep
        self._lock = asyncio.Lock()
        self._seen: T | Unavailable | None = None
        self._since = self.due = clock()

    async def seen(self) -> T | Unavailable:
        """Return the state, or the error if it cannot be read now. Reads only when the next read is due."""
        async with self._lock:
            # Callers that waited for the lock use the result of the read that held it.
            if self._seen is None or self._clock() >= self.due:
                began = self._clock()
                try:
                    self._seen = await self._look()
                except Unavailable as exc:
                    self._seen = exc
                now = self._clock()
                usual = min(max(self._first, (now - self._since) / _AGE), self._every)
                self.due = now + max(usual, (_SHARE - 1) * (now - began))
            return self._seen

    async def all(self) -> AsyncIterator[T | Unavailable]:
        """Yield what each read returns, or the error if the state cannot be read."""
        while True:
            yield await self.seen()
            due = self.due
            if await self._sleep(max(due - self._clock(), 0)):
                return
            if self.due == due:  # not read meanwhile, and a sleep may be short of the clock
                self.due = self._clock()
