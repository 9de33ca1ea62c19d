"""HEAD wherever there is GET: the same answer without its body. Probes and `curl -I` ask so."""

from __future__ import annotations

from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EMPTY: Final[Message] = {"type": "http.response.body", "body": b""}


class _Enough(OSError):
    """What a server's `send` raises when nobody reads any more, and what stops a long body here."""


class Head:
    """Answers HEAD as GET is answered, up to the headers; nothing that follows them is read or sent."""

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
