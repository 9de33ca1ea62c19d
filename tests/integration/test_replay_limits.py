"""The settings that limit replays, in processes that share a home."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.model import RatePace, Replay, ReplayRequest
from playhead.settings import Settings
from tests.lab import KEEP, pages
from tests.waiting import until

COUNT = 200


@pytest.fixture
async def source(tmp_path: Path) -> UUID:
    """A run that has published its inputs."""
    async with open_runtime(Settings(home=tmp_path), kind="serve") as rt:
        await rt.services.configs.apply(KEEP)
        run = (await rt.services.submit.run("docs", pages(COUNT))).execution_id
        await until(lambda: rt.catalog.is_listed(run), "the run to be listed")
    return run


async def slow(rt: Runtime, source: UUID) -> Replay:
    """Start a replay that does not end during the test, and is too fast to leave its place to others."""
    request = ReplayRequest(source, "input", None, "keep", pace=RatePace(2.5))
    return (await rt.services.replay.start(request)).replay


async def waits_for(rt: Runtime, replay: Replay) -> str | None:
    found = await rt.catalog.replay(replay.replay_batch_id)
    assert found
    return found.waits_for


async def test_a_process_drives_no_more_replays_than_it_may_and_the_next_process_takes_the_others(
    tmp_path: Path, source: UUID
):
    settings = Settings(home=tmp_path, replays_per_process=1)
    async with open_runtime(settings, kind="serve") as rt:
        drives = rt.services.replay.drives
        first, second = await slow(rt, source), await slow(rt, source)
        plain = (await rt.services.replay.execute(ReplayRequest(source, "input", None, "keep"))).status
        assert plain == "publishing_complete"
        await until(lambda: drives.driving <= {first.execution_id}, "the plain replay to leave its place")
        assert await waits_for(rt, second) == "process"
        async with open_runtime(settings, kind="worker") as other:
            taken = other.services.replay.drives
            await until(lambda: taken.driving == {second.execution_id}, "the other process to take it")
            await until(lambda: drives.driving == {first.execution_id}, "the first one to be driven")
            third = await slow(rt, source)
            await rt.services.control.cancel(first.replay_batch_id)
            await until(lambda: drives.driving == {third.execution_id}, "the next one to be driven")


async def test_a_replay_with_too_many_objects_ends_at_the_limit(tmp_path: Path, source: UUID):
    request = ReplayRequest(source, "input", None, "keep", reason="a fix")
    async with open_runtime(Settings(home=tmp_path, max_replay_objects=COUNT - 2), kind="serve") as rt:
        limited = await rt.services.replay.execute(request)
        assert (limited.status, limited.objects_published) == ("partial_failure", COUNT - 2)
        assert limited.errors
        assert "PLAYHEAD_MAX_REPLAY_OBJECTS" in limited.errors[0]
        error = (await rt.services.executions.get(limited.execution_id)).error
        assert error
        assert error.code == "too_many_objects"
