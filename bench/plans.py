"""Plans of replays: how fast they are made, and the memory of a process that makes and uses one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from bench.figures import Figure, median, middle_ratio
from bench.homes import ROUTE, STAGE, environment, lay_out, opened
from bench.machine import report, scratch
from bench.workers import published
from playhead.bootstrap.process import Runtime
from playhead.model import ReplayRequest
from playhead.reading.listing import PAGE

SMALL: Final = 10_000
_TARGET_RATE: Final = 0.9
_TARGET_MEMORY: Final = 1.2
_INPUT: Final = "input"


def measure(parent: Path | None, *, objects: int, rounds: int) -> list[Figure]:
    """Plan a replay of `objects` inputs of a run, and of as many objects of another program."""
    with scratch(parent) as home:
        run = asyncio.run(published(home, objects))
        other = lay_out(home / "objects", objects)
        return asyncio.run(
            _measured(home, {(run, _INPUT): "stored inputs", (other, STAGE): ""}, objects, rounds)
        )


async def _measured(
    home: Path, stages: dict[tuple[UUID, str], str], objects: int, rounds: int
) -> list[Figure]:
    figures = []
    async with opened(home, "plan") as rt:
        for (execution, stage), name in stages.items():
            listed: list[float] = []
            planned: list[float] = []
            for _ in range(rounds):
                listed.append(objects / await seconds_to_list(rt, execution, stage))
                planned.append(objects / (await seconds_to_plan(rt, execution, stage, objects))[1])
            ratio = middle_ratio(planned, listed)
            figures.append(
                Figure(
                    f"plan of {objects:,} {name or 'objects of another program'}",
                    median(planned),
                    "/s",
                    rounds=planned,
                    ratio=ratio,
                    baseline=f"listing with sizes: {median(listed):,.0f}/s",
                    # The sizes of stored inputs are in the catalog.
                    target=f"at least {_TARGET_RATE:g}" if name else "",
                    passes=ratio >= _TARGET_RATE if name else None,
                )
            )
    return figures


async def seconds_to_list(rt: Runtime, execution: UUID, stage: str) -> float:
    """List a stage with sizes."""
    began = time.perf_counter()
    async for _ in rt.store.list(f"{execution}/{stage}", sizes=True, page=2 * PAGE):
        pass
    return time.perf_counter() - began


async def seconds_to_plan(rt: Runtime, execution: UUID, stage: str, objects: int) -> tuple[UUID, float]:
    """Plan a replay of a stage. Return the plan, and the seconds."""
    began = time.perf_counter()
    plan = await rt.services.plan.create(ReplayRequest(execution, stage, None, f"bench/{ROUTE}"))
    if plan.objects != objects:
        raise RuntimeError(f"the plan has {plan.objects} objects, not {objects}")
    return plan.plan_id, time.perf_counter() - began


def million(memory: Path | None, *, objects: int) -> list[Figure]:
    """Make and use a plan of `SMALL` and then of `objects` objects, each in a separate process."""
    with scratch(memory) as folder:
        store = folder / "objects"
        report(f"  writing {objects:,} objects")
        few, many = lay_out(store, SMALL), lay_out(store, objects)
        small = _use(folder / "small", store, few, SMALL)
        large = _use(folder / "large", store, many, objects)
    growth = large["peak_bytes"] / small["peak_bytes"]
    return [
        Figure(
            f"peak memory, plan of {objects:,} objects and its replay",
            large["peak_bytes"] / 1e6,
            "MB",
            ratio=growth,
            baseline=f"{SMALL:,} objects: {small['peak_bytes'] / 1e6:,.0f} MB",
            target=f"at most {_TARGET_MEMORY:g} of {SMALL:,}",
            passes=growth <= _TARGET_MEMORY,
        ),
        Figure(
            f"replay of a plan of {objects:,} objects",
            objects / large["replay_seconds"],
            "/s",
            baseline=f"comparison with the store: {large['check_seconds']:,.1f} s",
        ),
    ]


def _use(home: Path, store: Path, execution: UUID, objects: int) -> dict[str, Any]:
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "bench.lone_plan", str(home), str(store), str(execution), str(objects)],
        env={**environment(home), "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    report(f"  {objects:,} objects: peak {result['peak_bytes'] / 1e6:,.0f} MB")
    return result
