"""`/replay`: choose what to replay and where to, count it, and replay exactly that.

A plan is made only if the form is complete: on "Count", on a change of the form, or on a link that names an
execution, a stage and a route, unless a page of another site has the link. The answer is a redirect to the
page with the id of the plan, so a reload and the live numbers only read it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from playhead.errors import BadRequest, Conflict, NotFound, PlanChanged, PlayheadError
from playhead.ids import parse_uuid, uuid7
from playhead.model import Execution, Pipeline, Plan, PlanDifference, Replay
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.services import Services
from playhead.web.page import Action, Answer, Ask, Page, Redirect, Shown
from playhead.web.replayform import ReplayForm
from playhead.web.replayview import ReplayView, following, page, stale_now

_FRESH_SECONDS: Final = 10.0
"""A plan of the same request that is no older is shown again, unless a new one was asked for."""
_COUNT_SECONDS: Final = 1.5
"""How long a page waits for a plan; after that, it shows how far the plan is."""
_CHECK_SECONDS: Final = 5.0
"""How long the answer to "Replay" waits for the comparison of the plan with the store."""
_MOST_RECENT: Final = 20


async def show(ask: Ask) -> Answer:
    """Return the form, with its plan if it was counted."""
    form = ReplayForm.of(ask.query)
    if not form.from_execution_id and (identity := parse_uuid(ask.text("plan_id") or "")):
        plan = await ask.services.plan.get(identity)
        return Redirect(ReplayForm.of_request(plan.request).href(plan_id=identity))
    if not form.from_execution_id:
        newest = await ask.services.executions.list(ExecutionFilter(), None, _MOST_RECENT)
        return Shown("New replay", ReplayView(form, recent=newest.items), ended=True)
    source = await ask.services.executions.get(await ask.execution("from_execution_id"))
    form = replace(form, from_execution_id=str(source.execution_id))
    form, pipeline = await _completed(ask.services, form, source, ask.text("config_of"))
    count, named = ask.text("count"), ask.text("plan_id")
    try:
        if named and not count:
            return await page(ask.services, form, source, pipeline, await _named(ask.services, form, named))
        if form.is_complete and not ask.is_foreign:
            plan = await _count(ask.services, form, source, is_new=count is not None)
            return Redirect(form.fixed(plan).href(plan_id=plan.plan_id))
        if count == "1" and not form.is_complete:
            raise BadRequest("invalid_body", "choose a stage and a route, then count")
    except (PlayheadError, ValueError) as exc:
        return await page(ask.services, form, source, pipeline, None, exc)
    return await page(ask.services, form, source, pipeline, None)


async def start(ask: Ask) -> Answer:
    """Replay a plan, and show the progress."""
    form = ReplayForm.of(ask.form)
    plan_id, key = str(ask.form.get("plan_id") or ""), str(ask.form.get("key") or "")
    execution = parse_uuid(form.from_execution_id)
    if execution is None:
        raise BadRequest("invalid_body", "the form needs from_execution_id: open /replay again")
    plan: Plan | None = None
    try:
        identity = parse_uuid(plan_id)
        if identity is None:
            raise Conflict("plan_not_ready", "count the objects first: nothing was replayed")
        plan = await _planned(ask.services, identity, form)
        if plan and form.require_code != "0" and (stale := await stale_now(ask.services, plan)):
            texts = "; ".join(one.title for one in stale)
            advice = "Restart the workers, or clear “Start only if all workers run the current code”"
            raise Conflict("code_differs", f"nothing was replayed: {texts}. {advice}")
        opened = await ask.services.replay.start(form.to_replay(identity, key or str(uuid7())))
        await _check(ask.services, opened.replay)
    except (PlayheadError, ValueError) as exc:
        source = await ask.services.executions.get(execution)
        form, pipeline = await _completed(ask.services, form, source, None)
        return await page(ask.services, form, source, pipeline, plan, exc)
    return Redirect(f"/replays/{opened.replay.replay_batch_id}")


async def _planned(services: Services, identity: UUID, form: ReplayForm) -> Plan | None:
    """Return the plan of a form that was sent; None if it was deleted.

    Raises `BadRequest` (`plan_mismatch`) if the form has changed since.
    """
    try:
        plan = await services.plan.get(identity)
    except NotFound:
        return None  # its replay may still be known by the key
    if not form.matches(plan):
        raise BadRequest(
            "plan_mismatch", "the form has changed since the objects were counted: nothing was replayed"
        )
    return plan


async def _check(services: Services, opened: Replay) -> None:
    """Wait until the plan was compared with the store. Raises `PlanChanged`.

    A long comparison continues without this page; the page of the replay shows its result.
    """
    now = opened
    with suppress(TimeoutError):
        async with asyncio.timeout(_CHECK_SECONDS):
            async for now in (await services.watch.replay(opened.replay_batch_id)).states():
                if now.state not in ("queued", "checking"):
                    break
    if now.state == "refused" and now.plan_id:
        difference = await services.plan.difference(now.plan_id) or PlanDifference()
        raise PlanChanged(f"nothing was replayed: {difference.text}", difference)


# -- counting --------------------------------------------------------------------------------------


async def _completed(
    services: Services, form: ReplayForm, source: Execution, config_of: str | None
) -> tuple[ReplayForm, Pipeline]:
    """Return the form with a route that follows the stage, if it names none; and the source's pipeline.

    `config_of` is the config whose versions and routes the form has shown: the form may name another one now.
    """
    pipeline = await services.pipelines.of_found(source)
    if form.from_stage and not form.to_route:
        form = replace(form, to_route=_likeliest(pipeline, form.from_stage))
    config = form.to_route.partition("/")[0] if "/" in form.to_route else source.config
    if config_of is not None and config_of != config:
        form = replace(form, config_version="", effects={})
    return form, pipeline


def _likeliest(pipeline: Pipeline, stage: str) -> str:
    """Return the route after a stage in which the most messages failed; the first one if none did."""
    failed = {one.route: one.counts.failed if one.counts else 0 for one in pipeline.routes}
    return max(following(pipeline, stage), key=lambda route: failed.get(route, 0), default="")


async def _named(services: Services, form: ReplayForm, plan_id: str) -> Plan:
    identity = parse_uuid(plan_id)
    if identity is None:
        raise NotFound("plan_not_found", f"{plan_id!r} is not the id of a plan: count again")
    plan = await services.plan.get(identity)
    if not form.matches(plan):
        raise BadRequest("plan_mismatch", f"the form is not that of plan {identity}: count again")
    return plan


async def _count(services: Services, form: ReplayForm, source: Execution, *, is_new: bool) -> Plan:
    """Make a plan, or return one that was just made for the same form. Raises what making a plan raises."""
    in_replay = await services.resolve.replay(form.in_replay) if form.in_replay else None
    request = form.to_plan(source.execution_id, in_replay)
    # Relative times mean another period each time.
    plan = None
    if not form.has_relative_time:
        plan = await _fresh(services, replace(form, in_replay=str(in_replay or "")), only_listing=is_new)
    if plan is None:
        plan = await services.plan.begin(request)
    identity, found = plan.plan_id, plan

    async def read() -> tuple[Plan, bool]:
        now = await services.plan.get(identity)
        return now, now.state != "listing"

    with suppress(TimeoutError):
        async with asyncio.timeout(_COUNT_SECONDS):
            async for now in (await services.watch.view(f"plan {identity}", read)).states():
                found = now
    return found


async def _fresh(services: Services, form: ReplayForm, *, only_listing: bool) -> Plan | None:
    """Return a plan of the same form that is being made or was just made, or None."""
    for plan in (await services.plan.list(None, _MOST_RECENT)).items:
        age = time.time() - datetime.fromisoformat(plan.created_at).timestamp()
        if plan.state == "listing" or (plan.state == "ready" and age < _FRESH_SECONDS and not only_listing):
            newest = form.config_version or (await services.configs.get(plan.to_config)).version
            if (
                form.matches(plan)
                and form.names_effects_of(plan)
                and str(newest) == str(plan.to_config_version)
            ):
                return plan
    return None


PAGES: Final = (Page("/replay", "replay.html", show, "replays", live=True, scope="replay"),)
ACTIONS: Final = (Action("/replay", start, "replay.html", "replays", scope="replay"),)
