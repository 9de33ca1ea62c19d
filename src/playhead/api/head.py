"""HEAD for every URL that supports GET. Probes and `curl -I` use it."""

from __future__ import annotations

from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EMPTY: Final[Message] = {"type": "http.response.body", "body": b""}


class _Enough(OSError):
    """Stops a long body. Servers raise an `OSError` in `send` when the client has disconnected."""


class Head:
    """Answers HEAD like GET, but sends only the headers, and stops reading the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send(_EMPTY)
            elif message.get("more_body", False):
                raise _Enough

        try:
            await self._app({**scope, "method": "GET"}, receive, send_head)
        except (_Enough, ClientDisconnect):
            return
