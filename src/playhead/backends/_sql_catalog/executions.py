"""Executions: locks that hold until the transaction ends, what was deleted, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from playhead.backends._sql_catalog import counts
from playhead.backends._sql_catalog.changes import requester
from playhead.backends._sql_catalog.counts import ByLane, Known
from playhead.backends._sql_catalog.lanes import as_retention, as_uuid, as_uuid_or_none, moment_or_none
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import Execution, Problem, PrunedStage, replayable_until


async def share(db: Session, executions: Iterable[int]) -> dict[int, str]:
    """Lock executions (by number) against cancel, resend and completion; return their statuses, which hold
    until the transaction ends. Call it before reading their rows, and never before `exclude` in the same
    transaction: two transactions that did would wait for each other."""
    rows = await db.rows(SQL.share_executions, numbers=sorted(set(executions)))
    return dict(map(tuple, rows))


async def exclude(db: Session, executions: Iterable[int]) -> dict[int, str]:
    """Lock executions (by number) for this transaction alone; return their statuses. Read their rows in a
    later statement: this one may have begun before another transaction committed."""
    rows = await db.rows(SQL.lock_executions, numbers=sorted(set(executions)))
    return dict(map(tuple, rows))


async def share_of_messages(db: Session, ids: Sequence[Any]) -> set[int] | None:
    """Lock the executions of messages, and return their numbers; other workers may share the lock. Return
    None where a transaction that writes is alone anyway."""
    if not db.row_locks:
        return None
    return {n for (n,) in await db.rows(SQL.share_executions_of, ids=ids)}


async def prunings_of(db: Session, executions: Sequence[int]) -> dict[int, list[PrunedStage]]:
    """Return what was pruned of executions, by number."""
    found: dict[int, list[PrunedStage]] = {n: [] for n in executions}
    for n, stage, pruned, deleted in await db.rows(SQL.prunings_of, executions=list(executions)):
        found[n].append(PrunedStage(stage or None, moment(pruned), moment_or_none(deleted)))
    return found


async def records_deleted_at(db: Session, executions: Iterable[UUID]) -> dict[UUID, str]:
    """Return when the records of those of these executions were deleted that have none any more."""
    if not (ids := list(executions)):
        return {}
    rows = await db.rows(SQL.records_deleted, executions=ids)
    return {as_uuid(identity): moment(when) for identity, when in rows}


class Executions:
    """Reads executions, and counts their message rows. Counts of many rows may be a second old."""

    def __init__(self) -> None:
        self._counts = Known[int, ByLane](1.0)

    async def of_rows(self, db: Session, rows: Sequence[Row]) -> list[Execution]:
        """From rows with the columns of the fragment `execution`."""
        some = [row[0] for row in rows if row[-1]]
        prunings = await prunings_of(db, some) if some else {}
        by_lane = {row[0]: counts.decode(row[12]) for row in rows if row[12]}
        by_lane |= await self.count(db, [row[0] for row in rows if not row[12]])
        made = []
        for row in rows:
            n, identity, kind, status, config, version, digest, parent, batch = row[:9]
            created, ended, revision, _, code, error, pinned, retention, since, records, requested = row[9:20]
            pruned = prunings.get(n, [])
            made.append(
                Execution(
                    execution_id=as_uuid(identity),
                    kind=kind,
                    status=status,
                    config=config,
                    config_version=version,
                    config_hash=digest,
                    parent_execution_id=as_uuid_or_none(parent),
                    replay_batch_id=as_uuid_or_none(batch),
                    tags=json.loads(row[20] or "[]"),
                    created_at=moment(created),
                    ended_at=moment_or_none(ended),
                    error=Problem(code, error) if code else None,
                    counts=counts.add_up(by_lane[n]),
                    pinned=bool(pinned),
                    pruned=pruned,
                    replayable_until=replayable_until(
                        as_retention(retention) if retention else None, ended, pruned, pinned=bool(pinned)
                    ),
                    changed_since=as_uuid_or_none(since),
                    records_deleted_at=moment_or_none(records),
                    revision=revision,
                    requested_by=requester(requested),
                )
            )
        return made

    async def find(self, db: Session, execution: UUID) -> Execution | None:
        rows = await db.rows(SQL.executions_by_id, ids=[execution])
        return (await self.of_rows(db, rows))[0] if rows else None

    async def count(self, db: Session, numbers: Sequence[int], *, fresh: bool = False) -> dict[int, ByLane]:
        """Return the numbers of rows of each execution; `fresh`: as this transaction sees them."""
        known = {} if fresh else {n: found for n in numbers if (found := self._counts.get(n)) is not None}
        counted: dict[int, dict[tuple[int, int], int]] = {n: {} for n in numbers if n not in known}
        if counted:
            for n, lane, state, count in await db.rows(SQL.count_messages, executions=list(counted)):
                counted[n][lane, state] = count
        for n, by_lane in counted.items():
            self._counts.keep(n, by_lane, sum(by_lane.values()))
        return {**known, **counted}

    async def settle(self, db: Session, n: int) -> None:
        """Store the final counts of an execution that has ended and has no open row."""
        counted = await self.count(db, [n], fresh=True)
        await db.run(SQL.settle_execution, counts=counts.encode(counted[n]), n=n)
        self.forget_counts(n)

    def forget_counts(self, n: int) -> None:
        self._counts.forget(n)
