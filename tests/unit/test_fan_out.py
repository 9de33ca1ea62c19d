"""Large fan-outs: they are recorded in bounded steps, and do not keep their worker from its heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from playhead import Item
from playhead.errors import catalog_unavailable
from playhead.ports.catalog.work import Finished, Result
from playhead.work.completion import batches
from tests.attempts import OneConsumer, Worker, completed, ended, failed
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock
from tests.waiting import until


async def test_a_batch_has_at_most_5000_outputs_unless_one_attempt_has_more():
    worker = Worker()
    await worker.started("a.md")
    message = await worker.claim()
    small, large = completed(message, *map(str, range(2000))), completed(message, *map(str, range(6000)))
    none = failed(message, "no")

    assert [len(batch) for batch in batches([small] * 5)] == [2, 2, 1]
    assert [len(batch) for batch in batches([large, small, large])] == [1, 1, 1]
    assert [len(batch) for batch in batches([none] * 300)] == [256, 44]
    assert list(batches([])) == []


async def test_the_event_loop_runs_while_a_large_fan_out_is_stored():
    """100,000 outputs kept the event loop for 3.6 s, and a process counts as dead after 5 s."""
    worker = Worker()
    await worker.started("a.md")
    message = await worker.claim()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await worker.end(completed(message, *(f"{n}.txt" for n in range(5000))))
    task.cancel()

    assert turns > 30


class TooSlow(MemoryCatalog):
    """Does not end more than two attempts in its time limit."""

    batches: list[int]

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        self.batches.append(len(results))
        if len(results) > 2:
            raise catalog_unavailable("it did not answer in time")
        return await super().finish(publisher, results)


async def test_a_batch_that_takes_too_long_is_recorded_in_halves():
    """The same batch was tried again and again: 128 messages with 3,000 outputs each never ended."""
    catalog = TooSlow(clock=Clock())
    catalog.batches = []
    world = OneConsumer(lambda item: text_of(item), catalog=catalog, concurrency=8)
    paths = [f"{n}.md" for n in range(8)]
    ids: list[UUID] = (await world.started(*paths)).ids
    consumer = world.consumer()

    async def are_completed() -> bool:
        return {await world.lab.state(each) for each in ids} == {"completed"}

    await until(are_completed)
    assert len(world.slept) < 50
    consumer.stop(departing=True)
    await ended(consumer)


def text_of(item: Item) -> str:
    return item.text
