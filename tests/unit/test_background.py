"""Long computations of a process."""

from __future__ import annotations

import asyncio

import pytest

from playhead.engine.background import MOST_KEPT, Background, Steps


async def test_a_computation_runs_once_and_continues_without_its_callers():
    gate, runs = asyncio.Event(), []

    async def compute(steps: Steps) -> str:
        runs.append(1)
        steps.done = 7
        await gate.wait()
        return "result"

    background: Background[str] = Background(asyncio.ensure_future)

    first = await background.get("key", compute, 0.01)
    assert isinstance(first, Steps)
    assert first.done == 7
    gate.set()
    assert await background.get("key", compute, 5) == "result"
    assert await background.get("key", compute, 5) == "result"
    assert len(runs) == 1


async def test_a_failed_computation_is_reported_and_runs_again():
    failures = [ValueError("no"), None]

    async def compute(steps: Steps) -> str:
        if error := failures.pop(0):
            raise error
        return "result"

    background: Background[str] = Background(asyncio.ensure_future)

    with pytest.raises(ValueError, match="no"):
        await background.get("key", compute, 5)
    assert await background.get("key", compute, 5) == "result"


async def test_few_results_are_kept():
    runs = []

    async def compute(steps: Steps) -> int:
        runs.append(1)
        return len(runs)

    background: Background[int] = Background(asyncio.ensure_future)
    for key in range(MOST_KEPT + 1):
        await background.get(key, compute, 5)

    assert await background.get(MOST_KEPT, compute, 5) == MOST_KEPT + 1
    assert await background.get(0, compute, 5) == MOST_KEPT + 2
