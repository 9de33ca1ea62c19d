"""Which code ran, and which code processes have loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from uuid import UUID

from playhead.ids import moment
from playhead.model import AdapterCode, LoadedCode, RanCode, RouteCode, Worker, WorkerAdapter
from tests.catalog_memory.tables import Tables


class CodePart(Tables):
    async def record_code(self, adapters: Sequence[AdapterCode]) -> int:
        await self._begin()
        return self._codes.setdefault(tuple(adapters), len(self._codes))

    async def recorded_code(self, types: Sequence[str]) -> set[AdapterCode]:
        await self._begin()
        return {one for adapters in self._codes for one in adapters if one.type in types}

    async def code_of(self, execution: UUID) -> list[RouteCode]:
        await self._begin()
        row = self._executions.get(execution)
        if row is None or row.version is None:
            return []
        lists = {number: list(adapters) for adapters, number in self._codes.items()}
        found = []
        for route in row.version.config.routes.values():
            ran = Counter(m.ran for m in row.messages if m.route is route and m.ran is not None)
            if ran:
                found.append(RouteCode(route.name, [RanCode(lists[n], m) for n, m in ran.most_common()]))
        return found

    async def worker_code(self) -> list[Worker]:
        await self._begin()
        now = self._clock()
        alive = [row for row in self._processes.values() if self._alive(row.process.id)]
        return [
            Worker(
                worker_id=row.process.id,
                kind=row.process.kind,
                host=row.process.host,
                pid=row.process.pid,
                queues=list(row.queues),
                started_at=moment(row.started_at),
                heartbeat_at=moment(row.heartbeat_at),
                heartbeat_age_seconds=now - row.heartbeat_at,
                version=row.loaded.version if row.loaded else "",
                adapters=_adapters(row.loaded) if row.loaded else [],
            )
            for row in sorted(alive, key=lambda row: row.started_at)
        ]


def _adapters(loaded: LoadedCode) -> list[WorkerAdapter]:
    return [
        WorkerAdapter(**asdict(one), notes=["changed"] if one.source in loaded.changed else [])
        for one in loaded.adapters
    ]
