"""Two calls for one message reach one worker: which may be acked unworked, and which is still needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import pytest

from playhead.backends._sqlite import Database
from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.bootstrap import open_runtime
from playhead.counters import Counters
from playhead.engine.attempts import AttemptOutcome, Attempts
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import Delivery, Depth
from playhead.ports.catalog.work import Failed
from playhead.ports.store import Blob
from playhead.settings import Settings
from tests.contract.conftest import Clock, Lab, Started

QUEUE = "docs.convert"
VISIBILITY = 1000.0
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


class Site:
    """A worker, `w1`, and others that beat."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.catalog = MemoryCatalog(clock=self.clock, heartbeat_seconds=1.0)
        self.broker = MemoryBroker(clock=self.clock, visibility=VISIBILITY)
        self.store = MemoryStore()
        self.lab = Lab(self.catalog, self.clock)
        self.attempts = Attempts(
            *(self.catalog, self.broker, self.store),
            worker="w1",
            working={},
            max_object_bytes=100,
            sleep=asyncio.sleep,
        )

    async def started(self) -> Started:
        """A run of one message, which is in its queue."""
        await self.lab.beat("w1", "w2")
        run = await self.lab.started("a.md")
        item = self.lab.input("a.md")
        await self.store.write([[Blob(f"{run.execution}/input/a.md", b"x" * item.size)]])
        await self.broker.publish(run.calls)
        return run


async def test_a_call_anew_for_what_was_lost_meanwhile_is_not_acked_by_the_one_that_lost_it():
    site = Site()
    run = await site.started()
    (delivery,) = await site.broker.receive(QUEUE, 10)
    (mine,) = (await site.attempts.take([delivery])).started

    # It missed its beats, as where the catalog was away: the row is called anew, and it hears that itself.
    await site.lab.die("w1")
    assert await site.catalog.recall_abandoned(limit=10) == 1
    again = await site.catalog.due("w2", limit=10)
    await site.broker.publish(again)
    await site.catalog.mark_published(again)
    anew = await site.broker.receive(QUEUE, 10)
    assert [d.message_id for d in anew] == [f"{run.ids[0]}.1"]
    taken = await site.attempts.take(anew)
    assert (taken.started, taken.suspects, taken.later) == ([], [], anew)

    claim = mine.claim
    late = AttemptOutcome(
        mine, result=Failed(claim.correlation_id, claim.attempt, "adapter_error", "too late")
    )
    await site.attempts.end([late], await site.attempts.persist([late]))
    assert await site.lab.state(run.ids[0]) == "retry"

    await site.lab.beat("w1")
    (next_one,) = (await site.attempts.take(anew)).started
    assert (next_one.claim.correlation_id, next_one.claim.attempt) == (run.ids[0], 2)


async def test_the_same_call_once_more_is_acked():
    site = Site()
    await site.started()
    (delivery,) = await site.broker.receive(QUEUE, 10)
    assert len((await site.attempts.take([delivery])).started) == 1

    site.clock.advance(VISIBILITY + 1)
    taken = await site.attempts.take(await site.broker.receive(QUEUE, 10))

    assert (taken.started, taken.later) == ([], [])
    assert await site.broker.depth(QUEUE) == Depth(0, 0)


class DeafBroker(MemoryBroker):
    """Does not answer the first ack."""

    deaf = True

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self.deaf:
            self.deaf = False
            raise broker_unavailable("it is away")
        await super().ack(deliveries)


async def test_an_end_that_is_repeated_is_counted_once_and_lets_go_of_no_attempt_that_began_meanwhile(
    caplog: pytest.LogCaptureFixture,
):
    site = Site()
    site.broker = DeafBroker(clock=site.clock, visibility=VISIBILITY)
    counters, working = Counters(), dict[UUID, str]()
    attempts = Attempts(
        *(site.catalog, site.broker, site.store),
        worker="w1",
        working=working,
        max_object_bytes=100,
        sleep=asyncio.sleep,
        counters=counters,
    )
    await site.started()
    (mine,) = (await attempts.take(await site.broker.receive(QUEUE, 10))).started
    claim = mine.claim
    failed = AttemptOutcome(
        mine, result=Failed(claim.correlation_id, claim.attempt, "adapter_error", "no", delay=0.0)
    )
    results = await attempts.persist([failed])
    with pytest.raises(Unavailable):
        await attempts.end([failed], results)

    # The retry is called and claimed before the end is repeated.
    again = await site.catalog.due("w2", limit=10)
    await site.broker.publish(again)
    await site.catalog.mark_published(again)
    (anew,) = (await attempts.take(await site.broker.receive(QUEUE, 10))).started
    await attempts.end([failed], results)

    assert working == {claim.correlation_id: anew.delivery.message_id}
    assert counters.numbers() == {("docs", "convert"): {"retried": [1]}}
    assert [r.message for r in caplog.records if r.message.startswith("message_")] == ["message_retried"]


async def pages() -> AsyncIterator[tuple[str, bytes]]:
    yield "a.md", b"a"


async def test_a_worker_that_lost_a_message_works_it_anew_as_soon_as_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        beat = rt.catalog.heartbeat

        async def no_beat(*_: object) -> None:
            """The process lives, and the catalog does not hear of it."""

        monkeypatch.setattr(rt.catalog, "heartbeat", no_beat)
        other = SqliteCatalog(db, heartbeat_seconds=settings.heartbeat_seconds)
        while await is_running():
            await other.recall_abandoned(limit=10)
            await asyncio.sleep(0.02)
        monkeypatch.setattr(rt.catalog, "heartbeat", beat)
        # Until it holds the old call and the new one.
        while await rt.broker.depth("docs.hold") != Depth(0, 2):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        (tmp_path / "data" / "go-on").touch()

        assert await work == 0
        (line,), _ = await rt.catalog.lineage_list(execution=run.execution_id)
        assert (line.status, line.attempts) == ("completed", 2)
