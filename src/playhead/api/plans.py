"""Plans of replays: what a replay would publish."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import Path
from starlette.responses import Response

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.api.bodies import JsonRoute
from playhead.api.replay_headers import ACCEPTED, RESPOND_ASYNC, Prefer, prefers_async
from playhead.api.schemas.replays import ReplayToPlan
from playhead.model import Page, Plan, PlannedObject
from playhead.warningtext import worded

router = operations(prefix="/api/v1/replay", tags=["replay"], route_class=JsonRoute)

PlanId = Annotated[UUID, Path(description="Id of the plan.")]


@router.post(
    "/plan",
    scope="replay",
    responses=responses(
        *("invalid_path", "route_ambiguous", "invalid_body", "selection_empty"),
        *("execution_not_found", "stage_not_found", "route_not_found", "config_not_found"),
        *("replay_not_found", "object_not_found", "no_objects", "code_unknown", "records_deleted"),
        *("config_inactive", "stage_pruned", "too_many_objects", "plan_not_ready"),
        *("unsupported_media_type", *BODY_CODES, "store_unavailable"),
    )
    | {
        202: {
            "model": Plan,
            "description": f"The plan is being made: the response to `{RESPOND_ASYNC}`.",
            "headers": ACCEPTED,
        }
    },
)
async def plan_replay(body: ReplayToPlan, asked: Asked, response: Response, prefer: Prefer = None) -> Plan:
    """Fix the set of objects that a replay would publish, and show what would process them.

    Nothing is published. `POST /api/v1/replay` with the `plan_id` publishes exactly this set, or answers with
    409 `plan_changed`.
    """
    if not prefers_async(prefer):
        return worded(await asked.plan.create(body.request(), verify=body.verify))
    plan = await asked.plan.begin(body.request(), verify=body.verify)
    response.status_code = 202
    response.headers["Location"] = f"/api/v1/replay/plans/{plan.plan_id}"
    response.headers["Preference-Applied"] = RESPOND_ASYNC
    return worded(plan)


@router.get("/plans", responses=responses("invalid_cursor"))
async def list_plans(asked: Asked, limit: Limit = 100, cursor: Cursor = None) -> Page[Plan]:
    """List plans, newest first. Expired plans are deleted some time later, unless a replay has used them."""
    page = await asked.plan.list(cursor, limit)
    return replace(page, items=[worded(one) for one in page.items])


@router.get("/plans/{plan_id}", responses=responses("plan_not_found"))
async def get_plan(plan_id: PlanId, asked: Asked) -> Plan:
    """Return a plan. While it is being made, `objects` counts those that were found so far."""
    return worded(await asked.plan.get(plan_id))


@router.get(
    "/plans/{plan_id}/objects",
    responses=responses("invalid_cursor", "plan_not_found", "plan_not_ready", "plan_expired"),
)
async def list_planned_objects(
    plan_id: PlanId, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[PlannedObject]:
    """List the objects of a plan, in byte order of their keys."""
    return await asked.plan.objects(plan_id, cursor, limit)
