"""A process sends heartbeats to PostgreSQL while all its other calls wait."""

from __future__ import annotations

import asyncio

import asyncpg  # type: ignore[import-untyped]

from playhead.backends._postgres import Postgres
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.ports.catalog.upkeep import Process

BEAT = 0.1
ME = Process("w1", "worker", "here", 1)


async def test_a_process_with_all_connections_waiting_for_a_lock_does_not_count_as_dead(
    url: str,
):
    other = await asyncpg.connect(url)
    mine, theirs = (Postgres(f"{url}&pool_size=2") for _ in range(2))
    catalog, seen = (PostgresCatalog(db, heartbeat_seconds=BEAT) for db in (mine, theirs))
    await catalog.open()
    await seen.open()
    await catalog.heartbeat(ME)

    async with asyncio.TaskGroup() as waiting, other.transaction():
        await other.execute("LOCK TABLE leases")
        for _ in range(2 * mine.connections):
            waiting.create_task(catalog.lease("reconciler", ME.id, seconds=1))
        for _ in range(10):
            await asyncio.sleep(BEAT)
            await catalog.heartbeat(ME)
        # Five heartbeats are half a second here. If the machine stalls that long, every process counts as
        # dead.
        async with asyncio.timeout(10):
            while [worker.worker_id for worker in await seen.workers()] != [ME.id]:
                await catalog.heartbeat(ME)

    await mine.close()
    await theirs.close()
    await other.close()
