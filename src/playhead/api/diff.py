"""What differs between the outputs of two executions."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.api.ids import NO_EXECUTION, ExecutionId, OtherExecutionId
from playhead.model import Diff, DiffBy, DiffFilter, DiffObject, Page

router = operations(prefix="/api/v1/executions", tags=["executions"])

Stage = Annotated[
    str | None,
    Query(min_length=1, description="Only this stage. Without it, all stages. `stage/path` names both."),
]
Path = Annotated[str | None, Query(description="Only this folder or object of the stage.")]
By = Annotated[
    DiffBy,
    Query(
        description="How objects are paired. `path`: by stage and path. `content`: objects that were made "
        "from the same object are paired by their content first, so that an inserted part is one addition. "
        "Objects with the same content under another path have `moved`."
    ),
]
_codes = (
    *NO_EXECUTION,
    "invalid_path",
    "not_comparable",
    "stage_not_found",
    "records_deleted",
    "store_unavailable",
)


@router.get("/{execution_id}/diff/{other_execution_id}", responses=responses(*_codes))
async def compare_executions(
    execution_id: ExecutionId,
    other_execution_id: OtherExecutionId,
    asked: Asked,
    stage: Stage = None,
    path: Path = None,
    by: By = "path",
) -> Diff:
    """Count what is the same, changed, added or missing in the second execution. Reads all records of both.

    Objects with the same stage and path are compared by their SHA-256, also pruned ones. Objects of other
    programs have no record, and are left out.

    An object is not produced, and neither missing nor added, if the execution that lacks it is a replay that
    had no reason to produce it. A replay had a reason if it produces the stage of the object, and if the
    object was made from one with the stage and the path of a replayed object.
    """
    return await asked.diff.summary(execution_id, other_execution_id, stage, path, by)


@router.get(
    "/{execution_id}/diff/{other_execution_id}/objects", responses=responses(*_codes, "invalid_cursor")
)
async def list_differences(
    execution_id: ExecutionId,
    other_execution_id: OtherExecutionId,
    asked: Asked,
    stage: Stage = None,
    state: Annotated[
        DiffFilter | None,
        Query(description="Only objects in this state; `different`: changed, added and missing ones."),
    ] = None,
    path: Path = None,
    by: By = "path",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DiffObject]:
    """List the objects of two executions with both sides, by stage and path."""
    return await asked.diff.objects(
        execution_id, other_execution_id, stage, state, path, cursor, limit, by=by
    )
