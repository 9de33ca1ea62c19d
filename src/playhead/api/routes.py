"""The routes of the active configs, with the state of their queues."""

from __future__ import annotations

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.model import Page, RouteStatus

router = operations(prefix="/api/v1/routes", tags=["routes"])


@router.get("", responses=responses("invalid_cursor", "broker_unavailable"))
async def list_routes(asked: Asked, limit: Limit = 100, cursor: Cursor = None) -> Page[RouteStatus]:
    """List the routes of all active configs, by config, in the order of its source."""
    return await asked.queues.routes(cursor, limit)
