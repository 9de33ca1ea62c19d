"""Stored objects and search over HTTP."""

from __future__ import annotations

from uuid import UUID

from playhead.model import Page, SearchHit, StoredObject
from playhead.remote.client import Client
from playhead.services.objects import Content


class RemoteObjects:
    """Remote `ObjectService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def content(self, key: str, *, limit: int | None = None) -> Content:
        headers, chunks = await self._client.stream("storage/objects/content", key=key, limit=limit)
        part = headers.get("content-range")
        size = part.rpartition("/")[2] if part else headers.get("content-length", "")
        return Content(
            headers.get("content-type", "application/octet-stream"),
            int(size) if size.isdecimal() else 0,
            chunks,
        )

    async def list(
        self, execution: UUID, stage: str | None, path: str | None, cursor: str | None, limit: int
    ) -> Page[StoredObject]:
        return await self._client.get(
            "storage/objects",
            Page[StoredObject],
            execution_id=execution,
            stage=stage,
            path=path,
            cursor=cursor,
            limit=limit,
        )


class RemoteSearch:
    """Remote `SearchService`: searches indexes in the server's data folder."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def search(
        self, index: str, words: str, execution: UUID | None = None, limit: int = 10
    ) -> list[SearchHit]:
        page = await self._client.get(
            "search", Page[SearchHit], index=index, words=words, execution=execution, limit=limit
        )
        return page.items
