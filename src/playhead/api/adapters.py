"""The adapters that the server has loaded, which configs may use."""

from __future__ import annotations

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.model import AdapterInfo, Page
from playhead.reading.paging import list_of, page_of

router = operations(prefix="/api/v1/adapters", tags=["configs"])


@router.get("", responses={status: responses("invalid_cursor")[status] for status in (400, 500)})
async def list_adapters(asked: Asked, limit: Limit = 100, cursor: Cursor = None) -> Page[AdapterInfo]:
    """List adapters by name, each with the JSON Schema of its config."""
    return page_of(await asked.system.adapters(), lambda info: info.type, cursor, limit, list_of("adapters"))
