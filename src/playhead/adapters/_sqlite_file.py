"""What adapters with a file of SQLite share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BUSY_SECONDS: Final = 30.0


def use_wal(db: sqlite3.Connection) -> None:
    """Let readers and a writer work at the same time, and make each commit durable."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as exc:
            # The busy time-out of SQLite does not apply to this statement, and all workers start at once.
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    # A message is acknowledged once its row is here. Below FULL, power loss could remove only the row.
    db.execute("PRAGMA synchronous = FULL")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run statements in one transaction. No other connection writes meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


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
