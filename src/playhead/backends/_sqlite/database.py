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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from playhead.backends._sqlite.file import Connection, File, refuse_network

T = TypeVar("T")

_MOST_IN_A_COMMIT = 64
_READERS = 4
"""A comparison of millions of messages uses two of them for a long time, and a result one."""


_Answer = tuple[Any, Exception | None]


class _Job(NamedTuple):
    """Work for the writer thread. `alone`: in its own transaction."""

    work: Callable[[Connection], Any]
    future: asyncio.Future[Any]
    alone: bool


class Database(File):
    """A SQLite file with one writer thread and four readers, for the callers of one event loop.

    See `File` for the arguments.
    """

    def __init__(
        self, path: Path, *, busy_seconds: float = 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, busy_seconds=busy_seconds, clock=clock)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._read_connections: list[Connection] = []
        self._lock = threading.Lock()
        self._identity: tuple[int, int] | None = None

    async def open(self) -> None:
        """Migrate the file and start the threads. A second call has no effect."""
        if self._thread:
            return
        refuse_network(self.path.parent)
        await asyncio.to_thread(self.migrate)
        self._identity = self._now_there()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="playhead-read")
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

    def connect(self, *, read_only: bool = False) -> Connection:
        self._check_place()
        return super().connect(read_only=read_only)

    def _check_place(self) -> None:
        """Raise `sqlite3.OperationalError` if the open file is no longer at its path.

        Connections would use the file where it is now. New ones, and other processes, would create an empty
        file at the path, and the deployment would be split.
        """
        if self._identity and self._now_there() != self._identity:
            raise sqlite3.OperationalError(
                "the file was moved, deleted or replaced while this process used it: move it back, or stop "
                "all processes of Playhead, put the right file there, and start them again"
            )

    def _now_there(self) -> tuple[int, int] | None:
        try:
            about = os.stat(self.path)
        except OSError:
            return None
        return about.st_dev, about.st_ino

    # -- work --------------------------------------------------------------------------------------

    async def write(self, job: Callable[[Connection], T], *, alone: bool = False) -> T:
        """Run `job` in a write transaction, and return its result when the transaction is durable.

        Raises `sqlite3.Error`, or the exception of `job`. After an exception none of its changes remain.
        """
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
            with closing(self.connect()) as con:
                con.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

        await self.write(job, alone=True)

    def _read(self, job: Callable[[Connection], T]) -> T:
        con: Connection | None = getattr(self._local, "con", None)
        if con is None:
            con = self._local.con = self.connect(read_only=True)
            with self._lock:
                self._read_connections.append(con)
        self._check_place()
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
                    con.execute("PRAGMA busy_timeout=0")  # `begin` waits
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

    def _commit(self, con: Connection, jobs: list[Callable[[Connection], Any]]) -> list[_Answer]:
        try:
            self._check_place()
        except sqlite3.OperationalError as exc:  # the connection stays open: the file may come back
            return [(None, exc)] * len(jobs)
        self.begin(con)
        answers: list[_Answer] = []
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


def _deliver(futures: list[asyncio.Future[Any]], answers: list[_Answer]) -> None:
    """Give the callers their results, with one call into their event loop per commit."""

    def settle() -> None:
        for future, (result, error) in zip(futures, answers, strict=True):
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    try:
        futures[0].get_loop().call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed, so no caller waits
        sys.stderr.write("playhead: a write ended after its event loop was closed\n")
