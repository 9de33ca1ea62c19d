"""Steps that wait for their rate limit within a chain."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

from playhead import events
from playhead.clock import Clock
from playhead.errors import Unavailable
from playhead.model import RateLimit
from playhead.ports.catalog.limits import Limits
from playhead.steps.timeouts import Withdrawn, time_not_counted

_GATHER_SECONDS: Final = 0.002
_LOOK_SECONDS: Final = 1.0
"""How often the catalog is asked while it is unavailable, or while no call is due: the limit may change."""


class CallWithdrawn(Withdrawn):
    """The process stops, so the step does not start. Its attempt is released."""


class CallLimits:
    """Lets calls begin one after the other, as the rate limits of their steps allow. One for each process.

    Create it inside the event loop of the worker. Calls come from any thread and from any other event loop.
    """

    def __init__(self, catalog: Limits, clock: Clock, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._catalog = catalog
        self._clock = clock
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()
        self._waiting: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)
        self._limits: dict[str, RateLimit] = {}  # those of the latest calls: a config may change the numbers
        self._cooldown_until: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    def wait(self, limit: RateLimit) -> None:
        """Block until a call may begin. The time-out of the chain does not run meanwhile.

        Raises:
            CallWithdrawn: the process stops.
        """
        with time_not_counted():
            asyncio.run_coroutine_threadsafe(self._turn(limit), self._loop).result()

    async def wait_async(self, limit: RateLimit) -> None:
        """Like `wait`, on any event loop."""
        with time_not_counted():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._turn(limit), self._loop))

    def cool_down(self, key: str, seconds: float) -> None:
        """Let no call of a key begin for this time, although some are reserved."""
        until = self._clock() + seconds
        self._cooldown_until[key] = max(self._cooldown_until.get(key, 0.0), until)

    def stop(self) -> None:
        """Withdraw the calls that have not begun, and all that follow."""
        self._is_stopped = True
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(CallWithdrawn())
        for task in self._tasks:
            task.cancel()

    async def _turn(self, limit: RateLimit) -> None:
        if self._is_stopped:
            raise CallWithdrawn
        self._limits[limit.key] = limit
        waiting = self._waiting[limit.key]
        future = self._loop.create_future()
        waiting.append(future)
        if len(waiting) == 1:
            task = asyncio.create_task(self._serve(limit.key), name=f"the rate limit {limit.key}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await future

    async def _serve(self, key: str) -> None:
        """Let the calls of one key begin until none waits."""
        waiting = self._waiting[key]
        await self._sleep(_GATHER_SECONDS)  # calls that come at once share a transaction
        while waiting:
            try:
                reserved = await self._catalog.reserve_calls(self._limits[key], len(waiting))
            except Unavailable as exc:
                events.emit(events.BACKEND_UNAVAILABLE, detail=exc.detail)
                await self._sleep(_LOOK_SECONDS)
                continue
            except Exception as exc:  # its callers would wait forever
                detail = f"rate limit {key}: {type(exc).__name__}: {exc}"
                events.emit(events.LOOP_FAILED, exc_info=True, detail=detail)
                await self._sleep(_LOOK_SECONDS)
                continue
            now = self._clock()
            for begin in [now + wait for wait in reserved.waits]:
                await self._sleep(max(begin - self._clock(), 0.0))
                if self._cooldown_until.get(key, 0.0) > self._clock():
                    continue  # the calls after the cooldown are still reserved
                while waiting and not _begin(waiting.pop(0)):
                    pass
            if waiting and not reserved.waits:
                await self._sleep(min(reserved.retry, _LOOK_SECONDS))


def _begin(future: asyncio.Future[None]) -> bool:
    """Let a call begin; return False if its chain was cancelled while it waited."""
    if future.done():
        return False
    future.set_result(None)
    return True
