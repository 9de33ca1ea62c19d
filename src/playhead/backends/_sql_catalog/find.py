"""What a text may name."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from playhead.backends._sql_catalog.lanes import as_uuid, as_uuid_or_none
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql import DEAD
from playhead.backends.sql.session import Row
from playhead.backends.sql.statements import SQL, Statement
from playhead.model import ROW_STATES
from playhead.ports.catalog.find import FoundRow, RouteNames, RowKind

_BETWEEN: Final[dict[RowKind, Statement]] = {
    "execution": SQL.executions_between,
    "replay": SQL.replays_between,
    "message": SQL.messages_between,
    "plan": SQL.plans_between,
}
_LAST: Final = "\U0010ffff"
"""Follows every text with the same beginning."""


class FindPart(Part):
    async def ids_between(self, kind: RowKind, first: UUID, last: UUID, *, limit: int) -> list[FoundRow]:
        rows = await self._db.rows(_BETWEEN[kind], first=first, last=last, limit=limit)
        return [_message(row) if kind == "message" else _found(kind, row) for row in rows]

    async def tags_from(self, prefix: str, *, limit: int) -> list[tuple[str, FoundRow]]:
        rows = await self._db.rows(SQL.tags_from, first=prefix, last=prefix + _LAST, limit=limit)
        return [(row[0], _found("execution", row[1:])) for row in rows]

    async def route_names(self) -> list[RouteNames]:
        rows = await self._db.rows(SQL.route_names)
        return [RouteNames(*row) for row in rows]


def _found(kind: RowKind, row: Row) -> FoundRow:
    identity, execution, config, route, state, detail = row
    return FoundRow(kind, as_uuid(identity), as_uuid_or_none(execution), config, route, state, detail)


def _message(row: Row) -> FoundRow:
    identity, execution, config, route, state, key, code = row
    place = as_uuid(identity), as_uuid(execution), config, route
    if state == DEAD:
        return FoundRow("dead_letter", *place, code, key)
    return FoundRow("message", *place, ROW_STATES[state], key)
