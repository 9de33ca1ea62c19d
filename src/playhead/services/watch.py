"""Watching: how an execution or a replay stands is told at once, whenever it has changed, and when it ended.

Nothing is kept for a watcher. What is told bears an id that is made from the state itself, so a watcher who
comes back, to this process or to another, is told only what is new since.

However many watch one thing, it is looked at once: the first watcher who is due looks for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, Final, Generic, Protocol, TypeVar, cast
from uuid import UUID
from weakref import WeakValueDictionary

from playhead.errors import NotFound, Unavailable
from playhead.model import Execution, Replay, ReplayProgress

T = TypeVar("T")

LOOK_SECONDS: Final = 0.5
_PACE_SECONDS: Final = 5.0
_SHARE: Final = 5
"""Looking takes at most so small a part of the time: the counts of a million rows are not read at once."""


class Looking(Protocol):
    """What shows how things stand now. Raises `NotFound` and `Unavailable`."""

    async def execution(self, execution: UUID) -> Execution: ...

    async def replay(self, batch: UUID) -> Replay: ...


class Listings(Protocol):
    async def is_listed(self, job: UUID) -> bool: ...


@dataclass(frozen=True, slots=True)
class Sight(Generic[T]):
    """How a thing stood when it was looked at.

    Attributes:
        id: made from the state: alike in every process, another for every change.
        state: as it is shown.
        ended: nothing more comes of it by itself.
    """

    id: str
    state: T
    ended: bool

    @property
    def end_id(self) -> str:
        """The id of the word that it has ended; that it stood so may have been told before."""
        return f"{self.id}.end"


@dataclass(frozen=True, slots=True)
class StateEvent(Generic[T]):
    """One thing to tell a watcher: how it stands, or, last, that it has ended so."""

    id: str
    state: T
    is_end: bool


class _Watched(Generic[T]):
    """One thing that is watched, for all who watch it.

    Attributes:
        due: when to look again, by the clock.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Sight[T]]], every: float, clock: Callable[[], float]
    ) -> None:
        self._look = look
        self._every = every
        self._clock = clock
        self._lock = asyncio.Lock()
        self._seen: Sight[T] | Unavailable | None = None
        self.due = clock()

    async def seen(self) -> Sight[T] | Unavailable:
        """How it stands, or why that can't be known just now. Looks only when it is time to.

        Raises `NotFound`.
        """
        async with self._lock:
            # Whoever waited for the lock finds here what its holder saw.
            if self._seen is None or self._clock() >= self.due:
                began = self._clock()
                try:
                    self._seen = await self._look()
                except Unavailable as exc:
                    self._seen = exc
                now = self._clock()
                self.due = now + max(self._every, (_SHARE - 1) * (now - began))
            return self._seen


class Watch(Generic[T]):
    """One watcher's view of a thing, from its first look on. Made by `WatchService`."""

    def __init__(
        self, watched: _Watched[T], first: Sight[T], rest: Callable[[float], Awaitable[bool]]
    ) -> None:
        self._watched = watched
        self._first = first
        self._sleep = rest

    def was_told_all(self, last: str | None) -> bool:
        """Whether a watcher who was told `last` has nothing more to hear: it has ended, and that was told."""
        return self._first.ended and last == self._first.end_id

    async def tell(self, last: str | None) -> AsyncIterator[StateEvent[T] | Unavailable]:
        """Tell how it stands, unless `last` is the id of that; then of each change; then of the end.

        A backend that is away is told of once, and waited for. Ends without a word of an end when this
        process stops, or the thing is no longer there.
        """
        seen: Sight[T] | Unavailable = self._first
        known, shown, away = last, self._first.state, False
        while True:
            if isinstance(seen, Unavailable):
                if not away:
                    yield seen
                away = True
            else:
                # A pace may change where nothing else does: it falls to 0 when publishing stands still.
                if seen.id != known or seen.state != shown:
                    yield StateEvent(seen.id, seen.state, False)
                known, shown, away = seen.id, seen.state, False
                if seen.ended:
                    yield StateEvent(seen.end_id, seen.state, True)
                    return
            if await self._sleep(self._watched.due):
                return
            try:
                seen = await self._watched.seen()
            except NotFound:
                return  # a watcher who comes back is told so


class WatchService:
    """Lets executions and replays be watched.

    Args:
        looking: shows how they stand.
        listings: tells whether all objects of a replay are known.
        every: seconds from one look at a thing to the next, at least.
    """

    def __init__(
        self,
        looking: Looking,
        listings: Listings,
        *,
        every: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._looking = looking
        self._listings = listings
        self._every = every
        self._clock = clock
        self._stopping = asyncio.Event()
        # What nobody watches any more is forgotten.
        self._watched: WeakValueDictionary[tuple[str, UUID], _Watched[Any]] = WeakValueDictionary()

    def stop(self) -> None:
        """End what all watchers are told, now: this process stops."""
        self._stopping.set()

    async def execution(self, execution: UUID) -> Watch[Execution]:
        """Watch an execution until it is not `running`; an adopted one has ended.

        Raises:
            NotFound: `execution_not_found`.
            Unavailable: it can't be looked at now.
        """

        async def look() -> Sight[Execution]:
            now = await self._looking.execution(execution)
            return Sight(_id_of(now), now, now.status != "running")

        return await self._watch("execution", execution, look)

    async def replay(self, batch: UUID) -> Watch[ReplayProgress]:
        """Watch a replay batch until its publishing has ended.

        Raises:
            NotFound: `replay_not_found`.
            Unavailable: it can't be looked at now.
        """
        pace = _Pace()

        async def look() -> Sight[ReplayProgress]:
            now = await self._looking.replay(batch)
            rate = pace.at(self._clock(), now.objects_published)
            left = now.objects_found - now.objects_published - now.objects_failed
            eta = None
            if now.status is not None:
                eta = 0.0
            # Before that more are found all the time.
            elif rate and await self._listings.is_listed(now.execution_id):
                eta = round(left / rate, 1)
            known = {f.name: getattr(now, f.name) for f in fields(now)}
            return Sight(
                _id_of(now), ReplayProgress(**known, rate=rate, eta_seconds=eta), now.status is not None
            )

        return await self._watch("replay", batch, look)

    async def _watch(self, kind: str, which: UUID, look: Callable[[], Awaitable[Sight[T]]]) -> Watch[T]:
        watched = cast("_Watched[T] | None", self._watched.get((kind, which)))
        if watched is None:
            watched = self._watched[kind, which] = _Watched(look, self._every, self._clock)
        seen = await watched.seen()
        if isinstance(seen, Unavailable):
            raise seen
        return Watch(watched, seen, self._sleep)

    async def _sleep(self, until: float) -> bool:
        """Wait; True as soon as this process stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(until - self._clock(), 0)):
                await self._stopping.wait()
        return self._stopping.is_set()


class _Pace:
    """How fast a replay publishes, by what was seen of it in the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, published: int) -> float | None:
        """Objects a second; None at the first look."""
        seen = self._seen
        seen.append((now, published))
        # The last one that is older stays, so that the whole time is looked at.
        while len(seen) > 2 and seen[1][0] <= now - _PACE_SECONDS:
            seen.popleft()
        then, had = seen[0]
        return round(max(published - had, 0) / (now - then), 1) if now > then else None


def _id_of(state: object) -> str:
    """The same for the same state in every process."""
    return blake2b(repr(state).encode(errors="surrogatepass"), digest_size=12).hexdigest()
