"""The backends of random schedules: in memory, one step for each call, with faults."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from playhead.backends._sql_catalog.replays import Replays
from playhead.backends._sql_catalog.rows import Rows
from playhead.backends._sqlite import SqliteSession
from playhead.backends.sql.session import Session
from playhead.envelope import Dispatch
from playhead.errors import Unavailable, broker_unavailable, catalog_unavailable
from playhead.ports.broker import CONFIRMED, PublishResult
from playhead.ports.catalog.work import (
    Binding,
    Bound,
    Claim,
    Done,
    Finished,
    Refusal,
    Result,
    Unbound,
)
from playhead.ports.store import Blob
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog
from tests.store_memory import MemoryStore

if TYPE_CHECKING:
    from tests.model.world import World

T = TypeVar("T")


@types.coroutine
def step() -> Generator[None, None, None]:
    """Hand the turn back to the schedule."""
    yield


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end as one uninterrupted step."""
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        return end.value


async def until_answered(work: Callable[[], Awaitable[T]]) -> T:
    """Repeat unanswered calls, as a consumer does."""
    while True:
        try:
            return await work()
        except Unavailable:
            await step()


def connection(db: Session) -> Connection:
    """Return the connection of a transaction of the catalog in memory."""
    assert isinstance(db, SqliteSession)
    return db._con


class Broker(MemoryBroker):
    """Sometimes refuses a dispatch, does not answer in time, does not take it, or is unavailable.

    Attributes:
        sent: when each message was dispatched for the first time.
        full_until: until then it takes no dispatch.
    """

    world: World

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sent: dict[UUID, float] = {}
        self.full_until = 0.0

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        if any(dispatch.headers.route in self.world.skipped for dispatch in dispatches):
            self.world.bad.append("a message of a skipped route was published")
        if self.world.strikes("away", 0.3):
            await step()
            raise broker_unavailable("no connection")
        return [await self._publish(dispatch) for dispatch in dispatches]

    async def _publish(self, dispatch: Dispatch) -> PublishResult:
        # What a broker refuses, it would have refused before.
        if UUID(dispatch.correlation_id) not in self.sent and self.world.strikes("refuse", 0.5):
            await step()
            return PublishResult("refused", "too large")
        if self.world.now < self.full_until or self.world.strikes("full", 0.3):
            await step()
            return PublishResult("uncertain", "the queue is full")
        await super().publish([dispatch])
        self.sent.setdefault(UUID(dispatch.correlation_id), self.world.now)
        return PublishResult("uncertain", "no answer") if self.world.strikes("late", 0.3) else CONFIRMED

    def lose_one(self) -> None:
        full = [q for q in self._queues.values() if q]
        if full:
            queue = self.world.rng.choice(full)
            queue.pop(self.world.rng.randrange(len(queue)))


class Catalog(MemoryCatalog):
    """Records what the invariants need: completed attempts, and claims after a cancel was answered.

    Sometimes an answer is lost. A catalog without a rule may have other `Rows` or `Replays`.
    """

    world: World
    rows_type: type[Rows] = Rows
    replays_type: type[Replays] = Replays

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._rows = self.rows_type(self._db, self._executions, self.sizes)
        self._replays = self.replays_type(self._lanes, self._executions, self.sizes)

    async def claim(self, worker: str, ids: Sequence[UUID], **options: Any) -> list[Claim | Refusal]:
        answers = await super().claim(worker, ids, **options)
        for answer in answers:
            if isinstance(answer, Claim):
                self.world.note_start(answer)
        return self.maybe_unanswered(answers)

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        return self.maybe_unanswered(await super().bind(bindings))

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        answers = await super().finish(publisher, results)
        for result, answer in zip(results, answers, strict=True):
            if answer is not None and isinstance(result, Done):
                self.world.completed[result.correlation_id].add(result.attempt)
        return self.maybe_unanswered(answers)

    def maybe_unanswered(self, answer: T) -> T:
        """Return an answer, or lose it after the commit."""
        if self.world.strikes("unanswered", 0.1):
            raise catalog_unavailable("the connection broke after the commit")
        return answer


class Store(MemoryStore):
    """Reports when a key is overwritten with other bytes."""

    world: World

    async def write(
        self, groups: Sequence[Sequence[Blob]], *, written: Callable[[str], None] | None = None
    ) -> list[Any]:
        for group in groups:
            for key, data, _ in group:
                held = at_once(MemoryStore.read(self.world.still, [key]))[0]
                if held is not None and held != data:
                    self.world.bad.append("the bytes of a bound key changed")
        return await super().write(groups, written=written)
