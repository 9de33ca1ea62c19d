"""Causes of failures over all routes and executions."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import Path, Query

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, Cursor, Filter, Limit, operations
from playhead.api.bodies import JsonRoute
from playhead.api.schemas.causes import Acknowledge
from playhead.api.schemas.dead_letters import Group
from playhead.api.schemas.replays import Time
from playhead.model import Cause, CauseObject, CausePlan, CauseState, Page
from playhead.warningtext import worded

CauseId = Annotated[Group, Path(description="Id of a cause: 12 hexadecimal digits.")]
router = operations(prefix="/api/v1/causes", tags=["dead letters"], route_class=JsonRoute)


@router.get("", responses=responses("invalid_cursor"))
async def list_causes(
    asked: Asked,
    state: Annotated[
        CauseState | Literal["all"],
        Query(description="Only those in this state. A cause without open objects is closed by itself."),
    ] = "open",
    route: Filter = None,
    since: Annotated[
        Time | None,
        Query(description="Only those of which an object failed last at this time or later, as in `-24h`."),
    ] = None,
    until: Annotated[
        Time | None, Query(description="Only those of which an object failed first before this time.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Cause]:
    """List causes of failures, the one with the newest failure first.

    A cause is one error over all routes and executions. `route` is a route name or `config/route`.
    """
    return await asked.causes.list(
        state=None if state == "all" else state,
        route=route,
        since=since,
        until=until,
        cursor=cursor,
        limit=limit,
    )


@router.get("/{cause}", responses=responses("cause_not_found"))
async def get_cause(cause: CauseId, asked: Asked) -> Cause:
    """Return a cause with its figures."""
    return await asked.causes.get(cause)


@router.get("/{cause}/objects", responses=responses("cause_not_found", "invalid_cursor"))
async def list_cause_objects(
    cause: CauseId, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[CauseObject]:
    """List the open objects of a cause, or the processed ones of a closed cause, the newest failure first.

    An object that has failed in several routes is listed for each of them.
    """
    return await asked.causes.objects(cause, cursor, limit)


@router.post(
    "/{cause}/acknowledge",
    scope="operate",
    responses=responses(
        *("cause_not_found", "config_not_found", "invalid_until"),
        *("invalid_body", "unsupported_media_type", *BODY_CODES),
    ),
)
async def acknowledge_cause(cause: CauseId, body: Acknowledge, asked: Asked) -> Cause:
    """Acknowledge a cause: it is known, and needs no attention until a version is applied, or until a time.

    A newer acknowledgement replaces the one before. Its objects still have to be processed.
    """
    return await asked.causes.acknowledge(cause, body.reason, body.requested_by, body.until)


@router.post(
    "/{cause}/plan",
    scope="replay",
    responses=responses("cause_not_found", "invalid_cursor", "store_unavailable"),
)
async def plan_cause(cause: CauseId, asked: Asked, cursor: Cursor = None) -> CausePlan:
    """Plan replays of the open objects of a cause: each object once, from its newest source.

    Nothing is published. There is a plan for each source, stage and route; `POST /api/v1/replay` with its
    `plan_id` publishes it. One request plans the objects of at most 100 sources, the newest ones. If
    `objects_left` is not 0, a request with `next_cursor` plans the next ones.
    """
    planned = await asked.causes.plan(cause, cursor)
    return replace(planned, plans=[worded(one) for one in planned.plans])


@router.post("/{cause}/unacknowledge", scope="operate", responses=responses("cause_not_found"))
async def unacknowledge_cause(cause: CauseId, asked: Asked) -> Cause:
    """Remove the acknowledgement of a cause. Idempotent."""
    return await asked.causes.unacknowledge(cause)
