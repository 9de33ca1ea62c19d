"""Lineage: which message was derived from which, across replays."""

from __future__ import annotations

from typing import Annotated, Literal

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Filter, Limit, operations
from playhead.api.ids import NO_EXECUTION, BatchId, MessageId, key_query
from playhead.model import ChainCounts, ChainLink, ChainSummary, Lineage, Page, RowState
from playhead.reading.paging import list_of, page_of

router = operations(prefix="/api/v1/lineage", tags=["lineage"])


Direction = Literal["up", "down", "both"]
ObjectKey = Annotated[str, key_query("object_key")]

_NO_OBJECT = ("invalid_path", *NO_EXECUTION, "object_not_found", "records_deleted", "store_unavailable")
_no_object = responses(*_NO_OBJECT)
_no_object_or_cursor = responses(*_NO_OBJECT, "invalid_cursor")


@router.get("", responses=_no_object_or_cursor)
async def get_object_lineage(
    object_key: ObjectKey,
    asked: Asked,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Lineage]:
    """List the message that created an object. For an input, list the messages that read it, newest first."""
    found = await asked.lineage.of_object(object_key)
    of = list_of("object lineage", object_key)
    return page_of(found, lambda message: str(message.correlation_id), cursor, limit, of)


@router.get("/chain", responses=_no_object_or_cursor)
async def get_object_chain(
    object_key: ObjectKey,
    asked: Asked,
    direction: Direction = "both",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ChainLink]:
    """List the messages above (negative `distance`) and below one object, the nearest on the first page.

    Messages that received other outputs of the same message are not included. The message that produced the
    object has `distance` 0, and is left out in direction `down`. The messages that received the object have
    `distance` 1, or 0 if no message produced it. Each page is in order of `distance`.
    """
    return await asked.lineage.chain(object_key, direction, cursor, limit)


@router.get("/chain/summary", responses=_no_object)
async def summarize_object_chain(object_key: ObjectKey, asked: Asked) -> ChainSummary:
    """Group the messages above and below one object by execution and route, also across replays.

    A fan-out into thousands of messages is one group. Messages that received other outputs of the same
    message are not included. Reads up to 10,000 messages, the nearest ones.
    """
    return await asked.lineage.summary(object_key)


@router.get("/counts", responses=_no_object)
async def count_object_chain(object_key: ObjectKey, asked: Asked) -> ChainCounts:
    """Count the messages that received an object, and all below them, by route and state. Ends at 10,000."""
    return await asked.lineage.counts(object_key)


@router.get(
    "/batch/{replay_batch_id}",
    responses=responses("id_ambiguous", "replay_not_found", "records_deleted", "invalid_cursor"),
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
    direction: Direction = "both",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ChainLink]:
    """List a message with its ancestors (negative `distance`) and descendants, the nearest on the first page.

    Each page is in order of `distance`. `via` names the relation to the next message towards the requested
    one.
    """
    return await asked.lineage.chain(correlation_id, direction, cursor, limit)


@router.get("/{correlation_id}/chain/summary", responses=responses(*NO_EXECUTION, "message_not_found"))
async def summarize_chain(correlation_id: MessageId, asked: Asked) -> ChainSummary:
    """Group the ancestors and descendants of a message by execution and route, also across replays.

    Reads up to 10,000 messages, the nearest ones.
    """
    return await asked.lineage.summary(correlation_id)


@router.get("/{correlation_id}/counts", responses=responses(*NO_EXECUTION, "message_not_found"))
async def count_lineage_chain(correlation_id: MessageId, asked: Asked) -> ChainCounts:
    """Count the descendants of a message by route and state. Ends at 10,000 messages."""
    return await asked.lineage.counts(correlation_id)
