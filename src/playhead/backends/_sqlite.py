"""One SQLite file, shared by the embedded catalog and the embedded broker.

A process has one writer thread. It takes all writes that wait, runs them in one `BEGIN IMMEDIATE`,
and commits once (group commit): one fsync for many callers. Each write has its own savepoint,
so a write that fails does not undo the others. `synchronous=FULL` makes every commit durable.

Readers have connections of their own and never keep a snapshot across an await.
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
"""Bytes: with less, SQLite cannot create the files next to its own, and reports an I/O error."""
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
    """Refuse a folder on a network file system, where SQLite's locks can't be trusted.

    Raises:
        CannotStart: `home_unusable`.
    """
    try:
        lines = Path(mounts).read_text("utf-8", "replace").splitlines()
    except OSError:
        return  # only Linux tells
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
            f"{path} lies on a network file system ({kind} at {best}), where SQLite can lose data: "
            "put PLAYHEAD_HOME on a local disk",
        )


class _Job(NamedTuple):
    """Something for the writer thread. `alone`: in a transaction of its own."""

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
        """Open a connection of the caller's own, in autocommit mode."""
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
        # The page cache stays at 2 MB. Rows arrive in order, so what is written next is at hand; a larger one
        # is no faster, and makes a process as large as its longest replay.
        if read_only:
            con.execute("PRAGMA query_only=1")
        return con

    def pending(self) -> list[int]:
        """The numbers of migrations that this file has not had yet.

        Raises:
            CannotStart: `catalog_newer`, or `home_unwritable` when the file can't be opened.
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
                f"{self.path} was made by a newer Playhead (schema {have}; this one knows {known[-1]}): "
                "install that version, or name another PLAYHEAD_HOME",
            )
        return [n for n in known if n > have]

    def _unusable(self, exc: sqlite3.Error) -> CannotStart:
        return CannotStart("home_unwritable", f"can't open {self.path}: {self.trouble(exc)}")

    def trouble(self, exc: sqlite3.Error) -> str:
        """What SQLite says, which is little, and what to do about it, as far as the file system tells."""
        folder = self.path.parent
        code = getattr(exc, "sqlite_errorcode", 0)  # none has what Python says by itself
        try:
            status = os.statvfs(folder)
        except OSError:
            return f"{exc}; its folder must exist and be writable by this user"
        if code == sqlite3.SQLITE_FULL or status.f_bavail * status.f_frsize < _NO_ROOM:
            return f"{exc}; the disk of {folder} is full: make room, and it goes on"
        if status.f_flag & os.ST_RDONLY:
            return f"{exc}; {folder} is on a read-only file system: mount it writable"
        if code & 0xFF == sqlite3.SQLITE_NOTADB:
            return f"{exc}; name another PLAYHEAD_HOME, or move the existing file away"
        if code & 0xFF in _NOT_OURS:
            return f"{exc}; its folder must exist and be writable by this user"
        return str(exc)

    def migrate(self) -> list[int]:
        """Bring the file to this version's schema; returns what was applied. Many may try."""
        applied = []
        try:
            con = self.connect()
            try:
                self._use_wal(con)
                if not self._pending(con):
                    return []
                con.execute("BEGIN IMMEDIATE")
                for number in self._pending(con):  # read again, now under the lock
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

        The switch needs exclusive access to the file, and SQLite does not wait for it as it waits for locks.
        So processes that open a new file together take turns here.
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
        """Migrate, and start the threads. Calling it again changes nothing."""
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
        """Run `job` in a write transaction, and return its result once the transaction is durable.

        Raises what `job` raises (then none of its changes remain), or `sqlite3.Error`.
        """
        return await self._hand_over(job)

    async def _hand_over(self, job: Callable[[Connection], T], *, alone: bool = False) -> T:
        if not self._thread:
            raise sqlite3.ProgrammingError(f"{self.path} is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(job, future, alone))
        # The job runs even if its caller is cancelled; then neither the caller nor the log gets its result.
        return await future

    async def read(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in one read transaction on a connection that cannot write."""
        if not self._readers:
            raise sqlite3.ProgrammingError(f"{self.path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, job)

    async def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the file, so that the log can start over.

        It runs inside a write of this process, so that no other process resets the log meanwhile. That race
        can corrupt the file before SQLite 3.51.3.

        The mode is PASSIVE. FULL continues without the write lock if it does not get it soon; with the lock,
        it waits for readers of older states, and a suspended reader would then block every writer. Pages that
        such a reader needs stay in the log until the next checkpoint.

        The job runs alone, because the log starts over only if nothing was written after the moved pages.

        Raises what `write` raises.
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
            fix = "the disk must not be full, and this user must be able to write the file and its folder"
            return [
                Finding("round trip", "failed", f"{self.path} can't be written: {self.trouble(exc)}", fix)
            ]
        found = [Finding("round trip", "ok", f"a commit to {self.path} takes {took:.1f} ms")]
        if sqlite3.sqlite_version_info < _SAFE_CHECKPOINTS:
            found.append(
                Finding(
                    "version",
                    "warning",
                    f"SQLite {sqlite3.sqlite_version} has a rare fault in checkpoints that can corrupt a "
                    "file; Playhead checkpoints in a way that avoids it, other programs might not",
                    "a Python whose SQLite is 3.51.3 or newer; leave the file to Playhead alone",
                )
            )
        else:
            found.append(Finding("version", "ok", f"SQLite {sqlite3.sqlite_version}"))
        log = self.path.with_name(self.path.name + "-wal")
        size = log.stat().st_size if log.exists() else 0
        if size > _LARGE_LOG:
            fix = "one `playhead serve` or `playhead worker` must run; look for what keeps the file open"
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
                # Nothing of this batch is durable; a fresh connection forgets whatever state this one is in.
                answers = [(None, exc)] * len(batch)
                if con is not None:
                    con.close()
                    con = None
            _deliver([job.future for job in batch], answers)
        if con is not None:
            con.close()

    def _begin(self, con: Connection) -> None:
        """Begin a write, when it is this process's turn.

        SQLite's own way of waiting sleeps for up to 100 ms between looks, while the lock is held for a
        few: two busy processes then spend most of their time asleep, and now and then one starves.
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
                if con.in_transaction:  # a full disk has ended it already
                    con.execute("ROLLBACK")
                return [(None, exc)]
            con.execute("COMMIT")
            return answers
        for job in jobs:
            con.execute("SAVEPOINT job")
            try:
                answers.append((job(con), None))
            except Exception as exc:
                if not con.in_transaction:  # a full disk has ended it, and with it the work of the others
                    raise
                con.execute("ROLLBACK TO job")
                answers.append((None, exc))
            con.execute("RELEASE job")
        con.execute("COMMIT")
        return answers


def add_functions(con: Connection, clock: Callable[[], float]) -> None:
    """Add the SQL functions that statements use."""
    # Deterministic within a statement, as SQLite means the word: it is called once for each.
    con.create_function("playhead_now", 0, clock, deterministic=True)
    if sqlite3.sqlite_version_info < (3, 41):
        con.create_function("unhex", 1, bytes.fromhex, deterministic=True)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return what it returns."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("a transaction of SQLite awaited something else than its session")


def insert(con: Connection, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, hundreds a statement.

    `executemany` starts a statement, and gives up the interpreter and takes it back, for every row: it
    takes twice as long alone, and even longer next to a thread that computes.

    Args:
        into: table and columns, `calls (queue, payload)`.
        rows: a value for each of the columns.
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
    """Cut values into pieces for `x IN (…)`: the marks, and the values for them.

    There are few lengths, so that each statement is prepared once: a piece is filled up with its last
    value, which changes nothing.
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
    """Wake the callers: one call into each event loop for all of a commit."""

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
        except RuntimeError:  # the loop is closed: no caller waits any more
            sys.stderr.write("playhead: an answer came after its event loop had closed\n")
