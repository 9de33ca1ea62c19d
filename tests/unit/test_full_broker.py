"""A full broker: only acks free space, so completed work must be acked without waiting for the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from playhead.envelope import Dispatch
from playhead.ports.broker import Depth, PublishResult
from tests.attempts import QUEUE, VISIBILITY, Worker, completed
from tests.broker_memory import MemoryBroker

QUEUES = (QUEUE, "docs.split")
ROOM = 3


class Small(MemoryBroker):
    """Holds three dispatches in all queues together."""

    room = ROOM

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        outcomes = []
        for dispatch in dispatches:
            held = sum([sum(await self.depth(queue)) for queue in QUEUES])
            if held < self.room:
                outcomes += await super().publish([dispatch])
            else:
                outcomes.append(PublishResult("uncertain", "there is no room"))
        return outcomes


class World:
    """A worker, and runs of three messages that fill its broker."""

    def __init__(self) -> None:
        self.broker: Small
        self.waited: list[float] = []

        async def sleep(seconds: float) -> None:
            self.waited.append(seconds)

        self.worker = Worker(lambda clock: Small(clock=clock, visibility=VISIBILITY), sleep=sleep)
        assert isinstance(self.worker.broker, Small)
        self.broker = self.worker.broker

    async def run(self) -> None:
        await self.worker.started("a.md", "b.md", "c.md")
        assert sum(await self.broker.depth(QUEUE)) == ROOM

    async def process(self) -> float:
        """Process the queue, with one output per message; return the time spent waiting for the broker."""
        self.waited.clear()
        claimed = (await self.worker.take()).claimed
        assert len(claimed) == ROOM
        async with asyncio.timeout(30):
            await self.worker.end(*(completed(one, f"{one.claim.path}.txt") for one in claimed))
        return sum(self.waited)


async def test_a_message_whose_children_find_no_room_is_acked_and_they_are_published_when_there_is_room():
    world = World()
    await world.run()

    assert 0 < await world.process() < 10

    assert await world.broker.depth(QUEUE) == Depth(0, 0)
    # No process has to die first, and no minute has to pass.
    children = await world.worker.catalog.orphans("w2", limit=10)
    assert len(children) == 3
    assert [outcome.result for outcome in await world.broker.publish(children)] == ["confirmed"] * 3


async def test_only_the_first_batch_that_finds_no_room_waits_for_it_until_the_broker_had_room_again():
    world = World()
    await world.run()
    first = await world.process()

    await world.run()
    assert await world.process() == 0

    world.broker.room = 2 * ROOM
    await world.run()
    await world.process()  # the broker takes these
    world.broker.room = ROOM
    for dispatch in await world.broker.receive(QUEUES[1], 10):
        await world.broker.ack([dispatch])
    await world.run()
    assert await world.process() == first
