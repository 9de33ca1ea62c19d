"""Results that a person has declared valid: what was declared, and which results it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from playhead.backends._sql_catalog import publishing
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.declared import applied, declarations_of
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import Declaration, Execution
from playhead.ports.catalog.declarations import MOST_DECLARATIONS
from playhead.ports.catalog.results import MadeById


class DeclarationsPart(Part):
    async def declarations(self, config: str, dataset: str | None = None) -> list[Declaration]:
        async def find(db: Session) -> list[Declaration]:
            rows = await db.rows(
                SQL.open_declarations, config=config, dataset=dataset, limit=MOST_DECLARATIONS
            )
            return await declarations_of(db, rows)

        return await self._db.read(find)

    async def replays_of_publications(self, config: str, *, limit: int) -> list[Execution]:
        async def find(db: Session) -> list[Execution]:
            found = await db.rows(SQL.replays_of_publications, config=config, limit=limit)
            rows = await db.rows(SQL.executions_by_number, numbers=[n for (n,) in found])
            return await self._executions.of_rows(db, rows)

        return await self._db.read(find)

    async def undo_declarations(self, dataset: int, route: str) -> int:
        change = Change("dataset.forget")

        async def undo(db: Session) -> int:
            about = await publishing.audited(db, dataset)
            change.check_configs([about["config"]])
            count = await db.run(SQL.undo_declarations, dataset=dataset, route=route)
            if count:
                await change.record(db, **about, detail={"route": route, "count": count})
            return count

        return await change.write(self._db, undo)

    async def count_declared(
        self, dataset: int, n: int, replays: Sequence[UUID], *, stage: str
    ) -> Mapping[MadeById, int]:
        async def count(db: Session) -> Mapping[MadeById, int]:
            given = await applied(db, dataset, n, replays)
            if not given:
                return {}
            key = (dataset, n, stage, *given["numbers"])
            if (known := self._declared.get(key)) is not None:
                return known
            rows = await db.rows(SQL.count_declared, **given, stage=stage)
            found = {(lane, received, code): results for lane, received, code, results in rows}
            self._declared.keep(key, found, sum(found.values()))
            return found

        return await self._db.read(count)

    async def declared_in(
        self, dataset: int, n: int, replays: Sequence[UUID], *, stage: str, after: str, last: str
    ) -> set[str]:
        async def find(db: Session) -> set[str]:
            given = await applied(db, dataset, n, replays)
            page = {"stage": stage, "after": after, "until": last}
            return {path for (path,) in await db.rows(SQL.declared_in, **given, **page)} if given else set()

        return await self._db.read(find)
