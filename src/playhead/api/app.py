"""The HTTP API as one ASGI app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from playhead.api import (
    adapters,
    affected,
    answers,
    audit,
    causes,
    configs,
    control,
    datasets,
    dead_letters,
    diff,
    docs,
    executions,
    find,
    keys,
    lineage,
    metrics,
    plans,
    prune,
    queues,
    replays,
    reports,
    result,
    routes,
    runs,
    search,
    storage,
    system,
    workers,
)
from playhead.api.callers import Callers, Hosts
from playhead.api.description import DescribedApp
from playhead.api.head import Head
from playhead.api.identify import Identify, SignedOut
from playhead.api.limits import BodyLimit
from playhead.api.middleware import Identity
from playhead.api.proxied import TrustedProxy
from playhead.api.tracing import Traces
from playhead.cookies import LOOPBACK_COOKIE, SessionCookie
from playhead.ports.tracer import OFF, Tracer
from playhead.services import Services

OPENAPI: Final = "/openapi.json"
ROUTERS: Final = tuple(
    module.router
    for module in (
        *(datasets, replays, plans, control, reports, configs, runs, executions, find, diff, result),
        *(lineage, prune, storage, search, routes, queues, dead_letters, causes, affected),
        *(adapters, workers, keys, audit, system, metrics, docs),
    )
)


def create_app(
    services: Services,
    *,
    version: str,
    hosts: Hosts,
    max_body_bytes: int,
    max_upload_bytes: int,
    tracer: Tracer = OFF,
    pages: ASGIApp | None = None,
    signed_out: SignedOut | None = None,
    proxy: TrustedProxy | None = None,
    cookie: SessionCookie | None = LOOPBACK_COOKIE,
) -> FastAPI:
    """Return the ASGI app.

    Args:
        services: services that the operations call. The app does not open or close them.
        version: version of Playhead.
        hosts: names that it accepts in `Host`.
        max_body_bytes: limit of a body.
        max_upload_bytes: limit of a multipart run.
        tracer: starts a span for each request.
        pages: the web UI, which answers all paths that are not of the API; None: there is no web UI.
        signed_out: the answer of the web UI to a request without a valid caller.
        proxy: names users; None: no proxy is trusted.
        cookie: of the sessions of browsers; None: browsers cannot log in.
    """
    app = DescribedApp(
        title="Playhead",
        version=version,
        summary="Run message pipelines, store the outputs of each stage, and replay them into any route.",
        openapi_url=OPENAPI,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={
            "tracing": not tracer.on
        },  # the framework's own spans would duplicate them; older releases ignore this
        routes=[route for router in ROUTERS for route in router.routes],
    )
    app.state.services = services
    app.state.requests = requests = metrics.Requests()
    app.state.process = metrics.process_figures()
    answers.install(app, _methods_of)
    app.operations = tuple(_operations())
    app.mount(docs.ASSETS, docs.assets(), name="docs-assets")
    if pages:
        app.router.default = _outside_api(pages, app.router.default)
    # The last one added is the outermost.
    app.add_middleware(Head)
    app.add_middleware(BodyLimit, body=max_body_bytes, upload=max_upload_bytes)
    app.add_middleware(Identify, signed_out=signed_out, proxy=proxy, cookie=cookie)
    app.add_middleware(Callers, hosts=hosts)
    app.add_middleware(Identity)
    if tracer.on:
        app.add_middleware(Traces, tracer=tracer)
    app.add_middleware(metrics.Measured, requests=requests, template=_template_of)
    return app


def _outside_api(pages: ASGIApp, unknown: ASGIApp) -> ASGIApp:
    """Return the app for paths without an operation: unknown ones of the API, and all others."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # The target of a request to a proxy is not a path.
        is_page = scope["path"].startswith("/") and not scope["path"].startswith("/api/")
        await (pages if is_page else unknown)(scope, receive, send)

    return answer


def _methods_of(path: str) -> set[str]:
    """Return the methods of the operations at a path, as the OpenAPI description lists them."""
    there = [route for route in _operations() if route.include_in_schema]
    hit = next((route.path for route in there if route.path_regex.match(path)), None)
    return {method for route in there if route.path == hit for method in route.methods or ()}


def _template_of(path: str) -> str | None:
    """Return the template of the operations at a path; None if there are no operations."""
    if path == OPENAPI:
        return OPENAPI
    return next((route.path for route in _operations() if route.path_regex.match(path)), None)


def _operations() -> Iterator[APIRoute]:
    return (route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute))
