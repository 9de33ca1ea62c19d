"""Routes that a person has paused, with workers that start and end meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from playhead.model import RoutePause
from tests.inprocess import Playhead, opened
from tests.waiting import until

TWO = """
entry: first
routes:
  first:
    adapters: [{type: passthrough}]
    outbound: {stage: kept, to: [second]}
  second:
    adapters: [{type: passthrough}]
    outbound: {stage: done}
"""
_LONGER_THAN_A_LOOK_SECONDS = 0.7


async def counts(ph: Playhead, execution: str) -> Any:
    return {one["route"]: one["counts"] for one in await ph.items(f"executions/{execution}/routes")}


async def test_a_paused_route_is_not_processed_by_any_worker_until_it_is_resumed(tmp_path: Path):
    async with opened(tmp_path) as ph:
        await ph.apply(TWO)
        await ph.rt.services.queues.pause("docs", "second", RoutePause("the provider is down"))
        execution = await ph.submit({"a.md": b"x", "b.md": b"y"})

        async def is_first_done() -> bool:
            return bool((await counts(ph, execution))["first"]["completed"] == 2)

        for _ in range(2):  # the second worker has never seen the route without its pause
            async with ph.working():
                await until(is_first_done)
                await asyncio.sleep(_LONGER_THAN_A_LOOK_SECONDS)
        second = (await counts(ph, execution))["second"]
        why = await ph.rt.services.why.explain(await ph.rt.services.resolve.execution(execution), "a.md")
        await ph.rt.services.queues.resume("docs", "second")
        await ph.work(execution)

        assert (second["pending"], second["completed"]) == (2, 0)
        assert "the route is paused: the provider is down" in why.routes[-1].explanation
        ended = await ph.execution(execution)
        assert (ended["status"], ended["counts"]["failed"]) == ("completed", 0)


async def test_a_worker_that_ends_when_it_is_idle_names_the_pause(tmp_path: Path, caplog: Any):
    async with opened(tmp_path) as ph:
        await ph.apply(TWO)
        await ph.rt.services.queues.pause("docs", "second", RoutePause("the provider is down"))
        await ph.submit({"a.md": b"x"})

        assert await ph.rt.work(until_idle=True) == 1

        assert "the route is paused: the provider is down" in str(vars(caplog.records[-1]))
