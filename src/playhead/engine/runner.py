"""Slots: where adapters run, beside the event loop that talks to the backends.

Plain chains run in threads, `concurrency` of them at most, started as they are needed; chains with an
async step run as tasks of one event loop of their own, so that one that blocks harms only its route.
A plain function can't be killed, nor can a coroutine that blocks or will not be cancelled: past its
time-out its result is no longer wanted, and its slot is given up until it returns, if it ever does.

While the process stands still (it is stopped, or its machine is), nothing works, and no work's time runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_CANCEL_SECONDS = 1.0
"""How long a coroutine may take to end once its time is over, before it counts as hanging."""
_LONGEST_STEP_SECONDS = 0.5
"""Between two looks for what is late; what it took longer than that, the process stood still."""


class TimedOut(Exception):
    """The work did not end within its time."""


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One piece of work. `tag` is the caller's own; exactly one result or error comes of it.

    `started` and `ended` are by the clock of its slots; None for one that never had a slot. `started` is
    moved on by as long as the process stands still. `over`: its time is; a coroutine is cancelled then.
    `task` is what runs it, if it is one: an event loop holds its tasks only weakly.
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
    task: asyncio.Task[Any] | None = None


class Slots(Generic[T]):
    """Runs jobs, `limit` at a time, and collects them as they end.

    Must be made inside a running event loop; `ready` is set when `drain` has something.

    Args:
        clock: seconds that only grow.

    Attributes:
        hanging: the names of jobs that were past their time at one look, and held a slot still at the next.
            Never changed, only replaced: threads of jobs that come back do it while another reads.
    """

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.ready = asyncio.Event()
        self.hanging: dict[int, str] = {}
        self._limit = limit
        self._clock = clock
        self._looked = clock()
        self._stood_still = False
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job[T] | None] = queue.SimpleQueue()
        self._ended: deque[Job[T]] = deque()
        self._told = False
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._unfinished = 0  # plain jobs that wait or run: each may need a thread of its own
        self._running: dict[int, Job[T]] = {}
        self._async_loop: asyncio.AbstractEventLoop | None = None
        self._async_jobs: deque[Job[T]] = deque()
        self._async_running = 0
        self._closed = False

    @property
    def limit(self) -> int:
        """How many run at once. A lower one holds as soon as jobs that are running end."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            for _ in range(len(self._threads) - limit):
                self._jobs.put(None)  # wakes one that is idle
            self._add_threads()
        self._start_async()

    def submit(self, job: Job[T]) -> None:
        """Queue a job. It starts as soon as a slot is free."""
        if job.is_async:
            with self._lock:
                self._async_jobs.append(job)
            self._start_async()
            return
        with self._lock:
            self._unfinished += 1
            self._jobs.put(job)
            self._add_threads()

    def drain(self) -> list[Job[T]]:
        """Return the jobs that ended since the last call."""
        self.ready.clear()
        self._told = False
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        return ended

    def withdraw(self) -> list[Job[T]]:
        """Take back the jobs that wait for a slot; they never start."""
        with self._lock:
            waiting = list(self._async_jobs)
            self._async_jobs.clear()
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return waiting
            if job is not None:
                waiting.append(job)
                with self._lock:
                    self._unfinished -= 1

    def expire(self) -> None:
        """Settle jobs that are past their time, and give their slots up. Call it every moment: what lies
        between two calls counts only up to half a second."""
        hanging: dict[int, str] = {}
        late: list[tuple[int, Job[T]]] = []
        with self._lock:
            now = self._clock()
            stood_still = max(0.0, now - self._looked - _LONGEST_STEP_SECONDS)
            self._looked = now
            for ident, job in self._running.items():
                if job.settled:
                    hanging[ident] = job.name
                    continue
                assert job.started is not None, "what runs has started"
                if stood_still:
                    job.started = min(now, job.started + stood_still)
                over = now - job.started - job.timeout
                if over > (_CANCEL_SECONDS if job.is_async else 0):
                    late.append((ident, job))
                # One that waits for its turn has not begun: its time begins anew then.
                if over > 0 and job.is_async and not job.over and (job.task or over > _CANCEL_SECONDS):
                    job.over = True
                    if self._async_loop:
                        self._async_loop.call_soon_threadsafe(_cancel, job)
            # After a standstill those whose time was over before had none to come back. Two in a row are
            # none: jobs keep this thread from its turn.
            if not stood_still or self._stood_still:
                self.hanging = hanging
            self._stood_still = stood_still > 0
        for ident, job in late:
            self._settle(ident, job, error=TimedOut())

    @property
    def is_late(self) -> bool:
        """Whether a job that was settled as past its time has not come back, so that it may hang."""
        with self._lock:
            return any(job.settled for job in self._running.values())

    def close(self) -> None:
        """Let threads end as they come back. Hanging ones are left: they are daemons."""
        self._closed = True
        for _ in range(len(self._threads)):
            self._jobs.put(None)
        if self._async_loop:
            self._async_loop.call_soon_threadsafe(self._async_loop.stop)
            self._async_loop = None

    # -- within ------------------------------------------------------------------------------------

    def _settle(
        self,
        ident: int,
        job: Job[T],
        result: Any = None,
        error: BaseException | None = None,
    ) -> None:
        """Say what came of a job, unless that was said."""
        with self._lock:
            if job.settled:  # it came back after all: so does its slot
                self.hanging = {at: name for at, name in self.hanging.items() if at != ident}
                return
            job.settled, job.result, job.error = True, result, error
            job.ended = self._clock()
        self._ended.append(job)
        if not self._told:
            self._told = True
            with contextlib.suppress(RuntimeError):  # the worker is gone: nobody wants the result
                self._loop.call_soon_threadsafe(self.ready.set)

    def _add_threads(self) -> None:
        """Start threads for the jobs that wait, under the lock."""
        for _ in range(min(self._unfinished, self._limit) - len(self._threads)):
            thread = threading.Thread(target=self._serve, name="playhead-adapter", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _serve(self) -> None:
        ident = threading.get_ident()
        while not self._is_too_many():
            job = self._jobs.get()
            if job is None:
                continue
            with self._lock:  # no look comes between: a standstill here would be the job's time
                job.started = self._clock()
                self._running[ident] = job
            try:
                result, error = job.work(), None
            except BaseException as exc:
                result, error = None, exc
            with self._lock:
                self._running.pop(ident, None)
                self._unfinished -= 1
            self._settle(ident, job, result, error)

    def _is_too_many(self) -> bool:
        """Whether this thread is to end."""
        with self._lock:
            if self._closed or len(self._threads) > self._limit:
                self._threads.discard(threading.current_thread())
                return True
            return False

    def _start_async(self) -> None:
        """Start what waits for the event loop, as far as slots are free. From any thread."""
        with self._lock:
            while self._async_jobs and self._async_running < self._limit and not self._closed:
                job = self._async_jobs.popleft()
                self._async_running += 1
                # Not only when it gets its turn: on a loop that another job blocks, that may be never.
                job.started = self._clock()
                self._running[id(job)] = job
                asyncio.run_coroutine_threadsafe(self._run_async(job), self._second_loop())

    def _second_loop(self) -> asyncio.AbstractEventLoop:
        if self._async_loop is None:
            self._async_loop = loop = asyncio.new_event_loop()
            threading.Thread(target=_serve_loop, args=(loop,), name="playhead-async", daemon=True).start()
        return self._async_loop

    async def _run_async(self, job: Job[T]) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            if job.over:
                raise TimedOut  # before it got its turn
            job.started, job.task = self._clock(), asyncio.current_task()
            result = await job.work()
        except BaseException as exc:
            error = TimedOut() if job.over and isinstance(exc, asyncio.CancelledError) else exc
        with self._lock:
            self._running.pop(id(job), None)
            self._async_running -= 1
        self._settle(id(job), job, result, error)
        self._start_async()


def _cancel(job: Job[Any]) -> None:
    """End a coroutine whose time is over; one that has not begun sees that for itself."""
    if job.task:
        job.task.cancel()


def _serve_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and clear away what was still going on in it."""
    loop.run_forever()
    if tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CANCEL_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
