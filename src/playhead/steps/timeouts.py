"""A job of a slot, and what counts towards its time-out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from playhead.clock import Clock

T = TypeVar("T")

_job: ContextVar[Job[Any] | None] = ContextVar("job", default=None)
"""The job that runs in this context."""


class TimedOut(Exception):
    """The work did not end within its time."""


class Withdrawn(Exception):
    """The work did not start, for a reason outside of it. The attempt is released."""


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One piece of work. It ends with exactly one result or error.

    Attributes:
        tag: the caller's own.
        timeout: seconds.
        started: by the clock of the slots; None while it waits for a slot.
        ended: by the same clock: when it returned, or when its time-out was recorded.
        settled: it has its result or error; a later one is discarded.
        over: its time is over; a coroutine is cancelled then.
        waits_since: since when its time is not counted; None while it is.
        uncounted: seconds that do not count towards its time-out.
        call_began: when the call began that it shares with other jobs, although its own time is not counted;
            None without such a call.
        clock: that of the slots.
        task: what runs a coroutine. An event loop holds its tasks only weakly, so it is kept here.
    """

    tag: T
    work: Callable[[], Any]
    timeout: float
    name: str
    is_async: bool = False
    result: Any = None
    error: BaseException | None = None
    started: float | None = None
    ended: float | None = None
    settled: bool = field(default=False)
    over: bool = False
    waits_since: float | None = None
    uncounted: float = 0.0
    call_began: float | None = None
    task: asyncio.Task[Any] | None = None
    clock: Clock = time.monotonic


def begin(job: Job[Any]) -> None:
    """Note that this context runs a job from now on."""
    _job.set(job)


def is_over() -> bool:
    """Whether the time of the job that runs in this context is over."""
    job = _job.get()
    return job is not None and (job.settled or job.over)


@contextlib.contextmanager
def time_not_counted() -> Iterator[None]:
    """Do not count the time in this block as time of the job that runs it."""
    with timeout_stopped() as job:
        began = job.clock() if job else 0.0
        yield
        if job and job.started is not None:
            passed = job.clock() - began
            job.started += passed
            job.uncounted -= passed


@contextlib.contextmanager
def timeout_stopped() -> Iterator[Job[Any] | None]:
    """Do not count the time in this block towards the time-out of the job that runs it."""
    job = _job.get()
    if job is None:
        yield None
        return
    job.waits_since = job.clock()
    try:
        yield job
    finally:
        # In this order: another thread may call `Slots.expire` in between.
        job.uncounted += job.clock() - job.waits_since
        job.waits_since = None
