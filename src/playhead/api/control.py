"""Control of replays while they are published."""

from __future__ import annotations

from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, operations
from playhead.api.bodies import JsonRoute
from playhead.api.ids import BatchId
from playhead.api.schemas.replays import CancelReplay, NewPace, ResumeReplay
from playhead.model import Replay

router = operations(prefix="/api/v1/replays", tags=["replay"], route_class=JsonRoute)

_CODES: Final = ("id_ambiguous", "replay_not_found", "replay_ended")
_DEFAULT: Final = CancelReplay()
_RESUME: Final = ResumeReplay()
_NULL: Final = NewPace.model_validate(None)
_BODY: Final = ("invalid_body", "unsupported_media_type", *BODY_CODES)


@router.post("/{replay_batch_id}/pause", scope="operate", responses=responses(*_CODES))
async def pause_replay(replay_batch_id: BatchId, asked: Asked) -> Replay:
    """Suspend the publishing of a replay. Idempotent.

    Until it is resumed, only the messages that the response counts as published or uncertain can start.
    """
    return await asked.control.pause(replay_batch_id)


@router.post(
    "/{replay_batch_id}/resume",
    scope="operate",
    responses=responses(*_CODES, "not_paused_by_canary", *_BODY),
)
async def resume_replay(replay_batch_id: BatchId, asked: Asked, body: ResumeReplay = _RESUME) -> Replay:
    """Continue a paused or stalled replay where it stopped. It may have to wait for its place: `queued`.

    A replay that is not paused is returned unchanged. With `canary`, only this number of objects
    follows, until their result is known. This needs a replay that its canary or its `pause_if` has paused.
    """
    return await asked.control.resume(replay_batch_id, canary=body.canary)


_pace_body: dict[str, Any] = {"requestBody": {"required": True}}


@router.put(
    "/{replay_batch_id}/pace", scope="operate", openapi_extra=_pace_body, responses=responses(*_CODES, *_BODY)
)
async def set_pace(replay_batch_id: BatchId, asked: Asked, request: Request, pace: NewPace = _NULL) -> Replay:
    """Change the pace of a replay, also while it is published. `null` removes the limit."""
    # The framework takes null for a missing body.
    if not await request.body():
        raise RequestValidationError(
            [{"type": "missing", "loc": ("body",), "msg": "Field required; null removes the pace"}]
        )
    return await asked.control.set_pace(replay_batch_id, pace.pace())


@router.post("/{replay_batch_id}/retry", scope="operate", responses=responses(*_CODES, "stage_pruned"))
async def retry_replay(replay_batch_id: BatchId, asked: Asked) -> Replay:
    """Publish the refused messages of a replay again, and continue a listing that was abandoned.

    A replay that is not finished, or has nothing to retry, is returned unchanged.
    """
    return await asked.control.retry(replay_batch_id)


@router.post("/{replay_batch_id}/cancel", scope="operate", responses=responses(*_CODES, *_BODY))
async def cancel_replay(replay_batch_id: BatchId, asked: Asked, body: CancelReplay = _DEFAULT) -> Replay:
    """End the publishing of a replay. Idempotent.

    Published messages are processed; no other message starts. The number of published messages in the
    response is final. With `withdraw`, no attempt of the new execution starts after the response, also if
    publishing has ended already.
    """
    return await asked.control.cancel(replay_batch_id, withdraw=body.withdraw)
