"""Statements on PostgreSQL, within transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from playhead.backends._postgres.database import Postgres
from playhead.backends._postgres.diagnosis import examine
from playhead.backends._postgres.session import Connection, Unreachable
from playhead.backends.sql.session import Body, Row, Session, Transactions
from playhead.backends.sql.statements import Statement
from playhead.errors import Unavailable
from playhead.ports.diagnosis import Finding

T = TypeVar("T")

_MANY_ROWS = 100
"""From this number of rows on, COPY is faster than INSERT, although it needs one more round trip."""
_VERSION = Statement("version", {"postgresql": "SHOW server_version"})


class PostgresSession(Session):
    """A transaction on a connection of asyncpg."""

    raw_ids: ClassVar[bool] = False
    row_locks: ClassVar[bool] = True

    def __init__(self, con: Connection) -> None:
        self._con = con

    async def rows(self, statement: Statement, /, **values: Any) -> list[Row]:
        text, bound = statement.postgres(values)
        return await self._con.fetch(text, *bound)

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


class PostgresTransactions(Transactions):
    """Runs bodies on connections of a pool; see `Postgres.run`."""

    def __init__(self, db: Postgres, what: str, unavailable: Callable[[str], Unavailable]) -> None:
        super().__init__(what, unavailable)
        self._server = db

    @property
    def losses(self) -> int:
        return self._server.losses

    async def open(self) -> None:
        """Open the database. Create the schema if the database is empty.

        Raises:
            Unavailable: the database cannot be reached.
            CannotStart: this release cannot use its schema.
        """
        try:
            await self._server.open()
        except Unreachable as exc:
            raise self.unavailable(f"cannot open the {self.what}: {exc}") from exc

    async def write(self, body: Body[T], *, seconds: float = 30.0, urgent: bool = False) -> T:
        try:
            return await self._server.run(
                lambda con: body(PostgresSession(con)), seconds=seconds, urgent=urgent
            )
        except Unreachable as exc:
            what = "the commit may have happened" if exc.in_doubt else f"cannot write the {self.what}"
            raise self.unavailable(f"{what}: {exc}") from exc

    async def read(self, body: Body[T]) -> T:
        try:
            async with self._server.read() as con:
                return await body(PostgresSession(con))
        except Unreachable as exc:
            raise self.unavailable(f"cannot read the {self.what}: {exc}") from exc

    async def describe(self) -> str:
        version: str = await self.read(lambda db: db.value(_VERSION))
        return f"postgresql {version.split()[0]} on {self._server.address}"

    async def diagnose(self) -> list[Finding]:
        return await examine(self._server)
