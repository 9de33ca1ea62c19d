"""Which code ran, and which code processes have loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from playhead.backends._sql_catalog.codes import codes_of, insert_chain
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import AdapterCode, LoadedAdapter, RanCode, RouteCode, Worker, WorkerAdapter


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

    async def worker_code(self) -> list[Worker]:
        rows = await self._db.rows(SQL.worker_code, seconds=self._liveness.five_beats)
        return [
            Worker(
                *(process, kind, host, pid, json.loads(queues), moment(began), moment(beat)),
                *(max(age, 0.0), version, _loaded(json.loads(adapters), json.loads(changed))),
            )
            for process, kind, host, pid, queues, began, beat, age, version, changed, adapters in rows
        ]


def _loaded(rows: Sequence[Sequence[str]], changed: Sequence[str]) -> list[WorkerAdapter]:
    found = [LoadedAdapter(*row) for row in rows]
    return [
        WorkerAdapter(
            *(one.type, one.version, one.code, one.source), ["changed"] if one.type in changed else []
        )
        for one in found
    ]
