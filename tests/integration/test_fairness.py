"""A large replay delays no small one into the same route, on each broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.ids import uuid7
from playhead.model import Priority, Replay, ReplayRequest
from playhead.settings import Settings
from tests.lab import working
from tests.servers import need
from tests.servers.schema import schema
from tests.waiting import until

BROKERS = ("sqlite", "postgres", "nats", "rabbitmq")
LARGE, SMALL = 3000, 5
CONFIG = b"""
version: "1.0"
name: docs
entry: convert
routes:
  convert:
    inbound: {concurrency: 4}
    adapters: [{type: slow}]
    outbound: {stage: pages}
"""
STEPS = """
import asyncio
from playhead import adapter

@adapter("slow")
async def slow(item):
    await asyncio.sleep(0.02)
    return item.data
"""
PATIENCE = 60.0


@asynccontextmanager
async def opened(home: Path, broker: str) -> AsyncIterator[Runtime]:
    async with AsyncExitStack() as stack:
        url = None
        if broker == "postgres":
            url = await stack.enter_async_context(schema())
        elif broker != "sqlite":
            url = need(broker)
        settings = Settings(
            home=home, broker=url, queue_prefix=f"{uuid7().hex}.", adapters=(str(home / "steps.py"),)
        )
        rt = await stack.enter_async_context(open_runtime(settings, kind="worker"))
        await rt.services.configs.apply(CONFIG)
        yield rt


def lay_out(home: Path) -> UUID:
    """Store objects in the stages `large` and `small` of one execution."""
    execution = uuid7()
    home.mkdir()
    (home / "steps.py").write_text(STEPS)
    for stage, count in (("large", LARGE), ("small", SMALL)):
        folder = home / "objects" / str(execution) / stage
        folder.mkdir(parents=True)
        for n in range(count):
            (folder / f"{n:04d}.txt").write_bytes(b"text")
    return execution


async def replayed(rt: Runtime, source: UUID, stage: str, priority: Priority | None = None) -> Replay:
    return await rt.services.replay.execute(ReplayRequest(source, stage, None, "convert", priority=priority))


async def pending(rt: Runtime, replay: Replay) -> int:
    work = (await rt.services.executions.replay(replay.replay_batch_id)).work
    assert work
    return work.pending


async def processed(rt: Runtime, replay: Replay) -> None:
    async def look() -> bool:
        return await pending(rt, replay) == 0

    await until(look, "the messages of the replay to be processed")


@pytest.mark.parametrize("broker", BROKERS)
async def test_a_small_replay_is_processed_while_a_large_one_waits(tmp_path: Path, broker: str):
    source = lay_out(tmp_path / "home")
    async with opened(tmp_path / "home", broker) as rt, working(rt):
        large = await replayed(rt, source, "large")
        assert (large.priority, large.objects_published) == ("bulk", LARGE)

        small = await replayed(rt, source, "small")
        assert (small.priority, small.to_queue) == ("normal", large.to_queue)
        await processed(rt, small)

        assert await pending(rt, large) > LARGE / 2
        await rt.services.recover.cancel(large.execution_id)


@pytest.mark.parametrize("broker", BROKERS)
async def test_normal_messages_do_not_starve_bulk_ones(tmp_path: Path, broker: str):
    source = lay_out(tmp_path / "home")
    async with opened(tmp_path / "home", broker) as rt:
        small = await replayed(rt, source, "small", "bulk")
        large = await replayed(rt, source, "large", "normal")
        assert (large.priority, small.priority) == ("normal", "bulk")

        async with working(rt):
            await processed(rt, small)

            assert await pending(rt, large) > LARGE / 2
            await rt.services.recover.cancel(large.execution_id)
