"""What a replay has changed: each of its objects before and after."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.api.ids import NO_EXECUTION, ExecutionId, OtherExecutionId
from playhead.model import After, Before, GroupedBy, Page, ReplayedObject, ReplayResult, ResultGroup

router = operations(prefix="/api/v1/executions", tags=["executions"])

Was = Annotated[Before | None, Query(description="Only objects with this outcome before.")]
Is = Annotated[After | None, Query(description="Only objects with this outcome after.")]
Name = Annotated[str | None, Query(min_length=1, description="Only objects of this group, by its `name`.")]
_codes = (*NO_EXECUTION, "not_comparable", "records_deleted", "store_unavailable")


@router.get("/{execution_id}/result/{other_execution_id}", responses=responses(*_codes))
async def get_result(
    execution_id: ExecutionId, other_execution_id: OtherExecutionId, asked: Asked
) -> ReplayResult:
    """Count the objects of the second execution by what happened to them before, in the first, and after.

    Usually, the second execution is that of a replay, and the first one its source. An object is what the
    second execution has listed. All messages that were made from it count, in the routes that the second
    execution reaches. If the first execution is a publication, these are the messages whose results it has.
    The first request reads all of them; the server keeps the result.
    """
    return await asked.result.matrix(execution_id, other_execution_id)


@router.get(
    "/{execution_id}/result/{other_execution_id}/groups", responses=responses(*_codes, "invalid_cursor")
)
async def list_result_groups(
    execution_id: ExecutionId,
    other_execution_id: OtherExecutionId,
    asked: Asked,
    by: Annotated[GroupedBy, Query(description="What the objects of a group have in common.")] = "error",
    before: Was = None,
    after: Is = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ResultGroup]:
    """Group the objects of a result by error, by folder or by stage, the largest groups first."""
    return await asked.result.groups(execution_id, other_execution_id, by, before, after, cursor, limit)


@router.get(
    "/{execution_id}/result/{other_execution_id}/objects", responses=responses(*_codes, "invalid_cursor")
)
async def list_result_objects(
    execution_id: ExecutionId,
    other_execution_id: OtherExecutionId,
    asked: Asked,
    before: Was = None,
    after: Is = None,
    error: Name = None,
    folder: Name = None,
    stage: Name = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ReplayedObject]:
    """List the objects of a result, in the order of the listing, with their errors."""
    return await asked.result.objects(
        execution_id, other_execution_id, before, after, error, folder, stage, cursor, limit
    )
