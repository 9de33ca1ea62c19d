"""What all parts of the catalog use: lanes, liveness, locks on executions, and how executions are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog import counts
from playhead.backends._sql_catalog.counts import ByLane, Known
from playhead.backends._sql_catalog.executions import prunings_of
from playhead.backends._sql_catalog.lanes import (
    DispatchMaker,
    Lane,
    as_retention,
    as_uuid,
    as_uuid_or_none,
    lanes_of,
    moment_or_none,
    storable,
)
from playhead.backends.sql import DEAD, PENDING, RETRY
from playhead.backends.sql.session import Row, Session, Transactions
from playhead.backends.sql.statements import SQL
from playhead.envelope import Dispatch
from playhead.failures import group_number, group_of
from playhead.ids import moment
from playhead.liveness import Liveness
from playhead.model import Execution, OnReplay, Problem, StageTotals, replayable_until
from playhead.ports.catalog.jobs import WINDOW

ABOVE_ALL = (1 << 63) - 1
"""Greater than the number of any row."""
LONG_SECONDS = 600.0
"""For a transaction over all rows of an execution, of which there may be millions."""

WAITING = (PENDING, RETRY)
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
    ended_before: float | None = None,
    before: int | None,
    limit: int,
) -> tuple[list[int], int | None]:
    """Return a page of the messages in these states (see `page_of`), newest first.

    Args:
        group: of dead letters.
    """
    bounds: dict[str, Any] = {"route": route, "code": code, "ended_before": ended_before}
    bounds |= {"before": before or ABOVE_ALL, "limit": limit + 1}
    if group is not None:
        newest = await db.rows(
            SQL.newest_of_group, failure_group=group_number(group), execution=execution, **bounds
        )
    elif list(states) == [DEAD] and execution is None and batch is None:
        newest = await db.rows(SQL.newest_dead_letters, **bounds)
    else:
        newest = await db.rows(SQL.newest_messages, states=states, execution=execution, batch=batch, **bounds)
    return page_of(newest, limit)


async def refuse_dispatches(db: Session, refused: Sequence[tuple[Dispatch, str]]) -> None:
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


class Origin(NamedTuple):
    """What messages of an execution carry with them, which processes remember.

    Attributes:
        is_bulk: the level of messages that have none of their own. It is decided before the first message is
            published, so it never changes afterwards.
        effects: what a replay does in its routes; empty: all of them run. Of this, another process may add
            routes (`skip_route`). Then this process closes their messages when it finds their effects too.
    """

    id: UUID
    batch: UUID | None
    traceparent: str | None
    is_bulk: bool
    effects: Mapping[str, OnReplay]


class Part:
    """The common ground of the parts.

    Args:
        transactions: over an open database, which is not closed with the catalog.
        liveness: which processes are dead.
    """

    def __init__(self, transactions: Transactions, liveness: Liveness) -> None:
        self._db = transactions
        self._liveness = liveness
        self.sizes = Sizes()
        self._losses = 0
        self._lanes: dict[int, Lane] = {}
        self._feeds: dict[tuple[int, str], int] = {}
        self._origins: dict[int, Origin] = {}
        self._counts = Known[int, ByLane](1.0)
        self._totals = Known[UUID, StageTotals](5.0)  # a count of a million outputs takes a tenth of it

    # -- lanes and liveness ------------------------------------------------------------------------

    async def _learn(self, db: Session, lane_ids: Iterable[int]) -> dict[int, Lane]:
        """Make sure that these lanes are known; return all known lanes. Most calls read nothing."""
        self._forget_if_lost()
        known = self._lanes
        missing = set(lane_ids) - known.keys()
        if missing:
            rows = await db.rows(SQL.lanes_by_id, ids=list(missing))
            known |= {row[0]: Lane.of(row) for row in rows}
        return known

    def _forget_if_lost(self) -> None:
        """Forget rows when a connection was lost: a standby that took over may number them differently."""
        if self._losses != self._db.losses:
            self._losses = self._db.losses
            self._lanes, self._feeds, self._origins = {}, {}, {}  # another task may still read the old ones

    async def _feed(self, db: Session, config_version: int, route: str) -> int:
        """Return the lane of a route of a config version."""
        self._forget_if_lost()
        known = self._feeds
        if (config_version, route) not in known:
            lanes = await lanes_of(db, config_version)
            known |= {(config_version, lane.route): lane.id for lane in lanes}
        return known[config_version, route]

    async def _dispatches(self, db: Session, rows: Sequence[Row]) -> list[Dispatch]:
        """Return a dispatch for each row with the columns of the fragment `dispatch`."""
        return DispatchMaker(await self._learn(db, {row[6] for row in rows})).dispatches(rows)

    # -- executions --------------------------------------------------------------------------------

    async def _count_rows(
        self, db: Session, executions: Sequence[int], *, fresh: bool = False
    ) -> dict[int, ByLane]:
        """Return numbers of rows by (lane, state) of each execution, at most a second old unless `fresh`."""
        known = {} if fresh else {n: found for n in executions if (found := self._counts.get(n)) is not None}
        counted: dict[int, dict[tuple[int, int], int]] = {n: {} for n in executions if n not in known}
        if counted:
            for n, lane, state, count in await db.rows(SQL.count_messages, executions=list(counted)):
                counted[n][lane, state] = count
        for n, by_lane in counted.items():
            self._counts.keep(n, by_lane, sum(by_lane.values()))
        return {**known, **counted}

    async def _executions(self, db: Session, rows: Sequence[Row]) -> list[Execution]:
        """From rows with the columns of the fragment `execution`."""
        tags: dict[int, list[str]] = {row[0]: [] for row in rows}
        for n, tag in await db.rows(SQL.tags_of, executions=list(tags)):
            tags[n].append(tag)
        pruned = await prunings_of(db, list(tags))
        by_lane = {row[0]: counts.decode(row[11]) for row in rows if row[11]}
        by_lane |= await self._count_rows(db, [row[0] for row in rows if not row[11]])
        made = []
        for row in rows:
            n, identity, kind, status, config, version, digest, parent, batch = row[:9]
            created, ended, _, code, error, pinned, retention, since, records = row[9:]
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
                    tags=tags[n],
                    created_at=moment(created),
                    ended_at=moment_or_none(ended),
                    error=Problem(code, error) if code else None,
                    counts=counts.add_up(by_lane[n]),
                    pinned=bool(pinned),
                    pruned=pruned[n],
                    replayable_until=replayable_until(
                        as_retention(retention) if retention else None,
                        ended,
                        pruned[n],
                        pinned=bool(pinned),
                    ),
                    changed_since=as_uuid_or_none(since),
                    records_deleted_at=moment_or_none(records),
                )
            )
        return made

    async def _find_execution(self, db: Session, execution: UUID) -> Execution | None:
        rows = await db.rows(SQL.executions_by_id, ids=[execution])
        return (await self._executions(db, rows))[0] if rows else None

    async def _settle_execution(self, db: Session, n: int) -> None:
        """Store the final counts of an execution that has ended and has no open row."""
        counted = await self._count_rows(db, [n], fresh=True)
        await db.run(SQL.settle_execution, counts=counts.encode(counted[n]), n=n)
        self._counts.forget(n)

    async def _cancel_waiting(self, execution: UUID, *, steps: int | None = None) -> int:
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
            db, WAITING, execution=execution, before=before, limit=self.sizes.step_rows
        )
        held = await db.rows(SQL.lock_waiting_rows, rows=found)
        return await self._cancel(db, [n for (n,) in held]), then

    async def _cancel(self, db: Session, rows: Sequence[int]) -> int:
        """Cancel locked rows."""
        return await db.run(SQL.cancel_rows, rows=rows, window=self.sizes.window)

    async def _settle_cancelled(self, n: int) -> None:
        """Settle a cancelled execution if no row of it is open: then none changes any more."""

        async def settle(db: Session) -> None:
            if not await db.value(SQL.has_open_row, n=n):
                await self._settle_execution(db, n)

        await self._db.write(settle, seconds=LONG_SECONDS)

    async def _cancel_unsent(self, db: Session, n: int, after: int, upto: int) -> None:
        rows = await db.rows(SQL.lock_unsent, execution=n, after=after, upto=upto)
        await self._cancel(db, [n for (n,) in rows])

    async def _cancel_rest(self, n: int | None = None) -> None:
        """Cancel the rows behind the windows of cancelled replays, in steps that no claim waits for long.

        Until the last step the listing counts as open, so the execution cannot end. If this process dies
        between two steps, the reconciler continues.
        """
        found = await self._db.read(
            lambda db: db.rows(SQL.cancelling_jobs, window=self.sizes.window, execution=n)
        )
        for job, first, last in found:
            for after in range(first, last, self.sizes.step_rows):
                upto = after + self.sizes.step_rows
                await self._db.write(partial(self._cancel_unsent, n=job, after=after, upto=upto))
            await self._db.write(partial(_end_cancelling, n=job))


async def _end_cancelling(db: Session, *, n: int) -> None:
    await db.run(SQL.end_cancelling, execution=n)
