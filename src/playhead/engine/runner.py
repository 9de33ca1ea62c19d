"""Slots: where adapters run, beside the event loop that talks to the backends.

Plain chains run in threads, `concurrency` of them at most, started as they are needed; chains with an
async step run as tasks of one event loop of their own, so that one that blocks harms only its route.
A plain function can't be killed: past its time-out its result is no longer wanted, and its slot is
given up until it returns, if it ever does.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class TimedOut(Exception):
    """The work did not end within its time."""


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One piece of work. `tag` is the caller's own; exactly one result or error comes of it."""

    tag: T
    work: Callable[[], Any]
    timeout: float
    name: str
    is_async: bool = False
    result: Any = None
    error: BaseException | None = None
    started: float | None = None
    settled: bool = field(default=False)


class Slots(Generic[T]):
    """Runs jobs, `limit` at a time, and collects them as they end.

    Must be made inside a running event loop; `ready` is set when `drain` has something.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.ready = asyncio.Event()
        self.hanging: dict[int, str] = {}
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job[T] | None] = queue.SimpleQueue()
        self._ended: deque[Job[T]] = deque()
        self._told = False
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._running: dict[int, Job[T]] = {}
        self._async_loop: asyncio.AbstractEventLoop | None = None
        self._gate: asyncio.Semaphore | None = None
        self._closed = False

    def submit(self, job: Job[T]) -> None:
        """Queue a job. It starts as soon as a slot is free."""
        if job.is_async:
            asyncio.run_coroutine_threadsafe(self._run_async(job), self._second_loop())
            return
        self._jobs.put(job)
        with self._lock:
            # A thread too many costs little; one too few would leave a job waiting.
            if self._idle < self._jobs.qsize() and len(self._threads) < self.limit:
                thread = threading.Thread(target=self._serve, name="playhead-adapter", daemon=True)
                self._threads.add(thread)
                thread.start()

    def drain(self) -> list[Job[T]]:
        """Return the jobs that ended since the last call."""
        self.ready.clear()
        self._told = False
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        return ended

    def expire(self) -> None:
        """Settle plain jobs that are past their time, and give their slots up. Call it now and then."""
        now = time.monotonic()
        with self._lock:
            late = [
                (ident, job)
                for ident, job in self._running.items()
                if not job.settled and job.started is not None and now - job.started > job.timeout
            ]
        for ident, job in late:
            if self._settle(job, error=TimedOut()):
                self.hanging[ident] = job.name

    def close(self) -> None:
        """Let threads end as they come back. Hanging ones are left: they are daemons."""
        self._closed = True
        for _ in range(len(self._threads)):
            self._jobs.put(None)
        if self._async_loop:
            self._async_loop.call_soon_threadsafe(self._async_loop.stop)
            self._async_loop = None

    # -- within ------------------------------------------------------------------------------------

    def _settle(self, job: Job[T], result: Any = None, error: BaseException | None = None) -> bool:
        with self._lock:
            if job.settled:
                return False
            job.settled, job.result, job.error = True, result, error
        self._ended.append(job)
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(self.ready.set)
            except RuntimeError:  # the worker is gone: nobody wants the result
                return False
        return True

    def _serve(self) -> None:
        ident = threading.get_ident()
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if job is None:
                break
            job.started = time.monotonic()
            with self._lock:
                self._running[ident] = job
            try:
                result, error = job.work(), None
            except BaseException as exc:
                result, error = None, exc
            with self._lock:
                self._running.pop(ident, None)
            if not self._settle(job, result, error):
                self.hanging.pop(ident, None)  # it came back after all: so does its slot
        self._threads.discard(threading.current_thread())

    def _second_loop(self) -> asyncio.AbstractEventLoop:
        if self._async_loop is None:
            loop = asyncio.new_event_loop()
            self._gate = asyncio.Semaphore(self.limit)
            threading.Thread(target=loop.run_forever, name="playhead-async", daemon=True).start()
            self._async_loop = loop
        return self._async_loop

    async def _run_async(self, job: Job[T]) -> None:
        assert self._gate
        async with self._gate:
            try:
                async with asyncio.timeout(job.timeout):
                    result = await job.work()
            except TimeoutError as exc:
                # Ours, or one that the adapter raised itself: only the first is about the clock.
                mine = exc.__cause__ is not None and isinstance(exc.__cause__, asyncio.CancelledError)
                self._settle(job, error=TimedOut() if mine else exc)
            except BaseException as exc:
                self._settle(job, error=exc)
            else:
                self._settle(job, result)
