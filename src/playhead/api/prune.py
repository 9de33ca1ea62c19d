"""Prune: delete the objects of executions that have ended, and later their records."""

from __future__ import annotations

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, operations
from playhead.api.bodies import JsonRoute
from playhead.api.ids import NO_EXECUTION, ExecutionId
from playhead.api.schemas.prune import PruneRequest
from playhead.model import Execution, Pruned, PruneFilter

_PIN_CODES = ("execution_pruned", "execution_ended", "store_unavailable")

router = operations(prefix="/api/v1", tags=["executions"], route_class=JsonRoute)


@router.post(
    "/prune",
    scope="prune",
    responses=responses(
        *("selection_empty", "invalid_body", *NO_EXECUTION, "config_not_found", "stage_not_found"),
        "unsupported_media_type",
        *("store_unavailable", *BODY_CODES),
    ),
)
async def prune_objects(body: PruneRequest, asked: Asked) -> Pruned:
    """Delete the objects of executions that have ended; with `records`, the records of pruned executions.

    The selected executions meet all given conditions. After the response, their objects can be neither read
    nor replayed. They are deleted in the background; if the server ends before, another process continues.
    These are kept: running executions, pinned ones, sources of running replays, and objects of other
    programs.

    With `records`, the messages, the outputs and the reports of executions whose objects are all deleted are
    deleted from the catalog. The executions stay, with their counts.
    """
    ids = None
    if body.execution_ids is not None:
        ids = [await asked.resolve.execution(str(one)) for one in body.execution_ids]
    where = PruneFilter(
        execution_ids=ids, **body.model_dump(exclude_unset=True, exclude={"execution_ids", "dry_run"})
    )
    return await (asked.prune.plan(where) if body.dry_run else asked.prune.begin(where))


@router.post(
    "/executions/{execution_id}/pin", scope="operate", responses=responses(*NO_EXECUTION, *_PIN_CODES)
)
async def pin_execution(execution_id: ExecutionId, asked: Asked) -> Execution:
    """Protect the objects of an execution from every prune. Idempotent."""
    return await asked.prune.pin(execution_id)


@router.post(
    "/executions/{execution_id}/unpin", scope="prune", responses=responses(*NO_EXECUTION, *_PIN_CODES)
)
async def unpin_execution(execution_id: ExecutionId, asked: Asked) -> Execution:
    """End the protection of an execution. Idempotent."""
    return await asked.prune.pin(execution_id, False)
