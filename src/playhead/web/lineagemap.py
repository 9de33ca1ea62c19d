"""The layout of a lineage map: rows are executions, columns are stages, dashed lines are replays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

MOST_NODES: Final = 30
"""Boxes of a map. The others are one box that leads to the list."""

Side = Literal["up", "self", "down"]

_LEFT: Final = 178
_BOX: Final = (184, 46)
_GAP: Final = 52
_WIDE: Final = 1340
_LANE: Final = (36, 74, 88)  # first y, height, pitch
_TITLE: Final = 24  # characters of the monospaced title that fit
_SUB: Final = 25
_CAPTION: Final = 25
_REST: Final = "rest"


@dataclass(frozen=True, slots=True)
class Row:
    """An execution.

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
class Node:
    """Objects of one stage of an execution, or messages that store nothing.

    Attributes:
        id: unique in the map.
        row: id of its execution.
        column: name of the stage.
        title: the path of the object, or a count such as `4 objects`.
        sub: what produced it.
        href: the page that it leads to; None without a page.
        side: whether it is above the object of the page, the object itself, or below.
        is_failed: whether messages of it are dead letters.
    """

    id: str
    row: str
    column: str
    title: str
    sub: str
    href: str | None = None
    side: Side = "down"
    is_failed: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """A step from one node to another.

    Attributes:
        source: id of the node that was read.
        target: id of the node that was produced.
    """

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Band:
    """A row of a drawn map. `y` is its top."""

    row: Row
    sub: str
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Column:
    """The heading of a column. `x` is the left of its boxes."""

    name: str
    text: str
    x: int


@dataclass(frozen=True, slots=True)
class Box:
    """A drawn node, with texts that fit into it."""

    node: Node
    title: str
    sub: str
    x: int
    y: int
    width: int = _BOX[0]
    height: int = _BOX[1]


@dataclass(frozen=True, slots=True)
class Curve:
    """A drawn edge: `path` is that of SVG; a replay is dashed; an edge above the object is emphasized."""

    path: str
    is_replay: bool
    is_above: bool


@dataclass(frozen=True, slots=True)
class Map:
    """A drawn map, in pixels. `hidden` is the number of nodes that the last box stands for."""

    width: int
    height: int
    columns: tuple[Column, ...]
    bands: tuple[Band, ...]
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]
    hidden: int


def draw(
    rows: Sequence[Row], columns: Sequence[str], nodes: Sequence[Node], edges: Sequence[Edge], more: str = ""
) -> Map:
    """Lay out a map of at most 30 boxes.

    Args:
        rows: the executions, in order.
        columns: the stages, in order.
        nodes: at most one for each row and column.
        edges: between nodes.
        more: where the box of the nodes that do not fit leads to.
    """
    kept, hidden = _kept(nodes, edges)
    if hidden:
        label = f"{hidden:,} more groups"
        rows = [*rows, Row(_REST, "not drawn", None, "see the list")]
        rest = Node(_REST, _REST, columns[-1], label, "see the list", more or None)
        kept = [*kept, rest]
    used_rows = [row for row in rows if any(node.row == row.id for node in kept)]
    used_columns = [name for name in columns if any(node.column == name for node in kept)]
    pitch = max(_BOX[0] + _GAP, min(260, (_WIDE - _LEFT - _BOX[0] - 14) // max(len(used_columns) - 1, 1)))
    xs = {name: _LEFT + n * pitch for n, name in enumerate(used_columns)}
    top, height, step = _LANE
    ys = {row.id: top + n * step for n, row in enumerate(used_rows)}
    boxes = {
        node.id: Box(
            node,
            tail_of(node.title, _TITLE),
            head_of(node.sub, _SUB),
            xs[node.column],
            ys[node.row] + (height - _BOX[1]) // 2,
        )
        for node in kept
    }
    order = sorted(boxes.values(), key=lambda box: (box.y, box.x))
    return Map(
        width=max(_WIDE, _LEFT + len(used_columns) * pitch),
        height=top + len(used_rows) * step + 4,
        columns=tuple(Column(name, tail_of(name, _TITLE), xs[name]) for name in used_columns),
        bands=tuple(Band(row, head_of(row.sub, _CAPTION), ys[row.id], height) for row in used_rows),
        boxes=tuple(order),
        curves=tuple(_curves(boxes, edges)),
        hidden=hidden,
    )


def _kept(nodes: Sequence[Node], edges: Sequence[Edge]) -> tuple[list[Node], int]:
    """Return the nodes nearest to the object, as many as fit, and how many do not."""
    if len(nodes) <= MOST_NODES:
        return list(nodes), 0
    beside: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        beside[edge.source].append(edge.target)
        beside[edge.target].append(edge.source)
    by_id = {node.id: node for node in nodes}
    sides: dict[Side, int] = {"self": 0, "up": 1, "down": 2}
    near = dict.fromkeys(
        node.id for node in sorted(nodes, key=lambda node: sides[node.side]) if node.side != "down"
    )
    queue = list(near)
    for found in queue:
        for other in beside[found]:
            if other in by_id and other not in near:
                near[other] = None
                queue.append(other)
    ranked = [*near, *(one for one in by_id if one not in near)]
    chosen = set(ranked[: MOST_NODES - 1])
    return [node for node in nodes if node.id in chosen], len(nodes) - len(chosen)


def _curves(boxes: dict[str, Box], edges: Iterable[Edge]) -> Iterable[Curve]:
    drawn = [edge for edge in dict.fromkeys(edges) if edge.source in boxes and edge.target in boxes]
    leaving: dict[str, list[str]] = defaultdict(list)
    for edge in sorted(drawn, key=lambda edge: (boxes[edge.target].y, boxes[edge.target].x)):
        leaving[edge.source].append(edge.target)
    for edge in drawn:
        source, target = boxes[edge.source], boxes[edge.target]
        places = leaving[edge.source]
        # Lines that leave one box begin at different heights.
        shift = round(10 * (places.index(edge.target) - (len(places) - 1) / 2)) if len(places) < 5 else 0
        yield Curve(
            _path(source, target, shift),
            is_replay=source.node.row != target.node.row,
            is_above=target.node.side in ("up", "self") and source.node.side == "up",
        )


def _path(source: Box, target: Box, shift: int) -> str:
    if target.x <= source.x:  # a replay into an earlier stage
        x1, y1 = source.x + source.width // 2 + shift, source.y + source.height
        x2, y2 = target.x + target.width // 2, target.y
        middle = (y1 + y2) // 2
        return f"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}"
    x1, y1 = source.x + source.width, source.y + source.height // 2 + shift
    x2, y2 = target.x, target.y + target.height // 2
    middle = x2 - (x2 - x1) // 2 if x2 - x1 < 100 else x2 - 30
    return f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"


def head_of(text: str, size: int) -> str:
    """Return the beginning of a text that is too long."""
    return text if len(text) <= size else text[: size - 1] + "…"


def tail_of(text: str, size: int) -> str:
    """Return the end of a text that is too long: of a path, that is the part that differs."""
    return text if len(text) <= size else "…" + text[1 - size :]


def ordered(names: Sequence[str], before: Iterable[tuple[str, str]]) -> list[str]:
    """Return names in an order in which each comes after those before it, otherwise as they are given.

    Pairs that contradict each other are ignored.
    """
    rank = dict.fromkeys(names, 0)
    pairs = [(a, b) for a, b in before if a in rank and b in rank and a != b]
    for _ in names:
        moved = [(b, rank[a] + 1) for a, b in pairs if rank[b] <= rank[a]]
        if not moved:
            break
        rank |= dict(moved)
    return sorted(names, key=lambda name: rank[name])
