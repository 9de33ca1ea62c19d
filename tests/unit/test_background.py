"""Long computations of a process."""

from __future__ import annotations

import asyncio

import pytest

from playhead.errors import Unavailable
from playhead.reading.background import MOST_KEPT, Background, Steps


async def test_a_computation_runs_once_and_continues_without_its_callers():
    gate, runs = asyncio.Event(), []

    async def compute(steps: Steps) -> str:
        runs.append(1)
        steps.done = 7
        await gate.wait()
        return "result"

    background: Background[str] = Background(asyncio.ensure_future)

    first = await background.get("key", 0, compute, patience=0.01, lasts=False)
    assert isinstance(first, Steps)
    assert first.done == 7
    gate.set()
    assert await background.get("key", 0, compute, patience=5, lasts=False) == "result"
    assert await background.get("key", 0, compute, patience=5, lasts=False) == "result"
    assert len(runs) == 1


async def test_a_failed_computation_is_reported_and_runs_again():
    failures = [ValueError("no"), None]

    async def compute(steps: Steps) -> str:
        if error := failures.pop(0):
            raise error
        return "result"

    background: Background[str] = Background(asyncio.ensure_future)

    with pytest.raises(ValueError, match="no"):
        await background.get("key", 0, compute, patience=5, lasts=False)
    assert await background.get("key", 0, compute, patience=5, lasts=False) == "result"


async def test_few_results_are_kept():
    runs = []

    async def compute(steps: Steps) -> int:
        runs.append(1)
        return len(runs)

    background: Background[int] = Background(asyncio.ensure_future)
    for key in range(MOST_KEPT + 1):
        await background.get(key, 0, compute, patience=5, lasts=False)

    assert await background.get(MOST_KEPT, 0, compute, patience=5, lasts=False) == MOST_KEPT + 1
    assert await background.get(0, 0, compute, patience=5, lasts=False) == MOST_KEPT + 2


async def test_a_state_that_changes_all_the_time_does_not_start_a_computation_each_time():
    runs, now = [], 0.0

    async def compute(steps: Steps) -> int:
        nonlocal now
        now += 1
        runs.append(1)
        return len(runs)

    background: Background[int] = Background(asyncio.ensure_future, clock=lambda: now)

    for state in range(5):
        assert await background.get("key", state, compute, patience=5, lasts=True) == 1
    assert await background.get("key", "ended", compute, patience=5, lasts=False) == 2
    now += 100
    assert await background.get("key", "other", compute, patience=5, lasts=True) == 3


async def test_a_second_caller_waits_for_the_computation_that_runs():
    gate, runs = asyncio.Event(), []

    async def compute(steps: Steps) -> str:
        runs.append(1)
        await gate.wait()
        return "result"

    background: Background[str] = Background(asyncio.ensure_future)
    await background.get("key", 1, compute, patience=0, lasts=False)
    await background.get("key", 2, compute, patience=0, lasts=False)
    gate.set()

    assert await background.get("key", 1, compute, patience=5, lasts=False) == "result"
    assert len(runs) == 1


async def test_a_computation_that_is_stopped_is_an_outage():
    tasks = []

    def spawn(work):
        tasks.append(asyncio.ensure_future(work))
        return tasks[-1]

    async def compute(steps: Steps) -> str:
        await asyncio.Event().wait()
        return "never"

    background: Background[str] = Background(spawn)
    assert isinstance(await background.get("key", 1, compute, patience=0.01, lasts=False), Steps)
    tasks[0].cancel()

    with pytest.raises(Unavailable):
        await background.get("key", 1, compute, patience=5, lasts=False)
