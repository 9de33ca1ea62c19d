"""Server-sent events, as a browser's `EventSource` reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.responses import Response

from playhead.errors import Unavailable
from playhead.services.watch import StateEvent, Watch

T = TypeVar("T")

HEARTBEAT_SECONDS: Final = 10.0
_ALIVE: Final = format_sse_event(comment="alive")
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # a proxy must forward each event at once
}


def event_stream(
    name: str,
    watch: Watch[T],
    last: str | None,
    data: Callable[[T], Any],
    heartbeat: float = HEARTBEAT_SECONDS,
) -> Response:
    """Return the stream for one client; 204 if it has received the last event.

    Args:
        name: name of the events. The last event is `end`.
        last: id of the last event that the client received.
        data: returns what a state is as JSON.
        heartbeat: a comment is sent after this many seconds without an event.
    """
    if watch.was_told_all(last):
        return Response(status_code=204)
    # Not as an event generator of the framework: it logs a traceback for each client that disconnects while
    # it reads too slowly (fastapi/fastapi#15824).
    return EventSourceResponse(_events(name, watch.tell(last), data, heartbeat), headers=_HEADERS)


async def _events(
    name: str,
    telling: AsyncIterator[StateEvent[T] | Unavailable],
    data: Callable[[T], Any],
    heartbeat: float,
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
        yield _event(name, found, data)


def _event(name: str, found: StateEvent[T] | Unavailable, data: Callable[[T], Any]) -> bytes:
    if isinstance(found, Unavailable):
        # A comment: browsers also use the event name `error` for lost connections.
        comment = f"{found.code}: {found.detail}".encode(errors="replace").decode()
        return format_sse_event(comment=comment)
    text = json.dumps(data(found.state))
    return format_sse_event(event="end" if found.is_end else name, data_str=text, id=found.id)
