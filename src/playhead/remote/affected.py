"""What a version of an adapter, or a worker, has made, over HTTP."""

from __future__ import annotations

from uuid import UUID

from playhead.model import AffectedRoute, Page
from playhead.remote.derived import Remote


class RemoteAffected(Remote):
    """Remote `AffectedService`."""

    async def list(
        self,
        *,
        adapter: str | None = None,
        worker: str | None = None,
        since: str | None = "-24h",
        execution: UUID | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[AffectedRoute]:
        return await self._client.get(
            "affected",
            Page[AffectedRoute],
            adapter=adapter,
            worker=worker,
            since=since,
            execution=execution,
            cursor=cursor,
            limit=limit,
        )
