"""`/replays/{batch}`: a replay, its progress, and its control."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from playhead.errors import BadRequest, NotFound, PlayheadError
from playhead.model import (
    DeadLetterGroup,
    Execution,
    Placement,
    PlanDifference,
    Replay,
    Report,
    RouteCounts,
    WebhookDelivery,
)
from playhead.model.access import HistoryEntry
from playhead.services import Services
from playhead.web import pipelines
from playhead.web.again import again, failed_again, fits_form, rest_of
from playhead.web.bars import Bar, bars_of, to_go
from playhead.web.drawing import Drawing
from playhead.web.evidence import EvidenceView, evidence, limit_of
from playhead.web.execution import placements
from playhead.web.graph import INPUT, Links, PipelineMap, StageSize
from playhead.web.matrix import MatrixView, matrix
from playhead.web.outcomes import outcome_of
from playhead.web.page import (
    Action,
    Answer,
    ApiCall,
    Ask,
    Crumb,
    Missing,
    Page,
    Redirect,
    Shown,
    or_missing,
    status_of,
)
from playhead.web.pipelinemap import Choice, cells, draw
from playhead.web.pipelines import Known
from playhead.web.render import counted, duration
from playhead.web.replayform import ReplayForm
from playhead.wording import pace_text, stop_reason, stopped_text

_MOST_DELIVERIES: Final = 20
_GROUPS: Final = 5
_MOST_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class BatchView:
    """A replay with its progress.

    Attributes:
        replay: the replay.
        source: the execution that is replayed.
        made: the new execution.
        state_text: its state, with what it waits for.
        look: the state whose shape and colour are shown.
        pace_text: its pace in words; empty without one.
        to_go: objects that are neither published nor failed nor uncertain.
        bars: the bars.
        controls: what the state allows: `pause`, `resume`, `more`, `pace`, `retry`, `cancel`, `withdraw`.
        limit: how many of the objects that are checked now may fail, in words; None if none are checked.
        evidence: these objects; None if none are checked, or they cannot be read.
        difference: why it was refused.
        report: its completion report; None if it has none.
        deliveries: events for its webhook, newest first.
        drawing: the pipeline with the messages of the replay; None if it cannot be read.
        again: form of the same replay; of a wider one unless `fits_form`.
        failed_again: form of a replay of what has failed in this one.
        rest: form of a replay of what a cancelled replay has not published; of more unless `fits_form`.
        fits_form: the form has fields for all that the replay was asked for.
        placements: where its results are in the datasets of its config; none while it is running.
        groups: groups of its dead letters: the first ones.
        matrix: its objects before and after; None if its source has no messages, or none was listed.
        errors: why objects failed, and why publishing ended early, except by a cancellation.
        history: its newest changes.
        notice: why a control was not followed.
    """

    replay: Replay
    source: Execution | Missing
    made: Execution
    state_text: str
    look: str
    pace_text: str
    to_go: int
    bars: Sequence[Bar]
    controls: Sequence[str]
    limit: str | None
    evidence: EvidenceView | None
    difference: PlanDifference | None
    report: Report | None
    deliveries: Sequence[WebhookDelivery]
    drawing: Drawing | None
    again: str
    failed_again: str
    rest: str
    fits_form: bool
    placements: Sequence[Placement]
    groups: Sequence[DeadLetterGroup]
    matrix: MatrixView | None
    errors: Sequence[str]
    history: Sequence[HistoryEntry]
    notice: str | None = None


# -- one replay ------------------------------------------------------------------------------------


async def show(ask: Ask) -> Answer:
    named = ask.parameters["batch"]
    batch = await ask.services.resolve.replay(named)
    if str(batch) != named:
        return Redirect(f"/replays/{batch}")
    return await _shown(ask, batch)


async def _shown(ask: Ask, batch: UUID, error: PlayheadError | None = None) -> Shown[BatchView]:
    services = ask.services
    replay = await services.executions.replay(batch)
    made = await services.executions.get(replay.execution_id)
    source = await or_missing(services.executions.get, replay.from_execution_id)
    routes = await services.executions.routes_of(made)
    report = await _report(services, replay)
    difference = None
    if replay.state == "refused" and replay.plan_id:
        difference = await services.plan.difference(replay.plan_id)
    drawn = await _map(services, replay, made)
    deliveries = (await services.webhooks.list(batch, None, _MOST_DELIVERIES)).items
    outcome = outcome_of(replay, made)
    view = BatchView(
        replay=replay,
        source=source,
        made=made,
        state_text=outcome.text,
        look=outcome.look,
        pace_text=pace_text(replay),
        to_go=to_go(replay),
        bars=bars_of(replay, _in_order(routes, drawn), drawn.pipes if drawn else ()),
        controls=_controls(replay, made),
        limit=limit_of(replay),
        evidence=await evidence(services, replay, source, made),
        difference=difference,
        report=report,
        deliveries=deliveries,
        drawing=draw(drawn, _Links({}, f"/executions/{made.execution_id}"), _choice(replay))
        if drawn
        else None,
        again=again(replay).href(),
        failed_again=failed_again(replay).href(),
        rest=rest_of(replay).href(),
        fits_form=fits_form(replay),
        placements=await placements(services, made),
        groups=await _groups(services, made),
        matrix=await _matrix(ask, source, made),
        errors=_errors(replay),
        history=await services.audit.history(execution=replay.execution_id),
        notice=error.detail if error else None,
    )
    name = f"{replay.from_stage} → {replay.to_route}"
    crumbs = [
        Crumb("Replays", "/replays"),
        Crumb(f"of …{str(replay.from_execution_id)[-8:]}", f"/executions/{replay.from_execution_id}"),
        Crumb(name),
    ]
    calls = [
        ApiCall(f"/api/v1/replays/{batch}"),
        ApiCall(f"/api/v1/executions/{replay.execution_id}/routes"),
        *([ApiCall(f"/api/v1/replays/{batch}/report")] if report else []),
        *([ApiCall(f"/api/v1/replays/{batch}/deliveries")] if deliveries else []),
    ]
    is_over = replay.status is not None and made.status != "running"
    is_counted = view.matrix is None or view.matrix.is_complete
    return Shown(
        name,
        view,
        calls,
        crumbs,
        cells=_cells(view) | (cells(drawn) if drawn else {}),
        shape=_shape(view),
        ended=is_over
        and is_counted
        and (report is None or report.state in ("stored", "failed"))
        and all(one.state not in ("due", "preparing") for one in replay.publications),
        status=status_of(error),
    )


def _in_order(routes: Sequence[RouteCounts], drawn: PipelineMap | None) -> Sequence[RouteCounts]:
    order = pipelines.places(drawn) if drawn else {}
    return sorted(routes, key=lambda one: order.get(one.route, len(order)))


@dataclass(frozen=True, slots=True)
class _Links(Links):
    """Links of the boxes to the page of the new execution."""

    path: str

    def __call__(self, **changes: str | int | None) -> str:
        return self.path + Links.__call__(self, **changes)


async def _map(services: Services, replay: Replay, made: Execution) -> PipelineMap | None:
    """Return the pipeline with the messages of the replay, and the objects found in the source's stage."""
    pipeline = await or_missing(services.pipelines.of_found, made)
    if isinstance(pipeline, Missing) or not pipeline.routes:
        return None
    is_open = made.status == "running"
    # While it runs, sizes of stages cost in proportion to its messages.
    totals = None if is_open else await or_missing(services.executions.stage_totals, made.execution_id)
    known = Known(None if isinstance(totals, Missing) else totals, is_open=is_open, has_run=True)
    of = pipelines.pipeline_map(pipeline, known)
    stage = _choice(replay).stage
    found = StageSize(replay.objects_found, await _bytes(services, replay))
    routes = tuple(replace(one, size=found) if one.stage == stage and stage else one for one in of.routes)
    return replace(of, routes=routes, inputs=found if stage == INPUT else of.inputs)


async def _bytes(services: Services, replay: Replay) -> int | None:
    """Return the size of the replayed objects; None if no plan has counted it."""
    try:
        return (await services.plan.get(replay.plan_id)).bytes if replay.plan_id else None
    except NotFound:
        return None


def _choice(replay: Replay) -> Choice:
    """Return where the playhead stands: at the stage, if the config has it."""
    return Choice(replay.from_stage if "/" not in replay.to_route else None)


def _controls(replay: Replay, made: Execution) -> list[str]:
    if replay.status is None:
        change = ["resume"] if replay.state in ("paused", "stalled") else ["pause"]
        return [*change, *(["more"] if replay.pause_reason else []), "pace", "cancel", "withdraw"]
    found = []
    if replay.state == "partial_failure" and made.status != "cancelled":
        found.append("retry")
    return found + ["withdraw"] * (made.status == "running" and replay.state != "refused")


async def _groups(services: Services, made: Execution) -> Sequence[DeadLetterGroup]:
    if not made.counts.failed or made.records_deleted_at:
        return ()
    return (await services.queues.dead_letter_groups(execution=made.execution_id, limit=_GROUPS)).items


async def _matrix(ask: Ask, source: Execution | Missing, made: Execution) -> MatrixView | None:
    if isinstance(source, Missing) or source.kind == "adopted" or not made.counts.total:
        return None
    if source.records_deleted_at or made.records_deleted_at:
        return None
    return (await matrix(ask.services, source, made, ask.patience))[0]


async def _report(services: Services, replay: Replay) -> Report | None:
    if replay.report == "none":
        return None
    try:
        return await services.reports.get(replay.replay_batch_id)
    except NotFound:
        return None


def _errors(replay: Replay) -> list[str]:
    """Return the errors without a cancellation, and with the button in place of the request of the API."""
    lines = [one for one in replay.errors or () if one != stopped_text(replay)]
    if reason := stop_reason(replay):
        return [f"{replay.state}: {reason}; press Resume to go on", *lines]
    return lines


def _cells(view: BatchView) -> dict[str, str]:
    replay = view.replay
    work = view.made.counts
    cells = {
        "state": view.state_text[0].upper() + view.state_text[1:],
        "found": f"{replay.objects_found:,}",
        "published": f"{replay.objects_published:,}",
        "failed": f"{replay.objects_failed:,}",
        "uncertain": f"{replay.objects_uncertain:,}",
        "to_go": f"{view.to_go:,}",
        "skipped": f"{replay.objects_skipped:,}",
        "withdrawn": f"{replay.withdrawn:,}",
        "work.done": f"{work.completed:,}",
        "work.failed": counted(work.failed, "dead letter"),
        "work.total": f"{work.total:,}",
        "rate": f"{replay.rate:,.1f}" if replay.rate is not None else "–",
        "eta": duration(replay.eta_seconds) if replay.eta_seconds and replay.status is None else "–",
    }
    for bar in view.bars:
        cells[f"{bar.name}.text"] = bar.text
        cells |= {f"{bar.name}.{part}": width for part, width in bar.widths.items()}
    return cells | (view.matrix.live() if view.matrix else {})


def _shape(view: BatchView) -> str:
    """Return what decides which parts the page has."""
    replay = view.replay
    return " ".join(
        (
            *(view.look, replay.state, str(view.limit), str(replay.waits_for == "process")),
            *(str(replay.paused_by), view.made.status),
            *(
                f"{view.report.state}.{view.report.revision}" if view.report else "",
                str(len(replay.errors or ())),
                " ".join(one.group for one in view.groups),
            ),
            view.matrix.shape if view.matrix else "",
            view.evidence.shape if view.evidence else "",
            *(view.pace_text, *view.controls, *(bar.name for bar in view.bars)),
            *(f"{one.delivery_id}.{one.state}" for one in view.deliveries),
            *(f"{one.dataset}.{one.state}" for one in replay.publications),
        )
    )


# -- control ---------------------------------------------------------------------------------------


async def _withdraw(ask: Ask, batch: UUID) -> Replay:
    return await ask.services.control.cancel(batch, withdraw=True)


def _canary(ask: Ask) -> int | None:
    given = str(ask.form.get("canary") or "").strip()
    if given and not (given.isascii() and given.isdecimal() and len(given) <= _MOST_DIGITS):
        raise BadRequest("invalid_body", f"{given!r} is not a number of objects; write for example 100")
    return int(given) if given else None


async def _set_pace(ask: Ask, batch: UUID) -> Replay:
    return await ask.services.control.set_pace(batch, ReplayForm.of(ask.form).pace_of())


async def _send_again(ask: Ask, batch: UUID) -> object:
    delivery = UUID(str(ask.form.get("delivery_id")))
    return await ask.services.webhooks.send_again(batch, delivery)


_CONTROLS: Final[dict[str, Callable[[Ask, UUID], Awaitable[object]]]] = {
    "pause": lambda ask, batch: ask.services.control.pause(batch),
    "resume": lambda ask, batch: ask.services.control.resume(batch, canary=_canary(ask)),
    "retry": lambda ask, batch: ask.services.control.retry(batch),
    "cancel": lambda ask, batch: ask.services.control.cancel(batch),
    "withdraw": _withdraw,
    "pace": _set_pace,
    "send": _send_again,
    "report": lambda ask, batch: ask.services.reports.write_again(batch),
}


def _action(name: str) -> Action:
    async def perform(ask: Ask) -> Answer:
        batch = await ask.services.resolve.replay(ask.parameters["batch"])
        try:
            await _CONTROLS[name](ask, batch)
        except (PlayheadError, ValueError) as exc:
            # The replay may have ended meanwhile: the page shows its state, and why nothing was done.
            error = exc if isinstance(exc, PlayheadError) else PlayheadError("invalid_body", str(exc))
            return await _shown(ask, batch, error)
        return Redirect(f"/replays/{batch}")

    return Action(f"/replays/{{batch}}/{name}", perform, "batch.html", "replays", scope="operate")


PAGES: Final = (Page("/replays/{batch}", "batch.html", show, "replays", live=True, scope="read"),)
ACTIONS: Final = tuple(_action(name) for name in _CONTROLS)
