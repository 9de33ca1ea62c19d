"""Listing faster than one page after another, in order and in flat memory.

An object store gives 1,000 keys a request, and the next request needs the last key of the one before:
a listing is as slow as the way to the store is long. So the listing is parted where `forecast` guesses
that it will be some pages on, and the parts are read side by side:

    |<- part ->|<- part ->|<- part, open to the end

The open part, on its first page, learns how far its keys reach, gives itself an end, and a new open part
begins there. A part takes keys up to its end and the next takes those after it, so wherever the ends
lie, no key is left out or given twice. Parts wait when they hold a few pages that nobody has taken.
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
"""The listing's pages as the server gives them, of the keys after a key, in byte order."""

Guess = Callable[[Sequence[str], float], str | None]

ALONE: Final = 12
"""Pages after which a listing is a long one. Parting costs a request here and there, for which a short
listing, on a server that is busy rather than far, has nothing to show."""
PARTS: Final = 6
PART_PAGES: Final = 6
"""How many pages a part is meant to have, and how many it holds untaken at most."""
_LONGEST_STRIDE: Final = 4.0
_WHOLE: Final = 0.9
"""Of a server's page: a smaller one is the last, or nearly, and there is nothing to part."""


async def side_by_side(
    pages: Pages,
    after: str,
    *,
    server_page: int,
    split: bool = True,
    alone: int = ALONE,
    guess: Guess = ahead,
) -> AsyncGenerator[Sequence[Entry], None]:
    """All pages after a key, in order.

    The first page is asked for alone: who wants to know whether there is anything asks for no more.

    Args:
        pages: reads the listing from any key on; its generators are closed here.
        after: where to begin.
        server_page: keys that the server gives at once.
        split: whether the store can begin to list at a key without reading all before it.
        alone: pages that are read one after another before it is parted.
        guess: where to part it; may say anything that is greater than the page's last key.
    """
    parts = _Parts(pages, server_page if split else None, alone, guess)
    source = pages(after)
    async with aclosing(source):
        first = await anext(source, None)
        if first is None:
            return
        yield first
        try:
            parts.begin(source, first)
            while part := parts.foremost:
                while page := await part.take():
                    yield page
                parts.drop()
        finally:
            await parts.stop()


class _Part:
    """One stretch of the listing, read by a task of its own.

    Attributes:
        end: the last key that may be in it; None while it is open.
        read: pages that it got from the server.
        empty: whether no key was found in it yet.
    """

    def __init__(self, source: AsyncGenerator[Sequence[Entry], None]) -> None:
        self.source = source
        self.end: str | None = None
        self.read = 0
        self.empty = True
        self.task: asyncio.Task[None] | None = None
        self._pages: asyncio.Queue[Sequence[Entry] | BaseException] = asyncio.Queue(PART_PAGES)

    async def give(self, page: Sequence[Entry]) -> None:
        """Put a page where `take` finds it; waits while a few lie there. An empty one is the last."""
        await self._pages.put(page)

    async def fail(self, why: BaseException) -> None:
        await self._pages.put(why)

    async def take(self) -> Sequence[Entry]:
        """The next page, an empty one at the end; raises what the reading raised."""
        page = await self._pages.get()
        if isinstance(page, BaseException):
            raise page
        return page


class _Parts:
    """The parts that are being read, the foremost first; only the hindmost is open."""

    def __init__(self, pages: Pages, server_page: int | None, alone: int, guess: Guess) -> None:
        self._pages = pages
        self._alone = alone
        self._guess = guess
        self._server_page = server_page
        self._parts: deque[_Part] = deque()
        self._stride = 1.0

    @property
    def foremost(self) -> _Part | None:
        return self._parts[0] if self._parts else None

    def begin(self, source: AsyncGenerator[Sequence[Entry], None], first: Sequence[Entry]) -> None:
        """Go on with a listing whose first page was read."""
        part = self._add(source)
        part.empty = False
        self._part_at(part, first)

    def drop(self) -> None:
        self._parts.popleft()

    async def stop(self) -> None:
        tasks = [part.task for part in self._parts if part.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, source: AsyncGenerator[Sequence[Entry], None]) -> _Part:
        part = _Part(source)
        part.task = asyncio.create_task(self._read(part))
        self._parts.append(part)
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
                        await part.give(page)
                    if not whole:
                        break
            self._ended(part)
            await part.give(())
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            # Raised where its pages would have come: those before it are as good as ever. Whatever it is (a
            # panic of the library is no `Exception`): who takes them would wait for ever.
            await part.fail(exc)

    def _part_at(self, part: _Part, page: Sequence[Entry]) -> None:
        """Give an open part an end, and begin the next part there, where the keys tell where that is."""
        size = self._server_page
        if self._alone > 0:
            self._alone -= 1
        if self._alone or size is None or len(page) < size * _WHOLE or len(self._parts) >= PARTS:
            return
        part.end = self._guess([entry.key for entry in page], (PART_PAGES - 1) * self._stride)
        if part.end is not None:
            self._add(self._pages(part.end))

    def _ended(self, part: _Part) -> None:
        """Learn from how many pages the part had, and from an end that was guessed beyond the last key."""
        if part.end is not None:
            # Up in small steps only: a part is also short because a folder ends in it.
            self._stride *= min(max(PART_PAGES / max(part.read, 1), 0.5), 1.1)
            self._stride = min(self._stride, _LONGEST_STRIDE)
        elif part.empty and len(self._parts) > 1:
            # Open, so the hindmost, and nothing in it: the one before it is to be parted anew.
            self._parts.pop()
            self._parts[-1].end = None
            self._stride /= 4
