"""What adapters with a file of SQLite share: its name, its schema and its transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from playhead.adapters._data_folder import path_problem
from playhead.errors import PlayheadError

BUSY_SECONDS: Final = 30.0
_BESIDE: Final = ("-wal", "-shm", "-journal")


class Connection(Protocol):
    """A connection of `sqlite3` or `apsw`."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statement: str, /) -> Any: ...


def file_problem(path: str, example: str) -> str | None:
    """Return why a path cannot name a SQLite file in the data folder, as a predicate; None if it can."""
    if why := path_problem(path, f"a file, like {example}"):
        return why
    if path.endswith(_BESIDE):
        return f"must not end in {path[path.rfind('-') :]}, the suffix of SQLite's own files"
    return None


def _is_busy(exc: Exception) -> bool:
    return isinstance(exc, sqlite3.OperationalError) and exc.sqlite_errorcode == sqlite3.SQLITE_BUSY


def use_wal(db: Connection, is_busy: Callable[[Exception], bool] = _is_busy) -> None:
    """Let readers and a writer work at the same time, and make each commit durable.

    `is_busy`: whether an error means that another connection has locked the file.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except Exception as exc:
            # The busy time-out of SQLite does not apply to this statement, and all workers start at once.
            if not is_busy(exc) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    # A message is acknowledged once its row is here. Below FULL, power loss could remove only the row.
    db.execute("PRAGMA synchronous = FULL")


@contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """Run statements in one transaction. No other connection writes meanwhile."""
    # Not `with db`, which starts to write later: a transaction that has read before cannot wait for the lock.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def create_tables(db: Connection, file: Path, version: int, schema: Sequence[str]) -> None:
    """Create missing tables.

    Raises:
        PlayheadError: `index_newer`, `index_older`: the file has another version of the schema.
    """
    with transaction(db):
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found > version:
            raise PlayheadError(
                "index_newer", f"{file} was written by a newer version of Playhead; update this one"
            )
        if 0 < found < version:
            raise PlayheadError(
                "index_older",
                f"{file} was written by an older version of Playhead. Delete it, and replay its stage",
            )
        if found == 0:
            for statement in (*schema, f"PRAGMA user_version = {version}"):
                db.execute(statement)


class OpenedFile:
    """A file that is open, by the path that it had.

    If it was removed, or replaced by a backup, SQLite continues to write to it, and the rows are lost.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._identity = self._now()

    @property
    def is_in_place(self) -> bool:
        """Whether the path still names this file."""
        return self._identity is not None and self._now() == self._identity

    def _now(self) -> tuple[int, int] | None:
        try:
            found = self._place.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino
