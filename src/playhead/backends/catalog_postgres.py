"""The catalog in PostgreSQL: any number of processes on any number of machines.

Row locks do here what SQLite's one write lock does. A transaction that works on messages of an execution
(claim, bind, finish) holds a share lock on the execution's row. A transaction that decides over all of them
(cancel, resend, completion) holds the exclusive lock, and reads the messages in a later statement: only a new
statement sees what was committed while it waited. The order of locks is executions, jobs, then messages by
`n`, so no two transactions wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from playhead.backends._postgres import Connection, Postgres, Unreachable, examine
from playhead.backends._sql_catalog import SqlCatalog
from playhead.backends._sql_catalog.session import Row, Session
from playhead.backends._sql_catalog.statements import Statement
from playhead.errors import catalog_unavailable
from playhead.ports.diagnosis import Finding

T = TypeVar("T")
Body = Callable[[Session], Coroutine[Any, Any, T]]

_MANY_ROWS = 100
"""From this number of rows on, COPY is faster than INSERT, although it needs one more round trip."""


class PostgresSession:
    """A transaction on a connection of asyncpg."""

    raw_ids: ClassVar[bool] = False
    row_locks: ClassVar[bool] = True

    def __init__(self, con: Connection) -> None:
        self._con = con

    async def rows(self, statement: Statement, /, **values: Any) -> list[Row]:
        text, bound = statement.postgres(values)
        return await self._con.fetch(text, *bound)

    async def row(self, statement: Statement, /, **values: Any) -> Row | None:
        text, bound = statement.postgres(values)
        return await self._con.fetchrow(text, *bound)

    async def value(self, statement: Statement, /, **values: Any) -> Any:
        text, bound = statement.postgres(values)
        return await self._con.fetchval(text, *bound)

    async def run(self, statement: Statement, /, **values: Any) -> int:
        text, bound = statement.postgres(values)
        if not text:
            return 0
        count = (await self._con.execute(text, *bound)).rpartition(" ")[2]  # of `UPDATE 3`
        return int(count) if count.isdecimal() else 0

    async def insert(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> list[Row]:
        if not rows:
            return []
        if len(rows) >= _MANY_ROWS and (target := statement.copy_target):
            table, names = target
            await self._con.copy_records_to_table(table, records=rows, columns=names)
            return []
        columns = map(list, zip(*rows, strict=True))
        return await self._con.fetch(statement.postgres_insert(), *columns)


class PostgresTransactions:
    """Runs bodies on connections of a pool; see `Postgres.run`."""

    def __init__(self, db: Postgres) -> None:
        self._server = db

    @property
    def losses(self) -> int:
        return self._server.losses

    async def write(self, body: Body[T], *, seconds: float = 30.0, urgent: bool = False) -> T:
        try:
            return await self._server.run(
                lambda con: body(PostgresSession(con)), seconds=seconds, urgent=urgent
            )
        except Unreachable as exc:
            what = "the commit may have happened" if exc.in_doubt else "cannot write the catalog"
            raise catalog_unavailable(f"{what}: {exc}") from exc

    async def read(self, body: Body[T]) -> T:
        try:
            async with self._server.read() as con:
                return await body(PostgresSession(con))
        except Unreachable as exc:
            raise catalog_unavailable(f"cannot read the catalog: {exc}") from exc

    async def maintain(self) -> None:
        """Do nothing: autovacuum maintains the tables."""


class PostgresCatalog(SqlCatalog):
    """The catalog in a PostgreSQL database.

    Args:
        db: a database, which is not closed with the catalog.
        heartbeat_seconds: the time between heartbeats; a process is dead after five missed ones.
    """

    name: str = "postgresql"

    def __init__(self, db: Postgres, *, heartbeat_seconds: float = 1.0) -> None:
        super().__init__(PostgresTransactions(db), heartbeat_seconds=heartbeat_seconds)
        self._server = db

    async def open(self) -> None:
        """Open the database. Create the schema if the database is empty.

        Raises:
            Unavailable: the database cannot be reached.
            CannotStart: this release cannot use its schema.
        """
        try:
            await self._server.open()
        except Unreachable as exc:
            raise catalog_unavailable(f"cannot open the catalog: {exc}") from exc

    async def check(self) -> str:
        try:
            async with self._server.read() as con:
                version = await con.fetchval("SHOW server_version")
        except Unreachable as exc:
            raise catalog_unavailable(f"cannot read the catalog: {exc}") from exc
        await self.open_executions()
        return f"postgresql {version.split()[0]} on {self._server.address}"

    async def diagnose(self) -> list[Finding]:
        return await examine(self._server)
