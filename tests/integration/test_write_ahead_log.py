"""The write-ahead log of the SQLite file does not grow without bound during continuous writes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from playhead.backends._sqlite import Connection, Database


async def test_the_log_restarts_after_a_checkpoint_between_writes(tmp_path: Path):
    db = Database(tmp_path / "playhead.db")
    log = tmp_path / "playhead.db-wal"
    gate = threading.Event()

    def note(name: str) -> None:
        def job(con: Connection) -> None:
            con.execute("INSERT INTO leases VALUES (?, ?, 0)", (name, "x" * 20_000))

        writes.append(asyncio.create_task(db.write(job)))

    await db.open()
    try:
        writes: list[asyncio.Task[None]] = []
        note("before")
        await asyncio.gather(*writes)
        size = log.stat().st_size
        held = asyncio.create_task(db.write(lambda _: gate.wait(10)))
        await asyncio.sleep(0.05)
        note("first")  # these three wait together, as during a replay
        checkpoint = asyncio.create_task(db.checkpoint())
        note("second")
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(held, checkpoint, *writes)
        assert log.stat().st_size <= size + 40_000, "the second write went to the start of the log"
    finally:
        await db.close()
