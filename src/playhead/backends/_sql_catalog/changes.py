"""The record of a change, in the transaction of the change.

    change = Change("replay.pause")            # before the transaction: reads who acts

    async def pause_it(db):
        await change.record(db, execution=n)   # first: checks the limit of who acts
        ...

So a change and its record are stored together or not at all, and a caller that may not change a config is
refused in the transaction that has read which config it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from playhead import acting
from playhead.backends._sql_catalog.lanes import as_uuid, storable
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model.access import AuditOutcome

_MOST_DETAIL: Final = 4096
_MOST_OBJECT: Final = 1000


class Change:
    """A change that somebody has asked for.

    Attributes:
        who: who acts. It is read when the change begins, because a transaction may run in another thread.
    """

    def __init__(self, action: str) -> None:
        self.action = action
        self.who = acting.current()

    @property
    def requested_by(self) -> str | None:
        """Who has asked for it, as JSON for the column of an execution; None: this process itself."""
        by = self.who.requested_by
        return None if by.kind == "process" else json.dumps([by.kind, by.id, by.name])

    async def record(
        self,
        db: Session,
        *,
        execution: int | None = None,
        config: str | None = None,
        object: str | None = None,
        outcome: AuditOutcome = "done",
        error_code: str | None = None,
        detail: Mapping[str, Any] | None = None,
        checks: bool = True,
    ) -> None:
        """Check the limit of who acts, and add a row.

        Args:
            execution: number of the execution that it is about. Its config is checked and recorded.
            config: the config that it is about.
            object: what it is about, such as the id of a message.
            checks: False: what a caller without this config may do, too.

        Raises:
            Forbidden: `outside_limit`.
        """
        identity: UUID | None = None
        batch: UUID | None = None
        if execution is not None:
            row = await db.row(SQL.execution_for_audit, execution=execution)
            assert row, "the caller has read the execution"
            identity, batch = as_uuid(row[0]), row[1] and as_uuid(row[1])
            config = config or row[2]
        if checks:
            self.who.check_limit(config)
        caller = self.who.caller
        text = json.dumps(detail, ensure_ascii=False, default=str) if detail else None
        await db.run(
            SQL.insert_audit,
            kind=caller.kind,
            actor=storable(caller.id),
            name=storable(caller.name),
            via=self.who.via,
            address=self.who.address,
            correlation=self.who.correlation_id,
            action=self.action,
            outcome=outcome,
            code=error_code,
            object=(storable(object) or "")[:_MOST_OBJECT] if object else None,
            execution=identity,
            batch=batch,
            config=config,
            reason=storable(self.who.reason),
            detail=text if text is None or len(text.encode()) <= _MOST_DETAIL else None,
        )
