"""The counts that one process shows for an execution that another process has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from playhead.bootstrap import open_runtime
from playhead.ids import uuid7
from playhead.model import Counts
from playhead.ports.catalog.jobs import Listed
from playhead.settings import Settings
from tests.lab import asked

CONFIG = b"""
version: "1.0"
name: outside
entry: hand_over
routes:
  hand_over: {external: true}
"""
PAGES, PAGE = 60, 1000  # enough rows that their counts are cached for a second


@pytest.mark.slow
async def test_route_counts_add_up_after_another_process_ended_the_execution(tmp_path: Path):
    settings = Settings(home=tmp_path)
    async with open_runtime(settings) as ours, open_runtime(settings) as other:
        await ours.services.configs.apply(CONFIG)
        source = uuid7()
        await ours.catalog.adopt(source)
        made, _ = await ours.catalog.open_replay(
            batch=uuid7(),
            request=asked(source, "pages", "hand_over"),
            prefix=f"{source}/pages",
            config="outside",
            version=1,
            route="hand_over",
        )
        execution = made.execution_id
        held = await ours.catalog.acquire(execution, owner="ours", lease=60)
        assert held
        for page in range(PAGES):
            keys = [f"{source}/pages/{page:03d}/{n:03d}" for n in range(PAGE)]
            listed = [Listed(key, "pages") for key in keys]
            assert await ours.catalog.record(held, listed, cursor=keys[-1], last=page == PAGES - 1)
        seen = await other.catalog.route_counts(execution)
        assert [c.counts for c in seen] == [Counts(pending=PAGES * PAGE, total=PAGES * PAGE)]

        assert await ours.catalog.mark(held, PAGES * PAGE)
        assert await ours.catalog.end_executions([execution]) == [execution]

        shown = await other.catalog.execution(execution)
        assert shown
        assert shown.counts == Counts(completed=PAGES * PAGE, total=PAGES * PAGE, processed=PAGES * PAGE)
        assert [c.counts for c in await other.catalog.route_counts(execution)] == [shown.counts]
