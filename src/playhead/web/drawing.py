"""A drawing of boxes and edges: what it consists of, and where all of it is.

`pipelinemap` and `lineagemap` choose what is written in the boxes of a pipeline and of a lineage map.
`lay_out` places the boxes, and the template `graph.svg.html` writes the SVG.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from playhead.web.layout import ROW_PITCH, Cells, Place, Point, curve, place

BOX_WIDTH: Final = 208.0
ROUTE_HEIGHT: Final = 66.0
STAGE_HEIGHT: Final = 42.0
_SIZES: Final = {"input": (132.0, 52.0), "object": (184.0, 50.0)}
_MARGIN: Final = 30.0
_HEAD: Final = 22.0
"""Room above the boxes for the head of the playhead."""
_HEAD_WIDTH: Final = 78.0
_NEEDLE_GAP: Final = 18.0
_ROW_NAMES: Final = 178.0
_COLUMN_NAMES: Final = 36.0
_GRID_WIDTH: Final = 1340.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text in a box. The accessible name of the box consists of all its lines.

    Attributes:
        shown: as much of it as fits.
        whole: all of it.
    """

    shown: str
    whole: str


def head_of(text: str, size: int) -> Line:
    """Return a line with the beginning of a text."""
    return Line(text if len(text) <= size else text[: size - 1] + "…", text)


def tail_of(text: str, size: int) -> Line:
    """Return a line with the end of a text: of a path, that is the part that differs."""
    return Line(text if len(text) <= size else "…" + text[1 - size :], text)


@dataclass(frozen=True, slots=True)
class Part:
    """A number in a box, with its word.

    Attributes:
        state: `done`, `failed`, `open` or `cancelled`.
        count: the number.
        word: the name of the state.
        has_room: whether the word is drawn. Without room, it is only part of the accessible name.
        live: name of the live number; None if it does not change.
    """

    state: str
    count: int
    word: str
    has_room: bool
    live: str | None


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of the bar of a box. Each is drawn over the one before, from the left edge.

    Attributes:
        state: `done`, `failed` or `open`.
        width: in pixels, with that of the pieces drawn over it.
        live: name of the live width, or None.
    """

    state: str
    width: float
    live: str | None = None


@dataclass(frozen=True, slots=True)
class StageBox:
    """The lower half of a box.

    Attributes:
        title: name of the stage.
        size: number and size of its objects, as text; empty if it is not known.
        href: address that chooses the stage.
        is_chosen: whether the playhead is at it.
        live: name of the live text of `size`; None if it does not change.
    """

    title: Line
    size: str
    href: str
    is_chosen: bool
    live: str | None


@dataclass(frozen=True, slots=True)
class Content:
    """What is written in a box.

    Attributes:
        kind: `input`, `route`, `fold` for several routes, or `object` in a lineage map.
        name: first line.
        subtitle: second line.
        href: address of the link.
        css: names of CSS classes.
        note: third line of a box without counts.
        parts: counts.
        bars: pieces of the bar.
        stage: lower half; None: nothing is stored.
        has_effects: whether it changes something outside of Playhead.
        readers: what readers see of it, in words; empty: nothing.
        routes: names of the routes that it shows.
    """

    kind: Literal["input", "route", "fold", "object"]
    name: Line
    subtitle: Line
    href: str
    css: str
    note: str = ""
    parts: tuple[Part, ...] = ()
    bars: tuple[Bar, ...] = ()
    stage: StageBox | None = None
    has_effects: bool = False
    readers: str = ""
    routes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[float, float]:
        """Return width and height of the box."""
        return _SIZES.get(self.kind, (BOX_WIDTH, ROUTE_HEIGHT + (STAGE_HEIGHT if self.stage else 0)))


@dataclass(frozen=True, slots=True)
class Row:
    """An execution, which is a row of a lineage map.

    Attributes:
        id: of the execution.
        kind: `run`, `replay` or `adopted`; `execution` if its records are deleted.
        created_at: when it began; RFC 3339 in UTC; None if the row is not one execution.
        sub: its config and version.
        href: its page.
    """

    id: str
    kind: str
    created_at: str | None
    sub: str
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A box of the drawing.

    Attributes:
        key: id of its link, unique within the drawing.
        place: position and size.
        content: what is written in it.
        before: keys of the boxes that feed it, separated by spaces.
        after: keys of the boxes that it feeds, separated by spaces.
    """

    key: str
    place: Place
    content: Content
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Edge:
    """A line between two boxes.

    Attributes:
        path: of the line, as SVG.
        tip: of its arrow, as SVG; empty in a grid.
        css: `hot` if a replay from the chosen stage passes it, or if it is above the object of the page;
            `cold` if it carried no message; `rp` if it is a replay.
        title: the condition; empty without one.
    """

    path: str
    tip: str
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing.

    Attributes:
        title: accessible name.
        left: of the view box.
        top: of the view box.
        width: of the view box.
        height: of the view box.
        boxes: column by column.
        edges: lines between them.
        needle: x of the playhead, and the left edge of its head; None: no stage is chosen.
        columns: names of the columns of a grid, and their left edges.
        rows: rows of a grid, and their tops.
    """

    title: str
    left: float
    top: float
    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    needle: tuple[float, float] | None
    columns: tuple[tuple[str, float], ...]
    rows: tuple[tuple[Row, float], ...]


def lay_out(
    title: str,
    contents: Mapping[str, Content],
    lines: Mapping[tuple[str, str], tuple[str, str]],
    *,
    needle: str | None = None,
    cells: Cells = (),
    columns: Sequence[str] = (),
    rows: Sequence[Row] = (),
) -> Drawing:
    """Return the drawing of boxes and of the edges between them.

    Args:
        title: accessible name of the drawing.
        contents: of the boxes, by name.
        lines: CSS class and title of each edge, by the names of its boxes.
        needle: the box at whose right the playhead is.
        cells: column and row of each box; empty: the layout chooses its place.
        columns: names of the columns of the cells.
        rows: rows of the cells.
    """
    layout = place(tuple((name, *content.size) for name, content in contents.items()), tuple(lines), cells)
    boxes = layout.boxes
    order = sorted(boxes, key=lambda name: (boxes[name].layer, boxes[name].y))
    keys = {name: f"box-{index}" for index, name in enumerate(order)}
    before: defaultdict[str, list[str]] = defaultdict(list)
    after: defaultdict[str, list[str]] = defaultdict(list)
    for start, end in lines:
        before[end].append(keys[start])
        after[start].append(keys[end])

    def leaving(name: str) -> Point:
        """Return where edges leave a box: the middle of its stage, or else of the box."""
        box = boxes[name]
        high = STAGE_HEIGHT if contents[name].stage else box.height
        return Point(box.x + box.width, box.y + box.height - high / 2)

    def edge(start: str, end: str) -> Edge:
        into = boxes[end]
        high = ROUTE_HEIGHT if contents[end].stage else into.height
        to = Point(into.x, into.y + high / 2)
        tip = "" if cells else f"M{to.x - 7:.1f} {to.y - 4:.1f}l7 4-7 4z"
        line = [leaving(start), *layout.edges[start, end], Point(to.x - 6 if tip else to.x, to.y)]
        return Edge(curve(line), tip, *lines[start, end])

    left, top = (_ROW_NAMES, _COLUMN_NAMES) if cells else (_MARGIN, _MARGIN + _HEAD)
    xs = {box.layer: box.x for box in boxes.values()}
    return Drawing(
        title=title,
        left=-left,
        top=-top,
        width=max(_GRID_WIDTH, left + layout.width + 1) if cells else layout.width + 2 * _MARGIN,
        height=top + (len(rows) * ROW_PITCH if cells else layout.height + _MARGIN),
        boxes=tuple(
            Box(keys[name], boxes[name], contents[name], " ".join(before[name]), " ".join(after[name]))
            for name in order
        ),
        edges=tuple(edge(start, end) for start, end in lines),
        needle=_needle(leaving(needle).x + _NEEDLE_GAP, layout.width) if needle else None,
        columns=tuple((name, xs[layer]) for layer, name in enumerate(columns)),
        rows=tuple((row, index * ROW_PITCH) for index, row in enumerate(rows)),
    )


def _needle(x: float, width: float) -> tuple[float, float]:
    """Return the playhead at a place. Its head stays within a drawing of this width."""
    return x, min(max(x - _HEAD_WIDTH / 2, 4 - _MARGIN), width + _MARGIN - _HEAD_WIDTH - 4)
