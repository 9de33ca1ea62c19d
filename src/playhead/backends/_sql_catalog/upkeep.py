"""Heartbeats, leases, and the reconciler's queries.

Most queries find nothing, each second: they read without a lock first. A row that another transaction has
locked is being processed: it is skipped (`SKIP LOCKED`), and read again in the next second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.codes import insert_loaded
from playhead.backends._sql_catalog.executions import exclude, share
from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.counters import Numbers, decode, encode, total
from playhead.envelope import Dispatch
from playhead.ids import moment
from playhead.liveness import may_live
from playhead.model import DAY, LoadedCode, WorkerInfo
from playhead.ports.catalog.upkeep import Process, Subscription

UNHURRIED_SECONDS: Final = 60.0
"""A live publisher that has not published a row for this long has lost it (its broker failed)."""
FORGET_SECONDS: Final = 3600.0
"""How long the row of a dead process is kept."""
_STRAGGLER_STEPS: Final = 10
_KEPT_MINUTES: Final = 30 * 24 * 60
"""How long counts and samples by minute are kept."""

_UNSEALED: Final = "the process that stored the inputs ended before all of them were stored; run it again"


class UpkeepPart(Part):
    # -- processes and leases ----------------------------------------------------------------------

    async def heartbeat(
        self,
        process: Process,
        queues: Sequence[str] = (),
        counters: Numbers | None = None,
        loaded: LoadedCode | None = None,
    ) -> bool:
        consumed = json.dumps(list(queues))
        changed = json.dumps(loaded.changed) if loaded else None

        async def beat(db: Session) -> tuple[bool, float | None]:
            told = encode(counters) if counters else None
            await self._tally.write(db, done)
            if await db.run(SQL.beat, id=process.id, queues=consumed, counters=told, changed=changed):
                return True, None
            others = await db.rows(SQL.other_processes)
            ages = [age for host, pid, age in others if may_live(host, pid, here=process.host)]
            await db.run(
                SQL.insert_process,
                **process._asdict(),
                queues=consumed,
                version=loaded.version if loaded else None,
                code=await insert_loaded(db, loaded) if loaded else None,
                changed=changed,
            )
            return False, max(ages, default=None)

        done = self._tally.waiting()
        # If it waited behind transactions that wait for a lock, this process would count as dead, and its
        # messages as lost.
        was_known, longest = await self._db.write(beat, urgent=True)
        self._tally.written(done)
        self._liveness.record_beat(longest)
        return was_known

    async def depart(self, process: str, counters: Numbers | None = None) -> None:
        async def leave(db: Session) -> None:
            rows = await db.rows(SQL.delete_process, id=process)
            await self._keep(db, [counters or decode(last) for (last,) in rows])
            await db.run(SQL.delete_leases, owner=process)
            await db.run(SQL.release_jobs, owner=process)
            await self._tally.write(db, done)

        done = self._tally.waiting()
        await self._db.write(leave)
        self._tally.written(done)

    async def _keep(self, db: Session, counters: Sequence[Numbers]) -> None:
        """Add the counters of processes that have ended to their sum."""
        if any(counters):
            kept = decode(await db.value(SQL.departed_counters))
            await db.run(SQL.set_departed_counters, counters=encode(total([kept, *counters])))

    async def counters(self) -> Numbers:
        rows = await self._db.rows(SQL.all_counters)
        return total(decode(counters) for (counters,) in rows)

    async def workers(self) -> list[WorkerInfo]:
        rows = await self._db.rows(SQL.living_processes, seconds=self._liveness.five_beats)
        return [
            WorkerInfo(process, kind, host, pid, json.loads(queues), moment(began), moment(beat))
            for process, kind, host, pid, queues, began, beat in rows
        ]

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        taken = await self._db.write(
            lambda db: db.value(SQL.take_lease, name=name, owner=owner, seconds=seconds)
        )
        return taken is not None

    async def subscriptions(self) -> list[Subscription]:
        async def find(db: Session) -> list[Row]:
            # In two statements: PostgreSQL's planner would join the lanes of all versions.
            versions = [version for (version,) in await db.rows(SQL.consumed_versions)]
            return await db.rows(SQL.subscriptions, versions=versions)

        rows = await self._db.read(find)
        newest = {queue: Subscription(queue, name, version, route) for queue, name, version, route in rows}
        return list(newest.values())

    # -- the reconciler's queries ------------------------------------------------------------------

    async def orphans(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        # Ids hold the time of the machine that minted them, so this compares them with a machine's clock.
        before = int((time.time() - UNHURRIED_SECONDS) * 1000).to_bytes(6, "big")
        return await self._become_publisher(
            (SQL.has_orphan, SQL.orphans),
            owner,
            limit,
            seconds=self._liveness.seconds,
            stale=UUID(bytes=before + bytes(10)),
            without=list(without) or None,
        )

    async def due(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        return await self._become_publisher(
            (SQL.has_due, SQL.due), owner, limit, without=list(without) or None
        )

    async def _become_publisher(
        self, look: tuple[Statement, Statement], owner: str, limit: int, **values: Any
    ) -> list[Dispatch]:
        """Make `owner` the publisher of the rows that a statement finds; return their dispatches."""
        has_any, find = look

        async def take(db: Session) -> list[Dispatch]:
            rows = [n for (n,) in await db.rows(find, limit=limit, **values)]
            await db.run(SQL.take_over, owner=owner, rows=rows)
            return await self._dispatches_of(db, rows)

        if not await self._db.value(has_any, **values):
            return []
        return await self._db.write(take)

    async def _dispatches_of(self, db: Session, rows: Sequence[int]) -> list[Dispatch]:
        """Return dispatches of rows, in the order given."""
        found = await db.rows(SQL.dispatches_of, rows=rows)
        place = {n: at for at, n in enumerate(rows)}
        return await self._lanes.dispatches(db, sorted(found, key=lambda row: place[row[-1]]))

    async def recall_abandoned(self, *, limit: int) -> int:
        seconds = self._liveness.seconds

        async def recall(db: Session) -> int:
            found = await db.rows(SQL.abandoned_rows, seconds=seconds, limit=limit)
            statuses = await share(db, {execution for _, execution in found})
            held = await db.rows(SQL.lock_still_running, rows=[n for n, _ in found])
            return await db.run(
                SQL.recall,
                seconds=seconds,
                rows=[n for (n,) in held],
                running=[n for n, status in statuses.items() if status == "running"],
            )

        if not await self._db.row(SQL.abandoned_rows, seconds=seconds, limit=1):
            return 0
        return await self._db.write(recall)

    async def some_running(self, *, after: int, limit: int) -> tuple[list[UUID], int]:
        rows = await self._db.rows(SQL.some_running, after=after, limit=limit)
        return [as_uuid(identity) for _, identity in rows], rows[-1][0] if len(rows) == limit else 0

    async def waiting_queues(self, executions: Sequence[UUID] | None = None) -> list[str]:
        among = None if executions is None else list(executions)
        rows = await self._db.rows(SQL.waiting_queues, limit=1, executions=among)
        return list(dict.fromkeys(queue for (queue,) in rows))

    async def redeliver_lost(self, owner: str, queue: str, *, limit: int) -> list[Dispatch]:
        async def redeliver(db: Session) -> list[Dispatch]:
            running = await db.rows(SQL.processed_by_queue, queue=queue)
            statuses = await share(db, [n for (n,) in running])
            found = await db.rows(SQL.waiting_rows, limit=limit, executions=list(statuses), queue=queue)
            rows = [n for (n,) in await db.rows(SQL.lock_waiting, rows=[n for (n,) in found])]
            await db.run(SQL.publish_again, rows=rows, owner=owner)
            return await self._dispatches_of(db, rows)

        return await self._db.write(redeliver)

    async def open_executions(self) -> list[UUID]:
        rows = await self._db.rows(SQL.running_executions)
        return [as_uuid(identity) for (identity,) in rows]

    async def cancel_stragglers(self) -> int:
        await self._rows.cancel_rest()
        count = 0
        for n, identity in await self._db.rows(SQL.unsettled_cancelled):
            # Few steps: the reconciler has other work, and the process that cancels may still be running.
            count += await self._rows.cancel_waiting(as_uuid(identity), steps=_STRAGGLER_STEPS)
            await self._rows.settle(n)
        return count

    async def fail_unsealed(self) -> list[UUID]:
        seconds = self._liveness.seconds
        change = Change("run.start")

        async def fail(db: Session) -> list[UUID]:
            found = await db.rows(SQL.unsealed_runs, seconds=seconds)
            await exclude(db, [n for n, _ in found])
            lost = await db.rows(SQL.lock_unsealed_runs, seconds=seconds)
            for n, _ in lost:
                await change.record(db, execution=n, outcome="failed", error_code="upload_incomplete")
                await db.run(SQL.fail_upload, execution=n, error=_UNSEALED)
                await db.run(SQL.close_execution, execution=n, status="failed")
                await self._executions.settle(db, n)
            return [as_uuid(identity) for _, identity in lost]

        if not await self._db.row(SQL.unsealed_runs, seconds=seconds):
            return []
        return await change.write(self._db, fail)

    async def abandoned_jobs(self) -> list[UUID]:
        rows = await self._db.rows(SQL.abandoned_jobs)
        return [as_uuid(identity) for (identity,) in rows]

    async def maintain(self) -> None:
        seconds = FORGET_SECONDS + self._liveness.seconds

        async def forget(db: Session) -> None:
            await self._move_times_ahead(db)
            await db.run(SQL.delete_unused_limits, seconds=seconds)
            await db.run(SQL.delete_minutes, keep=_KEPT_MINUTES)
            await db.run(SQL.delete_samples, keep=_KEPT_MINUTES)
            rows = await db.rows(SQL.delete_forgotten, seconds=seconds)
            await self._keep(db, [decode(last) for (last,) in rows])

        await self._db.write(forget)
        await self._db.maintain()

    async def _move_times_ahead(self, db: Session) -> None:
        """Move times that were recorded before the clock was set back, so that no process waits for them.

        A heartbeat from before counts as recorded now: a live process then has five beats to record another
        one. The leases of its jobs move by the same time. Retries are due now, those of webhooks too, and
        cooldowns end.
        """
        seconds = self._liveness.five_beats
        await db.run(SQL.move_job_leases, seconds=seconds)
        await db.run(SQL.move_heartbeats, seconds=seconds)
        await db.run(SQL.end_cooldowns, seconds=seconds)
        await db.run(SQL.move_deliveries, seconds=DAY)
        if await db.value(SQL.last_retry_is_ahead, seconds=seconds):
            await db.run(SQL.move_retries, seconds=seconds)
