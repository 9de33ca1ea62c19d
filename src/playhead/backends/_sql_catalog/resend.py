"""Resend dead letters: named ones at once, all of an execution or a route in steps.

A step locks the executions of its rows exclusively, so it is short: there may be a million dead letters, and
workers of those executions wait. Between two steps an execution may end or be cancelled, as between two
calls: each step reopens the executions whose rows it resends, or finds them cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.executions import exclude, prunings_of
from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.rows import ABOVE_ALL, newest_messages
from playhead.backends.sql import DEAD
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict
from playhead.failures import group_number
from playhead.model import PrunedStage
from playhead.ports.catalog.browse import EVERY_DEAD_LETTER, DeadLetterFilter


class _Sent(NamedTuple):
    """A message that was resent, and the number of its execution."""

    id: UUID
    execution: int


@dataclass
class _Resent:
    """A request to resend dead letters, and what it has resent so far, by number."""

    ids: Sequence[UUID]
    where: DeadLetterFilter
    sent: dict[int, _Sent] = field(default_factory=dict)
    change: Change = field(default_factory=lambda: Change("dead_letters.resend"))

    @property
    def config(self) -> str | None:
        """The config that the request names."""
        config, slash, _ = (self.where.route or "").partition("/")
        return config if slash else None

    async def record(self, db: Session, sent: Mapping[int, _Sent], *, is_last: bool) -> None:
        """Record the request once, with its count: in the only step that resends something, or as intended in
        the first of several steps and as done in the last one."""
        every = {**self.sent, **sent}
        if not every or (self.sent and not is_last):
            return
        executions = {one.execution for one in every.values()}
        about: dict[str, Any] = {name: of for name, of in self.where._asdict().items() if of is not None}
        await self.change.record(
            db,
            execution=executions.pop() if len(executions) == 1 else None,
            config=self.config,
            object=str(self.ids[0]) if len(self.ids) == 1 else None,
            outcome="done" if is_last else "intended",
            detail=about | {"count": len(every)},
            checks=False,
        )


class ResendPart(Part):
    async def resend(
        self,
        *,
        ids: Sequence[UUID] = (),
        where: DeadLetterFilter = EVERY_DEAD_LETTER,
        bulk: bool = False,
    ) -> list[UUID]:
        done = _Resent(ids, where)
        if not ids and where.execution is None:
            done.change.check_configs([done.config])
        # A time limit alone is no selection: without another condition, all dead letters would match.
        selects = where._replace(failed_before=None) != EVERY_DEAD_LETTER
        # Newest first: resent rows that die again, and their children, are above the next step.
        before: int | None = ABOVE_ALL
        while before is not None and (ids or selects):
            step = partial(self._send_some, done, before=before, bulk=bulk)
            found, before = await done.change.write(self._db, step)
            done.sent |= found
        return [done.sent[n].id for n in sorted(done.sent)]

    async def _send_some(
        self, done: _Resent, db: Session, *, before: int, bulk: bool
    ) -> tuple[dict[int, _Sent], int | None]:
        """Resend all named rows, or one step of the others below `before`.

        Returns the resent rows by number, and the `before` of the next step, if there is one.
        """
        where, then = done.where, None
        if done.ids:
            rows = await db.rows(SQL.messages_named, ids=list(done.ids))
            sent = await self._send(db, rows, done, bulk=bulk, refuse_cancelled=True, refuse_bad_keys=True)
        else:
            page, then = await newest_messages(
                db, [DEAD], **where._asdict(), before=before, limit=self.sizes.step_rows
            )
            rows = await db.rows(SQL.executions_of, rows=page)
            sent = await self._send(db, rows, done, bulk=bulk, refuse_cancelled=where.execution is not None)
        await done.record(db, sent, is_last=then is None)
        return sent, then

    async def _send(
        self,
        db: Session,
        found: Sequence[Row],
        done: _Resent,
        *,
        bulk: bool,
        refuse_cancelled: bool,
        refuse_bad_keys: bool = False,
    ) -> dict[int, _Sent]:
        """Resend the dead ones of these rows (number, number of the execution); return them by number.

        A row may have been resent and have failed again before the lock was held. So its group and the time
        of its failure are compared again.
        """
        # The lock keeps completion, cancel and workers out; that of a source keeps a prune out. One statement
        # takes both, in the order of all locks. The rows are read after they are held.
        own = {execution for _, execution in found}
        await done.change.check(db, *sorted(own))
        above = await db.rows(SQL.sources_of, executions=sorted(own))
        sources = {n: (source, stage) for n, source, stage in above}
        statuses = await exclude(db, own | {source for source, _ in sources.values()})
        await db.rows(SQL.lock_jobs, executions=sorted(own))  # a refused message is left to an open job
        where = done.where
        rows = await db.rows(
            SQL.dead_letters_among,
            rows=[n for n, _ in found],
            failure_group=None if where.group is None else group_number(where.group),
            ended_before=where.failed_before,
        )
        # What was pruned is gone for good: an execution that could write outputs again might write next to a
        # process that still deletes them.
        pruned = await prunings_of(db, list(statuses))
        sent: dict[int, _Sent] = {}
        for n, cid, execution_n, execution, code, state, parent in rows:
            if state != DEAD:
                continue
            if statuses[execution_n] == "cancelled":
                if refuse_cancelled:
                    raise Conflict(
                        "execution_ended",
                        f"execution {as_uuid(execution)} is cancelled; its dead letters cannot be resent",
                    )
            elif gone := pruned[execution_n]:
                if refuse_cancelled:
                    raise Conflict(
                        "execution_pruned",
                        f"objects of execution {as_uuid(execution)} were pruned on {gone[0].pruned_at}, so "
                        "its dead letters cannot be resent; replay a stage that is still stored, or run the "
                        "input again",
                    )
            elif parent is None and (since := _prune_in_progress(pruned, sources.get(execution_n))):
                if refuse_cancelled:
                    raise Conflict(
                        "execution_pruned",
                        f"the input of message {as_uuid(cid)} is an object of another execution, whose prune "
                        f"began on {since} and is still in progress: run the input again, or replay a stage "
                        "that is still stored",
                    )
            elif code == "invalid_key":
                if refuse_bad_keys:
                    raise Conflict(
                        "execution_ended",
                        f"message {as_uuid(cid)} has a key outside the grammar; rename the object and "
                        "replay it",
                    )
            else:
                sent[n] = _Sent(as_uuid(cid), execution_n)
        reopened = {one.execution for one in sent.values()}
        await db.run(SQL.resend, rows=list(sent), bulk=bulk)
        await db.run(SQL.reopen_executions, executions=list(reopened))
        for execution_n in reopened:
            self._executions.forget_counts(execution_n)
        return sent


def _prune_in_progress(
    pruned: Mapping[int, Sequence[PrunedStage]], source: tuple[int, str] | None
) -> str | None:
    """Return when a prune of the stage of a source began that has not ended: a part of its objects exists."""
    if source is None:
        return None
    n, stage = source
    return next((p.pruned_at for p in pruned[n] if p.deleted_at is None and p.overlaps(stage)), None)
