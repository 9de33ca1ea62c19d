"""Stored objects and search over HTTP."""

from __future__ import annotations

from playhead.remote.derived import Remote, derived
from playhead.services.objects import Content, ObjectService
from playhead.services.search import SearchService


class RemoteObjects(Remote):
    """Remote `ObjectService`."""

    async def content(self, key: str, *, limit: int | None = None) -> Content:
        headers, chunks = await self._client.stream("storage/objects/content", key=key, limit=limit)
        part = headers.get("content-range")
        size = part.rpartition("/")[2] if part else headers.get("content-length", "")
        return Content(
            headers.get("content-type", "application/octet-stream"),
            int(size) if size.isdecimal() else 0,
            chunks,
        )

    async def metadata(self, key: str) -> bytes:
        _, chunks = await self._client.stream("storage/objects/metadata", key=key)
        return b"".join([chunk async for chunk in chunks])

    versions = derived(ObjectService.versions, "storage/objects/versions")
    list = derived(ObjectService.list, "storage/objects", execution="execution_id")


class RemoteSearch(Remote):
    """Remote `SearchService`: searches indexes in the server's data folder."""

    search = derived(SearchService.search, "search")
