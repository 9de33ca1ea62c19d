"""One hold of a job: what is left of it when it is lost."""

from __future__ import annotations

import asyncio

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.counters import Counters
from playhead.engine.drive import Drive
from playhead.ports.store import Blob
from tests.contract.conftest import HEARTBEAT, Clock, Lab


async def test_a_job_that_was_let_go_of_is_not_held_again_by_a_renewal_that_comes_after():
    clock = Clock()
    catalog, store = MemoryCatalog(clock=clock, heartbeat_seconds=HEARTBEAT), MemoryStore()
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    job = await lab.sealed("a.md")
    await store.write([[Blob(f"{job}/input/a.md", b"")]])
    held = await lab.hold(job)
    drive = Drive(
        *(catalog, store, MemoryBroker(clock=clock), held),
        lease=lab.LEASE,
        sleep=asyncio.sleep,
        begin=asyncio.create_task,
        page=10,
        clock=clock,
        counters=Counters(),
    )
    # Recorded, and the answer was lost: the same page comes once more, and is refused.
    await lab.list_all(held, f"{job}/input/a.md", last=False)

    await drive.run()

    assert not await drive.renew()
    assert await catalog.abandoned_jobs() == [job]
