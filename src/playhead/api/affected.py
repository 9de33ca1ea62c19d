"""What a version of an adapter, or a worker, has made."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.api.ids import NO_EXECUTION, execution_query
from playhead.api.schemas.affected import AdapterVersion, WorkerId
from playhead.api.schemas.replays import Time
from playhead.errors import BadRequest
from playhead.model import AffectedRoute, Page

router = operations(prefix="/api/v1/affected", tags=["lineage"])


@router.get("", responses=responses(*NO_EXECUTION, "invalid_body", "invalid_cursor"))
async def list_affected(
    asked: Asked,
    execution: Annotated[UUID | None, execution_query("execution", "Only this one, of any age")],
    adapter: Annotated[
        AdapterVersion | None,
        Query(
            description="Type of an adapter with its version (`chunk@2`), or with the fingerprint of its "
            "code or the beginning of that (`chunk@sha256:ab12`)."
        ),
    ] = None,
    worker: Annotated[
        WorkerId | None, Query(description="Id of a process, as `GET /api/v1/workers` returns it.")
    ] = None,
    since: Annotated[
        Time,
        Query(description="Only executions that were created at this time or later, as in `-24h`."),
    ] = "-24h",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[AffectedRoute]:
    """List routes with results of an adapter or a worker, the newest execution first.

    Send either `adapter` or `worker`. The request reads the messages of all executions since `since`. The
    fields of an item are those of a replay of exactly these objects.
    """
    if (adapter is None) == (worker is None):
        raise BadRequest("invalid_body", "send either adapter or worker")
    return await asked.affected.list(
        adapter=adapter, worker=worker, since=since, execution=execution, cursor=cursor, limit=limit
    )
