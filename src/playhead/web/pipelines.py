"""The card of a pipeline: its drawing or its table, the chosen stage and the chosen route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from playhead.model import (
    Counts,
    Dataset,
    OnReplay,
    Pipeline,
    PipelineRoute,
    PrunedStage,
    RouteWait,
    StageTotal,
    StageTotals,
)
from playhead.web.drawing import Drawing
from playhead.web.folding import MOST_ROUTES, reading_order
from playhead.web.graph import INPUT, VIEWS, Links, Pipe, PipelineMap, RouteNode, StageSize, Tally
from playhead.web.page import Ask
from playhead.web.pipelinemap import Choice, draw
from playhead.web.render import counted

ORDERS: Final = ("pipeline", "failed", "name")
MOST_STEPS: Final = 20
"""The largest `depth`."""
_STEPS: Final = 2
_KEPT: Final = ("stage", "route", "view", "focus", "depth", "order", "version", "against")
"""Parameters of the address that links within the card keep."""
_SORTED_FROM: Final = 10
"""Routes from which a table can be sorted."""
_BUCKETS: Final = 20
"""Steps of the bar of a box. The drawing is made again when a bar has moved by one."""


@dataclass(frozen=True, slots=True)
class Option:
    """A link of a choice.

    Attributes:
        text: its words.
        href: its address.
        is_current: whether it is chosen.
    """

    text: str
    href: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A route in the table.

    Attributes:
        node: the route with its counts.
        indent: branchings between the entry and it, at most 3.
        queue: its inbound queue.
        on_replay: what a replay does in it; None: it runs.
        wait: why no attempt starts now; None if it does not wait.
        href: address that chooses the route.
        stage_href: address that chooses its stage; None: it stores nothing.
        is_chosen: whether it is the chosen route.
    """

    node: RouteNode
    indent: int
    queue: str
    on_replay: OnReplay | None
    wait: RouteWait | None
    href: str
    stage_href: str | None
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class StageBar:
    """The chosen stage.

    Attributes:
        stage: its name.
        size: its objects; None: not known.
        made_by: route that stores it; None: it contains the inputs.
        feeds: routes that receive its objects.
        reaches: number of routes that a replay from it can reach.
        pruned: when its objects were deleted; None: they were not.
        is_empty: whether it is known to have no objects.
        is_known: whether it is a stage of the pipeline.
    """

    stage: str
    size: StageSize | None
    made_by: RouteNode | None
    feeds: tuple[str, ...]
    reaches: int
    pruned: PrunedStage | None
    is_empty: bool
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class PipelineCard:
    """A pipeline as a page shows it.

    Attributes:
        map: the pipeline with its counts.
        caption: what is drawn, in words.
        view: `attention`, `around` or `table`.
        drawing: the graph; None in the table view.
        rows: all routes, in the chosen order.
        attention: those that fail or are busy, or are chosen: the first ones.
        views: links to the views.
        orders: links to the orders of the table; empty for few routes.
        stage: the chosen stage; None: none is chosen.
        route: the chosen route; None: none is chosen.
        hidden: parameters that a form on the page has to keep.
        shape: changes when the drawing must be made again.
        has_cancelled: whether a message was cancelled.
    """

    map: PipelineMap
    caption: str
    view: str
    drawing: Drawing | None
    rows: tuple[Row, ...]
    attention: tuple[Row, ...]
    views: tuple[Option, ...]
    orders: tuple[Option, ...]
    stage: StageBar | None
    route: Row | None
    hidden: Mapping[str, str]
    shape: str
    has_cancelled: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an execution, to be laid over its pipeline.

    Attributes:
        totals: sizes of its stages; None: not known, or a config without an execution.
        pruned: stages whose objects were deleted.
        waits: routes in which no attempt starts now.
        is_open: whether messages may still arrive.
        datasets: those of its config.
        has_run: whether it is an execution, of which other versions of adapters may have run than are loaded.
    """

    totals: StageTotals | None = None
    pruned: Sequence[PrunedStage] = ()
    waits: Mapping[str, RouteWait] = field(default_factory=dict)
    is_open: bool = False
    datasets: Sequence[Dataset] = ()
    has_run: bool = False


NOTHING: Final = Known()


def tally_of(counts: Counts | None) -> Tally | None:
    if counts is None:
        return None
    return Tally(counts.completed, counts.failed, counts.pending, counts.cancelled)


def adapters_of(route: PipelineRoute, *, as_loaded: bool = True) -> str:
    """Return the adapters of a route, such as `sections 2 → tag 1`.

    Args:
        as_loaded: with the versions that this server has loaded. Those that ran may have been others.
    """
    if route.is_external:
        return "other programs consume"
    return " → ".join(
        f"{one.type} {one.version}" if one.version and as_loaded else one.type for one in route.adapters
    )


def pipeline_map(pipeline: Pipeline, known: Known = NOTHING) -> PipelineMap:
    """Return a pipeline as it is drawn."""
    stages = known.totals.stages if known.totals else ()
    sizes = {one.stage: _size_of(one, known.pruned) for one in stages}
    bound = {route: dataset for dataset in known.datasets for route in dataset.routes}
    has_counts = any(route.counts is not None for route in pipeline.routes)
    routes = tuple(
        RouteNode(
            name=route.route,
            adapters=adapters_of(route, as_loaded=not known.has_run),
            stage=route.stage,
            size=sizes.get(route.stage or "", StageSize()),
            tally=tally_of(route.counts),
            is_external=route.is_external,
            has_effects=route.has_effects,
            is_paused=bool((wait := known.waits.get(route.route)) and wait.is_paused),
            readers=_readers(route.route, bound[route.route]) if route.route in bound else "",
        )
        for route in pipeline.routes
    )
    return PipelineMap(
        title=f"Pipeline {pipeline.config}, version {pipeline.version}",
        entry=pipeline.entry or "",
        routes=routes,
        pipes=tuple(Pipe(edge.from_route, edge.to_route, edge.condition) for edge in pipeline.edges),
        inputs=sizes.get(INPUT, StageSize()) if has_counts else None,
        is_open=known.is_open,
    )


def _size_of(total: StageTotal, pruned: Sequence[PrunedStage]) -> StageSize:
    """Return the size of a stage. Objects that were deleted are not counted as 0 objects."""
    if not total.objects and any(one.overlaps(total.stage) for one in pruned):
        return StageSize(is_pruned=True)
    return StageSize(total.objects, total.bytes)


def _readers(route: str, dataset: Dataset) -> str:
    """Return to which dataset a route belongs, and which publication readers see there."""
    sink = next((one for one in dataset.sinks if one.route == route), None)
    shown = sink.shown if sink else dataset.current
    what = "its sink shows" if sink else "readers see"
    return f"in dataset {dataset.name}, {what} {f'publication {shown}' if shown else 'no publication yet'}"


def choose_stage(of: PipelineMap) -> str | None:
    """Return the stage that is chosen unless the address names one: what the most failures were made from.

    Without failures, it is the first stage that has objects, or the inputs. While messages may still arrive,
    it is the first stage in any case, so that it stays the same.
    """
    shape = of.shape
    nodes = {route.name: route for route in of.routes}
    failing = max(of.routes, key=lambda route: route.tally.failed if route.tally else 0, default=None)
    if failing and failing.tally and failing.tally.failed:
        return next(
            (stage for name in shape.into.get(failing.name, ()) if (stage := nodes[name].stage)), INPUT
        )
    for name in shape.routes:
        if (stage := nodes[name].stage) and (of.is_open or nodes[name].size.objects != 0):
            return stage
    return INPUT if of.inputs else None


def card(ask: Ask, pipeline: Pipeline, known: Known = NOTHING) -> PipelineCard:
    """Return the card that the address of a page asks for.

    Raises:
        BadRequest: a parameter is invalid.
    """
    of = pipeline_map(pipeline, known)
    routes = of.shape.routes
    order = ask.choice("order", ORDERS) or "pipeline"
    focus = ask.text("focus")
    chosen = ask.text("route") or (focus if of.is_small else None)
    view = ask.choice("view", VIEWS) or ("around" if focus else "attention")
    if of.is_small and view == "around":
        view = "attention"
    if focus not in routes:
        focus = _named(focus, routes) or (chosen if chosen in routes else of.entry)
    depth = ask.number("depth", 0, MOST_STEPS)
    stage = ask.text("stage") or choose_stage(of)
    choice = Choice(stage, focus if view == "around" else None, _STEPS if depth is None else depth)
    links = Links({name: value for name in _KEPT if (value := ask.text(name))})
    drawing = draw(of, links, choice) if view != "table" else None
    rows = _sorted(_rows(of, pipeline, known, links, chosen), order, of)
    return PipelineCard(
        map=of,
        caption=_caption(of, drawing, choice),
        view=view,
        drawing=drawing,
        rows=rows,
        attention=tuple(row for row in rows if _is_notable(row))[:MOST_ROUTES],
        views=_views(of, links, view, focus),
        orders=_orders(links, order) if len(of.routes) > _SORTED_FROM else (),
        stage=_stage_bar(of, stage, known),
        route=next((row for row in rows if row.is_chosen), None),
        hidden={name: value for name, value in links.query.items() if name not in ("focus", "depth", "view")},
        shape=_shape(of),
        has_cancelled=any(route.tally and route.tally.cancelled for route in of.routes),
    )


def _named(text: str | None, routes: Sequence[str]) -> str | None:
    """Return the first route whose name contains a text, if any."""
    return next((name for name in routes if text and text.casefold() in name.casefold()), None)


def places(of: PipelineMap) -> dict[str, int]:
    """Return the place of each route in pipeline order."""
    return {name: at for at, name in enumerate(reading_order(of.shape))}


def _rows(
    of: PipelineMap, pipeline: Pipeline, known: Known, links: Links, chosen: str | None
) -> tuple[Row, ...]:
    indents = reading_order(of.shape)
    return tuple(
        Row(
            node=node,
            indent=indents.get(node.name, 0),
            queue=route.queue,
            on_replay=route.on_replay,
            wait=known.waits.get(node.name),
            href=links(route=node.name),
            stage_href=links(stage=node.stage, route=None) if node.stage else None,
            is_chosen=node.name == chosen,
        )
        for node, route in zip(of.routes, pipeline.routes, strict=True)
    )


def _sorted(rows: Sequence[Row], order: str, of: PipelineMap) -> tuple[Row, ...]:
    if order == "name":
        return tuple(sorted(rows, key=lambda row: row.node.name))
    order_of = places(of)
    found = sorted(rows, key=lambda row: order_of.get(row.node.name, len(order_of)))
    if order == "failed":
        found.sort(key=lambda row: -row.node.tally.failed if row.node.tally else 0)
    return tuple(found)


def _is_notable(row: Row) -> bool:
    tally = row.node.tally or Tally()
    return row.is_chosen or tally.failed > 0 or tally.open > 0


def _views(of: PipelineMap, links: Links, view: str, focus: str | None) -> tuple[Option, ...]:
    graph = Option("Graph", links(view=None, focus=None, depth=None), view == "attention")
    table = Option("Table", links(view="table"), view == "table")
    if of.is_small:
        return (graph, table)
    around = Option("Around a route", links(view="around", focus=focus), view == "around")
    return (Option("Needs attention", graph.href, graph.is_current), around, table)


def _orders(links: Links, order: str) -> tuple[Option, ...]:
    words = (
        ("pipeline", "Pipeline order"),
        ("failed", "Failed first"),
        ("name", "Name"),
    )
    return tuple(
        Option(text, links(order=None if one == "pipeline" else one), one == order) for one, text in words
    )


def _caption(of: PipelineMap, drawing: Drawing | None, choice: Choice) -> str:
    total = counted(len(of.routes), "route")
    if of.is_small or drawing is None:
        return total
    if choice.focus:
        return f"{total}; shown: those up to {counted(choice.depth, 'step')} from {choice.focus}"
    tallies = [route.tally for route in of.routes if route.tally]
    failing, busy = sum(one.failed > 0 for one in tallies), sum(one.open > 0 for one in tallies)
    words = " and ".join(
        f"{count:,} {word}" for count, word in ((failing, "failing"), (busy, "busy")) if count
    )
    if not words:
        return f"{total}; none fails or is busy" if tallies else f"{total}; the first ones are shown"
    return f"{total}; shown: {words}, with neighbours"


def _stage_bar(of: PipelineMap, stage: str | None, known: Known) -> StageBar | None:
    if stage is None:
        return None
    pruned = next((one for one in known.pruned if one.overlaps(stage)), None)
    if (owner := of.owner(stage)) is None:
        return StageBar(stage, None, None, (), 0, pruned, is_empty=False, is_known=False)
    shape = of.shape
    node = next((route for route in of.routes if route.name == owner), None)
    reached = shape.after(owner) if node else set(shape.routes)
    size_of = node.size if node else of.inputs
    return StageBar(
        stage=stage,
        size=size_of if size_of and size_of.objects is not None else None,
        made_by=node,
        feeds=shape.out.get(owner, ()) if node else (of.entry,),
        reaches=len(reached),
        pruned=pruned,
        is_empty=size_of is not None and size_of.objects == 0,
    )


def _shape(of: PipelineMap) -> str:
    """Return what changes when a box changes more than its numbers."""
    tallies = [route.tally or Tally() for route in of.routes]
    return ",".join(
        f"{one.failed > 0:d}{one.open > 0:d}{one.done * _BUCKETS // max(one.total, 1)}" for one in tallies
    )
