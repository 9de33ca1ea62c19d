"""A SQLite file: where it may be, its connections, its migrations, and the texts of its errors."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from hashlib import md5
from pathlib import Path

from playhead.backends._sqlite.holder import holder_of
from playhead.backends.sql import Migration, migrations, other_build
from playhead.errors import CannotStart

Connection = sqlite3.Connection

_NO_ROOM = 64 << 10
"""In bytes. With less free space, SQLite cannot create its auxiliary files, and reports an I/O error."""
_NOT_OURS = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)
_FIRST_TURN_SECONDS = 0.0002
_LONGEST_TURN_SECONDS = 0.002
RESTORE = "stop all processes of Playhead, and restore the file from a backup"
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
}


class File:
    """A file that may not exist yet.

    Args:
        path: the file; its folder must exist.
        busy_seconds: how long a write waits for other processes before it fails.
        clock: seconds since the epoch, for the SQL function `playhead_now`.
    """

    def __init__(self, path: Path, *, busy_seconds: float, clock: Callable[[], float]) -> None:
        self.path = path
        self._busy = busy_seconds
        self._clock = clock
        self.damage = ""
        """Set by `trouble`: the text of the last error that reported a damaged page, or empty."""

    def connect(self, *, read_only: bool = False) -> Connection:
        """Open a connection in autocommit mode. The caller closes it."""
        con = sqlite3.connect(
            self.path,
            timeout=self._busy,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        add_functions(con, self._clock)
        con.execute("PRAGMA synchronous=FULL")
        con.execute("PRAGMA wal_autocheckpoint=0")
        # The page cache keeps its default of 2 MB. Rows arrive in order, so a larger cache is not faster, and
        # a long replay would fill it.
        if read_only:
            con.execute("PRAGMA query_only=1")
        return con

    def pending(self) -> list[int]:
        """Return the numbers of the migrations that have not been applied to this file.

        Raises:
            CannotStart: `catalog_newer`, `catalog_other_build`, or `home_unwritable` if the file cannot be
                opened.
        """
        try:
            with closing(self.connect()) as con:
                return [step.number for step in self._pending(con, migrations("sqlite"))]
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc

    def _pending(self, con: Connection, known: Sequence[Migration]) -> list[Migration]:
        have = int(con.execute("PRAGMA user_version").fetchone()[0])
        if have > (newest := known[-1].number):
            raise CannotStart(
                "catalog_newer",
                f"a newer Playhead created {self.path} (schema {have}; this version supports {newest}). "
                "Install the newer version, or set another PLAYHEAD_HOME",
            )
        if have:
            applied: dict[int, str | None] = dict.fromkeys(range(1, have + 1))
            if con.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'").fetchone():
                applied |= con.execute("SELECT version, sha256 FROM schema_version").fetchall()
            if error := other_build(applied, "sqlite", str(self.path)):
                raise error
        return [step for step in known if step.number > have]

    def migrate(self, known: Sequence[Migration] = ()) -> list[int]:
        """Migrate the file to the schema of this version, and return the applied migrations.

        Several processes may call it at the same time.

        Args:
            known: the migrations of another release, from the first; empty: of this one.
        """
        known = known or migrations("sqlite")
        applied = []
        try:
            with closing(self.connect()) as con:
                self.use_wal(con)
                if not self._pending(con, known):
                    return []
                con.execute("BEGIN IMMEDIATE")
                for step in self._pending(con, known):  # another process may have migrated before this lock
                    if step.number == 1:
                        con.execute(
                            "CREATE TABLE schema_version (version integer PRIMARY KEY, sha256 text NOT NULL)"
                        )
                    for statement in statements(step.sql):
                        con.execute(statement)
                    con.execute("INSERT INTO schema_version VALUES (?, ?)", (step.number, step.sha256))
                    con.execute(f"PRAGMA user_version={step.number}")
                    applied.append(step.number)
                con.execute("COMMIT")
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc
        return applied

    def use_wal(self, con: Connection) -> None:
        """Switch to write-ahead logging.

        The switch needs exclusive access to the file, but the busy timeout of SQLite does not apply to it.
        So processes that open a new file at the same time retry here.
        """
        until = time.monotonic() + self._busy
        while True:
            try:
                if con.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
                    return
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def begin(self, con: Connection) -> None:
        """Begin a write transaction, and wait for the lock if necessary.

        The busy timeout of SQLite sleeps up to 100 ms between two tries, but a lock is held for a few ms
        only. Two busy processes would then sleep most of the time, and one of them would sometimes starve.
        """
        until = time.monotonic() + self._busy
        delay = _FIRST_TURN_SECONDS
        while True:
            try:
                con.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(delay)
            delay = min(delay * 1.5, _LONGEST_TURN_SECONDS)

    def is_full(self, exc: sqlite3.Error) -> bool:
        """Whether an error of SQLite means that the disk has no room."""
        if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            return True
        try:
            status = os.statvfs(self.path.parent)
        except OSError:
            return False
        return status.f_bavail * status.f_frsize < _NO_ROOM

    def trouble(self, exc: sqlite3.Error) -> str:
        """Return the text of an error of SQLite, with the cause and the fix if the file system shows them.

        Also keeps an error about a damaged page in `damage`, because later operations may not read that page.
        """
        folder = self.path.parent
        code = getattr(exc, "sqlite_errorcode", 0)  # missing in errors that Python itself raises
        try:
            status = os.statvfs(folder)
        except OSError:
            return f"{exc}; its folder must exist and be writable by this user"
        if self.is_full(exc):
            return f"{exc}; the disk of {folder} is full: free some space there, and work resumes"
        if status.f_flag & os.ST_RDONLY:
            return f"{exc}; {folder} is on a read-only file system: mount it read-write"
        if code & 0xFF == sqlite3.SQLITE_CORRUPT:
            self.damage = f"{exc}; {RESTORE}"
            return self.damage
        if code & 0xFF == sqlite3.SQLITE_NOTADB:
            return f"{exc}; set another PLAYHEAD_HOME, or move the file to another folder"
        if code & 0xFF == sqlite3.SQLITE_BUSY and (holder := holder_of(self.path)):
            return f"{exc}; {holder}; {holder.fix}"
        if code & 0xFF in _NOT_OURS:
            return f"{exc}; its folder must exist and be writable by this user"
        return str(exc)

    def _unusable(self, exc: sqlite3.Error) -> CannotStart:
        return CannotStart("home_unwritable", f"cannot open {self.path}: {self.trouble(exc)}")


def refuse_network(path: Path, mounts: str = "/proc/self/mounts", *, setting: str = "PLAYHEAD_HOME") -> None:
    """Refuse a folder on a network file system, where the locks of SQLite are not reliable.

    Args:
        setting: which setting names the folder, for the error.

    Raises:
        CannotStart: `home_unusable`.
    """
    try:
        lines = Path(mounts).read_text("utf-8", "replace").splitlines()
    except OSError:
        return  # only Linux has this file
    where = str(path.resolve())
    best, kind = "", ""
    for line in lines:
        _, point, fs, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if (where + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, fs
    if kind in _NETWORK:
        raise CannotStart(
            "home_unusable",
            f"{path} is on a network file system ({kind} at {best}), where SQLite can lose data. "
            f"Set {setting} to a folder on a local disk",
        )


def add_functions(con: Connection, clock: Callable[[], float]) -> None:
    """Add the SQL functions that statements use."""
    # With `deterministic`, SQLite calls the function once per statement.
    con.create_function("playhead_now", 0, clock, deterministic=True)
    con.create_function("playhead_digest", 2, _digest, deterministic=True)
    if sqlite3.sqlite_version_info < (3, 41):
        con.create_function("unhex", 1, bytes.fromhex, deterministic=True)


def _digest(key: str, sha256: bytes) -> int:
    return int.from_bytes(md5(key[37:].encode() + sha256, usedforsecurity=False).digest()[:5])


def statements(script: str) -> list[str]:
    """Split a migration into statements, so that all of them can run in one transaction."""
    found, rest = [], ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found
