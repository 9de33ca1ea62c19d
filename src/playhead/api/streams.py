"""Server-sent events, as a browser's `EventSource` reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import Header
from fastapi.encoders import jsonable_encoder
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.responses import Response

from playhead.api.answers import responses
from playhead.errors import Unavailable
from playhead.services.watch import StateEvent, Watch

T = TypeVar("T")

HEARTBEAT_SECONDS: Final = 10.0
_ALIVE: Final = format_sse_event(comment="alive")
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # a proxy must forward each event at once
}

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="Id of the last received event. An `EventSource` sends it when it reconnects.",
    ),
]


def stream(
    name: Literal["execution", "replay"],
    watch: Watch[T],
    last: str | None,
    heartbeat: float = HEARTBEAT_SECONDS,
) -> Response:
    """Return the stream for one client; 204 if it has received the last event.

    Args:
        name: name of the events. The last event is `end`.
        last: id of the last event that the client received.
        heartbeat: a comment is sent after this many seconds without an event.
    """
    if watch.was_told_all(last):
        return Response(status_code=204)
    # Not as an event generator of the framework: it logs a traceback for each client that disconnects while
    # it reads too slowly (fastapi/fastapi#15824).
    return EventSourceResponse(_events(name, watch.tell(last), heartbeat), headers=_HEADERS)


async def _events(
    name: str, telling: AsyncIterator[StateEvent[T] | Unavailable], heartbeat: float
) -> AsyncIterator[bytes]:
    """Yield the bytes of each event, and of comments between rare events."""
    while True:
        coming = asyncio.ensure_future(anext(telling))
        try:
            while not (await asyncio.wait({coming}, timeout=heartbeat))[0]:
                yield _ALIVE
            found = coming.result()
        except StopAsyncIteration:
            return
        finally:
            coming.cancel()
        yield _event(name, found)


def _event(name: str, found: StateEvent[T] | Unavailable) -> bytes:
    if isinstance(found, Unavailable):
        # A comment: browsers also use the event name `error` for lost connections.
        comment = f"{found.code}: {found.detail}".encode(errors="replace").decode()
        return format_sse_event(comment=comment)
    data = json.dumps(jsonable_encoder(found.state))
    return format_sse_event(event="end" if found.is_end else name, data_str=data, id=found.id)


def stream_responses(name: str, model: type, *codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a stream.

    Args:
        name: name of the events except the last.
        model: type of their `data`. It must also be the operation's `response_model`, or it gets no schema.
        codes: error codes of responses that are sent instead of a stream.
    """
    event = {
        "type": "object",
        "required": ["event", "id", "data"],
        "properties": {
            "event": {"type": "string", "enum": [name, "end"]},
            "id": {"type": "string"},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": f"#/components/schemas/{model.__name__}"},
            },
        },
    }
    return {
        200: {
            "description": "Events until the last one, `end`, or until the server shuts down.",
            # Without `schema`, which for a stream describes the array of all items.
            "content": {"text/event-stream": {"itemSchema": event}},
        },
        204: {"description": "`Last-Event-ID` is the id of `end`: no more events follow."},
        **responses(*codes),
    }
