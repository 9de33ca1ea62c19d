"""A replay under control: users pause, resume, cancel, retry and pace it at any step of any process.

Every answer, and every read in between, is compared with the rows of the same moment. From the commit of a
pause or a cancel on, each message that starts must be one that its answer has counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from playhead.backends.sql import CANCELLED, DEAD, PENDING, UNCERTAIN
from playhead.errors import Conflict, ReplayContinues, Unavailable
from playhead.ids import uuid7
from playhead.model import (
    OPEN_REPLAY_STATES,
    UNCERTAIN as WILL_BE_SETTLED,
    Config,
    DepthPace,
    Execution,
    Pace,
    RatePace,
    Replay,
    Route,
    Selection,
)
from playhead.ports.catalog.work import Claim
from playhead.services.control import ControlService
from tests.catalog_memory import MemoryCatalog
from tests.model import replaying
from tests.model.faulty import at_once, step, until_answered
from tests.model.replaying import STAGE, Replaying
from tests.model.world import Concurrent

BAD_PATH = "z" * 201
"""Its segment is too long, so its message is a dead letter (`invalid_key`)."""


class Catalog(replaying.Catalog):
    """Compares the answers about the replay with its rows. Sometimes an answer is lost."""

    world: Controlled

    async def replay(self, batch: UUID, *, work: bool = True, trouble: str = "") -> Replay | None:
        return self._checked(await super().replay(batch, work=work, trouble=trouble))

    async def pause(self, batch: UUID) -> Replay | None:
        return self._checked(await super().pause(batch))

    async def resume(self, batch: UUID, canary: int | None = None) -> Replay | None:
        return self._checked(await super().resume(batch, canary))

    async def retry_replay(self, batch: UUID) -> Replay | None:
        return self._checked(await super().retry_replay(batch))

    async def set_pace(self, batch: UUID, pace: Pace | None) -> Replay | None:
        return self._checked(await super().set_pace(batch, pace))

    async def cancel_replay(self, batch: UUID) -> Replay | None:
        answer = await super().cancel_replay(batch)
        if answer and answer.objects_published != len(self.world.kept or ()):
            self.world.bad.append("cancel reported another number than it has committed")
        return self.maybe_unanswered(answer)

    async def cancel(self, execution: UUID, **given: Any) -> Execution | None:
        return self.maybe_unanswered(await super().cancel(execution, **given))

    def _checked(self, answer: Replay | None) -> Replay | None:
        assert answer
        self.world.check(answer)
        return self.maybe_unanswered(answer)


class Roots(NamedTuple):
    """The messages of a replay, by the rule of its numbers.

    `given_up`: not published when the replay was cancelled. If its execution is cancelled, too, their rows
    are cancelled in steps after the commit; no worker claims or settles them in between.
    Into an external route, those that may have been sent are `uncertain` instead.
    """

    published: set[UUID]
    uncertain: set[UUID]
    failed: set[UUID]
    unsent: set[UUID]
    given_up: set[UUID]


class Controlled(Replaying):
    """A replay, its users, and servers that drive it.

    Attributes:
        batch: of the replay.
        allowed: while the replay is paused: the messages that may start.
        kept: since it was cancelled: the messages that may start.
        may_be_sent: those that the cancel has counted as uncertain, into an external route.
        published: the highest number of published messages that was read.
    """

    external = False
    restarted = (*Replaying.restarted, "watcher")
    operations: ClassVar[Sequence[str]] = (
        *("pause", "pause", "pause", "pause", "resume", "resume", "resume", "retry", "retry"),
        *("cancel", "cancel", "withdraw", "rate", "depth", "unpaced"),
    )

    def __init__(self, seed: int, *, catalog: type[Catalog] = Catalog, **options: Any) -> None:
        self.allowed: set[UUID] | None = None
        self.kept: set[UUID] | None = None
        self.may_be_sent: set[UUID] = set()
        self.published = 0
        self.batch = uuid7()
        super().__init__(seed, catalog=catalog, **options)

    def budget(self) -> Counter[str]:
        choice = self.rng.choice
        return Counter(
            crash=4,
            lose=1,
            lapse=3,
            late=3,
            full=choice([0, 2]),
            away=choice([0, 2]),
            refuse=choice([0, 0, 2]),
            unanswered=4,
            no_store=choice([0, 1]),
            no_listing=choice([0, 0, 0, 1]),
            fail=choice([0, 3]),
            operation=choice([1, 2, 3, 5, 8]),
        )

    def prepare(self) -> None:
        choice = self.rng.choice
        self.page = choice([1, 1, 2, 2, 3, 1000])
        self.catalog.sizes.window = max(self.page, choice([1, 2, 3]))
        self.catalog.sizes.step_rows = choice([1, 2, 1000])
        paths = [f"k{n}" for n in range(choice([2, 6, 9]))] + choice([[], [], [BAD_PATH]])
        limit = choice([None, None, None, 4])
        self.objects = set(sorted(paths)[:limit])
        paces = (None, None, RatePace(2), DepthPace(2))
        managed = {"selection": Selection(limit=limit) if limit else None, "pace": choice(paces)}
        is_managed = limit or managed["pace"] or self.rng.random() < 0.5
        replay = self.open(self.put(paths), managed if is_managed else None, batch=self.batch)
        self.job = replay.execution_id
        self.crew = (*self.crew, *choice([(), ("watcher",), ("caller",)]))

    # -- processes ---------------------------------------------------------------------------------

    async def watcher(self, name: str) -> None:
        while True:
            await until_answered(partial(self.catalog.replay, self.batch, work=False))

    async def caller(self, name: str) -> None:
        """Wait for the end as a client does, again after each answer that is not the last one."""
        service = self.replays(name)
        created = await until_answered(partial(self.catalog.replay, self.batch, work=False))
        assert created
        while True:
            try:
                answer = await service.wait(created)
            except ReplayContinues:
                await step()
                continue
            if answer.objects_found != answer.objects_published + answer.objects_failed:
                self.bad.append("the numbers of an answer do not add up")
            if answer.state not in OPEN_REPLAY_STATES:
                return
            await step()

    def operate(self, what: str) -> None:
        """Start a process that handles a request of a user."""
        requests: dict[str, Callable[[ControlService], Awaitable[Replay]]] = {
            "pause": lambda service: service.pause(self.batch),
            "resume": lambda service: service.resume(self.batch),
            "retry": lambda service: service.retry(self.batch),
            "cancel": lambda service: service.cancel(self.batch),
            "withdraw": lambda service: service.cancel(self.batch, withdraw=True),
            "rate": lambda service: service.set_pace(self.batch, RatePace(self.rng.choice([0.5, 2, 20]))),
            "depth": lambda service: service.set_pace(self.batch, DepthPace(self.rng.choice([1, 3]))),
            "unpaced": lambda service: service.set_pace(self.batch, None),
        }
        self.start("user", partial(self.user, request=requests[what]))

    async def user(self, name: str, request: Callable[[ControlService], Awaitable[Replay]]) -> None:
        replays = self.replays(name)

        def drive(job: UUID) -> None:
            Concurrent(self, name, replays.drives.drive(job))

        service = ControlService(self.catalog, drive=drive)
        for _ in range(3):
            try:
                await request(service)
            except Unavailable:
                await step()  # the client repeats the request
            except Conflict:
                return
            else:
                return

    # -- the schedule ------------------------------------------------------------------------------

    def fault(self) -> bool:
        if super().fault():
            return True
        # Most requests come while messages are published.
        if self.strikes("operation", 0.05 if self.broker.sent else 0.005):
            self.operate(self.rng.choice(self.operations))
            return True
        return False

    def tend(self) -> None:
        """In the calm phase, a user wants the replay to be finished."""
        if not self.quiet or self.processes("user") or self.rng.random() > 0.05:
            return
        state = self.now_read().state
        if state in ("paused", "stalled"):
            self.operate("resume")
        elif state == "partial_failure" and self.can_retry():
            self.operate("retry")

    def can_retry(self) -> bool:
        """Whether messages of the replay were refused, or its listing was abandoned."""
        ((listing, refused),) = self.catalog.con.execute(
            "SELECT j.listing_state, (SELECT count(*) FROM messages m WHERE m.execution = j.execution "
            "AND m.ordinal IS NOT NULL AND m.error_code = 'publish_refused') "
            "FROM jobs j JOIN executions e ON e.n = j.execution WHERE e.id = ?",
            [self.job.bytes],
        )
        return self.is_wanted and (listing == "dead" or refused > 0)

    def now_read(self) -> Replay:
        found = at_once(MemoryCatalog.replay(self.catalog, self.batch, work=False))
        assert isinstance(found, Replay)
        return found

    def has_settled(self) -> bool:
        is_open = self.now_read().state in OPEN_REPLAY_STATES or self.processes("user")
        return super().has_settled() and not is_open and not self.can_retry()

    # -- what must hold ----------------------------------------------------------------------------

    @property
    def is_wanted(self) -> bool:
        return self.kept is None and not self.cancelled

    def roots_now(self) -> Roots:
        """Sort the messages of the replay by what its numbers mean."""
        con = self.catalog.con
        ((n, state, watermark, paid),) = con.execute(
            "SELECT j.execution, j.state, j.watermark, j.paid "
            "FROM jobs j JOIN executions e ON e.n = j.execution WHERE e.batch = ?",
            [self.batch.bytes],
        )
        window = range(watermark + 1, watermark + self.catalog.sizes.window + 1)
        roots = Roots(set(), set(), set(), set(), set())
        for raw, ordinal, row_state, published, code in con.execute(
            "SELECT id, ordinal, state, published, error_code FROM messages "
            "WHERE execution = ? AND ordinal IS NOT NULL",
            [n],
        ):
            if row_state == DEAD and code in ("publish_refused", "invalid_key"):
                kind = roots.failed
            elif published in (0, 1) or (published is None and ordinal <= watermark):
                kind = roots.published
            elif row_state == CANCELLED or (state == "cancelled" and published == -1 and not self.external):
                kind = roots.given_up
            elif published == -1 or row_state == UNCERTAIN:
                kind = roots.uncertain
            else:
                assert row_state == PENDING
                may_be_sent = ordinal in window and (paid is None or ordinal <= paid)
                is_stopped = state == "paused" or (state == "cancelled" and self.external)
                kind = roots.uncertain if is_stopped and may_be_sent else roots.unsent
            kind.add(UUID(bytes=raw))
        return roots

    def check(self, answer: Replay) -> None:
        """Compare the numbers of an answer with the rows of this moment."""
        roots = self.roots_now()
        found = sum(len(kind) for kind in roots)
        failed = len(roots.failed)
        if answer.state == "cancelled":
            failed = found - len(roots.published) - len(roots.uncertain)
            if any(line.endswith(f": {WILL_BE_SETTLED}") for line in answer.errors or ()):
                self.bad.append("an error of a cancelled replay says that a message will be settled")
        want = (found, len(roots.published), failed, len(roots.uncertain))
        is_closed = answer.state in ("publishing_complete", "partial_failure")
        numbers = (
            *(answer.objects_found, answer.objects_published),
            *(answer.objects_failed, answer.objects_uncertain),
        )
        if numbers != want:
            self.bad.append(f"numbers differ from the rows ({answer.state})")
        if answer.state != "cancelled" and roots.given_up:
            self.bad.append("rows are cancelled, but the replay is not")
        if is_closed and (roots.uncertain or roots.unsent):
            self.bad.append("publishing has ended, but not of every message")
        if not roots.published <= self.broker.sent.keys():
            self.bad.append("a message counts as published, and was never sent")
        if answer.objects_published < self.published:
            self.bad.append("fewer messages are published than before")
        self.published = answer.objects_published
        if self.kept is not None and roots.published != self.kept:
            self.bad.append("the messages that cancel has counted as published have changed")
        if self.kept is not None and roots.uncertain != self.may_be_sent:
            self.bad.append("the messages that cancel has counted as uncertain have changed")

    def note_commit(self) -> None:
        """Note what may start from this commit on."""
        found = self.catalog.con.execute(
            "SELECT e.status, j.state FROM executions e JOIN jobs j ON j.execution = e.n WHERE e.batch = ?",
            [self.batch.bytes],
        ).fetchone()
        if found is None:  # it is being created
            return
        status, state = found
        if state != "paused":
            self.allowed = None
        elif self.allowed is None:
            roots = self.roots_now()
            self.allowed = roots.published | roots.uncertain
        if state == "cancelled" and self.kept is None:
            roots = self.roots_now()
            self.kept, self.may_be_sent = roots.published, roots.uncertain
        self.cancelled = status == "cancelled"

    def note_start(self, claim: Claim) -> None:
        super().note_start(claim)
        cid = claim.correlation_id
        is_root = claim.stage == STAGE
        if is_root and self.allowed is not None and cid not in self.allowed:
            self.bad.append("started in a pause that counted it as unsent")
        if is_root and self.kept is not None and cid not in self.kept:
            self.bad.append("started after a cancel that did not count it as published")

    def audit(self) -> list[str]:
        replay = self.now_read()
        self.check(replay)
        bad = super().audit()
        if replay.state in OPEN_REPLAY_STATES:
            bad.append(f"its publishing has not ended: {replay.state}")
        rows = {row.correlation_id: row for row in self.lineage()}
        ended = {"completed", "dead"} | ({"cancelled"} if self.cancelled else set())
        roots = self.roots_now()
        if any(rows[cid].status not in ended for cid in roots.published):
            bad.append("a message counts as published, and was never processed")
        if self.is_wanted and sum(len(kind) for kind in roots) - len(roots.published) > (
            BAD_PATH in self.objects
        ):
            bad.append("finished, but a message was never published")
        return bad


class IntoExternal(Controlled):
    """A replay into an external route: another program receives its messages, and no worker claims them."""

    config = Config("model", "first", {"first": Route("first", "q.first", external=True)})
    external = True

    async def worker(self, name: str) -> None:
        while True:
            await self.broker.ack(await self.broker.receive("q.first", 4))
            await step()

    def audit(self) -> list[str]:
        roots = self.roots_now()
        for cid in roots.published & self.broker.sent.keys():
            self.completed[cid].add(0)  # by the broker's answer
        bad = super().audit()
        if self.broker.sent.keys() & (roots.given_up | roots.unsent):
            bad.append("a message was sent, and counts as never sent")
        return bad
