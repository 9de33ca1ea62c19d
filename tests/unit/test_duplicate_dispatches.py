"""Two dispatches of one message reach one worker: which one is acked unprocessed, and which one is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from playhead.backends._sqlite import Database
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.bootstrap import open_runtime
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import Delivery, Depth
from playhead.settings import Settings
from playhead.work.deliveries import State
from tests.attempts import QUEUE, Worker, failed
from tests.broker_memory import MemoryBroker
from tests.lab import VISIBILITY, Clock, Wrapper, pages

CONFIG = """
version: "1.0"
name: docs
entry: hold
routes:
  hold:
    adapters: [{type: held_up}]
    outbound: {stage: held}
"""
ADAPTER = """
import time
from pathlib import Path
from playhead import Context, Item, adapter

@adapter("held_up")
def held_up(item: Item, ctx: Context) -> str:
    while ctx.attempt == 1 and not Path(ctx.data_dir, "go-on").exists():
        time.sleep(0.01)
    return item.text
"""


async def test_a_new_dispatch_for_a_message_that_was_taken_from_its_worker_is_not_acked_by_that_worker():
    worker = Worker()
    run = await worker.started()
    claimed = await worker.claim()

    # It missed its heartbeats, for example because the catalog was unavailable. The row is dispatched again,
    # and the same worker receives the new dispatch.
    await worker.lab.die("w1")
    assert await worker.catalog.recall_abandoned(limit=10) == 1
    again = await worker.catalog.due("w2", limit=10)
    await worker.broker.publish(again)
    await worker.catalog.mark_published(again)
    (new,) = await worker.receive()
    assert new.dispatch_id == f"{run.ids[0]}.1"
    assert (await worker.take([new])).claimed == []
    assert new.state is State.DEFERRED

    await worker.end(failed(claimed, "too late"))
    assert await worker.lab.state(run.ids[0]) == "retry"

    await worker.lab.beat("w1")
    worker.deliveries.move(new, State.RECEIVED)
    (next_one,) = (await worker.take([new])).claimed
    assert (next_one.claim.correlation_id, next_one.claim.attempt) == (run.ids[0], 2)


async def test_a_redelivery_of_the_dispatch_that_is_processed_is_acked_after_the_attempt():
    worker = Worker()
    await worker.started()
    claimed = await worker.claim()

    worker.clock.advance(VISIBILITY + 1)
    (again,) = await worker.receive()
    assert (await worker.take([again])).claimed == []
    assert again.state is State.DEFERRED

    await worker.lab.beat("w1")
    await worker.end(failed(claimed, "no", delay=None))
    worker.deliveries.move(again, State.RECEIVED)
    assert (await worker.take([again])).claimed == []
    assert not len(worker.deliveries)
    assert await worker.broker.depth(QUEUE) == Depth(0, 0)


class LosesFirstAck(MemoryBroker):
    """Cannot be reached for the first ack."""

    is_lost = False

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if not self.is_lost:
            self.is_lost = True
            raise broker_unavailable("it is unavailable")
        await super().ack(deliveries)


async def test_a_repeated_end_is_counted_once_and_does_not_release_an_attempt_that_started_meanwhile(
    caplog: pytest.LogCaptureFixture,
):
    worker = Worker(broker=LosesFirstAck(clock=Clock()))
    run = await worker.started()
    claimed = await worker.claim()
    outcome = failed(claimed, "no", delay=0.0)
    worker.steps.end_chains([outcome])
    stored = await worker.steps.binder.store([outcome])
    with pytest.raises(Unavailable):
        await worker.steps.completion.end([outcome], stored)

    # The retry is dispatched and claimed before the end is repeated.
    again = await worker.catalog.due("w2", limit=10)
    await worker.broker.publish(again)
    await worker.catalog.mark_published(again)
    new = await worker.claim()
    await worker.steps.completion.end([outcome], stored)

    assert list(worker.steps.processing) == run.ids
    assert (claimed.held.state, new.held.state) == (State.SETTLED, State.CLAIMED)
    assert worker.env.counters.numbers() == {("docs", "convert"): {"retried": [1]}}
    assert [r.message for r in caplog.records if r.message.startswith("message_")] == ["message_retried"]


class WithoutHeartbeats(Wrapper):
    """The process lives, but the catalog does not get its heartbeats."""

    async def heartbeat(self, *_: object) -> bool:
        return True


async def test_a_worker_that_lost_a_message_processes_it_again_as_soon_as_its_attempt_has_ended(
    tmp_path: Path,
):
    (tmp_path / "held.py").write_text(ADAPTER)
    settings = Settings(
        home=tmp_path, adapters=[str(tmp_path / "held.py")], heartbeat_seconds=0.1, visibility_seconds=60
    )
    async with open_runtime(settings, kind="worker") as rt, asyncio.timeout(60), AsyncExitStack() as stack:
        db = Database(tmp_path / "playhead.db")
        await db.open()
        stack.push_async_callback(db.close)
        await rt.services.configs.apply(CONFIG)
        run = await rt.services.submit.run("docs", pages())
        work = asyncio.create_task(rt.work(until=run.execution_id))

        async def is_running() -> bool:
            lines, _ = await rt.catalog.lineage_list(execution=run.execution_id)
            return [line.status for line in lines] == ["running"]

        while not await is_running():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        catalog = rt.catalog
        rt.catalog = cast(Any, WithoutHeartbeats(catalog))
        other = SqliteCatalog(db, heartbeat_seconds=settings.heartbeat_seconds)
        while await is_running():
            await other.recall_abandoned(limit=10)
            await asyncio.sleep(0.02)
        rt.catalog = catalog
        # Until it holds the old dispatch and the new one.
        while await rt.broker.depth("docs.hold") != Depth(0, 2):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        (tmp_path / "data" / "go-on").touch()

        assert await work == 0
        (line,), _ = await rt.catalog.lineage_list(execution=run.execution_id)
        assert (line.status, line.attempts) == ("completed", 2)
