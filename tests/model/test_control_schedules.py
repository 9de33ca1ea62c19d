"""Random schedules over a replay that users pause, resume, cancel, retry and pace (`controlled.py`).

`PLAYHEAD_TEST_SCHEDULES=20000` runs more schedules. A failure names its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from playhead.backends._sql_catalog.replays import Replays
from playhead.backends._sql_catalog.rows import JobRow, Rows
from playhead.backends.sql import CANCELLED, PENDING, UNANSWERED, UNCERTAIN, UNPUBLISHED
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.model import Replay, ReplayEvent
from playhead.ports.catalog.jobs import LeasedJob
from tests.model.controlled import Catalog, Controlled, IntoExternal
from tests.model.faulty import connection
from tests.model.world import is_found, run_schedules, schedules


@pytest.mark.parametrize("kind", [Controlled, IntoExternal])
def test_no_schedule_of_faults_breaks_a_guarantee_of_control(kind: type[Controlled]):
    found, seeds = run_schedules(schedules(5), kind=kind)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


# -- the test can fail: without a rule, schedules find violations -------------------------------------


class StatelessRows(Rows):
    async def leased(self, db: Session, held: LeasedJob, look: Statement = SQL.lock_leased) -> JobRow | None:
        con = connection(db)
        (state,) = con.execute("SELECT state FROM jobs").fetchone()
        con.execute("UPDATE jobs SET state = 'publishing'")
        try:
            return await super().leased(db, held, look)
        finally:
            con.execute("UPDATE jobs SET state = ?", [state])


class OldEpoch(Replays):
    async def record_event(self, db: Session, execution_n: int, event: ReplayEvent) -> None:
        if event in ("replay.paused", "replay.cancelled"):
            connection(db).execute("UPDATE jobs SET epoch = epoch - 1")
        await super().record_event(db, execution_n, event)


class Stateless(Catalog):
    """The fence is the epoch alone, and pause and cancel do not raise it."""

    rows_type, replays_type = StatelessRows, OldEpoch


class UncancelledRows(Rows):
    async def cancel_unsent(self, db: Session, n: int, after: int, upto: int) -> None:
        pass


class Uncancelled(Catalog):
    """A cancel leaves the rows that are not sent."""

    rows_type = UncancelledRows


class UncertainReplays(Replays):
    async def record_event(self, db: Session, execution_n: int, event: ReplayEvent) -> None:
        if event == "replay.cancelled":
            text = "UPDATE messages SET state = ? WHERE state = ? AND published = ?"
            connection(db).execute(text, [PENDING, CANCELLED, UNANSWERED])
        await super().record_event(db, execution_n, event)


class StillUncertain(Catalog):
    """A cancel leaves the uncertain rows."""

    replays_type = UncertainReplays


class UnsentRows(Rows):
    async def cancel_rows(self, db: Session, rows: Sequence[int]) -> int:
        count = await super().cancel_rows(db, rows)
        connection(db).execute("UPDATE messages SET state = ? WHERE state = ?", [CANCELLED, UNCERTAIN])
        return count


class NeverSent(Catalog):
    """A cancel counts no message as uncertain, whatever was sent to another program."""

    rows_type = UnsentRows


class ListingReplays(Replays):
    async def record_event(self, db: Session, execution_n: int, event: ReplayEvent) -> None:
        if event == "replay.cancelled":
            text = "UPDATE jobs SET listing_state = 'open' WHERE listing_state = 'cancelled'"
            connection(db).execute(text)
        await super().record_event(db, execution_n, event)


class StillListing(Catalog):
    """A cancel leaves the root open."""

    replays_type = ListingReplays


class PausedReplays(Replays):
    paused: Sequence[tuple[int, int, int]] = ()

    async def record_end(self, db: Session, execution_n: int) -> None:
        for n, epoch, watermark in self.paused:
            text = "UPDATE jobs SET state = 'paused', epoch = ?, watermark = ? WHERE execution = ?"
            connection(db).execute(text, [epoch, watermark, n])
        await super().record_end(db, execution_n)


class StillPaused(Catalog):
    """An execution that ends leaves its paused job as it is."""

    replays_type = PausedReplays

    async def _completable(self, db: Session, executions: Sequence[UUID] | None) -> dict[int, UUID]:
        text = "SELECT execution, epoch, watermark FROM jobs WHERE state = 'paused'"
        assert isinstance(self._replays, PausedReplays)
        self._replays.paused = self.con.execute(text).fetchall()
        return await super()._completable(db, executions)


class LeftToReconciler(Catalog):
    """A retry leaves the refused rows to the reconciler."""

    async def retry_replay(self, batch: UUID) -> Replay | None:
        try:
            return await super().retry_replay(batch)
        finally:
            text = "UPDATE messages SET published = ? WHERE state = ? AND published = ? AND generation > 0"
            self.con.execute(text, [UNPUBLISHED, PENDING, UNANSWERED])


class Wide(Controlled):
    """A batch is larger than the window."""

    def prepare(self) -> None:
        super().prepare()
        self.page, self.catalog.sizes.window = 3, 1


@pytest.mark.parametrize(
    ("kind", "world", "schedules", "first", "what"),
    [
        (Controlled, {"catalog": Stateless}, 300, 99, "started in a pause"),
        (Controlled, {"catalog": Uncancelled}, 50, 4, "it hangs"),
        (Controlled, {"catalog": StillUncertain}, 200, 4, "started after a cancel"),
        (IntoExternal, {"catalog": NeverSent}, 200, 1, "counts as never sent"),
        (Controlled, {"catalog": StillListing}, 50, 0, "it hangs"),
        (Controlled, {"catalog": StillPaused}, 50, 3, "has not ended: paused"),
        (Controlled, {"catalog": LeftToReconciler}, 50, 12, "was never sent"),
        (Wide, {}, 100, 14, "started in a pause"),
    ],
    ids=[
        *("no state in the fence", "no cancelled rows", "no cancelled uncertain rows"),
        *("no state uncertain", "no closed root", "no closed job at the end"),
        *("no uncertain rows by retry", "no window"),
    ],
)
def test_without_a_rule_of_control_schedules_find_violations(
    kind: type[Controlled], world: dict[str, Any], schedules: int, first: int, what: str
):
    assert is_found(what, kind, schedules, first=first, **world)
