"""Guarantees of the SQLite file itself, in addition to those of the two ports that use it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from playhead.backends._sqlite import Connection, Database, refuse_network
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.errors import CannotStart, Unavailable
from playhead.ids import uuid7


def _open(paths: Sequence[Path], together: Barrier) -> None:
    for path in paths:
        together.wait()
        Database(path).migrate()


@pytest.mark.parametrize("other", [None, b"", "copy"])
async def test_a_file_that_is_moved_away_is_unavailable_until_it_is_back(tmp_path: Path, other: object):
    """A process created an empty file in its place, and went on with that."""
    path, moved = tmp_path / "a.db", tmp_path / "moved.db"
    db = Database(path)
    catalog = SqliteCatalog(db)
    await db.open()
    assert await catalog.configs() == []
    path.rename(moved)
    if other is not None:
        path.write_bytes(moved.read_bytes() if other == "copy" else b"")

    for call in (catalog.configs(), catalog.admit(per_queue=1), db.checkpoint()):
        with pytest.raises((Unavailable, sqlite3.OperationalError), match="moved, deleted or replaced"):
            await call
    assert path.exists() == (other is not None)
    moved.rename(path)

    assert await catalog.configs() == []
    await catalog.admit(per_queue=1)
    await db.close()


@pytest.mark.slow
def test_several_processes_can_open_a_new_file_at_the_same_time(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    paths, together = [tmp_path / f"{attempt}.db" for attempt in range(10)], context.Barrier(4, timeout=60)
    openers = [context.Process(target=_open, args=(paths, together)) for _ in range(4)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [o.exitcode for o in openers] == [0] * 4


async def test_a_failing_write_does_not_undo_other_writes(tmp_path: Path):
    db = Database(tmp_path / "a.db")
    await db.open()

    def add(name: str) -> Callable[[Connection], None]:
        def job(con: Connection) -> None:
            con.execute("INSERT INTO queues (name) VALUES (?)", (name,))
            if name == "bad":
                raise ValueError("no")

        return job

    names = ["a", "bad", "b", "c"]
    answers = await asyncio.gather(*(db.write(add(n)) for n in names), return_exceptions=True)
    assert [isinstance(a, ValueError) for a in answers] == [False, True, False, False]
    kept = await db.read(lambda con: con.execute("SELECT name FROM queues ORDER BY name").fetchall())
    assert [name for (name,) in kept] == ["a", "b", "c"]
    await db.close()


def test_a_file_of_a_newer_version_is_not_changed(tmp_path: Path):
    db = Database(tmp_path / "a.db")
    db.migrate()
    con = db.connect()
    con.execute("PRAGMA user_version=9999")
    con.close()
    with pytest.raises(CannotStart) as caught:
        db.migrate()
    assert caught.value.code == "catalog_newer"


def test_a_folder_on_a_network_file_system_is_refused(tmp_path: Path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path.resolve()} nfs4 rw 0 0\n")
    with pytest.raises(CannotStart, match="network file system"):
        refuse_network(tmp_path, str(mounts))
    mounts.write_text("/dev/vda / ext4 rw 0 0\n")
    refuse_network(tmp_path, str(mounts))


@contextmanager
def suspended_writer(path: Path) -> Iterator[int]:
    """A process that is suspended within a write transaction, and its id."""
    code = (
        "import os, signal, sqlite3, sys; con = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "con.execute('BEGIN IMMEDIATE'); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists the holders of locks")
async def test_a_suspended_process_that_holds_the_write_lock_is_named(tmp_path: Path):
    db = Database(tmp_path / "a.db", busy_seconds=0.1)
    await db.open()
    catalog = SqliteCatalog(db)

    with suspended_writer(db.path) as pid:
        with pytest.raises(Unavailable, match=f"suspended process {pid} .*kill -CONT {pid}"):
            await catalog.adopt(uuid7())
        (finding,) = await catalog.diagnose()

    assert (finding.what, finding.status) == ("round trip", "failed")
    assert f"suspended process {pid} ({sys.executable} -c" in finding.detail
    assert str(pid) in finding.fix
    await catalog.adopt(uuid7())
    assert [f.status for f in await catalog.diagnose() if f.what == "round trip"] == ["ok"]
    await db.close()
