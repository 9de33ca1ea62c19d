"""Draws a pipeline: which boxes are shown, where they are, and what is written in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Final

from playhead.web import folding
from playhead.web.drawing import BOX_WIDTH, Bar, Content, Drawing, Line, Part, StageBox, head_of, lay_out
from playhead.web.folding import Fold
from playhead.web.graph import INPUT, Links, PipelineMap, RouteNode, StageSize, Tally
from playhead.web.render import counted, number, size
from playhead.web.states import word

_BAR_WIDTH: Final = BOX_WIDTH - 26
_THINNEST_BAR: Final = 3.0
_TITLE_LENGTH: Final = 22
_SUBTITLE_LENGTH: Final = 30
_PARTS_LENGTH: Final = 27
"""Characters of counts that fit in a box with their words."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a drawing shows, as the address of the page says.

    Attributes:
        stage: chosen stage; None: no playhead.
        focus: only routes around this one are drawn one by one; None: those that need attention.
        depth: steps from the focus to the last of these.
    """

    stage: str | None = None
    focus: str | None = None
    depth: int = 2


def draw(of: PipelineMap, links: Links, choice: Choice) -> Drawing:
    """Return the drawing of a pipeline. It has at most 40 boxes in addition to that of the inputs."""
    return _Draw(of, links, choice).drawing()


def shown(of: PipelineMap, choice: Choice) -> folding.Selection:
    """Return which routes have their own boxes. A small pipeline is drawn whole."""
    shape = of.shape
    if of.is_small:
        return folding.Selection(frozenset(shape.routes), ())
    if choice.focus in shape.into:
        return folding.select(shape, tuple(shape.near(str(choice.focus), choice.depth)))
    tallies = [(route.name, route.tally or Tally()) for route in of.routes if route.name in shape.into]
    failing = sorted((one for one in tallies if one[1].failed), key=lambda one: -one[1].failed)
    busy = sorted((one for one in tallies if one[1].open), key=lambda one: -one[1].open)
    names = [[name for name, _ in group] for group in (failing, busy)]
    wanted = folding.attention(shape, names[0], names[1], of.owner(choice.stage))
    return folding.select(shape, wanted, fill=not failing and not busy)


class _Draw:
    """One drawing. Boxes are known by the name of their first route."""

    def __init__(self, of: PipelineMap, links: Links, choice: Choice) -> None:
        self._of = of
        self._links = links
        self._choice = choice
        self._shape = of.shape
        self._routes = {route.name: route for route in of.routes}
        selection = shown(of, choice)
        self._folds = {fold.routes[0]: fold for fold in selection.folds if len(fold.routes) > 1}
        firsts = {*selection.keep, *(fold.routes[0] for fold in selection.folds)}
        self._names = [name for name in self._shape.routes if name in firsts]
        self._box_of = {name: name for name in self._names}
        for first, fold in self._folds.items():
            self._box_of.update(dict.fromkeys(fold.routes, first))
        self._owner = of.owner(choice.stage)
        self._reached: set[str] | None = None
        if self._owner is not None:
            is_input = self._owner == INPUT
            self._reached = {*self._shape.routes} if is_input else self._shape.after(self._owner)

    def drawing(self) -> Drawing:
        names = (INPUT, *self._names)
        at = None if self._owner is None else INPUT if self._owner == INPUT else self._box_of[self._owner]
        return lay_out(
            self._of.title,
            {name: self._content(name) for name in names},
            {edge: self._line(*edge) for edge in self._edges()},
            needle=at,
        )

    def _edges(self) -> tuple[tuple[str, str], ...]:
        """Return the edges between boxes. That of the inputs is the first one."""
        found = {(INPUT, self._box_of[self._of.entry]): None} if self._of.entry in self._box_of else {}
        for start in self._shape.routes:
            for end in self._shape.out[start]:
                if self._box_of[start] != self._box_of[end]:
                    found[self._box_of[start], self._box_of[end]] = None
        return tuple(found)

    def _content(self, name: str) -> Content:
        if name == INPUT:
            return self._inputs()
        return self._several(name) if name in self._folds else self._one(self._routes[name])

    def _inputs(self) -> Content:
        known = short_size(self._of.inputs) if self._of.inputs else ""
        return Content(
            kind="input",
            name=head_of(INPUT, _TITLE_LENGTH),
            subtitle=Line(known.replace(" objects", ""), known),
            href=self._links(stage=INPUT, route=None),
            css="g-sel" if self._owner == INPUT else "",
        )

    def _one(self, route: RouteNode) -> Content:
        tally = route.tally
        stage = None
        if route.stage:
            is_chosen = route.name == self._owner
            href = self._links(stage=route.stage, route=None)
            cell = live_name("stage", route.stage, "size") if self._of.is_open else None
            stage = StageBox(
                head_of(route.stage, _TITLE_LENGTH),
                short_size(route.size) if tally else "",
                href,
                is_chosen,
                cell,
            )
        flags = {
            "g-ext": route.is_external,
            "g-sel": stage is not None and stage.is_chosen,
            **self._states([route.name], tally),
        }
        return Content(
            kind="route",
            name=head_of(route.name, _TITLE_LENGTH),
            subtitle=head_of(word("paused") if route.is_paused else route.adapters, _SUBTITLE_LENGTH),
            href=self._links(route=route.name),
            css=" ".join(name for name, is_set in flags.items() if is_set),
            note=self._note(tally),
            parts=self._parts(tally, route.name) if tally else (),
            bars=bars_of(tally, route.name if self._of.is_open else None) if tally else (),
            stage=stage,
            has_effects=route.has_effects,
            readers=route.readers,
            routes=(route.name,),
        )

    def _several(self, name: str) -> Content:
        fold = self._folds[name]
        tally = self._tally(name)
        title = counted(len(fold.routes), "route")
        if fold.branches > 1:
            title = f"{counted(fold.branches, 'branch', 'branches')}: {title}"
        firsts = folding.branches(self._shape, fold.routes)
        ends = ", ".join(firsts) if fold.branches > 1 else f"{fold.routes[0]} … {fold.routes[-1]}"
        return Content(
            kind="fold",
            name=head_of(title, _TITLE_LENGTH),
            subtitle=head_of(ends, _SUBTITLE_LENGTH),
            href=self._opening(fold),
            css=" ".join(
                ["g-grp", *(css for css, is_set in self._states(fold.routes, tally).items() if is_set)]
            ),
            note=self._note(tally),
            parts=self._parts(tally, None) if tally else (),
            bars=bars_of(tally, None) if tally else (),
            routes=fold.routes,
        )

    def _tally(self, name: str) -> Tally | None:
        """Return the messages of the routes in a box; None if they are not known, or for the inputs."""
        routes = self._folds[name].routes if name in self._folds else () if name == INPUT else (name,)
        tallies = [tally for route in routes if (tally := self._routes[route].tally)]
        return reduce(add, tallies) if tallies else None

    def _opening(self, fold: Fold) -> str:
        """Return the address that shows the branches of a fold, or else the routes around its first one."""
        first = fold.routes[0]
        before = self._shape.into[first][:1] if fold.branches > 1 else ()
        if before and (before[0], 1) != (self._choice.focus, self._choice.depth):
            return self._links(view="around", focus=before[0], depth=1)
        return self._links(view="around", focus=first, depth=None)

    def _states(self, routes: Sequence[str], tally: Tally | None) -> dict[str, bool]:
        """Return CSS classes, and whether each applies to a box of these routes."""
        far = self._reached is not None and not {*routes} & {*self._reached, self._owner}
        return {
            "g-fail": tally is not None and tally.failed > 0,
            "g-run": tally is not None and tally.open > 0,
            "g-dim": tally is not None and not tally.total,
            "g-far": far,
        }

    def _note(self, tally: Tally | None) -> str:
        if tally is None or tally.total:
            return ""
        return "nothing yet" if self._of.is_open else "not reached"

    def _parts(self, tally: Tally, route: str | None) -> tuple[Part, ...]:
        found = [(state, count, word) for state, count, word in _counts(tally) if count]
        long = sum(len(f"{number(count)} {word}") + 2 for _, count, word in found) > _PARTS_LENGTH
        return tuple(
            Part(
                state,
                count,
                word,
                not long or state == "done",
                live_name("route", route, state) if route and self._of.is_open else None,
            )
            for state, count, word in found
        )

    def _line(self, start: str, end: str) -> tuple[str, str]:
        """Return the CSS class of an edge, and its conditions."""
        is_hot = self._reached is not None and (
            start == INPUT or start in self._reached or start == self._owner
        )
        is_hot = is_hot and end in (self._reached or ()) and (start != INPUT or self._owner == INPUT)
        # A route that a replay starts with has messages, but none of the route before it.
        is_unused = any(tally is not None and not tally.total for tally in map(self._tally, (start, end)))
        css = "hot" if is_hot else "cold" if is_unused else ""
        conditions = {
            pipe.condition
            for pipe in self._of.pipes
            if pipe.condition and (pipe.start, pipe.end) == (start, end)
        }
        return css, "; ".join(sorted(conditions))


def live_name(*parts: str) -> str:
    """Return the name of a live number, the same in the drawing and in the tables."""
    return ":".join(parts)


def _counts(tally: Tally) -> tuple[tuple[str, int, str], ...]:
    return (
        ("done", tally.done, "done"),
        ("failed", tally.failed, "failed"),
        ("open", tally.open, "to go"),
        ("cancelled", tally.cancelled, "cancelled"),
    )


def short_size(of: StageSize) -> str:
    """Return `1,201 objects · 9.8 MB`, or `pruned`; empty if it is not known."""
    if of.is_pruned:
        return "pruned"
    return f"{counted(of.objects, 'object')} · {size(of.bytes)}" if of.objects is not None else ""


def bars_of(tally: Tally, route: str | None) -> tuple[Bar, ...]:
    """Return the pieces of the bar: open, failed and done messages. Few failures are still visible.

    Args:
        route: name of the route if its widths are live; else None.
    """
    scale = _BAR_WIDTH / max(tally.total, 1)
    failed = max(scale * tally.failed, _THINNEST_BAR if tally.failed else 0)
    done = max(scale * (tally.done + tally.failed) - failed, 0)
    widths = {"open": done + failed + scale * tally.open, "failed": done + failed, "done": done}
    return tuple(
        Bar(state, width, live_name("route", route, "bar", state) if route else None)
        for state, width in widths.items()
        if route or width
    )


def cells(of: PipelineMap) -> dict[str, str]:
    """Return the live numbers of a pipeline."""
    found = {}
    for route in of.routes:
        tally = route.tally or Tally()
        for state, count in (("done", tally.done), ("failed", tally.failed), ("open", tally.open)):
            found[live_name("route", route.name, state)] = number(count)
        found |= {str(bar.live): f"{bar.width:.1f}" for bar in bars_of(tally, route.name)}
        if route.stage:
            found |= _stage_cells(route.stage, route.size)
    return found | (_stage_cells(INPUT, of.inputs) if of.inputs else {})


def _stage_cells(stage: str, of: StageSize) -> dict[str, str]:
    return {
        live_name("stage", stage, "objects"): number(of.objects),
        live_name("stage", stage, "bytes"): size(of.bytes),
        live_name("stage", stage, "size"): short_size(of),
    }
