"""A pipeline as it is drawn and listed: routes with their counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from playhead.web import folding
from playhead.web.folding import MOST_ROUTES, Shape
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
        is_pruned: whether they were deleted.
    """

    objects: int | None = None
    bytes: int | None = None
    is_pruned: bool = False


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
        readers: the dataset to which it belongs, with what its sink shows, in words; empty without one.
        is_paused: whether a person has paused it.
    """

    name: str
    adapters: str = ""
    stage: str | None = None
    size: StageSize = StageSize()
    tally: Tally | None = None
    is_external: bool = False
    has_effects: bool = False
    readers: str = ""
    is_paused: bool = False


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

    @property
    def has_readers(self) -> bool:
        """Whether a route belongs to a dataset."""
        return any(route.readers for route in self.routes)

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
