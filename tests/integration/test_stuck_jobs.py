"""Jobs for a queue that accepts nothing wait, and do not block other jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.envelope import Dispatch
from playhead.ports.broker import PublishResult
from playhead.settings import Settings
from tests.lab import KEEP, Wrapper, drive_over, pages
from tests.waiting import until

FULL = "full.keep"


class Stuck(Wrapper):
    """The real broker, of which one queue accepts nothing until it is released."""

    is_open = False

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        taken = [one for one in dispatches if self.is_open or one.headers.queue != FULL]
        outcomes = iter(await self.wrapped.publish(taken))
        known = {id(dispatch) for dispatch in taken}
        return [
            next(outcomes) if id(one) in known else PublishResult("uncertain", "it is full")
            for one in dispatches
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
async def test_jobs_that_wait_for_a_queue_do_not_block_others(stuck: int, tmp_path: Path):
    await detached(tmp_path, *["full"] * stuck, "docs")
    async with open_runtime(Settings(home=tmp_path), kind="worker") as rt:
        broker = Stuck(rt.broker)
        drive_over(rt, broker=broker)

        await until(lambda: called(rt, "docs.keep", 1), "the job behind those that wait to be driven")
        assert await rt.catalog.abandoned_jobs() == []
        assert not await called(rt, FULL, 1)

        broker.is_open = True
        await until(lambda: called(rt, FULL, stuck), "those that waited to go on")


async def test_a_process_holds_a_limited_number_of_waiting_jobs(tmp_path: Path):
    jobs = await detached(tmp_path, *["full"] * 8)
    async with open_runtime(Settings(home=tmp_path), kind="worker") as rt:
        drive_over(rt, broker=Stuck(rt.broker))
        rt.services.replay.drives.most_held = 6

        async def are_held() -> bool:
            return len(await rt.catalog.abandoned_jobs()) <= 2

        await until(are_held, "it to take as many as it may")
        await rt._take_over()

        assert await rt.catalog.abandoned_jobs() == jobs[6:]
