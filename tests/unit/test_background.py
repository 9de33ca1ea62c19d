"""Long computations of a process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from playhead.errors import Unavailable
from playhead.reading.background import MOST_KEPT, Background, Steps


async def result(background: Background[Any], key: object, state: object, compute: Any, **given: Any) -> Any:
    """Wait for a result."""
    return (await background.get(key, state, compute, patience=5, lasts=given.get("lasts", False))).result


async def test_a_computation_runs_once_and_continues_without_its_callers():
    gate, runs = asyncio.Event(), []

    async def compute(steps: Steps) -> str:
        runs.append(1)
        steps.done = 7
        await gate.wait()
        return "result"

    background: Background[str] = Background(asyncio.ensure_future)

    first = await background.get("key", 0, compute, patience=0.01, lasts=False)
    assert (first.result, first.as_of, first.done) == (None, None, 7)
    gate.set()
    assert await result(background, "key", 0, compute) == "result"
    assert await result(background, "key", 0, compute) == "result"
    assert len(runs) == 1


async def test_a_failed_computation_is_reported_and_runs_again():
    failures = [ValueError("no"), None]

    async def compute(steps: Steps) -> str:
        if error := failures.pop(0):
            raise error
        return "result"

    background: Background[str] = Background(asyncio.ensure_future)

    with pytest.raises(ValueError, match="no"):
        await result(background, "key", 0, compute)
    assert await result(background, "key", 0, compute) == "result"


async def test_few_results_are_kept():
    runs = []

    async def compute(steps: Steps) -> int:
        runs.append(1)
        return len(runs)

    background: Background[int] = Background(asyncio.ensure_future)
    for key in range(MOST_KEPT + 1):
        await result(background, key, 0, compute)

    assert await result(background, MOST_KEPT, 0, compute) == MOST_KEPT + 1
    assert await result(background, 0, 0, compute) == MOST_KEPT + 2


async def test_a_state_that_changes_all_the_time_does_not_start_a_computation_each_time():
    runs, now = [], 0.0

    async def compute(steps: Steps) -> int:
        nonlocal now
        now += 1
        runs.append(1)
        return len(runs)

    background: Background[int] = Background(asyncio.ensure_future, clock=lambda: now)

    for state in range(5):
        found = await background.get("key", state, compute, patience=5, lasts=True)
        assert (found.result, found.as_of is None) == (1, state == 0)
    assert await result(background, "key", "ended", compute) == 2
    now += 100
    assert await result(background, "key", "other", compute, lasts=True) == 3


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

    assert await result(background, "key", 1, compute) == "result"
    assert len(runs) == 1


async def test_only_the_first_callers_wait_for_a_long_computation():
    gate, now = asyncio.Event(), 0.0

    async def compute(steps: Steps) -> str:
        await gate.wait()
        return "result"

    background: Background[str] = Background(asyncio.ensure_future, clock=lambda: now)
    await background.get("key", 0, compute, patience=0, lasts=False)
    now += 101

    async with asyncio.timeout(30):
        assert (await background.get("key", 0, compute, patience=100, lasts=False)).result is None
    gate.set()
    assert await result(background, "key", 0, compute) == "result"


async def test_while_a_result_is_computed_again_the_one_before_is_known_with_its_time():
    gates = [asyncio.Event(), asyncio.Event()]
    gates[0].set()
    runs: list[int] = []

    async def compute(steps: Steps) -> int:
        gate = gates[len(runs)]
        runs.append(1)
        steps.done = 10 * len(runs)
        await gate.wait()
        return len(runs)

    background: Background[int] = Background(asyncio.ensure_future)
    assert await result(background, "key", "old", compute) == 1

    for _ in range(2):
        known = await background.get("key", "new", compute, patience=0.01, lasts=False)
        assert (known.result, known.done) == (1, 20)
        assert known.as_of is not None
    gates[1].set()

    whole = await background.get("key", "new", compute, patience=None, lasts=False)
    assert (whole.result, whole.as_of) == (2, None)


async def test_a_caller_that_waits_gets_a_result_of_its_own_state():
    gate = asyncio.Event()
    states: list[int] = []

    async def compute(steps: Steps) -> int:
        states.append(1)
        await gate.wait()
        return len(states)

    background: Background[int] = Background(asyncio.ensure_future)
    await background.get("key", "running", compute, patience=0, lasts=True)
    waiting = asyncio.ensure_future(background.get("key", "ended", compute, patience=None, lasts=False))
    await asyncio.sleep(0)
    gate.set()

    found = await waiting
    assert (found.result, found.as_of) == (2, None)


async def test_a_computation_that_is_stopped_is_an_outage():
    tasks = []

    def spawn(work):
        tasks.append(asyncio.ensure_future(work))
        return tasks[-1]

    async def compute(steps: Steps) -> str:
        await asyncio.Event().wait()
        return "never"

    background: Background[str] = Background(spawn)
    assert (await background.get("key", 1, compute, patience=0.01, lasts=False)).result is None
    tasks[0].cancel()

    with pytest.raises(Unavailable):
        await background.get("key", 1, compute, patience=5, lasts=False)
