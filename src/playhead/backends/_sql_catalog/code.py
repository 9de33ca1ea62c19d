"""Which code ran, and which code processes have loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from playhead.backends._sql_catalog.codes import codes_of, insert_chain, makers_of
from playhead.backends._sql_catalog.lanes import Lane, as_uuid
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.rows import ABOVE_ALL, page_of
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import (
    AdapterCode,
    AffectedRoute,
    LoadedAdapter,
    MadeByCondition,
    RanCode,
    RouteCode,
    Worker,
    WorkerAdapter,
)


class CodePart(Part):
    async def record_code(self, adapters: Sequence[AdapterCode]) -> int:
        return await self._db.write(lambda db: insert_chain(db, adapters))

    async def recorded_code(self, types: Sequence[str]) -> set[AdapterCode]:
        rows = await self._db.rows(SQL.recorded_code, types=list(types))
        return {AdapterCode(*row) for row in rows}

    async def code_of(self, execution: UUID) -> list[RouteCode]:
        async def find(db: Session) -> list[RouteCode]:
            n = await db.value(SQL.execution_number, id=execution)
            rows = await db.rows(SQL.code_of_execution, execution=n)
            codes = await codes_of(db, [code for _, code, _ in rows])
            routes: dict[str, list[RanCode]] = {}
            for route, code, messages in rows:
                routes.setdefault(route, []).append(RanCode(codes[code], messages))
            return [RouteCode(*one) for one in routes.items()]

        return await self._db.read(find)

    async def made_in(
        self,
        by: MadeByCondition,
        *,
        since: float | None = None,
        execution: UUID | None = None,
        before: int | None = None,
        limit: int,
    ) -> tuple[list[tuple[int, AffectedRoute]], int | None]:
        async def find(db: Session) -> tuple[list[tuple[int, AffectedRoute]], int | None]:
            bounds = {"before": before or ABOVE_ALL, "limit": limit + 1}
            rows = await db.rows(SQL.recent_executions, since=since, execution=execution, **bounds)
            numbers, then = page_of(rows, limit)
            makers = await makers_of(db, by)
            made = await db.rows(SQL.made_in, executions=numbers, **makers._asdict())
            lanes = await self._lanes.learn(db, {row[6] for row in made})
            return [(row[0], _affected(row, lanes[row[6]], str(by))) for row in made], then

        return await self._db.read(find)

    async def received_from(
        self, execution: UUID, config_route: tuple[str, str], stage: str, by: MadeByCondition, *, limit: int
    ) -> list[str]:
        async def find(db: Session) -> list[str]:
            lane = await db.row(SQL.lane_of_execution, execution=execution, route="/".join(config_route))
            if lane is None:
                return []
            n, number = lane
            makers = await makers_of(db, by)
            given = {"executions": [n], "lane": number, "stage": stage, "limit": limit}
            return [key for (key,) in await db.rows(SQL.received_by_makers, **given, **makers._asdict())]

        return await self._db.read(find)

    async def worker_code(self) -> list[Worker]:
        rows = await self._db.rows(SQL.worker_code, seconds=self._liveness.five_beats)
        return [
            Worker(
                *(process, kind, host, pid, json.loads(queues), moment(began), moment(beat)),
                *(max(age, 0.0), version, _loaded(json.loads(adapters), json.loads(changed))),
            )
            for process, kind, host, pid, queues, began, beat, age, version, changed, adapters in rows
        ]


def _affected(row: Row, lane: Lane, by: str) -> AffectedRoute:
    _, execution, kind, created, parent, batch, _, stage, is_root, results = row
    of_source = is_root and batch is not None
    return AffectedRoute(
        *(as_uuid(execution), kind, lane.config, lane.version, moment(created)),
        *(lane.route, lane.stage, results),
        *(as_uuid(parent if of_source else execution), stage),
        *(as_uuid(batch) if of_source else None, by),
    )


def _loaded(rows: Sequence[Sequence[str]], changed: Sequence[str]) -> list[WorkerAdapter]:
    found = [LoadedAdapter(*row) for row in rows]
    return [
        WorkerAdapter(
            *(one.type, one.version, one.code, one.source), ["changed"] if one.type in changed else []
        )
        for one in found
    ]
