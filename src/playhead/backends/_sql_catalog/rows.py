"""Rows of messages: pages of them, and how they are refused or cancelled; and the rows of leased jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.executions import Executions
from playhead.backends._sql_catalog.failing import record_failures
from playhead.backends._sql_catalog.lanes import storable
from playhead.backends._sql_catalog.tally import Tally
from playhead.backends.sql import DEAD, PENDING, RETRY
from playhead.backends.sql.session import Row, Session, Transactions
from playhead.backends.sql.statements import SQL, Statement
from playhead.envelope import Dispatch
from playhead.failures import cause_of, group_number, group_of
from playhead.ports.catalog.jobs import WINDOW, LeasedJob

ABOVE_ALL = (1 << 63) - 1
"""Greater than the number of any row."""
LONG_SECONDS = 600.0
"""For a transaction over all rows of an execution, of which there may be millions."""
_WAITING = (PENDING, RETRY)
"""States of rows that no worker runs, and that may still be claimed."""


@dataclass
class Sizes:
    """How many rows are changed or sent together.

    Attributes:
        step_rows: rows that one transaction resends or cancels.
        window: rows of a job that may be on their way to the broker at once.
    """

    step_rows: int = 2_000
    window: int = WINDOW


def page_of(newest: Sequence[Row], limit: int) -> tuple[list[int], int | None]:
    """Return the numbers of a page, and the number before which the next page begins, if there is one.

    Args:
        newest: up to `limit` + 1 numbers.
    """
    numbers = [n for (n,) in newest]
    return numbers[:limit], numbers[limit - 1] if len(numbers) > limit else None


async def newest_messages(
    db: Session,
    states: Sequence[int],
    *,
    execution: UUID | None,
    batch: UUID | None = None,
    route: str | None = None,
    code: str | None = None,
    group: str | None = None,
    failed_before: float | None = None,
    ran: Sequence[int] | None = None,
    worker: str | None = None,
    before: int | None,
    limit: int,
) -> tuple[list[int], int | None]:
    """Return a page of the messages in these states (see `page_of`), newest first.

    Args:
        group, failed_before: of dead letters.
        ran, worker: of messages of an execution: what has made their results.
    """
    bounds: dict[str, Any] = {"route": route, "code": code, "ended_before": failed_before}
    bounds |= {"before": before or ABOVE_ALL, "limit": limit + 1}
    if group is not None:
        newest = await db.rows(
            SQL.newest_of_group, failure_group=group_number(group), execution=execution, **bounds
        )
    elif list(states) == [DEAD] and execution is None and batch is None:
        newest = await db.rows(SQL.newest_dead_letters, **bounds)
    else:
        newest = await db.rows(
            SQL.newest_messages,
            states=states,
            execution=execution,
            batch=batch,
            ran=ran,
            worker=worker,
            **bounds,
        )
    return page_of(newest, limit)


async def refuse_dispatches(db: Session, tally: Tally, refused: Sequence[tuple[Dispatch, str]]) -> None:
    """Close rows whose message the broker will never accept."""
    if refused:
        await db.run(
            SQL.refuse_dispatches,
            ids=[dispatch.correlation_id for dispatch, _ in refused],
            generations=[dispatch.generation for dispatch, _ in refused],
            reasons=[storable(why) for _, why in refused],
            groups=[
                group_of(dispatch.headers.config, dispatch.headers.route, "publish_refused", why)
                for dispatch, why in refused
            ],
        )
        causes = [cause_of("publish_refused", why) for _, why in refused]
        ids = [dispatch.correlation_id for dispatch, _ in refused]
        await record_failures(db, tally, list(zip(ids, causes, strict=True)))


class JobRow(NamedTuple):
    """The row of a leased job; `n` is the number of its execution."""

    n: int
    lane: int
    cursor: str
    ordinals: int
    watermark: int
    listing_state: str
    is_bulk: bool | None


class Rows:
    """Locks, cancels and settles rows, for several parts."""

    def __init__(self, transactions: Transactions, executions: Executions, sizes: Sizes) -> None:
        self._db = transactions
        self._executions = executions
        self._sizes = sizes

    async def leased(self, db: Session, held: LeasedJob, look: Statement = SQL.lock_leased) -> JobRow | None:
        """Return the job's row if its epoch is current. It stays current, unless `look` takes no lock."""
        row = await db.row(look, job=held.job, epoch=held.epoch)
        return JobRow(*row) if row else None

    async def cancel_waiting(self, execution: UUID, *, steps: int | None = None) -> int:
        """Cancel the rows of a cancelled execution that no worker runs; return their number.

        There may be a million, so they are cancelled in steps, and without a lock on the execution: a claim
        waits for one step at most. Such an execution gets no further row that waits.

        Args:
            steps: how many steps at most; None: until no such row is left.
        """
        count = done = 0
        before: int | None = ABOVE_ALL
        while before is not None and done != steps:
            some, before = await self._db.write(
                partial(self._cancel_some, execution=execution, before=before)
            )
            count += some
            done += 1
        return count

    async def _cancel_some(self, db: Session, *, execution: UUID, before: int) -> tuple[int, int | None]:
        """Cancel one step of the rows below `before`; return their number, and the `before` of the next step,
        if there is one."""
        found, then = await newest_messages(
            db, _WAITING, execution=execution, before=before, limit=self._sizes.step_rows
        )
        held = await db.rows(SQL.lock_waiting_rows, rows=found)
        return await self.cancel_rows(db, [n for (n,) in held]), then

    async def cancel_rows(self, db: Session, rows: Sequence[int]) -> int:
        """Cancel locked rows."""
        return await db.run(SQL.cancel_rows, rows=rows, window=self._sizes.window)

    async def settle(self, n: int) -> None:
        """Settle a cancelled execution if no row of it is open: then none changes any more."""

        async def settle_it(db: Session) -> None:
            if not await db.value(SQL.has_open_row, n=n):
                await self._executions.settle(db, n)

        await self._db.write(settle_it, seconds=LONG_SECONDS)

    async def cancel_unsent(self, db: Session, n: int, after: int, upto: int) -> None:
        rows = await db.rows(SQL.lock_unsent, execution=n, after=after, upto=upto)
        await self.cancel_rows(db, [n for (n,) in rows])

    async def cancel_rest(self, n: int | None = None) -> None:
        """Cancel the rows behind the windows of cancelled replays, in steps that no claim waits for long.

        Until the last step the listing counts as open, so the execution cannot end. If this process dies
        between two steps, the reconciler continues.
        """
        found = await self._db.rows(SQL.cancelling_jobs, window=self._sizes.window, execution=n)
        for job, first, last in found:
            for after in range(first, last, self._sizes.step_rows):
                upto = after + self._sizes.step_rows
                await self._db.write(partial(self.cancel_unsent, n=job, after=after, upto=upto))
            await self._db.run(SQL.end_cancelling, execution=job)
