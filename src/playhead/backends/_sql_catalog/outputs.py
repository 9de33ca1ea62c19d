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
        async def find(db: Session) -> list[RecordedOutput]:
            found = await self._aliases.recorded(db, first, last, limit)
            if found is None:
                rows = await db.rows(SQL.recorded, first=first, last=last, limit=limit)
                found = [RecordedOutput._make(row) for row in rows]
            return found

        return await self._db.read(find)

    async def inputs_of(self, keys: Sequence[str]) -> dict[str, InputOf]:
        async def find(db: Session) -> dict[str, InputOf]:
            real = await self._aliases.real(db, keys)
            rows = await db.rows(SQL.inputs_of, keys=list(set(real.values())))
            made = {key: InputOf(object_key, stage) for key, object_key, stage in rows}
            return {key: made[stored] for key, stored in real.items() if stored in made}

        return await self._db.read(find)

    async def sent_by(self, execution: UUID, keys: Sequence[str]) -> set[str]:
        async def find(db: Session) -> set[str]:
            real = await self._aliases.real(db, keys)
            rows = await db.rows(SQL.sent_by, execution=execution, keys=list(set(real.values())))
            sent = {key for (key,) in rows}
            return {key for key, stored in real.items() if stored in sent}

        return await self._db.read(find)

    async def sources(self, keys: Sequence[str]) -> dict[str, Source]:
        async def find(db: Session) -> dict[str, Source]:
            aliases = {key: one.key for key, one in (await self._aliases.objects(db, keys)).items()}
            rows = await db.rows(SQL.sources, keys=list({aliases.get(key, key) for key in keys}))
            found = {
                key: Source(kind, json.loads(attributes), size, bytes(sha256), None, location)
                for key, kind, attributes, size, sha256, location in rows
            }
            for alias, key in aliases.items():
                if key in found:
                    found[alias] = found[key]._replace(location=found[key].location or key)
            return {key: found[key] for key in keys if key in found}

        return await self._db.read(find)

    async def failed_below(
        self, keys: Sequence[str], execution: UUID, route: str, *, unfinished: bool
    ) -> set[str]:
        async def find(db: Session) -> set[str]:
            has_failed = bool(await db.value(SQL.has_failed, execution=execution))
            if not keys or not (has_failed or unfinished):
                return set()
            real = await self._aliases.real(db, keys)
            rows = await db.rows(
                SQL.failed_below,
                keys=list(set(real.values())),
                execution=execution,
                route=route,
                unfinished=unfinished,
                has_failed=has_failed,
            )
            failed = {key for (key,) in rows}
            return {key for key, stored in real.items() if stored in failed}

        return await self._db.read(find)

    async def references(self, prefix: str, *, after: str = "", limit: int) -> list[Reference]:
        async def find(db: Session) -> list[Reference]:
            found = await self._aliases.references(db, prefix, after, limit)
            if found is None:
                given = {"prefix": prefix, "after": after, "limit": limit}
                rows = await db.rows(SQL.stored_references, **given, **below(prefix))
                found = [Reference(*row) for row in rows]
            return found

        return await self._db.read(find)
