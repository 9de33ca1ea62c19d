"""Slots: what is said of jobs that are past their time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from playhead.engine.runner import Job, Slots, TimedOut


class Interrupted(asyncio.Event):
    """Lets something happen just before it is told that there is something to drain."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self._happens: Callable[[], object] | None = happens

    def __getattribute__(self, name: str) -> Any:
        if name == "set" and self._happens:
            happens, self._happens = self._happens, None
            happens()
        return super().__getattribute__(name)


async def test_a_job_that_comes_back_while_its_time_out_is_told_does_not_hang_for_ever():
    slots: Slots[str] = Slots(1)
    begun, may_return, next_begun, end = (threading.Event() for _ in range(4))

    def late() -> None:
        begun.set()
        may_return.wait(30)

    def following() -> None:
        next_begun.set()
        end.wait(30)

    def come_back() -> None:
        may_return.set()
        assert next_begun.wait(30), "its thread has gone on to the next job"

    slots.ready = Interrupted(come_back)
    first = Job("first", late, timeout=0, name="late")
    slots.submit(first)
    slots.submit(Job("next", following, timeout=60, name="next"))
    assert begun.wait(30)

    slots.expire()

    assert isinstance(first.error, TimedOut)
    assert slots.hanging == {}
    end.set()
    slots.close()


async def test_a_job_past_its_time_hangs_until_it_comes_back():
    slots: Slots[str] = Slots(2)
    begun, may_return = threading.Event(), threading.Event()

    def late() -> None:
        begun.set()
        may_return.wait(30)

    slots.submit(Job("late", late, timeout=0, name="late"))
    assert begun.wait(30)
    slots.expire()
    slots.expire()
    seen = slots.hanging
    assert list(seen.values()) == ["late"]

    may_return.set()
    until = time.monotonic() + 30
    while slots.hanging:
        assert time.monotonic() < until, "it has come back"
        await asyncio.sleep(0.001)

    assert list(seen.values()) == ["late"], "who looked before reads on undisturbed"
    assert [job.tag for job in slots.drain()] == ["late"]
    slots.close()
