"""The record of changes: what is read of it, and what happens outside the catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model.access import AuditEntry, AuditOutcome
from playhead.ports.catalog.access import EVERY_ENTRY, AuditFilter


class AuditsPart(Part):
    async def record_audit(
        self,
        action: str,
        *,
        outcome: AuditOutcome = "done",
        error_code: str | None = None,
        object: str | None = None,
        config: str | None = None,
        execution: UUID | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        change = Change(action)

        async def record(db: Session) -> None:
            found = await db.row(SQL.execution_numbers, ids=[execution]) if execution else None
            await change.record(
                db,
                execution=found[1] if found else None,
                config=config,
                object=object,
                outcome=outcome,
                error_code=error_code,
                detail=detail,
                checks=outcome == "intended",
            )

        await change.write(self._db, record)

    async def audit(
        self,
        where: AuditFilter = EVERY_ENTRY,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        given = where._asdict() | {"action": where.action and f"{where.action}.%"}
        if after is not None:
            rows = await self._db.rows(SQL.next_audit, after=after, limit=limit, **given)
        else:
            rows = await self._db.rows(SQL.newest_audit, before=before, limit=limit, **given)
        return [_entry(row) for row in rows]


def _entry(row: Row) -> AuditEntry:
    n, at, by_role, actor_kind, actor, actor_name, via, address, correlation_id, *rest = row
    action, outcome, error_code, about, execution, batch, config, reason, detail = rest
    return AuditEntry(
        n=int(n),
        at=moment(at),
        by_role=by_role,
        actor_kind=actor_kind,
        actor=actor,
        actor_name=actor_name,
        via=via,
        address=address,
        correlation_id=correlation_id,
        action=action,
        outcome=outcome,
        error_code=error_code,
        object=about,
        execution_id=execution and as_uuid(execution),
        replay_batch_id=batch and as_uuid(batch),
        config=config,
        reason=reason,
        detail=json.loads(detail) if detail else None,
    )
