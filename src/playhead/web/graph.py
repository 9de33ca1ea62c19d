"""A pipeline as it is drawn: routes with their counts, and the boxes, edges and playhead of the drawing.

`drawing` turns the first into the second, and the template `graph.svg.html` writes the SVG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from playhead.web import folding
from playhead.web.folding import MOST_ROUTES, Shape
from playhead.web.layout import Place
from playhead.web.page import url

INPUT: Final = "input"
VIEWS: Final = ("attention", "around", "table")


@dataclass(frozen=True, slots=True)
class Tally:
    """Messages of a route by state.

    Attributes:
        done: completed messages.
        failed: dead letters.
        open: messages that are waiting, running, or retried later.
        cancelled: cancelled with their execution.
    """

    done: int = 0
    failed: int = 0
    open: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.done + self.failed + self.open + self.cancelled

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.done + other.done,
            self.failed + other.failed,
            self.open + other.open,
            self.cancelled + other.cancelled,
        )


@dataclass(frozen=True, slots=True)
class StageSize:
    """The objects of a stage.

    Attributes:
        objects: number of objects; None if it is not known.
        bytes: total size; None if it is not known.
    """

    objects: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RouteNode:
    """A route of a pipeline, as it is drawn and listed.

    Attributes:
        name: its name.
        adapters: its steps with their versions, as text.
        stage: the stage that it stores; None: it stores nothing.
        size: the objects of that stage.
        tally: its messages; None: a config without an execution.
        is_external: whether other programs consume its queue.
        has_effects: whether it changes something outside of Playhead.
    """

    name: str
    adapters: str = ""
    stage: str | None = None
    size: StageSize = StageSize()
    tally: Tally | None = None
    is_external: bool = False
    has_effects: bool = False


@dataclass(frozen=True, slots=True)
class Pipe:
    """From one route to the next.

    Attributes:
        start: the route that stores the outputs.
        end: the route that receives them.
        condition: what an item must fulfil, as text; None: all items pass.
    """

    start: str
    end: str
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class PipelineMap:
    """What is drawn.

    Attributes:
        title: accessible name of the drawing.
        entry: route that receives the inputs.
        routes: in the order of the config.
        pipes: edges between the routes.
        inputs: the stage `input`; None: a config without an execution.
        is_open: whether messages may still arrive.
    """

    title: str
    entry: str
    routes: tuple[RouteNode, ...]
    pipes: tuple[Pipe, ...]
    inputs: StageSize | None = None
    is_open: bool = False

    @property
    def shape(self) -> Shape:
        names = tuple(route.name for route in self.routes)
        return folding.shape(self.entry, names, tuple((pipe.start, pipe.end) for pipe in self.pipes))

    @property
    def is_small(self) -> bool:
        """Whether all routes are drawn, so that only one view exists."""
        return len(self.routes) <= MOST_ROUTES

    def owner(self, stage: str | None) -> str | None:
        """Return the route that stores a stage, `input` for the inputs, or None."""
        if stage == INPUT:
            return INPUT
        return next((route.name for route in self.routes if stage and route.stage == stage), None)


@dataclass(frozen=True, slots=True)
class Links:
    """Links to the same page that keep the query, except what they change.

    Attributes:
        query: parameters of the current address.
    """

    query: Mapping[str, str]

    def __call__(self, **changes: str | int | None) -> str:
        """Return the address with some parameters changed; None removes one."""
        return url("", **{**self.query, **changes}) or "?"


@dataclass(frozen=True, slots=True)
class Part:
    """A number in a box, with its word.

    Attributes:
        state: `done`, `failed`, `open` or `cancelled`.
        count: the number.
        word: the name of the state; empty where the box has no room for it.
        live: name of the live number; None if it does not change.
    """

    state: str
    count: int
    word: str
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
        title: name of the stage, shortened.
        size: number and size of its objects, as text; empty if it is not known.
        label: accessible name.
        href: address that chooses the stage.
        is_chosen: whether the playhead is at it.
        live: name of the live text of `size`; None if it does not change.
    """

    title: str
    size: str
    label: str
    href: str
    is_chosen: bool
    live: str | None


@dataclass(frozen=True, slots=True)
class Content:
    """What is written in a box.

    Attributes:
        kind: `input`, `route`, or `fold` for several routes.
        name: first line, shortened.
        subtitle: second line, shortened.
        label: accessible name.
        href: address of the link.
        css: names of CSS classes.
        note: third line of a box without counts.
        parts: counts.
        bars: pieces of the bar.
        stage: lower half; None: nothing is stored.
        has_effects: whether it changes something outside of Playhead.
        routes: names of the routes that it shows.
    """

    kind: Literal["input", "route", "fold"]
    name: str
    subtitle: str
    label: str
    href: str
    css: str
    note: str = ""
    parts: tuple[Part, ...] = ()
    bars: tuple[Bar, ...] = ()
    stage: StageBox | None = None
    has_effects: bool = False
    routes: tuple[str, ...] = ()


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
        tip: of its arrow, as SVG.
        css: `hot` if a replay from the chosen stage passes it; `cold` if it carried no message.
        title: the condition; empty without one.
    """

    path: str
    tip: str
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class Needle:
    """The playhead: a vertical line at the chosen stage.

    Attributes:
        x: of the line.
        left: edge of its head.
        width: of its head.
        label: text in its head.
    """

    x: float
    left: float
    width: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing.

    Attributes:
        title: accessible name.
        left: of the view box.
        top: of the view box.
        width: of the view box.
        height: of the view box.
        boxes: in pipeline order.
        edges: lines between them.
        needle: the playhead; None: no stage is chosen.
        drawn: number of routes that have their own box.
        routes: number of routes of the pipeline.
    """

    title: str
    left: float
    top: float
    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    needle: Needle | None
    drawn: int
    routes: int
