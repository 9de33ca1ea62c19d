"""Control of replays. The port (`ports/catalog/control.py`) explains why each operation is exact."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog import requests
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.executions import exclude, prunings_of
from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.rates import burst, saved
from playhead.backends._sql_catalog.rows import LONG_SECONDS
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.errors import Conflict
from playhead.model import OPEN_REPLAY_STATES, HeldBy, Pace, PausedBy, Replay, are_too_many
from playhead.ports.catalog.control import Allowance, Verdict
from playhead.ports.catalog.jobs import LeasedJob
from playhead.ports.catalog.prune import check_unpruned
from playhead.wording import ended_text, undecided_text

_DEPTH_SECONDS: Final = 0.1
_DECISION_SECONDS: Final = 0.5
_ALL: Final = 1_000_000


class _Job(NamedTuple):
    """The row of a job that this transaction has locked, after its execution."""

    n: int
    status: str
    source_n: int | None
    state: str
    ordinals: int
    watermark: int
    paid: int | None
    hold_at: int | None
    rate: float | None
    tokens: float
    tokens_at: float
    now: float
    source: UUID
    stage: str
    paused_by: PausedBy | None
    request: str

    @property
    def is_open(self) -> bool:
        """Whether publishing may follow."""
        return self.state in OPEN_REPLAY_STATES and self.status == "running"


class _Held(NamedTuple):
    """A job that waits for a decision about the objects after `start`, up to `end`."""

    n: int
    lane: int
    start: int
    end: int
    since: int
    version: int
    by: HeldBy
    request: str

    @property
    def rows(self) -> dict[str, int]:
        """Parameters of the statements over the rows of these objects."""
        return {
            "execution": self.n,
            "after": self.start,
            "hold": self.end,
            "since": self.since,
            "lane": self.lane,
            "version": self.version,
        }

    @property
    def max_failed(self) -> float:
        """How many of the objects may fail."""
        asked = requests.decode(self.request)
        if self.by == "canary":
            assert asked.canary
            return asked.canary.max_failed
        assert asked.pause_if
        return asked.pause_if.failed


class ControlPart(Part):
    # -- pause, resume, cancel, retry --------------------------------------------------------------

    async def pause(self, batch: UUID) -> Replay | None:
        change = Change("replay.pause")

        async def pause_it(db: Session) -> Replay | None:
            job = await self._controlled(db, batch, change)
            if job and job.state != "paused":
                await self._check_open(db, batch, job)
                await change.record(db, execution=job.n)
                await db.run(SQL.pause_job, by="request", reason=None, execution=job.n)
                await self._replays.record_event(db, job.n, "replay.paused")
            return await self._replays.find(db, batch)

        return await change.write(self._db, pause_it)

    async def resume(self, batch: UUID, canary: int | None = None) -> Replay | None:
        change = Change("replay.resume")

        async def resume_it(db: Session) -> Replay | None:
            job = await self._controlled(db, batch, change)
            if job:
                await self._check_open(db, batch, job)
            if job and job.state in ("paused", "stalled"):
                await change.record(db, execution=job.n, detail={"canary": canary} if canary else None)
                if job.paused_by == "canary" or job.paused_by == "guard":
                    await self._go_on(db, job.n, job.request, (job.paused_by, canary) if canary else None)
                elif canary:
                    raise Conflict("not_paused_by_canary", undecided_text(await self._replays.get(db, batch)))
                await db.run(SQL.queue_job, execution=job.n)
                await self._replays.record_event(db, job.n, "replay.resumed")
            return await self._replays.find(db, batch)

        return await change.write(self._db, resume_it)

    async def cancel_replay(self, batch: UUID) -> Replay | None:
        change = Change("replay.cancel")

        async def cancel_it(db: Session) -> tuple[int, Replay | None] | None:
            job = await self._controlled(db, batch, change)
            if job is None:
                return None
            if job.state != "cancelled":
                await self._check_open(db, batch, job)
                await change.record(db, execution=job.n)
                # The publisher may have sent rows of its window, and rows that are uncertain. They are closed
                # in this transaction, so that no worker claims them after it. No other unmarked row was sent.
                await self._rows.cancel_unsent(db, job.n, job.watermark, job.watermark + self.sizes.window)
                held = await db.rows(SQL.lock_uncertain, execution=job.n)
                await self._rows.cancel_rows(db, [n for (n,) in held])
                await db.run(SQL.cancel_publishing, window=self.sizes.window, execution=job.n)
                await self._replays.record_event(db, job.n, "replay.cancelled")
            return job.n, await self._replays.find(db, batch)

        cancelled = await change.write(self._db, cancel_it, seconds=LONG_SECONDS)
        if cancelled is None:
            return None
        n, replay = cancelled
        await self._rows.cancel_rest(n)
        return replay

    async def retry_replay(self, batch: UUID) -> Replay | None:
        change = Change("replay.retry")

        async def retry_it(db: Session) -> Replay | None:
            job = await self._controlled(db, batch, change, with_source=True)
            if job is None or job.is_open:
                return await self._replays.find(db, batch)
            if job.state in ("cancelled", "refused") or job.status == "cancelled":
                raise await self._ended(db, batch, job)
            if gone := (await prunings_of(db, [job.n]))[job.n]:
                raise Conflict(
                    "execution_pruned",
                    f"objects of replay {batch} were pruned on {gone[0].pruned_at}, so it cannot be "
                    "continued; start a new replay",
                )
            if job.source_n is not None:
                pruned = await prunings_of(db, [job.source_n])
                check_unpruned(job.source, job.stage, pruned[job.source_n])
            again = await db.run(SQL.retry_refused, execution=job.n)
            if again + await db.run(SQL.reopen_listing, execution=job.n):
                await change.record(db, execution=job.n, detail={"count": again})
                await db.run(SQL.queue_job, execution=job.n)
                await db.run(SQL.reopen_executions, executions=[job.n])
                self._executions.forget_counts(job.n)
            return await self._replays.find(db, batch)

        return await change.write(self._db, retry_it, seconds=LONG_SECONDS)

    async def _controlled(
        self, db: Session, batch: UUID, change: Change, *, with_source: bool = False
    ) -> _Job | None:
        """Lock the execution of a batch, then its job, and return the job. None: there is no such batch.

        `with_source` also locks the source execution, against a prune. Raises `Forbidden` (`outside_limit`).
        """
        found = await db.row(SQL.execution_of_batch, batch=batch)
        if found is None:
            return None
        n, source = found
        await change.check(db, n)
        statuses = await exclude(db, {n, source} - {None} if with_source else {n})
        row = await db.row(SQL.lock_job, execution=n)
        assert row, "a batch has a job"
        job = _Job(n, statuses[n], source, *row)
        return job._replace(source=as_uuid(job.source))

    async def _check_open(self, db: Session, batch: UUID, job: _Job) -> None:
        if not job.is_open:
            raise await self._ended(db, batch, job)

    async def _ended(self, db: Session, batch: UUID, job: _Job) -> Conflict:
        return Conflict("replay_ended", ended_text(await self._replays.get(db, batch), job.status))

    # -- pace --------------------------------------------------------------------------------------

    async def set_pace(self, batch: UUID, pace: Pace | None) -> Replay | None:
        change = Change("replay.pace")

        async def set_it(db: Session) -> Replay | None:
            job = await self._controlled(db, batch, change)
            if job is None:
                return None
            await self._check_open(db, batch, job)
            await change.record(db, execution=job.n, detail=asdict(pace) if pace else None)
            rate, depth = requests.pace_columns(pace)
            # What the old rate has allowed until now stays allowed.
            tokens = saved(job.rate, job.tokens, job.tokens_at, job.now, is_sent=False) if job.rate else 0.0
            paid = job.paid
            if pace and paid is None:
                # The holder may have sent its window without paying. It stops at its next write.
                paid = min(job.watermark + self.sizes.window, job.ordinals)
                await db.run(SQL.fence_job, execution=job.n)
            elif pace is None and job.hold_at is None:
                paid = None
            if rate is not None:
                tokens = min(tokens, burst(rate))
            await db.run(SQL.set_pace, rate=rate, depth=depth, paid=paid, tokens=tokens, execution=job.n)
            return await self._replays.find(db, batch)

        return await change.write(self._db, set_it)

    async def allow(self, held: LeasedJob, *, want: int, depth: int | None = None) -> Allowance | None:
        async def pay(db: Session) -> Allowance | None:
            job = await self._rows.leased(db, held)
            if job is None:
                return None
            row = await db.row(SQL.pace_of_job, execution=job.n)
            assert row
            rate, limit, tokens, tokens_at, paid, hold_at, now = row
            end = min(job.watermark + want, job.ordinals)
            if end == job.watermark:
                return Allowance(0)
            if paid is None:  # the pace was removed
                return Allowance(end)
            if paid > job.watermark:
                return Allowance(min(paid, end))
            wanted = end - paid
            if hold_at is not None:
                wanted = min(wanted, hold_at - paid)
                if wanted <= 0:
                    return Allowance(0, _DECISION_SECONDS, "decision")
            if rate is not None:
                tokens = saved(rate, tokens, tokens_at, now, is_sent=True)
                # Half a burst at once: few transactions, and time left until the bucket is full.
                enough = min(wanted, max(1, int(burst(rate) / 2)))
                if tokens < enough:
                    return Allowance(0, (enough - tokens) / rate, "rate")
                wanted = min(wanted, int(tokens))
                tokens -= wanted
            elif limit is not None:
                queue = held.headers.queue
                await db.rows(SQL.lock_queue, queue=queue)
                waiting = await self._count_waiting(db, queue, limit) if depth is None else depth
                if limit - waiting < min(wanted, max(1, limit // 10)):
                    return Allowance(0, _DEPTH_SECONDS, "depth")
                wanted = min(wanted, limit - waiting)
            await db.run(SQL.pay, paid=paid + wanted, tokens=tokens, execution=job.n)
            return Allowance(paid + wanted)

        return await self._db.write(pay)

    async def _count_waiting(self, db: Session, queue: str, limit: int) -> int:
        """Count the messages that are in a queue, or on their way to it, and that no worker has claimed.

        The broker is not asked: after a purge it reports none, and the messages come again.
        """
        executions = [n for (n,) in await db.rows(SQL.processed_by_queue, queue=queue)]
        given = {"executions": executions, "queue": queue, "limit": limit + 1}
        waiting = await db.value(SQL.count_waiting, **given) if executions else 0
        paid = await db.value(SQL.count_paid, window=self.sizes.window, queue=queue)
        return int(waiting) + int(paid)

    # -- canary ------------------------------------------------------------------------------------

    async def decide(self, held: LeasedJob) -> Verdict | None:
        # Without a lock first: this is asked several times a second, and workers share the execution.
        if not await self._db.read(lambda db: self._is_closed(db, held)):
            return None
        change = Change("replay.pause")

        async def decide_it(db: Session) -> Verdict | None:
            # An execution that ends closes its job. All objects behind the canary may be dead: then it ends
            # either before this transaction, which finds no job, or after it.
            n = await db.value(SQL.execution_number, id=held.job)
            await exclude(db, [n])
            job = await self._held(db, held, SQL.lock_leased)
            if job is None or await db.value(SQL.canary_is_open, **job.rows):
                return None
            objects, by = job.end - job.start, job.by
            failed = int(await db.value(SQL.failed_canary_objects, **job.rows))
            passed = not are_too_many(failed, objects, job.max_failed)
            if passed:
                await self._go_on(db, n, job.request)
            else:
                which = f"{objects} canary" if by == "canary" else f"the last {objects}"
                reason = f"{failed} of {which} objects failed"
                await change.record(db, execution=n, reason=reason, detail={"by": by})
                await db.run(SQL.pause_job, by=by, reason=reason, execution=n)
                await self._replays.record_event(db, n, "replay.paused")
            return Verdict(objects, failed, passed)

        return await change.write(self._db, decide_it)

    async def _go_on(self, db: Session, n: int, request: str, then: tuple[HeldBy, int] | None = None) -> None:
        """Let the objects follow about which the next decision is, or all others.

        Args:
            then: whose limit decides next, and about how many objects; None: the guard, if there is one.
        """
        guard = requests.decode(request).pause_if
        if then := then or (("guard", guard.of_last) if guard else None):
            by, objects = then
            await db.run(SQL.move_hold, by=by, objects=objects, execution=n)
        else:
            await db.run(SQL.lift_hold, execution=n)

    async def _is_closed(self, db: Session, held: LeasedJob) -> bool:
        job = await self._held(db, held, SQL.find_leased)
        return job is not None and not await db.value(SQL.canary_is_open, **job.rows)

    async def _held(self, db: Session, held: LeasedJob, look: Statement) -> _Held | None:
        """Return the job if its epoch is current and it waits for a decision."""
        job = await self._rows.leased(db, held, look)
        if job is None:
            return None
        row = await db.row(SQL.canary_of_job, execution=job.n)
        assert row
        start, end, *others = row
        return None if end is None else _Held(job.n, job.lane, start, end, *others)

    # -- places ------------------------------------------------------------------------------------

    async def admit(self, *, per_queue: int) -> list[UUID]:
        queues = await self._db.rows(SQL.queued_queues)
        admitted: list[UUID] = []
        for (queue,) in queues:
            admitted += await self._db.write(partial(self._admit, queue=queue, per_queue=per_queue))
        return admitted

    async def _admit(self, db: Session, *, queue: str, per_queue: int) -> list[UUID]:
        await db.rows(SQL.lock_queue, queue=queue)
        room = _ALL
        if per_queue:
            room = per_queue - int(await db.value(SQL.count_places, queue=queue))
        if room <= 0:
            return []
        found = await db.rows(SQL.lock_queued, queue=queue, limit=room)
        for n, _ in found:
            await db.run(SQL.admit_job, execution=n)
            await self._replays.record_start(db, n)
        return [as_uuid(job) for _, job in found]
