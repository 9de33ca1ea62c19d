"""A world for random schedules: the real services on backends in memory, and faults at every step.

Every transaction of the catalog, and every method of the broker and the store, pauses once at its start. So a
schedule only chooses which coroutine takes the next step. A pause of any length, a lapsed lease and a zombie
are choices of a schedule, and a crash is a coroutine that is closed. Each schedule ends with a calm phase
without faults. Then the invariants are checked.

A `World` has the processes, the faults and what must hold for every execution. Subclasses add what is
processed, further processes, and further invariants.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from playhead.environment import Backends, Environment, Spawn
from playhead.model import Config, Lineage
from playhead.ports.catalog.upkeep import Process
from playhead.ports.catalog.work import (
    Claim,
    Failed,
)
from playhead.services.reconcile import ReconcileService
from playhead.services.replay import ReplayService
from playhead.steps.outputs import Product
from playhead.work.attempt import AttemptOutcome, ClaimedMessage
from playhead.work.deliveries import HeldDelivery, State
from tests.attempts import Steps
from tests.model.faulty import Broker, Catalog, Store, at_once, step, until_answered
from tests.store_memory import MemoryStore

T = TypeVar("T")

_WANTED = int(os.environ.get("PLAYHEAD_TEST_SCHEDULES", "0"))
_QUICK = 150
"""Schedules of a kind in `make test`, at most."""
BEAT, LEASE, VISIBILITY = 1.0, 6.0, 5.0


def schedules(one_in: int = 1) -> int:
    """Return the number of schedules of a kind to run: all that are asked for, or a share of them."""
    return _WANTED // one_in if _WANTED else min(_QUICK, 300 // one_in)


def part(path: str, data: bytes) -> Product:
    return Product(path, data, "text/plain", {})


class Concurrent:
    """Work that runs next to the main coroutine of a process, and dies with it."""

    def __init__(self, world: World, process: str, work: Coroutine[Any, Any, None]) -> None:
        self._world = world
        world.count += 1
        self._name = f"{process}'{world.count}"
        world.running[self._name] = work
        world.weights[self._name] = world.rng.choice([1, 1, 4, 12])

    def __await__(self) -> Generator[None, None, None]:
        while self._name in self._world.running:
            yield

    def cancel(self) -> None:
        self._world.end(self._name)


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
        config: what the messages go through.
        crew: the kinds of the processes that are started first.
        restarted: kinds of processes that are started again after a crash.
        calm: between which turns the calm phase begins.
        ticks: the seconds that pass, sometimes, before a turn.
        job: the execution whose rows are checked.
        objects: the paths of its roots.
        quiet: the calm phase has begun.
        cancelled: no message may start any more.
        skipped: routes whose effects the job does not repeat.
        is_wanted: all objects are to be processed.
    """

    config: ClassVar[Config]
    crew: Sequence[str] = ("server", "worker", "worker", "worker", "keeper", "keeper")
    restarted: Sequence[str] = ("worker", "keeper")
    calm: ClassVar[tuple[int, int]] = (100, 500)
    turns: ClassVar[int] = 15_000
    ticks: Sequence[float] = (0.05, 0.3, 1.0)
    skipped: Sequence[str] = ()
    job: UUID
    objects: set[str]

    def __init__(
        self,
        seed: int,
        *,
        catalog: type[Catalog] = Catalog,
        broker: type[Broker] = Broker,
        store: type[Store] = Store,
        reconciler: bool = True,
    ) -> None:
        self.rng = rng = random.Random(seed)
        self.now = 1_000.0
        self.beat_at = self.now
        self.quiet = False
        self.bad: list[str] = []
        self.cancelled = False
        self.completed: defaultdict[UUID, set[int]] = defaultdict(set)
        self.tries: Counter[UUID] = Counter()
        self.read: dict[UUID, bytes] = {}
        self.faults = self.budget()
        self.page = rng.choice([1, 1, 2, 1000])
        self.catalog = catalog(
            clock=self.clock, heartbeat_seconds=BEAT, pause=step, committed=self.note_commit
        )
        self.catalog.world = self
        self.broker = broker(clock=self.clock, visibility=VISIBILITY, pause=step)
        self.broker.world = self
        self.store = store(pause=step)
        self.store.world = self
        self.still = MemoryStore()
        self.still._objects, self.still._keys = self.store._objects, self.store._keys
        self.still._tags = self.store._tags
        self.count = 0
        self.running: dict[str, Coroutine[Any, Any, None]] = {}
        self.weights: dict[str, int] = {}
        self.reconciling = reconciler
        at_once(self.catalog.save_config(self.config, source="", digest="d"))
        self.prepare()

    def budget(self) -> Counter[str]:
        """Return how many faults of each kind there are."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Create the execution."""
        raise NotImplementedError

    def clock(self) -> float:
        return self.now

    def left(self, fault: str) -> bool:
        if self.faults[fault] <= 0:
            return False
        self.faults[fault] -= 1
        return True

    def strikes(self, fault: str, chance: float) -> bool:
        """Perhaps inject a fault, if one of its kind is left."""
        if self.faults[fault] <= 0 or self.rng.random() >= chance:
            return False
        self.faults[fault] -= 1
        return True

    # -- processes ---------------------------------------------------------------------------------

    def start(self, kind: str, make: Callable[[str], Coroutine[Any, Any, None]] | None = None) -> None:
        """Start a process; its method is named like its kind, if `make` is not given."""
        self.count += 1
        name = f"{kind}{self.count}"
        at_once(self.catalog.heartbeat(Process(name, "worker", "h", self.count)))
        self.running[name] = (make or getattr(self, kind))(name)
        self.weights[name] = self.rng.choice([1, 1, 4, 12])

    def end(self, name: str) -> None:
        """End a process in the middle of whatever it does, and what runs next to it first."""
        for one in [n for n in self.running if n.startswith(f"{name}'")] + [name]:
            if work := self.running.pop(one, None):
                work.close()

    def processes(self, kind: str = "") -> list[str]:
        return sorted(name for name in self.running if name.startswith(kind) and "'" not in name)

    def environment(self, name: str, spawn: Spawn) -> Environment:
        return Environment(name, sleep=lambda seconds: step(), clock=self.clock, spawn=spawn)

    def replays(self, name: str, **options: Any) -> ReplayService:
        """The part of a process that creates replays and drives jobs."""
        return ReplayService(
            Backends(self.catalog, self.broker, self.store),
            self.environment(name, partial(Concurrent, self, name)),
            lease=LEASE,
            settle=30,
            page=self.page,
            **options,
        )

    async def keeper(self, name: str) -> None:
        env = self.environment(name, Sequential)
        service = ReconcileService(self.catalog, self.broker, env, lease=LEASE)
        while True:
            if self.reconciling:
                await until_answered(service.cycle)
                await until_answered(service.find_lost)
            await step()

    async def worker(self, name: str) -> None:
        env = self.environment(name, Sequential)
        steps = Steps(self.catalog, self.broker, self.store, env, max_object_bytes=1 << 20)
        queues = [route.queue for route in self.config.routes.values()]
        while True:
            queue = self.rng.choice(queues)
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
        """Run an adapter, which may fail."""
        claim = one.claim
        if one.problem:
            return AttemptOutcome(one, result=one.problem)
        if self.strikes("fail", 0.4):
            delay = 1.0 if claim.spent < 6 and self.rng.random() < 0.8 else None
            return AttemptOutcome(
                one, result=Failed(claim.correlation_id, claim.attempt, "adapter_error", "x", None, delay)
            )
        self.tries[claim.correlation_id] += 1
        assert one.data is not None
        self.read[claim.correlation_id] = one.data
        return self.output(one, one.data, self.tries[claim.correlation_id])

    def output(self, one: ClaimedMessage, data: bytes, n: int) -> AttemptOutcome:
        """Return what an adapter makes of an object in its n-th run."""
        raise NotImplementedError

    def note_commit(self) -> None:
        """Look at what a transaction has committed, in the same step."""

    def note_start(self, claim: Claim) -> None:
        """Check whether a message may start."""
        if self.cancelled:
            self.bad.append("work started after cancel was answered")

    # -- the schedule ------------------------------------------------------------------------------

    def beat(self) -> None:
        """Every process beats, if it is time."""
        if self.now - self.beat_at < BEAT / 2:
            return
        self.beat_at = self.now
        names = self.processes()
        text = f"UPDATE processes SET heartbeat_at = ? WHERE id IN ({', '.join('?' * len(names))})"
        if self.catalog.con.execute(text, [self.now, *names]).rowcount < len(names):
            for name in names:  # those that were removed are inserted again
                at_once(self.catalog.heartbeat(Process(name, "worker", "h", 1)))

    def fault(self) -> bool:
        """Perhaps inject a fault; return True if this turn was a fault."""
        x = self.rng.random()
        if x < 0.02 and self.running and self.left("crash"):
            return self.crash(self.rng.choice(self.processes()))
        if x < 0.03 and self.left("lose"):
            self.broker.lose_one()
            return True
        if x < 0.05 and self.left("lapse"):
            # Every process counts as dead, and every lease and visibility expires.
            self.now += max(6 * BEAT, LEASE, VISIBILITY) + 1
            return True
        return False

    def crash(self, name: str) -> bool:
        self.end(name)
        kind = name.rstrip("0123456789")
        if kind in self.restarted:
            self.start(kind)
        return True

    def tend(self) -> None:
        """Start what is to be started in this turn."""

    def run(self) -> list[str]:
        rng = self.rng
        for kind in self.crew:
            self.start(kind)
        calm = rng.randrange(*self.calm)
        for turn in range(self.turns):
            self.quiet = turn > calm
            if self.quiet:
                self.faults.clear()
                self.broker.full_until = 0.0
            elif self.fault():
                continue
            if rng.random() < 0.2:
                self.now += self.rng.choice(self.ticks)
            if self.quiet or rng.random() < 0.2:
                self.beat()
            self.tend()
            names = sorted(self.running)
            name = rng.choices(names, [self.weights[n] for n in names])[0]
            try:
                self.running[name].send(None)
            except StopIteration:
                del self.running[name]
            except Exception as exc:
                self.end(name)
                self.bad.append(f"a process failed: {exc!r}")
            if turn % 50 == 0 and self.quiet and self.has_settled():
                break
        for name in [*self.running]:
            self.end(name)
        return self.bad + self.audit()

    def has_settled(self) -> bool:
        execution = at_once(self.catalog.execution(self.job))
        return execution.status != "running" and not execution.counts.pending

    # -- what must hold ----------------------------------------------------------------------------

    @property
    def is_wanted(self) -> bool:
        return not self.cancelled

    def lineage(self, **where: Any) -> list[Lineage]:
        rows, more = at_once(self.catalog.lineage_list(execution=self.job, limit=1000, **where))
        assert more is None
        return list(rows)

    def audit(self) -> list[str]:
        """Return what does not hold for the rows of the execution at the end."""
        bad = []
        execution = at_once(self.catalog.execution(self.job))
        rows = self.lineage()
        states = Counter(r.status for r in rows)
        if execution.status == "running":
            bad.append("it hangs: never ended")
        if any(states[s] for s in ("pending", "running", "retry")):
            bad.append("open rows forever")
        if execution.counts.total != len(rows) or sum(states.values()) != len(rows):
            bad.append("counts do not add up")
        keys = self.roots(rows)
        if max(keys.values(), default=0) > 1 or (self.is_wanted and set(keys) != self.objects):
            bad.append(f"roots are {dict(keys)}")
        for r in rows:
            if len(self.completed[r.correlation_id]) > 1:
                bad.append("a message was completed twice")
            if r.status == "completed" and not self.completed[r.correlation_id]:
                bad.append("a completed message that no attempt completed")
        return bad

    def roots(self, rows: Sequence[Lineage]) -> Counter[str]:
        """Return how many roots each object has, by its path in the stage."""
        return Counter(r.input_key.split("/", 2)[2] for r in rows if r.parent_correlation_id is None)


def run_schedules(
    count: int, first: int = 0, *, kind: type[World], **world: Any
) -> tuple[Counter[str], list[int]]:
    """Return how many schedules violate each invariant, and the seeds of those."""
    found: Counter[str] = Counter()
    seeds = []
    for seed in range(first, first + count):
        schedule = kind(seed, **world)
        if bad := schedule.run():
            seeds.append(seed)
            found.update(set(bad))
        schedule.catalog.con.close()  # it refers to the clock, which is the world's
    return found, seeds


def is_found(what: str, kind: type[World], most: int, *, first: int = 0, **world: Any) -> bool:
    """Return whether one of `most` schedules violates an invariant whose text contains `what`.

    Args:
        first: the seed to try first. One that is known to violate it saves the others.
    """
    seeds = (first, *range(most))
    return any(what in line for seed in seeds for line in kind(seed, **world).run())
