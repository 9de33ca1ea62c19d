"""A broker without room: only acks make some, so nothing that is done waits for it to take more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.engine.attempts import Attempts, Ended
from playhead.engine.outputs import Product
from playhead.envelope import Call
from playhead.ports.broker import Depth, Outcome
from playhead.ports.store import Blob
from tests.contract.conftest import Clock, Lab

QUEUES = ("docs.convert", "docs.split")
ROOM = 3


class Cramped(MemoryBroker):
    """Holds three calls, whatever their queues."""

    async def publish(self, calls: Sequence[Call]) -> list[Outcome]:
        outcomes = []
        for call in calls:
            held = sum([sum(await self.depth(queue)) for queue in QUEUES])
            if held < ROOM:
                outcomes += await super().publish([call])
            else:
                outcomes.append(Outcome("uncertain", "there is no room"))
        return outcomes


async def test_what_made_children_that_find_no_room_is_acked_and_they_are_called_when_there_is_some():
    clock = Clock()
    catalog = MemoryCatalog(clock=clock, heartbeat_seconds=1.0)
    broker, store, lab = Cramped(clock=clock, visibility=1000.0), MemoryStore(), Lab(catalog, clock)
    waited: list[float] = []

    async def rest(seconds: float) -> None:
        waited.append(seconds)

    attempts = Attempts(*(catalog, broker, store), worker="w1", working={}, max_object_bytes=100, rest=rest)
    await lab.beat("w1")
    run = await lab.started("a.md", "b.md", "c.md")
    for name in "abc":
        await store.write([[Blob(f"{run.execution}/input/{name}.md", b"x" * lab.input(f"{name}.md").size)]])
    await broker.publish(run.calls)
    started = (await attempts.take(await broker.receive(QUEUES[0], 10))).started
    assert len(started) == ROOM

    batch = [
        Ended(one, "pages", [Product(f"{one.claim.path}.txt", b"made", "text/plain", {})]) for one in started
    ]
    async with asyncio.timeout(5):
        await attempts.end(batch, await attempts.store(batch))

    assert await broker.depth(QUEUES[0]) == Depth(0, 0)
    assert 0 < sum(waited) < 10
    # Nobody has to die first, nor a minute to pass.
    children = await catalog.orphans("w2", limit=10)
    assert len(children) == 3
    assert [outcome.result for outcome in await broker.publish(children)] == ["confirmed"] * 3
