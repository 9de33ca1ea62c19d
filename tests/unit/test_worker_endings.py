"""When a worker ends: not before there is nothing left to do, and not in silence where a part of it died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from uuid import UUID

import pytest

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.ports.broker import Delivery
from playhead.services.replay import ReplayService
from playhead.services.worker import WorkerService, WorkerSettings
from tests.contract.conftest import HEARTBEAT, Clock, Lab

LONG = 30
LOOKS = 40
"""More than make up the quiet after which a worker ends, which is 15."""


class Reported(MemoryBroker):
    """Tells when it is asked for messages, and then does what a test wants of it."""

    def __init__(self, then: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self._then = then

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        self.asked.set()
        await self._then()
        return []


class Leaps:
    """A clock of a process that stands still for a minute before each look at it."""

    def __init__(self) -> None:
        self.looks = 0
        self.has_looked = asyncio.Event()

    def __call__(self) -> float:
        self.looks += 1
        if self.looks == LOOKS:
            self.has_looked.set()
        return self.looks * 60.0


class Site:
    def __init__(self, broker: MemoryBroker | None = None) -> None:
        clock = Clock()
        self.catalog = MemoryCatalog(clock=clock, heartbeat_seconds=HEARTBEAT)
        self.lab = Lab(self.catalog, clock)
        self.broker = broker or MemoryBroker()
        self.held = asyncio.Event()
        self.held.set()
        self.store = MemoryStore(pause=self._turn)
        self.replays = ReplayService(
            *(self.catalog, self.store, self.broker),
            owner="w1",
            lease=15,
            settle=30,
            spawn=lambda work: asyncio.create_task(work),
        )

    async def _turn(self) -> None:
        await self.held.wait()

    def worker(
        self,
        kind: type[WorkerService] = WorkerService,
        *,
        driving: Callable[[], Collection[UUID]] = tuple,
        waiting: Callable[[], Collection[UUID]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> WorkerService:
        settings = WorkerSettings(worker="w1", visibility=30, data_dir="", max_object_bytes=100)
        backends = (self.catalog, self.broker, self.store)
        return kind(*backends, {}, settings, driving=driving, waiting=waiting, clock=clock)


# -- with nothing left to do -----------------------------------------------------------------------


async def test_a_standstill_counts_little_towards_the_quiet_after_which_a_worker_ends():
    site, clock = Site(), Leaps()
    await site.lab.beat("w1")
    await site.lab.opened()

    assert await asyncio.wait_for(site.worker(clock=clock).run(until_idle=True), LONG) == 0

    assert clock.looks > 15


async def test_a_worker_that_drives_a_job_waits_for_its_listing_however_long_a_page_takes():
    site, clock = Site(), Leaps()
    await site.lab.beat("w1")
    job = await site.lab.sealed("a.md")
    site.held.clear()
    drives = asyncio.create_task(site.replays.drive(job))
    worker = site.worker(driving=lambda: site.replays.driving, clock=clock)

    ended = asyncio.create_task(worker.run(until_idle=True))
    looked = asyncio.create_task(clock.has_looked.wait())
    await asyncio.wait([ended, looked], timeout=LONG, return_when=asyncio.FIRST_COMPLETED)
    assert not ended.done()

    site.held.set()
    await drives
    assert await asyncio.wait_for(ended, LONG) == 0
    assert (await site.lab.execution(job)).status == "completed"
    looked.cancel()


@pytest.mark.parametrize(("acquired", "waits"), [(1, True), (5, False)])
async def test_a_worker_waits_for_a_replay_that_another_lists_but_not_for_a_stalled_one(
    acquired: int, waits: bool
):
    site, clock = Site(), Leaps()
    await site.lab.beat("w1", "w2")
    source = (await site.lab.started("a.md")).ids[0]
    await site.lab.work(source)
    execution = (await site.catalog.open_executions())[0]
    replay = await site.lab.replayed(execution)
    for _ in range(acquired):
        site.lab.clock.advance(site.lab.LEASE + 1)
        await site.catalog.acquire(replay.execution_id, owner="w2", lease=site.lab.LEASE)
    await site.catalog.end_executions([execution])

    stop = asyncio.Event()
    ended = asyncio.create_task(site.worker(clock=clock).run(until_idle=True, stop=stop))
    looked = asyncio.create_task(clock.has_looked.wait())
    await asyncio.wait([ended, looked], timeout=LONG, return_when=asyncio.FIRST_COMPLETED)

    assert ended.done() is not waits
    stop.set()
    assert await asyncio.wait_for(ended, LONG) == 0
    looked.cancel()


@pytest.mark.parametrize("only_waits", [False, True])
async def test_a_worker_waits_for_a_replay_that_it_drives_for_others_only_while_that_gets_on(
    only_waits: bool,
):
    site, clock = Site(), Leaps()
    await site.lab.beat("w1")
    source = (await site.lab.started("a.md")).ids[0]
    await site.lab.work(source)
    execution = (await site.catalog.open_executions())[0]
    replay = await site.lab.replayed(execution)
    await site.catalog.acquire(replay.execution_id, owner="w1", lease=site.lab.LEASE)
    await site.catalog.end_executions([execution])

    def driving() -> set[UUID]:
        return {replay.execution_id}

    stop = asyncio.Event()
    worker = site.worker(driving=driving, waiting=driving if only_waits else tuple, clock=clock)
    ended = asyncio.create_task(worker.run(routes=["of-others"], until_idle=True, stop=stop))
    looked = asyncio.create_task(clock.has_looked.wait())
    await asyncio.wait([ended, looked], timeout=LONG, return_when=asyncio.FIRST_COMPLETED)

    assert ended.done() is only_waits
    stop.set()
    assert await asyncio.wait_for(ended, LONG) == 0
    looked.cancel()


# -- with a part of it dead ------------------------------------------------------------------------


async def test_a_lane_that_was_cancelled_though_nobody_stopped_it_is_a_fault():
    async def cancelled() -> None:
        raise asyncio.CancelledError  # as libraries do, when they lose a connection

    site = Site(Reported(cancelled))
    await site.lab.save()

    with pytest.raises(RuntimeError, match=r"lane docs\.convert was cancelled"):
        await asyncio.wait_for(site.worker().run(), LONG)


@pytest.mark.parametrize(
    "fault", [ValueError("broken"), asyncio.CancelledError()], ids=["error", "cancelled"]
)
async def test_the_fault_of_a_lane_that_only_finishes_what_it_has_is_raised(fault: BaseException):
    go_on = asyncio.Event()

    async def fail_then() -> None:
        await go_on.wait()
        raise fault

    broker = Reported(fail_then)
    site = Site(broker)
    await site.lab.save()
    worker = site.worker()
    ended = asyncio.create_task(worker.run())
    await asyncio.wait_for(broker.asked.wait(), LONG)
    await site.catalog.set_active(site.lab.DOCS.name, False)
    async with asyncio.timeout(LONG):
        while worker.queues:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    go_on.set()

    with pytest.raises((ValueError, RuntimeError), match=r"broken|was cancelled"):
        await asyncio.wait_for(ended, LONG)


async def test_a_worker_without_time_outs_ends_and_waits_for_nothing_that_hangs():
    class Broken(WorkerService):
        async def _expire_loop(self) -> None:
            await asked.wait()
            raise ValueError("broken")

    broker = Reported(asyncio.Event().wait)
    asked = broker.asked
    site = Site(broker)
    await site.lab.save()

    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(site.worker(Broken).run(), LONG)
