"""An output before and after, side by side: lines of text, cells of CSV, or images."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, Literal

from playhead import keys, textdiff
from playhead.errors import NotFound
from playhead.model import DiffObject, DiffSide
from playhead.services import Services
from playhead.textdiff import Hunk, Line
from playhead.web.content import are_texts, head_of, texts_of
from playhead.web.page import Missing, or_missing, url
from playhead.web.preview import MOST_RENDERED, Head, decoded, shown
from playhead.web.single_thread import in_turn

_MOST_LINES: Final = 600
_TABLES: Final = {"text/csv": ",", "text/tab-separated-values": "\t"}
_MOST_CELLS: Final = 60


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: its text.
        is_changed: whether the same cell of the other side has another text.
    """

    text: str
    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class SideRow:
    """A line or a record of both sides.

    Attributes:
        hidden: number of equal lines that are not shown here; then it has no sides.
        is_changed: whether the sides differ.
        left: the line before; None if only the other side has one.
        right: the line after; None if only the other side has one.
        left_cells: of a table: the cells before; None if there is no such record.
        right_cells: of a table: the cells after; None if there is no such record.
    """

    hidden: int = 0
    is_changed: bool = False
    left: Line | None = None
    right: Line | None = None
    left_cells: Sequence[Cell] | None = None
    right_cells: Sequence[Cell] | None = None


@dataclass(frozen=True, slots=True)
class SideBySide:
    """An output before and after.

    Attributes:
        output: the output.
        kind: how it is shown.
        rows: lines or records.
        hidden: number of lines after the last one that is shown.
        images: URLs of the bytes before and after; None if there is no image.
        note: what is shown, if that is not all; or why nothing is shown.
    """

    output: DiffObject
    kind: Literal["text", "cells", "images", "nothing"]
    rows: Sequence[SideRow] = ()
    hidden: int = 0
    images: tuple[str | None, str | None] = (None, None)
    note: str | None = None


async def side_by_side(services: Services, output: DiffObject) -> SideBySide | Missing:
    """Return an output before and after."""
    return await or_missing(_side_by_side, services, output)


async def _side_by_side(services: Services, output: DiffObject) -> SideBySide:
    old, new = [await _head(services, one) for one in (output.a, output.b)]
    if old is None and new is None:
        return SideBySide(output, "nothing", note="The bytes were pruned, or cannot be found.")
    heads = [one for one in (old, new) if one]
    if all(one.kind == "image" for one in heads):
        if any(one.size > MOST_RENDERED for one in heads):
            return SideBySide(output, "nothing", note="Images of more than 20 MB are not shown here.")
        return SideBySide(output, "images", images=(_raw(output.a, old), _raw(output.b, new)))
    empty = Head(b"", 0, heads[0].content_type)
    pair = (new or empty, old or empty)
    if not are_texts(*pair):
        return SideBySide(output, "nothing", note="The bytes are not text, so no lines are compared.")
    return await in_turn(_compared, output, *pair)


async def _head(services: Services, one: DiffSide | None) -> Head | None:
    if one is None or one.pruned_at:
        return None
    try:
        return await head_of(services, one.key)
    except NotFound:
        return None


def _raw(side: DiffSide | None, head: Head | None) -> str | None:
    return url("/objects/raw", key=side.key) if side and head else None


def _compared(output: DiffObject, new: Head, old: Head) -> SideBySide:
    separator = _TABLES.get(keys.bare(new.content_type))
    if separator and keys.bare(old.content_type) == keys.bare(new.content_type):
        tables = [_records(one, separator) for one in (old, new)]
        if tables[0] is not None and tables[1] is not None:
            found, hidden = textdiff.hunks(textdiff.compare(tables[0], tables[1]), limit=_MOST_LINES)
            note = None if old.is_whole and new.is_whole else "The first 64 kB of each are compared."
            return SideBySide(output, "cells", [*_rows(found, as_cells=True)], hidden, note=note)
    before, after, note = texts_of(new, old)
    found, hidden = textdiff.hunks(textdiff.compare(before, after), limit=_MOST_LINES)
    return SideBySide(output, "text", [*_rows(found, as_cells=False)], hidden, note=note)


def _records(head: Head, separator: str) -> str | None:
    """Return a record as one line with tabs between its cells; None if it is not a table."""
    text = decoded(head.data)
    if not head.is_whole:
        text = text[: text.rfind("\n") + 1]
    first = text.partition("\n")[0]
    if separator == "," and first.count(";") > first.count(","):
        separator = ";"
    try:
        records = list(csv.reader(text.splitlines(keepends=True), delimiter=separator))
    except csv.Error:
        return None
    return "".join(
        "\t".join(shown(" ".join(cell.split())) for cell in record[:_MOST_CELLS]) + "\n" for record in records
    )


def _rows(hunks: Sequence[Hunk], *, as_cells: bool) -> Iterator[SideRow]:
    for hunk in hunks:
        if hunk.hidden:
            yield SideRow(hidden=hunk.hidden)
        removed: list[Line] = []
        added: list[Line] = []
        for line in (*hunk.lines, None):
            if line is not None and line.change == "del":
                removed.append(line)
            elif line is not None and line.change == "add":
                added.append(line)
            else:
                for left, right in zip_longest(removed, added):
                    yield _row(left, right, as_cells=as_cells)
                removed, added = [], []
                if line is not None:
                    yield _row(line, line, as_cells=as_cells)


def _row(left: Line | None, right: Line | None, *, as_cells: bool) -> SideRow:
    if not as_cells:
        return SideRow(is_changed=left is not right, left=left, right=right)
    cells = [one.text.split("\t") if one else None for one in (left, right)]
    return SideRow(
        is_changed=left is not right,
        left=left,
        right=right,
        left_cells=_cells(cells[0], cells[1]),
        right_cells=_cells(cells[1], cells[0]),
    )


def _cells(own: list[str] | None, other: list[str] | None) -> list[Cell] | None:
    if own is None:
        return None
    known = other or []
    return [Cell(text, n >= len(known) or known[n] != text) for n, text in enumerate(own)]
