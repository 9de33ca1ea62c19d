"""A full broker: only acks free space, so completed work must be acked without waiting for the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from playhead.envelope import Dispatch
from playhead.ports.broker import Depth, PublishResult
from tests.attempts import QUEUE, Worker, completed
from tests.broker_memory import MemoryBroker
from tests.lab import Clock

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


class FullWorker(Worker):
    """A worker, and runs of three messages that fill its broker."""

    broker: Small

    def __init__(self) -> None:
        self.waited: list[float] = []

        async def sleep(seconds: float) -> None:
            self.waited.append(seconds)

        super().__init__(broker=Small(clock=Clock()), environment={"sleep": sleep})

    async def run(self) -> None:
        await self.started("a.md", "b.md", "c.md")
        assert sum(await self.broker.depth(QUEUE)) == ROOM

    async def process(self) -> float:
        """Process the queue, with one output per message; return the time spent waiting for the broker."""
        self.waited.clear()
        claimed = (await self.take()).claimed
        assert len(claimed) == ROOM
        async with asyncio.timeout(30):
            await self.end(*(completed(one, f"{one.claim.path}.txt") for one in claimed))
        return sum(self.waited)


async def test_a_message_whose_children_find_no_room_is_acked_and_they_are_published_when_there_is_room():
    worker = FullWorker()
    await worker.run()

    assert 0 < await worker.process() < 10

    assert await worker.broker.depth(QUEUE) == Depth(0, 0)
    # No process has to die first, and no minute has to pass.
    children = await worker.catalog.orphans("w2", limit=10)
    assert len(children) == 3
    assert [outcome.result for outcome in await worker.broker.publish(children)] == ["confirmed"] * 3


async def test_only_the_first_batch_that_finds_no_room_waits_for_it_until_the_broker_had_room_again():
    worker = FullWorker()
    await worker.run()
    first = await worker.process()

    await worker.run()
    assert await worker.process() == 0

    worker.broker.room = 2 * ROOM
    await worker.run()
    await worker.process()  # the broker takes these
    worker.broker.room = ROOM
    for dispatch in await worker.broker.receive(QUEUES[1], 10):
        await worker.broker.ack([dispatch])
    await worker.run()
    assert await worker.process() == first
