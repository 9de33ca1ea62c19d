"""Random schedules over the real services: crashes, takeovers, redeliveries, losses, lapses, cancels.

The services run on backends in memory; the catalog is the real one, over SQLite. Every transaction of the
catalog, and every method of the broker and the store, pauses once at its start. So a schedule only chooses
which coroutine takes the next step. A pause of any length, a lapsed lease and a
zombie are choices of a schedule, and a crash is a coroutine that is closed. Each schedule ends with a calm
phase without faults. Then the invariants are checked, through the port and in the bytes of the store.

`PLAYHEAD_TEST_SCHEDULES=20000` runs more schedules. A failure names its seed.
"""

from __future__ import annotations

import hashlib
import os
import random
import types
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import pytest

from playhead.backends.sql import RUNNING
from playhead.backends.sql.session import Session
from playhead.engine.attempt import AttemptOutcome, ClaimedMessage
from playhead.engine.deliveries import HeldDelivery, State
from playhead.engine.environment import Backends, Environment, Spawn
from playhead.engine.outputs import Product
from playhead.envelope import Dispatch
from playhead.errors import Unavailable, catalog_unavailable
from playhead.events import LOG
from playhead.ids import uuid7
from playhead.keys import is_sidecar
from playhead.model import Config, ErrorHandling, Lineage, Route
from playhead.ports.broker import CONFIRMED, PublishResult
from playhead.ports.catalog.jobs import Input, LeasedJob, Since
from playhead.ports.catalog.upkeep import Process
from playhead.ports.catalog.work import (
    Binding,
    Bound,
    Claim,
    Done,
    Failed,
    Finished,
    Refusal,
    Result,
    Unbound,
)
from playhead.ports.store import Blob
from playhead.services.reconcile import ReconcileService
from playhead.services.replay import ReplayService
from tests.attempts import Steps
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog
from tests.store_memory import MemoryStore

T = TypeVar("T")

SCHEDULES = int(os.environ.get("PLAYHEAD_TEST_SCHEDULES", "500"))
OBJECTS = ("k0", "k1", "k2")
BEAT, LEASE, VISIBILITY = 1.0, 6.0, 5.0

CONFIG = Config(
    "model",
    "split",
    {
        "split": Route(
            "split", "q.split", stage="parts", to=("left", "right"), errors=ErrorHandling(6, 1, 1, 1)
        ),
        "left": Route("left", "q.left", errors=ErrorHandling(6, 1, 1, 1)),
        "right": Route("right", "q.right", stage="ends", errors=ErrorHandling(6, 1, 1, 1)),
    },
)


@types.coroutine
def step() -> Generator[None, None, None]:
    """Hand the turn back to the schedule."""
    yield


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end as one uninterrupted step."""
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        return end.value


async def until_answered(work: Callable[[], Awaitable[T]]) -> T:
    """Repeat unanswered calls, as a consumer does."""
    while True:
        try:
            return await work()
        except Unavailable:
            await step()


def part(path: str, data: bytes) -> Product:
    return Product(path, data, "text/plain", {})


class Broker(MemoryBroker):
    """Sometimes does not answer in time: it has the dispatch, but its publisher gets no confirmation."""

    world: World

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        outcomes = []
        for dispatch in dispatches:
            if dispatch.headers.route in self.world.skipped:
                self.world.bad.append("a message of a skipped route was published")
            await super().publish([dispatch])
            late = self.world.left("late") and self.world.rng.random() < 0.3
            outcomes.append(PublishResult("uncertain", "no answer") if late else CONFIRMED)
        return outcomes

    def lose_one(self) -> None:
        full = [q for q in self._queues.values() if q]
        if full:
            queue = self.world.rng.choice(full)
            queue.pop(self.world.rng.randrange(len(queue)))


class Catalog(MemoryCatalog):
    """Records what the invariants need: completed attempts, and claims after a cancel was answered.

    Sometimes the answer to a worker is lost.
    """

    world: World

    async def claim(self, worker: str, ids: Sequence[UUID], **options: Any) -> list[Claim | Refusal]:
        answers = await super().claim(worker, ids, **options)
        if self.world.cancelled and any(isinstance(a, Claim) for a in answers):
            self.world.bad.append("work started after cancel was answered")
        self._maybe_lose_answer()
        return answers

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        answers = await super().bind(bindings)
        self._maybe_lose_answer()
        return answers

    def _maybe_lose_answer(self) -> None:
        if self.world.rng.random() < 0.1 and self.world.left("unanswered"):
            raise catalog_unavailable("the connection broke after the commit")

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        answers = await super().finish(publisher, results)
        for result, answer in zip(results, answers, strict=True):
            if answer is not None and isinstance(result, Done):
                self.world.completed[result.correlation_id].add(result.attempt)
        self._maybe_lose_answer()
        return answers


class Store(MemoryStore):
    """Reports when a key is overwritten with other bytes."""

    world: World

    async def write(
        self, groups: Sequence[Sequence[Blob]], *, written: Callable[[str], None] | None = None
    ) -> list[Any]:
        for group in groups:
            for key, data, _ in group:
                held = at_once(MemoryStore.read(self.world.still, [key]))[0]
                if held is not None and held != data:
                    self.world.bad.append("the bytes of a bound key changed")
        return await super().write(groups, written=written)


class Concurrent:
    """Work that runs next to the main coroutine of a process, and dies with it."""

    def __init__(self, world: World, process: str, work: Coroutine[Any, Any, None]) -> None:
        self._world = world
        self._name = f"{process}'"
        world.running[self._name] = work
        world.weights[self._name] = world.rng.choice([1, 1, 4, 12])

    def __await__(self) -> Generator[None, None, None]:
        while self._name in self._world.running:
            yield

    def cancel(self) -> None:
        if work := self._world.running.pop(self._name, None):
            work.close()


class Sequential:
    """Work that runs when it is awaited."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, None, None]:
        return self._work.__await__()

    def cancel(self) -> None:
        self._work.close()

    __del__ = cancel  # its process may have crashed before it was awaited


class World:
    """One schedule: the backends, the processes, and how many faults of each kind are left.

    Attributes:
        skipped: routes whose effects the job does not repeat.
    """

    skipped: Sequence[str] = ()

    def __init__(self, seed: int, *, catalog: type[Catalog] = Catalog, reconciler: bool = True) -> None:
        self.rng = rng = random.Random(seed)
        self.now = 1_000.0
        self.beat_at = self.now
        self.bad: list[str] = []
        self.cancelled = False
        self.completed: defaultdict[UUID, set[int]] = defaultdict(set)
        self.tries: Counter[UUID] = Counter()
        self.read: dict[UUID, bytes] = {}
        self.faults = Counter(
            crash=6,
            lose=1,
            lapse=3,
            late=4,
            unanswered=4,
            fail=rng.choice([0, 3, 9]),
            resend=2,
            server=3,  # the fifth acquisition without progress stalls a job, as designed
            cancel=rng.choice([0, 0, 0, 1]),
        )
        self.fickle = rng.random() < 0.7
        self.page = rng.choice([1, 1, 2, 1000])
        self.catalog = catalog(clock=self.clock, heartbeat_seconds=BEAT, pause=step)
        self.catalog.world = self
        self.broker = Broker(clock=self.clock, visibility=VISIBILITY, pause=step)
        self.broker.world = self
        self.store = Store(pause=step)
        self.store.world = self
        self.still = MemoryStore()
        self.still._objects, self.still._keys = self.store._objects, self.store._keys
        self.count = 0
        self.running: dict[str, Coroutine[Any, Any, None]] = {}
        self.weights: dict[str, int] = {}
        self.reconciling = reconciler
        self.source, self.job = self.prepare()

    def clock(self) -> float:
        return self.now

    def left(self, fault: str) -> bool:
        if self.faults[fault] <= 0:
            return False
        self.faults[fault] -= 1
        return True

    def prepare(self) -> tuple[UUID, UUID]:
        """Seal a run; its execution is the job."""
        at_once(self.catalog.save_config(CONFIG, source="", digest="d"))
        run = self.sealed({path: path.encode() for path in OBJECTS})
        return run, run

    def sealed(self, files: Mapping[str, bytes], since: Since | None = None) -> UUID:
        """Seal a run of files (path to bytes)."""
        run = uuid7()
        at_once(self.catalog.open_run(run, "model", 1, tags=[], owner="p", lease=1, since=since))
        inputs = [Input(p, len(d), hashlib.sha256(d).digest(), "text/plain") for p, d in files.items()]
        referred = at_once(self.catalog.bind_inputs(run, inputs, takes_over=since is not None))
        blobs = [Blob(f"{run}/input/{path}", data) for path, data in files.items()]
        at_once(self.still.write([[blob] for blob in blobs if blob.key not in referred]))
        at_once(self.catalog.seal(run))
        self.objects = set(files)
        return run

    # -- processes ---------------------------------------------------------------------------------

    def start(self, kind: str) -> None:
        self.count += 1
        name = f"{kind}{self.count}"
        at_once(self.catalog.heartbeat(Process(name, "worker", "h", self.count)))
        make: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "worker": self.worker,
            "server": self.server,
            "keeper": self.keeper,
        }
        self.running[name] = make[kind](name)
        self.weights[name] = self.rng.choice([1, 1, 4, 12])

    def environment(self, name: str, spawn: Spawn) -> Environment:
        return Environment(name, sleep=lambda seconds: step(), clock=self.clock, spawn=spawn)

    async def server(self, name: str) -> None:
        service = ReplayService(
            Backends(self.catalog, self.broker, self.store),
            self.environment(name, partial(Concurrent, self, name)),
            lease=LEASE,
            settle=30,
            page=self.page,
        )
        await service.drives.drive(self.job)

    async def keeper(self, name: str) -> None:
        env = self.environment(name, Sequential)
        service = ReconcileService(self.catalog, self.broker, env, lease=LEASE)
        while True:
            if self.reconciling:
                await service.cycle()
                await service.find_lost()
            await step()

    async def worker(self, name: str) -> None:
        env = self.environment(name, Sequential)
        steps = Steps(self.catalog, self.broker, self.store, env, max_object_bytes=1 << 20)
        while True:
            queue = self.rng.choice(["q.split", "q.left", "q.right"])
            held = steps.deliveries.receive(await self.broker.receive(queue, self.rng.choice([1, 1, 2, 4])))
            if not held:
                continue
            await self.process(steps, held)
            for suspect in steps.deliveries.in_state(State.SUSPECTED):
                steps.deliveries.move(suspect, State.RECEIVED)
                await self.process(steps, [suspect], alone=True)

    async def process(self, steps: Steps, held: Sequence[HeldDelivery], *, alone: bool = False) -> None:
        """Process deliveries in one batch, as a consumer does whose chains take one step."""
        taken = await until_answered(partial(steps.intake.take, held, alone=alone))
        await step()
        if not taken.claimed:
            return
        batch = [self.adapter(one) for one in taken.claimed]
        steps.end_chains(batch)
        stored = await until_answered(partial(steps.binder.store, batch))
        await until_answered(partial(steps.completion.end, batch, stored))

    def adapter(self, one: ClaimedMessage) -> AttemptOutcome:
        """Run an adapter: if the schedule is fickle, `split` returns other outputs at each attempt."""
        claim = one.claim
        if one.problem:
            return AttemptOutcome(one, result=one.problem)
        if self.faults["fail"] > 0 and self.rng.random() < 0.4:
            self.faults["fail"] -= 1
            delay = 1.0 if claim.spent < 6 and self.rng.random() < 0.8 else None
            return AttemptOutcome(
                one, result=Failed(claim.correlation_id, claim.attempt, "adapter_error", "x", None, delay)
            )
        self.tries[claim.correlation_id] += 1
        n = self.tries[claim.correlation_id] if self.fickle else 1
        assert one.data is not None
        self.read[claim.correlation_id] = one.data
        if claim.route == "split":
            names = {1: "ab", 2: "ac", 3: "a", 4: ""}.get(n, "abc")
            return AttemptOutcome(
                one, "parts", [part(f"{claim.path}/{x}", f"{claim.path}{x}#{n}".encode()) for x in names]
            )
        if claim.route == "right":
            return AttemptOutcome(one, "ends", [part(claim.path, one.data + b"!%d" % n)])
        return AttemptOutcome(one)

    # -- the schedule ------------------------------------------------------------------------------

    def processes(self) -> list[str]:
        return sorted(name for name in self.running if not name.endswith("'"))

    def beat(self) -> None:
        """Every process beats, unless no time has passed since it did: another beat would change nothing."""
        if self.beat_at == self.now:
            return
        self.beat_at = self.now
        for name in self.processes():
            at_once(self.catalog.heartbeat(Process(name, "worker", "h", 1)))

    def fault(self) -> bool:
        """Perhaps inject a fault; return True if this turn was a fault."""
        x = self.rng.random()
        if x < 0.02 and self.running and self.left("crash"):
            name = self.rng.choice(self.processes())
            kind = name.rstrip("0123456789")
            if kind == "server" and not self.left("server"):
                return False
            # Its concurrent work first: closing a process cancels what it spawned.
            if concurrent := self.running.pop(f"{name}'", None):
                concurrent.close()
            self.running.pop(name).close()
            if kind != "server":
                self.start(kind)
            return True
        if x < 0.03 and self.left("lose"):
            self.broker.lose_one()
            return True
        if x < 0.05 and self.left(
            "lapse"
        ):  # every process counts as dead, and every lease and visibility expires
            self.now += max(6 * BEAT, LEASE, VISIBILITY) + 1
            return True
        if x < 0.055 and self.faults["cancel"] > 0:
            self.cancel()
            return True
        if x < 0.065 and self.faults["resend"] > 0:
            dead = self.lineage(status="dead")
            if dead and not self.cancelled:
                self.faults["resend"] -= 1
                at_once(self.catalog.resend(ids=[self.rng.choice(dead).correlation_id]))
            return True
        return False

    def cancel(self) -> None:
        self.faults["cancel"] -= 1
        if at_once(self.catalog.execution(self.job)).status == "running":
            at_once(self.catalog.cancel(self.job))
            self.cancelled = True

    def run(self) -> list[str]:
        rng = self.rng
        for kind in ("server", "worker", "worker", "worker", "keeper", "keeper"):
            self.start(kind)
        calm = rng.randrange(100, 500)
        for turn in range(30_000):
            quiet = turn > calm
            if quiet:
                self.faults.clear()
            elif self.fault():
                continue
            if rng.random() < 0.2:
                self.now += rng.choice([0.05, 0.3, 1.0])
            if quiet or rng.random() < 0.2:
                self.beat()
            if rng.random() < 0.03 and not any(n.startswith("server") for n in self.running):
                self.start("server")
            elif rng.random() < 0.005 and self.left("server"):
                self.start("server")  # next to a live one: the second must change nothing
            name = rng.choices(sorted(self.running), [self.weights[n] for n in sorted(self.running)])[0]
            try:
                self.running[name].send(None)
            except StopIteration:
                del self.running[name]
            if turn % 50 == 0 and quiet and self.has_settled():
                break
        for name in [*self.running]:
            if work := self.running.pop(name, None):
                work.close()
        return self.bad + self.audit()

    def has_settled(self) -> bool:
        execution = at_once(self.catalog.execution(self.job))
        return execution.status != "running" and not execution.counts.pending

    # -- what must hold ----------------------------------------------------------------------------

    def lineage(self, **where: Any) -> list[Lineage]:
        rows, more = at_once(self.catalog.lineage_list(execution=self.job, limit=1000, **where))
        assert more is None
        return list(rows)

    def stored(self) -> dict[str, bytes]:
        return {k: d for k, (d, _) in self.still._objects.items() if not is_sidecar(k)}

    def audit(self) -> list[str]:
        bad = []
        execution = at_once(self.catalog.execution(self.job))
        rows = self.lineage()
        states = Counter(r.status for r in rows)
        if execution.status == "running":
            bad.append("it hangs: never ended")
        if any(states[s] for s in ("pending", "running", "retry")):
            bad.append("open rows forever")
        want = "cancelled" if self.cancelled else "failed" if states["dead"] else "completed"
        if execution.status not in (want, "running"):
            bad.append(f"it is {execution.status}, not {want}")
        if execution.counts.total != len(rows) or sum(states.values()) != len(rows):
            bad.append("counts do not add up")
        roots = [r for r in rows if r.parent_correlation_id is None]
        keys = Counter(r.input_key.rpartition("/")[2] for r in roots)
        if max(keys.values(), default=0) > 1 or (not self.cancelled and set(keys) != self.objects):
            bad.append(f"roots are {dict(keys)}")
        children = defaultdict(list)
        for r in rows:
            children[r.parent_correlation_id].append(r)
        stored = self.stored()
        for r in rows:
            if len(self.completed[r.correlation_id]) > 1:
                bad.append("a message was completed twice")
            if r.status == "completed" and not self.completed[r.correlation_id]:
                bad.append("a completed message that no attempt completed")
            if r.status not in ("completed", "taken_over") and r.output_keys:
                bad.append("a message that did not complete has stored outputs")
            if (
                r.status == "completed"
                and r.route == "left"
                and self.read[r.correlation_id] != stored[r.input_key]
            ):
                bad.append("a child read other bytes than the store holds")
            if r.route == "split":
                kids = Counter((c.input_key, c.route) for c in children[r.correlation_id])
                if kids != Counter((k, route) for k in r.output_keys for route in ("left", "right")):
                    bad.append("children differ from stored outputs times routes")
                attempts = {stored[k].rpartition(b"#")[2] for k in r.output_keys if k in stored}
                if len(attempts) > 1:
                    bad.append("a stage holds outputs of two attempts of one message")
            if any(k not in stored for k in r.output_keys):
                bad.append("a stored output is not in the store")
        listed = [k for k in sorted(stored) if k.startswith(f"{self.job}/parts/")]
        visible = set(listed) - at_once(self.catalog.unstored(listed))
        if visible != {k for r in rows for k in r.output_keys if "/parts/" in k}:
            bad.append("what a replay would list differs from what the rows hold")
        return bad


class Incremental(World):
    """A run, and then one that takes over its results; each with faults."""

    def run(self) -> list[str]:
        faults = self.faults.copy()
        self.bad = super().run()
        earlier = {_place(r): r for r in self.lineage()}
        source, self.source = self.job, self.job
        self.faults, self.cancelled = faults, False
        changed = self.rng.choice([None, "split", "left", "right"])
        since = Since(source, {route: None for route in CONFIG.routes if route != changed})
        text = self.rng.choice([b"k1", b"changed"])
        self.job = self.sealed({"k0": b"k0", "k1": text, "new": b"new"}, since)
        self.bad = super().run()
        rows = self.lineage()
        by_id = {r.correlation_id: r for r in rows}
        for r in rows:
            parent, twin = by_id.get(r.parent_correlation_id or r.correlation_id), earlier.get(_place(r))
            is_below = r.parent_correlation_id is None or (parent and parent.status == "taken_over")
            is_same = text == b"k1" or not _place(r)[1].startswith("input/k1")
            is_valid = bool(is_below and is_same and twin and twin.status in ("completed", "skipped"))
            if (r.status == "taken_over") != (is_valid and r.route != changed):
                self.bad.append("what is valid is processed, or what is not valid is taken over")
            if r.status == "taken_over" and (self.tries[r.correlation_id] or not twin):
                self.bad.append("what is taken over is processed")
            elif r.status == "taken_over" and twin and r.taken_over_from != twin.correlation_id:
                self.bad.append("something else is taken over")
        return self.bad

    def stored(self) -> dict[str, bytes]:
        held = super().stored()
        references = at_once(self.catalog.references(str(self.job), limit=1000))
        return held | {one.key: held[one.location] for one in references}


class Skipping(World):
    """A replay that does not repeat the effects of a route, with faults."""

    skipped = ("left",)

    def prepare(self) -> tuple[UUID, UUID]:
        source, _ = super().prepare()
        at_once(self.catalog.cancel(source))
        opened = at_once(
            self.catalog.open_replay(
                batch=uuid7(),
                source=source,
                stage="input",
                path=None,
                prefix=f"{source}/input",
                to_route="split",
                config="model",
                version=1,
                route="split",
                effects=dict.fromkeys(self.skipped, "skip"),
            )
        )
        return source, opened.replay.execution_id

    def audit(self) -> list[str]:
        bad = super().audit()
        for row in self.lineage():
            if row.route in self.skipped and (row.attempts or self.tries[row.correlation_id]):
                bad.append("an effect was repeated")
            if row.route in self.skipped and row.status not in ("skipped", "cancelled"):
                bad.append(f"a message of a skipped route is {row.status}")
        return bad


def _place(row: Lineage) -> tuple[str, str]:
    """The route and the input of a message, in any execution."""
    return row.route, row.input_key.partition("/")[2]


def run_schedules(
    count: int, first: int = 0, kind: type[World] = World, **world: Any
) -> tuple[Counter[str], list[int]]:
    found: Counter[str] = Counter()
    seeds = []
    for seed in range(first, first + count):
        bad = kind(seed, **world).run()
        if bad:
            seeds.append(seed)
            found.update(set(bad))
    return found, seeds


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    LOG.disabled = True
    yield
    LOG.disabled = False


def test_no_schedule_of_faults_breaks_a_guarantee():
    found, seeds = run_schedules(SCHEDULES)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


def test_no_schedule_of_faults_breaks_a_run_that_takes_over_results():
    found, seeds = run_schedules(SCHEDULES // 5, kind=Incremental)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


def test_no_schedule_of_faults_repeats_an_effect_that_a_replay_skips():
    found, seeds = run_schedules(SCHEDULES // 5, kind=Skipping)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


# -- the test can fail: without a rule, schedules find violations -------------------------------------


class Tokenless(Catalog):
    """Without rule 2: any attempt may finish."""

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        await step()
        for result in results:
            if isinstance(result, Done):
                token = RUNNING, result.attempt, result.correlation_id.bytes
                self.con.execute("UPDATE messages SET state = ?, attempt = ? WHERE id = ?", token)
        answers: list[Finished | None] = at_once(super().finish(publisher, results))
        return answers


class Bindless(Catalog):
    """Without rule 4: an attempt overwrites the keys of the one before."""

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        answers = await super().bind(bindings)
        blind: list[list[Bound] | Unbound | None] = []
        for binding, answer in zip(bindings, answers, strict=True):
            if isinstance(answer, list):
                blind.append(
                    [
                        b._replace(key=b.key[: len(b.key) - len(b.path)] + o.path, path=o.path)
                        for b, o in zip(answer, binding.outputs, strict=True)
                    ]
                )
            else:
                blind.append(answer)
        return blind


class Fenceless(Catalog):
    """Without rule 7: a page is recorded whatever its epoch and cursor are."""

    async def _leased(self, db: Session, held: LeasedJob, *, lock: bool = True) -> Any:
        of = "execution = (SELECT n FROM executions WHERE id = ?)"
        self.con.execute(f"UPDATE jobs SET epoch = ?, cursor = '' WHERE {of}", (held.epoch, held.job.bytes))
        return await super()._leased(db, held, lock=lock)


class Contentless(Catalog):
    """Without a comparison of contents: an input with the same path is taken for unchanged."""

    async def bind_inputs(
        self, execution: UUID, inputs: Sequence[Input], *, takes_over: bool = False
    ) -> set[str]:
        found = self.con.execute("SELECT key, size, sha256 FROM outputs WHERE key LIKE '%/input/%'")
        known = {key.rpartition("/")[2]: (size, sha256) for key, size, sha256 in found}
        same = [Input(i.path, *known.get(i.path, (i.size, i.sha256)), i.content_type) for i in inputs]
        return await super().bind_inputs(execution, same, takes_over=takes_over)


class Late(Catalog):
    """Skipped messages are inserted like others: only their claim closes them."""

    async def _insert_skipped(self, db: Session, family: Sequence[Any], origins: Any) -> list[Any]:
        return list(family)


def test_if_only_the_claim_skips_a_route_schedules_find_violations():
    violations = [line for seed in range(10) for line in Skipping(seed, catalog=Late).run()]
    assert "a message of a skipped route was published" in violations
    assert "an effect was repeated" not in violations


def test_without_a_comparison_of_contents_schedules_find_violations():
    violations = (line for seed in range(20) for line in Incremental(seed, catalog=Contentless).run())
    assert any("not valid is taken over" in line for line in violations)


@pytest.mark.parametrize(
    ("world", "schedules", "what"),
    [
        ({"reconciler": False}, 20, "it hangs"),
        ({"catalog": Tokenless}, 100, "children differ"),
        ({"catalog": Bindless}, 100, "bytes of a bound key"),
        ({"catalog": Fenceless}, 100, "roots"),
    ],
    ids=["no reconciler", "no token", "no binding", "no fence"],
)
def test_without_a_rule_schedules_find_violations(world: dict[str, Any], schedules: int, what: str):
    violations = (line for seed in range(schedules) for line in World(seed, **world).run())
    assert any(what in line for line in violations)
