"""Fields of a config whose effect only a whole worker shows: each test fails if its field has no effect."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.inprocess import Playhead, opened
from tests.waiting import until

LITTLE = 0.3
"""Seconds in which something that must not happen would have happened."""


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path) as playhead:
        yield playhead


# -- the head --------------------------------------------------------------------------------------


async def test_a_run_starts_at_the_entry(ph: Playhead):
    await ph.apply("""
entry: second
routes:
  first: {adapters: [{type: do}], outbound: {stage: one}}
  second: {adapters: [{type: stamp}], outbound: {stage: two}}
""")
    execution = await ph.run({"a.txt": "x"})
    assert await ph.stored(execution) == {"input/a.txt": "x", "two/a.txt": "x."}


# -- inbound ---------------------------------------------------------------------------------------


TEN = {f"{n}.txt": "x" for n in range(10)}


@pytest.mark.parametrize("kind", ["do", "ado"])
async def test_concurrency_is_how_many_are_worked_at_once(ph: Playhead, kind: str):
    hold_all(ph)
    await ph.apply(f"entry: a\nroutes: {{a: {{inbound: {{concurrency: 3}}, adapters: [{{type: {kind}}}]}}}}")
    execution = await ph.submit(TEN)
    async with ph.working():
        await until(lambda: ph.steps.gauge.now == 3)
        await asyncio.sleep(LITTLE)
        assert ph.steps.gauge.now == 3
        ph.steps.opened.set()
        assert (await ph.ended(execution))["counts"]["completed"] == 10
    assert ph.steps.gauge.most == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["do", "ado"])
async def test_a_new_version_changes_the_concurrency_of_a_running_worker(ph: Playhead, kind: str):
    source = (
        "entry: a\nroutes: {{a: {{inbound: {{concurrency: {}, prefetch: 20}}, adapters: [{{type: {}}}]}}}}"
    )
    hold_all(ph)
    await ph.apply(source.format(4, kind))
    first = await ph.submit(TEN)
    async with ph.working():
        await until(lambda: ph.steps.gauge.now == 4)
        await ph.apply(source.format(2, kind))
        await asyncio.sleep(1)
        ph.steps.opened.set()
        await ph.ended(first)
        ph.steps.opened.clear()
        second = await ph.submit(TEN)
        await until(lambda: ph.steps.gauge.now == 2)
        await asyncio.sleep(LITTLE)
        assert ph.steps.gauge.now == 2
        await ph.apply(source.format(5, kind))
        await until(lambda: ph.steps.gauge.now == 5)
        await asyncio.sleep(LITTLE)
        assert ph.steps.gauge.now == 5
        ph.steps.opened.set()
        await ph.ended(second)


@pytest.mark.parametrize(("inbound", "held"), [("concurrency: 1, prefetch: 6", 6), ("concurrency: 2", 2)])
async def test_prefetch_is_how_many_a_worker_holds(ph: Playhead, inbound: str, held: int):
    """Without it a worker that has finished nothing lately holds what it can work at once."""
    hold_all(ph)
    await ph.apply(f"entry: a\nroutes: {{a: {{inbound: {{{inbound}}}, adapters: [{{type: do}}]}}}}")
    execution = await ph.submit(TEN)
    async with ph.working():

        async def holds_them() -> bool:
            route = await ph.route("a")
            return bool((route["in_flight"], route["queue_depth"]) == (held, 10 - held))

        await until(holds_them)
        await asyncio.sleep(LITTLE)
        assert await holds_them()
        ph.steps.opened.set()
        await ph.ended(execution)


# -- time-outs -------------------------------------------------------------------------------------

TIMED = """
entry: a
routes:
  a:
    inbound: {{concurrency: {concurrency}, prefetch: 10}}
    timeout_seconds: 0.2
    adapters: [{{type: {kind}}}]
    outbound: {{stage: done}}
    error_handling: {{max_attempts: 1}}
"""


@pytest.mark.parametrize("kind", ["do", "ado"])
async def test_timeout_seconds_is_how_long_a_message_may_take(ph: Playhead, kind: str):
    hold_some(ph, "slow.txt")
    await ph.apply(TIMED.format(kind=kind, concurrency=4))
    execution = await ph.run({"slow.txt": "x", "quick.txt": "y"})
    assert await ph.dead(execution) == {"input/slow.txt": "adapter_timeout"}
    [letter] = await ph.items("dead-letters")
    assert "0.2 s" in letter["error"]
    assert "done/quick.txt" in await ph.stored(execution)


async def test_the_time_is_for_the_whole_chain(ph: Playhead):
    def take_a_while(item: Any, ctx: Any) -> Any:
        ph.steps.opened.wait(0.15)
        return item.data

    ph.steps.doing = take_a_while
    steps = "[{type: do}, {type: do}, {type: do}]"
    await ph.apply(f"""
entry: a
routes: {{a: {{timeout_seconds: 0.3, adapters: {steps}, error_handling: {{max_attempts: 1}}}}}}
""")
    execution = await ph.run({"a.txt": "x"})
    assert await ph.dead(execution) == {"input/a.txt": "adapter_timeout"}


async def test_what_comes_too_late_is_not_stored(ph: Playhead):
    hold_some(ph, "slow.txt")
    await ph.apply(TIMED.format(kind="do", concurrency=4))
    execution = await ph.submit({"slow.txt": "x"})
    async with ph.working():
        await ph.ended(execution)
        ph.steps.opened.set()
        await asyncio.sleep(LITTLE)
    assert list(await ph.stored(execution)) == ["input/slow.txt"]
    assert (await ph.execution(execution))["counts"]["failed"] == 1


async def test_a_function_that_hangs_keeps_its_slot_and_the_others_go_on(ph: Playhead):
    hold_some(ph, "slow.txt")
    await ph.apply(TIMED.format(kind="do", concurrency=3))
    first = await ph.submit({"slow.txt": "x"})
    async with ph.working() as worker:
        await ph.ended(first)
        ph.steps.gauge.most = 0
        assert (await ph.ended(await ph.submit(TEN)))["counts"]["completed"] == 10
        assert ph.steps.gauge.most <= 3
        assert not worker.done()


@pytest.mark.slow
# What shares an event loop with a coroutine that blocks it is lost with it.
@pytest.mark.parametrize(("kind", "concurrency", "lost"), [("do", 2, "0"), ("do", 1, "0"), ("ado", 2, "01")])
async def test_a_worker_half_of_whose_slots_hang_ends_with_1_and_names_the_adapter(
    ph: Playhead, caplog: pytest.LogCaptureFixture, kind: str, concurrency: int, lost: str
):
    hold_some(ph, "0.txt")
    held = ph.steps.doing

    async def block(item: Any, ctx: Any) -> Any:
        return held(item, ctx)  # blocks its event loop: no time-out can reach it

    ph.steps.adoing = block
    await ph.apply(TIMED.format(kind=kind, concurrency=concurrency))
    execution = await ph.submit(TEN)
    with caplog.at_level(logging.ERROR, "playhead"):
        async with ph.working() as worker:
            await until(worker.done)
    assert worker.result() == 1
    [line] = [r for r in caplog.records if r.message == "adapter_hangs"]
    assert line.fields["adapter"] == kind  # type: ignore[attr-defined]
    ph.steps.opened.set()
    async with ph.working():  # its running message was released, and the attempt not counted
        counts = (await ph.ended(execution))["counts"]
    assert await ph.dead(execution) == {f"input/{n}.txt": "adapter_timeout" for n in lost}
    assert counts["completed"] == 10 - len(lost)


# -- within ----------------------------------------------------------------------------------------


def hold_all(ph: Playhead) -> None:
    """Let every item wait until the test opens the gate."""
    hold_some(ph, "")


def hold_some(ph: Playhead, path: str) -> None:
    def hold(item: Any, ctx: Any) -> Any:
        if item.path.startswith(path):
            ph.steps.opened.wait()
        return None if not path else item.data

    async def ahold(item: Any, ctx: Any) -> Any:
        while item.path.startswith(path) and not ph.steps.opened.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return None if not path else item.data

    ph.steps.doing, ph.steps.adoing = hold, ahold
