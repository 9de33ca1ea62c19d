"""A replay with a canary, from its request to its end, with a worker that processes what is in the queue."""

from __future__ import annotations

import asyncio
import math
from uuid import UUID

from playhead.environment import Environment
from playhead.model import Canary, Pace, Replay, ReplayRequest
from playhead.services.replay import ReplayService
from tests.lab import MemoryDeployment

OBJECTS, FIRST = 7, 2
QUEUE = "docs.convert"


class World(MemoryDeployment):
    """A process that drives a replay. While it sleeps, the worker processes what was sent.

    Attributes:
        bad: these messages become dead letters, in the order in which they were sent.
        works: whether the worker runs.
        begins: after how many seconds of sleep it begins to run.
        slept: how long the process slept each time.
    """

    def __init__(self, *, bad: int = 0, works: bool = True, begins: float = math.inf) -> None:
        super().__init__()
        self.bad = bad
        self.works = works
        self.begins = begins
        self.slept: list[float] = []
        self.done = 0
        self.service = self.process("w1")

    def process(self, name: str) -> ReplayService:
        env = Environment(name, sleep=self._sleep, clock=self.clock)
        return ReplayService(self.backends, env, lease=self.lab.LEASE, settle=5)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.clock.advance(seconds)
        self.slept.append(seconds)
        self.works = self.works or sum(self.slept) >= self.begins
        await self.lab.beat("w1", "w2")
        if self.works:
            await self.work()

    async def work(self) -> None:
        """Process all messages that are in the queue."""
        for delivery in await self.broker.receive(QUEUE, 1000, wait=0):
            identity = UUID(delivery.headers["correlation_id"])
            await (self.lab.kill if self.done < self.bad else self.lab.work)(identity)
            self.done += 1
            await self.broker.ack([delivery])

    async def start(self, canary: Canary, pace: Pace | None = None) -> Replay:
        await self.lab.beat("w1", "w2")
        await self.lab.save()
        source = await self.external(OBJECTS)
        request = ReplayRequest(source, "pages", None, "docs/convert", canary=canary, pace=pace)
        return (await self.service.create(request)).replay

    async def now(self, replay: Replay) -> Replay:
        return await self.lab.replay(replay.replay_batch_id)


async def test_a_failed_canary_pauses_the_replay_and_its_client_gets_the_reason():
    world = World(bad=1)
    replay = await world.start(Canary(FIRST))

    await world.service.drives.drive(replay.execution_id)
    answer = await world.service.wait(replay)

    assert world.done == FIRST
    assert (answer.status, answer.objects_published, answer.objects_failed) == ("partial_failure", 2, 5)
    assert answer.errors == [
        f"paused: 1 of 2 canary objects failed; POST /api/v1/replays/{replay.replay_batch_id}/resume "
        "continues with the rest"
    ]
    assert (await world.broker.depth(QUEUE)).ready == 0

    await world.catalog.resume(replay.replay_batch_id)
    await world.catalog.admit(per_queue=0)
    await world.service.drives.drive(replay.execution_id)
    await world.work()
    assert world.done == OBJECTS
    assert (await world.now(replay)).state == "publishing_complete"


async def test_a_replay_that_waits_for_its_canary_looks_soon_and_then_less_often():
    world = World(works=False, begins=10.0)
    replay = await world.start(Canary(FIRST))

    await world.service.drives.drive(replay.execution_id)

    waits = world.slept
    assert waits[0] == 0.02
    assert max(waits) == 0.5
    for n, wait in enumerate(waits[1:], 1):
        assert wait <= 0.03 + sum(waits[:n]) / 4, "a decision is late by a quarter of its time at most"
    assert world.done >= FIRST


async def test_a_successor_settles_the_messages_of_the_canary_that_the_broker_did_not_confirm():
    """It waited for them for ever: the broker did not have them."""
    world = World()
    replay = await world.start(Canary(FIRST))
    held = await world.lab.hold(replay.execution_id)
    found = [f"{held.prefix}/{number:03d}.md" for number in range(OBJECTS)]
    await world.lab.list_all(held, *found)
    assert await world.catalog.allow(held, want=1000)
    window = await world.catalog.unpublished(held, limit=1000, upto=FIRST)
    assert window
    assert await world.catalog.mark(held, FIRST, uncertain=window.dispatches)
    await world.catalog.release(held)

    await world.process("w2").drives.drive(replay.execution_id)

    await world.work()
    assert world.done == OBJECTS


async def test_a_resent_refused_message_of_the_canary_is_published_while_it_waits():
    world = World(works=False)
    replay = await world.start(Canary(FIRST))
    held = await world.lab.hold(replay.execution_id)
    found = [f"{held.prefix}/{number:03d}.md" for number in range(OBJECTS)]
    await world.lab.list_all(held, *found)
    assert await world.catalog.allow(held, want=1000)
    window = await world.catalog.unpublished(held, limit=1000, upto=FIRST)
    assert window
    refused = [(dispatch, "too large") for dispatch in window.dispatches]
    assert await world.catalog.mark(held, FIRST, refused=refused)
    await world.catalog.resend(ids=world.lab.ids(window.dispatches))
    await world.catalog.release(held)
    world.works = True

    await world.service.drives.drive(replay.execution_id)

    await world.work()
    assert (world.done, (await world.now(replay)).state) == (OBJECTS, "publishing_complete")
