"""Batches: items of several messages, for an adapter that takes many items in one call.

Each message keeps its own chain, attempt, lineage and dead letter. Only the call is shared. If a call fails,
the adapter is called again with each half of its items, and so on. So an item fails only if a call with this
item alone fails, and one bad item among n is found in about log2(n) steps.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextvars import Context as Variables
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from playhead.clock import done_within
from playhead.ports.adapter import Context, Item, Retry
from playhead.steps.outputs import Returned
from playhead.steps.ratelimits import CallLimits, CallWithdrawn
from playhead.steps.step import Budget, CooldownNeeded, ReadyStep
from playhead.steps.threads import Threads
from playhead.steps.timeouts import Job, TimedOut, timeout_stopped

_SHARED: Final = (CooldownNeeded, Retry, CallWithdrawn)
"""Errors that concern all items of a call, so that halves would fail as well."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """An item whose chain waits for its result. `parts` are all items that the chain waits for."""

    item: Item
    ctx: Context
    budget: Budget
    result: asyncio.Future[Returned]
    since: float
    alone: bool
    job: Job[Any] | None
    parts: Sequence[_Waiting] = ()


class Batches:
    """Collects the items of one step, and calls the adapter. For one event loop.

    Args:
        at_once: how many calls may run at the same time.
        timeout: seconds that one call may take.

    Attributes:
        hanging: calls that have not returned although their time is over.
    """

    def __init__(
        self,
        step: ReadyStep,
        threads: Threads,
        call_limits: CallLimits | None,
        *,
        at_once: int,
        timeout: float,
    ) -> None:
        assert step.spec.batch is not None, "an adapter that takes batches"
        self._step = step
        self._size = step.spec.batch
        self._wait_seconds = step.spec.wait_seconds
        self._threads = threads
        self._call_limits = call_limits
        self._at_once = at_once
        self._timeout = timeout
        self._waiting: deque[_Waiting] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.hanging: set[object] = set()

    async def perform(
        self, items: Sequence[Item], ctx: Context, budget: Budget, *, alone: bool
    ) -> list[Returned]:
        """Return what the adapter returns for each of several items of one message.

        The time-out of the chain does not run meanwhile: each call has its own.

        Args:
            alone: call the adapter with each item only. It may kill the process.

        Raises what the adapter raised for one of the items. Then no call begins with the others.
        """
        with timeout_stopped() as job:
            if job:
                job.call_began = None
            loop, now = asyncio.get_running_loop(), time.monotonic()
            waiting = [_Waiting(one, ctx, budget, loop.create_future(), now, alone, job) for one in items]
            for one in waiting:
                one.parts = waiting
            self._waiting += waiting
            self._start()
            results = [one.result for one in waiting]
            try:
                await asyncio.wait(results, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                for one in waiting:
                    one.result.cancel()
                    one.parts = ()  # no reference cycle
            if errors := [error for one in results if not one.cancelled() and (error := one.exception())]:
                raise errors[0]
            return [one.result() for one in results]

    def _start(self) -> None:
        """Start calls that are due: those of full batches, and of items that have waited long enough."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._waiting and len(self._running) < self._at_once:
            left = self._waiting[0].since + self._wait_seconds - time.monotonic()
            if len(self._waiting) < self._size and left > 0 and not self._waiting[0].alone:
                self._timer = asyncio.get_running_loop().call_later(left, self._start)
                return
            # In an empty context: the call belongs to several jobs, and its time counts for none of them.
            task = asyncio.create_task(self._run(self._next_batch()), context=Variables())
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._size:
            if batch and self._waiting[0].alone:
                break
            one = self._waiting.popleft()
            if not one.result.done():  # its chain still waits for it
                batch.append(one)
            if one.alone:
                break
        return batch

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        """Call the adapter with a batch, and again with its halves as long as calls fail."""
        batch = [one for one in batch if not one.result.done()]  # a message that has failed needs no call
        if not batch:
            return
        try:
            results = await self._call(batch)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            if len(batch) == 1 or isinstance(exc, _SHARED):
                for one in batch:
                    _settle(one, exc)
                return
            # Each call that hangs costs the whole time-out, so the items of such a call are tried one by one.
            size = 1 if isinstance(exc, TimedOut) else (len(batch) + 1) // 2
            for at in range(0, len(batch), size):
                await self._run(batch[at : at + size])
            return
        for one, result in zip(batch, results, strict=True):
            _settle(one, result)

    async def _call(self, batch: Sequence[_Waiting]) -> Sequence[Returned | BaseException]:
        step = self._step
        if step.limit and self._call_limits:
            await self._call_limits.wait_async(step.limit)
        items, contexts = [one.item for one in batch], [one.ctx for one in batch]
        budgets = [one.budget for one in batch]
        over = threading.Event()
        if step.needs_loop:
            call = asyncio.ensure_future(_perform(step, batch, items, contexts, budgets))
            returned: asyncio.Future[Any] = call
        else:
            await self._threads.run(step.prepare)
            returned = asyncio.get_running_loop().create_future()
            call = asyncio.ensure_future(
                self._threads.run(partial(step.perform_batch, items, contexts, budgets, over), returned)
            )
        if await done_within(self._timeout, call):
            if call.cancelled():  # libraries raise `CancelledError` for their own reasons
                raise RuntimeError(f"adapter {step.spec.name!r} raised CancelledError")
            return call.result()
        over.set()
        self.hanging.add(returned)
        returned.add_done_callback(self.hanging.discard)
        call.cancel()
        raise TimedOut


async def _perform(
    step: ReadyStep,
    batch: Sequence[_Waiting],
    items: Sequence[Item],
    contexts: Sequence[Context],
    budgets: Sequence[Budget],
) -> Sequence[Returned | BaseException]:
    """Call an async adapter. It may block the event loop: then the slots end its jobs, not this class."""
    for one in batch:
        if one.job:
            one.job.call_began = one.job.clock()
    return await step.perform_batch_async(items, contexts, budgets)


def _settle(one: _Waiting, result: Returned | BaseException) -> None:
    if one.result.done():
        return
    if isinstance(result, BaseException):
        one.result.set_exception(result)
        for other in one.parts:  # before the next call begins
            other.result.cancel()
    else:
        one.result.set_result(result)
