"""Behaviour of the embedded broker only: many receivers share one query."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from playhead.backends._sqlite import Database
from playhead.backends.broker_sqlite import SqliteBroker
from playhead.ports.broker import CONFIRMED, Depth
from tests.lab import dispatches
from tests.waiting import until


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[SqliteBroker]:
    async with AsyncExitStack() as stack:
        db = Database(tmp_path / "playhead.db")
        await db.open()
        stack.push_async_callback(db.close)
        broker = SqliteBroker(db)
        stack.push_async_callback(broker.close)
        yield broker


async def test_a_thousand_idle_receivers_send_no_statements_while_another_queue_is_busy(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
):
    sent = []
    for name in ("read", "write"):
        run = getattr(broker._db, name)

        def counted(*given: Any, run: Any = run, **named: Any) -> Any:
            sent.append(run)
            return run(*given, **named)

        monkeypatch.setattr(broker._db, name, counted)
    for n in range(0, 1000, 100):
        made = [dispatch for queue in range(n, n + 100) for dispatch in dispatches(1, f"idle.{queue}")]
        assert await broker.publish(made) == [CONFIRMED] * 100
    idlers = []
    for n in range(1000):
        await broker.ack(await broker.receive(f"idle.{n}", 1))
        assert await broker.receive(f"idle.{n}", 1) == []
        idlers.append(asyncio.create_task(broker.receive(f"idle.{n}", 1, wait=600)))
    await until(lambda: len(broker._waiting) == 1000)
    sent.clear()

    for _ in range(20):
        await broker.publish(dispatches(10, "busy"))
        await broker.ack(await broker.receive("busy", 10, wait=600))

    for task in idlers:
        task.cancel()
    await asyncio.gather(*idlers, return_exceptions=True)
    assert len(sent) <= 20 * 4, "to publish, receive, look again, and acknowledge"


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
