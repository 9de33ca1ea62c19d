"""Event streams end when their caller may not read them any more.

Other responses run to their end: a client that waits for a replay, or downloads an object, was allowed to
when it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.types import Message

from playhead import events

CHECK_SECONDS: Final = 0.5
_STREAM: Final = b"text/event-stream"


class Lasting:
    """An event stream, which ends when its caller is not valid any more.

    It then ends without its event `end`: the client connects again, and is refused.

    Args:
        serving: the task that handles the request. It is cancelled then.
    """

    def __init__(self, serving: asyncio.Task[Any], is_valid: Callable[[], Awaitable[bool]]) -> None:
        self._serving = serving
        self._is_valid = is_valid
        self._is_over = False
        self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        is_allowed = True
        while is_allowed:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                is_allowed = await self._is_valid()
            except Exception as exc:
                detail = f"check of an event stream: {type(exc).__name__}: {exc}"
                events.emit(events.LOOP_FAILED, exc_info=True, detail=detail)
                break
        self._is_over = True
        self._serving.cancel()

    def ended(self) -> bool:
        """Whether only the end of the stream has cancelled the task. Call it once, when that is cancelled."""
        return self._is_over and self._serving.uncancel() == 0

    def close(self) -> None:
        self._checking.cancel()


def is_stream(start: Message) -> bool:
    """Whether the start of a response is that of an event stream."""
    headers = dict(start["headers"])
    # The content type is that of a stored object, too, whose length is known.
    return b"content-length" not in headers and headers.get(b"content-type", b"").startswith(_STREAM)
