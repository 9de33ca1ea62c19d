"""Event streams end when their caller may not read them any more.

Other responses run to their end: a client that waits for a replay, or downloads an object, was allowed to
when it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead import events

CHECK_SECONDS: Final = 0.5
_STREAM: Final = b"text/event-stream"


async def while_valid(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    began: Callable[[Message], None],
    is_valid: Callable[[], Awaitable[bool]],
) -> None:
    """Call the app. If it answers with an event stream, end that when the caller is not valid any more.

    The stream then ends without its event `end`: the client connects again, and is refused.

    Args:
        began: is called with the start of the response, before that is sent.
    """
    checking: asyncio.Task[None] | None = None

    async def send_watched(message: Message) -> None:
        nonlocal checking
        if message["type"] == "http.response.start":
            began(message)
            if _is_stream(message):
                checking = asyncio.create_task(check())
        await send(message)

    async def check() -> None:
        is_allowed = True
        while is_allowed:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                is_allowed = await is_valid()
            except Exception as exc:
                detail = f"check of an event stream: {type(exc).__name__}: {exc}"
                events.emit(events.LOOP_FAILED, exc_info=True, detail=detail)
                break
        limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(None) as limit:
            await app(scope, receive, send_watched)
    except TimeoutError:
        if not limit.expired():
            raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        if checking:
            checking.cancel()


def _is_stream(start: Message) -> bool:
    headers = start["headers"]
    # The content type is that of a stored object, too, whose length is known.
    return any(name == b"content-type" and value.startswith(_STREAM) for name, value in headers) and not any(
        name == b"content-length" for name, _ in headers
    )
