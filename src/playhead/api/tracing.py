"""A span for each request, below the one that its caller names; none for probes."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead.api.answers import correlation_id
from playhead.api.callers import PROBES
from playhead.ports.tracer import Tracer


class Traces:
    """Makes the span of a request current while it is answered. Its name is known when it is over: the method
    and the route, or the method alone where there is nothing at that URL."""

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
        about = {"http.request.method": method, "url.path": scope["path"], "url.scheme": scope["scheme"]}
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
                    span.fail(f"answered with {status}")
