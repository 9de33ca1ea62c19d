"""Random schedules over reports and webhooks: crashes, expired leases, resends, lost answers of the receiver.

As in `test_schedules`, each transaction of the catalog, and each method of the store, is one step. A schedule
only chooses which coroutine takes the next one. A crash is a coroutine that is closed. After a calm phase,
the last end has a report, and each event has arrived under one id. At any time, a report that can be read is
complete, and is that of its end.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Coroutine, Generator, Mapping
from typing import Any, Final
from uuid import UUID

import pytest

from playhead.environment import Environment
from playhead.model import Replay
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.webhook import NotDelivered
from playhead.services.report import ReportService
from playhead.services.webhook import WebhookService
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock, Lab, MemoryDeployment
from tests.model.faulty import at_once, step
from tests.model.world import schedules
from tests.store_memory import MemoryStore

PATHS: Final = ("a", "b", "c", "d", "e")
LEASE: Final = 6.0


class _Spawned:
    """Part of the schedule until it has ended, or has crashed."""

    def __init__(self, processes: Mapping[str, object], name: str) -> None:
        self._processes = processes
        self._name = name

    def __await__(self) -> Generator[None, None, None]:
        while self._name in self._processes:
            yield

    def cancel(self) -> None:
        """Not needed: nothing is shut down here."""


class World:
    """A replay whose messages have ended, two reporters, two senders, and a client that resends messages."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.is_calm = False
        self.quiet = True
        self._numbers = itertools.count(1)
        self.clock = Clock()
        self.catalog = MemoryCatalog(clock=self.clock, heartbeat_seconds=1e6, pause=self.pause)
        self.store = MemoryStore(pause=self.pause)
        self.lab = MemoryDeployment(clock=self.clock, catalog=self.catalog, store=self.store).lab
        self.arrived: dict[tuple[str, int], set[UUID]] = defaultdict(set)
        self.truth: dict[int, list[tuple[str, str]]] = {}
        self.crashes, self.lapses, self.resends = 3, 2, self.rng.randrange(4)
        self.replay, self.ids = at_once(self._begun())
        self.processes: dict[str, Coroutine[Any, Any, None]] = {}
        for name in ("report 1", "report 2", "send 1", "send 2", "client"):
            self.start(name)
        self.quiet = False

    async def pause(self) -> None:
        if not self.quiet:
            await step()

    async def _begun(self) -> tuple[Replay, list[UUID]]:
        lab: Lab = self.lab
        await lab.beat("w1", "w2")
        source = await lab.sealed(*PATHS)
        replay = await lab.managed(source, {"report": True, "webhook": "https://hooks.example/"})
        held = await lab.hold(replay.execution_id)
        dispatches = await lab.list_all(held, *(f"{source}/input/{path}" for path in PATHS))
        await lab.publish_all(held, dispatches)
        for identity in lab.ids(dispatches):
            await self._process(identity)
        await self._end()
        return replay, lab.ids(dispatches)

    async def _process(self, identity: UUID) -> None:
        await (self.lab.kill if self.rng.random() < 0.5 else self.lab.work)(identity)

    async def _end(self) -> None:
        """End the execution, and note how its messages are at this end."""
        for execution in await self.catalog.end_executions():
            rows, _ = await self.catalog.lineage_list(execution=execution)
            states = {"completed": "completed", "dead": "failed"}
            self.truth[len(self.truth) + 1] = sorted((row.input_key, states[row.status]) for row in rows)

    def start(self, name: str) -> None:
        kind = name.partition(" ")[0]
        run = {"report": self._report, "send": self._send, "client": self._client}[kind]
        self.processes[name] = run(name)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> _Spawned:
        name = f"spawned {next(self._numbers)}"
        self.processes[name] = work
        return _Spawned(self.processes, name)

    async def _report(self, name: str) -> None:
        reports = ReportService(
            self.catalog, self.store, Environment(name), lease=LEASE, page=2, part_lines=2
        )
        while True:
            await reports.write_due()
            await step()

    async def _send(self, name: str) -> None:
        env = Environment(name, spawn=self._spawn)
        service = WebhookService(self.catalog, self, env, lease=LEASE)
        while True:
            await service.send_due()
            await step()

    def check(self, url: str) -> None:
        """Allow all URLs."""

    async def send(self, url: str, delivery: UUID, body: str) -> int:
        """The receiver: it gets the event, or not; and its answer may be lost."""
        await step()
        lost = not self.is_calm and self.rng.random() < 0.3
        if lost and self.rng.random() < 0.5:
            raise NotDelivered("no connection")
        event = json.loads(body)
        self.arrived[event["type"], event["data"]["revision"]].add(delivery)
        await step()
        if lost:
            raise NotDelivered("no answer")
        return 204

    async def _client(self, name: str) -> None:
        while self.resends:
            await step()
            if self.rng.random() < 0.9:
                continue
            self.resends -= 1
            for identity in await self.catalog.resend(
                where=DeadLetterFilter(execution=self.replay.execution_id)
            ):
                await self._process(identity)
            self.quiet = True  # the end, and what is noted of it, are one step
            await self._end()
            self.quiet = False

    def run(self) -> None:
        """Take steps in a random order, with faults, and then without."""
        calm_at = self.rng.randrange(50, 250)
        for turn in range(5_000):
            self.is_calm = turn > calm_at
            if not self.is_calm and self.crashes and self.rng.random() < 0.04:
                self.crashes -= 1
                name = self.rng.choice([one for one in self.processes if one != "client"])
                self.processes.pop(name).close()
                if not name.startswith("spawned"):
                    self.start(name)
            self._let_time_pass(turn)
            name = self.rng.choice(list(self.processes))
            try:
                self.processes[name].send(None)
            except StopIteration:
                del self.processes[name]
            if turn % 20 == 0:
                self.look()
            if self.is_calm and turn % 20 == 0 and self.is_done():
                break
        for process in self.processes.values():
            process.close()

    def _let_time_pass(self, turn: int) -> None:
        """Let leases expire: at any time, but seldom, so that a report is not given up."""
        if not self.is_calm:
            if self.lapses and self.rng.random() < 0.03:
                self.lapses -= 1
                self.clock.advance(LEASE)
        elif turn % 300 == 0:
            self.clock.advance(LEASE)
        elif turn % 20 == 0 and self._is_reported():
            self.clock.advance(100_000.0)  # until the next attempt of each delivery

    def _is_reported(self) -> bool:
        self.quiet = True
        done = "client" not in self.processes and self.seen(max(self.truth)) is not None
        self.quiet = False
        return done

    def look(self) -> None:
        """Check each report that can be read."""
        self.quiet = True
        for revision, rows in self.truth.items():
            assert self.seen(revision) in (None, rows), f"the report of end {revision}"
        self.quiet = False

    def seen(self, revision: int) -> list[tuple[str, str]] | None:
        report = at_once(self.catalog.report(self.replay.replay_batch_id, revision))
        if report is None or report.state != "stored":
            return None
        assert at_once(self.catalog.unstored([part.key for part in report.parts])) == set()
        texts = at_once(self.store.read([part.key for part in report.parts]))
        lines = [json.loads(line) for text in texts for line in text.splitlines()]
        return sorted((line["key"], line["work"]) for line in lines)

    def is_done(self) -> bool:
        if not self._is_reported():
            return False
        self.quiet = True
        found, _ = at_once(self.catalog.deliveries(self.replay.replay_batch_id))
        self.quiet = False
        return all(one.state == "sent" for one in found)


@pytest.mark.parametrize("seed", range(schedules(10)))
def test_each_end_is_reported_and_announced_once(seed: int):
    for number in range(5):
        world = World(5 * seed + number)
        world.run()
        world.look()
        world.quiet = True
        assert world.seen(max(world.truth)) == world.truth[max(world.truth)], "the last end has a report"
        for revision in world.truth:
            ends = {event for event, end in world.arrived if end == revision}
            assert ends & {"replay.completed", "replay.failed"}, f"end {revision} was announced"
        assert all(len(ids) == 1 for ids in world.arrived.values()), "each event has one id"
        assert max(end for _, end in world.arrived) == max(world.truth), "no other end was announced"
