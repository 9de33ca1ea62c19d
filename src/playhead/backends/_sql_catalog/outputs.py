"""What is recorded of objects: where they are stored, what they were made from, and what happened to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from playhead.backends._sql_catalog.lanes import below
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ports.catalog.browse import Reference
from playhead.ports.catalog.outputs import InputOf, RecordedOutput
from playhead.ports.catalog.work import Source


class OutputsPart(Part):
    async def recorded(self, first: str, last: str, *, limit: int) -> list[RecordedOutput]:
        rows = await self._db.rows(SQL.recorded, first=first, last=last, limit=limit)
        return [RecordedOutput._make(row) for row in rows]

    async def inputs_of(self, keys: Sequence[str]) -> dict[str, InputOf]:
        rows = await self._db.rows(SQL.inputs_of, keys=list(keys))
        return {key: InputOf(object_key, stage) for key, object_key, stage in rows}

    async def sent_by(self, execution: UUID, keys: Sequence[str]) -> set[str]:
        rows = await self._db.rows(SQL.sent_by, execution=execution, keys=list(keys))
        return {key for (key,) in rows}

    async def sources(self, keys: Sequence[str]) -> dict[str, Source]:
        rows = await self._db.rows(SQL.sources, keys=list(keys))
        return {
            key: Source(kind, json.loads(attributes), size, bytes(sha256), None, location)
            for key, kind, attributes, size, sha256, location in rows
        }

    async def failed_below(
        self, keys: Sequence[str], execution: UUID, route: str, *, unfinished: bool
    ) -> set[str]:
        async def find(db: Session) -> set[str]:
            has_failed = bool(await db.value(SQL.has_failed, execution=execution))
            if not keys or not (has_failed or unfinished):
                return set()
            rows = await db.rows(
                SQL.failed_below,
                keys=list(keys),
                execution=execution,
                route=route,
                unfinished=unfinished,
                has_failed=has_failed,
            )
            return {key for (key,) in rows}

        return await self._db.read(find)

    async def references(self, prefix: str, *, after: str = "", limit: int) -> list[Reference]:
        given = {"prefix": prefix, "after": after, "limit": limit}
        rows = await self._db.rows(SQL.stored_references, **given, **below(prefix))
        return [Reference(*row) for row in rows]
