"""The completion report of a replay: lines per second until it is stored."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import UUID

from bench.figures import Figure, median
from bench.homes import opened
from bench.machine import report, scratch
from bench.workers import published
from playhead.model import ReplayRequest


def measure(parent: Path | None, *, objects: int, rounds: int) -> list[Figure]:
    """Write the report of a replay of `objects` objects that was cancelled once they were published."""
    rates = []
    for _ in range(rounds):
        with scratch(parent) as home:
            execution = asyncio.run(published(home, objects))
            rates.append(objects / asyncio.run(_written(home, execution, objects)))
    report(f"  report: {median(rates):,.0f} lines/s")
    return [Figure(f"report of {objects:,} objects", median(rates), "/s", rounds=rates)]


async def _written(home: Path, execution: UUID, objects: int) -> float:
    """Return the seconds until the report is stored."""
    async with opened(home, None) as rt:
        await rt.services.recover.cancel(execution)
        request = ReplayRequest(execution, "input", None, "bench/first", report=True)
        replay = await rt.services.replay.execute(request)
        await rt.services.recover.cancel(replay.execution_id)
        began = time.perf_counter()
        await rt.services.reports.write_due()
        seconds = time.perf_counter() - began
        found = await rt.services.reports.get(replay.replay_batch_id)
        if found.lines != objects:
            raise RuntimeError(f"the report has {found.lines} lines, not {objects}")
    return seconds
