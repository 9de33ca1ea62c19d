"""Dead letters: messages that are processed again only after a resend."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.exceptions import HTTPException

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, Cursor, Filter, Limit, operations
from playhead.api.bodies import JsonRoute
from playhead.api.ids import NO_EXECUTION, DeadLetterId, OfExecution, find_dead_letter
from playhead.api.schemas.dead_letters import Group, Resend, Resent, Selected
from playhead.model import DeadLetter, DeadLetterDetail, DeadLetterGroup, Page, ResendPlan
from playhead.ports.catalog.browse import DeadLetterFilter

OfGroup = Annotated[Group | None, Query(description="List only those of this group.")]
router = operations(prefix="/api/v1/dead-letters", tags=["dead letters"], route_class=JsonRoute)


@router.get("", responses=responses(*NO_EXECUTION, "records_deleted", "invalid_cursor", "store_unavailable"))
async def list_dead_letters(
    asked: Asked,
    execution_id: OfExecution,
    route: Filter = None,
    error_code: Filter = None,
    group: OfGroup = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DeadLetter]:
    """List dead letters, newest first. `route` is a route name or `config/route`."""
    where = DeadLetterFilter(execution_id, route, error_code, group)
    return await asked.queues.dead_letters(where, cursor, limit)


@router.get(
    "/groups", responses=responses(*NO_EXECUTION, "records_deleted", "invalid_cursor", "store_unavailable")
)
async def list_dead_letter_groups(
    asked: Asked,
    execution_id: OfExecution,
    config: Filter = None,
    route: Filter = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DeadLetterGroup]:
    """List groups of dead letters that failed alike, the group of the newest message first.

    The dead letters of a group have the same route, error code and pattern of the error. `route` is a route
    name or `config/route`. With `execution_id`, only dead letters of this execution count.
    """
    return await asked.queues.dead_letter_groups(
        execution=execution_id, config=config, route=route, cursor=cursor, limit=limit
    )


@router.post(
    "/resend",
    scope="operate",
    status_code=202,
    responses=responses(
        *("selection_empty", "invalid_body", *NO_EXECUTION, "dead_letter_not_found", "records_deleted"),
        *("execution_ended", "execution_pruned", "unsupported_media_type", *BODY_CODES),
    ),
)
async def resend_dead_letters(body: Resend, asked: Asked) -> Resent:
    """Resend dead letters: a list of ids, or all that match an execution, a route, an error code and a group.

    `route` is a route name or `config/route`. To resend exactly what a list of groups has shown, send the
    `group` with its `last_failed_at` as `failed_before`.
    """
    given = body.correlation_ids
    ids = None if given is None else [await find_dead_letter(asked, one) for one in given]
    where = await _where(body, asked)
    sent = await asked.recover.resend(ids, where, failed_before=body.failed_before, priority=body.priority)
    return Resent(resent=len(sent))


@router.post(
    "/resend/plan",
    scope="operate",
    responses=responses(
        *("selection_empty", "invalid_body", *NO_EXECUTION, "unsupported_media_type", *BODY_CODES)
    ),
)
async def plan_resend(body: Selected, asked: Asked) -> ResendPlan:
    """Show what a resend would repeat: dead letters, distinct objects, and external effects. Resends nothing.

    To process each object once, replay the cause instead.
    """
    return await asked.recover.plan(await _where(body, asked), failed_before=body.failed_before)


async def _where(body: Selected, asked: Asked) -> DeadLetterFilter:
    execution = None if body.execution_id is None else await asked.resolve.execution(str(body.execution_id))
    return DeadLetterFilter(execution, body.route, body.error_code, body.group)


@router.get("/resend", include_in_schema=False)
async def refuse_resend() -> None:
    """Answer 405. Without this route, `resend` would be parsed as an id, and answered 422."""
    raise HTTPException(405)


@router.get("/{correlation_id}", responses=responses("id_ambiguous", "dead_letter_not_found"))
async def get_dead_letter(correlation_id: DeadLetterId, asked: Asked) -> DeadLetterDetail:
    """Return a dead letter with its traceback."""
    return await asked.queues.dead_letter(correlation_id)


@router.post(
    "/{correlation_id}/resend",
    scope="operate",
    status_code=202,
    responses=responses("id_ambiguous", "dead_letter_not_found", "execution_ended", "execution_pruned"),
)
async def resend_dead_letter(correlation_id: DeadLetterId, asked: Asked) -> Resent:
    """Resend one dead letter. Has no effect on a message that is no longer dead."""
    return Resent(resent=len(await asked.recover.resend((correlation_id,))))
