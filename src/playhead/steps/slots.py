"""Slots: where adapters run, next to the event loop that talks to the backends.

Plain chains run in threads: at most `concurrency` of them, started when they are needed. Chains with an
async step run as tasks of a second event loop, so that a step that blocks harms only its route. If the loop
stays blocked for longer than the time-out of its jobs, no more jobs of the route can run in this process.

A plain function cannot be killed, nor can a coroutine that blocks or ignores its cancellation. After its
time-out the result is discarded, and its slot stays occupied until it returns, if it ever does.

Time is measured by an `ActiveClock`: time during which the process is suspended does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from playhead.clock import ActiveClock, Clock
from playhead.steps.timeouts import Job, TimedOut, Withdrawn, begin

T = TypeVar("T")

_CANCEL_SECONDS = 1.0
"""How long a coroutine may take to end after its cancellation, before its slot counts as lost."""
_BLOCKED_SECONDS = 5.0
"""How much longer than its time-out a coroutine may block its event loop. Then the worker ends, so this is
longer than a moment without processor time."""
_CLOSE_SECONDS = 10.0
"""How long adapters may take to close."""
HANG_SECONDS = 0.6
"""A job that has not returned this long after its time-out counts as hanging. The value exceeds the time that
the clock counts for one suspension, so that a job has time to return after a suspension."""


_at_end: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Callable[[], Awaitable[object]]]] = (
    WeakKeyDictionary()
)


def at_loop_end(end: Callable[[], Awaitable[object]]) -> None:
    """Run something on the running event loop before it is closed, if the loop is one of `Slots`."""
    _at_end.setdefault(asyncio.get_running_loop(), []).append(end)


class Slots(Generic[T]):
    """Run jobs, `limit` at a time, and collect them when they end.

    Create it inside a running event loop. `ready` is set when `drain` has something to return.

    Args:
        clock: measures how long jobs run; suspension does not count.
        withholds: after a job that ended with such an error, the jobs that wait do not start any more, and
            `withdraw` returns them. Those that are submitted later start.

    Attributes:
        hanging: names of the jobs that hold a slot although their time-out was recorded a while ago.
            Never changed, only replaced: threads of jobs that return do that while another thread reads.
        blocked_by: the name of a job that blocks the second event loop for longer than the time-outs of all
            its jobs; None while the loop runs.
    """

    def __init__(
        self,
        limit: int,
        *,
        clock: Clock | None = None,
        withholds: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        self.ready = asyncio.Event()
        self.hanging: dict[int, str] = {}
        self.blocked_by: str | None = None
        self._limit = limit
        self._clock = clock or ActiveClock()
        self._withholds = withholds
        self._withheld: list[Job[T]] = []
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job[T] | None] = queue.SimpleQueue()
        self._ended: deque[Job[T]] = deque()
        self._is_announced = False
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._unfinished = 0  # plain jobs that wait or run: each may need its own thread
        self._running: dict[int, Job[T]] = {}
        self._async_loop: asyncio.AbstractEventLoop | None = None
        self._async_ended = asyncio.Event()
        self._async_jobs: deque[Job[T]] = deque()
        self._async_running = 0
        self._turn_asked: float | None = None  # since when the second event loop owes a turn
        self._closed = False

    @property
    def limit(self) -> int:
        """How many jobs run at once. A lower limit applies as soon as running jobs end."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            for _ in range(len(self._threads) - limit):
                self._jobs.put(None)  # wakes an idle thread
            self._add_threads()
        self._start_async()

    def submit(self, job: Job[T]) -> None:
        """Queue a job. It starts as soon as a slot is free."""
        job.clock = self._clock
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
        """Return the jobs that have ended since the last call."""
        self.ready.clear()
        self._is_announced = False
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        return ended

    @property
    def ended_count(self) -> int:
        """How many jobs `drain` would return."""
        return len(self._ended)

    @property
    def waiting_count(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._async_jobs) + self._jobs.qsize()

    def withdraw(self) -> list[Job[T]]:
        """Remove and return the jobs that wait for a slot, and those withheld; they never start."""
        with self._lock:
            waiting = [*self._withheld, *self._async_jobs]
            self._withheld.clear()
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
        """Record the time-outs of jobs that are past their time. Call it several times a second: the clock
        counts at most half a second between two calls."""
        if not self._running:  # without the lock: a worker may have hundreds of idle slots
            self.hanging, self.blocked_by = {}, None
            return
        hanging: dict[int, str] = {}
        late: list[tuple[int, Job[T], Exception]] = []
        with self._lock:
            now = self._clock()
            self._find_block(now)
            for ident, job in self._running.items():
                if job.settled:
                    if job.ended is not None and now - job.ended >= HANG_SECONDS:
                        hanging[ident] = job.name
                    continue
                if self.blocked_by and job.is_async:
                    has_begun = job.task and (job.waits_since is None or job.call_began is not None)
                    late.append((ident, job, TimedOut() if has_begun else Withdrawn()))
                    continue
                if job.waits_since is not None:
                    continue
                assert job.started is not None, "a running job has started"
                over = now - job.started - job.timeout - job.uncounted
                if over > (_CANCEL_SECONDS if job.is_async else 0):
                    late.append((ident, job, TimedOut()))
                # A coroutine that still waits for its first turn has not begun: its time starts then.
                if over > 0 and job.is_async and not job.over and (job.task or over > _CANCEL_SECONDS):
                    job.over = True
                    if self._async_loop and not self._closed:
                        self._async_loop.call_soon_threadsafe(_cancel, job)
            self.hanging = hanging
        for ident, job, error in late:
            self._settle(ident, job, error=error)

    def _find_block(self, now: float) -> None:
        """Find out whether the second event loop is blocked. Call it with the lock held.

        It is blocked if it has not taken a turn for too long since it was asked for one. It is asked only
        while it has jobs, so a time without jobs does not count.

        A job that waits for a rate limit, or for the result of a batch, has no time-out then.
        Only the blocked loop could end its waiting.
        """
        jobs = [job for job in self._running.values() if job.is_async]
        if not self._async_loop or self._closed or not jobs:
            self.blocked_by = None
            return
        asked = self._turn_asked
        if asked is None:
            self._turn_asked = asked = now
            self._async_loop.call_soon_threadsafe(self._note_turn)
        since = max(asked, *(job.call_began or asked for job in jobs))
        is_blocked = now - since > max(job.timeout for job in jobs) + _BLOCKED_SECONDS
        self.blocked_by = jobs[0].name if is_blocked else None

    def _note_turn(self) -> None:
        self._turn_asked = None

    @property
    def is_late(self) -> bool:
        """Whether a job whose time-out was recorded has not returned yet, so that it may hang."""
        with self._lock:
            return any(job.settled for job in self._running.values())

    def close(self) -> None:
        """Let threads end when their jobs return. Hanging threads do not delay the exit: they are daemons."""
        if self._closed:
            return
        self._closed = True
        for _ in range(len(self._threads)):
            self._jobs.put(None)
        if self._async_loop:
            self._async_loop.call_soon_threadsafe(self._async_loop.stop)

    async def wait_closed(self) -> None:
        """After `close`, wait until adapters with an async `close` are closed, for a few seconds at most."""
        if self._async_loop in _at_end:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._async_ended.wait(), _CANCEL_SECONDS + _CLOSE_SECONDS)

    # -- inside ------------------------------------------------------------------------------------

    def _settle(
        self,
        ident: int,
        job: Job[T],
        result: Any = None,
        error: BaseException | None = None,
    ) -> None:
        """Record how a job ended, unless that was recorded before."""
        with self._lock:
            if job.settled:  # it returned after its time-out, so its slot is free again
                self.hanging = {at: name for at, name in self.hanging.items() if at != ident}
                return
            job.settled, job.result, job.error = True, result, error
            job.ended = self._clock()
        if error is not None and self._withholds(error):  # before another job takes the slot
            waiting = self.withdraw()
            with self._lock:
                self._withheld += waiting
        self._ended.append(job)
        if not self._is_announced:
            self._is_announced = True
            with contextlib.suppress(RuntimeError):  # the worker's loop is closed: no reader is left
                self._loop.call_soon_threadsafe(self.ready.set)

    def _add_threads(self) -> None:
        """Start threads for the jobs that wait. Call it with the lock held."""
        for _ in range(min(self._unfinished, self._limit) - len(self._threads)):
            thread = threading.Thread(target=self._serve, name="playhead-adapter", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _serve(self) -> None:
        ident = threading.get_ident()
        while not self._is_surplus():
            job = self._jobs.get()
            if job is None:
                continue
            begin(job)
            with self._lock:
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

    def _is_surplus(self) -> bool:
        """Whether this thread must end."""
        with self._lock:
            if self._closed or len(self._threads) > self._limit:
                self._threads.discard(threading.current_thread())
                return True
            return False

    def _start_async(self) -> None:
        """Start waiting coroutines while slots are free. Any thread may call this."""
        begun: list[Job[T]] = []
        with self._lock:
            while self._async_jobs and self._async_running < self._limit and not self._closed:
                job = self._async_jobs.popleft()
                self._async_running += 1
                # Not only at its first turn: on a loop that another job blocks, that may never come.
                job.started = self._clock()
                self._running[id(job)] = job
                begun.append(job)
            if begun:
                self._second_loop().call_soon_threadsafe(self._create_tasks, begun)

    def _create_tasks(self, jobs: list[Job[T]]) -> None:
        for job in jobs:
            # The event loop references the task until it first runs. Then `job.task` does.
            asyncio.ensure_future(self._run_async(job))  # noqa: RUF006

    def _second_loop(self) -> asyncio.AbstractEventLoop:
        if self._async_loop is None:
            self._async_loop = loop = asyncio.new_event_loop()
            threading.Thread(
                target=self._serve_loop, args=(loop,), name="playhead-async", daemon=True
            ).start()
        return self._async_loop

    def _serve_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            _serve_loop(loop)
        finally:
            with contextlib.suppress(RuntimeError):  # the worker's loop is closed: no reader is left
                self._loop.call_soon_threadsafe(self._async_ended.set)

    async def _run_async(self, job: Job[T]) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            if job.over:
                raise TimedOut  # before its first turn
            begin(job)
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
    """End a coroutine whose time is over. One that has not begun checks `over` itself."""
    if job.task:
        job.task.cancel()


async def _awaited(call: Callable[[], Awaitable[object]]) -> None:
    await call()


def _serve_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, then cancel its remaining tasks and close it."""
    loop.run_forever()
    if tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CANCEL_SECONDS))
    if ends := _at_end.get(loop):
        closing = [loop.create_task(_awaited(end)) for end in ends]
        loop.run_until_complete(asyncio.wait(closing, timeout=_CLOSE_SECONDS))
        del _at_end[loop]
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
