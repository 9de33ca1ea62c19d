"""When a worker ends: only when no work is left, and with an error if one of its parts has died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from uuid import UUID

import pytest

from playhead import logformat
from playhead.clock import LONGEST_GAP_SECONDS
from playhead.environment import Environment, WorkerSettings
from playhead.ports.broker import Delivery
from playhead.ports.catalog.upkeep import Process
from playhead.services.replay import ReplayService
from playhead.services.worker import WorkerService
from playhead.work.idle import QUIET_SECONDS
from tests.broker_memory import MemoryBroker
from tests.lab import MemoryDeployment
from tests.store_memory import MemoryStore

LONG = 30
FEWEST_READINGS = QUIET_SECONDS / LONGEST_GAP_SECONDS
READINGS = 10 * FEWEST_READINGS
"""Far more readings of the clock than an idle worker needs before it ends."""


class Observed(MemoryBroker):
    """Records when dispatches are requested, and then runs a function of the test."""

    def __init__(self, then: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self._then = then

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        self.asked.set()
        await self._then()
        return []


class Suspended:
    """The clock of a process that is suspended for a minute before each reading."""

    def __init__(self) -> None:
        self.readings = 0
        self.was_read = asyncio.Event()

    def __call__(self) -> float:
        self.readings += 1
        if self.readings == READINGS:
            self.was_read.set()
        return self.readings * 60.0


class World(MemoryDeployment):
    """A deployment whose store does not answer while `held` is cleared."""

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self.held = asyncio.Event()
        self.held.set()
        super().__init__(broker=broker, store=MemoryStore(pause=self._turn))
        self.replays = ReplayService(self.backends, Environment("w1"), lease=15, settle=30)

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
        return kind(
            self.backends,
            {},
            WorkerSettings(visibility=30, data_dir="", max_object_bytes=100),
            Environment("w1", clock=clock),
            driving=driving,
            waiting=waiting,
        )


# -- when no work is left --------------------------------------------------------------------------


async def test_a_suspension_counts_little_towards_the_quiet_after_which_a_worker_ends():
    world, clock = World(), Suspended()
    await world.lab.beat("w1")
    await world.catalog.heartbeat(Process("run-1", "run", "elsewhere", 1))
    await world.lab.opened(owner="run-1")

    assert await asyncio.wait_for(world.worker(clock=clock).run(until_idle=True), LONG) == 0

    assert clock.readings >= FEWEST_READINGS


async def test_a_worker_names_the_processes_that_may_still_add_messages(caplog):
    world = World()
    await world.lab.beat("w1")
    await world.catalog.heartbeat(Process("run-1", "run", "elsewhere", 1))
    execution = await world.lab.opened(owner="run-1")

    await asyncio.wait_for(world.worker(clock=Suspended()).run(until_idle=True), LONG)

    (line,) = [logformat.one_line(one) for one in caplog.records if one.getMessage() == "executions_open"]
    assert str(execution) in line
    assert "run-1" in line


@pytest.mark.parametrize("state", ["paused", "queued", "stalled"])
async def test_a_worker_does_not_wait_for_messages_that_no_process_publishes(caplog, state: str):
    world = World()
    batch, first = await half_published(world, listed=state != "stalled")
    await world.lab.work(first)
    if state == "stalled":
        await stall(world, (await world.lab.replay(batch)).execution_id)
    else:
        await world.catalog.pause(batch)
    if state == "queued":
        await world.catalog.resume(batch)
    assert (await world.lab.replay(batch)).state == state

    assert await asyncio.wait_for(world.worker(clock=Suspended()).run(until_idle=True), LONG) == 0

    (line,) = [logformat.one_line(one) for one in caplog.records if one.getMessage() == "executions_open"]
    assert f"replay {batch} is {state}" in line
    assert "other processes" not in line


async def test_a_worker_waits_for_a_published_message_of_a_paused_replay():
    world, clock = World(), Suspended()
    batch, first = await half_published(world)
    await world.catalog.pause(batch)

    ended = asyncio.create_task(world.worker(clock=clock).run(until_idle=True))
    readings = asyncio.create_task(clock.was_read.wait())
    await asyncio.wait([ended, readings], timeout=LONG, return_when=asyncio.FIRST_COMPLETED)
    assert not ended.done()

    await world.lab.work(first)
    assert await asyncio.wait_for(ended, LONG) == 0
    readings.cancel()


async def half_published(world: World, *, listed: bool = True) -> tuple[UUID, UUID]:
    """A replay of two objects, of which one is published. Returns the batch and the id of that message."""
    await world.lab.beat("w1")
    run = await world.lab.started("a.md", "b.md")
    for message in run.ids:
        await world.lab.work(message)
    await world.catalog.end_executions()
    replay = await world.lab.replayed(run.execution)
    held = await world.lab.hold(replay.execution_id)
    keys = [f"{run.execution}/input/{name}.md" for name in "ab"]
    first, _ = await world.lab.list_all(held, *keys, last=listed)
    assert await world.catalog.mark(held, 1)
    return replay.replay_batch_id, UUID(first.correlation_id)


async def stall(world: World, job: UUID) -> None:
    """Let five processes die without progress, and a sixth take the job over."""
    for _ in range(6):
        world.clock.advance(world.lab.LEASE + 1)
        await world.lab.beat("w1")
        await world.catalog.acquire(job, owner="w1", lease=world.lab.LEASE)


async def test_a_worker_waits_until_a_run_whose_process_died_during_its_upload_is_settled():
    """It ended after three seconds, while the run was still shown as running."""
    world, clock = World(), Suspended()
    await world.lab.beat("w1")
    execution = await world.lab.opened(owner="run-1")

    ended = asyncio.create_task(world.worker(clock=clock).run(until_idle=True))
    readings = asyncio.create_task(clock.was_read.wait())
    await asyncio.wait([ended, readings], timeout=LONG, return_when=asyncio.FIRST_COMPLETED)
    assert not ended.done()

    world.clock.advance(world.lab.LEASE + 1)
    assert await world.catalog.fail_unsealed() == [execution]
    assert await asyncio.wait_for(ended, LONG) == 0
    readings.cancel()


async def test_a_worker_waits_for_the_listing_of_a_job_that_it_drives_however_long_a_page_takes():
    world, clock = World(), Suspended()
    await world.lab.beat("w1")
    await world.lab.work((await world.lab.started("a.md")).ids[0])
    execution = (await world.catalog.open_executions())[0]
    job = (await world.lab.replayed(execution)).execution_id
    await world.catalog.end_executions([execution])
    world.held.clear()
    drives = asyncio.create_task(world.replays.drives.drive(job))
    worker = world.worker(driving=lambda: world.replays.drives.driving, clock=clock)

    ended = asyncio.create_task(worker.run(routes=["split"], until_idle=True))
    readings = asyncio.create_task(clock.was_read.wait())
    await asyncio.wait([ended, readings], timeout=LONG, return_when=asyncio.FIRST_COMPLETED)
    assert not ended.done()

    world.held.set()
    await drives
    assert await asyncio.wait_for(ended, LONG) == 0
    assert (await world.lab.execution(job)).status == "failed"  # there is no object to replay
    readings.cancel()


@pytest.mark.parametrize(("acquired", "waits"), [(1, True), (6, False)])
async def test_a_worker_waits_for_a_replay_that_another_process_lists_but_not_for_a_stalled_one(
    acquired: int, waits: bool
):
    world, clock = World(), Suspended()
    await world.lab.beat("w1", "w2")
    source = (await world.lab.started("a.md")).ids[0]
    await world.lab.work(source)
    execution = (await world.catalog.open_executions())[0]
    replay = await world.lab.replayed(execution)
    for _ in range(acquired):
        world.clock.advance(world.lab.LEASE + 1)
        await world.catalog.acquire(replay.execution_id, owner="w2", lease=world.lab.LEASE)
    await world.catalog.end_executions([execution])

    stop = asyncio.Event()
    ended = asyncio.create_task(world.worker(clock=clock).run(until_idle=True, stop=stop))
    readings = asyncio.create_task(clock.was_read.wait())
    await asyncio.wait([ended, readings], timeout=LONG, return_when=asyncio.FIRST_COMPLETED)

    assert ended.done() is not waits
    stop.set()
    assert await asyncio.wait_for(ended, LONG) == 0
    readings.cancel()


@pytest.mark.parametrize("only_waits", [False, True])
async def test_a_worker_waits_for_a_replay_into_a_foreign_queue_only_while_its_own_drive_makes_progress(
    only_waits: bool,
):
    world, clock = World(), Suspended()
    await world.lab.beat("w1")
    source = (await world.lab.started("a.md")).ids[0]
    await world.lab.work(source)
    execution = (await world.catalog.open_executions())[0]
    replay = await world.lab.replayed(execution)
    await world.catalog.acquire(replay.execution_id, owner="w1", lease=world.lab.LEASE)
    await world.catalog.end_executions([execution])

    def driving() -> set[UUID]:
        return {replay.execution_id}

    stop = asyncio.Event()
    worker = world.worker(driving=driving, waiting=driving if only_waits else tuple, clock=clock)
    ended = asyncio.create_task(worker.run(routes=["foreign"], until_idle=True, stop=stop))
    readings = asyncio.create_task(clock.was_read.wait())
    await asyncio.wait([ended, readings], timeout=LONG, return_when=asyncio.FIRST_COMPLETED)

    assert ended.done() is only_waits
    stop.set()
    assert await asyncio.wait_for(ended, LONG) == 0
    readings.cancel()


async def test_a_worker_does_not_wait_for_dispatches_that_a_dead_process_still_hides():
    world = World()
    (message,) = (await world.started("a.md")).ids
    assert await world.broker.receive("docs.convert", 1)
    await world.lab.work(message)
    await world.catalog.end_executions()

    assert await asyncio.wait_for(world.worker().run(until_idle=True), LONG) == 0


# -- when a part has died ---------------------------------------------------------------------------


async def test_an_unexpected_cancellation_of_a_consumer_is_a_fault():
    async def cancelled() -> None:
        raise asyncio.CancelledError  # as libraries do, when they lose a connection

    world = World(Observed(cancelled))
    await world.lab.save()

    with pytest.raises(RuntimeError, match=r"consumer of docs\.convert was cancelled"):
        await asyncio.wait_for(world.worker().run(), LONG)


async def test_the_fault_of_a_consumer_that_has_been_stopped_is_raised():
    async def fail_at_the_end() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("broken") from None

    broker = Observed(fail_at_the_end)
    world = World(broker)
    await world.lab.save()
    ended = asyncio.create_task(world.worker().run())
    await asyncio.wait_for(broker.asked.wait(), LONG)
    await world.catalog.set_active(world.lab.DOCS.name, False)

    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(ended, LONG)


async def test_a_worker_whose_time_out_loop_fails_ends_without_waiting_for_hanging_adapters():
    class Broken(WorkerService):
        async def _expire_loop(self) -> None:
            await asked.wait()
            raise ValueError("broken")

    broker = Observed(asyncio.Event().wait)
    asked = broker.asked
    world = World(broker)
    await world.lab.save()

    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(world.worker(Broken).run(), LONG)
