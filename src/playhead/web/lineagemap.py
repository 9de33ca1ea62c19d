"""A lineage map: rows are executions, columns are stages, dashed lines are replays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from playhead.web.drawing import Content, Drawing, Row, head_of, lay_out, tail_of

MOST_NODES: Final = 30
"""Boxes of a map. The others are one box that leads to the list."""

Side = Literal["up", "self", "down"]
Edges = Sequence[tuple[str, str]]

_TITLE: Final = 24  # characters of the monospaced title that fit
_SUB: Final = 25
_REST: Final = "rest"


@dataclass(frozen=True, slots=True)
class Node:
    """Objects of one stage of an execution, or messages that store nothing.

    Attributes:
        id: unique in the map.
        row: id of its execution.
        column: name of the stage.
        title: the path of the object, or a count such as `4 objects`.
        sub: what produced it.
        href: the page that it leads to.
        side: whether it is above the object of the page, the object itself, or below.
        is_failed: whether messages of it are dead letters.
    """

    id: str
    row: str
    column: str
    title: str
    sub: str
    href: str
    side: Side = "down"
    is_failed: bool = False


def draw(
    rows: Sequence[Row], columns: Sequence[str], nodes: Sequence[Node], edges: Edges, more: str = ""
) -> Drawing:
    """Return a map of at most 30 boxes.

    Args:
        rows: the executions, in order.
        columns: the stages, in order.
        nodes: at most one for each row and column.
        edges: from the node that was read to the node that was produced, by their ids.
        more: where the box of the nodes that do not fit leads to.
    """
    kept, hidden = _kept(nodes, edges)
    if hidden:
        rows = [*rows, Row(_REST, "not drawn", None, "see the list")]
        rest = Node(_REST, _REST, columns[-1], f"{hidden:,} more groups", "see the list", more)
        kept = [*kept, rest]
    by_id = {node.id: node for node in kept}
    used_rows = [row for row in rows if any(node.row == row.id for node in kept)]
    used_columns = [name for name in columns if any(node.column == name for node in kept)]
    row_at = {row.id: index for index, row in enumerate(used_rows)}
    return lay_out(
        "One row an execution, one column a stage",
        {node.id: _content(node) for node in kept},
        {
            (start, end): (_line(by_id[start], by_id[end]), "")
            for start, end in edges
            if start in by_id and end in by_id
        },
        cells=tuple((used_columns.index(node.column), row_at[node.row]) for node in kept),
        columns=[tail_of(name, _TITLE).shown for name in used_columns],
        rows=used_rows,
    )


def _content(node: Node) -> Content:
    flags = {"g-sel": node.side == "self", "g-up": node.side == "up", "g-fail": node.is_failed}
    return Content(
        kind="object",
        name=tail_of(node.title, _TITLE),
        subtitle=head_of(node.sub, _SUB),
        href=node.href,
        css=" ".join(name for name, is_set in flags.items() if is_set),
    )


def _line(source: Node, target: Node) -> str:
    """Return the CSS classes of an edge. A replay is dashed; an edge above the object is emphasized."""
    is_above = source.side == "up" and target.side in ("up", "self")
    return " ".join(["hot"] * is_above + ["rp"] * (source.row != target.row))


def _kept(nodes: Sequence[Node], edges: Edges) -> tuple[list[Node], int]:
    """Return the nodes nearest to the object, as many as fit, and how many do not."""
    if len(nodes) <= MOST_NODES:
        return list(nodes), 0
    beside: dict[str, list[str]] = defaultdict(list)
    for start, end in edges:
        beside[start].append(end)
        beside[end].append(start)
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
