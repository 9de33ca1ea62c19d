"""The SQL catalog over SQLite in the memory of this process, without threads.

A body of an operation awaits only its session, so a transaction is one uninterrupted step in the calling
thread. No method touches an event loop, so a test may drive coroutines over it by hand.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
import weakref
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from playhead.backends._sql_catalog import SqlCatalog
from playhead.backends._sqlite import Database, SqliteSession, at_once, statements
from playhead.backends._sqlite.file import File
from playhead.backends.sql import migrations
from playhead.backends.sql.session import Body, Transactions
from playhead.errors import catalog_unavailable
from playhead.liveness import Liveness
from playhead.ports.diagnosis import Finding

T = TypeVar("T")


@cache
def _empty() -> sqlite3.Connection:
    """A database with the schema and without rows. A copy takes less time than the schema."""
    con = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for step in migrations("sqlite"):
        for statement in statements(step.sql):
            con.execute(statement)
    return con


@cache
def _empty_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "playhead.db"
        Database(path).migrate()
        return path.read_bytes()


def database(folder: Path, clock: Callable[[], float]) -> Database:
    """The database file of a folder, with the schema and without rows if the folder had none."""
    path = folder / "playhead.db"
    if not path.exists():
        path.write_bytes(_empty_file())
    return Database(path, clock=clock)


class MemoryTransactions(Transactions):
    """Runs each body in the calling thread, after one pause."""

    def __init__(
        self,
        clock: Callable[[], float],
        pause: Callable[[], Awaitable[None]] | None = None,
        committed: Callable[[], None] | None = None,
    ) -> None:
        super().__init__("catalog", catalog_unavailable)
        self.con = File(Path(":memory:"), busy_seconds=0, clock=clock).connect()
        _empty().backup(self.con)
        weakref.finalize(self, self.con.close)
        self._session = SqliteSession(self.con)
        self._pause = pause
        self._committed = committed

    async def write(self, body: Body[T], *, seconds: float = 0.0, urgent: bool = False) -> T:
        if self._pause:
            await self._pause()
        self.con.execute("BEGIN")
        try:
            answer = at_once(body(self._session))
        except BaseException:
            self.con.execute("ROLLBACK")
            raise
        self.con.execute("COMMIT")
        if self._committed:
            self._committed()
        return answer

    async def read(self, body: Body[T]) -> T:
        if self._pause:
            await self._pause()
        return at_once(body(self._session))  # one step, so it sees one moment

    async def describe(self) -> str:
        return f"sqlite {sqlite3.sqlite_version} in memory"

    async def diagnose(self) -> list[Finding]:
        return []


class MemoryCatalog(SqlCatalog):
    """The catalog of unit tests, API tests and random schedules. All processes of a test share it.

    Args:
        clock: seconds since the epoch.
        heartbeat_seconds: between two beats of a process; it is dead after five missed.
        pause: awaited at the start of every transaction; the rest of the transaction is one step.
        committed: called after every commit, in the same step.
    """

    name: str = "memory"

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        heartbeat_seconds: float = 1.0,
        pause: Callable[[], Awaitable[None]] | None = None,
        committed: Callable[[], None] | None = None,
    ) -> None:
        transactions = MemoryTransactions(clock, pause, committed)
        # No process was silent itself, however slow the machine is.
        super().__init__(transactions, Liveness(heartbeat_seconds, lambda: 0.0))
        self.con = transactions.con
