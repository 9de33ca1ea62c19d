"""Queues: show their messages, and take messages out by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, Limit, operations
from playhead.api.bodies import JsonRoute
from playhead.api.schemas import Receipt, Removed, TakeLimit
from playhead.envelope import Message
from playhead.model import Page
from playhead.services.take import HandOut

router = operations(prefix="/api/v1/queues", tags=["queues"], route_class=JsonRoute)

QueueName = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$",
        description="Name of a queue, as listed by `/api/v1/routes`.",
    ),
]
_refused = ("invalid_body", "unsupported_media_type", *BODY_CODES, "broker_unavailable")


@router.get("/{queue}/messages", responses=responses("broker_unavailable"))
async def peek_messages(queue: QueueName, asked: Asked, limit: Limit = 100) -> Page[Message]:
    """List the first messages of a queue without consuming or hiding them. An unknown queue is empty."""
    return Page(await asked.queues.peek(queue, limit))


@router.post("/{queue}/take", scope="take", responses=responses(*_refused))
async def take_messages(queue: QueueName, body: TakeLimit, asked: Asked) -> HandOut:
    """Receive messages of a queue that no worker consumes. Other consumers do not see them for a while.

    This removes no message. After processing, send the `receipt` to `/api/v1/queues/{queue}/remove`.
    Messages that are not removed in time become visible again.
    """
    return await asked.take.take(queue, body.limit)


@router.post("/{queue}/remove", scope="take", responses=responses("receipt_not_found", *_refused))
async def remove_messages(queue: QueueName, body: Receipt, asked: Asked) -> Removed:
    """Remove the messages of a receipt. Only the server that issued the receipt can do this."""
    return Removed(removed=await asked.take.remove(queue, body.receipt))
