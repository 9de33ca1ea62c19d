"""Answers requests for pages, their `.json` twins, live numbers and forms."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from playhead import acting, events
from playhead.acting import check_scope
from playhead.errors import PlayheadError, Unauthorized, Unavailable
from playhead.event_stream import event_stream
from playhead.services import Services
from playhead.web import find, login
from playhead.web.allowed import Allowed, needs_of
from playhead.web.page import WHY, Action, Answer, ApiCall, Ask, Page, Raw, Redirect, Shown
from playhead.web.render import POLICY, STATIC, as_json, assets_hash, environment, style_sheet

TITLES: Final = {404: "Not found", 503: "Unavailable", 500: "Internal error"}
_FOR_PROGRAMS: Final = (".json", ".live", "/metrics")
"""How paths end whose clients follow no way to a login."""
_Handler = Callable[[Request], Awaitable[Response]]
_FOREVER: Final = "public, max-age=31536000, immutable"
_COUNT_SECONDS: Final = 5.0
_IDS: Final = ("execution_id", "from_execution_id", "key", "with", "plan_id", "group")
"""Query parameters that name something."""


@dataclass(frozen=True, slots=True)
class _Live:
    """The live numbers of a page at one time."""

    cells: Mapping[str, str]
    shape: str


@dataclass(frozen=True, slots=True)
class ErrorView:
    """What the page of an error shows.

    Attributes:
        status: HTTP status.
        error_code: stable code.
        detail: what happened, and what to do.
        correlation_id: id of the request, as in the server's log.
        near: pages that may have been meant.
    """

    status: int
    error_code: str
    detail: str
    correlation_id: str | None
    near: Sequence[find.Hit] = ()


def _page_of(request: Request) -> str:
    """Return the path of the page that a request, also for a twin, is about."""
    path = request.url.path.removesuffix(".json").removesuffix(".live")
    return "/" if path == "/index" else path


def _live_url(address: str, mark: str) -> str:
    """Return the URL of the live numbers of a page that has drawn `mark`."""
    return f"{address}{'&' if '?' in address else '?'}{urlencode({'mark': mark})}" if mark else address


def _guarded(what: Page | Action | Raw, answer: _Handler) -> _Handler:
    """Return a handler that first checks the scope of the caller: of a page, its twins, or a form."""

    async def guarded(request: Request) -> Response:
        check_scope(what.scope)
        return await answer(request)

    return guarded


class _Assets(StaticFiles):
    """The files of `static/`, at a URL with their hash."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = _FOREVER
        return response


async def _style_sheet(_: Request) -> Response:
    return Response(style_sheet(), 200, {"Cache-Control": _FOREVER}, "text/css")


class Site:
    """Answers requests for pages.

    Args:
        services: the use cases.
        status: HTTP status of each error code.
        public_url: address of the server for browsers; None: the one that they use.
    """

    def __init__(
        self,
        services: Services,
        pages: Sequence[Page],
        actions: Sequence[Action],
        raws: Sequence[Raw],
        version: str,
        status: Mapping[str, int],
        patience: float | None,
        public_url: str | None,
    ) -> None:
        self._services = services
        self._pages, self._actions, self._raws = pages, actions, raws
        self._needs = needs_of(pages, actions, raws)
        self._status = status
        self._patience = patience
        self._public_url = public_url
        self._templates = environment(version)
        self._dead: tuple[float, str] = (0.0, "")

    def routes(self) -> list[BaseRoute]:
        assets = f"/assets/{assets_hash()}"
        found: list[BaseRoute] = [
            Route(f"{assets}/app.css", _style_sheet),
            Mount(assets, _Assets(directory=STATIC)),
        ]
        for action in self._actions:
            found.append(Route(action.path, _guarded(action, self._acting(action)), methods=["POST"]))
        for page in self._pages:
            path = page.path if page.path != "/" else "/index"
            found.append(Route(f"{path}.json", _guarded(page, self._json(page))))
            if page.live:
                found.append(Route(f"{path}.live", _guarded(page, self._live(page))))
            found.append(Route(page.path, _guarded(page, self._html(page))))
        for raw in self._raws:
            found.append(Route(raw.path, _guarded(raw, self._raw(raw)), methods=[raw.method]))
        return found

    def signed_out(self, scope: Scope, error: PlayheadError) -> ASGIApp | None:
        """Return the answer to a request without a valid caller; None: its path is not a page.

        Without a session, that is the way to the login.
        """
        path = scope["path"]
        if not path.startswith("/") or path.startswith("/api/") or path.endswith(_FOR_PROGRAMS):
            return None
        request = Request(scope)
        if isinstance(error, Unauthorized):
            return login.redirect(request)

        async def fail(scope: Scope, receive: Receive, send: Send) -> None:
            answer = await self.fail(request, error)
            await answer(scope, receive, send)

        return fail

    def _ask(self, request: Request, form: Any = None, body: Request | None = None) -> Ask:
        is_foreign = request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        path = _page_of(request)
        return Ask(
            *(self._services, path, request.path_params, request.query_params),
            *(form, is_foreign, body, self._patience),
        )

    def _html(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await self._respond(request, await page.show(self._ask(request)), page)

        return answer

    def _raw(self, raw: Raw) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await raw.answer(self._ask(request, body=request))

        return answer

    def _acting(self, action: Action) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if action.reads_body:
                return await self._respond(
                    request, await action.perform(self._ask(request, body=request)), action
                )
            async with request.form(max_files=0, max_fields=2000) as form:
                with acting.because(form.get(WHY)):
                    done = await action.perform(self._ask(request, form))
            return await self._respond(request, done, action)

        return answer

    async def _respond(self, request: Request, answer: Answer, page: Page | Action) -> Response:
        if isinstance(answer, Redirect):
            return RedirectResponse(answer.href, 303)
        template = answer.template or page.template
        return self._page(request, answer, template, page, await self._count_dead())

    def _page(
        self, request: Request, shown: Shown[Any], template: str, page: Page | Action | None, dead: str
    ) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        path = _page_of(request)
        base = (path if path != "/" else "/index") if isinstance(page, Page) else None
        is_live = isinstance(page, Page) and page.live and not shown.ended
        text = self._templates.get_template(template).render(
            v=shown.view,
            shown=shown,
            cells=shown.cells,
            section=page.section if page else "",
            path=path,
            here=path + query,
            json_url=f"{base}.json{query}" if base else None,
            live_url=_live_url(f"{base}.live{query}", shown.mark) if is_live else None,
            curl=[self._curl(request, call) for call in shown.calls],
            dead=dead,
            may=Allowed(request.scope["state"].get("caller"), self._needs),
        )
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
        return Response(text.encode(errors="replace"), shown.status, headers, "text/html")

    def _curl(self, request: Request, call: ApiCall) -> str:
        """Return the command that makes a call of the API."""
        server = self._public_url or f"{request.url.scheme}://{request.url.netloc}"
        address = shlex.quote(f"{server}{call.path}")
        if acting.current().caller.kind != "local":  # a key is needed; never the one of this caller
            address = f'-H "Authorization: Bearer $PLAYHEAD_KEY" {address}'
        if call.method == "GET":
            return f"curl -s {address}"
        body = "".join(f" -F {shlex.quote(part)}" for part in call.parts)
        if call.body is not None:
            body = f" -H 'Content-Type: application/json' -d {shlex.quote(as_json(call.body).decode())}"
        return f"curl -s -X {call.method} {address}{body}"

    async def _count_dead(self) -> str:
        """Return the number of dead letters for the navigation; at most 5 seconds old."""
        until, count = self._dead
        if time.monotonic() >= until:
            try:
                total = await self._services.queues.dead_total()
                count = f"{total:,}" if total else ""
            except Unavailable:
                count = ""
            self._dead = (time.monotonic() + _COUNT_SECONDS, count)
        return count

    def _json(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            found = await page.show(self._ask(request))
            if isinstance(found, Redirect):
                parts = urlsplit(found.href)
                query = f"?{parts.query}" if parts.query else ""
                return RedirectResponse(f"{parts.path}.json{query}", 303)
            body = as_json({"title": found.title, "view": found.view, "api": found.calls})
            return Response(body, found.status, {"Cache-Control": "no-store"}, "application/json")

        return answer

    def _live(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            ask = self._ask(request)

            async def read() -> tuple[_Live, bool]:
                found = await page.show(ask)
                if isinstance(found, Redirect):
                    return _Live({}, ""), True
                return _Live(dict(found.cells), found.shape), found.ended

            if "text/event-stream" not in request.headers.get("accept", ""):
                return Response(
                    as_json((await read())[0]), 200, {"Cache-Control": "no-store"}, "application/json"
                )
            # Viewers share what was read, if they may see the same.
            scopes = ",".join(sorted(acting.current().caller.scopes))
            name = f"{request.url.path}?{request.url.query} {scopes}"
            watch = await self._services.watch.view(name, read)
            last = request.headers.get("last-event-id")
            return event_stream("cells", watch, last, lambda live: {"cells": live.cells, "shape": live.shape})

        return answer

    async def fail(self, request: Request, exc: Exception) -> Response:
        """Return the page of an error; JSON for the twins. No traceback reaches the browser."""
        path = request.url.path
        correlation = request.scope.get("state", {}).get("correlation_id")
        if isinstance(exc, PlayheadError) and exc.code in self._status:
            code, detail = exc.code, exc.detail
        elif isinstance(exc, HTTPException):
            code, detail = {
                400: ("invalid_body", exc.detail),
                405: ("method_not_allowed", f"{path} does not support {request.method}"),
            }.get(exc.status_code, ("not_found", f"there is no page {path}"))
        else:
            code, detail = (
                "internal",
                "a bug in the server; its log has the traceback under this correlation id",
            )
        status = self._status[code]
        request.scope["state"]["error_code"] = code
        if status >= 500:
            events.emit(
                events.REQUEST_FAILED,
                logging.ERROR if code == "internal" else logging.WARNING,
                exc_info=exc if code == "internal" else False,
                correlation_id=correlation,
                method=request.method,
                path=path,
                error_code=code,
                detail=detail,
            )
        near = await self._near(request) if status == 404 else []
        view = ErrorView(status, code, detail, correlation, near)
        if path.endswith((".json", ".live")):
            return Response(as_json(view), status, {}, "application/json")
        shown = Shown(TITLES.get(status, "Error"), view, status=status)
        return self._page(request, shown, "error.html", None, self._dead[1])

    async def _near(self, request: Request) -> Sequence[find.Hit]:
        """Return pages that a request for an unknown page or id may have meant."""
        path = _page_of(request)
        named = [str(value) for value in request.path_params.values()]
        asked = [request.query_params.get(name, "") for name in _IDS]
        for text in filter(None, [*asked, *named, path.rpartition("/")[2]]):
            with suppress(PlayheadError):
                if found := [one for one in await find.near(self._services, text) if one.href != path]:
                    return found
        return []
