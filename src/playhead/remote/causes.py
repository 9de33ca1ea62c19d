"""Causes of failures over HTTP."""

from __future__ import annotations

from playhead.model import Cause, CausePlan, CauseState, Page
from playhead.remote.client import HARMLESS, segment
from playhead.remote.derived import Remote, derived
from playhead.services.causes import CauseService


class RemoteCauses(Remote):
    """Remote `CauseService`."""

    get = derived(CauseService.get, "causes/{cause}")
    objects = derived(CauseService.objects, "causes/{cause}/objects")
    acknowledge = derived(CauseService.acknowledge, "causes/{cause}/acknowledge", verb="POST")
    unacknowledge = derived(CauseService.unacknowledge, "causes/{cause}/unacknowledge", verb="POST")

    async def plan(self, cause: str, cursor: str | None = None) -> CausePlan:
        path = f"causes/{segment(cause)}/plan"
        return await self._client.post(path, CausePlan, lost=HARMLESS, query={"cursor": cursor})

    async def list(
        self,
        *,
        state: CauseState | None = None,
        route: str | None = None,
        since: str | None = None,
        until: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Cause]:
        return await self._client.get(
            "causes",
            Page[Cause],
            state=state or "all",
            route=route,
            since=since,
            until=until,
            cursor=cursor,
            limit=limit,
        )
