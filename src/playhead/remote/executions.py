"""Executions and lineage over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from playhead.model import (
    ChainCounts,
    ChainLink,
    Execution,
    Lineage,
    Page,
    Pruned,
    Replay,
    RouteCode,
    RouteCounts,
    StageSummary,
    StageTotals,
    Why,
)
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.ports.catalog.prune import PruneFilter
from playhead.remote.client import HARMLESS, Client

_PRUNE_SECONDS: Final = 600.0
"""Counting the objects of many executions takes longer than other requests."""


@dataclass(frozen=True, slots=True)
class _Resent:
    resent: int


class RemoteExecutions:
    """Remote `ExecutionService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, execution: UUID) -> Execution:
        return await self._client.get(f"executions/{execution}", Execution)

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        return await self._client.get_all(f"executions/{execution}/routes", Page[RouteCounts])

    async def code(self, execution: UUID) -> list[RouteCode]:
        return await self._client.get_all(f"executions/{execution}/code", Page[RouteCode])

    async def stages(self, execution: UUID) -> list[StageSummary]:
        return await self._client.get_all(f"executions/{execution}/stages", Page[StageSummary])

    async def stage_totals(self, execution: UUID) -> StageTotals:
        return await self._client.get(f"executions/{execution}/totals", StageTotals)

    async def replays(
        self, source: UUID | None, cursor: str | None, limit: int, *, is_open: bool = False
    ) -> Page[Replay]:
        return await self._client.get(
            "replays", Page[Replay], from_execution_id=source, open=is_open, cursor=cursor, limit=limit
        )

    async def replay(self, batch: UUID) -> Replay:
        return await self._client.get(f"replays/{batch}", Replay)

    async def list(self, where: ExecutionFilter, cursor: str | None, limit: int) -> Page[Execution]:
        return await self._client.get(
            "executions", Page[Execution], **where._asdict(), cursor=cursor, limit=limit
        )


class RemoteLineage:
    """Remote `LineageService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of_object(self, key: str) -> list[Lineage]:
        return await self._client.get_all("lineage", Page[Lineage], object_key=key)

    async def list(
        self, *, execution: UUID, status: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[Lineage]:
        path = f"executions/{execution}/lineage"
        return await self._client.get(path, Page[Lineage], status=status, cursor=cursor, limit=limit)

    async def chain(
        self,
        correlation_id: UUID,
        direction: Literal["up", "down", "both"],
        cursor: str | None,
        limit: int,
    ) -> Page[ChainLink]:
        return await self._client.get(
            f"lineage/{correlation_id}/chain",
            Page[ChainLink],
            direction=direction,
            cursor=cursor,
            limit=limit,
        )

    async def chain_of_object(
        self, key: str, direction: Literal["up", "down", "both"], cursor: str | None, limit: int
    ) -> Page[ChainLink]:
        return await self._client.get(
            "lineage/chain",
            Page[ChainLink],
            object_key=key,
            direction=direction,
            cursor=cursor,
            limit=limit,
        )

    async def counts(self, correlation_id: UUID) -> ChainCounts:
        return await self._client.get(f"lineage/{correlation_id}/counts", ChainCounts)

    async def counts_of_object(self, key: str) -> ChainCounts:
        return await self._client.get("lineage/counts", ChainCounts, object_key=key)


class RemoteWhy:
    """Remote `WhyService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def explain(self, execution: UUID, path: str, stage: str | None = None) -> Why:
        return await self._client.get(f"executions/{execution}/why", Why, path=path, stage=stage)


class RemotePrune:
    """Remote `PruneService`. The server deletes objects in the background."""

    def __init__(self, client: Client) -> None:
        self._client = client

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
        named = None if where.executions is None else [str(one) for one in where.executions]
        conditions = {
            "execution_ids": named,
            "config": where.config,
            "tag": where.tag,
            "older_than_seconds": where.older_than,
            "stages": list(where.stages) or None,
        }
        body = {name: value for name, value in conditions.items() if value is not None}
        body |= {"keep_last": where.keep_last, "dry_run": dry_run}
        return await self._client.post("prune", Pruned, lost=HARMLESS, json=body, seconds=_PRUNE_SECONDS)


class RemoteRecover:
    """Remote `RecoverService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def cancel(self, execution: UUID) -> Execution:
        return await self._client.post(f"executions/{execution}/cancel", Execution, lost=HARMLESS)

    async def resend(
        self,
        ids: Sequence[UUID] | None = None,
        execution: UUID | None = None,
        route: str | None = None,
        code: str | None = None,
        group: str | None = None,
        failed_before: str | None = None,
    ) -> Sized:
        """Resend dead letters. The server returns only their number, so the result has only a length."""
        path = "dead-letters/resend"
        body: dict[str, object] = {
            "execution_id": str(execution) if execution else None,
            "route": route,
            "error_code": code,
            "group": group,
            "failed_before": failed_before,
        }
        if ids is not None:
            body["correlation_ids"] = [str(identity) for identity in ids]
        answer = await self._client.post(path, _Resent, lost=HARMLESS, json=body)
        return range(answer.resent)
