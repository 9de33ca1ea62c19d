"""What the page of a replay shows: the form, its choices, and the plan."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from playhead import __version__, textdiff
from playhead.errors import NotFound, PlanChanged, PlayheadError
from playhead.ids import uuid7
from playhead.model import (
    CODE_WARNINGS,
    BackendHealth,
    ConfigVersion,
    Execution,
    Pipeline,
    Plan,
    PlanDifference,
    Replay,
    StageTotal,
)
from playhead.services import Services
from playhead.warningtext import warning_text
from playhead.web.oldcode import OldCode, old_code
from playhead.web.page import ApiCall, Crumb, Missing, Shown, or_missing, status_of
from playhead.web.reaches import Reach, reached
from playhead.web.replayform import ReplayForm, body_of, command_of, plan_body
from playhead.wording import left_out, others_text

_MOST_EARLIER: Final = 3
_MOST_VERSIONS: Final = 50
_SHOWN_APART: Final = {*CODE_WARNINGS, "no_consumer"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the form was not followed.

    Attributes:
        error_code: stable code.
        detail: what happened, and what to do.
        difference: objects that have changed since they were counted.
    """

    error_code: str
    detail: str
    difference: PlanDifference | None = None


@dataclass(frozen=True, slots=True)
class RouteGroup:
    """Routes to choose from.

    Attributes:
        name: what they have in common.
        routes: values of `to_route`.
    """

    name: str
    routes: Sequence[str]


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """How the config that will run differs from that of the source.

    Attributes:
        old, new: names with versions.
        added, removed: numbers of lines.
        hunks: changed lines, with the lines around them.
    """

    old: str
    new: str
    added: int
    removed: int
    hunks: Sequence[textdiff.Hunk]


@dataclass(frozen=True, slots=True)
class Target:
    """What the chosen route belongs to.

    Attributes:
        config: its config; None until a route is chosen.
        version: version of the config that will run.
        versions: versions to choose from, newest first.
        change: how it differs from the config of the source; None if it does not.
        reaches: the routes that the replay reaches.
        not_reached: names of the other routes of the config.
        datasets: datasets in which the result can be published.
    """

    config: str | None = None
    version: int | None = None
    versions: Sequence[ConfigVersion] = ()
    change: ConfigChange | None = None
    reaches: Sequence[Reach] = ()
    not_reached: Sequence[str] = ()
    datasets: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ReplayView:
    """The form of a replay, with its plan.

    Attributes:
        form: the fields as they were given.
        source: the execution; None until one is named.
        recent: executions to choose from.
        stages: its stages with their sizes.
        routes: the routes to choose from.
        target: what the chosen route belongs to.
        plan: what the replay would publish; None until it was counted.
        left_out: what the plan leaves out, with the reasons.
        others: what it declares about that; None: nothing.
        stale: workers with outdated code.
        unconsumed: reached routes that no live worker consumes.
        warnings: the other warnings of the plan.
        earlier: replays of the same stage into the same route, newest first.
        problem: why the form was not followed.
        key: Idempotency-Key of this page.
        command: the command that replays the plan.
        down: backends that are unavailable, if the plan could be replayed otherwise.
        can_replay: whether the plan can be replayed.
        waits_for_code: whether it could be replayed if the form did not require current code.
        also_feeds: the other routes that receive the objects of the stage in a run.
    """

    form: ReplayForm
    source: Execution | None = None
    recent: Sequence[Execution] = ()
    stages: Sequence[StageTotal] | Missing = ()
    routes: Sequence[RouteGroup] = ()
    target: Target = Target()
    plan: Plan | None = None
    left_out: Sequence[str] = ()
    others: str | None = None
    stale: Sequence[OldCode] = ()
    unconsumed: Sequence[str] = ()
    warnings: Sequence[str] = ()
    earlier: Sequence[Replay] = ()
    problem: Problem | None = None
    key: str = ""
    command: str = ""
    down: Sequence[BackendHealth] = ()
    can_replay: bool = False
    waits_for_code: bool = False
    also_feeds: Sequence[str] = ()


def following(pipeline: Pipeline, stage: str) -> list[str]:
    """Return the routes that receive the objects of a stage in a run."""
    if stage == "input":
        return [pipeline.entry] if pipeline.entry else []
    makers = {one.route for one in pipeline.routes if one.stage == stage}
    return [edge.to_route for edge in pipeline.edges if edge.from_route in makers]


async def page(
    services: Services,
    form: ReplayForm,
    source: Execution,
    pipeline: Pipeline,
    plan: Plan | None,
    error: Exception | None = None,
) -> Shown[ReplayView]:
    totals = await _totals(services, form, source)
    if isinstance(error, PlayheadError) and error.code in ("plan_changed", "plan_expired", "plan_mismatch"):
        plan = None
    problem = _problem(error)
    target = await _target(services, form, source, plan)
    if not target.datasets:
        form = replace(form, publish="")
    usable = plan is not None and plan.state == "ready" and not plan.would_refuse
    stale = await stale_now(services, plan) if plan else []
    if stale and not form.require_code:
        form = replace(form, require_code="1")
    down = await _down(services) if usable else []
    waits_for_code = bool(stale) and usable and not down
    view = ReplayView(
        form,
        source,
        stages=totals,
        routes=await _routes(services, form, source, pipeline),
        target=target,
        plan=plan,
        left_out=left_out(plan) if plan else (),
        others=others_text(plan) if plan else None,
        stale=stale,
        unconsumed=_unconsumed(plan) if plan else (),
        warnings=[warning_text(one) for one in plan.warnings if one.code not in _SHOWN_APART] if plan else (),
        earlier=await _earlier(services, form, source),
        problem=problem,
        key=str(uuid7()),
        command=command_of(plan, form) if plan else "",
        down=down,
        can_replay=usable and not down and not (stale and form.requires_code),
        waits_for_code=waits_for_code,
        also_feeds=[one for one in following(pipeline, form.from_stage) if one != form.to_route],
    )
    calls = [ApiCall("/api/v1/replay/plan", "POST", plan_body(form))]
    if plan:
        path = "/api/v1/replay?require_code=true" if form.requires_code else "/api/v1/replay"
        calls.append(ApiCall(path, "POST", body_of(plan, form)))
        calls.append(ApiCall(f"/api/v1/replay/plans/{plan.plan_id}"))
    name = f"{source.config or 'adopted'} …{str(source.execution_id)[-8:]}"
    return Shown(
        "New replay",
        view,
        calls,
        [
            Crumb("Executions", "/executions"),
            Crumb(name, f"/executions/{source.execution_id}"),
            Crumb("Replay"),
        ],
        cells={"objects": f"{plan.objects:,}"} if plan else {},
        shape=f"{plan.plan_id} {plan.state}" if plan else "",
        ended=plan is None or plan.state != "listing",
        status=status_of(error),
    )


async def stale_now(services: Services, plan: Plan) -> Sequence[OldCode]:
    """Return workers that would run a plan with old code. The plan has those of when it was made."""
    return old_code(await services.plan.consumers(plan))


async def _down(services: Services) -> list[BackendHealth]:
    """Return the backends that are unavailable: a replay would be refused."""
    health = await services.system.health(__version__)
    return [one for one in (health.store, health.broker, health.catalog) if one.status != "ok"]


async def _totals(services: Services, form: ReplayForm, source: Execution) -> Sequence[StageTotal] | Missing:
    if source.kind == "adopted" and form.from_stage:
        # Another program has stored the objects: each count would list all of them.
        return Missing("not_counted", "the objects are those of another program, and are counted on request")
    totals = await or_missing(services.executions.stage_totals, source.execution_id)
    return totals if isinstance(totals, Missing) else totals.stages


def _unconsumed(plan: Plan) -> list[str]:
    warned = {one.subject for one in plan.warnings if one.code == "no_consumer"}
    return [one.route for one in plan.routes if one.reached and one.queue in warned]


def _problem(error: Exception | None) -> Problem | None:
    if isinstance(error, PlanChanged):
        difference = error.difference
        return Problem(
            error.code, error.detail, difference if isinstance(difference, PlanDifference) else None
        )
    if isinstance(error, PlayheadError):
        return Problem(error.code, error.detail)
    return Problem("invalid_body", str(error)) if error else None


async def _routes(
    services: Services, form: ReplayForm, source: Execution, pipeline: Pipeline
) -> list[RouteGroup]:
    after = following(pipeline, form.from_stage) if form.from_stage else []
    configs = (await services.configs.list(None, _MOST_VERSIONS)).items
    own = next((one.routes for one in configs if one.name == source.config), [])
    groups = [
        RouteGroup(f"After {form.from_stage}", [one for one in after if one in own]),
        RouteGroup(f"Other routes of {source.config}", [one for one in own if one not in after]),
    ]
    groups += [
        RouteGroup(one.name, [f"{one.name}/{route}" for route in one.routes])
        for one in configs
        if one.active and one.name != source.config
    ]
    known = [route for group in groups for route in group.routes]
    if form.to_route and form.to_route not in known:
        groups.insert(0, RouteGroup("As given", [form.to_route]))
    return [group for group in groups if group.routes]


async def _target(services: Services, form: ReplayForm, source: Execution, plan: Plan | None) -> Target:
    before, slash, route = form.to_route.rpartition("/")
    config = plan.to_config if plan else before if slash else source.config
    if not route or config is None:
        return Target()
    version = plan.to_config_version if plan else _version(form)
    try:
        made = await services.pipelines.of_config(config, version)
        versions = (await services.configs.versions(config, None, _MOST_VERSIONS)).items
    except NotFound:
        return Target(config)
    reaches = reached(made, route, form.effects or {}, plan)
    names = {one.route for one in reaches}
    return Target(
        config,
        made.version,
        versions,
        await _change(services, source, config, made.version),
        reaches,
        [one.route for one in made.routes if one.route not in names] if reaches else (),
        await services.replay.datasets(config, route),
    )


def _version(form: ReplayForm) -> int | None:
    return int(form.config_version) if form.config_version.isdecimal() else None


async def _change(
    services: Services, source: Execution, config: str, version: int | None
) -> ConfigChange | None:
    if source.config is None or (source.config, source.config_version) == (config, version):
        return None
    try:
        old = await services.configs.get(source.config, source.config_version)
        new = await services.configs.get(config, version)
    except NotFound:
        return None
    difference = await asyncio.to_thread(textdiff.compare, old.source, new.source)
    hunks, _ = textdiff.hunks(difference, around=2, limit=200)
    if not hunks:
        return None
    names = [f"{one.name} version {one.version}" for one in (old, new)]
    return ConfigChange(names[0], names[1], difference.added, difference.removed, hunks)


async def _earlier(services: Services, form: ReplayForm, source: Execution) -> list[Replay]:
    """Return replays of the same objects into the same route, or of some of them, newest first."""
    if not form.is_complete:
        return []
    found = (await services.executions.replays(source.execution_id, None, 100)).items
    path = form.from_path.strip("/")
    return [
        one
        for one in found
        if one.from_stage == form.from_stage
        and one.to_route == form.to_route
        and one.state != "refused"
        and (not path or not one.from_path or _overlap(path, one.from_path.strip("/")))
    ][:_MOST_EARLIER]


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
