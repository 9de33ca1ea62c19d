"""The two clocks during a suspension of the process."""

from __future__ import annotations

import asyncio
import time

import pytest

from playhead.clock import LONGEST_GAP_SECONDS, ActiveClock, ElapsedClock, done_within


class Source:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_active_clock_counts_half_a_second_of_a_suspension():
    source = Source()
    clock = ActiveClock(source)
    source.now += 0.3
    assert clock() == pytest.approx(0.3)
    source.now += 3600
    assert clock() == pytest.approx(0.3 + LONGEST_GAP_SECONDS)
    source.now -= 10
    assert clock() == pytest.approx(0.3 + LONGEST_GAP_SECONDS)


def test_the_elapsed_clock_follows_a_wall_clock_that_is_set_forward_and_never_goes_back(
    monkeypatch: pytest.MonkeyPatch,
):
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall)
    clock = ElapsedClock()
    wall -= 1000
    assert 0 <= clock() < 10
    wall += 60
    assert 60 <= clock() < 70


async def test_an_unfinished_future_is_waited_for_until_the_time_out():
    began = time.monotonic()
    assert not await done_within(0.3, asyncio.get_running_loop().create_future())
    assert 0.3 <= time.monotonic() - began < 10


async def test_a_future_that_is_done_after_its_process_was_suspended_is_done_in_time():
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    waiting = asyncio.create_task(done_within(1.0, future))
    await asyncio.sleep(0.01)
    time.sleep(1.5)  # noqa: ASYNC251  # the loop does not run, as in a process that is suspended
    # What arrived meanwhile is read a little later than the timers that are due.
    loop.call_later(0.05, future.set_result, None)
    assert await waiting
