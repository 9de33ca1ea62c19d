"""The reader threads of a SQLite file."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from playhead.backends._sqlite import Connection, Database


async def test_three_long_reads_leave_a_connection_to_short_ones(tmp_path: Path):
    db = Database(tmp_path / "playhead.db")
    await db.open()
    gate = threading.Event()

    def long(con: Connection) -> None:
        con.execute("SELECT 1").fetchone()
        gate.wait()

    def short(con: Connection) -> int:
        return int(con.execute("SELECT 1").fetchone()[0])

    waiting = [asyncio.ensure_future(db.read(long)) for _ in range(3)]
    try:
        async with asyncio.timeout(30):
            assert await db.read(short) == 1
    finally:
        gate.set()
        await asyncio.gather(*waiting)
        await db.close()
