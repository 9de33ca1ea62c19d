"""A broker without room: only acks make some, so nothing that is done waits for it to take more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.engine.attempts import AttemptOutcome, Attempts
from playhead.engine.outputs import Product
from playhead.envelope import Dispatch
from playhead.ports.broker import Depth, PublishResult
from playhead.ports.store import Blob
from tests.contract.conftest import Clock, Lab

QUEUES = ("docs.convert", "docs.split")
ROOM = 3


class Cramped(MemoryBroker):
    """Holds three calls, whatever their queues."""

    room = ROOM

    async def publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]:
        outcomes = []
        for call in calls:
            held = sum([sum(await self.depth(queue)) for queue in QUEUES])
            if held < self.room:
                outcomes += await super().publish([call])
            else:
                outcomes.append(PublishResult("uncertain", "there is no room"))
        return outcomes


class Site:
    """A worker, `w1`, and a run whose three messages are all that the broker has room for."""

    async def open(self) -> None:
        self.waited: list[float] = []
        clock = Clock()
        self.catalog = MemoryCatalog(clock=clock, heartbeat_seconds=1.0)
        self.broker = Cramped(clock=clock, visibility=1000.0)
        self.store = MemoryStore()
        self.lab = Lab(self.catalog, clock)
        self.attempts = Attempts(
            *(self.catalog, self.broker, self.store),
            worker="w1",
            working={},
            max_object_bytes=100,
            sleep=self._sleep,
        )
        await self.lab.beat("w1")
        await self.run()

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    async def run(self) -> None:
        started = await self.lab.started("a.md", "b.md", "c.md")
        for name in ("a.md", "b.md", "c.md"):
            blob = Blob(f"{started.execution}/input/{name}", b"x" * self.lab.input(name).size)
            await self.store.write([[blob]])
        taken = await self.broker.publish(started.calls)
        assert [outcome.result for outcome in taken] == ["confirmed"] * ROOM

    async def work(self) -> float:
        """Work what waits, with one output each; returns for how long the broker was waited for."""
        self.waited.clear()
        started = (await self.attempts.take(await self.broker.receive(QUEUES[0], 10))).started
        assert len(started) == ROOM
        batch = [
            AttemptOutcome(one, "pages", [Product(f"{one.claim.path}.txt", b"made", "text/plain", {})])
            for one in started
        ]
        async with asyncio.timeout(30):
            await self.attempts.end(batch, await self.attempts.persist(batch))
        return sum(self.waited)


async def test_what_made_children_that_find_no_room_is_acked_and_they_are_called_when_there_is_some():
    site = Site()
    await site.open()

    assert 0 < await site.work() < 10

    assert await site.broker.depth(QUEUES[0]) == Depth(0, 0)
    # Nobody has to die first, nor a minute to pass.
    children = await site.catalog.orphans("w2", limit=10)
    assert len(children) == 3
    assert [outcome.result for outcome in await site.broker.publish(children)] == ["confirmed"] * 3


async def test_only_the_first_that_finds_no_room_waits_for_some_until_there_was_some():
    site = Site()
    await site.open()
    first = await site.work()

    await site.run()
    assert await site.work() == 0

    site.broker.room = 2 * ROOM
    await site.run()
    await site.work()  # is taken
    site.broker.room = ROOM
    for call in await site.broker.receive(QUEUES[1], 10):
        await site.broker.ack([call])
    await site.run()
    assert await site.work() == first
