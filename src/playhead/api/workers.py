"""The live processes, and the code that they have loaded."""

from __future__ import annotations

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.model import Page, Worker

router = operations(prefix="/api/v1/workers", tags=["system"])


@router.get("", responses=responses("invalid_cursor"))
async def list_workers(asked: Asked, limit: Limit = 100, cursor: Cursor = None) -> Page[Worker]:
    """List live processes, each with its queues and the code of the adapters that it has loaded.

    `notes` of an adapter name differences: its source has changed since, another process of the same queue
    has loaded other code, or this server would load other code.
    """
    return await asked.workers.list(cursor, limit)
