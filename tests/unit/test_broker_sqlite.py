"""Behaviour of the embedded broker only: many receivers share one query."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from playhead.backends._sqlite import Database
from playhead.backends.broker_sqlite import SqliteBroker
from playhead.ports.broker import CONFIRMED, Depth
from tests.lab import dispatches


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[SqliteBroker]:
    async with AsyncExitStack() as stack:
        db = Database(tmp_path / "playhead.db")
        await db.open()
        stack.push_async_callback(db.close)
        broker = SqliteBroker(db)
        stack.push_async_callback(broker.close)
        yield broker


async def best_rounds_of(broker: SqliteBroker) -> int:
    """Publish, receive and acknowledge in a busy queue; returns how often that could be done in the best of
    three times 0.1 s of this process. Other processes do not change that."""
    best = 0
    for _ in range(3):
        count, until = 0, time.process_time() + 0.1
        while time.process_time() < until:
            await broker.publish(dispatches(10, "busy"))
            await broker.ack(await broker.receive("busy", 10, wait=10))
            count += 1
        best = max(best, count)
    return best


async def test_a_thousand_idle_receivers_leave_a_busy_queue_most_of_its_rate(broker: SqliteBroker):
    async def idle(queue: str) -> None:
        while True:
            await broker.receive(queue, 1, wait=0.5)

    for n in range(0, 1000, 100):
        made = [dispatch for queue in range(n, n + 100) for dispatch in dispatches(1, f"idle.{queue}")]
        assert await broker.publish(made) == [CONFIRMED] * 100
    for n in range(1000):
        await broker.ack(await broker.receive(f"idle.{n}", 1))
    alone = await best_rounds_of(broker)
    idlers = [asyncio.create_task(idle(f"idle.{n}")) for n in range(1000)]
    await asyncio.sleep(1.0)

    shared = await best_rounds_of(broker)

    for task in idlers:
        task.cancel()
    await asyncio.gather(*idlers, return_exceptions=True)
    assert shared > 0.25 * alone, "one statement for each receiver left it less than a tenth"


async def test_a_receiver_that_is_cancelled_releases_what_it_received(broker: SqliteBroker):
    assert await broker.publish(dispatches(1)) == [CONFIRMED]
    for turns in range(0, 400, 5):
        receiving = asyncio.create_task(broker.receive("docs.convert", 1))
        for _ in range(turns):  # at any moment of the transaction
            await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        if receiving.cancelled():
            assert await broker.depth("docs.convert") == Depth(1, 0)
        else:
            await broker.release(receiving.result())


async def test_an_idle_receiver_gets_dispatches_that_another_process_publishes(
    broker: SqliteBroker, tmp_path: Path
):
    db = Database(tmp_path / "playhead.db")
    await db.open()
    other = SqliteBroker(db)
    try:
        for _ in range(3):
            waiting = [asyncio.create_task(broker.receive(f"idle.{n}", 1, wait=20)) for n in range(5)]
            await asyncio.sleep(0.05)
            await other.publish([d for n in range(5) for d in dispatches(1, f"idle.{n}")])
            for received in await asyncio.gather(*waiting):
                assert len(received) == 1
                await broker.ack(received)
    finally:
        await other.close()
        await db.close()
