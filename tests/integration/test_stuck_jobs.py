"""Jobs for a queue that accepts nothing wait, and do not block other jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from playhead.bootstrap import open_runtime, process
from playhead.bootstrap.process import Runtime
from playhead.envelope import Dispatch
from playhead.ports.broker import PublishResult
from playhead.settings import Settings
from tests.lab import KEEP, pages
from tests.waiting import until


class Stuck:
    """One queue of a broker accepts nothing until it is released."""

    def __init__(
        self, queue: str, publish: Callable[[Sequence[Dispatch]], Awaitable[list[PublishResult]]]
    ) -> None:
        self._queue = queue
        self._publish = publish
        self.is_open = False

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        taken = [dispatch for dispatch in dispatches if self.is_open or dispatch.headers.queue != self._queue]
        outcomes = iter(await self._publish(taken))
        known = {id(dispatch) for dispatch in taken}
        return [
            next(outcomes) if id(c) in known else PublishResult("uncertain", "it is full") for c in dispatches
        ]


async def detached(home: Path, *configs: str) -> list[UUID]:
    """Start runs of these configs in this order; no process drives their jobs yet."""
    async with open_runtime(Settings(home=home)) as other:
        for name in set(configs):
            await other.services.configs.apply(KEEP.replace("docs", name))
        return [(await other.services.submit.run(name, pages())).execution_id for name in configs]


async def called(rt: Runtime, queue: str, count: int) -> bool:
    """Return whether a queue has this number of dispatches."""
    return (await rt.broker.depth(queue)).ready >= count


@pytest.mark.parametrize("stuck", [4, 9])
async def test_jobs_that_wait_for_a_queue_do_not_block_others(
    stuck: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await detached(tmp_path, *["full"] * stuck, "docs")
    async with open_runtime(Settings(home=tmp_path), kind="worker") as rt:
        queue = Stuck("full.keep", rt.broker.publish)
        monkeypatch.setattr(rt.broker, "publish", queue.publish)

        await until(lambda: called(rt, "docs.keep", 1), "the job behind those that wait to be driven")
        assert await rt.catalog.abandoned_jobs() == []
        assert not await called(rt, "full.keep", 1)

        queue.is_open = True
        await until(lambda: called(rt, "full.keep", stuck), "those that waited to go on")


async def test_a_process_holds_a_limited_number_of_waiting_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process, "_MOST_JOBS_HELD", 6)
    jobs = await detached(tmp_path, *["full"] * 8)
    async with open_runtime(Settings(home=tmp_path), kind="worker") as rt:
        monkeypatch.setattr(rt.broker, "publish", Stuck("full.keep", rt.broker.publish).publish)

        async def are_held() -> bool:
            return len(await rt.catalog.abandoned_jobs()) <= 2

        await until(are_held, "it to take as many as it may")
        await asyncio.sleep(1.5)

        assert await rt.catalog.abandoned_jobs() == jobs[6:]
