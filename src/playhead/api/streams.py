"""Streams of events (SSE): what a watcher is told, as a browser's `EventSource` reads it."""

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
    "X-Accel-Buffering": "no",  # a proxy hands on each event as it comes
}

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The id of the last event that was heard; an `EventSource` sends it by itself.",
    ),
]


def stream(
    name: Literal["execution", "replay"],
    watch: Watch[T],
    last: str | None,
    heartbeat: float = HEARTBEAT_SECONDS,
) -> Response:
    """The stream for one watcher; 204 when all was heard.

    Args:
        name: of the events but the last, which is `end`.
        last: the id of the last event that was heard.
        heartbeat: seconds after which a comment is sent when nothing else was.
    """
    if watch.was_told_all(last):
        return Response(status_code=204)
    # As a generator of the framework's own kind, it would log a traceback for each client that leaves while
    # it is behind with its reading (fastapi/fastapi#15824).
    return EventSourceResponse(_events(name, watch.tell(last), heartbeat), headers=_HEADERS)


async def _events(
    name: str, telling: AsyncIterator[StateEvent[T] | Unavailable], heartbeat: float
) -> AsyncIterator[bytes]:
    """The bytes of each event as it comes, and of a comment when none does."""
    while True:
        coming = asyncio.ensure_future(anext(telling))
        try:
            while not (await asyncio.wait({coming}, timeout=heartbeat))[0]:
                yield _ALIVE
            told = coming.result()
        except StopAsyncIteration:
            return
        finally:
            coming.cancel()
        yield _event(name, told)


def _event(name: str, told: StateEvent[T] | Unavailable) -> bytes:
    if isinstance(told, Unavailable):
        # A comment: an event named `error` would reach those who listen for a lost connection.
        said = f"{told.code}: {told.detail}".encode(errors="replace").decode()
        return format_sse_event(comment=said)
    data = json.dumps(jsonable_encoder(told.state))
    return format_sse_event(event="end" if told.is_end else name, data_str=data, id=told.id)


def stream_responses(name: str, model: type, *codes: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a stream.

    Args:
        name: of the events but the last.
        model: what is in the `data` of each; to be the operation's `response_model`, too, or no schema is
            made of it.
        codes: of the errors that are answered before a stream begins.
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
            "description": "Events, until the last, `end`, or until the server stops.",
            # No `schema` beside it: that of a stream describes the array of all its items.
            "content": {"text/event-stream": {"itemSchema": event}},
        },
        204: {"description": "`Last-Event-ID` was that of `end`: there is nothing more to hear."},
        **responses(*codes),
    }
