"""`/executions/{id}`: what happened to an execution, its pipeline, failures and replays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

from playhead.ids import parse_uuid
from playhead.model import (
    MOST_COUNTED,
    AdapterCode,
    ConfigVersion,
    DeadLetterGroup,
    Execution,
    Page,
    Pipeline,
    Placement,
    Replay,
    RouteWait,
    StageTotals,
    Worker,
)
from playhead.model.access import HistoryEntry
from playhead.services import Services
from playhead.web import execution_tabs as tabs
from playhead.web.datasets import Problem
from playhead.web.execution_tabs import FamilyTab, MessagesTab, ObjectsTab, Tab
from playhead.web.outcomes import Outcome, outcomes
from playhead.web.page import (
    Answer,
    ApiCall,
    Ask,
    Crumb,
    Missing,
    Page as PageOf,
    Redirect,
    Shown,
    or_missing,
    url,
)
from playhead.web.pipelinemap import cells
from playhead.web.pipelines import Known, PipelineCard, card
from playhead.web.render import counted, number, short
from playhead.web.timeline import COUNTING, TimelineTab
from playhead.web.verdict import Verdict, verdict
from playhead.wording import wait_text

T = TypeVar("T")

TABS: Final = ("overview", "objects", "messages", "timeline", "family", "config")
_GROUPS: Final = 5
_NAMED: Final = 2
"""Groups that the page names; `_GROUPS` are read."""
_REPLAYS: Final = 20
_WORKERS: Final = 1000
_SIZES_WITHIN: Final = 0.15
"""Seconds that a page waits for the sizes of stages. Live numbers add them later."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The first tab.

    Attributes:
        pipeline: the pipeline with its counts.
        as_of: time of the sizes of stages; None: they are not known yet.
        groups: groups of its dead letters: the first ones.
        named: the largest of them, which the page names.
        other_letters: number of dead letters in other groups; 0 if it is not known.
        replays: replays of it: the newest ones.
        outcomes: their states, by batch.
        more_replays: whether there are more.
        waits: why no attempt starts now, in words, by route.
        sources: the stage of the inputs that failed, by route.
        ran: adapters of the newest message of the chosen route; empty if none has ended.
    """

    pipeline: PipelineCard | Missing
    as_of: str | None
    groups: Sequence[DeadLetterGroup] | Missing
    named: Sequence[DeadLetterGroup]
    other_letters: int
    replays: Sequence[Replay] | Missing
    outcomes: Mapping[UUID, Outcome]
    more_replays: bool
    waits: Mapping[str, str]
    sources: Mapping[str, str]
    ran: Sequence[AdapterCode]


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """An execution.

    Attributes:
        execution: its state.
        verdict: what happened to it.
        said: its sentence, and why messages are not processed now.
        newest: newest version of its config; None: it has no config.
        can_replay: whether it has objects that are not deleted, as far as this is known.
        batch: the replay that it is; None: it is not a replay.
        placements: where its results are in the datasets of its config; none while it is running.
        tab: `overview`, `objects`, `messages`, `family` or `config`.
        tabs: links to the tabs.
        content: what the tab shows.
        can_pin: whether it may be protected from prunes, or that may be ended.
        history: its newest changes, on the tab `overview`.
        problem: why something that a person asked for was refused.
    """

    execution: Execution
    verdict: Verdict
    said: str
    newest: int | None
    can_replay: bool
    batch: Replay | None
    placements: Sequence[Placement]
    tab: str
    tabs: Sequence[Tab]
    content: Overview | ObjectsTab | MessagesTab | FamilyTab | ConfigVersion
    can_pin: bool
    history: Sequence[HistoryEntry]
    problem: Problem | None = None


async def _soon(read: Callable[[UUID], Awaitable[T]], identity: UUID, seconds: float) -> T | None:
    """Return a part, or None if it takes longer. It is read to its end in any case, so that it is cached."""
    task = asyncio.ensure_future(read(identity))
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        return task.result()
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
    return None


async def show(ask: Ask) -> Answer:
    identity = await ask.execution()
    if parse_uuid(ask.parameters["execution_id"]) is None:
        return Redirect(url(f"/executions/{identity}", **ask.query))
    services = ask.services
    execution = await services.executions.get(identity)
    tab = ask.choice("tab", TABS) or TABS[0]
    is_publication = execution.kind == "publication" and tab == "overview"
    if is_publication and (of := await services.publish.of_execution(identity)):
        return Redirect(url(f"/datasets/{of.dataset}/{of.n}", config=of.config))
    if execution.kind in ("adopted", "publication") and tab not in ("objects", "family"):
        tab = "objects"
    newest = await services.configs.get(execution.config) if execution.config else None
    batch = await services.executions.replay(execution.replay_batch_id) if execution.replay_batch_id else None
    content = await (_overview(ask, execution) if tab == "overview" else tabs.READ[tab](ask, execution))
    became = verdict(execution, batch)
    said = became.sentence
    if isinstance(content, Overview) and content.waits:
        said = f"{said} {_waiting(content.waits)}"
    has_objects = all(one.stage is not None for one in execution.pruned)
    view = ExecutionView(
        execution=execution,
        verdict=became,
        said=said,
        newest=newest.version if newest else None,
        can_replay=has_objects,
        batch=batch,
        placements=await placements(services, execution) if ask.text("mark") is None else (),
        tab=tab,
        tabs=_tabs(execution, tab),
        content=content,
        can_pin=has_objects and execution.kind in ("run", "replay"),
        history=await services.audit.history(execution=identity) if isinstance(content, Overview) else (),
    )
    found = _cells(execution) | {"verdict": said}
    shape = f"{became.state} {execution.counts.failed > 0}"
    if isinstance(content, Overview) and isinstance(content.pipeline, PipelineCard):
        found |= cells(content.pipeline.map)
        shape = f"{shape} {content.pipeline.shape}"
    is_counting = isinstance(content, TimelineTab) and content.until is None
    return Shown(
        f"{execution.config or 'adopted'}, {execution.kind} {short(identity)}",
        view,
        calls=_calls(execution, tab),
        crumbs=_crumbs(execution),
        cells=found,
        shape=f"{shape} {COUNTING}" if is_counting else shape,
        ended=execution.status != "running" and not is_counting,
        mark=COUNTING if is_counting else "live",
    )


async def placements(services: Services, of: Execution) -> Sequence[Placement]:
    """Return where the results of a settled execution are in the datasets of its config."""
    if of.config is None or of.kind not in ("run", "replay") or of.status not in ("completed", "failed"):
        return ()
    return await services.publish.placements(of.config, of.execution_id)


async def _overview(ask: Ask, execution: Execution) -> Overview:
    identity, services = execution.execution_id, ask.services
    is_open = execution.status == "running"
    has_failures = execution.counts.failed > 0 and not execution.records_deleted_at
    is_drawn = ask.text("mark") is None  # the live numbers need no failures and no replays
    pipeline, totals, route_waits, workers, groups, replays = await asyncio.gather(
        or_missing(services.pipelines.of_found, execution),
        or_missing(_soon, services.executions.stage_totals, identity, _SIZES_WITHIN),
        _route_waits(services, identity) if is_open else _nothing(),
        services.workers.list(None, _WORKERS) if is_open else _nothing(),
        or_missing(_groups, services, identity) if has_failures and is_drawn else _nothing(),
        or_missing(services.executions.replays, identity, None, _REPLAYS) if is_drawn else _nothing(),
    )
    known = totals if isinstance(totals, StageTotals) else None
    datasets = await or_missing(services.publish.datasets_of, execution.config) if execution.config else ()
    laid_over = Known(
        *(known, execution.pruned, route_waits or {}, is_open),
        datasets=() if isinstance(datasets, Missing) else datasets,
        has_run=True,
    )
    taken = replays.items if isinstance(replays, Page) else []
    drawn = pipeline if isinstance(pipeline, Missing) else card(ask, pipeline, laid_over)
    chosen = drawn.route if isinstance(drawn, PipelineCard) and is_drawn else None
    named = groups[:_NAMED] if isinstance(groups, list) else []
    return Overview(
        pipeline=drawn,
        as_of=known.as_of if known else None,
        groups=groups or (),
        named=named,
        other_letters=_others(execution.counts.failed, named),
        replays=replays if isinstance(replays, Missing) else taken,
        outcomes=await outcomes(services, taken),
        more_replays=isinstance(replays, Page) and replays.next_cursor is not None,
        waits=_waits(pipeline, route_waits or {}, workers),
        sources=_sources(groups, known) if isinstance(groups, list) and known else {},
        ran=await _ran(services, identity, chosen.node.name) if chosen else (),
    )


def _others(failed: int, named: Sequence[DeadLetterGroup]) -> int:
    """Return how many dead letters are in no named group; 0 if a named group has more than are counted."""
    counts = [one.count for one in named]
    return 0 if not counts or MOST_COUNTED in counts else max(failed - sum(counts), 0)


def _sources(groups: Sequence[DeadLetterGroup], totals: StageTotals) -> dict[str, str]:
    """Return the stage of the inputs of the newest dead letter of each group, by route."""
    found = {}
    for group in groups:
        path = group.input_key.partition("/")[2]
        for stage in totals.stages:
            if path.startswith(f"{stage.stage}/"):
                found[group.route] = stage.stage
    return found


async def _ran(services: Services, execution: UUID, route: str) -> Sequence[AdapterCode]:
    """Return the adapters that processed the newest message of a route."""
    newest = await services.lineage.list(execution=execution, route=route, limit=1)
    return [code for one in newest.items for code in one.adapters or ()]


async def _nothing() -> None:
    return None


def _waits(
    pipeline: Pipeline | Missing, route_waits: Mapping[str, RouteWait], workers: Page[Worker] | None
) -> dict[str, str]:
    """Return why messages of routes are not processed: a cooldown, or no worker."""
    found = {route: wait_text(one) for route, one in route_waits.items()}
    if workers is None or isinstance(pipeline, Missing) or workers.next_cursor is not None:
        return found
    consumed = {queue for worker in workers.items for queue in worker.queues}
    for route in pipeline.routes:
        if route.counts and route.counts.pending and not route.is_external and route.queue not in consumed:
            found.setdefault(
                route.route, f"waits: no worker consumes the queue {route.queue}. Run: playhead worker"
            )
    return found


def _waiting(waits: Mapping[str, str]) -> str:
    (route, reason), *others = waits.items()
    more = (
        f" {counted(len(others), 'other route')} wait{'' if len(others) > 1 else 's'} too." if others else ""
    )
    return f"{route} {reason}.{more}".replace("..", ".")


async def _route_waits(services: Services, execution: UUID) -> dict[str, RouteWait]:
    counts = await services.executions.route_counts(execution)
    return {one.route: one.wait for one in counts if one.wait}


async def _groups(services: Services, execution: UUID) -> list[DeadLetterGroup]:
    """Return the newest groups of its dead letters, the largest first."""
    groups = (await services.queues.dead_letter_groups(execution=execution, limit=_GROUPS)).items
    return sorted(groups, key=lambda group: -group.count)


def _tabs(of: Execution, current: str) -> list[Tab]:
    def tab(name: str, text: str, count: int | None = None, live: str | None = None) -> Tab:
        href = url(f"/executions/{of.execution_id}", tab=None if name == "overview" else name)
        return Tab(text, href, name == current, count, live)

    objects = tab("objects", "Objects")
    family = tab("family", "Replays")
    if of.kind == "publication":
        return [Tab("Publication", url(f"/executions/{of.execution_id}"), False), objects, family]
    if of.kind == "adopted":
        return [objects, family]
    dead = url("/dead-letters", execution_id=of.execution_id)
    messages = [
        tab("messages", "Messages", of.counts.total, "total"),
        Tab("Dead letters", dead, False, of.counts.failed, "failed"),
        tab("timeline", "Timeline"),
    ]
    return [
        tab("overview", "Overview"),
        objects,
        *([] if of.records_deleted_at else messages),
        family,
        tab("config", "Config"),
    ]


def _crumbs(of: Execution) -> list[Crumb]:
    found = [Crumb("Executions", "/executions")]
    if of.config:
        found.append(Crumb(of.config, url("/executions", config=of.config)))
    return [*found, Crumb(short(of.execution_id))]


def _cells(of: Execution) -> dict[str, str]:
    counts = of.counts
    return {
        "done": number(counts.completed),
        "failed": number(counts.failed),
        "open": number(counts.pending),
        "total": number(counts.total),
        "can_cancel": "yes" if of.status == "running" else "",
    }


def _calls(of: Execution, tab: str) -> list[ApiCall]:
    base = f"/api/v1/executions/{of.execution_id}"
    more = {
        "overview": ("/dag", "/totals", "/replays?limit=20"),
        "messages": ("/lineage",),
        "family": ("/replays",),
    }
    found = [base, *(base + path for path in more.get(tab, ()))]
    if tab == "overview" and of.counts.failed:
        found.append(url("/api/v1/dead-letters/groups", execution_id=of.execution_id))
    if tab == "objects":
        found.append(url("/api/v1/storage/objects", execution_id=of.execution_id))
    if tab == "config":
        found.append(url(f"/api/v1/configs/{of.config}/versions/{of.config_version}"))
    return [ApiCall(path) for path in found]


PAGES: Final = (
    PageOf("/executions/{execution_id}", "execution.html", show, "executions", live=True, scope="read"),
)
