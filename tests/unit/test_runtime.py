"""Background loops survive errors of libraries, and the shutdown does not wait for hanging tasks."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, cast

import pytest

from playhead.bootstrap import open_runtime
from playhead.bootstrap.backends import Backends
from playhead.bootstrap.process import Runtime
from playhead.settings import Settings
from playhead.watchdog import Watchdog
from tests.lab import MemoryDeployment, Wrapper
from tests.waiting import until

SOON = 60.0


class FailsOnce(Wrapper):
    """A catalog that cancels the first heartbeat, as a library does."""

    beats = 0

    async def heartbeat(self, *_: Any) -> bool:
        self.beats += 1
        if self.beats == 1:
            raise asyncio.CancelledError
        return True


async def test_a_loop_that_was_not_cancelled_continues_and_logs_the_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.ERROR):
        async with open_runtime(Settings(home=tmp_path, heartbeat_seconds=0.05), kind="worker") as rt:
            catalog = FailsOnce(rt.catalog)
            rt.catalog = cast(Any, catalog)
            await until(lambda: catalog.beats > 1, "the next heartbeat")
    assert [record for record in caplog.records if "CancelledError" in str(record.__dict__)]


class Beats(Watchdog):
    """A watchdog that counts beats, and has no process."""

    def __init__(self) -> None:
        self.count = 0

    def beat(self, state: bytes = b"") -> None:
        self.count += 1

    def close(self) -> None: ...


async def test_the_watchdog_watches_before_a_step_can_run(tmp_path: Path):
    """A worker that froze in its first half second was never ended."""
    watchdog = Beats()
    async with open_runtime(Settings(home=tmp_path), kind="worker", watchdog=watchdog):
        assert watchdog.count == 1


class Hangs:
    """Work that drops a given number of cancellations."""

    def __init__(self, drops: int) -> None:
        self.drops = drops
        self.cancels = 0
        self.may_end = asyncio.Event()

    async def run(self) -> None:
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cancels += 1
                if self.cancels > self.drops:
                    raise


async def stopped(rt: Runtime) -> bool:
    """Whether it stops."""
    stopping = asyncio.create_task(rt.stop())
    await asyncio.wait({stopping}, timeout=SOON)
    return stopping.done()


async def test_a_task_that_drops_a_cancellation_is_cancelled_again(tmp_path: Path):
    work = Hangs(1)
    async with open_runtime(Settings(home=tmp_path), kind="worker") as rt:
        rt.cancel_seconds = 0.05
        task = rt.tasks.spawn(work.run())
        await asyncio.sleep(0)
        try:
            assert await stopped(rt)
            assert task.cancelled()
        finally:
            work.may_end.set()


class Unresponsive(Wrapper):
    """A catalog that does not answer when a process departs."""

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)
        self.may_depart = asyncio.Event()

    async def depart(self, *_: Any) -> None:
        await self.may_depart.wait()


async def test_a_shutdown_does_not_wait_for_uncancellable_tasks_or_an_unresponsive_catalog(tmp_path: Path):
    work = Hangs(1000)
    async with open_runtime(Settings(home=tmp_path), kind="worker") as rt:
        rt.cancel_seconds = rt.goodbye_seconds = 0.05
        catalog = Unresponsive(rt.catalog)
        rt.catalog = cast(Any, catalog)
        task = rt.tasks.spawn(work.run())
        await asyncio.sleep(0)
        try:
            assert await stopped(rt)
            assert not task.done()
        finally:
            work.may_end.set()
            catalog.may_depart.set()


async def test_a_process_uses_the_backends_that_it_is_given(tmp_path: Path):
    site = MemoryDeployment()
    execution = await site.external(2)
    given = Backends(cast(Any, site.store), cast(Any, site.broker), site.catalog)
    async with open_runtime(Settings(home=tmp_path), backends=given) as rt:
        page = await rt.services.objects.list(execution, stage="pages", path=None, cursor=None, limit=10)
    assert len(page.items) == 2
    assert not (tmp_path / "playhead.db").exists()
