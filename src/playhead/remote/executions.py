"""Executions and lineage over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import asdict, dataclass
from typing import Final, TypeVar
from uuid import UUID

from playhead.model import (
    ChainCounts,
    ChainLink,
    ChainSummary,
    Execution,
    Lineage,
    Page,
    Priority,
    Pruned,
    PruneFilter,
    ResendPlan,
)
from playhead.ports.catalog.browse import EVERY_DEAD_LETTER, DeadLetterFilter, ExecutionFilter
from playhead.remote.client import HARMLESS
from playhead.remote.derived import Remote, derived
from playhead.remote.queues import conditions
from playhead.services.executions import ExecutionService
from playhead.services.lineage import Direction, LineageService
from playhead.services.recover import RecoverService
from playhead.services.why import WhyService

T = TypeVar("T")

_PRUNE_SECONDS: Final = 600.0
"""Counting the objects of many executions takes longer than other requests."""


@dataclass(frozen=True, slots=True)
class _Resent:
    resent: int


class RemoteExecutions(Remote):
    """Remote `ExecutionService`."""

    get = derived(ExecutionService.get, "executions/{execution}")
    route_counts = derived(ExecutionService.route_counts, "executions/{execution}/routes")
    code = derived(ExecutionService.code, "executions/{execution}/code")
    stages = derived(ExecutionService.stages, "executions/{execution}/stages")
    stage_totals = derived(ExecutionService.stage_totals, "executions/{execution}/totals")
    replays = derived(ExecutionService.replays, "replays", source="from_execution_id", is_open="open")
    replay = derived(ExecutionService.replay, "replays/{batch}")

    async def list(self, where: ExecutionFilter, cursor: str | None, limit: int) -> Page[Execution]:
        return await self._client.get(
            "executions", Page[Execution], **where._asdict(), cursor=cursor, limit=limit
        )


class RemoteLineage(Remote):
    """Remote `LineageService`."""

    of_object = derived(LineageService.of_object, "lineage", key="object_key")

    async def chain(
        self, of: UUID | str, direction: Direction, cursor: str | None, limit: int
    ) -> Page[ChainLink]:
        page = {"direction": direction, "cursor": cursor, "limit": limit}
        return await self._get(of, "chain", Page[ChainLink], **page)

    async def counts(self, of: UUID | str) -> ChainCounts:
        return await self._get(of, "counts", ChainCounts)

    async def summary(self, of: UUID | str) -> ChainSummary:
        return await self._get(of, "chain/summary", ChainSummary)

    async def _get(self, of: UUID | str, what: str, form: type[T], **query: object) -> T:
        if isinstance(of, str):
            return await self._client.get(f"lineage/{what}", form, object_key=of, **query)
        return await self._client.get(f"lineage/{of}/{what}", form, **query)

    async def list(
        self,
        *,
        execution: UUID,
        status: str | None = None,
        made_by: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Lineage]:
        path = f"executions/{execution}/lineage"
        where = {"status": status, "made_by": made_by}
        return await self._client.get(path, Page[Lineage], **where, cursor=cursor, limit=limit)


class RemoteWhy(Remote):
    """Remote `WhyService`."""

    explain = derived(WhyService.explain, "executions/{execution}/why")


class RemotePrune(Remote):
    """Remote `PruneService`. The server deletes objects in the background."""

    async def pin(self, execution: UUID, pinned: bool = True) -> Execution:
        verb = "pin" if pinned else "unpin"
        return await self._client.post(f"executions/{execution}/{verb}", Execution, lost=HARMLESS)

    async def plan(self, where: PruneFilter) -> Pruned:
        return await self._post(where, dry_run=True)

    async def prune(self, where: PruneFilter, *, progress: Callable[[int], None] | None = None) -> Pruned:
        return await self._post(where, dry_run=False)

    async def finish(self, *, progress: Callable[[int], None] | None = None) -> int:
        return 0  # a process of the deployment ends them

    async def _post(self, where: PruneFilter, *, dry_run: bool) -> Pruned:
        asked = {name: value for name, value in asdict(where).items() if value is not None}
        del asked["is_retention"]
        asked["dry_run"] = dry_run
        return await self._client.post("prune", Pruned, lost=HARMLESS, json=asked, seconds=_PRUNE_SECONDS)


class RemoteRecover(Remote):
    """Remote `RecoverService`."""

    cancel = derived(RecoverService.cancel, "executions/{execution}/cancel", verb="POST")

    async def plan(self, where: DeadLetterFilter, *, failed_before: str | None = None) -> ResendPlan:
        body = conditions(where) | {"failed_before": failed_before}
        return await self._client.post("dead-letters/resend/plan", ResendPlan, lost=HARMLESS, json=body)

    async def resend(
        self,
        ids: Sequence[UUID] | None = None,
        where: DeadLetterFilter = EVERY_DEAD_LETTER,
        *,
        failed_before: str | None = None,
        priority: Priority | None = None,
    ) -> Sized:
        """Resend dead letters. The server returns only their number, so the result has only a length."""
        others = {"correlation_ids": ids, "failed_before": failed_before, "priority": priority}
        body = conditions(where) | others
        answer = await self._client.post("dead-letters/resend", _Resent, lost=HARMLESS, json=body)
        return range(answer.resent)
