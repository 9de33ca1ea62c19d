"""How a consumer waits for backends, and what it does with a store that refuses single objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from playhead import events
from playhead.environment import Backends, Environment
from playhead.errors import Unavailable
from playhead.ports.store import Store

UNAVAILABLE_DELAY_SECONDS = 2.0
"""Delay until the next attempt if an attempt could not start because a backend is unavailable."""
REFUSED_DELAY_SECONDS = 30.0
"""The same if the store refuses only this object. The duration of the fault is unknown, and each try may be
expensive."""
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 30.0
_DEPART_SECONDS = 3.0
"""How long a departing process repeats a failing operation although the backends seem to be available."""
_MOST_LOGGED = 10


class Checked(Protocol):
    async def check(self) -> str: ...


class Backoff:
    """Waits until all three backends answer. One for each consumer.

    Args:
        queue: named in log lines.
        is_stopping: the consumer receives nothing more.
        is_departing: the process ends, so that what it holds is free soon in any case.
    """

    def __init__(
        self,
        backends: Backends[Checked],
        env: Environment,
        queue: str,
        *,
        is_stopping: Callable[[], bool],
        is_departing: Callable[[], bool],
    ) -> None:
        self._backends = backends
        self._env = env
        self._queue = queue
        self._is_stopping = is_stopping
        self._is_departing = is_departing

    async def wait(
        self, exc: Unavailable, *, is_ending: bool = False, delay: float = _FIRST_DELAY_SECONDS
    ) -> bool:
        """Wait until all backends answer; return False if there is no reason to continue waiting.

        Args:
            exc: why.
            is_ending: something must still be ended, so that a consumer that stops waits as well.
            delay: seconds before the first check; each further delay is twice as long.
        """
        events.emit(events.ROUTE_WAITS, queue=self._queue, code=exc.code, detail=exc.detail)
        while is_ending or not self._is_stopping():
            await self._env.sleep(delay)
            delay = min(delay * 2, max(delay, _LONGEST_DELAY_SECONDS))
            try:
                for backend in self._backends:
                    await backend.check()
            except Unavailable:
                if self._is_departing():
                    return False
                continue
            return True
        return False

    def retries(self) -> Retries:
        """Start to repeat one operation."""
        return Retries(self, self._env, self._is_departing)


class Retries:
    """Decides how often an operation is repeated that must succeed while its process lives.

    Each time that the operation fails although the backends answer, the next delay is twice as long. A full
    store, for example, may still take the small object of a check.

    A departing process gives up when a backend is still unavailable, or after a few seconds.
    """

    def __init__(self, backoff: Backoff, env: Environment, is_departing: Callable[[], bool]) -> None:
        self._backoff = backoff
        self._env = env
        self._is_departing = is_departing
        self._until: float | None = None
        self._delay = _FIRST_DELAY_SECONDS

    async def may_try_again(self, exc: Unavailable) -> bool:
        """Wait until the operation can be repeated. False: give it up."""
        if self._is_departing() and self._until is None:
            self._until = self._env.clock() + _DEPART_SECONDS
        is_back = await self._backoff.wait(exc, is_ending=True, delay=self._delay)
        self._delay = min(self._delay * 2, _LONGEST_RETRY_SECONDS)
        if not self._is_departing():
            return True
        return is_back and (self._until is None or self._env.clock() < self._until)


async def examine_store(store: Store, results: Sequence[object]) -> tuple[Unavailable | None, float]:
    """Distinguish a store that is unavailable from one that refuses some objects and serves others.

    Args:
        results: what the store returned for several objects.

    Returns why the store is unavailable (None if it is not), and the delay in seconds after which the
    failed objects are tried again.
    """
    reasons = {str(one): one for one in results if isinstance(one, Unavailable)}
    if not reasons:
        return None, 0.0
    first = next(iter(reasons.values()))
    try:
        await store.check()
    except Unavailable:
        return first, UNAVAILABLE_DELAY_SECONDS
    for reason in list(reasons.values())[:_MOST_LOGGED]:
        events.emit(events.BACKEND_UNAVAILABLE, detail=reason.detail)
    return None, REFUSED_DELAY_SECONDS
