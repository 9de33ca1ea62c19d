"""A connection to PostgreSQL, as this package uses it, and the words for what goes wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

import asyncpg  # type: ignore[import-untyped]

T = TypeVar("T")
Row = Sequence[Any]
"""The values of one row. It can be unpacked, and asked by position."""


class Connection(Protocol):
    """What is used of asyncpg's connection. Values take the places `$1`, `$2` … of a statement."""

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement (without values: any number of them); returns its tag, `UPDATE 3`."""
        ...

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None: ...

    async def fetch(self, query: str, *args: Any) -> list[Row]: ...

    async def fetchrow(self, query: str, *args: Any) -> Row | None: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[Any]], columns: Sequence[str]
    ) -> str: ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...

    def get_server_pid(self) -> int: ...

    def is_closed(self) -> bool: ...

    async def close(self, *, timeout: float) -> None: ...

    def terminate(self) -> None: ...


Job = Callable[[Connection], Awaitable[T]]

LOCK_SECONDS: Final = 15.0
"""How long one waits for a lock."""

# The last when no host is of the kind that was asked for, and when a connection breaks between two messages.
_BROKEN = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
FAULTS = (*_BROKEN, asyncpg.PostgresError)
"""What a connection raises when it does not do what it was asked. (A `TimeoutError` is an `OSError`.)"""

_GONE = ("08", "57P")
"""Beginnings of the codes after which a connection is of no use."""
_ADVICE = {
    "08": "the connection was lost: try again",
    "08P01": "PgBouncer reports most of its own problems with this code; the operation is repeated",
    "25006": "it is a read-only standby: name its primary, or all of them (?target_session_attrs=read-write)",
    "25P03": "PostgreSQL ended an idle transaction, because this process was suspended for too long",
    "26000": "behind PgBouncer that pools by the transaction, add ?statement_cache_size=0 to the address",
    "28": "it refused the login: check user, password and pg_hba.conf",
    "3D000": "that database does not exist: create it first",
    "3F000": "the schema of search_path does not exist: create it first",
    "42501": "give this user USAGE on the schema, and SELECT, INSERT, UPDATE, DELETE on all its tables",
    "42P01": "its schema is not there any more: run: playhead migrate",
    "42703": "its schema is of another release: run: playhead migrate",
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "it has no connection left: raise max_connections, run fewer processes, or use PgBouncer",
    "55P03": f"a row stayed locked for {LOCK_SECONDS:.0f} s by someone else's transaction",
    "57014": "the statement took too long and was stopped",
    "57P": "it is shutting down or starting up: try again",
}
_STARTUP = (
    "PgBouncer takes it from no address: leave it out there, or list it in its ignore_startup_parameters, "
    "and have the server set it: ALTER ROLE … IN DATABASE … SET search_path = …"
)


class Unreachable(Exception):
    """The database can't be reached, or not now, or did not do what was asked.

    The text names the address (never a password), what happened and what to do about it.

    Attributes:
        in_doubt: the connection was lost during the commit, so it may have happened all the same.
    """

    def __init__(self, detail: str, *, in_doubt: bool = False) -> None:
        super().__init__(detail)
        self.in_doubt = in_doubt


def code_of(exc: BaseException | None) -> str:
    """The SQLSTATE of what PostgreSQL said; empty for all else."""
    return getattr(exc, "sqlstate", None) or ""


def is_lost(exc: BaseException) -> bool:
    """Whether the connection is of no use after this."""
    return isinstance(exc, _BROKEN) or code_of(exc).startswith(_GONE)


def explain(address: str, exc: BaseException) -> str:
    """What went wrong, where, and what to do, in one line."""
    if isinstance(exc, TimeoutError):
        return f"PostgreSQL at {address} did not answer in time: is it busy, or is the way to it cut?"
    code = code_of(exc)
    # Of several lines the first says what is wrong; hints of the library are for its users.
    said = " ".join(str(exc.args[0] if code and exc.args else exc).split())
    if code == "08P01" and "startup parameter" in said:
        return f"PostgreSQL at {address}: {said}; {_STARTUP}"
    for length in (5, 3, 2):
        if advice := _ADVICE.get(code[:length]):
            return f"PostgreSQL at {address}: {said}; {advice}"
    if isinstance(exc, asyncpg.PostgresError):
        return f"PostgreSQL at {address}: {said} (SQLSTATE {code})"
    return f"PostgreSQL at {address} can't be reached: {said or type(exc).__name__}; is it running?"
