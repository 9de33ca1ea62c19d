"""The HTTP API, put together."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from playhead.api import (
    answers,
    configs,
    dead_letters,
    docs,
    executions,
    lineage,
    replays,
    routes,
    runs,
    storage,
    system,
)
from playhead.api.middleware import BodyLimit, Identity
from playhead.services import Services

ROUTERS: Final = tuple(
    module.router
    for module in (
        *(replays, configs, runs, executions, lineage),
        *(storage, routes, dead_letters, system, docs),
    )
)


def create_app(services: Services, *, version: str, max_body_bytes: int, max_upload_bytes: int) -> FastAPI:
    """Return the ASGI app.

    Args:
        services: what the operations ask; the app does not open or close anything.
        version: of Playhead.
        max_body_bytes: most bytes of a body.
        max_upload_bytes: most bytes of a multipart run.
    """
    app = FastAPI(
        title="Playhead",
        version=version,
        summary="Run message pipelines, store every stage's outputs, replay any stored stage into any route.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    answers.install(app, _methods_of)
    for router in ROUTERS:
        app.include_router(router)
    app.mount(docs.ASSETS, docs.assets(), name="docs-assets")
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, body=max_body_bytes, upload=max_upload_bytes)
    app.add_middleware(Identity)
    return app


def _methods_of(path: str) -> set[str]:
    """The methods of the operations at a path, as the description lists them together."""
    there = [
        route
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    ]
    hit = next((route.path for route in there if route.path_regex.match(path)), None)
    return {method for route in there if route.path == hit for method in route.methods or ()}
