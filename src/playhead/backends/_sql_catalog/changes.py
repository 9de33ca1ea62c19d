"""The record of a change, in the transaction of the change.

    change = Change("replay.pause")            # before the transaction: reads who acts

    async def pause_it(db):
        await change.check(db, n)              # the limit of who acts, also if nothing is to be changed
        ...
        await change.record(db, execution=n)   # checks it, too

    await change.write(self._db, pause_it)     # and logs what was recorded, once it is committed

So a change and its record are stored together or not at all, and a caller that may not change a config is
refused in the transaction that has read which config it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from playhead import acting, events
from playhead.acting import Acting
from playhead.backends._sql_catalog.lanes import as_uuid, storable
from playhead.backends.sql.session import Body, Session, Transactions
from playhead.backends.sql.statements import SQL
from playhead.model.access import AuditOutcome, RequestedBy

_MOST_DETAIL: Final = 4096
_MOST_OBJECT: Final = 1000

T = TypeVar("T")


def requester(stored: str | None) -> RequestedBy | None:
    """Return the caller that requested an execution, from its column."""
    return RequestedBy(*json.loads(stored)) if stored else None


class Change:
    """A change that somebody has asked for.

    Attributes:
        who: the caller. It is read when the change begins, because a transaction may run in another thread.
    """

    def __init__(self, action: str, who: Acting | None = None) -> None:
        self.action = action
        self.who = who or acting.current()
        self._recorded: list[dict[str, Any]] = []

    async def write(self, transactions: Transactions, body: Body[T], *, seconds: float = 30.0) -> T:
        """Run the body of the change in a transaction, and log what it has recorded."""

        async def once(db: Session) -> T:
            self._recorded.clear()  # the body runs again after a conflict
            return await body(db)

        result = await transactions.write(once, seconds=seconds)
        for fields in self._recorded:
            events.emit(events.AUDIT, **fields)
        self._recorded = []
        return result

    @property
    def is_limited(self) -> bool:
        """Whether who acts may change some configs only."""
        return self.who.caller.configs is not None

    async def check(self, db: Session, *executions: int | None) -> None:
        """Check that who acts may change these executions, by number. None: one that has no config.

        Raises:
            Forbidden: `outside_limit`.
        """
        if not self.is_limited:
            return
        for execution in executions:
            row = await db.row(SQL.execution_for_audit, execution=execution) if execution else None
            self.who.check_limit(row[2] if row else None)

    def check_configs(self, configs: Iterable[str | None]) -> None:
        """Check that who acts may change all of these configs, and that there is one.

        Raises:
            Forbidden: `outside_limit`.
        """
        for config in dict.fromkeys(configs) or (None,):
            self.who.check_limit(config)

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
        reason: str | None = None,
        checks: bool = True,
    ) -> None:
        """Check the limit of who acts, and add a row.

        Args:
            execution: number of the execution that it is about. Its config is checked and recorded.
            config: the config that it is about.
            object: what it is about, such as the id of a message.
            reason: what the request itself gives as the reason; None: that of who acts.
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
        given: dict[str, Any] = {
            "via": self.who.via,
            "address": self.who.address,
            "action": self.action,
            "outcome": outcome,
            "object": (storable(object) or "")[:_MOST_OBJECT] if object else None,
            "config": config,
            "reason": storable(reason or self.who.reason),
        }
        await db.run(
            SQL.insert_audit,
            **given,
            kind=caller.kind,
            actor=storable(caller.id),
            name=storable(caller.name),
            correlation=self.who.correlation_id,
            code=error_code,
            execution=identity,
            batch=batch,
            detail=text if text is None or len(text.encode()) <= _MOST_DETAIL else None,
        )
        self._recorded.append(
            {
                **given,
                "actor": self.who.label,
                "correlation_id": self.who.correlation_id,
                "execution_id": identity and str(identity),
                "replay_batch_id": batch and str(batch),
                "error_code": error_code,
                "count": detail.get("count") if detail else None,
            }
        )
