"""Random schedules of the lines of queues: two processes admit replays over one catalog.

Replays are opened, paused, resumed, cancelled and ended at random, and processes crash between two
transactions. A step of the schedule is one transaction.
"""

from __future__ import annotations

import random
from collections import Counter
from uuid import UUID

import pytest

from playhead.ids import uuid7
from playhead.model import Config, Replay, Route
from playhead.ports.catalog.jobs import Listed
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock, asked
from tests.model.faulty import at_once, step
from tests.model.world import schedules

SCHEDULES = schedules(10)
LIMIT = 2
STEPS = 1500
CALM_AFTER = 900
CONFIG = Config("model", "a", {"a": Route("a", "q.a"), "b": Route("b", "q.b")})


class World:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.catalog = MemoryCatalog(clock=Clock(), pause=step)
        version, _ = at_once(self.catalog.save_config(CONFIG, source="", digest=""))
        self.version: int = version.version
        self.replays: list[Replay] = []
        self.read_at = -1  # the number of changes of the catalog at the last read
        self.read: dict[UUID, Replay] = {}
        self.resumed = set[UUID]()
        self.overtaken = Counter[UUID]()
        self.bad: list[str] = []

    # -- what processes and clients do -------------------------------------------------------------

    async def server(self) -> None:
        while True:
            waiting = {r.execution_id: r for r in self._in("queued")}
            for job in await self.catalog.admit(per_queue=LIMIT):
                self._admitted(job, waiting)
            await step()

    def _admitted(self, job: UUID, waiting: dict[UUID, Replay]) -> None:
        """Count those that waited longer. A resumed replay waits again, and its age counts from its start."""
        admitted = self._by_job(job)
        for other in waiting.values():
            is_older = self._age(other) < self._age(admitted) and other.to_queue == admitted.to_queue
            if is_older and other.execution_id not in self.resumed and self._now(other).state == "queued":
                self.overtaken[other.execution_id] += 1

    def open(self) -> None:
        route = self.rng.choice("aaab")
        source = uuid7()
        opened = at_once(
            self.catalog.open_replay(
                batch=uuid7(),
                request=asked(source, "pages", route, report=False if self.rng.random() < 0.9 else None),
                prefix=f"{source}/pages",
                config="model",
                version=self.version,
                route=route,
            )
        )
        self.replays.append(opened.replay)

    def end(self) -> None:
        """End the publishing of a replay."""
        if going := self._in("publishing"):
            job = self.rng.choice(going).execution_id
            held = at_once(self.catalog.acquire(job, owner="w", lease=15.0))
            key = f"{held.prefix}/1"
            at_once(self.catalog.record(held, [Listed(key, "pages")], cursor=key, last=True))
            assert at_once(self.catalog.mark(held, 1))
            assert at_once(self.catalog.close_job(held))

    def pause(self) -> None:
        if going := self._in("publishing"):
            at_once(self.catalog.pause(self.rng.choice(going).replay_batch_id))

    def resume(self) -> None:
        for replay in self._in("paused")[:1]:
            self.resumed.add(replay.execution_id)
            at_once(self.catalog.resume(replay.replay_batch_id))

    def cancel(self) -> None:
        if going := self._in("publishing", "queued", "paused"):
            at_once(self.catalog.cancel_replay(self.rng.choice(going).replay_batch_id))

    # -- what is checked ---------------------------------------------------------------------------

    def look(self) -> None:
        for queue in ("q.a", "q.b"):
            going = [r for r in self._in("publishing") if r.to_queue == queue and self._is_managed(r)]
            if len(going) > LIMIT:
                self.bad.append(f"more than {LIMIT} replays publish into one queue")
        for line in (self._line("q.a"), self._line("q.b")):
            positions = [self._now(replay).queue_position for replay in line]
            if positions != list(range(1, len(line) + 1)):
                self.bad.append(f"positions in the line: {positions}")

    def has_room_behind(self) -> bool:
        """Whether a replay waits although its queue has room."""
        going = Counter(r.to_queue for r in self._in("publishing"))
        return any(self._line(queue) and going[queue] < LIMIT for queue in ("q.a", "q.b"))

    def _is_managed(self, replay: Replay) -> bool:
        return replay.state == "queued"  # as it was opened

    def _now(self, replay: Replay) -> Replay:
        if self.read_at != self.catalog.con.total_changes:
            self.read_at = self.catalog.con.total_changes
            found, _ = at_once(self.catalog.replays())
            self.read = {one.replay_batch_id: one for one in found}
        return self.read[replay.replay_batch_id]

    def _in(self, *states: str) -> list[Replay]:
        return [replay for replay in self.replays if self._now(replay).state in states]

    def _line(self, queue: str) -> list[Replay]:
        return [replay for replay in self._in("queued") if replay.to_queue == queue]

    def _by_job(self, job: UUID) -> Replay:
        return next(replay for replay in self.replays if replay.execution_id == job)

    def _age(self, replay: Replay) -> int:
        return self.replays.index(replay)


def run(seed: int) -> World:
    world = World(seed)
    rng, total = world.rng, world.rng.randrange(5, 10)
    servers = [world.server(), world.server()]
    crashes, pauses, cancels, idle = 3, rng.choice([0, 1, 3]), rng.choice([0, 1]), 0
    for now in range(STEPS):
        x = rng.random()
        if len(world.replays) < total and x < 0.15:
            world.open()
        elif x < 0.30:
            world.end()
        elif x < 0.33 and pauses:
            pauses -= 1
            world.pause()
        elif x < 0.36 or now > CALM_AFTER:
            world.resume()
        elif x < 0.37 and crashes:
            crashes -= 1
            at = rng.randrange(2)
            servers[at].close()
            servers[at] = world.server()
        elif x < 0.38 and cancels:
            cancels -= 1
            world.cancel()
        rng.choice(servers).send(None)
        world.look()
        idle = idle + 1 if world.has_room_behind() else 0
        if idle > 60:
            world.bad.append("a replay waits although its queue has room")
        if len(world.replays) == total and not world._in("publishing", "queued", "paused"):
            break
    else:
        world.bad.append("a replay never ended")
    for server in servers:
        server.close()
    if max(world.overtaken.values(), default=0) > 0:
        world.bad.append("a younger replay was admitted first")
    return world


@pytest.mark.parametrize("block", range(3))
def test_replays_get_their_places_in_order_under_random_schedules(block: int):
    for seed in range(block * SCHEDULES, (block + 1) * SCHEDULES):
        assert not run(seed).bad, f"seed {seed}: {run(seed).bad}"
