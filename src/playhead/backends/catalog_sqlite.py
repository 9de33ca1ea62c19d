"""The embedded catalog: SQLite in WAL mode, every commit durable, for the processes of one machine.

SQLite has one write lock, so a transaction that writes is alone: row locks are implied.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from playhead.backends._sql_catalog import SqlCatalog
from playhead.backends._sql_catalog.session import Row, Session
from playhead.backends._sql_catalog.statements import Statement
from playhead.backends._sqlite import VERSION, Connection, Database, Error, examine
from playhead.errors import CatalogDamaged, Unavailable, catalog_unavailable
from playhead.ports.diagnosis import Finding

T = TypeVar("T")
Body = Callable[[Session], Coroutine[Any, Any, T]]


class SqliteSession:
    """A transaction on a connection of the thread that runs it: its methods never suspend."""

    raw_ids: ClassVar[bool] = True
    row_locks: ClassVar[bool] = False

    def __init__(self, con: Connection) -> None:
        self._con = con

    async def rows(self, statement: Statement, /, **values: Any) -> list[Row]:
        text, bound = statement.sqlite(values)
        return self._con.execute(text, bound).fetchall()

    async def row(self, statement: Statement, /, **values: Any) -> Row | None:
        text, bound = statement.sqlite(values)
        row: Row | None = self._con.execute(text, bound).fetchone()
        return row

    async def value(self, statement: Statement, /, **values: Any) -> Any:
        text, bound = statement.sqlite(values)
        row = self._con.execute(text, bound).fetchone()
        return row[0] if row else None

    async def run(self, statement: Statement, /, **values: Any) -> int:
        text, bound = statement.sqlite(values)
        return self._con.execute(text, bound).rowcount if text else 0

    async def insert(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> list[Row]:
        returned: list[Row] = []
        for text, bound in statement.sqlite_inserts(rows):
            returned += self._con.execute(text, bound).fetchall()
        return returned


class SqliteTransactions:
    """Runs bodies in the writer thread or in a reader thread."""

    losses: int = 0

    def __init__(self, db: Database) -> None:
        self._file = db

    async def write(self, body: Body[T], *, seconds: float = 0.0, urgent: bool = False) -> T:
        try:
            return await self._file.write(lambda con: _at_once(body(SqliteSession(con))))
        except Error as exc:
            raise self._unavailable("write", exc) from exc

    async def read(self, body: Body[T]) -> T:
        try:
            return await self._file.read(lambda con: _at_once(body(SqliteSession(con))))
        except Error as exc:
            raise self._unavailable("read", exc) from exc

    async def maintain(self) -> None:
        try:
            await self._file.checkpoint()
        except Error as exc:
            raise self._unavailable("checkpoint", exc) from exc

    def _unavailable(self, verb: str, exc: Error) -> Unavailable:
        detail = f"cannot {verb} the catalog {self._file.path}: {self._file.trouble(exc)}"
        return CatalogDamaged(detail) if self._file.damage else catalog_unavailable(detail)


class SqliteCatalog(SqlCatalog):
    """The catalog in a SQLite file.

    Args:
        db: an open database, which is not closed with the catalog. Its clock is the catalog's.
        heartbeat_seconds: the time between heartbeats; a process is dead after five missed ones.
    """

    name: str = "sqlite"

    def __init__(self, db: Database, *, heartbeat_seconds: float = 1.0) -> None:
        super().__init__(SqliteTransactions(db), heartbeat_seconds=heartbeat_seconds)
        self._file = db

    async def check(self) -> str:
        if self._file.damage:
            raise CatalogDamaged(f"the catalog {self._file.path} is damaged: {self._file.damage}")
        await self.open_executions()
        return f"sqlite {VERSION} in {self._file.path}"

    async def diagnose(self) -> list[Finding]:
        return await examine(self._file)


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return its result."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("a transaction on SQLite may await only its session")
