"""Replays: the operation of the replay contract, and the recorded batches."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

from fastapi import Query
from fastapi.encoders import jsonable_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import WARNINGS, AllowOldCode, Asked, Cursor, Limit, RequireCode, operations, warner
from playhead.api.bodies import JsonRoute
from playhead.api.ids import NO_EXECUTION, BatchId, execution_query
from playhead.api.replay_headers import (
    ACCEPTED,
    RESPOND_ASYNC,
    IdempotencyKey,
    Prefer,
    prefers_async,
    replayed,
)
from playhead.api.schemas import DetachedReplayResponse
from playhead.api.schemas.replays import DetachedReplayRequest
from playhead.api.streams import LastEventId, stream, stream_responses
from playhead.model import Page, Replay

router = operations(prefix="/api/v1", tags=["replay"], route_class=JsonRoute)

_REPLAYED: Final = replayed("replay")


@router.post(
    "/replay",
    scope="replay",
    operation_id="execute_replay_api_v1_replay_post",  # from the contract; all other ids are function names
    summary="Execute detached replay",
    response_model=DetachedReplayResponse,
    responses=responses(
        *("invalid_path", "route_ambiguous", "invalid_body", "selection_empty", "invalid_idempotency_key"),
        "webhook_not_allowed",
        *("execution_not_found", "stage_not_found", "route_not_found", "config_not_found"),
        "dataset_not_found",
        *("replay_not_found", "object_not_found", "no_objects", "code_unknown", "plan_not_found"),
        *("plan_mismatch", "plan_changed", "plan_expired", "plan_not_ready"),
        *("records_deleted", "publication_dropped", "config_inactive", "stage_pruned"),
        *("effects_refused", "code_differs"),
        "idempotency_key_reused",
        *("unsupported_media_type", *BODY_CODES),
        *("store_unavailable", "broker_unavailable", "replay_continues"),
    )
    | {
        200: {"headers": WARNINGS | _REPLAYED},
        202: {
            "model": Replay,
            "description": f"The replay was created, and continues: the response to `{RESPOND_ASYNC}`.",
            "headers": WARNINGS | _REPLAYED | ACCEPTED,
        },
    },
)
async def execute_replay(
    body: DetachedReplayRequest,
    asked: Asked,
    http: Request,
    response: Response,
    require_code: RequireCode = False,
    allow_old_code: AllowOldCode = True,
    key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> DetachedReplayResponse | Response:
    """Publish one message for each selected object of a stage to the inbound queue of a route.

    Without a condition, all objects of the stage are selected. This creates a new execution, and does not
    change the source. With `plan_id`, the objects are those of the plan; if one of them is gone or has
    changed, nothing is published. The response is sent when the broker has confirmed each message, or the
    message counts as failed. A client that disconnects stops nothing. With `Prefer: respond-async`, the
    response is sent as soon as the replay is recorded.
    """
    request = body.request(require_code=require_code, allow_old_code=allow_old_code, key=key)
    opened = await asked.replay.start(request, warner(response))
    if not opened.fresh:
        response.headers["Idempotent-Replayed"] = "true"
    if prefers_async(prefer):
        return _accepted(opened.replay, response)
    replay = await asked.replay.wait(opened.replay, http.is_disconnected)
    return DetachedReplayResponse(
        execution_id=replay.execution_id,
        from_execution_id=replay.from_execution_id,
        from_stage=replay.from_stage,
        from_path=replay.from_path,
        to_route=replay.to_route,
        to_queue=replay.to_queue,
        objects_found=replay.objects_found,
        objects_published=replay.objects_published,
        objects_failed=replay.objects_failed,
        # None: the batch continues with uncertain messages, but this request does not wait any longer.
        status=replay.status or "partial_failure",
        replay_batch_id=str(replay.replay_batch_id),
        errors=replay.errors,
    )


def _accepted(replay: Replay, response: Response) -> Response:
    """Return the response to a client that does not wait, with the headers that were set so far."""
    accepted = JSONResponse(jsonable_encoder(replay), 202)
    accepted.raw_headers += response.raw_headers
    accepted.headers["Location"] = f"/api/v1/replays/{replay.replay_batch_id}"
    accepted.headers["Preference-Applied"] = RESPOND_ASYNC
    return accepted


@router.get(
    "/replays", scope="any", responses=responses(*NO_EXECUTION, "invalid_cursor", "store_unavailable")
)
async def list_replays(
    asked: Asked,
    from_execution_id: Annotated[
        UUID | None, execution_query("from_execution_id", "List only replays of this execution")
    ],
    is_open: Annotated[
        bool, Query(alias="open", description="List only replays whose publishing has not ended")
    ] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Replay]:
    """List replay batches, newest first."""
    return await asked.executions.replays(from_execution_id, cursor, limit, is_open=is_open)


@router.get(
    "/replays/{replay_batch_id}", scope="any", responses=responses("id_ambiguous", "replay_not_found")
)
async def get_replay(replay_batch_id: BatchId, asked: Asked) -> Replay:
    """Return a replay batch with its progress, its rate and the time that remains.

    All counts come from the catalog. Each server measures the rate between its own reads.
    """
    return await asked.executions.replay(replay_batch_id)


@router.get(
    "/replays/{replay_batch_id}/events",
    scope="any",
    response_class=Response,
    response_model=Replay,
    responses=stream_responses("replay", Replay, "id_ambiguous", "replay_not_found"),
)
async def watch_replay(replay_batch_id: BatchId, asked: Asked, last_event_id: LastEventId = None) -> Response:
    """Stream the progress of a replay batch: at once, and after each change, until publishing ends.

    The stream continues while the replay is paused. The data of an event `replay` are the body of a `GET`.
    The last event is `end`, with the same data. Otherwise, the stream is like that of an execution. To watch
    the processing of the messages, use the events of the replay's `execution_id`.
    """
    return stream("replay", await asked.watch.replay(replay_batch_id), last_event_id)
