"""A `run` without other processes recovers from errors of the catalog at its start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead.bootstrap import open_runtime
from playhead.errors import catalog_unavailable
from playhead.settings import Settings
from tests.lab import KEEP, Wrapper, drive_over, pages

SOON = 60.0


class FailsOnce(Wrapper):
    """The real catalog, which loses its connection at the first call of one method.

    Args:
        happened: whether the call had its effect.
    """

    def __init__(self, wrapped: Any, method: str, *, happened: bool) -> None:
        super().__init__(wrapped)
        self._method = method
        self._happened = happened
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = super().__getattr__(name)
        if name != self._method:
            return method

        async def call(*given: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls > 1:
                return await method(*given, **more)
            if self._happened:
                await method(*given, **more)
            raise catalog_unavailable("the connection broke")

        return call


@pytest.mark.parametrize("step", ["acquire", "record"])
@pytest.mark.parametrize("happened", [False, True])
async def test_a_run_resumes_its_job_after_a_lost_answer(step: str, happened: bool, tmp_path: Path):
    settings = Settings(home=tmp_path, lease_seconds=0.5)
    async with open_runtime(settings, kind="run") as rt:
        await rt.services.configs.apply(KEEP)
        catalog = FailsOnce(rt.catalog, step, happened=happened)
        drive_over(rt, catalog=catalog)
        run = await rt.services.submit.run("docs", pages())
        async with asyncio.timeout(SOON):
            assert await rt.work(until=run.execution_id) == 0

        assert catalog.calls > 1
        done = await rt.services.executions.get(run.execution_id)
        assert (done.status, done.counts.completed) == ("completed", 1)


async def test_a_run_does_not_take_jobs_of_other_processes(tmp_path: Path):
    settings = Settings(home=tmp_path)
    async with open_runtime(settings) as other, open_runtime(settings, kind="run") as rt:
        await rt.services.configs.apply(KEEP)
        detached: UUID = (await other.services.submit.run("docs", pages())).execution_id
        mine = await rt.services.submit.run("docs", pages())
        await rt.work(until=mine.execution_id)
        await rt._take_over()

        assert await rt.catalog.abandoned_jobs() == [detached]
