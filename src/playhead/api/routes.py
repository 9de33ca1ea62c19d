"""The routes of the active configs, with the state of their queues; pause and resume them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, ConfigName, Cursor, Limit, operations
from playhead.api.bodies import JsonRoute
from playhead.api.schemas import Word
from playhead.api.schemas.queues import PauseRoute
from playhead.model import Page, RoutePause, RouteStatus

RouteName = Annotated[Word, Path(description="Name of a route.")]
router = operations(prefix="/api/v1/routes", tags=["routes"], route_class=JsonRoute)
_NO_ROUTE = ("config_not_found", "route_not_found", "broker_unavailable")


@router.get("", responses=responses("invalid_cursor", "broker_unavailable"))
async def list_routes(asked: Asked, limit: Limit = 100, cursor: Cursor = None) -> Page[RouteStatus]:
    """List the routes of all active configs, by config, in the order of its source."""
    return await asked.queues.routes(cursor, limit)


@router.post(
    "/{config}/{route}/pause",
    scope="operate",
    responses=responses(
        *_NO_ROUTE, *("route_external", "invalid_body", "unsupported_media_type", *BODY_CODES)
    ),
)
async def pause_route(config: ConfigName, route: RouteName, body: PauseRoute, asked: Asked) -> RouteStatus:
    """Pause a route: its messages stay in the queue, and workers start no attempt of it.

    Workers notice it within a second. Attempts that run then finish. A newer pause replaces the one before.
    """
    return await asked.queues.pause(config, route, RoutePause(**body.model_dump()))


@router.post("/{config}/{route}/resume", scope="operate", responses=responses(*_NO_ROUTE))
async def resume_route(config: ConfigName, route: RouteName, asked: Asked) -> RouteStatus:
    """Resume a paused route. A route that is not paused stays as it is."""
    return await asked.queues.resume(config, route)
