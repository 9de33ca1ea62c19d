"""Reads for the API and the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from uuid import UUID

from playhead.ids import moment
from playhead.model import (
    MOST_OUTPUT_KEYS,
    DeadLetter,
    DeadLetterDetail,
    Execution,
    Lineage,
    Problem,
    RouteCounts,
    RowState,
)
from playhead.ports.catalog.browse import ExecutionFilter, IdKind, Reference
from tests.catalog_memory.rows import MessageRow
from tests.catalog_memory.tables import Tables, counts, page


class BrowsePart(Tables):
    # -- executions --------------------------------------------------------------------------------

    async def execution(self, execution: UUID) -> Execution | None:
        await self._begin()
        row = self._executions.get(execution)
        return self._view(row) if row else None

    async def executions_named(self, executions: Sequence[UUID]) -> list[Execution]:
        await self._begin()
        return [self._view(self._executions[e]) for e in set(executions) & self._executions.keys()]

    async def executions(
        self, where: ExecutionFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Execution], int | None]:
        await self._begin()
        rows = (
            row
            for row in self._executions.values()
            if where.status in (None, row.status)
            and where.config in (None, row.version.config.name if row.version else None)
            and where.kind in (None, row.kind)
            and (where.tag is None or where.tag in row.tags)
            and where.parent in (None, row.parent)
        )
        found, then = page(rows, before, limit)
        return [self._view(row) for row in found], then

    async def newest_execution(self) -> UUID | None:
        await self._begin()
        rows, _ = page((row for row in self._executions.values() if row.kind != "adopted"), None, 1)
        return next((row.id for row in rows), None)

    async def ids_ending(self, kind: IdKind, digits: str, *, execution: UUID | None = None) -> list[UUID]:
        await self._begin()
        found: dict[str, Iterable[UUID | None]] = {
            "execution": self._executions,
            "batch": (row.batch for row in self._executions.values()),
            "message": (
                identity
                for identity, row in self._messages.items()
                if (row.execution.id == execution if execution else row.state == "dead")
            ),
        }
        return [identity for identity in found[kind] if identity and identity.hex.endswith(digits)]

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        await self._begin()
        row = self._executions.get(execution)
        if row is None or row.version is None:
            return []
        return [
            RouteCounts(route.name, route.queue, counts(m for m in row.messages if m.route is route))
            for route in row.version.config.routes.values()
        ]

    async def unstored(self, keys: Sequence[str]) -> set[str]:
        await self._begin()
        known = {key: self._outputs[key] for key in keys if key in self._outputs}
        return {key for key, o in known.items() if o.state != "stored" or o.pruned_at is not None}

    async def references(self, prefix: str, *, after: str = "", limit: int) -> list[Reference]:
        await self._begin()
        found = [
            Reference(o.key, o.original.key, o.size, o.created_at)
            for o in self._outputs.values()
            if o.original and o.state == "stored" and o.pruned_at is None
            if (o.key == prefix or o.key.startswith(prefix + "/")) and o.key.encode() > after.encode()
        ]
        return sorted(found, key=lambda one: one.key.encode())[:limit]

    # -- lineage -----------------------------------------------------------------------------------

    async def lineage(self, correlation_id: UUID) -> Lineage | None:
        await self._begin()
        row = self._messages.get(correlation_id)
        return self._lineage(row) if row else None

    async def lineage_of_object(self, key: str) -> list[Lineage]:
        await self._begin()
        output = self._outputs.get(key)
        if output and output.message and output.state == "stored":
            return [self._lineage(output.message)]
        takers = [row for row in self._messages.values() if row.object_key == key and not row.parent]
        return [self._lineage(row) for row in reversed(takers)]

    async def lineage_list(
        self,
        *,
        execution: UUID | None = None,
        batch: UUID | None = None,
        route: str | None = None,
        status: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[Lineage], int | None]:
        await self._begin()
        # A replay is a separate execution, so its messages are the roots of the batch and their descendants.
        rows = (
            row
            for row in self._messages.values()
            if execution in (None, row.execution.id)
            and batch in (None, row.execution.batch)
            and route in (None, row.route.name, f"{row.execution.ran.config.name}/{row.route.name}")
            and status in (None, row.state)
        )
        found, then = page(rows, before, limit)
        return [self._lineage(row) for row in found], then

    def _lineage(self, row: MessageRow) -> Lineage:
        execution = row.execution
        took = row.ended_at - row.started_at if row.ended_at and row.started_at else None
        stored = [o.key for o in self._outputs_of(row) if o.state == "stored"]
        return Lineage(
            correlation_id=row.id,
            parent_correlation_id=row.parent.id if row.parent else None,
            execution_id=execution.id,
            replay_batch_id=execution.batch,
            config=execution.ran.config.name,
            config_version=execution.ran.number,
            route=row.route.name,
            status=row.state,
            attempts=row.attempt,
            adapters=[one for codes, n in self._codes.items() if n == row.ran for one in codes],
            input_key=row.object_key,
            output_keys=stored[:MOST_OUTPUT_KEYS],
            output_count=len(stored),
            skip_reason=row.skip_reason,
            error=row.error,
            created_at=moment(row.created_at),
            started_at=moment(row.started_at) if row.started_at else None,
            ended_at=moment(row.ended_at) if row.ended_at else None,
            duration_ms=round(took * 1000) if took is not None else None,
            input_pruned_at=self._pruned_at(self._outputs.get(row.object_key)),
            outputs_pruned_at=self._outputs_pruned_at(row),
            taken_over_from=row.original.id if row.original else None,
        )

    # -- dead letters ------------------------------------------------------------------------------

    async def dead_letters(
        self,
        *,
        execution: UUID | None = None,
        route: str | None = None,
        code: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[DeadLetter], int | None]:
        await self._begin()
        rows = (
            row
            for row in self._messages.values()
            if row.state == "dead"
            and execution in (None, row.execution.id)
            and route in (None, row.route.name, f"{row.execution.ran.config.name}/{row.route.name}")
            and code in (None, row.error and row.error.code)
        )
        found, then = page(rows, before, limit)
        return [_dead_letter(row) for row in found], then

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail | None:
        await self._begin()
        row = self._messages.get(correlation_id)
        if row is None or row.state != "dead":
            return None
        return DeadLetterDetail(**asdict(_dead_letter(row)), traceback=row.traceback)

    async def open_by_route(self) -> dict[tuple[str, str, RowState], int]:
        await self._begin()
        rows = (row for row in self._messages.values() if row.open)
        return dict(Counter((row.execution.ran.config.name, row.route.name, row.state) for row in rows))

    async def dead_by_route(self) -> dict[tuple[str, str], int]:
        await self._begin()
        dead = (row for row in self._messages.values() if row.state == "dead")
        return dict(Counter((row.execution.ran.config.name, row.route.name) for row in dead))


def _dead_letter(row: MessageRow) -> DeadLetter:
    execution = row.execution
    error = row.error or Problem("unknown", "")
    return DeadLetter(
        correlation_id=row.id,
        execution_id=execution.id,
        config=execution.ran.config.name,
        config_version=execution.ran.number,
        route=row.route.name,
        queue=row.route.queue,
        input_key=row.object_key,
        attempts=row.attempt,
        error_code=error.code,
        error=error.message,
        failed_at=moment(row.ended_at or row.created_at),
    )
