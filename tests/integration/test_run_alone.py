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
from tests.lab import KEEP, pages

SOON = 60.0


@pytest.mark.parametrize("step", ["acquire", "record"])
@pytest.mark.parametrize("happened", [False, True])
async def test_a_run_resumes_its_job_after_a_lost_answer(
    step: str, happened: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = Settings(home=tmp_path, lease_seconds=0.5)
    async with open_runtime(settings, kind="run") as rt:
        await rt.services.configs.apply(KEEP)
        does = getattr(rt.catalog, step)

        async def fail_once(*given: Any, **more: Any) -> Any:
            monkeypatch.setattr(rt.catalog, step, does)
            if happened:
                await does(*given, **more)
            raise catalog_unavailable("the connection broke")

        monkeypatch.setattr(rt.catalog, step, fail_once)
        run = await rt.services.submit.run("docs", pages())
        async with asyncio.timeout(SOON):
            assert await rt.work(until=run.execution_id) == 0

        done = await rt.services.executions.get(run.execution_id)
        assert (done.status, done.counts.completed) == ("completed", 1)


async def test_a_run_does_not_take_jobs_of_other_processes(tmp_path: Path):
    settings = Settings(home=tmp_path)
    async with open_runtime(settings) as other, open_runtime(settings, kind="run") as rt:
        await rt.services.configs.apply(KEEP)
        detached: UUID = (await other.services.submit.run("docs", pages())).execution_id
        mine = await rt.services.submit.run("docs", pages())
        await rt.work(until=mine.execution_id)
        await asyncio.sleep(1.5)

        assert await rt.catalog.abandoned_jobs() == [detached]
