"""The tables, and the operations on them that all parts of the catalog use."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar
from uuid import UUID

from playhead.counters import Numbers
from playhead.envelope import Headers
from playhead.errors import NotFound
from playhead.ids import mint, moment
from playhead.liveness import MISSED_BEATS
from playhead.model import AdapterCode, Counts, Execution, Route, replayable_until
from tests.catalog_memory.rows import (
    ConfigRow,
    DispatchState,
    ExecutionRow,
    LeaseRow,
    MessageRow,
    OutputRow,
    ProcessRow,
    VersionRow,
)

Row = TypeVar("Row", ExecutionRow, MessageRow)


class Tables:
    """Dicts by id in the order of insertion, oldest row first."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        heartbeat_seconds: float = 1.0,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._clock = clock
        self._beat = heartbeat_seconds
        self._dead_after = MISSED_BEATS * heartbeat_seconds
        self._pause = pause
        self._numbers = itertools.count(1)
        self._configs: dict[str, ConfigRow] = {}
        self._executions: dict[UUID, ExecutionRow] = {}
        self._messages: dict[UUID, MessageRow] = {}
        self._outputs: dict[str, OutputRow] = {}
        self._processes: dict[str, ProcessRow] = {}
        self._leases: dict[str, LeaseRow] = {}
        self._departed: list[Numbers] = []
        self._codes: dict[tuple[AdapterCode, ...], int] = {}
        self._next_calls: dict[str, float] = {}
        self._pauses: dict[str, tuple[float, float, str]] = {}

    async def _begin(self) -> None:
        """Yield control once. No method awaits anything afterwards, so each method is one transaction."""
        if self._pause:
            await self._pause()

    # -- finding -----------------------------------------------------------------------------------

    def _version(self, name: str, number: int) -> VersionRow:
        row = self._configs.get(name)
        if row is None or not 1 <= number <= len(row.versions):
            raise NotFound("config_not_found", f"there is no version {number} of a config {name!r}")
        return row.versions[number - 1]

    def _known(self, execution: UUID) -> ExecutionRow:
        row = self._executions.get(execution)
        if row is None:
            raise NotFound("execution_not_found", f"there is no execution {execution}")
        return row

    def _running(self) -> Iterable[ExecutionRow]:
        return [e for e in self._executions.values() if e.status == "running"]

    def _running_messages(self) -> Iterable[MessageRow]:
        """All messages of running executions, oldest first."""
        return sorted((m for e in self._running() for m in e.messages), key=lambda m: m.n)

    def _running_in(self, queue: str) -> int:
        """How many messages of a queue run."""
        return sum(one.state == "running" and one.route.queue == queue for one in self._messages.values())

    def _alive(self, process: str | None) -> bool:
        row = self._processes.get(process) if process else None
        return row is not None and self._clock() - row.heartbeat_at <= self._dead_after

    def _outputs_of(self, message: MessageRow) -> list[OutputRow]:
        return [o for o in self._outputs.values() if o.message is message]

    def _outputs_pruned_at(self, message: MessageRow) -> str | None:
        stored = [output for output in self._outputs_of(message) if output.state == "stored"]
        return self._pruned_at(stored[0]) if stored else None

    @staticmethod
    def _pruned_at(output: OutputRow | None) -> str | None:
        return moment(output.pruned_at) if output and output.pruned_at is not None else None

    # -- changing ----------------------------------------------------------------------------------

    def _insert_execution(self, row: ExecutionRow) -> None:
        self._executions[row.id] = row
        if row.version:
            config = row.version.config
            for route in config.routes.values():
                row.headers[route.name] = Headers(
                    queue=route.queue,
                    execution_id=row.id,
                    config=config.name,
                    config_version=row.version.number,
                    route=route.name,
                    replay_batch_id=row.batch,
                    traceparent=row.traceparent,
                )

    def _insert_messages(
        self,
        execution: ExecutionRow,
        dispatch_state: DispatchState,
        objects: Iterable[tuple[Route, str, str]],
        *,
        parent: MessageRow | None = None,
    ) -> list[MessageRow]:
        """Insert pending rows for (route, object key, stage) each, with ids in ascending order."""
        objects = list(objects)
        now = self._clock()
        rows = [
            MessageRow(
                n=next(self._numbers),
                id=UUID(bytes=raw),
                execution=execution,
                route=route,
                object_key=key,
                stage=stage,
                created_at=now,
                dispatch_state=dispatch_state,
                parent=parent,
            )
            for raw, (route, key, stage) in zip(mint(len(objects)), objects, strict=True)
        ]
        execution.messages.extend(rows)
        self._messages.update((row.id, row) for row in rows)
        return rows

    def _supersede(self, message: MessageRow) -> None:
        """Mark the outputs of a message as superseded."""
        for output in self._outputs_of(message):
            output.state = "superseded"

    # -- showing -----------------------------------------------------------------------------------

    def _view(self, row: ExecutionRow) -> Execution:
        version = row.version
        return Execution(
            execution_id=row.id,
            kind=row.kind,
            status=row.status,
            config=version.config.name if version else None,
            config_version=version.number if version else None,
            config_hash=version.digest if version else None,
            parent_execution_id=row.parent,
            replay_batch_id=row.batch,
            tags=list(row.tags),
            created_at=moment(row.created_at),
            ended_at=moment(row.ended_at) if row.ended_at is not None else None,
            error=row.job.error if row.job else None,
            counts=counts(row.messages),
            pinned=row.pinned,
            pruned=row.pruned,
            replayable_until=replayable_until(
                self._configs[version.config.name].newest.config.retention if version else None,
                row.ended_at,
                row.pruned,
                pinned=row.pinned,
            ),
            changed_since=row.job.since.execution if row.job and row.job.since else None,
        )


def counts(messages: Iterable[MessageRow]) -> Counts:
    return Counts.of(Counter(m.state for m in messages))


def page(rows: Iterable[Row], before: int | None, limit: int) -> tuple[list[Row], int | None]:
    """Return the newest `limit` rows before this number, and the number at which the next page starts."""
    older = sorted((r for r in rows if before is None or r.n < before), key=lambda r: r.n, reverse=True)
    return older[:limit], older[limit - 1].n if len(older) > limit else None
