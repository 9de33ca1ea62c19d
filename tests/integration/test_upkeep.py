"""The background loops of a process continue after errors and under load."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from playhead.backends._sqlite import Database
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.backends.sql import CANCELLED, PENDING
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.errors import Unavailable
from playhead.model import Config, Route
from playhead.ports.store import Entry
from playhead.settings import Settings
from tests.lab import KEEP, Wrapper, drive_over, pages
from tests.waiting import until

LEASE = 4.5
"""Renewed after a third of its time. The machine may stall for the rest, three seconds."""


@asynccontextmanager
async def runtime(home: Path, **settings: Any) -> AsyncIterator[Runtime]:
    given: dict[str, Any] = {"home": home, "heartbeat_seconds": 0.2}
    async with open_runtime(Settings(**given | settings), kind="worker") as rt:
        await rt.services.configs.apply(KEEP)
        yield rt


def ask(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(file, timeout=10)) as con, con:
        return con.execute(sql).fetchall()


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A full disk for one file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# -- loops -----------------------------------------------------------------------------------------


async def test_the_reconciler_cancels_the_rows_that_an_interrupted_cancel_left(tmp_path: Path):
    file = tmp_path / "playhead.db"
    async with runtime(tmp_path) as rt:
        await rt.services.submit.run("docs", pages(2))
        await until(lambda: len(ask(file, "SELECT 1 FROM dispatches")) == 2, "both dispatches")
        (execution,) = await rt.catalog.open_executions()
        await rt.catalog.cancel(execution)
        ask(file, f"UPDATE messages SET state = {PENDING} WHERE n = 1")
        ask(file, "UPDATE executions SET settled = 0, counts = NULL")
        await until(lambda: ask(file, "SELECT 1 FROM executions WHERE settled"), "the end of the execution")
    assert ask(file, "SELECT state FROM messages") == [(CANCELLED,), (CANCELLED,)]


async def test_the_reconciler_continues_after_an_unexpected_error(tmp_path: Path):
    file = tmp_path / "playhead.db"
    async with runtime(tmp_path) as rt:
        await rt.services.submit.run("docs", pages())
        await until(lambda: ask(file, "SELECT 1 FROM dispatches"), "the dispatch")
    ask(file, "DELETE FROM dispatches")
    ask(file, "UPDATE messages SET published = 0, publisher = 'unknown'")
    ask(file, "UPDATE lanes SET feeds = 'no JSON'")
    async with runtime(tmp_path):
        await until(lambda: ask(file, "SELECT 1 FROM leases"), "a reconciler")
        await asyncio.sleep(1.5)
        assert not ask(file, "SELECT 1 FROM dispatches")
        ask(file, "UPDATE lanes SET feeds = '[]'")
        await until(lambda: ask(file, "SELECT 1 FROM dispatches"), "the reconciler to call the row")


async def test_a_checkpoint_on_a_full_disk_is_reported_as_unavailable(tmp_path: Path):
    db = Database(tmp_path / "playhead.db")
    await db.open()
    catalog = SqliteCatalog(db)
    try:
        await catalog.save_config(Config("c", "r", {"r": Route("r", "q")}), source="x" * 500_000, digest="d")
        with files_no_larger_than((tmp_path / "playhead.db").stat().st_size + 4096):
            with pytest.raises(Unavailable) as caught:
                await catalog.maintain()
            assert caught.value.code == "catalog_unavailable"
        await catalog.maintain()
    finally:
        await db.close()


@pytest.mark.parametrize("others", [0, 3])
async def test_a_write_on_a_full_disk_fails_alone_and_in_a_commit_with_others(tmp_path: Path, others: int):
    db = Database(tmp_path / "playhead.db")
    await db.open()
    catalog = SqliteCatalog(db)
    config = Config("c", "r", {"r": Route("r", "q")})
    try:
        with files_no_larger_than(400_000):
            large = [catalog.save_config(config, source="x" * 90_000_000, digest="d")]
            small = [catalog.lease(f"{n}", "me", seconds=1) for n in range(others)]
            has_begun, all_wait = threading.Event(), threading.Event()

            def hold(_: object) -> None:
                has_begun.set()
                all_wait.wait()

            before = asyncio.create_task(db.write(hold))
            await until(has_begun.is_set, "a commit to begin")
            after = asyncio.gather(*small, *large, return_exceptions=True)
            await until(lambda: db._jobs.qsize() == others + 1, "all writes to wait for the next commit")
            all_wait.set()
            await before
            for fault in await after:
                assert isinstance(fault, Unavailable)
                assert "full" in fault.detail or "disk I/O" in fault.detail
        assert await catalog.lease("a", "me", seconds=1)
    finally:
        await db.close()


async def test_each_message_that_a_broker_lost_is_dispatched_once_again(tmp_path: Path):
    file = tmp_path / "playhead.db"
    async with runtime(tmp_path) as rt:
        await rt.services.submit.run("docs", pages(2500))
        await until(lambda: ask(file, "SELECT count(*) FROM dispatches") == [(2500,)], "the dispatches")
        ask(file, "DELETE FROM dispatches")
        await until(
            lambda: ask(file, "SELECT count(*) FROM dispatches") == [(2500,)], "them to be called again"
        )
        for _ in range(2):
            await rt.reconciler.cycle()
            await rt.reconciler.find_lost()
        assert ask(file, "SELECT count(*), count(DISTINCT message_id) FROM dispatches") == [(2500, 2500)]
        assert ask(file, "SELECT DISTINCT generation FROM messages") == [(1,)]


# -- the file --------------------------------------------------------------------------------------


async def test_a_reader_suspended_in_a_read_does_not_block_writers(tmp_path: Path):
    db = Database(tmp_path / "playhead.db")
    await db.open()
    with closing(sqlite3.connect(db.path, isolation_level=None)) as stopped:
        try:
            await db.write(lambda con: con.execute("INSERT INTO leases VALUES ('a', 'b', 0)"))
            stopped.execute("BEGIN")
            stopped.execute("SELECT * FROM leases").fetchall()
            await db.write(lambda con: con.execute("UPDATE leases SET until = 1"))
            checkpoint = asyncio.create_task(db.checkpoint())
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await db.write(lambda con: con.execute("UPDATE leases SET until = 2"))
            assert time.monotonic() - began < 15  # the timeout for a lock is 30 s
            await checkpoint
        finally:
            stopped.execute("ROLLBACK")
            await db.close()


async def test_a_broker_in_a_separate_file_is_checkpointed_too(tmp_path: Path):
    broker = tmp_path / "broker.db"
    async with runtime(tmp_path / "home", broker=f"sqlite:///{broker}") as rt:
        await rt.services.submit.run("docs", pages(50))
        await until(lambda: len(ask(broker, "SELECT 1 FROM dispatches")) == 50, "the dispatches")

        def moved() -> bool:
            alone = tmp_path / "copy.db"
            shutil.copy(broker, alone)  # without its log
            try:
                return len(ask(alone, "SELECT 1 FROM dispatches")) == 50
            except sqlite3.DatabaseError:
                return False  # copied during a checkpoint

        await until(moved, "the log to be moved into the file")


# -- leases ----------------------------------------------------------------------------------------


class Slow(Wrapper):
    """The real store with listing pages that take longer than a lease."""

    async def list(self, *given: Any, **named: Any) -> AsyncIterator[Sequence[Entry]]:
        await asyncio.sleep(LEASE + 1.5)
        async for page in self.wrapped.list(*given, **named):
            yield page


@pytest.mark.slow
async def test_a_page_that_takes_longer_than_a_lease_is_listed_by_one_process(tmp_path: Path):
    async with runtime(tmp_path, lease_seconds=LEASE) as one, runtime(tmp_path, lease_seconds=LEASE) as other:
        for rt in (one, other):
            drive_over(rt, store=Slow(rt.store))
        await one.services.submit.run("docs", pages())
        file = tmp_path / "playhead.db"
        await until(lambda: ask(file, "SELECT state FROM jobs") != [("publishing",)], "the job to end")
        assert ask(file, "SELECT state, epoch FROM jobs") == [("publishing_complete", 1)]
