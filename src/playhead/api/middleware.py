"""The outermost middleware: every request gets a correlation id and a response."""

from __future__ import annotations

import logging
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead import events
from playhead.api.answers import INTERNAL, answer
from playhead.errors import BadRequest, PlayheadError
from playhead.ids import uuid7

HEADER: Final = "X-Correlation-ID"
GUARDS: Final = (
    # A browser must not guess content types, pass responses to pages of other origins, or run scripts. A
    # response that needs more sets the header itself.
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    # Not "no-referrer": with it, browsers send the forms of Playhead's own pages with "Origin: null", which
    # `callers` refuses.
    ("Referrer-Policy", "same-origin"),
    # Responses contain data of a deployment. Only files of the web UI and event streams set another value.
    ("Cache-Control", "no-store"),
)
_GIVEN: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Identity:
    """Gives each request a correlation id, or keeps a valid one, and adds it and `GUARDS` to responses.

    An unexpected exception becomes a 500 here, so that this response has them, too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        identity = given if _GIVEN.fullmatch(given) else str(uuid7())
        scope.setdefault("state", {})["correlation_id"] = identity
        started = False
        inner = self._app if _is_utf8(scope) else _not_utf8

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers[HEADER] = identity
                for name, value in GUARDS:
                    headers.setdefault(name, value)
            await send(message)

        try:
            await inner(scope, receive, send_marked)
        except ClientDisconnect:
            return
        except Exception:
            events.emit(
                events.REQUEST_FAILED,
                logging.ERROR,
                exc_info=True,
                correlation_id=identity,
                method=scope["method"],
                path=scope["path"],
            )
            if started:
                raise  # the response has begun: the server must close the connection
            await answer(scope, PlayheadError("internal", INTERNAL))(scope, receive, send_marked)


def _is_utf8(scope: Scope) -> bool:
    """Whether a URL is UTF-8. The framework would replace other bytes, and so look up another name."""
    url = (scope.get("raw_path") or b"") + b"?" + scope["query_string"]
    try:
        unquote_to_bytes(url).decode()
    except UnicodeDecodeError:
        return False
    return True


async def _not_utf8(scope: Scope, receive: Receive, send: Send) -> None:
    error = BadRequest("invalid_path", "the URL is not UTF-8: percent-encode the UTF-8 bytes of each name")
    await answer(scope, error)(scope, receive, send)
