"""The audit: who changed what, and which requests were refused."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Filter, Limit, operations
from playhead.api.schemas.replays import Time
from playhead.model import Page
from playhead.model.access import AuditEntry, AuditOutcome

router = operations(prefix="/api/v1/audit", tags=["access"])


@router.get("", scope="admin", responses=responses("invalid_cursor"))
async def list_audit(
    asked: Asked,
    actor: Annotated[Filter, Query(description="Public id or name of the caller.")] = None,
    action: Annotated[
        Filter, Query(description="An action, or its beginning up to a dot: `replay` for `replay.start`.")
    ] = None,
    outcome: AuditOutcome | None = None,
    execution_id: UUID | None = None,
    replay_batch_id: UUID | None = None,
    config: Filter = None,
    object: Annotated[
        Filter, Query(description="What it was about, such as `CONFIG/DATASET` or the id of a message.")
    ] = None,
    since: Annotated[Time | None, Query(description="Only entries of this time or later: `-24h`.")] = None,
    until: Annotated[Time | None, Query(description="Only entries before this time.")] = None,
    after: Annotated[
        int | None,
        Query(ge=0, description="Only entries with larger numbers, the oldest first: to continue an export."),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[AuditEntry]:
    """List changes and refused requests, the newest first.

    Entries are never changed or deleted. A change and its entry are stored together.
    """
    return await asked.audit.list(
        actor=actor,
        action=action,
        outcome=outcome,
        execution_id=execution_id,
        replay_batch_id=replay_batch_id,
        config=config,
        object=object,
        since=since,
        until=until,
        after=after,
        cursor=cursor,
        limit=limit,
    )
