"""Long computations of a process: each runs once, and its result is kept for later callers."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from playhead import ids
from playhead.clock import Clock
from playhead.environment import Spawn
from playhead.errors import catalog_unavailable

T = TypeVar("T")

MOST_KEPT: Final = 64
_AT_ONCE: Final = 2
_VALID_TIMES: Final = 10


@dataclass(slots=True)
class Steps:
    """How far a computation is.

    Attributes:
        done: what it has read so far.
    """

    done: int = 0


@dataclass(frozen=True, slots=True)
class Counted(Generic[T]):
    """The result of a computation, or how far it is.

    Attributes:
        result: the newest result; None until there is one.
        as_of: when the computation of an outdated result began, in seconds since 1970; None if the result is
            up to date.
        done: what the newest computation has read so far.
    """

    result: T | None
    as_of: float | None
    done: int


@dataclass(slots=True)
class _Computation(Generic[T]):
    """A computation.

    Attributes:
        state: of what is computed.
        before: the newest computation with a result, until this one has its own.
        asked: when a caller asked for it first; monotonic seconds.
        began: seconds since 1970; 0.0 until it has begun.
    """

    state: Hashable
    before: _Computation[T] | None
    asked: float
    began: float = 0.0
    steps: Steps = field(default_factory=Steps)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    result: T | None = None
    error: Exception | None = None
    valid_until: float = 0.0

    @property
    def newest(self) -> _Computation[T] | None:
        """The newest computation with a result."""
        return self.before if self.result is None else self


class Background(Generic[T]):
    """Computations by key. At most two run at a time, and at most one for each key.

    Args:
        spawn: starts a computation.
        clock: monotonic seconds.
        most: results that are kept.
    """

    def __init__(self, spawn: Spawn, clock: Clock = time.monotonic, *, most: int = MOST_KEPT) -> None:
        self._spawn = spawn
        self._most = most
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._kept: OrderedDict[Hashable, _Computation[T]] = OrderedDict()

    async def get(
        self,
        key: Hashable,
        state: Hashable,
        compute: Callable[[Steps], Awaitable[T]],
        *,
        patience: float | None,
        lasts: bool,
    ) -> Counted[T]:
        """Return the result for a key; after `patience` seconds, the result before it, and how far it is.

        The first call starts the computation, and it continues when callers have gone. Raises what `compute`
        raised; the next call then computes again.

        Args:
            patience: since the first call. So later calls do not wait for a long computation. None: wait for
                the result.
            state: of what is computed. If it has changed, the next call computes again.
            lasts: whether a result of another state is good enough for ten times as long as it took, because
                the state changes all the time.
        """
        found = self._newest(key, state, compute, lasts=lasts)
        left = None if patience is None else max(found.asked + patience - self._clock(), 0.0)
        try:
            async with asyncio.timeout(left):
                await found.ended.wait()
                while found.result is not None and self._is_outdated(found, state, lasts=lasts):
                    found = self._newest(key, state, compute, lasts=lasts)
                    await found.ended.wait()
        except TimeoutError:
            pass
        else:
            if found.result is None:
                if self._kept.get(key) is found:
                    del self._kept[key]
                raise found.error or catalog_unavailable("the computation was stopped: this process ends")
        newest = found.newest
        if newest is None:
            return Counted(None, None, found.steps.done)
        return Counted(newest.result, None if newest.state == state else newest.began, found.steps.done)

    def _newest(
        self, key: Hashable, state: Hashable, compute: Callable[[Steps], Awaitable[T]], *, lasts: bool
    ) -> _Computation[T]:
        """Return the computation for a key; start one if the key has no result, or an outdated one."""
        found = self._kept.get(key)
        if found is None or self._is_outdated(found, state, lasts=lasts):
            found = self._kept[key] = _Computation(state, found and found.newest, self._clock())
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            self._spawn(self._run(found, compute))
        self._kept.move_to_end(key)
        return found

    def _is_outdated(self, one: _Computation[T], state: Hashable, *, lasts: bool) -> bool:
        if one.state == state or not one.ended.is_set():
            return False
        return not lasts or self._clock() >= one.valid_until

    async def _run(self, one: _Computation[T], compute: Callable[[Steps], Awaitable[T]]) -> None:
        try:
            async with self._places:
                one.began, began = ids.now(), self._clock()
                one.result = await compute(one.steps)
                one.valid_until = self._clock() + _VALID_TIMES * (self._clock() - began)
                one.before = None
        except Exception as exc:
            one.error = exc
        finally:
            one.ended.set()
