"""A connection to PostgreSQL, as this package uses it, and the texts of its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

import asyncpg  # type: ignore[import-untyped]

T = TypeVar("T")
Row = Sequence[Any]
"""The values of one row, by position."""


class Connection(Protocol):
    """The methods of asyncpg's connection that are used. `$1`, `$2` … in a statement refer to the values."""

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement, or several if there are no values. Return the command tag, such as `UPDATE 3`."""
        ...

    async def fetch(self, query: str, *args: Any) -> list[Row]: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[Any]], columns: Sequence[str]
    ) -> str: ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...

    def is_closed(self) -> bool: ...

    async def close(self, *, timeout: float) -> None: ...

    def terminate(self) -> None: ...


Job = Callable[[Connection], Awaitable[T]]

LOCK_SECONDS: Final = 15.0
"""Time limit for waiting for a lock."""

# asyncpg raises the last one if no host has the wanted role, or if a connection breaks between two messages.
_BROKEN = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
FAULTS = (*_BROKEN, asyncpg.PostgresError)
"""The exceptions of a failed operation. `TimeoutError` is an `OSError`."""

_GONE = ("08", "57P")
"""Prefixes of the codes after which a connection cannot be used."""
_ADVICE = {
    "08": "the connection was lost; try again",
    "08P01": "PgBouncer reports most of its own problems with this code; the operation is repeated",
    "25006": "this is a read-only standby; use the primary, or list all hosts with "
    "?target_session_attrs=read-write",
    "25P03": "PostgreSQL ended an idle transaction, because this process was suspended for too long",
    "26000": "for PgBouncer in transaction mode, add ?statement_cache_size=0 to the address",
    "28": "the login was rejected; check user, password and pg_hba.conf",
    "3D000": "the database does not exist; create it first",
    "3F000": "the schema of search_path does not exist; create it first",
    "42501": "this user lacks a right; `playhead doctor` names it, `playhead migrate --grants` prints all",
    "42P01": "the tables do not exist; run: playhead migrate",
    "42703": "the schema belongs to another release; run: playhead migrate",
    "53100": "the disk of the server is full",
    "53200": "the server is out of memory",
    "53300": "it has no connection left; raise max_connections, run fewer processes, or use PgBouncer",
    "55P03": f"another transaction kept a row locked for {LOCK_SECONDS:.0f} s",
    "57014": "the statement took too long and was cancelled",
    "57P": "the server is shutting down or starting; try again",
}
_STARTUP = (
    "PgBouncer rejects this parameter in an address. Set it on the server instead: "
    "ALTER ROLE … IN DATABASE … SET search_path = …"
)


class Unreachable(Exception):
    """The database is unavailable, or an operation failed.

    The text names the address (without the password), the problem and the fix.

    Attributes:
        in_doubt: whether the connection was lost during a commit, so that the commit may have succeeded.
    """

    def __init__(self, detail: str, *, in_doubt: bool = False) -> None:
        super().__init__(detail)
        self.in_doubt = in_doubt


def code_of(exc: BaseException | None) -> str:
    """Return the SQLSTATE of an error of PostgreSQL; empty for other errors."""
    return getattr(exc, "sqlstate", None) or ""


def is_lost(exc: BaseException) -> bool:
    """Whether the connection cannot be used after this error."""
    return isinstance(exc, _BROKEN) or code_of(exc).startswith(_GONE)


def explain(address: str, exc: BaseException) -> str:
    """Return the problem, the address and the fix in one line."""
    if isinstance(exc, TimeoutError):
        return f"PostgreSQL at {address} did not answer in time; check its load and the network"
    code = code_of(exc)
    # An error of PostgreSQL has its text in the first argument. Hints of asyncpg follow it.
    said = " ".join(str(exc.args[0] if code and exc.args else exc).split())
    if code == "08P01" and "startup parameter" in said:
        return f"PostgreSQL at {address}: {said}; {_STARTUP}"
    for length in (5, 3, 2):
        if advice := _ADVICE.get(code[:length]):
            return f"PostgreSQL at {address}: {said}; {advice}"
    if isinstance(exc, asyncpg.PostgresError):
        return f"PostgreSQL at {address}: {said} (SQLSTATE {code})"
    return f"cannot reach PostgreSQL at {address}: {said or type(exc).__name__}; is it running?"
