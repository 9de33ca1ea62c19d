"""The catalog in PostgreSQL: any number of processes on any number of machines.

What SQLite's one write lock implies is said here with row locks. What works on messages of an execution
(claim, bind, finish) holds a share lock on the execution's row; what decides over all of them (cancel, resend,
its end) holds the exclusive one, and looks at the rows in a statement after that: only a new statement sees
what was committed while it waited. The order is: executions, then jobs, then messages by `n`, so that no two
transactions wait for each other in a circle. Each part of the port has its file.
"""

from __future__ import annotations

from playhead.backends._postgres import Unreachable, examine
from playhead.backends.catalog_postgres.browse import BrowsePart
from playhead.backends.catalog_postgres.configs import ConfigsPart
from playhead.backends.catalog_postgres.jobs import JobsPart
from playhead.backends.catalog_postgres.upkeep import UpkeepPart
from playhead.backends.catalog_postgres.work import WorkPart
from playhead.errors import catalog_unavailable
from playhead.ports.diagnosis import Finding


class PostgresCatalog(ConfigsPart, JobsPart, WorkPart, UpkeepPart, BrowsePart):
    """The catalog in a PostgreSQL database. See `rows.Part` for the arguments."""

    name: str = "postgresql"

    async def open(self) -> None:
        """Open the database; an empty one is given its schema.

        Raises:
            Unavailable: it can't be reached.
            CannotStart: its schema is not for this release.
        """
        try:
            await self._db.open()
        except Unreachable as exc:
            raise catalog_unavailable(f"the catalog can't be opened: {exc}") from exc

    async def check(self) -> str:
        version = await self._read(lambda con: con.fetchval("SHOW server_version"))
        await self._read(lambda con: con.fetchval("SELECT 1 FROM executions LIMIT 1"))
        return f"postgresql {version.split()[0]} on {self._db.address}"

    async def diagnose(self) -> list[Finding]:
        return await examine(self._db)

    async def close(self) -> None:
        """Nothing to let go of: the database is closed by whoever opened it."""


__all__ = ["PostgresCatalog"]
