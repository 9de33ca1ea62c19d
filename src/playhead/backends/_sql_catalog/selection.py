"""What a replay selects by: the rows of objects, and what happened to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from playhead.backends._sql_catalog.rows import Part
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ports.catalog.work import Source


class SelectionPart(Part):
    async def sources(self, keys: Sequence[str]) -> dict[str, Source]:
        rows = await self._db.read(lambda db: db.rows(SQL.sources, keys=list(keys)))
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
