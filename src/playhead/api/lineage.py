"""Lineage: which message was derived from which, across replays."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Filter, Limit
from playhead.api.ids import NO_EXECUTION, BatchId, MessageId, key_query
from playhead.engine.paging import list_of, page_of
from playhead.model import ChainLink, Lineage, Page, RowState

router = APIRouter(prefix="/api/v1/lineage", tags=["lineage"])


@router.get(
    "",
    responses=responses(
        *("invalid_path", *NO_EXECUTION, "invalid_cursor", "object_not_found", "store_unavailable")
    ),
)
async def get_object_lineage(
    object_key: Annotated[str, key_query("object_key")],
    asked: Asked,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Lineage]:
    """List the message that created an object. For an input, list the messages that read it, newest first."""
    found = await asked.lineage.of_object(object_key)
    of = list_of("object lineage", object_key)
    return page_of(found, lambda message: str(message.correlation_id), cursor, limit, of)


@router.get(
    "/batch/{replay_batch_id}", responses=responses("id_ambiguous", "replay_not_found", "invalid_cursor")
)
async def list_batch_lineage(
    replay_batch_id: BatchId,
    asked: Asked,
    route: Filter = None,
    status: RowState | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Lineage]:
    """List the messages of a replay batch and all their descendants, newest first."""
    return await asked.lineage.list(
        batch=replay_batch_id, route=route, status=status, cursor=cursor, limit=limit
    )


@router.get("/{correlation_id}", responses=responses(*NO_EXECUTION, "message_not_found"))
async def get_lineage(correlation_id: MessageId, asked: Asked) -> Lineage:
    """Return one message with its state and outputs."""
    return await asked.lineage.get(correlation_id)


@router.get(
    "/{correlation_id}/chain", responses=responses(*NO_EXECUTION, "message_not_found", "invalid_cursor")
)
async def get_lineage_chain(
    correlation_id: MessageId,
    asked: Asked,
    direction: Literal["up", "down", "both"] = "both",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ChainLink]:
    """List a message with its ancestors (negative `distance`) and descendants, the nearest on the first page.

    Each page is in order of `distance`. `via` names the relation to the next message towards the requested
    one.
    """
    return await asked.lineage.chain(correlation_id, direction, cursor, limit)
