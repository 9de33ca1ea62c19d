"""Plans of replays over HTTP."""

from __future__ import annotations

from playhead.model import Plan, ReplayRequest
from playhead.remote.client import HARMLESS, WORK_SECONDS
from playhead.remote.derived import Remote, derived
from playhead.services.plan import PlanService


class RemotePlan(Remote):
    """Remote `PlanService`."""

    get = derived(PlanService.get, "replay/plans/{plan}")
    list = derived(PlanService.list, "replay/plans")
    objects = derived(PlanService.objects, "replay/plans/{plan}/objects")

    async def create(self, request: ReplayRequest, *, verify: bool = False) -> Plan:
        body = request.body() | {"verify": verify}
        return await self._client.post("replay/plan", Plan, lost=HARMLESS, json=body, seconds=WORK_SECONDS)
