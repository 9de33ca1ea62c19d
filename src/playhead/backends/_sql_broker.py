"""The broker in a SQL database, written once for SQLite and PostgreSQL: a table of dispatches.

It is as durable as the catalog. A received dispatch is hidden until a time, and belongs to a tag, which every
later step names.

In PostgreSQL, acknowledged rows stay at the start of the index until they are vacuumed, which cannot happen
while a backup runs. So a process remembers how far it has received a queue, and looks from there on. It looks
from the start once a second, or when it found nothing.

Each level of a queue has its own number, so both are received in order by the same index.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from playhead.backends._levels import Levels
from playhead.backends.sql.session import Session, Transactions
from playhead.backends.sql.statements import SQL, Statement
from playhead.envelope import Dispatch, EncodedHeaders, Headers, Message, decode_headers, decode_payload
from playhead.errors import Unavailable
from playhead.ids import mint
from playhead.ports.broker import CONFIRMED, Delivery, Depth, PublishResult
from playhead.ports.diagnosis import Finding

LOOK_SECONDS = 1.0

Tags = Sequence[tuple[int, int, int]]
"""Level, number of the dispatch, and tag of its receive."""


@dataclass
class Queue:
    """The state of a queue in this process.

    Attributes:
        normal, bulk: the numbers of its levels.
        next: where the next look begins, by level: after the last dispatch that was received here.
        looked: when this process last looked from the first dispatch on.
        busy: whether the last look found a dispatch.
    """

    normal: int
    bulk: int
    next: dict[int, int] = field(default_factory=dict)
    looked: float = 0.0
    busy: bool = False
    levels: Levels = field(default_factory=Levels)

    def advance(self, rows: Sequence[Any], bulk: int, limit: int, owed: int) -> None:
        """Begin the next look after these rows, of which `bulk` are bulk ones.

        A level that had no more dispatches begins after those of the other level, or each look would read
        all its acknowledged rows again. A level that may have more keeps its place.
        """
        ends: dict[int, int] = {}
        for level, n, *_ in rows:
            ends[level] = max(ends.get(level, 0), n + 1)
        if ends:
            end = max(ends.values())
            if len(rows) < limit or bulk > owed:
                ends[self.normal] = end
            if len(rows) < limit or bulk < owed:
                ends[self.bulk] = end
        self.next |= {level: max(self.next.get(level, 0), end) for level, end in ends.items()}


class SqlBroker(ABC):
    """Queues in a database.

    Args:
        transactions: over an open database, which is not closed with the broker.
        visibility: seconds for which a received dispatch is hidden from other receivers.
        look_seconds: the time between two looks at the start of a queue.

    Attributes:
        is_shared: whether the database is the catalog's, which examines it.
    """

    finds_at_once: ClassVar[bool]
    """Whether `watch` soon looks for all receivers. Then a receiver that may wait does not look itself."""

    def __init__(
        self, transactions: Transactions, *, visibility: float = 30.0, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._db = transactions
        self.is_shared = False
        self._visibility = visibility
        # The comparing statement may have begun before the dispatch was hidden.
        self._longest_hidden = 2 * visibility
        self._look_seconds = look_seconds
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._watched_at = 0.0
        self._queues: dict[str, Queue] = {}
        self._losses = 0

    # -- the port ----------------------------------------------------------------------------------

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        if not dispatches:
            return []
        names = dict.fromkeys(dispatch.headers.queue for dispatch in dispatches)
        queues = {name: await self._created(name) for name in names}
        rows = list(_rows(dispatches, queues))
        await self._db.write(lambda db: db.insert(SQL.insert_dispatches, rows))
        for name in names:
            self.announce(name)
        return [CONFIRMED] * len(dispatches)

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        if wait <= 0:
            return await self._receive(queue, limit)
        until = time.monotonic() + wait
        known = self._queues.get(queue)
        looks = not self.finds_at_once or (known is not None and known.busy)
        while True:
            # Registered before the look, so that a dispatch that is published in between wakes this receiver.
            with self._receiver(queue) as woken:
                began = time.monotonic()
                received = await self._receive(queue, limit) if looks else []
                rest = until - time.monotonic()
                if received or rest <= 0:
                    return received
                if self._watcher is None or self._watcher.done():
                    self._watcher = asyncio.create_task(self.watch())
                await asyncio.wait([woken], timeout=rest)
            looks = woken.done() or self._watched_at <= began

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._change(SQL.ack, deliveries)

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        await self._change(SQL.extend, deliveries, visibility=self._visibility)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        await self._change(SQL.release, deliveries)
        for queue in {delivery.queue for delivery in deliveries}:
            self.announce(queue)

    async def depth(self, queue: str) -> Depth:
        ((ready, hidden),) = await self._db.read(lambda db: db.rows(SQL.depth, queue=queue))
        return Depth(ready, hidden)

    async def is_empty(self, queue: str) -> bool:
        return bool(await self._db.read(lambda db: db.value(SQL.is_empty, queue=queue)))

    async def peek(self, queue: str, limit: int) -> list[Message]:
        found = await self._known(queue)
        if found is None:
            return []

        async def look(db: Session) -> list[Any]:
            rows = await db.rows(SQL.first_messages, queue=found.normal, limit=limit)
            return rows + await db.rows(SQL.first_messages, queue=found.bulk, limit=limit - len(rows))

        rows = await self._db.read(look)
        return [Message(decode_headers(headers), decode_payload(payload)) for headers, payload in rows]

    async def check(self) -> str:
        await self._db.read(lambda db: db.row(SQL.any_dispatch))
        return await self._db.describe()

    async def diagnose(self) -> list[Finding]:
        if self.is_shared:
            return [Finding("database", "ok", "the same as that of the catalog")]
        return await self._db.diagnose()

    async def close(self) -> None:
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    # -- receivers that wait -----------------------------------------------------------------------

    def announce(self, queue: str) -> None:
        """Wake the receivers of a queue, which may have a dispatch for them."""
        self._wake(queue)

    @abstractmethod
    async def watch(self) -> None:
        """Wake receivers of this process whose queues have a ready dispatch, whichever process published it.

        If it cannot read the database, it wakes all receivers, and their own reads report the fault.
        """

    def _wake(self, *queues: str) -> None:
        for queue in queues:
            for future in self._waiting.pop(queue, []):
                if not future.done():
                    future.set_result(None)

    @contextmanager
    def _receiver(self, queue: str) -> Iterator[asyncio.Future[None]]:
        """Register a receiver. The future is done as soon as the queue may have a dispatch."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(queue, []).append(future)
        try:
            yield future
        finally:
            waiting = self._waiting.get(queue, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(queue, None)

    # -- rows --------------------------------------------------------------------------------------

    async def _ready(self, db: Session, *, queues: Sequence[str]) -> list[str]:
        """Return those of these queues that have a ready dispatch; in SQLite, all that have one."""
        rows = await db.rows(SQL.ready_queues, queues=queues, longest=self._longest_hidden)
        return [queue for (queue,) in rows]

    async def _known(self, name: str) -> Queue | None:
        if self._losses != self._db.losses:
            # After a failover the new primary may have other numbers for the last queues.
            self._losses = self._db.losses
            self._queues = {}
        queues = self._queues  # a number that is read before a failover must not be used after it
        found = queues.get(name)
        if found is None:
            numbers = await self._db.read(lambda db: db.rows(SQL.queue_numbers, queue=name))
            if numbers:
                found = queues.setdefault(name, Queue(*(number for (number,) in numbers)))
        return found

    async def _created(self, name: str) -> Queue:
        while (found := await self._known(name)) is None:
            await self._db.write(lambda db: db.run(SQL.insert_queue, queue=name))
        return found

    async def _receive(self, name: str, limit: int) -> list[Delivery]:
        """Receive without waiting. If the call is cancelled, it releases what it received."""
        looking = asyncio.create_task(self._look(name, limit))
        try:
            return await asyncio.shield(looking)
        except asyncio.CancelledError:
            with suppress(Unavailable):
                await self.release(await looking)
            raise

    async def _look(self, name: str, limit: int) -> list[Delivery]:
        queue = await self._known(name)
        if queue is None:
            return []
        now = time.monotonic()
        first = queue.next if now - queue.looked < self._look_seconds else {}
        if first and (received := await self._receive_from(name, queue, first, limit)):
            return received
        queue.looked = now
        # Most looks at an idle queue find nothing, and need no write transaction.
        is_ready = await self._db.read(
            lambda db: db.value(
                SQL.is_ready, normal=queue.normal, bulk=queue.bulk, longest=self._longest_hidden
            )
        )
        return await self._receive_from(name, queue, {}, limit) if is_ready else []

    async def _receive_from(
        self, name: str, queue: Queue, first: Mapping[int, int], limit: int
    ) -> list[Delivery]:
        tag = int.from_bytes(mint(1)[0][8:], "big") >> 2
        owed = queue.levels.owed(limit)
        hide = partial(self._hide, queue=queue, first=first, limit=limit, owed=owed, tag=tag)
        rows = await self._db.write(hide)
        rows.sort(key=lambda row: (row[0] != queue.normal, row[1]))
        queue.busy = bool(rows)
        bulk = sum(row[0] == queue.bulk for row in rows)
        queue.advance(rows, bulk, limit, owed)
        queue.levels.received(len(rows) - bulk, bulk)
        return [
            Delivery(
                name,
                message_id if isinstance(message_id, str) else message_id.decode("utf-8", "replace"),
                EncodedHeaders(partial(decode_headers, headers)),
                (level, n, tag),
            )
            for level, n, message_id, headers in rows
        ]

    async def _hide(
        self, db: Session, *, queue: Queue, first: Mapping[int, int], limit: int, owed: int, tag: int
    ) -> list[Any]:
        """Hide ready dispatches: `owed` bulk ones, then normal ones, then more bulk ones.

        Returns level, number, message id and headers of each.
        """
        return await db.rows(
            SQL.receive,
            normal=queue.normal,
            bulk=queue.bulk,
            normal_first=first.get(queue.normal, 0),
            bulk_first=first.get(queue.bulk, 0),
            limit=limit,
            owed=owed,
            visibility=self._visibility,
            longest=self._longest_hidden,
            tag=tag,
        )

    async def _change(self, statement: Statement, deliveries: Sequence[Delivery], **values: Any) -> None:
        """Run a statement for deliveries, in the order in which all transactions lock their rows."""
        if deliveries:
            tags = sorted(delivery.tag for delivery in deliveries)
            await self._db.write(lambda db: self._change_tagged(db, statement, tags, values))

    async def _change_tagged(self, db: Session, statement: Statement, tags: Tags, values: Any) -> None:
        queues, numbers, received = zip(*tags, strict=True)
        locked = await db.rows(SQL.lock_dispatches, queues=queues, numbers=numbers, tags=received)
        # In a second statement, which sees the rows as they are now that the locks are held.
        await db.run(statement, places=[place for (place,) in locked], **values)


def _rows(dispatches: Sequence[Dispatch], queues: Mapping[str, Queue]) -> Iterator[tuple[int, str, str, str]]:
    """Encode dispatches as rows: number of the level, message id, headers as JSON, payload.

    Headers that consecutive dispatches share are encoded once.
    """
    shared: Headers | None = None
    head = ""
    level = 0
    for dispatch in dispatches:
        if dispatch.headers is not shared:
            shared = dispatch.headers
            queue = queues[shared.queue]
            level = queue.bulk if shared.bulk else queue.normal
            head = f'{json.dumps(shared.shared(), ensure_ascii=False)[:-1]}, "correlation_id": "'
        parent = f', "parent_correlation_id": "{dispatch.parent}"' if dispatch.parent else ""
        cid = dispatch.correlation_id
        yield (
            level,
            f"{cid}.{dispatch.generation}",
            f'{head}{cid}"{parent}}}',
            dispatch.payload(),
        )
