"""Long computations of a process: each runs once, and its result is kept for later callers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from playhead.engine.environment import Spawn

T = TypeVar("T")

MOST_KEPT: Final = 64


@dataclass(slots=True)
class Steps:
    """How far a computation is.

    Attributes:
        done: what it has read so far.
    """

    done: int = 0


@dataclass(slots=True)
class _Computation(Generic[T]):
    steps: Steps = field(default_factory=Steps)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    result: T | None = None
    error: Exception | None = None


class Background(Generic[T]):
    """Computations by key.

    Args:
        spawn: starts a computation.
    """

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._kept: OrderedDict[Hashable, _Computation[T]] = OrderedDict()

    async def get(
        self, key: Hashable, compute: Callable[[Steps], Awaitable[T]], patience: float
    ) -> T | Steps:
        """Return the result for a key, or how far its computation is after `patience` seconds.

        The first call starts the computation, and it continues when callers have gone. The key must change
        when the result would. Raises what `compute` raised; the next call then computes again.
        """
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = _Computation()
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            self._spawn(self._run(found, compute))
        self._kept.move_to_end(key)
        try:
            async with asyncio.timeout(patience):
                await found.ended.wait()
        except TimeoutError:
            return found.steps
        if found.error:
            self._kept.pop(key, None)
            raise found.error
        assert found.result is not None
        return found.result

    async def _run(self, one: _Computation[T], compute: Callable[[Steps], Awaitable[T]]) -> None:
        try:
            one.result = await compute(one.steps)
        except Exception as exc:
            one.error = exc
        finally:
            one.ended.set()
