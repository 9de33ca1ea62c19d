"""Listing several parts of a bucket concurrently, in order and with constant memory.

An object store returns 1,000 keys per request, and the next request needs the last of these keys. So latency
limits a sequential listing. This module divides the listing at keys that `forecast` estimates, and reads the
parts concurrently:

    |<- part ->|<- part ->|<- part, open to the end

The first page of the open part determines its end, where a new open part starts. A part yields the keys up to
its end, and the next part yields those after it. So no key is skipped or repeated, wherever the ends are. A
part pauses while it holds a few pages that the caller has not taken.

At 30 ms latency this makes listings 2.3 times as fast (docs/benchmarks.md). Without it, a replay from a
distant bucket is limited by its listing.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

from playhead.backends.store_object.forecast import ahead
from playhead.ports.store import Entry

Pages = Callable[[str], AsyncGenerator[Sequence[Entry], None]]
"""Returns the pages of the server with the keys after a key, in byte order."""

Guess = Callable[[Sequence[str], float], str | None]

ALONE: Final = 12
"""The number of pages after which a listing is divided. Dividing costs some additional requests, which a
short listing does not regain."""
PARTS: Final = 6
PART_PAGES: Final = 6
"""The intended number of pages of a part, and the limit of pages that it holds."""
_LONGEST_STRIDE: Final = 4.0
_WHOLE: Final = 0.9
"""Share of a full page. A smaller page is the last or nearly so, and the listing is not divided."""


async def side_by_side(
    pages: Pages,
    after: str,
    *,
    server_page: int | None,
    alone: int = ALONE,
    guess: Guess = ahead,
) -> AsyncGenerator[Sequence[Entry], None]:
    """Yield all pages after a key, in order.

    The first page is requested alone, because a caller may only want to know whether there is any object.

    Args:
        pages: reads the listing from any key on; its generators are closed here.
        after: where to start.
        server_page: keys in a full page of the server. None if the listing cannot be divided, because the
            store reads all keys before the one where it starts.
        alone: pages that are read one after another before the listing is divided.
        guess: returns where to divide it: any string greater than the last key of the page.
    """
    parts = _Parts(pages, server_page, alone, guess)
    source = pages(after)
    async with aclosing(source):
        first = await anext(source, None)
        if first is None:
            return
        yield first
        try:
            parts.begin(source, first)
            while parts.parts:
                while page := await parts.parts[0].pages.get():
                    if isinstance(page, BaseException):
                        raise page
                    yield page
                parts.parts.popleft()
        finally:
            await parts.stop()


class _Part:
    """One part of the listing, read by its own task.

    Attributes:
        end: the last key that may be in it; None while it is open.
        read: pages received from the server.
        empty: whether no key was found in it yet.
        pages: to be yielded; at the end an empty page, or the exception of the reading task.
    """

    def __init__(self, source: AsyncGenerator[Sequence[Entry], None]) -> None:
        self.source = source
        self.end: str | None = None
        self.read = 0
        self.empty = True
        self.pages: asyncio.Queue[Sequence[Entry] | BaseException] = asyncio.Queue(PART_PAGES)
        self.task: asyncio.Task[None] | None = None


class _Parts:
    """The parts in progress, in order. Only the last one is open."""

    def __init__(self, pages: Pages, server_page: int | None, alone: int, guess: Guess) -> None:
        self.parts: deque[_Part] = deque()
        self._pages = pages
        self._alone = alone
        self._guess = guess
        self._server_page = server_page
        self._stride = 1.0

    def begin(self, source: AsyncGenerator[Sequence[Entry], None], first: Sequence[Entry]) -> None:
        """Continue a listing whose first page was read."""
        part = self._add(source)
        part.empty = False
        self._part_at(part, first)

    async def stop(self) -> None:
        tasks = [part.task for part in self.parts if part.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, source: AsyncGenerator[Sequence[Entry], None]) -> _Part:
        part = _Part(source)
        part.task = asyncio.create_task(self._read(part))
        self.parts.append(part)
        return part

    async def _read(self, part: _Part) -> None:
        try:
            async with aclosing(part.source):
                async for page in part.source:
                    part.read += 1
                    if part.end is None:
                        self._part_at(part, page)
                    whole = part.end is None or page[-1].key <= part.end
                    if not whole:
                        page = page[: bisect_right(page, part.end, key=lambda entry: entry.key)]
                    if page:
                        part.empty = False
                        await part.pages.put(page)
                    if not whole:
                        break
            self._ended(part)
            await part.pages.put(())
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            # Raised in the place of its pages, as earlier pages are valid. All exceptions, because a panic of
            # the library is not an `Exception`, and the caller would wait forever.
            await part.pages.put(exc)

    def _part_at(self, part: _Part, page: Sequence[Entry]) -> None:
        """Give an open part an end, and start the next part there, if the keys allow an estimate."""
        size = self._server_page
        if self._alone > 0:
            self._alone -= 1
        if self._alone or size is None or len(page) < size * _WHOLE or len(self.parts) >= PARTS:
            return
        part.end = self._guess([entry.key for entry in page], (PART_PAGES - 1) * self._stride)
        if part.end is not None:
            self._add(self._pages(part.end))

    def _ended(self, part: _Part) -> None:
        """Adjust the estimates to the number of pages of the part, and to an end beyond the last key."""
        if part.end is not None:
            # Increased in small steps only: a part may be short because a folder ends in it.
            self._stride *= min(max(PART_PAGES / max(part.read, 1), 0.5), 1.1)
            self._stride = min(self._stride, _LONGEST_STRIDE)
        elif part.empty and len(self.parts) > 1:
            # The open part is empty, so the one before it is divided again.
            self.parts.pop()
            self.parts[-1].end = None
            self._stride /= 4
