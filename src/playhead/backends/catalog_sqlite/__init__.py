"""The embedded catalog: SQLite in WAL mode, every commit durable, many processes.

A write transaction holds SQLite's one write lock, so what the protocol calls a lock on the execution
row is implied: a look and a write in one transaction are one step. Each part of the port has its file.
"""

from __future__ import annotations

import sqlite3

from playhead.backends.catalog_sqlite.browse import BrowsePart
from playhead.backends.catalog_sqlite.configs import ConfigsPart
from playhead.backends.catalog_sqlite.jobs import JobsPart
from playhead.backends.catalog_sqlite.upkeep import UpkeepPart
from playhead.backends.catalog_sqlite.work import WorkPart
from playhead.ports.diagnosis import Finding


class SqliteCatalog(ConfigsPart, JobsPart, WorkPart, UpkeepPart, BrowsePart):
    """The catalog in a SQLite file. See `rows.Part` for the arguments."""

    name: str = "sqlite"

    async def check(self) -> str:
        await self._read(lambda con: con.execute("SELECT 1 FROM executions LIMIT 1").fetchone())
        return f"sqlite {sqlite3.sqlite_version} in {self._db.path.name}"

    async def diagnose(self) -> list[Finding]:
        return await self._db.diagnose()

    async def close(self) -> None:
        """Nothing to let go of: the database is closed by whoever opened it."""


__all__ = ["SqliteCatalog"]
