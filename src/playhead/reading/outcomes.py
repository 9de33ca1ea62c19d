"""Decide what has changed for an object between two executions, and keep it for millions of objects.

The outputs of both are compared by digests that the catalog sums up, so a fan-out of 100,000 segments is one
number. What is kept of an object are 7 bytes.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple, get_args

from playhead.model import After, Before, GroupedBy, ResultCell, Review
from playhead.ports.catalog.outcomes import OutcomesBelow

BEFORE: Final[tuple[Before, ...]] = get_args(Before)
AFTER: Final[tuple[After, ...]] = get_args(After)
BY: Final[tuple[GroupedBy, ...]] = get_args(GroupedBy)
_SETTLED: Final = frozenset({"completed", "skipped", "taken_over"})
_NOT_LISTED: Final = 255
_MOST_NAMES: Final = 10_000
_MOST_FOLDERS: Final = 1_000
"""Distinct folders. Objects of later ones are counted for the first part of their path."""
_FOLDERS_SHOWN: Final = 3

Name = int | str
"""A group of failures, a folder, or a stage."""


class Compared(NamedTuple):
    """An object before and after.

    Attributes:
        stages: stages in which the outputs differ, in the order of the pipeline.
        failed_before: rows of its first failure before; None if it had none.
        failed_after: rows of its first failure after; None if it has none.
        waits_in: route in which it is not decided.
    """

    before: Before
    after: After
    stages: Sequence[str]
    failed_before: OutcomesBelow | None
    failed_after: OutcomesBelow | None
    waits_in: str | None

    @property
    def failure(self) -> OutcomesBelow | None:
        """The failure by which it is grouped."""
        return self.failed_after or self.failed_before

    @property
    def place(self) -> str | None:
        """The stage or the route by which it is grouped."""
        if self.failed_after:
            return self.failed_after.route
        if self.waits_in:
            return self.waits_in
        if self.stages:
            return self.stages[0]
        return self.failed_before.route if self.failed_before else None


def compare(
    before: Sequence[OutcomesBelow], after: Sequence[OutcomesBelow], reached: Collection[str]
) -> Compared:
    """Compare what happened to an object in two executions.

    Only messages in routes that the second one reaches count, and those that received the object.

    Args:
        reached: names of routes, in the order of the pipeline.
    """
    old = [one for one in before if one.is_top or one.route in reached]
    new = [one for one in after if one.is_top or one.route in reached]
    was, failed_before, _ = _outcome(old)
    now, failed_after, waits_in = _outcome(new)
    if failed_after:
        known = {one.failure_group for one in old if one.state == "dead"}
        is_same = all(one.failure_group in known for one in new if one.state == "dead")
        return Compared(
            was, "same_error" if is_same else "other_error", (), failed_before, failed_after, None
        )
    if now == "none":
        return Compared(was, "undecided", (), failed_before, None, waits_in)
    left, right = _digests(old), _digests(new)
    order = dict.fromkeys((*right, *left))
    differ = [stage for stage in order if left.get(stage) != right.get(stage)]
    is_same = not differ and was != "none"
    return Compared(was, "same" if is_same else "other", differ, failed_before, None, None)


def _outcome(rows: Sequence[OutcomesBelow]) -> tuple[Before, OutcomesBelow | None, str | None]:
    """Return the outcome, the first failure, and the route of the first message that is not decided."""
    open_ = [one for one in rows if one.state not in _SETTLED]
    if not open_:
        return "done" if rows else "none", None, None
    dead = min((one for one in open_ if one.state == "dead"), key=_first, default=None)
    if dead:
        return "failed", dead, None
    return "none", None, min(open_, key=_first).route


def _first(one: OutcomesBelow) -> int:
    return one.first


def _digests(rows: Sequence[OutcomesBelow]) -> dict[str, int]:
    """Return the sum of the digests of each stage with outputs, those with the first messages first."""
    found: dict[str, int] = {}
    for one in sorted(rows, key=_first):
        if one.digest:
            stage = one.stage or one.route
            found[stage] = found.get(stage, 0) + one.digest
    return found


class _Names:
    """Numbers of names, from 1; 0 stands for no name, and for all that are too many."""

    def __init__(self) -> None:
        self._numbers: dict[Name, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Name]:
        return iter(self._numbers)

    def __getitem__(self, number: int) -> Name:
        return next(islice(self._numbers, number - 1, None))

    def of(self, name: Name | None) -> int | None:
        """Return the number of a known name; None if it is unknown."""
        return 0 if name is None else self._numbers.get(name)

    def add(self, name: Name | None) -> int:
        if name is None or (name not in self._numbers and len(self) >= _MOST_NAMES):
            return 0
        return self._numbers.setdefault(name, len(self) + 1)


@dataclass(slots=True)
class Group:
    """Objects of a cell that have a name in common.

    Attributes:
        first: ordinal of the first of them.
        message: of errors: the number of a dead message.
        folders: numbers of their first folders, and of the last one.
    """

    first: int
    message: int | None
    objects: int = 0
    folders: list[int] = field(default_factory=list)

    def add_folder(self, number: int) -> None:
        if number in self.folders:
            return
        if len(self.folders) > _FOLDERS_SHOWN:
            self.folders.pop()
        self.folders.append(number)


class Matrix:
    """The cells of all objects of an execution, by their place in the listing."""

    def __init__(self) -> None:
        self._cells = bytearray()
        self._names = {by: _Names() for by in BY}
        self._numbers = {by: array("H") for by in BY}
        self._counts = [0] * (len(BEFORE) * len(AFTER))
        self._groups: dict[tuple[int, GroupedBy, int], Group] = {}

    def add(self, ordinal: int, path: str, one: Compared) -> None:
        """Add the next object of the listing."""
        cell = _cell(one.before, one.after)
        failure = one.failure
        numbers: dict[GroupedBy, int] = {
            "error": self._names["error"].add(failure.failure_group if failure else None),
            "folder": self._folder(path),
            "stage": self._names["stage"].add(one.place),
        }
        missing = ordinal - 1 - len(self._cells)
        if missing:
            self._cells.extend(bytes([_NOT_LISTED]) * missing)
        self._cells.append(cell)
        self._counts[cell] += 1
        for by, number in numbers.items():
            self._numbers[by].extend([0] * missing + [number])
            group = self._groups.get((cell, by, number))
            if group is None:
                group = Group(ordinal, failure.first if failure else None)
                self._groups[cell, by, number] = group
            group.objects += 1
            group.add_folder(numbers["folder"])

    def _folder(self, path: str) -> int:
        names = self._names["folder"]
        folder = path.rpartition("/")[0] or "/"
        known = names.of(folder)
        if known is None and len(names) >= _MOST_FOLDERS:
            folder = path.partition("/")[0]
        return known or names.add(folder)

    def cells(self, reviews: Mapping[int, Review] = MappingProxyType({})) -> list[ResultCell]:
        """Return all cells.

        Args:
            reviews: by ordinals of objects.
        """
        right, wrong = Counter[int](), Counter[int]()
        for ordinal, review in reviews.items():
            if ordinal <= len(self._cells):
                (right if review.is_right else wrong)[self._cells[ordinal - 1]] += 1
        return [
            ResultCell(before, after, self._counts[cell], right[cell], wrong[cell])
            for before in BEFORE
            for after in AFTER
            for cell in [_cell(before, after)]
        ]

    def groups(self, by: GroupedBy, before: Before | None, after: After | None) -> list[tuple[Name, Group]]:
        """Return the groups of a cell with their names, or of a row or a column of cells; largest first."""
        names = dict(enumerate(self._names[by], 1))
        found: dict[int, Group] = {}
        for cell in _chosen(before, after):
            for number in names:
                group = self._groups.get((cell, by, number))
                if group is None:
                    continue
                total = found.setdefault(number, Group(group.first, group.message))
                total.first = min(total.first, group.first)
                total.objects += group.objects
                for folder in group.folders:
                    total.add_folder(folder)
        largest = sorted(found.items(), key=lambda one: (-one[1].objects, one[1].first))
        return [(names[number], group) for number, group in largest]

    def folders(self, group: Group) -> list[str]:
        """Return the names of the folders of a group."""
        return [str(self._names["folder"][number]) for number in sorted(group.folders) if number]

    def ordinals(
        self,
        before: Before | None,
        after: After | None,
        names: Iterable[tuple[GroupedBy, Name]],
        beyond: int,
    ) -> Iterator[int]:
        """Yield the ordinals of the objects of cells that have all of these names, after an ordinal."""
        wanted: list[tuple[array[int], int]] = []
        for by, name in names:
            number = self._names[by].of(name)
            if number is None:
                return
            wanted.append((self._numbers[by], number))
        pattern = re.compile(b"[%s]" % b"".join(b"\\x%02x" % cell for cell in _chosen(before, after)))
        for found in pattern.finditer(self._cells, beyond):
            at = found.start()
            if all(numbers[at] == number for numbers, number in wanted):
                yield at + 1


def _cell(before: Before, after: After) -> int:
    return BEFORE.index(before) * len(AFTER) + AFTER.index(after)


def _chosen(before: Before | None, after: After | None) -> list[int]:
    return [
        _cell(one, other)
        for one in ([before] if before else BEFORE)
        for other in ([after] if after else AFTER)
    ]
