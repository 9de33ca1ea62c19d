"""Slots: jobs that exceed their time-out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from playhead import Item, adapter
from playhead.clock import ActiveClock
from playhead.model import Route, Step
from playhead.ports.adapter import spec_of
from playhead.steps.chain import Chain
from playhead.steps.slots import Slots, at_loop_end
from playhead.steps.timeouts import Job, TimedOut, Withdrawn, timeout_stopped
from tests.lab import Clock
from tests.unit.test_chain import CTX


def look(slots: Slots[str], clock: Clock, *, after: float = 0.1) -> None:
    clock.now += after
    slots.expire()


async def ended(slots: Slots[str]) -> list[Job[str]]:
    """The jobs that have ended, once there is one."""
    await asyncio.wait_for(slots.ready.wait(), 30)
    return slots.drain()


class Work:
    """Work that sets `begun` and returns when `end` is set; as a function or as a coroutine."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()

    def plain(self) -> str:
        self.begun.set()
        assert self.end.wait(30)
        return "done"

    async def coroutine(self) -> str:
        self.begun.set()
        assert await asyncio.to_thread(self.end.wait, 30)
        return "done"

    def job(self, tag: str, *, timeout: float, is_async: bool) -> Job[str]:
        return Job(tag, self.coroutine if is_async else self.plain, timeout, tag, is_async=is_async)


class Held(Work):
    """A chain of one step, which returns when `end` is set. `kind` is that of its adapter."""

    def __init__(self, kind: str) -> None:
        super().__init__()

        @adapter("plain")
        def plain(item: Item) -> str:
            return self.plain()

        @adapter("async")
        async def not_plain(item: Item) -> str:
            return await self.coroutine()

        @adapter("batch", batch=2, wait_seconds=0)
        def batch(items: Sequence[Item]) -> list[str]:
            return [self.plain()]

        @adapter("async_batch", batch=2, wait_seconds=0)
        async def async_batch(items: Sequence[Item]) -> list[str]:
            return [await self.coroutine()]

        specs = {spec.name: spec for spec in map(spec_of, (plain, not_plain, batch, async_batch)) if spec}
        self.chain = Chain(Route("r", "q", (Step(kind),), stage="s", timeout_seconds=2), specs)

    def job(self, tag: str, *, timeout: float = 2, is_async: bool = False) -> Job[str]:
        run = self.chain.run_async if self.chain.is_async else self.chain.run
        work = partial(run, Item("a.txt", b"text"), CTX)
        return Job(tag, work, timeout, tag, is_async=self.chain.is_async)


class Interrupted(asyncio.Event):
    """Runs something just before it is set."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self._happens: Callable[[], object] | None = happens

    def __getattribute__(self, name: str) -> Any:
        if name == "set" and self._happens:
            happens, self._happens = self._happens, None
            happens()
        return super().__getattribute__(name)


async def test_a_job_that_returns_while_its_time_out_is_recorded_does_not_count_as_hanging():
    clock = Clock()
    slots: Slots[str] = Slots(1, clock=ActiveClock(clock))
    begun, may_return, next_begun, end = (threading.Event() for _ in range(4))

    def late() -> None:
        begun.set()
        may_return.wait(30)

    def following() -> None:
        next_begun.set()
        end.wait(30)

    def return_now() -> None:
        may_return.set()
        assert next_begun.wait(30), "its thread runs the next job"

    slots.ready = Interrupted(return_now)
    first = Job("first", late, timeout=0, name="late")
    slots.submit(first)
    slots.submit(Job("next", following, timeout=60, name="next"))
    assert begun.wait(30)

    look(slots, clock)
    look(slots, clock, after=0.4)
    look(slots, clock, after=0.4)

    assert isinstance(first.error, TimedOut)
    assert slots.hanging == {}
    end.set()
    slots.close()


async def test_a_job_hangs_from_a_moment_after_its_time_out_until_it_returns():
    clock = Clock()
    slots: Slots[str] = Slots(2, clock=ActiveClock(clock))
    begun, may_return = threading.Event(), threading.Event()

    def late() -> None:
        begun.set()
        may_return.wait(30)

    slots.submit(Job("late", late, timeout=0, name="late"))
    assert begun.wait(30)
    look(slots, clock)
    assert (slots.hanging, slots.is_late) == ({}, True)
    look(slots, clock, after=3600)
    assert slots.hanging == {}, "the process was suspended: the job had no time to return"
    look(slots, clock, after=0.2)
    seen = slots.hanging
    assert list(seen.values()) == ["late"]

    may_return.set()
    until = time.monotonic() + 30
    while slots.hanging:
        assert time.monotonic() < until, "the job has returned"
        await asyncio.sleep(0.001)

    assert list(seen.values()) == ["late"], "a value that was read before does not change"
    assert not slots.is_late
    assert [job.tag for job in slots.drain()] == ["late"]
    slots.close()


async def test_jobs_that_delay_every_check_of_the_process_are_still_found_to_hang():
    clock, work = Clock(), Work()
    slots: Slots[str] = Slots(1, clock=ActiveClock(clock))
    slots.submit(work.job("hangs", timeout=1, is_async=False))
    assert work.begun.wait(30)

    for _ in range(5):  # half a second of each gap counts
        look(slots, clock, after=2)

    assert list(slots.hanging.values()) == ["hangs"]
    work.end.set()
    slots.close()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_suspension_of_the_process_does_not_count_towards_a_jobs_time_out(is_async: bool):
    clock, work = Clock(), Work()
    slots: Slots[str] = Slots(1, clock=ActiveClock(clock))
    job = work.job("job", timeout=3, is_async=is_async)
    slots.submit(job)
    assert work.begun.wait(30)
    look(slots, clock)

    look(slots, clock, after=3600)

    assert (job.settled, job.over) == (False, False)
    assert slots.hanging == {}
    work.end.set()
    assert await ended(slots) == [job]
    assert (job.result, job.error) == ("done", None)
    slots.close()


@pytest.mark.parametrize("is_async", [False, True])
async def test_after_a_suspension_a_jobs_time_continues(is_async: bool):
    clock, work = Clock(), Work()
    slots: Slots[str] = Slots(1, clock=ActiveClock(clock))
    job = work.job("job", timeout=3, is_async=is_async)
    slots.submit(job)
    assert work.begun.wait(30)

    for after in (3600, 3600, *[0.5] * 4):  # half a second of each counts
        look(slots, clock, after=after)
        assert (job.settled, job.over) == (False, False)
    look(slots, clock)

    assert await ended(slots) == [job]
    assert isinstance(job.error, TimedOut)
    work.end.set()
    slots.close()


async def test_a_coroutine_past_its_time_out_is_cancelled_and_does_not_hang():
    clock, work = Clock(), Work()
    slots: Slots[str] = Slots(1, clock=ActiveClock(clock))
    late, next_one = (work.job(tag, timeout=0.2, is_async=True) for tag in ("late", "next"))
    slots.submit(late)
    assert work.begun.wait(30)
    for _ in range(3):
        look(slots, clock)

    assert await ended(slots) == [late]
    assert isinstance(late.error, TimedOut)
    work.end.set()
    slots.submit(next_one)
    assert await ended(slots) == [next_one], "its slot is free"
    assert next_one.result == "done"
    assert not slots.is_late
    slots.close()


async def test_a_coroutine_that_returns_a_result_when_it_is_cancelled_has_that_result():
    clock, begun = Clock(), threading.Event()
    slots: Slots[str] = Slots(1, clock=ActiveClock(clock))

    async def last_word() -> str:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "half of it"
        return "all of it"

    job: Job[str] = Job("job", last_word, 0.2, "job", is_async=True)
    slots.submit(job)
    assert begun.wait(30)
    for _ in range(3):
        look(slots, clock)

    assert await ended(slots) == [job]
    assert (job.result, job.error) == ("half of it", None)
    slots.close()


async def test_a_coroutine_that_cancels_itself_is_not_reported_as_timed_out():
    slots: Slots[str] = Slots(1, clock=ActiveClock(Clock()))

    async def gives_up() -> str:
        raise asyncio.CancelledError

    job: Job[str] = Job("job", gives_up, 0.2, "job", is_async=True)
    slots.submit(job)

    assert await ended(slots) == [job]
    assert isinstance(job.error, asyncio.CancelledError)
    slots.close()


@pytest.mark.parametrize(("looks", "is_over"), [(3, False), (15, True)])
async def test_the_time_of_a_coroutine_starts_at_its_first_turn_which_must_come_within_a_second(
    looks: int, is_over: bool
):
    clock, blocks, waits = Clock(), Work(), Work()
    slots: Slots[str] = Slots(2, clock=ActiveClock(clock))

    async def block() -> str:
        return blocks.plain()

    slots.submit(Job("blocks", block, timeout=60, name="blocks", is_async=True))
    assert blocks.begun.wait(30)
    late = waits.job("late", timeout=0.2, is_async=True)
    slots.submit(late)
    for _ in range(looks):
        look(slots, clock)
    assert (late.over, late.settled) == (is_over, is_over)
    waits.end.set()

    blocks.end.set()
    jobs = await ended(slots)
    jobs += [] if len(jobs) == 2 else await ended(slots)

    error = TimedOut if is_over else type(None)
    assert {job.tag: type(job.error) for job in jobs} == {"blocks": type(None), "late": error}
    assert waits.begun.is_set() is not is_over
    slots.close()


async def test_a_blocked_event_loop_ends_the_jobs_whose_own_time_is_stopped():
    clock, blocks, waits = Clock(), Work(), threading.Event()
    slots: Slots[str] = Slots(3, clock=ActiveClock(clock))

    async def wait_for_turn() -> None:
        with timeout_stopped():
            waits.set()
            await asyncio.sleep(30)

    async def block() -> str:
        with timeout_stopped() as own:
            assert own
            own.call_began = own.clock()
            return blocks.plain()

    slots.submit(Job("waits", wait_for_turn, timeout=2, name="waits", is_async=True))
    assert waits.wait(30)
    slots.submit(Job("blocks", block, timeout=2, name="blocks", is_async=True))
    assert blocks.begun.wait(30)
    for _ in range(17):
        look(slots, clock, after=0.4)
    assert slots.blocked_by is None
    slots.submit(Job("new", wait_for_turn, timeout=2, name="new", is_async=True))
    for _ in range(3):
        look(slots, clock, after=0.4)

    assert slots.blocked_by
    assert {job.tag: type(job.error) for job in slots.drain()} == {
        "waits": Withdrawn,
        "blocks": TimedOut,
        "new": Withdrawn,
    }
    blocks.end.set()
    slots.close()


@pytest.mark.parametrize("kind", ["plain", "async", "batch", "async_batch"])
async def test_a_job_after_ten_idle_minutes_has_its_whole_time(kind: str):
    clock, blocks = Clock(), Work()
    slots: Slots[str] = Slots(2, clock=ActiveClock(clock))
    step = Held(kind)

    async def block() -> str:
        return blocks.plain()

    slots.submit(step.job("first"))
    step.end.set()
    assert [job.tag for job in await ended(slots)] == ["first"]
    for _ in range(1500):
        look(slots, clock, after=0.4)
    step.begun.clear()
    step.end.clear()
    jobs = [step.job("second"), Job("blocks", block, 2, "blocks", is_async=True)]
    slots.submit(jobs[0])
    assert await asyncio.to_thread(step.begun.wait, 30)
    slots.submit(jobs[1])
    assert await asyncio.to_thread(blocks.begun.wait, 30), "the event loop answers nothing now"
    for _ in range(4):
        look(slots, clock, after=0.4)

    assert [(job.settled, job.over) for job in jobs] == [(False, False)] * 2
    assert (slots.blocked_by, slots.hanging) == (None, {})
    step.end.set()
    blocks.end.set()
    done = await ended(slots)
    done += [] if len(done) == 2 else await ended(slots)
    assert {job.tag: job.error for job in done} == {"second": None, "blocks": None}
    step.chain.close()
    slots.close()


async def test_what_must_run_at_the_end_of_the_async_loop_runs_before_slots_are_closed():
    ended: list[str] = []

    async def work() -> None:
        at_loop_end(end)

    async def end() -> None:
        await asyncio.sleep(0.05)
        ended.append("closed")

    slots: Slots[str] = Slots(1)
    slots.submit(Job("job", work, 10, "job", is_async=True))
    await slots.ready.wait()
    slots.close()
    await slots.wait_closed()

    assert ended == ["closed"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_jobs_that_wait_do_not_start_after_an_error_that_withholds_them(is_async: bool):
    slots: Slots[int] = Slots(2, withholds=lambda error: isinstance(error, ValueError))
    begun: list[int] = []
    may_fail = threading.Event()

    def submit(tag: int, work: Callable[[], Any]) -> None:
        async def coroutine() -> None:
            work()

        slots.submit(Job(tag, coroutine if is_async else work, 60, "n", is_async=is_async))

    def fail() -> None:
        may_fail.wait(30)
        raise ValueError

    async def ended(count: int) -> set[int]:
        tags: set[int] = set()
        while len(tags) < count:
            await asyncio.wait_for(slots.ready.wait(), 30)
            tags |= {job.tag for job in slots.drain()}
        return tags

    submit(0, fail)
    submit(1, fail)
    while slots.waiting_count:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    for tag in range(2, 22):
        submit(tag, partial(begun.append, tag))
    may_fail.set()

    assert await ended(2) == {0, 1}
    assert {job.tag for job in slots.withdraw()} == set(range(2, 22))
    assert begun == []
    submit(22, partial(begun.append, 22))
    assert await ended(1) == {22}
    assert begun == [22]
    slots.close()
