"""Recorded outputs: what executions have stored, and which objects it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from playhead.backends._sql_catalog.rows import Part
from playhead.backends.sql.statements import SQL
from playhead.ports.catalog.outputs import InputOf, RecordedOutput


class OutputsPart(Part):
    async def recorded(self, first: str, last: str, *, limit: int) -> list[RecordedOutput]:
        rows = await self._db.read(lambda db: db.rows(SQL.recorded, first=first, last=last, limit=limit))
        return [RecordedOutput._make(row) for row in rows]

    async def inputs_of(self, keys: Sequence[str]) -> dict[str, InputOf]:
        rows = await self._db.read(lambda db: db.rows(SQL.inputs_of, keys=list(keys)))
        return {key: InputOf(object_key, stage) for key, object_key, stage in rows}

    async def sent_by(self, execution: UUID, keys: Sequence[str]) -> set[str]:
        rows = await self._db.read(lambda db: db.rows(SQL.sent_by, execution=execution, keys=list(keys)))
        return {key for (key,) in rows}
