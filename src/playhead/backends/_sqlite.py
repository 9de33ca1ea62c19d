"""One SQLite file, shared by the embedded catalog and the embedded broker.

A process has one writer thread. The thread runs all waiting writes in one transaction (`BEGIN IMMEDIATE`) and
commits once: one fsync for many callers (group commit). Each write has its own savepoint, so a failing write
does not undo the others. `synchronous=FULL` makes every commit durable.

Readers have their own connections and never keep a snapshot across an await.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from playhead.backends.sql import scripts
from playhead.errors import CannotStart
from playhead.ports.diagnosis import Finding

Connection = sqlite3.Connection
Error = sqlite3.Error
VERSION = sqlite3.sqlite_version
T = TypeVar("T")

_SAFE_CHECKPOINTS = (3, 51, 3)
_NO_ROOM = 64 << 10
"""In bytes. With less free space, SQLite cannot create its auxiliary files, and reports an I/O error."""
_NOT_OURS = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)
_LARGE_LOG = 1 << 30
_MOST_IN_A_COMMIT = 64
_FIRST_TURN_SECONDS = 0.0002
_LONGEST_TURN_SECONDS = 0.002
_ROWS_A_STATEMENT = (256, 32)
_VALUES_A_STATEMENT = (1, 4, 16, 64, 256)
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


def refuse_network(path: Path, mounts: str = "/proc/self/mounts") -> None:
    """Refuse a folder on a network file system, where the locks of SQLite are not reliable.

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
            "Set PLAYHEAD_HOME to a folder on a local disk",
        )


class _Job(NamedTuple):
    """Work for the writer thread. `alone`: in its own transaction."""

    work: Callable[[Connection], Any]
    future: asyncio.Future[Any]
    alone: bool


class Database:
    """A SQLite file with one writer thread and a few readers.

    Args:
        path: the file; its folder must exist.
        busy_seconds: how long a write waits for other processes before it fails.
        clock: seconds since the epoch, for the SQL function `playhead_now`.
    """

    def __init__(
        self, path: Path, *, busy_seconds: float = 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._busy = busy_seconds
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._read_connections: list[Connection] = []
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return str(self.path)

    # -- opening and migrating ---------------------------------------------------------------------

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
            CannotStart: `catalog_newer`, or `home_unwritable` if the file cannot be opened.
        """
        try:
            con = self.connect()
            try:
                return self._pending(con)
            finally:
                con.close()
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc

    def _pending(self, con: Connection) -> list[int]:
        have = int(con.execute("PRAGMA user_version").fetchone()[0])
        known = [n for n, _ in scripts("sqlite")]
        if have > known[-1]:
            raise CannotStart(
                "catalog_newer",
                f"a newer Playhead created {self.path} (schema {have}; this version supports {known[-1]}). "
                "Install the newer version, or set another PLAYHEAD_HOME",
            )
        return [n for n in known if n > have]

    def _unusable(self, exc: sqlite3.Error) -> CannotStart:
        return CannotStart("home_unwritable", f"cannot open {self.path}: {self.trouble(exc)}")

    def trouble(self, exc: sqlite3.Error) -> str:
        """Return the text of an error of SQLite, with the cause and the fix if the file system shows them."""
        folder = self.path.parent
        code = getattr(exc, "sqlite_errorcode", 0)  # missing in errors that Python itself raises
        try:
            status = os.statvfs(folder)
        except OSError:
            return f"{exc}; its folder must exist and be writable by this user"
        if code == sqlite3.SQLITE_FULL or status.f_bavail * status.f_frsize < _NO_ROOM:
            return f"{exc}; the disk of {folder} is full: free some space there, and work resumes"
        if status.f_flag & os.ST_RDONLY:
            return f"{exc}; {folder} is on a read-only file system. Mount it read-write"
        if code & 0xFF == sqlite3.SQLITE_NOTADB:
            return f"{exc}; set another PLAYHEAD_HOME, or move the file to another folder"
        if code & 0xFF in _NOT_OURS:
            return f"{exc}; its folder must exist and be writable by this user"
        return str(exc)

    def migrate(self) -> list[int]:
        """Migrate the file to the schema of this version, and return the applied migrations.

        Several processes may call it at the same time.
        """
        applied = []
        try:
            con = self.connect()
            try:
                self._use_wal(con)
                if not self._pending(con):
                    return []
                con.execute("BEGIN IMMEDIATE")
                for number in self._pending(con):  # another process may have migrated before this lock
                    sql = dict(scripts("sqlite"))[number]
                    for statement in statements(sql):
                        con.execute(statement)
                    con.execute(f"PRAGMA user_version={number}")
                    applied.append(number)
                con.execute("COMMIT")
            finally:
                con.close()
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc
        return applied

    def _use_wal(self, con: Connection) -> None:
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

    async def open(self) -> None:
        """Migrate the file and start the threads. A second call has no effect."""
        if self._thread:
            return
        refuse_network(self.path.parent)
        await asyncio.to_thread(self.migrate)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="playhead-read")
        self._thread = threading.Thread(target=self._write_loop, name="playhead-write", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finish all submitted writes, then close the file."""
        thread, self._thread = self._thread, None
        if thread:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)
        if self._readers:
            await asyncio.to_thread(self._readers.shutdown)
            self._readers = None
        for con in self._read_connections:
            con.close()
        self._read_connections.clear()

    # -- work --------------------------------------------------------------------------------------

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in a write transaction, and return its result when the transaction is durable.

        Raises `sqlite3.Error`, or the exception of `job`. After an exception none of its changes remain.
        """
        return await self._hand_over(job)

    async def _hand_over(self, job: Callable[[Connection], T], *, alone: bool = False) -> T:
        if not self._thread:
            raise sqlite3.ProgrammingError(f"{self.path} is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(job, future, alone))
        # If the caller is cancelled, the job still runs. Its result or exception is then dropped.
        return await future

    async def read(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in one read transaction on a connection that cannot write."""
        if not self._readers:
            raise sqlite3.ProgrammingError(f"{self.path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, job)

    async def checkpoint(self) -> None:
        """Copy the write-ahead log into the file, so that SQLite can reuse the log from its start.

        The checkpoint runs inside a write of this process, so no other process resets the log at the same
        time. Before SQLite 3.51.3, such a reset can corrupt the file.

        The mode is PASSIVE. In mode FULL, SQLite waits for readers of older states while it holds the write
        lock, so a suspended reader would block every writer. If FULL does not get the lock soon, it continues
        without the lock. Pages that a reader needs stay in the log until the next checkpoint.

        The job runs alone, because SQLite reuses the log only if no write followed the copied pages.

        Raises the exceptions of `write`.
        """

        def job(_: Connection) -> None:
            con = self.connect()
            try:
                con.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            finally:
                con.close()

        await self._hand_over(job, alone=True)

    async def diagnose(self) -> list[Finding]:
        """Return findings about the file for operators: see `ports.diagnosis`."""
        try:
            began = time.monotonic()
            await self.write(lambda con: con.execute("SELECT 1").fetchone())
            took = (time.monotonic() - began) * 1000
        except Error as exc:
            fix = "free disk space, or give this user write permission for the file and its folder"
            return [Finding("round trip", "failed", f"cannot write {self.path}: {self.trouble(exc)}", fix)]
        found = [Finding("round trip", "ok", f"a commit to {self.path} takes {took:.1f} ms")]
        if sqlite3.sqlite_version_info < _SAFE_CHECKPOINTS:
            found.append(
                Finding(
                    "version",
                    "warning",
                    f"in SQLite {sqlite3.sqlite_version} a rare race of checkpoints can corrupt a file. "
                    "Playhead avoids this race, but other programs may not",
                    "do not open the file with other programs, or use a Python with SQLite 3.51.3 or newer",
                )
            )
        else:
            found.append(Finding("version", "ok", f"SQLite {sqlite3.sqlite_version}"))
        log = self.path.with_name(self.path.name + "-wal")
        size = log.stat().st_size if log.exists() else 0
        if size > _LARGE_LOG:
            fix = (
                "keep a `playhead serve` or `playhead worker` running; find the process with an old snapshot"
            )
            found.append(Finding("log", "warning", f"the write-ahead log has {size >> 20} MB", fix))
        return found

    def _read(self, job: Callable[[Connection], T]) -> T:
        con: Connection | None = getattr(self._local, "con", None)
        if con is None:
            con = self._local.con = self.connect(read_only=True)
            with self._lock:
                self._read_connections.append(con)
        con.execute("BEGIN")
        try:
            return job(con)
        finally:
            con.execute("ROLLBACK")

    def _write_loop(self) -> None:
        con: Connection | None = None
        stop = False
        next_one: _Job | None = None
        while next_one or not stop:
            first = next_one or self._jobs.get()
            next_one = None
            if first is None:
                break
            batch = [first]
            while not (first.alone or stop) and len(batch) < _MOST_IN_A_COMMIT:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    stop = True
                    break
                if more.alone:
                    next_one = more
                    break
                batch.append(more)
            try:
                if con is None:
                    con = self.connect()
                    con.execute("PRAGMA busy_timeout=0")  # `_begin` waits
                answers = self._commit(con, [job.work for job in batch])
            except Exception as exc:
                # No write of this batch is durable. The connection may be in any state, so open a new one.
                answers = [(None, exc)] * len(batch)
                if con is not None:
                    con.close()
                    con = None
            _deliver([job.future for job in batch], answers)
        if con is not None:
            con.close()

    def _begin(self, con: Connection) -> None:
        """Begin a write transaction, and wait for the lock if necessary.

        The busy timeout of SQLite sleeps up to 100 ms between two tries, but a lock is held for a few ms
        only. Two busy processes would then sleep most of the time, and one of them would sometimes starve.
        """
        until = time.monotonic() + self._busy
        pause = _FIRST_TURN_SECONDS
        while True:
            try:
                con.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_TURN_SECONDS)

    def _commit(
        self, con: Connection, jobs: list[Callable[[Connection], Any]]
    ) -> list[tuple[Any, Exception | None]]:
        self._begin(con)
        answers: list[tuple[Any, Exception | None]] = []
        if len(jobs) == 1:  # a single job needs no savepoint: the transaction isolates it
            try:
                answers.append((jobs[0](con), None))
            except Exception as exc:
                if con.in_transaction:  # SQLite itself rolls back if the disk is full
                    con.execute("ROLLBACK")
                return [(None, exc)]
            con.execute("COMMIT")
            return answers
        for job in jobs:
            con.execute("SAVEPOINT job")
            try:
                answers.append((job(con), None))
            except Exception as exc:
                if not con.in_transaction:  # the disk is full, and SQLite has rolled back all jobs
                    raise
                con.execute("ROLLBACK TO job")
                answers.append((None, exc))
            con.execute("RELEASE job")
        con.execute("COMMIT")
        return answers


def add_functions(con: Connection, clock: Callable[[], float]) -> None:
    """Add the SQL functions that statements use."""
    # With `deterministic`, SQLite calls the function once per statement.
    con.create_function("playhead_now", 0, clock, deterministic=True)
    if sqlite3.sqlite_version_info < (3, 41):
        con.create_function("unhex", 1, bytes.fromhex, deterministic=True)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return its result."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("a transaction on SQLite may await only its session")


def insert(con: Connection, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, hundreds per statement.

    `executemany` runs one statement per row, and releases the interpreter lock for each. It takes twice as
    long, and even longer next to a thread that computes.

    Args:
        into: table and columns, such as `calls (queue, payload)`.
        rows: one tuple per row, with a value for each column.
    """
    at = 0
    for size in _ROWS_A_STATEMENT:
        while len(rows) - at >= size:
            marks = f"({', '.join('?' * len(rows[at]))})"
            con.execute(
                f"INSERT INTO {into} VALUES {', '.join([marks] * size)}",
                tuple(chain.from_iterable(rows[at : at + size])),
            )
            at += size
    if at < len(rows):
        marks = f"({', '.join('?' * len(rows[at]))})"
        con.executemany(f"INSERT INTO {into} VALUES {marks}", rows[at:])


def among(values: Sequence[Any]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Split values into pieces for `x IN (…)`. Yield the placeholders and the values of each piece.

    Pieces have one of a few lengths, so few statements are prepared. A shorter piece is padded with its last
    value, which does not change the result.
    """
    most = _VALUES_A_STATEMENT[-1]
    for at in range(0, len(values), most):
        piece = tuple(values[at : at + most])
        size = next(size for size in _VALUES_A_STATEMENT if size >= len(piece))
        yield ", ".join("?" * size), piece + piece[-1:] * (size - len(piece))


def statements(script: str) -> list[str]:
    """Split a migration into statements, so that all of them can run in one transaction."""
    found, rest = [], ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found


def _deliver(futures: list[asyncio.Future[Any]], answers: list[tuple[Any, Exception | None]]) -> None:
    """Give the callers their results, with one call into each event loop per commit."""

    def settle(mine: list[tuple[asyncio.Future[Any], tuple[Any, Exception | None]]]) -> None:
        for future, (result, error) in mine:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    loops: dict[
        asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], tuple[Any, Exception | None]]]
    ] = {}
    for future, answer in zip(futures, answers, strict=True):
        loops.setdefault(future.get_loop(), []).append((future, answer))
    for loop, mine in loops.items():
        try:
            loop.call_soon_threadsafe(settle, mine)
        except RuntimeError:  # the loop is closed, so no caller waits
            sys.stderr.write("playhead: a write ended after its event loop was closed\n")
