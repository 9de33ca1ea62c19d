"""Results that a person has declared valid: what was declared, and which results it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from playhead.backends._sql_catalog.declared import declarations_of
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import Declaration, Execution
from playhead.ports.catalog.results import MadeById


class DeclarationsPart(Part):
    async def declarations(self, config: str, dataset: str | None = None) -> list[Declaration]:
        async def find(db: Session) -> list[Declaration]:
            rows = await db.rows(SQL.open_declarations, config=config, dataset=dataset)
            return await declarations_of(db, rows)

        return await self._db.read(find)

    async def replays_of_publications(self, config: str, *, limit: int) -> list[Execution]:
        async def find(db: Session) -> list[Execution]:
            found = await db.rows(SQL.replays_of_publications, config=config, limit=limit)
            rows = await db.rows(SQL.executions_by_number, numbers=[n for (n,) in found])
            return await self._executions.of_rows(db, rows)

        return await self._db.read(find)

    async def undo_declarations(self, dataset: int, route: str) -> int:
        return await self._db.run(SQL.undo_declarations, dataset=dataset, route=route)

    async def count_declared(
        self, dataset: int, n: int, replays: Sequence[UUID], *, stage: str
    ) -> Mapping[MadeById, int]:
        async def count(db: Session) -> dict[MadeById, int]:
            given = await self._given(db, dataset, n, replays)
            rows = await db.rows(SQL.count_declared, **given, stage=stage) if given else []
            return {(lane, received, code): results for lane, received, code, results in rows}

        return await self._db.read(count)

    async def declared_in(
        self, dataset: int, n: int, replays: Sequence[UUID], *, stage: str, after: str, last: str
    ) -> set[str]:
        async def find(db: Session) -> set[str]:
            given = await self._given(db, dataset, n, replays)
            page = {"stage": stage, "after": after, "until": last}
            return {path for (path,) in await db.rows(SQL.declared_in, **given, **page)} if given else set()

        return await self._db.read(find)

    async def _given(self, db: Session, dataset: int, n: int, replays: Sequence[UUID]) -> dict[str, Any]:
        """Return what the statements need to know of declarations; nothing if none of them counts."""
        rows = await db.rows(SQL.declarations_of, ids=list(replays))
        if not rows or any(row[3] == "open" for row in rows):
            return {}
        numbers = [row[0] for row in rows if row[3] == "completed"]
        lanes = await db.rows(SQL.lanes_of_declaration, execution=rows[0][0])
        lanes_of_route = [lane for (lane,) in lanes]
        return {"dataset": dataset, "n": n, "numbers": numbers, "since": rows[-1][0], "lanes": lanes_of_route}
