"""A job that another process takes over, one whose listing finds no object, and one whose queue is full."""

from __future__ import annotations

from collections.abc import Sequence

from playhead.engine.drive import Drive
from playhead.engine.environment import Backends, Environment
from playhead.envelope import Dispatch
from playhead.ports.broker import CONFIRMED, PublishResult
from playhead.ports.store import Blob
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog
from tests.contract.conftest import HEARTBEAT, Clock, Lab
from tests.store_memory import MemoryStore


async def test_a_released_job_is_not_leased_again_by_a_later_renewal():
    clock = Clock()
    catalog, store = MemoryCatalog(clock=clock, heartbeat_seconds=HEARTBEAT), MemoryStore()
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    job = await lab.sealed("a.md")
    await store.write([[Blob(f"{job}/input/a.md", b"")]])
    held = await lab.hold(job)
    drive = Drive(
        Backends(catalog, MemoryBroker(clock=clock), store),
        Environment("w1", clock=clock),
        held,
        lease=lab.LEASE,
        page=10,
    )
    # The page was recorded and the answer was lost: the same page is recorded again, and refused.
    await lab.list_all(held, f"{job}/input/a.md", last=False)

    await drive.run()

    assert not await drive.renew()
    assert await catalog.abandoned_jobs() == [job]


async def test_a_replay_that_lists_nothing_failed_as_its_source_had_an_object_when_it_was_created():
    """A process with another PLAYHEAD_STORE took the job over, and the replay completed with 0 messages."""
    clock = Clock()
    catalog = MemoryCatalog(clock=clock, heartbeat_seconds=HEARTBEAT)
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    replay = await lab.replayed((await lab.started("a.md")).execution)
    drive = Drive(
        Backends(catalog, MemoryBroker(clock=clock), MemoryStore()),
        Environment("w1", clock=clock),
        await lab.hold(replay.execution_id),
        lease=lab.LEASE,
        page=10,
    )

    await drive.run()

    ended = await catalog.execution(replay.execution_id)
    assert ended
    assert ended.status == "failed"
    assert ended.error
    assert ended.error.code == "listing_failed"
    assert "PLAYHEAD_STORE" in ended.error.message


class Full(MemoryBroker):
    """Takes one dispatch of each batch while it is full."""

    is_full = True

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        taken = dispatches[:1] if self.is_full else dispatches
        await super().publish(taken)
        left = len(dispatches) - len(taken)
        return [CONFIRMED] * len(taken) + [PublishResult("uncertain", "it is full")] * left


async def test_the_pause_before_a_full_queue_is_tried_again_is_short_again_when_it_has_taken_some():
    """It stayed at five seconds, for 1,000 rows each."""
    clock = Clock()
    catalog, broker, store = MemoryCatalog(clock=clock), Full(clock=clock), MemoryStore()
    lab = Lab(catalog, clock)
    paths = [f"{n}.md" for n in range(12)]
    job = await lab.sealed(*paths)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    drive = Drive(
        Backends(catalog, broker, store),
        Environment("w1", sleep=sleep, clock=clock),
        await lab.hold(job),
        lease=lab.LEASE,
        page=100,
    )

    await drive.run()

    assert waited == [0.2] * 10
