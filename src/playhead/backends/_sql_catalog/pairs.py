"""New rows, each with the result that it takes over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from playhead.backends._sql_catalog.reusing import Reused, Source


@dataclass(frozen=True, eq=False)
class Pair:
    """A new row, and the result that it gets.

    Attributes:
        root: the number of the row at the top of those that are taken over together.
    """

    n: int
    result: Reused
    root: int

    @property
    def lane(self) -> int:
        return self.result.lane

    @property
    def source(self) -> Source:
        return self.result.source

    def is_of(self, execution: int | None) -> bool:
        """Whether it gets what an execution has at the same place below the same input."""
        return self.source.execution == execution and self.result.outputs is None


class Taken(NamedTuple):
    """What was taken over.

    Attributes:
        ids: of the rows among those asked for that need no attempt.
        rows: the numbers of all rows that need none, also of those that follow.
    """

    ids: set[str]
    rows: list[int]


class Child(NamedTuple):
    """A new row below one that was taken over."""

    lane: int
    key: str
    stage: str
    parent: Pair
