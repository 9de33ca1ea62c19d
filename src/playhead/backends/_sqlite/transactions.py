"""Statements on a SQLite file, within transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from playhead.backends._sqlite.database import Database
from playhead.backends._sqlite.diagnosis import examine
from playhead.backends._sqlite.file import Connection
from playhead.backends.sql.session import Body, Row, Session, Transactions
from playhead.backends.sql.statements import Statement
from playhead.errors import Unavailable
from playhead.ports.diagnosis import Finding

T = TypeVar("T")


class SqliteSession(Session):
    """A transaction on a connection of the thread that runs it: its methods never suspend."""

    raw_ids: ClassVar[bool] = True
    row_locks: ClassVar[bool] = False

    def __init__(self, con: Connection) -> None:
        self._con = con

    async def rows(self, statement: Statement, /, **values: Any) -> list[Row]:
        text, bound = statement.sqlite(values)
        return self._con.execute(text, bound).fetchall()

    async def run(self, statement: Statement, /, **values: Any) -> int:
        text, bound = statement.sqlite(values)
        return self._con.execute(text, bound).rowcount if text else 0

    async def insert(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> list[Row]:
        returned: list[Row] = []
        for text, bound in statement.sqlite_inserts(rows):
            returned += self._con.execute(text, bound).fetchall()
        return returned


class SqliteTransactions(Transactions):
    """Runs bodies in the writer thread or in a reader thread."""

    def __init__(self, db: Database, what: str, unavailable: Callable[[str], Unavailable]) -> None:
        super().__init__(what, unavailable)
        self._file = db

    async def write(self, body: Body[T], *, seconds: float = 0.0, urgent: bool = False) -> T:
        try:
            return await self._file.write(lambda con: at_once(body(SqliteSession(con))))
        except sqlite3.Error as exc:
            raise self._trouble("write", exc) from exc

    async def read(self, body: Body[T]) -> T:
        try:
            return await self._file.read(lambda con: at_once(body(SqliteSession(con))))
        except sqlite3.Error as exc:
            raise self._trouble("read", exc) from exc

    async def maintain(self) -> None:
        try:
            await self._file.checkpoint()
        except sqlite3.Error as exc:
            raise self._trouble("checkpoint", exc) from exc

    async def describe(self) -> str:
        return f"sqlite {sqlite3.sqlite_version} in {self._file.path}"

    async def diagnose(self) -> list[Finding]:
        return await examine(self._file)

    def _trouble(self, verb: str, exc: sqlite3.Error) -> Unavailable:
        trouble = self._file.trouble(exc)
        return self.unavailable(f"cannot {verb} the {self.what} {self._file.path}: {trouble}")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return its result."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("a transaction on SQLite may await only its session")
