"""What an operation of the catalog or the broker needs of a database: transactions with statements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from playhead.backends.sql.statements import Statement
from playhead.errors import Unavailable
from playhead.ports.diagnosis import Finding

T = TypeVar("T")
Row = Sequence[Any]
"""The values of one row: it can be unpacked, and indexed by position."""


class Session(ABC):
    """One open transaction.

    Attributes:
        raw_ids: the database returns and stores ids as 16 bytes; otherwise it returns `UUID` and stores text.
        row_locks: transactions that write run side by side, and wait for each other at locked rows.
    """

    raw_ids: ClassVar[bool]
    row_locks: ClassVar[bool]

    @abstractmethod
    async def rows(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Return all rows of a statement."""

    async def row(self, statement: Statement, /, **values: Any) -> Row | None:
        """Return the first row, or None."""
        rows = await self.rows(statement, **values)
        return rows[0] if rows else None

    async def value(self, statement: Statement, /, **values: Any) -> Any:
        """Return the first value of the first row, or None."""
        rows = await self.rows(statement, **values)
        return rows[0][0] if rows else None

    @abstractmethod
    async def run(self, statement: Statement, /, **values: Any) -> int:
        """Run a statement, and return how many rows it changed."""

    @abstractmethod
    async def insert(self, statement: Statement, rows: Sequence[Sequence[Any]], /) -> list[Row]:
        """Insert many rows with an `INSERT … VALUES (…)` of one row; return what it RETURNs.

        Args:
            rows: the values of the parameters, in their order.
        """


Body = Callable[[Session], Coroutine[Any, Any, T]]


class Transactions(ABC):
    """Runs bodies of operations in transactions.

    Args:
        what: the port that the database serves, as text.
        unavailable: returns the error of that port. Its cause is the error of the database.

    A body awaits methods of its session only, so SQLite can run it in the thread that writes. It may be run
    again from its start, after a conflict: it changes nothing of its process that must not change twice.

    Each method raises `Unavailable` when the database cannot be reached. `write` and `read` also raise what
    the body raises; then nothing of it is stored.
    """

    def __init__(self, what: str, unavailable: Callable[[str], Unavailable]) -> None:
        self.what = what
        self.unavailable = unavailable

    @property
    def losses(self) -> int:
        """How often a connection was lost. Rows that were read before may differ on the server that is now
        reached."""
        return 0

    @abstractmethod
    async def write(self, body: Body[T], *, seconds: float = 30.0, urgent: bool = False) -> T:
        """Run a body in one transaction; its changes are durable on return.

        Args:
            seconds: how long the transaction may take.
            urgent: do not wait for a connection behind other callers.
        """

    @abstractmethod
    async def read(self, body: Body[T]) -> T:
        """Run a body in a transaction that sees one moment and cannot write."""

    async def rows(self, statement: Statement, /, **values: Any) -> list[Row]:
        """Return all rows of one statement that reads."""
        return await self.read(lambda db: db.rows(statement, **values))

    async def row(self, statement: Statement, /, **values: Any) -> Row | None:
        """Return the first row of one statement that reads, or None."""
        return await self.read(lambda db: db.row(statement, **values))

    async def value(self, statement: Statement, /, **values: Any) -> Any:
        """Return the first value of the first row of one statement that reads, or None."""
        return await self.read(lambda db: db.value(statement, **values))

    async def run(self, statement: Statement, /, **values: Any) -> int:
        """Run one statement that writes, and return how many rows it changed."""
        return await self.write(lambda db: db.run(statement, **values))

    async def maintain(self) -> None:  # noqa: B027
        """Do the database's own housekeeping. PostgreSQL needs none: autovacuum maintains its tables."""

    @abstractmethod
    async def describe(self) -> str:
        """Return the version and the place of the database, once it has answered."""

    @abstractmethod
    async def diagnose(self) -> list[Finding]:
        """Examine the database. See `Diagnosed.diagnose`."""


def natives(db: Session, ids: Sequence[UUID]) -> Sequence[Any]:
    """Return ids in the form in which rows of this database hold them."""
    return [identity.bytes for identity in ids] if db.raw_ids else ids
