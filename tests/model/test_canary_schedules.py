"""Random schedules of a replay with a canary or a guard: crashes, lost answers, pauses, resends, cancels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from playhead.envelope import Dispatch
from playhead.ids import uuid7
from playhead.model import Canary, Guard, HeldBy, Replay
from playhead.ports.broker import PublishResult
from playhead.ports.catalog.control import Verdict
from playhead.ports.catalog.jobs import LeasedJob
from playhead.ports.catalog.work import Failed
from playhead.work.attempt import AttemptOutcome, ClaimedMessage
from tests.lab import asked
from tests.model.faulty import Broker, Catalog, at_once, step
from tests.model.test_schedules import OBJECTS, Pipeline
from tests.model.world import VISIBILITY, run_schedules, schedules

OPEN = ("pending", "running", "retry")


class HeldBroker(Broker):
    """Reports messages behind the canary that are sent before the decision."""

    world: HeldWorld

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        outcomes = await super().publish(dispatches)
        self.world.look(dispatches)
        return outcomes


class HeldCatalog(Catalog):
    """Reports decisions that do not follow from the rows."""

    world: HeldWorld

    async def decide(self, held: LeasedJob) -> Verdict | None:
        verdict = await super().decide(held)
        if verdict:
            self.world.decided(verdict)
        return verdict


class HeldWorld(Pipeline):
    """A replay of three objects with a canary of one or two, or a guard, or both; with faults.

    Attributes:
        window: the objects that the next decision is about: after this place in the listing, up to that one.
        by: whose limit decides about them.
        more: how often more objects were checked first.
    """

    batch: UUID
    window: tuple[int, int]
    by: HeldBy
    more: int

    def budget(self) -> Counter[str]:
        return super().budget() + Counter(pause=self.rng.choice([0, 1, 2]))

    def prepare(self) -> None:
        self.broker = HeldBroker(clock=self.clock, visibility=VISIBILITY, pause=step)
        self.broker.world = self
        most = self.rng.choice([0, 0.5, 1])
        self.canary = Canary(self.rng.choice([1, 2]), most) if self.rng.random() < 0.7 else None
        is_guarded = self.canary is None or self.rng.random() < 0.5
        self.guard = Guard(most, self.rng.choice([1, 2])) if is_guarded else None
        first = self.canary.objects if self.canary else self.guard.of_last if self.guard else 0
        self.window = (0, first)
        self.by = "canary" if self.canary else "guard"
        self.more = 0
        self.poisoned = self.rng.sample(OBJECTS, self.rng.choice([0, 0, 1, 2]))
        self.decisions = 0
        super().prepare()
        source = self.job
        at_once(self.catalog.cancel(source))
        opened = at_once(
            self.catalog.open_replay(
                batch=uuid7(),
                request=asked(source, "input", "split", canary=self.canary, pause_if=self.guard),
                prefix=f"{source}/input",
                config="model",
                version=1,
                route="split",
            )
        )
        self.batch = opened.replay.replay_batch_id
        self.job = opened.replay.execution_id

    def replay(self) -> Replay:
        found: Replay = at_once(self.catalog.replay(self.batch))
        return found

    def adapter(self, one: ClaimedMessage) -> AttemptOutcome:
        claim = one.claim
        if claim.path in self.poisoned and not one.problem:
            failed = Failed(claim.correlation_id, claim.attempt, "rejected", "poisoned", None, None)
            return AttemptOutcome(one, result=failed)
        return super().adapter(one)

    # -- the schedule ------------------------------------------------------------------------------

    def tend(self) -> None:
        super().tend()
        at_once(self.catalog.admit(per_queue=0))

    def fault(self) -> bool:
        if self.rng.random() < 0.01 and not self.cancelled:
            state = self.replay().state
            if state == "paused":
                self.resume()
                return True
            if state in ("queued", "publishing") and self.left("pause"):
                at_once(self.catalog.pause(self.batch))
                return True
        return super().fault()

    def has_settled(self) -> bool:
        if self.replay().state == "paused":
            self.resume()
        return super().has_settled()

    def resume(self) -> None:
        """Resume the replay; after a decision, perhaps with another canary."""
        by = self.replay().paused_by
        more = self.rng.choice([None, 1, 2]) if by == "canary" or by == "guard" else None
        at_once(self.catalog.resume(self.batch, more))
        if more:
            start = self.window[0]
            self.window, self.more = (start, start + more), self.more + 1
            self.by = "canary" if by == "canary" else "guard"

    # -- what must hold ----------------------------------------------------------------------------

    def look(self, sent: Sequence[Dispatch]) -> None:
        hold = self.replay().hold_at
        if hold is not None and any((dispatch.ordinal or 0) > hold for dispatch in sent):
            self.bad.append("a message behind the canary was sent before the decision")

    def decided(self, verdict: Verdict) -> None:
        self.decisions += 1
        (start, end), by = self.window, self.by
        self.window = (end, end + self.guard.of_last) if self.guard else (end, end)
        self.by = "guard"
        rows = {row.correlation_id: row for row in self.lineage()}
        first = sorted(row.input_key for row in rows.values() if row.parent_correlation_id is None)
        failed = set[str]()
        for row in rows.values():
            top = row
            while top.parent_correlation_id:
                top = rows[top.parent_correlation_id]
            if top.input_key not in first[start:end]:
                continue
            if row.status in OPEN:
                self.bad.append("it was decided although a message of the canary is open")
            if row.status == "dead":
                failed.add(top.input_key)
        if verdict[:2] != (end - start, len(failed)):
            self.bad.append(f"{verdict}, but failed are {failed}")
        replay = self.replay()
        if (replay.state, replay.paused_by) != (("publishing", None) if verdict.passed else ("paused", by)):
            self.bad.append(f"{verdict}, but the replay is {replay.state}")

    def audit(self) -> list[str]:
        bad = super().audit()
        replay = self.replay()
        if self.decisions > (len(OBJECTS) if self.guard else 1 + self.more):
            bad.append("it was decided twice")
        if not self.cancelled and replay.objects_published + replay.objects_failed != len(OBJECTS):
            bad.append("an object was neither published nor refused")
        return bad


def test_no_schedule_of_faults_sends_a_message_behind_an_undecided_canary():
    found, seeds = run_schedules(schedules(5), kind=HeldWorld, catalog=HeldCatalog)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


class Hasty(HeldCatalog):
    """Decides as soon as the first objects are published."""

    async def decide(self, held: LeasedJob) -> Verdict | None:
        lifted = self.con.execute("UPDATE jobs SET hold_at = NULL, paid = NULL WHERE hold_at > 0").rowcount
        start, end = self.world.window
        verdict = Verdict(end - start, 0, True)
        if lifted:
            self.world.decided(verdict)
        return verdict


def test_if_the_canary_is_not_waited_for_schedules_find_violations():
    violations = [line for seed in range(10) for line in HeldWorld(seed, catalog=Hasty).run()]
    assert "it was decided although a message of the canary is open" in violations
