"""Plans of replays over HTTP."""

from __future__ import annotations

from uuid import UUID

from playhead.model import Page, Plan, PlannedObject, ReplayRequest
from playhead.remote.client import HARMLESS, WORK_SECONDS, Client


class RemotePlan:
    """Remote `PlanService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, request: ReplayRequest, *, verify: bool = False) -> Plan:
        return await self._client.post(
            "replay/plan",
            Plan,
            lost=HARMLESS,
            json=request.body() | {"verify": verify},
            seconds=WORK_SECONDS,
        )

    async def get(self, plan: UUID) -> Plan:
        return await self._client.get(f"replay/plans/{plan}", Plan)

    async def list(self, cursor: str | None, limit: int) -> Page[Plan]:
        return await self._client.get("replay/plans", Page[Plan], cursor=cursor, limit=limit)

    async def objects(self, plan: UUID, cursor: str | None, limit: int) -> Page[PlannedObject]:
        path = f"replay/plans/{plan}/objects"
        return await self._client.get(path, Page[PlannedObject], cursor=cursor, limit=limit)
