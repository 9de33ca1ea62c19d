"""The structure of a pipeline: its routes, and the edges between them."""

from __future__ import annotations

from dataclasses import dataclass

from playhead.model.replays import OnReplay
from playhead.model.views import Counts


@dataclass(frozen=True, slots=True)
class PipelineAdapter:
    """An adapter of a route.

    Attributes:
        type: its name in configs.
        version: version that the process that answers has loaded; None if it has not loaded the adapter.
    """

    type: str
    version: str | None


@dataclass(frozen=True, slots=True)
class PipelineRoute:
    """A route of a pipeline.

    Attributes:
        route: its name.
        queue: its inbound queue.
        adapters: its adapters, in their order; empty if other programs consume the queue.
        stage: stage of its outputs; None if they are not stored.
        is_external: whether other programs consume its queue.
        has_effects: whether it has external effects, as far as this is known.
        on_replay: what a replay does in this route: the stricter value of this version and the newest one;
            None if neither declares it, which means `run`.
        counts: its messages in the execution; None for a config.
    """

    route: str
    queue: str
    adapters: list[PipelineAdapter]
    stage: str | None
    is_external: bool
    has_effects: bool
    on_replay: OnReplay | None
    counts: Counts | None


@dataclass(frozen=True, slots=True)
class PipelineEdge:
    """An edge: the outputs of one route are the inputs of another.

    Attributes:
        from_route: route that stores the outputs.
        to_route: route that receives them.
        condition: the conditions of `from_route` that drop items, as text; None if it drops no items. Only
            items that meet them reach `to_route`.
    """

    from_route: str
    to_route: str
    condition: str | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The structure of a config version. That of an adopted execution has no config and no routes.

    Attributes:
        config: name of the config; None if the execution is adopted.
        version: its version; None if the execution is adopted.
        hash: hash of that version; None if the execution is adopted.
        entry: route that receives the inputs of a run; None if the execution is adopted.
        routes: its routes in the order of the config, without the hidden ones.
        edges: the edges between these routes, in the same order.
        hidden: number of routes that are too far from the focus.
    """

    config: str | None
    version: int | None
    hash: str | None
    entry: str | None
    routes: list[PipelineRoute]
    edges: list[PipelineEdge]
    hidden: int
