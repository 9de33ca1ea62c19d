"""Which routes of a large pipeline are drawn one by one, and how the others are folded into few boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MOST_ROUTES: Final = 40
"""The most boxes of a drawing, without the one of the inputs."""
_MOST_INDENT: Final = 3
_FEW_BOXES: Final = 16
"""Routes that need no attention are added up to this number."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Routes that are drawn as one box.

    Attributes:
        routes: their names, in pipeline order.
        branches: number of separate parts.
    """

    routes: tuple[str, ...]
    branches: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What a drawing shows. Each route of the pipeline is in one of both.

    Attributes:
        keep: routes that have their own box.
        folds: the others.
    """

    keep: frozenset[str]
    folds: tuple[Fold, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The structure of a pipeline, without cycles.

    Attributes:
        entry: route that receives the inputs.
        routes: names, in pipeline order: each route follows the routes that feed it.
        into: for each route, those that feed it.
        out: for each route, those that it feeds.
        depth: for each route, the least number of steps from a route without predecessors.
    """

    entry: str
    routes: tuple[str, ...]
    into: Mapping[str, tuple[str, ...]]
    out: Mapping[str, tuple[str, ...]]
    depth: Mapping[str, int]

    def near(self, start: str, depth: int) -> list[str]:
        """Return routes at most `depth` steps before or after one, the nearest first, `start` included."""
        found = {start: 0}
        for ways in (self.into, self.out):
            edge = [start]
            for steps in range(1, depth + 1):
                edge = [other for name in edge for other in ways[name]]
                edge = [name for name in dict.fromkeys(edge) if name not in found]
                found.update(dict.fromkeys(edge, steps))
        return sorted(found, key=found.__getitem__)

    def after(self, start: str) -> set[str]:
        """Return all routes that messages of one can reach, without `start`."""
        found: set[str] = set()
        waiting = [start]
        while waiting:
            for name in self.out[waiting.pop()]:
                if name not in found:
                    found.add(name)
                    waiting.append(name)
        return found


@lru_cache(maxsize=256)
def shape(entry: str, routes: tuple[str, ...], edges: tuple[tuple[str, str], ...]) -> Shape:
    """Return the structure of a pipeline. Edges that name unknown routes, or close a cycle, are left out."""
    into: defaultdict[str, list[str]] = defaultdict(list)
    out: defaultdict[str, list[str]] = defaultdict(list)
    for start, end in dict.fromkeys(edges):
        if start in routes and end in routes:
            out[start].append(end)
            into[end].append(start)
    waiting = {name: len(into[name]) for name in routes}
    order = sorted((name for name in routes if not waiting[name]), key=lambda name: name != entry)
    depth = dict.fromkeys(order, 0)
    for name in order:
        for after in out[name]:
            depth.setdefault(after, depth[name] + 1)
            waiting[after] -= 1
            if not waiting[after]:
                order.append(after)
    known = {name: index for index, name in enumerate(order)}

    def kept(ways: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
        return {name: tuple(other for other in ways.get(name, ()) if other in known) for name in order}

    return Shape(entry, tuple(order), kept(into), kept(out), depth)


def attention(of: Shape, failing: Sequence[str], busy: Sequence[str], chosen: str | None) -> tuple[str, ...]:
    """Return routes that a person should look at, the most important first."""
    marked = [*([chosen] if chosen and chosen in of.into else []), *failing, *busy]
    neighbours = [name for route in marked for name in (*of.into[route], *of.out[route])]
    return tuple(dict.fromkeys([*marked, *neighbours, of.entry]))


@lru_cache(maxsize=256)
def select(of: Shape, wanted: tuple[str, ...], fill: bool = False) -> Selection:
    """Return as many of the wanted routes as fit, the first ones first, and the folds of the others.

    With `fill`, other routes are added in pipeline order while the drawing is small.
    """
    # The inputs are a box too.
    count = min(len(wanted), MOST_ROUTES - 1)
    while (folds := folded(of, set(wanted[:count]))) and count + len(folds) >= MOST_ROUTES:
        count -= 1
    keep = list(wanted[:count])
    for name in sorted(of.routes, key=of.depth.__getitem__) if fill else ():
        if name not in keep:
            more = folded(of, {*keep, name})
            if len(keep) + 1 + len(more) > _FEW_BOXES:
                break
            keep, folds = [*keep, name], more
    return Selection(frozenset(keep), tuple(folds))


def folded(of: Shape, keep: set[str]) -> list[Fold]:
    """Group the routes outside of `keep`, so that no cycle arises between groups and kept routes.

    Routes form a group if the same kept routes are before them, and the same kept routes are after them.
    Along an edge, the first set never shrinks, and the second one never grows. At a kept route, the first
    one grows. Therefore no path leads from a group through another box back into it.
    """
    bits = {name: 1 << index for index, name in enumerate(of.routes) if name in keep}
    before: dict[str, int] = {}
    for name in of.routes:
        before[name] = bits.get(name, 0)
        for other in of.into[name]:
            before[name] |= before[other]
    after: dict[str, int] = {}
    for name in reversed(of.routes):
        after[name] = bits.get(name, 0)
        for other in of.out[name]:
            after[name] |= after[other]
    groups: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for name in of.routes:
        if name not in keep:
            groups[before[name], after[name]].append(name)
    return [Fold(tuple(names), len(branches(of, names))) for names in groups.values()]


def branches(of: Shape, names: Sequence[str]) -> list[str]:
    """Return the first route of each connected part of a group."""
    inside, seen, found = set(names), set[str](), []
    for name in names:
        if name in seen:
            continue
        found.append(name)
        waiting = [name]
        while waiting:
            route = waiting.pop()
            if route in inside and route not in seen:
                seen.add(route)
                waiting += (*of.into[route], *of.out[route])
    return found


def reading_order(shape: Shape) -> dict[str, int]:
    """Return all routes as in an outline, each with its indent: one step for each branching before it.

    Each route follows all routes that feed it.
    """
    found: dict[str, int] = {}
    waiting = {name: len(into) for name, into in shape.into.items()}
    stack = [(name, 0) for name in reversed(shape.routes) if not waiting[name]]
    while stack:
        name, indent = stack.pop()
        found[name] = indent
        below = min(indent + (len(shape.out[name]) > 1), _MOST_INDENT)
        for after in reversed(shape.out[name]):
            waiting[after] -= 1
            if not waiting[after]:
                stack.append((after, below))
    return found
