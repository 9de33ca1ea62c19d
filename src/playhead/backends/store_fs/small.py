"""Small objects of a store in a folder: the rows of one SQLite file.

As a file, a small object costs at least one block of the disk, a name and an inode. A row costs its bytes and
its key. `docs/decisions/0014-small-objects.md` describes the format and has the measurements.

The file has two tables. `names` is in the order of the keys and has only their sizes and times, so a listing
reads few pages. `bodies` is in the order of the writes, so new bytes are appended. Keys are compared by the
bytes of their UTF-8, which is the order of the port.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeVar

from playhead.backends._sqlite import Connection, File, refuse_network
from playhead.errors import CannotStart, StoreFull, store_unavailable
from playhead.keys import is_utf8
from playhead.ports.store import Blob, Entry

T = TypeVar("T")

NAME: Final = ".objects.db"
FILES: Final = frozenset(NAME + end for end in ("", "-wal", "-shm", "-journal"))
"""Names in the root that SQLite uses. They hold no objects and appear in no listing."""

_VERSION: Final = 1
_SCHEMA: Final = (
    "CREATE TABLE names (key TEXT PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL, "
    "n INTEGER NOT NULL) WITHOUT ROWID",
    # No number is used twice, so a number stands for certain bytes.
    "CREATE TABLE bodies (n INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL)",
)
_PAGE_BYTES: Final = 8_192
_BUSY_SECONDS: Final = 30.0
_MOST_VALUES: Final = 500
"""In one statement."""
_LOG_BYTES: Final = 8 << 20
"""About so much is written to the log before it is copied into the file."""
_DELETED_BYTES: Final = 1_024
"""About what the deletion of a key writes to the log."""
_FEWEST_FREE: Final = 1_024
_STEP: Final = 512
"""Pages by which one transaction shortens the file."""


class SmallObjects:
    """The rows of a store. All methods block, and any thread may call them.

    Several processes may share the file. Each thread reads with its own connection, and all write with one.
    """

    def __init__(self, root: str, *, durable: bool) -> None:
        """Open the file, and create it if it does not exist.

        Args:
            durable: a commit waits for the disk, so it also survives a power failure.

        Raises:
            Unavailable: the file cannot be created, read or written.
            CannotStart: the folder is on a network file system, or a newer version created the file.
        """
        refuse_network(Path(root), setting="PLAYHEAD_STORE")
        self._file = File(Path(root, NAME), busy_seconds=_BUSY_SECONDS, clock=time.time)
        self._synchronous = "FULL" if durable else "NORMAL"
        self._readers = threading.local()
        self._writer = SimpleNamespace()
        self._connections: list[Connection] = []
        self._lock = threading.Lock()
        self._in_log = 0
        self._is_created = False
        with suppress(StoreFull), self._translated("open"):  # the file is created as soon as there is room
            self._create()

    def read(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the bytes of the keys that have a row."""
        found: dict[str, bytes] = {}
        wanted = [key for key in keys if is_utf8(key)]
        with self._translated("read"):
            con = self._connection(self._readers)
            for some, marks in _parts(wanted):
                statement = f"SELECT key, data FROM names JOIN bodies USING (n) WHERE key IN ({marks})"  # noqa: S608
                found.update(con.execute(statement, some))
        return found

    def stat(self, key: str) -> Entry | None:
        """Return size, time and tag of an object, None if it has no row."""
        if not is_utf8(key):
            return None
        with self._translated("read"):
            rows = self._connection(self._readers).execute("SELECT * FROM names WHERE key = ?", (key,))
            return next(map(_entry, rows), None)

    def list(self, prefix: str, after: str, limit: int) -> Sequence[Entry]:
        """Return the first objects after a key, of those below a prefix if there is one."""
        if not is_utf8(prefix):
            return []
        with self._translated("list"):
            con = self._connection(self._readers)
            if not prefix:
                rows = con.execute("SELECT * FROM names WHERE key > ? ORDER BY key LIMIT ?", (after, limit))
            else:
                rows = con.execute(
                    "SELECT * FROM names WHERE key > ? AND key < ? ORDER BY key LIMIT ?",
                    (max(after, prefix + "/"), prefix + "0", limit),  # "0" follows "/"
                )
            return [_entry(row) for row in rows]

    def write(self, blobs: Sequence[Blob]) -> None:
        """Store all blobs, or none."""
        last = {blob.key: blob.data for blob in blobs}
        now = time.time_ns()

        def put(con: Connection) -> None:
            replaced: list[int] = []
            for some, marks in _parts([*last]):
                replaced += [n for (n,) in con.execute(f"SELECT n FROM names WHERE key IN ({marks})", some)]  # noqa: S608
            _delete_bodies(con, replaced)
            used = con.execute("SELECT seq FROM sqlite_sequence WHERE name = 'bodies'").fetchone() or (0,)
            numbered = list(enumerate(last.items(), used[0] + 1))
            con.executemany("INSERT INTO bodies VALUES (?, ?)", [(n, data) for n, (_, data) in numbered])
            con.executemany(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)",
                [(key, len(data), now, n) for n, (key, data) in numbered],
            )

        self._write("write", put, sum(len(blob.data) + len(blob.key) for blob in blobs))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove all rows of the keys, and shorten the file if most of it is free."""
        wanted = [key for key in keys if is_utf8(key)]

        def remove(con: Connection) -> None:
            numbers: list[int] = []
            for some, marks in _parts(wanted):
                statement = f"DELETE FROM names WHERE key IN ({marks}) RETURNING n"  # noqa: S608
                numbers += [n for (n,) in con.execute(statement, some)]
            _delete_bodies(con, numbers)

        self._write("delete", remove, len(wanted) * _DELETED_BYTES)
        with self._translated("compact"):
            self._compact()

    def check(self) -> None:
        """Raises `Unavailable` if the file cannot be written."""
        self._write("write", lambda con: None, 0)

    def close(self) -> None:
        """Close all connections. The last process copies the log into the file, and removes the log."""
        with self._lock:
            for con in self._connections:
                con.close()
            self._connections.clear()

    # -- transactions ------------------------------------------------------------------------------

    def _write(self, verb: str, work: Callable[[Connection], None], in_log: int) -> None:
        """Run `work` in one transaction."""
        with self._translated(verb), self._lock:
            con = self._connection(self._writer)
            self._file.begin(con)
            try:
                work(con)
                con.execute("COMMIT")
            except BaseException:
                if con.in_transaction:  # SQLite itself has rolled back if the disk is full
                    con.execute("ROLLBACK")
                raise
            self._in_log += in_log
            if self._in_log > _LOG_BYTES:
                self._checkpoint(con)

    def _checkpoint(self, con: Connection) -> None:
        """Copy the log into the file, so that SQLite uses the log from its start again.

        For the transaction around it, and for the mode, see `_sqlite.Database.checkpoint`.
        """
        self._in_log = 0
        self._file.begin(con)
        try:
            with closing(self._connect()) as other:
                other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            con.execute("ROLLBACK")

    def _compact(self) -> None:
        """Shorten the file if two thirds of its pages are free.

        SQLite moves the pages in use to the start. So the limit bounds the cost: for each page that is moved,
        at least two are freed. New objects use the free pages that remain.
        """
        con = self._connection(self._readers)  # because it waits for the lock
        [[pages]], free = con.execute("PRAGMA page_count").fetchall(), self._free(con)
        if free < _FEWEST_FREE or free * 3 < pages * 2:
            return
        while free:
            # `execute` would free a single page: it runs a statement without columns only one step.
            con.executescript(f"PRAGMA incremental_vacuum({_STEP})")
            free = self._free(con)
            # The file becomes shorter when the log is copied.
            self._write("compact", lambda con: None, _STEP * _PAGE_BYTES if free else _LOG_BYTES + 1)

    def _free(self, con: Connection) -> int:
        [[free]] = con.execute("PRAGMA freelist_count").fetchall()
        return int(free)

    # -- connections -------------------------------------------------------------------------------

    def _create(self) -> None:
        with closing(self._connect()) as con:
            con.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            con.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._file.use_wal(con)
            self._file.begin(con)
            [[version]] = con.execute("PRAGMA user_version").fetchall()
            if version > _VERSION:
                raise CannotStart(
                    "setup_invalid",
                    f"a newer Playhead created {self._file.path} (format {version}; this version supports "
                    f"{_VERSION}). Install the newer version, or set another PLAYHEAD_STORE",
                )
            if not version:
                for statement in _SCHEMA:
                    con.execute(statement)
                con.execute(f"PRAGMA user_version={_VERSION}")
            con.execute("COMMIT")
        self._is_created = True

    def _connect(self) -> Connection:
        con = self._file.connect()
        con.execute(f"PRAGMA synchronous={self._synchronous}")
        return con

    def _connection(self, user: Any) -> Connection:
        """Return the connection of the writer, or of this thread, to the file that is at the path now.

        Raises `OSError` if there is no file: the store is not mounted, or another program removed it.
        """
        if not self._is_created:
            self._create()
        there = os.lstat(self._file.path)
        if not stat.S_ISREG(there.st_mode):
            raise FileNotFoundError(errno.ENOENT, "another program replaced the file of small objects")
        if getattr(user, "identity", None) != (there.st_dev, there.st_ino):
            user.con = self._connect()
            if user is self._writer:
                user.con.execute("PRAGMA busy_timeout=0")  # `begin` waits
            user.identity = (there.st_dev, there.st_ino)
            self._connections.append(user.con)
        con: Connection = user.con
        return con

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            error = StoreFull if self._file.is_full(exc) else store_unavailable
            raise error(f"cannot {verb} {self._file.path}: {self._file.trouble(exc)}") from exc
        except OSError as exc:
            hint = "was it removed, or is its volume not mounted?"
            raise store_unavailable(f"cannot {verb} {self._file.path}: {exc.strerror}; {hint}") from exc


def _delete_bodies(con: Connection, numbers: list[int]) -> None:
    for some, marks in _parts(sorted(numbers)):
        con.execute(f"DELETE FROM bodies WHERE n IN ({marks})", some)  # noqa: S608


def _parts(values: Sequence[T]) -> Iterator[tuple[Sequence[T], str]]:
    """Split values into the parameters of several statements; also return the marks of the parameters."""
    for at in range(0, len(values), _MOST_VALUES):
        some = values[at : at + _MOST_VALUES]
        yield some, ",".join("?" * len(some))


def _entry(row: tuple[str, int, int, int]) -> Entry:
    key, size, modified, n = row
    # The time too: an older copy of the file may use the number again.
    return Entry(key, size, modified / 1e9, f"{n:x}.{modified:x}")
