"""A span for each request except probes, as a child of the span in `traceparent`."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead.api.answers import correlation_id
from playhead.api.callers import PROBES
from playhead.credentials import masked
from playhead.ports.tracer import Tracer


class Traces:
    """Makes the span of a request the current one while the request is processed.

    The span is named at its end: by method and route, or by the method alone if the URL does not exist.
    """

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"]
        # A client may have put its key into the path by mistake.
        path = masked(scope["path"])
        about = {"http.request.method": method, "url.path": path, "url.scheme": scope["scheme"]}
        parent = Headers(scope=scope).get("traceparent")
        with self._tracer.start(method, parent, about, "server") as span:
            try:
                with span.current():
                    await self._app(scope, receive, send_seen)
            finally:
                if route := getattr(scope.get("route"), "path", None):
                    span.rename(f"{method} {route}")
                    span.set({"http.route": route})
                if identity := correlation_id(scope):
                    span.set({"playhead.correlation_id": identity})
                if status:
                    span.set({"http.response.status_code": status})
                if status >= 500:
                    span.fail(f"status {status}")
