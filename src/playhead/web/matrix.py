"""The objects of a replay before and after it, as a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from playhead.errors import BadRequest, NotFound, Unavailable
from playhead.ids import moment
from playhead.model import After, Before, Execution, ReplayResult
from playhead.reading.result import Result
from playhead.services import Services
from playhead.web.page import url
from playhead.web.render import number
from playhead.wording import AFTER, BEFORE

_IMPOSSIBLE: Final = (("done", "same_error"), ("none", "same"), ("none", "same_error"))
_SAYS: Final[Mapping[tuple[Before, After], tuple[str, str]]] = {
    ("done", "same"): ("ok", "no change: as hoped"),
    ("done", "other"): ("warn", "look at these first"),
    ("done", "other_error"): ("fail", "this replay broke these"),
    ("done", "undecided"): ("off", "wait, or were cancelled"),
    ("failed", "same"): ("ok", "repaired, with the same outputs"),
    ("failed", "other"): ("ok", "repaired"),
    ("failed", "same_error"): ("fail", "the fix does not reach these"),
    ("failed", "other_error"): ("fail", "fail in another way now"),
    ("failed", "undecided"): ("off", "wait, or were cancelled"),
    ("none", "other"): ("ok", "processed for the first time"),
    ("none", "other_error"): ("fail", "failed at the first time"),
    ("none", "undecided"): ("off", "wait, or were cancelled"),
}
"""How a cell with objects looks, and a sentence that is true of all of them."""


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell.

    Attributes:
        after: what has happened to its objects.
        objects: number of objects; None if none can be here.
        look: `ok`, `warn`, `fail` or `off`.
        text: a sentence about the objects; may be empty.
        href: URL of its objects; None without any.
        name: name of its live number.
        reviewed: how many of them people have reviewed, in words; empty if none.
    """

    after: After
    objects: int | None
    look: str
    text: str
    href: str | None
    name: str
    reviewed: str


@dataclass(frozen=True, slots=True)
class RowView:
    """A row: objects with the same outcome before.

    Attributes:
        before: what had happened to them.
        text: the same in words.
        objects: their number.
        cells: one for each outcome after.
    """

    before: Before
    text: str
    objects: int
    cells: Sequence[CellView]


@dataclass(frozen=True, slots=True)
class MatrixView:
    """The matrix.

    Attributes:
        rows: the rows; none while the objects are counted.
        headings: words of the outcomes after, in the order of the cells.
        objects: number of objects.
        failed: number of objects that fail now.
        read: number of objects counted so far, while they are counted.
        as_of: time of outdated numbers, while the objects are counted again; None if they are up to date.
        is_complete: whether no number changes any more.
        problem: why there is no matrix; None if there is one.
    """

    rows: Sequence[RowView] = ()
    headings: Sequence[str] = tuple(AFTER.values())
    objects: int = 0
    failed: int = 0
    read: int = 0
    is_complete: bool = False
    as_of: str | None = None
    problem: str | None = None

    @property
    def shape(self) -> str:
        """What decides which parts the matrix has."""
        cells = [f"{bool(one.objects):d}" for row in self.rows for one in row.cells]
        return f"{self.is_complete:d}{self.as_of is not None:d}{len(self.rows)}{''.join(cells)}"

    def live(self) -> dict[str, str]:
        """Return its live numbers."""
        numbers = {one.name: number(one.objects or 0) for row in self.rows for one in row.cells}
        return (
            numbers
            | {f"mx.{row.before}": number(row.objects) for row in self.rows}
            | {"mx.read": number(self.read), "mx.as_of": self.as_of or ""}
        )


_STATES: Final[Mapping[str, str]] = {"ok": "same", "warn": "changed", "fail": "failed", "off": "pending"}


def state_of(before: Before, after: After) -> str:
    """Return the state whose shape and colour an object has, the colour of its cell in the matrix."""
    look, _ = _SAYS.get((before, after), ("off", ""))
    return _STATES[look]


def result_url(a: UUID, b: UUID, **query: object) -> str:
    """Return the URL of the page with the result of two executions."""
    return url(f"/executions/{a}/result", **{"with": b, **query})


async def matrix(
    services: Services, a: Execution, b: Execution, patience: float | None
) -> tuple[MatrixView, Result | None]:
    """Return the matrix of two executions, its progress, or the reason why it cannot be shown.

    Its objects come with it; None if they are not counted.
    """
    try:
        found = await services.result.counting(a.execution_id, b.execution_id, patience=patience)
    except (BadRequest, NotFound, Unavailable) as exc:
        return MatrixView(problem=exc.detail, is_complete=not isinstance(exc, Unavailable)), None
    if found.result is None:
        return MatrixView(read=found.done), None
    as_of = None if found.as_of is None else moment(found.as_of)
    return replace(_view(found.result.counts), read=found.done, as_of=as_of), found.result


def _view(found: ReplayResult) -> MatrixView:
    rows = []
    for before, text in BEFORE.items():
        objects = found.of(before)
        if before == "none" and not objects:
            continue
        cells = []
        for after in AFTER:
            count = found.of(before, after)
            look, says = _SAYS.get((before, after), ("off", ""))
            if not count:
                nothing_broke = (before, after) == ("done", "other_error") and found.is_complete and objects
                look, says = ("ok", "nothing broke") if nothing_broke else ("off", "")
            is_possible = count or (before, after) not in _IMPOSSIBLE
            cells.append(
                CellView(
                    after,
                    count if is_possible else None,
                    look,
                    says,
                    f"{result_url(found.a, found.b, before=before, after=after)}#list" if count else None,
                    f"mx.{before}.{after}",
                    _reviewed(found, before, after),
                )
            )
        rows.append(RowView(before, text, objects, cells))
    failed = found.of(after="same_error") + found.of(after="other_error")
    return MatrixView(rows, objects=found.objects, failed=failed, is_complete=found.is_complete)


def _reviewed(found: ReplayResult, before: Before, after: After) -> str:
    cell = next(one for one in found.cells if (one.before, one.after) == (before, after))
    if not (cell.right or cell.wrong):
        return ""
    return (
        f"{number(cell.right + cell.wrong)} of {number(cell.objects)} reviewed: {number(cell.right)} right, "
        f"{number(cell.wrong)} wrong"
    )
