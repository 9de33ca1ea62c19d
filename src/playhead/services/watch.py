"""Watch an execution, a replay or a dataset: events for its current state, for each change, and for its end.

The server keeps no state for a watcher. The id of an event is a hash of the reported state. So a watcher
that reconnects, to this process or another, receives only what changed since its last event.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any, Final, Generic, Protocol, TypeVar, cast
from uuid import UUID
from weakref import WeakValueDictionary

from playhead.errors import NotFound, Unavailable
from playhead.model import Dataset, Execution, Replay, RouteCounts, WatchedExecution
from playhead.reading.looking import Looks

T = TypeVar("T")

LOOK_SECONDS: Final = 0.5
_FIRST_SECONDS: Final = 0.02


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
        state: the execution, the progress of the replay, or the dataset.
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


class States(ABC, Generic[T]):
    """The events for one watcher."""

    @abstractmethod
    def tell(self, last: str | None) -> AsyncIterator[StateEvent[T] | Unavailable]:
        """Yield the current state unless its id is `last`, then each change, then the end event.

        If a backend becomes unavailable, the error is yielded once, and the events continue when the backend
        is available again. The iterator stops without an end event if this process shuts down or the watched
        object no longer exists.
        """

    async def states(self) -> AsyncIterator[T]:
        """Yield the current state and each change, and the final state once more. Raises `Unavailable`."""
        async for event in self.tell(None):
            if isinstance(event, Unavailable):
                raise event
            yield event.state


class Watch(States[T]):
    """The events for one watcher, from its first read on. Created by `WatchService`."""

    def __init__(self, looks: Looks[Sight[T]], first: Sight[T] | Unavailable) -> None:
        self._looks = looks
        self._first = first

    def was_told_all(self, last: str | None) -> bool:
        """Whether `last` is the id of the end event, so that no event follows it.

        Raises:
            Unavailable: the state could not be read.
        """
        if isinstance(self._first, Unavailable):
            raise self._first
        return self._first.ended and last == self._first.end_id

    async def tell(self, last: str | None) -> AsyncIterator[StateEvent[T] | Unavailable]:
        known, unavailable = last, False
        shown = None if isinstance(self._first, Unavailable) else self._first.state
        with suppress(NotFound):  # a watcher that reconnects gets the error
            async for seen in self._looks.all():
                if isinstance(seen, Unavailable):
                    if not unavailable:
                        yield seen
                    unavailable = True
                    continue
                # The rate is not part of the id, and may change alone: it falls to 0 when publishing stalls.
                if seen.id != known or seen.state != shown:
                    yield StateEvent(seen.id, seen.state, False)
                known, shown, unavailable = seen.id, seen.state, False
                if seen.ended:
                    yield StateEvent(seen.end_id, seen.state, True)
                    return


class WatchService:
    """Watches executions, replays and datasets.

    Args:
        looking: reads the state of executions and replays.
        dataset: reads a dataset by its name.
        every: seconds between two reads of one object; the first ones follow sooner.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        looking: Looking,
        dataset: Callable[[str], Awaitable[Dataset]],
        *,
        every: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._looking = looking
        self._dataset = dataset
        self._every = every
        self._clock = clock
        self._stopping = asyncio.Event()
        # Weak, so that an object is dropped with its last watcher.
        self._watched: WeakValueDictionary[tuple[str, UUID | str], Looks[Any]] = WeakValueDictionary()

    def stop(self) -> None:
        """End the event streams of all watchers now, because this process shuts down."""
        self._stopping.set()

    async def execution(self, execution: UUID) -> Watch[WatchedExecution]:
        """Watch an execution until it is no longer `running`. An adopted execution has ended already.

        Raises:
            NotFound: `execution_not_found`.
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
        """

        async def look() -> Sight[Replay]:
            now = await self._looking.replay(batch)
            # Rate and remaining time differ between processes, so they are not part of the id.
            state = replace(now, rate=None, eta_seconds=None)
            return Sight(_id_of(state), now, now.status is not None)

        return await self._watch("replay", batch, look)

    async def dataset(self, name: str) -> Watch[Dataset]:
        """Watch what readers of a dataset see, its draft and its sinks. It has no end.

        Raises:
            NotFound: `dataset_not_found`.
            BadRequest: `dataset_ambiguous`.
        """
        found = await self._dataset(name)
        whole = f"{found.config}/{found.name}"
        last: Sight[Dataset] | None = None

        async def look() -> Sight[Dataset]:
            nonlocal last
            now = await self._dataset(whole)
            # The lag of a sink grows all the time. It is no change.
            sinks = [replace(one, lag_seconds=0.0) for one in now.sinks]
            identity = _id_of(replace(now, sinks=sinks))
            if last is None or last.id != identity:
                last = Sight(identity, now, False)
            return last

        return await self._watch("dataset", whole, look)

    async def view(self, name: str, read: Callable[[], Awaitable[tuple[T, bool]]]) -> Watch[T]:
        """Watch what `read` returns, and whether it has ended. All watchers of a name share one reader.

        The first state is read now: an older one would undo, on a page, what the client has just done.

        Raises:
            NotFound: raised by `read`.
        """

        async def look() -> Sight[T]:
            now, ended = await read()
            return Sight(_id_of(now), now, ended)

        if watched := self._watched.get(("view", name)):
            watched.due = self._clock()
        return await self._watch("view", name, look)

    async def _watch(self, kind: str, which: UUID | str, look: Callable[[], Awaitable[Sight[T]]]) -> Watch[T]:
        looks = cast("Looks[Sight[T]] | None", self._watched.get((kind, which)))
        if looks is None:
            looks = self._watched[kind, which] = Looks(
                look, first=_FIRST_SECONDS, every=self._every, clock=self._clock, sleep=self._sleep
            )
        return Watch(looks, await looks.seen())

    async def _sleep(self, seconds: float) -> bool:
        """Sleep, or return True as soon as this process shuts down."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()


def _id_of(state: object) -> str:
    """Return a hash of the state that is equal in every process."""
    return blake2b(repr(state).encode(errors="surrogatepass"), digest_size=12).hexdigest()
