"""Comparisons of executions over HTTP."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from playhead.model import Diff, DiffFilter, DiffObject, Page
from playhead.remote.client import Client

_SECONDS: Final = 600.0
"""Comparing a million objects takes longer than other requests."""


class RemoteDiff:
    """Remote `DiffService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def summary(self, a: UUID, b: UUID, stage: str | None = None, path: str | None = None) -> Diff:
        return await self._client.look(
            f"executions/{a}/diff/{b}", Diff, seconds=_SECONDS, stage=stage, path=path
        )

    async def objects(
        self,
        a: UUID,
        b: UUID,
        stage: str | None = None,
        state: DiffFilter | None = None,
        path: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DiffObject]:
        return await self._client.look(
            f"executions/{a}/diff/{b}/objects",
            Page[DiffObject],
            seconds=_SECONDS,
            stage=stage,
            state=state,
            path=path,
            cursor=cursor,
            limit=limit,
        )
