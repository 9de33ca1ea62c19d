"""Pruning: which executions, and which of their objects."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from playhead.errors import Conflict
from playhead.keys import INPUT_STAGE
from playhead.model import Execution, Kept, Retention
from playhead.ports.catalog.prune import Candidate, PrunedObject, PruneFilter, PrunePage, Pruning
from tests.catalog_memory.rows import ExecutionRow, OutputRow, PruningRow
from tests.catalog_memory.tables import Tables


class PrunePart(Tables):
    async def pin(self, execution: UUID, pinned: bool) -> Execution | None:
        await self._begin()
        row = self._executions.get(execution)
        if row is None:
            return None
        if pinned and any(one.stage is None for one in row.prunings):
            raise Conflict("execution_pruned", f"execution {execution} can't be pinned: it was pruned")
        row.pinned = pinned
        return self._view(row)

    async def retentions(self) -> dict[str, Retention]:
        await self._begin()
        found = {name: row.newest.config.retention for name, row in self._configs.items()}
        return {name: retention for name, retention in sorted(found.items()) if retention}

    async def newest_tags(self, *, limit: int) -> list[str]:
        await self._begin()
        newest = sorted(self._executions.values(), key=lambda row: row.n, reverse=True)
        return list(dict.fromkeys(tag for row in newest for tag in sorted(row.tags)))[:limit]

    async def stage_names(self, config: str | None) -> list[str]:
        await self._begin()
        rows = [row for name, row in self._configs.items() if config in (None, name)]
        return sorted({stage for row in rows for one in row.versions for stage in one.config.stages})

    async def prune_candidates(
        self, where: PruneFilter, *, after: int = 0, limit: int = 100
    ) -> tuple[list[Candidate], int | None]:
        await self._begin()
        rows = [row for row in self._executions.values() if self._is_selected(row, where)]
        rows = [row for row in rows if not any(one.stage is None for one in row.prunings)]
        page = sorted((row for row in rows if row.n > after), key=lambda row: row.n)[:limit]
        found = [
            candidate
            for row in page
            if (row.kind != "adopted" or where.executions is not None) and not self._is_new(row, where)
            for candidate in self._candidate(row, where.stages)
        ]
        return found, page[-1].n if len(page) == limit else None

    def _is_selected(self, row: ExecutionRow, where: PruneFilter) -> bool:
        config = row.version.config.name if row.version else None
        since = row.created_at if row.ended_at is None else row.ended_at
        return (
            (where.executions is None or row.id in where.executions)
            and where.config in (None, config)
            and (where.tag is None or where.tag in row.tags)
            and (where.older_than is None or since <= self._clock() - where.older_than)
        )

    def _is_new(self, row: ExecutionRow, where: PruneFilter) -> bool:
        """Whether it is one of the newest of its config and kind, which `keep_last` keeps."""
        if row.version is None or not where.keep_last:
            return False
        alike = [
            other
            for other in self._executions.values()
            if other.version
            and other.version.config.name == row.version.config.name
            and other.kind == row.kind
            and not any(one.stage is None for one in other.prunings)
            and (where.tag is None or where.tag in other.tags)
        ]
        alike.sort(key=lambda other: other.n)
        completed = [other for other in alike if other.status == "completed"]
        return row in alike[-where.keep_last :] or row in completed[-where.keep_last :]

    def _candidate(self, row: ExecutionRow, stages: Sequence[str]) -> list[Candidate]:
        gone = {one.stage for one in row.prunings}
        if None in gone:
            return []
        missing: tuple[str, ...] = ()
        if stages:
            own = list(row.version.config.stages) if row.version else []
            own = [INPUT_STAGE, *own] if row.kind == "run" else own
            missing = tuple(one for one in own if one in stages and one not in gone)
            if not missing:
                return []
        return [Candidate(row.id, missing, self._why_kept(row))]

    def _why_kept(self, row: ExecutionRow) -> Kept | None:
        if row.kind == "adopted":
            return "adopted"
        if not row.settled:
            return "running"
        if row.pinned:
            return "pinned"
        replays = [
            other
            for other in self._executions.values()
            if other.parent == row.id
            or (other.job and other.job.since and other.job.since.execution in (row.id, row.parent))
        ]
        return "replayed" if any(not other.settled for other in replays) else None

    async def count_prunable(self, candidate: Candidate) -> tuple[int, int]:
        await self._begin()
        row = self._executions[candidate.execution]
        prunings = [PruningRow(0, row, stage, 0.0) for stage in candidate.stages or (None,)]
        found = [
            output
            for key, output in self._outputs.items()
            if output.pruned_at is None and any(one.has(key) for one in prunings)
            if self._is_disposable(output)
        ]
        return len(found), sum(output.size for output in found)

    def _is_disposable(self, output: OutputRow) -> bool:
        """Whether no other output that is not pruned has the same bytes."""
        others = (one for one in self._outputs.values() if one.place is output.place and one is not output)
        return all(one.pruned_at is not None for one in others)

    async def late_among(self, keys: Sequence[str]) -> set[str]:
        await self._begin()
        known = [self._outputs[key] for key in keys if key in self._outputs]
        gone = [one for one in known if one.state != "stored" or one.pruned_at is not None]
        return {one.key for one in gone if self._is_disposable(one)}

    async def begin_prune(self, candidates: Sequence[Candidate]) -> list[Pruning]:
        await self._begin()
        begun = []
        wanted = [(row, one.stages) for one in candidates if (row := self._executions.get(one.execution))]
        for row, stages in sorted(wanted, key=lambda one: one[0].n):
            for one in self._candidate(row, stages):
                for stage in () if one.kept else one.stages or (None,):
                    pruning = PruningRow(next(self._numbers), row, stage, self._clock())
                    row.prunings.append(pruning)
                    begun.append(_view(pruning))
        return begun

    async def open_prunings(self, *, older_than: float = 0.0) -> list[Pruning]:
        await self._begin()
        rows = [one for row in self._executions.values() for one in row.prunings]
        now = self._clock()
        open_ones = [
            one for one in rows if one.deleted_at is None and not now - older_than < one.pruned_at <= now
        ]
        return [_view(one) for one in sorted(open_ones, key=lambda one: one.n)]

    async def prune_page(
        self, pruning: Pruning, *, deleted: str | None = None, limit: int
    ) -> PrunePage | None:
        await self._begin()
        row = self._pruning(pruning)
        if row is None or row.deleted_at is not None:
            return None
        row.cursor = max(row.cursor, deleted or "", key=str.encode)
        keys = [key for key in self._outputs if row.has(key) and key.encode() > row.cursor.encode()]
        keys = sorted(keys, key=str.encode)[:limit]
        if not keys:
            return None
        new: list[OutputRow] = [self._outputs[key] for key in keys if self._outputs[key].pruned_at is None]
        for output in new:
            output.pruned_at = row.pruned_at
        free = [self._outputs[key] for key in keys if self._is_disposable(self._outputs[key])]
        counted = [output.size for output in free if output in new]
        return PrunePage(keys[-1], sorted(one.place.key for one in free), len(counted), sum(counted))

    async def pruned_object(self, key: str) -> PrunedObject | None:
        await self._begin()
        output = self._outputs.get(key)
        if output is None or output.state != "stored" or output.pruned_at is None:
            return None
        return PrunedObject(
            output.content_type,
            output.attributes,
            output.size,
            output.sha256,
            output.created_at,
            output.pruned_at,
            output.message.id if output.message else None,
            output.attempt,
        )

    async def end_prune(self, pruning: Pruning) -> None:
        await self._begin()
        row = self._pruning(pruning)
        if row and row.deleted_at is None:
            row.deleted_at = self._clock()

    def _pruning(self, pruning: Pruning) -> PruningRow | None:
        rows = self._executions[pruning.execution].prunings
        return next((row for row in rows if row.n == pruning.n), None)


def _view(row: PruningRow) -> Pruning:
    return Pruning(row.n, row.execution.id, row.stage)
