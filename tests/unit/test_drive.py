"""A job that this process loses, and one whose queue was full."""

from __future__ import annotations

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.store_memory import MemoryStore
from playhead.engine.drive import Drive
from playhead.engine.environment import Backends, Environment
from playhead.ports.store import Blob
from tests.catalog_memory import MemoryCatalog
from tests.contract.conftest import HEARTBEAT, Clock, Lab


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
