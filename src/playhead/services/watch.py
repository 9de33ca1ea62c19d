"""Watch an execution or a replay: events for its current state, for each change, and for its end.

The server keeps no state for a watcher. The id of an event is a hash of the reported state. So a watcher
that reconnects, to this process or another, receives only what changed since its last event.

All watchers of one object share its reads: the first watcher whose next read is due reads for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any, Final, Generic, Protocol, TypeVar, cast
from uuid import UUID
from weakref import WeakValueDictionary

from playhead.errors import NotFound, Unavailable
from playhead.model import Execution, Replay, RouteCounts, WatchedExecution

T = TypeVar("T")

LOOK_SECONDS: Final = 0.5
_SHARE: Final = 5
"""Reads take at most one in `_SHARE` seconds: counting a million rows is slow."""


class Looking(Protocol):
    """Reads the current state. Raises `NotFound` and `Unavailable`."""

    async def get(self, execution: UUID) -> Execution: ...

    async def routes_of(self, found: Execution) -> list[RouteCounts]: ...

    async def replay(self, batch: UUID) -> Replay: ...


@dataclass(frozen=True, slots=True)
class Sight(Generic[T]):
    """The state of a watched object at one read.

    Attributes:
        id: hash of the state: equal states have equal ids in every process.
        state: the execution, or the progress of the replay.
        ended: the state does not change any more without a request of a client.
    """

    id: str
    state: T
    ended: bool

    @property
    def end_id(self) -> str:
        """The id of the end event. It differs from `id`, as the final state has its own event."""
        return f"{self.id}.end"


@dataclass(frozen=True, slots=True)
class StateEvent(Generic[T]):
    """An event for a watcher: the current state, or (the last event) the end with the final state."""

    id: str
    state: T
    is_end: bool


class _Watched(Generic[T]):
    """One watched object, shared by all its watchers.

    Attributes:
        due: the time of the next read, on the service's clock.
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
        """Return the state, or the error if it cannot be read now. Reads only when the next read is due.

        Raises `NotFound`.
        """
        async with self._lock:
            # Callers that waited for the lock use the result of the read that held it.
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
    """The events for one watcher, from its first read on. Created by `WatchService`."""

    def __init__(
        self, watched: _Watched[T], first: Sight[T], rest: Callable[[float], Awaitable[bool]]
    ) -> None:
        self._watched = watched
        self._first = first
        self._sleep = rest

    def was_told_all(self, last: str | None) -> bool:
        """Whether `last` is the id of the end event, so that no event follows it."""
        return self._first.ended and last == self._first.end_id

    async def tell(self, last: str | None) -> AsyncIterator[StateEvent[T] | Unavailable]:
        """Yield the current state unless its id is `last`, then each change, then the end event.

        If a backend becomes unavailable, the error is yielded once, and the events continue when the backend
        is available again. The iterator stops without an end event if this process shuts down or the watched
        object no longer exists.
        """
        seen: Sight[T] | Unavailable = self._first
        known, shown, unavailable = last, self._first.state, False
        while True:
            if isinstance(seen, Unavailable):
                if not unavailable:
                    yield seen
                unavailable = True
            else:
                # The rate is not part of the id, and may change alone: it falls to 0 when publishing stalls.
                if seen.id != known or seen.state != shown:
                    yield StateEvent(seen.id, seen.state, False)
                known, shown, unavailable = seen.id, seen.state, False
                if seen.ended:
                    yield StateEvent(seen.end_id, seen.state, True)
                    return
            if await self._sleep(self._watched.due):
                return
            try:
                seen = await self._watched.seen()
            except NotFound:
                return  # a watcher that reconnects gets the error

    async def states(self) -> AsyncIterator[T]:
        """Yield the current state and each change, and the final state once more. Raises `Unavailable`."""
        async for event in self.tell(None):
            if isinstance(event, Unavailable):
                raise event
            yield event.state


class WatchService:
    """Watches executions and replays.

    Args:
        looking: reads their state.
        every: minimum seconds between two reads of one object.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        looking: Looking,
        *,
        every: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._looking = looking
        self._every = every
        self._clock = clock
        self._stopping = asyncio.Event()
        # Weak, so that an object is dropped with its last watcher.
        self._watched: WeakValueDictionary[tuple[str, UUID | str], _Watched[Any]] = WeakValueDictionary()

    def stop(self) -> None:
        """End the event streams of all watchers now, because this process shuts down."""
        self._stopping.set()

    async def execution(self, execution: UUID) -> Watch[WatchedExecution]:
        """Watch an execution until it is no longer `running`. An adopted execution has ended already.

        Raises:
            NotFound: `execution_not_found`.
            Unavailable: the execution cannot be read now.
        """

        last: Sight[WatchedExecution] | None = None

        async def look() -> Sight[WatchedExecution]:
            nonlocal last
            now = await self._looking.get(execution)
            identity = _id_of(now)
            # The routes are not part of the id, so they are counted only if an event is due.
            if last is None or last.id != identity:
                shown = {one.name: getattr(now, one.name) for one in fields(now)}
                state = WatchedExecution(**shown, routes=await self._looking.routes_of(now))
                last = Sight(identity, state, now.status != "running")
            return last

        return await self._watch("execution", execution, look)

    async def replay(self, batch: UUID) -> Watch[Replay]:
        """Watch a replay batch until its publishing has ended, also through pauses.

        Raises:
            NotFound: `replay_not_found`.
            Unavailable: the replay cannot be read now.
        """

        async def look() -> Sight[Replay]:
            now = await self._looking.replay(batch)
            # Rate and remaining time differ between processes, so they are not part of the id.
            state = replace(now, rate=None, eta_seconds=None)
            return Sight(_id_of(state), now, now.status is not None)

        return await self._watch("replay", batch, look)

    async def view(self, name: str, read: Callable[[], Awaitable[tuple[T, bool]]]) -> Watch[T]:
        """Watch what `read` returns, and whether it has ended. All watchers of a name share one reader.

        The first state is read now: an older one would undo, on a page, what the client has just done.

        Raises:
            NotFound: raised by `read`.
            Unavailable: it cannot be read now.
        """

        async def look() -> Sight[T]:
            now, ended = await read()
            return Sight(_id_of(now), now, ended)

        if watched := self._watched.get(("view", name)):
            watched.due = self._clock()
        return await self._watch("view", name, look)

    async def _watch(self, kind: str, which: UUID | str, look: Callable[[], Awaitable[Sight[T]]]) -> Watch[T]:
        watched = cast("_Watched[T] | None", self._watched.get((kind, which)))
        if watched is None:
            watched = self._watched[kind, which] = _Watched(look, self._every, self._clock)
        seen = await watched.seen()
        if isinstance(seen, Unavailable):
            raise seen
        return Watch(watched, seen, self._sleep)

    async def _sleep(self, until: float) -> bool:
        """Sleep until `until`, or return True as soon as this process shuts down."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(until - self._clock(), 0)):
                await self._stopping.wait()
        return self._stopping.is_set()


def _id_of(state: object) -> str:
    """Return a hash of the state that is equal in every process."""
    return blake2b(repr(state).encode(errors="surrogatepass"), digest_size=12).hexdigest()
