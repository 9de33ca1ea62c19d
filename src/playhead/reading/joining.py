"""Join the recorded outputs of two executions by the rest of their keys: stage and path.

Both are read in byte order, page by page, so memory does not grow with the executions.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from playhead.ids import moment
from playhead.model import DiffSide
from playhead.ports.catalog.outputs import Outputs, RecordedOutput

PAGE: Final = 500
"""Outputs that are read at once. A larger page delays the other requests of a server."""
_ID: Final = len(str(UUID(int=0))) + 1
"""Characters of a key before its rest."""

Records = dict[str, RecordedOutput]
"""Outputs of one execution, by the rest of their keys, in byte order."""


class Range(NamedTuple):
    """A range of the rests of keys, from `first` to before `last`."""

    stage: str
    first: str
    last: str


def ranges(stages: Sequence[str], path: str | None, after: str = "") -> Iterator[Range]:
    """Yield the ranges of the objects at or below a path in each stage, after the rest of a key."""
    begin = next((n for n, stage in enumerate(stages) if after.startswith(f"{stage}/")), 0)
    for stage in stages[begin:]:
        base = f"{stage}/{path}" if path else stage
        # No key has a character below the space. The character after `/` is `0`.
        for one in (Range(stage, base, base + " "), Range(stage, base + "/", base + "0")):
            first = max(one.first, after + " ") if stage == stages[begin] and after else one.first
            if first < one.last:
                yield one._replace(first=first)


def rest_of(key: str) -> str:
    """Return the rest of a key: its stage and its path."""
    return key[_ID:]


def side(one: RecordedOutput | None) -> DiffSide | None:
    """Return a recorded output as a comparison shows it."""
    if one is None:
        return None
    pruned = moment(one.pruned_at) if one.pruned_at is not None else None
    return DiffSide(one.key, one.size, one.sha256.hex(), one.content_type, pruned)


async def join(
    catalog: Outputs, a: UUID, b: UUID, within: Range, *, page: int = PAGE
) -> AsyncIterator[tuple[Records, Records]]:
    """Yield the outputs of two executions in a range, in steps that contain both sides of each object."""
    readers = (_Reader(catalog, a, within, page), _Reader(catalog, b, within, page))
    while True:
        await asyncio.gather(*(reader.fill() for reader in readers))
        known = [reader.rests[-1] for reader in readers if not reader.at_end]
        upto = min(known, default=None)
        left, right = (reader.take(upto) for reader in readers)
        if left or right:
            yield left, right
        if upto is None:
            return


class _Reader:
    """Reads the outputs of one execution in a range.

    Attributes:
        rests: the rests of the keys that were read and not taken yet.
        at_end: whether everything was read.
    """

    def __init__(self, catalog: Outputs, execution: UUID, within: Range, page: int) -> None:
        self._catalog = catalog
        self._page = page
        self._first = f"{execution}/{within.first}"
        self._last = f"{execution}/{within.last}"
        self._rows: list[RecordedOutput] = []
        self.rests: list[str] = []
        self.at_end = False

    async def fill(self) -> None:
        """Read the next page, unless there are rows that were not taken."""
        if self._rows or self.at_end:
            return
        self._rows = await self._catalog.recorded(self._first, self._last, limit=self._page)
        self.rests = [row.key[_ID:] for row in self._rows]
        self.at_end = len(self._rows) < self._page
        if self._rows:
            self._first = self._rows[-1].key + " "

    def take(self, upto: str | None) -> Records:
        """Return the rows that were read, up to a rest; all if it is None."""
        count = len(self.rests) if upto is None else bisect_right(self.rests, upto)
        taken = dict(zip(self.rests[:count], self._rows, strict=False))
        self.rests, self._rows = self.rests[count:], self._rows[count:]
        return taken
