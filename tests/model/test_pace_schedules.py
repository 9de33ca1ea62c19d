"""Random schedules over paced replays: when their messages reach the queue for the first time.

`PLAYHEAD_TEST_SCHEDULES=20000` runs more schedules. A failure names its seed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import ClassVar
from uuid import UUID

import pytest

from playhead.backends._sql_catalog.rows import JobRow, Rows
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.envelope import Dispatch
from playhead.errors import Conflict
from playhead.model import OPEN_REPLAY_STATES, DepthPace, RatePace, Replay
from playhead.ports.catalog.control import Allowance
from playhead.ports.catalog.jobs import LeasedJob
from playhead.ports.catalog.work import Claim
from tests.catalog_memory import MemoryCatalog
from tests.lab import Given
from tests.model.faulty import at_once, connection, step
from tests.model.replaying import Catalog, Replaying
from tests.model.world import is_found, run_schedules, schedules


class Paced(Replaying):
    """Replays with a pace, which are paused and resumed now and then.

    Attributes:
        batches: of the replays.
        roots: the messages of each job that were sent, in this order.
        claimed: messages that a worker has claimed.
    """

    jobs: ClassVar[int] = 1
    objects_each: ClassVar[int] = 12
    calm = (300, 1500)
    turns = 60_000

    def budget(self) -> Counter[str]:
        choice = self.rng.choice
        self.claimed: set[UUID] = set()
        return Counter(
            crash=choice([0, 4, 8]),
            lose=choice([0, 2]),
            lapse=choice([0, 2, 4]),
            late=choice([0, 4]),
            full=choice([0, 4, 8]),
            away=choice([0, 4]),
            outage=choice([0, 2]),
            unanswered=choice([0, 4]),
            pause=choice([0, 3, 8]),
        )

    def prepare(self) -> None:
        self.page = self.rng.choice([1, 2, 5, 1000])
        self.catalog.sizes.window = max(self.page, 5)
        managed = self.managed()
        source = self.put([f"k{n:02}" for n in range(self.objects_each)])
        self.batches = [self.open(source, managed, route="second").replay_batch_id for _ in range(self.jobs)]

    def managed(self) -> Given:
        raise NotImplementedError

    def fault(self) -> bool:
        if super().fault():
            return True
        if self.strikes("pause", 0.03):
            with suppress(Conflict):  # its publishing has ended
                at_once(self.catalog.pause(self.rng.choice(self.batches)))
            return True
        if self.strikes("outage", 0.01):
            self.broker.full_until = self.now + self.rng.uniform(0, 1000) * self.ticks[0]
            return True
        return False

    def tend(self) -> None:
        if self.rng.random() < 0.05:
            for replay in self.read_all():
                if replay.state in ("paused", "stalled"):
                    at_once(self.catalog.resume(replay.replay_batch_id))

    def read_all(self) -> list[Replay]:
        return [at_once(MemoryCatalog.replay(self.catalog, b, work=False)) for b in self.batches]

    def note_start(self, claim: Claim) -> None:
        self.claimed.add(claim.correlation_id)

    def has_settled(self) -> bool:
        return all(replay.state not in OPEN_REPLAY_STATES for replay in self.read_all())

    def sent(self) -> dict[UUID, float]:
        """Return when each message of a replay was sent for the first time."""
        roots = self.catalog.con.execute("SELECT id FROM messages WHERE ordinal IS NOT NULL").fetchall()
        known = {UUID(bytes=raw) for (raw,) in roots}
        return {cid: at for cid, at in self.broker.sent.items() if cid in known}

    def audit(self) -> list[str]:
        bad = []
        for replay in self.read_all():
            if replay.state != "publishing_complete":
                bad.append(f"it does not end: {replay.state}, waits for {replay.waits_for}")
            elif replay.objects_published != self.objects_each:
                bad.append(f"{replay.objects_published} messages are published")
        return bad


class Rated(Paced):
    """One replay with a rate, in a time in which its processes could publish faster.

    In the calm phase time sometimes jumps, so that leases and visibilities expire.
    """

    def managed(self) -> Given:
        self.rate = self.rng.choice([2.0, 20.0, 40.0])
        self.ticks = [seconds / 5 / self.rate for seconds in self.ticks]
        return {"pace": RatePace(self.rate)}

    def tend(self) -> None:
        super().tend()
        if self.quiet and self.rng.random() < 0.01:
            self.now += 1

    def audit(self) -> list[str]:
        burst = max(1.0, self.rate / 10)
        times = sorted(self.sent().values())
        over = [
            f"{last - first + 1} messages in {times[last] - times[first]:.3f} s"
            for first in range(len(times))
            for last in range(first, len(times))
            if last - first + 1 > self.rate * (times[last] - times[first]) + 2 * burst + 1e-6
        ]
        return super().audit() + (["more than the rate and two bursts"] if over else [])


class Deep(Paced):
    """Two replays that keep one queue below a depth.

    They are not paused: what a paused replay has sent does not keep the queue full for the other one.
    """

    jobs = 2
    depth = 0

    def budget(self) -> Counter[str]:
        faults = super().budget()
        del faults["pause"]
        return faults

    def managed(self) -> Given:
        self.limit = self.rng.choice([1, 2, 4])
        return {"pace": DepthPace(self.limit)}

    def tend(self) -> None:
        super().tend()
        self.depth = max(self.depth, len(self.broker.sent) - len(self.claimed))

    def audit(self) -> list[str]:
        bad = super().audit()
        return bad + (["the queue was deeper than allowed"] if self.depth > self.limit else [])


@pytest.mark.parametrize("kind", [Rated, Deep])
def test_no_schedule_of_faults_exceeds_a_pace(kind: type[Paced]):
    found, seeds = run_schedules(schedules(10), kind=kind)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


# -- the test can fail: without a rule, schedules find violations -------------------------------------


class FullBucket(Catalog):
    """Each owner of a job begins with a full bucket."""

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        self.con.execute("UPDATE jobs SET tokens = 1e9 WHERE pace_rate IS NOT NULL")
        return await super().acquire(job, owner=owner, lease=lease)


class PaidRows(Rows):
    paying = False

    async def leased(self, db: Session, held: LeasedJob, look: Statement = SQL.lock_leased) -> JobRow | None:
        job = await super().leased(db, held, look)
        if job is None or not self.paying:
            return job
        ((paid,),) = connection(db).execute("SELECT paid FROM jobs")
        return job._replace(watermark=max(job.watermark, paid or 0))


class Ahead(Catalog):
    """More is paid for although what was paid for is not marked."""

    rows_type = PaidRows

    async def allow(self, held: LeasedJob, *, want: int, depth: int | None = None) -> Allowance | None:
        await step()
        assert isinstance(self._rows, PaidRows)
        self._rows.paying = True
        try:
            allowed: Allowance | None = at_once(super().allow(held, want=want, depth=depth))
            return allowed
        finally:
            self._rows.paying = False


class UnsettledFirst(Catalog):
    """The next owner of a job pays before it settles what is uncertain."""

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        self.acquired = await super().acquire(job, owner=owner, lease=lease)
        return self.acquired

    async def unsettled(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        first, self.acquired = held is self.acquired, None
        return [] if first else await super().unsettled(held, limit=limit)


class OwnRows(Catalog):
    """The depth of a queue is the number of the job's own messages in it."""

    async def allow(self, held: LeasedJob, *, want: int, depth: int | None = None) -> Allowance | None:
        ((sent, claimed),) = self.con.execute(
            "SELECT j.paid, (SELECT count(*) FROM messages m WHERE m.execution = e.n AND m.attempt > 0) "
            "FROM jobs j JOIN executions e ON e.n = j.execution WHERE e.id = ?",
            [held.job.bytes],
        )
        return await super().allow(held, want=want, depth=sent - claimed)


class BrokerDepth(Catalog):
    """The depth of a queue is what the broker reports."""

    async def allow(self, held: LeasedJob, *, want: int, depth: int | None = None) -> Allowance | None:
        depth = (await self.world.broker.depth(held.headers.queue)).ready
        return await super().allow(held, want=want, depth=depth)


@pytest.mark.parametrize(
    ("kind", "catalog", "schedules", "first", "what"),
    [
        (Rated, FullBucket, 400, 140, "more than the rate"),
        (Rated, Ahead, 400, 2, "more than the rate"),
        (Rated, UnsettledFirst, 400, 38, "more than the rate"),
        (Deep, OwnRows, 20, 1, "deeper"),
        (Deep, BrokerDepth, 20, 1, "deeper"),
    ],
    ids=[
        *("bucket of the process", "paid ahead", "paid before it settles"),
        *("depth of its own rows", "depth of the broker"),
    ],
)
def test_without_a_rule_of_pace_schedules_find_violations(
    kind: type[Paced], catalog: type[Catalog], schedules: int, first: int, what: str
):
    assert is_found(what, kind, schedules, first=first, catalog=catalog)
