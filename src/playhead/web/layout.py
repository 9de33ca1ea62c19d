"""A layered drawing of a graph: the positions of boxes, and the points through which edges run.

An edge that passes a layer gets an invisible node there, so that it runs between the boxes. Layers are
longest paths from the sources. The order within a layer is the best of several median sweeps, by crossings.
Heights are least squares towards the neighbours with the order kept, by pooling adjacent violators.
In a grid, the caller chooses the layer and the row of each box, and edges run between the rows.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

COLUMN_GAP: Final = 72.0
ROW_GAP: Final = 22.0
ROW_HEIGHT: Final = 74.0
ROW_PITCH: Final = 88.0
_GRID_GAP: Final = 56.0
"""Between the columns of a grid."""
_ORDER_SWEEPS: Final = 12
_HEIGHT_SWEEPS: Final = 10
_PASSING_HEIGHT: Final = 6.0


class Point(NamedTuple):
    """Pixels from the upper left corner of the drawing."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box is, in pixels, and in which column (`layer`, counted from 0)."""

    x: float
    y: float
    width: float
    height: float
    layer: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions of all boxes and edges.

    Attributes:
        boxes: by name.
        edges: by the names of both ends: the points between them, without the ends.
        width: of the drawing.
        height: of the drawing.
        crossings: of edges.
    """

    boxes: Mapping[str, Place]
    edges: Mapping[tuple[str, str], tuple[Point, ...]]
    width: float
    height: float
    crossings: int


Sizes = tuple[tuple[str, float, float], ...]
Edges = tuple[tuple[str, str], ...]
Cells = tuple[tuple[int, int], ...]


@lru_cache(maxsize=256)
def place(sizes: Sizes, edges: Edges, cells: Cells = ()) -> Layout:
    """Return the layout of boxes (name, width, height) and of edges between their names.

    The result is cached: a config version never changes, so each of its views is laid out once.

    Args:
        cells: column and row of each box in a grid, at most one box in each.

    Raises:
        ValueError: the edges form a cycle, and no cells are given.
    """
    names = [name for name, _, _ in sizes]
    if cells:
        layers = {name: column for name, (column, _) in zip(names, cells, strict=True)}
        graph = _Graph(layers, sizes, edges)
        crossings = 0
        middles = graph.grid({name: row for name, (_, row) in zip(names, cells, strict=True)})
    else:
        layers = _layers(names, edges)
        graph = _Graph(layers, sizes, edges)
        rows, crossings = graph.ordered()
        middles = graph.heights(rows)
    columns = graph.columns(_GRID_GAP if cells else COLUMN_GAP)
    boxes = {
        name: Place(columns[name][0], middles[name] - high / 2, wide, high, layers[name])
        for name, wide, high in sizes
    }
    points = {
        # An edge changes its height between the columns only: within a column, it would run behind a box.
        edge: tuple(Point(x, middles[node]) for node in chain[1:-1] for x in columns[node])
        for edge, chain in graph.chains.items()
    }
    width = max((right for _, right in columns.values()), default=0.0)
    height = max((box.y + box.height for box in boxes.values()), default=0.0)
    return Layout(boxes, points, width, height, crossings)


def _layers(names: Sequence[str], edges: Edges) -> dict[str, int]:
    """Return the column of each box. A source is placed next to the first box that it feeds."""
    into, out = _neighbours(edges)
    waiting = {name: len(into[name]) for name in names}
    order = [name for name in names if not waiting[name]]
    found: dict[str, int] = {}
    for name in order:
        found[name] = max((found[before] + 1 for before in into[name]), default=0)
        for after in out[name]:
            waiting[after] -= 1
            if not waiting[after]:
                order.append(after)
    if len(order) < len(names):
        raise ValueError("the edges form a cycle")
    for name in order:
        if not into[name] and out[name]:
            found[name] = min(found[after] for after in out[name]) - 1
    return found


def _neighbours(edges: Edges) -> tuple[defaultdict[str, list[str]], defaultdict[str, list[str]]]:
    into: defaultdict[str, list[str]] = defaultdict(list)
    out: defaultdict[str, list[str]] = defaultdict(list)
    for start, end in edges:
        out[start].append(end)
        into[end].append(start)
    return into, out


class _Graph:
    """The boxes and the invisible nodes of edges that pass a layer. Each edge connects adjacent layers."""

    def __init__(self, layers: Mapping[str, int], sizes: Sizes, edges: Edges) -> None:
        self._wide = {name: wide for name, wide, _ in sizes}
        self._high = {name: high for name, _, high in sizes}
        self._passing: set[str] = set()
        self.chains: dict[tuple[str, str], list[str]] = {}
        layer_of = dict(layers)
        short: list[tuple[str, str]] = []
        for start, end in edges:
            passed = range(layers[start] + 1, layers[end])
            passing = {f"\0{start}\0{end}\0{layer}": layer for layer in passed}
            layer_of |= passing
            self._wide |= dict.fromkeys(passing, 0.0)
            self._high |= dict.fromkeys(passing, _PASSING_HEIGHT)
            self._passing |= passing.keys()
            self.chains[start, end] = chain = [start, *passing, end]
            short += pairwise(chain)
        self._up, self._down = _neighbours(tuple(short))
        self._layer_of = layer_of

    def ordered(self) -> tuple[list[list[str]], int]:
        """Return the nodes of each layer from top to bottom, and the number of crossings."""
        rows = self._first_order()
        best, least = [list(row) for row in rows], self._crossings(rows)
        for sweep in range(_ORDER_SWEEPS):
            if not least:
                break
            near = self._up if sweep % 2 == 0 else self._down
            for fixed, row in pairwise(rows if sweep % 2 == 0 else rows[::-1]):
                at = {node: index for index, node in enumerate(fixed)}
                here = {node: index for index, node in enumerate(row)}
                near_at = {node: _median((at[other] for other in near[node]), here[node]) for node in row}
                row.sort(key=near_at.__getitem__)
            if (now := self._crossings(rows)) < least:
                best, least = [list(row) for row in rows], now
        return best, least

    def _first_order(self) -> list[list[str]]:
        """Order each layer by a depth-first search from the sources."""
        rows: list[list[str]] = [[] for _ in range(max(self._layer_of.values(), default=-1) + 1)]
        seen: set[str] = set()
        stack = [node for node in self._layer_of if not self._up[node]][::-1]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                rows[self._layer_of[node]].append(node)
                stack += reversed(self._down[node])
        return rows

    def _crossings(self, rows: Sequence[Sequence[str]]) -> int:
        total = 0
        for upper, lower in pairwise(rows):
            at = {node: index for index, node in enumerate(lower)}
            ends: list[int] = []  # sorted; an edge crosses the earlier ones that end below it
            for node in upper:
                found = sorted(at[other] for other in self._down[node])
                total += sum(len(ends) - bisect(ends, end) for end in found)
                for end in found:
                    insort(ends, end)
        return total

    def heights(self, rows: Sequence[Sequence[str]]) -> dict[str, float]:
        """Return the middle of each node. The uppermost edge is at 0."""
        middle: dict[str, float] = {}
        gaps = [self._gaps(row) for row in rows]
        pairs = list(zip(rows, gaps, strict=True))
        for row, gap in pairs:
            middle |= zip(row, gap, strict=True)
        for sweep in range(_HEIGHT_SWEEPS):
            near, far = (self._up, self._down) if sweep % 2 == 0 else (self._down, self._up)
            both = sweep > 3  # before that, a node follows one side only
            for row, gap in pairs[1:] if sweep % 2 == 0 else pairs[-2::-1]:
                wanted, weights = [], []
                for node in row:
                    others = [*near[node], *far[node]] if both else near[node]
                    wanted.append(_median((middle[other] for other in others), middle[node]))
                    weights.append(4.0 if node in self._passing else 1.0 if others else 0.05)
                free = _isotonic([want - offset for want, offset in zip(wanted, gap, strict=True)], weights)
                middle |= {node: y + offset for node, y, offset in zip(row, free, gap, strict=True)}
        top = min((middle[node] - self._high[node] / 2 for node in middle), default=0.0)
        return {node: y - top for node, y in middle.items()}

    def _gaps(self, row: Sequence[str]) -> list[float]:
        """Return the least distance of each node from the first one of its layer, between their middles."""
        found = [0.0] if row else []
        for above, below in pairwise(row):
            gap = ROW_GAP / 2 if {above, below} & self._passing else ROW_GAP
            found.append(found[-1] + (self._high[above] + self._high[below]) / 2 + gap)
        return found

    def grid(self, rows: Mapping[str, int]) -> dict[str, float]:
        """Return the middle of each node in a grid. Edges that pass a column are below their row."""
        found = {node: row * ROW_PITCH + ROW_HEIGHT / 2 for node, row in rows.items()}
        for index, ((start, _), chain) in enumerate(self.chains.items()):
            lane = (rows[start] + 1) * ROW_PITCH - (ROW_PITCH - ROW_HEIGHT) - index % 4 * 3
            found |= dict.fromkeys(chain[1:-1], lane)
        return found

    def columns(self, gap: float) -> dict[str, tuple[float, float]]:
        """Return the left and the right edge of the column of each node."""
        widest: defaultdict[int, float] = defaultdict(float)
        for node, layer in self._layer_of.items():
            widest[layer] = max(widest[layer], self._wide[node])
        left = {layer: sum(widest[one] + gap for one in range(layer)) for layer in widest}
        ends = {layer: (left[layer], left[layer] + widest[layer]) for layer in widest}
        return {node: ends[layer] for node, layer in self._layer_of.items()}


def _median(values: Iterable[float], otherwise: float) -> float:
    found = sorted(values)
    return (found[len(found) // 2] + found[(len(found) - 1) // 2]) / 2 if found else otherwise


def _isotonic(wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the values that never decrease and are nearest to `wanted`, by weighted least squares."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, number of values
    for value, weight in zip(wanted, weights, strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean, heavy, count), (last, light, one) = blocks[-2:]
            blocks[-2:] = [((mean * heavy + last * light) / (heavy + light), heavy + light, count + one)]
    return [mean for mean, _, count in blocks for _ in range(count)]


def curve(points: Sequence[Point]) -> str:
    """Return the SVG path through the points. It is horizontal at each of them."""
    path = f"M{points[0].x:.1f} {points[0].y:.1f}"
    for (x, y), to in pairwise(points):
        middle = (x + to.x) / 2
        path += f"C{middle:.1f} {y:.1f} {middle:.1f} {to.y:.1f} {to.x:.1f} {to.y:.1f}"
    return path
