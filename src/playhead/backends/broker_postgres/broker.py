"""The port, as statements over two tables: `queues` and `dispatches`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from playhead.backends import _sql_broker
from playhead.backends._postgres import Connection, Job, Postgres, Unreachable, check_notify, examine
from playhead.backends.broker_postgres.notify import LOOK_SECONDS, Notifications
from playhead.envelope import Dispatch, EncodedHeaders, Message, decode_headers, decode_payload
from playhead.errors import Unavailable, broker_unavailable
from playhead.ids import mint
from playhead.ports.broker import CONFIRMED, Delivery, Depth, PublishResult
from playhead.ports.diagnosis import Finding

T = TypeVar("T")

_MOST_AT_ONCE = 5000
_DEPTH_FOR = 20.0
"""A depth is reused for this many times the time that it took to count: to watch a long queue then costs a
few per cent."""


@dataclass
class _Queue:
    """The state of a queue in this process.

    Attributes:
        next: the number after the last dispatch that was received here.
        looked: when this process last looked from the first dispatch on.
    """

    id: int
    next: int = 0
    looked: float = 0.0
    depth: Depth | None = None
    depth_until: float = 0.0


class PostgresBroker:
    """Queues in a PostgreSQL database, the catalog's or another.

    Args:
        db: a database; the broker does not close it.
        visibility: seconds for which a received dispatch is hidden from other receivers.
        look_seconds: time after which a lost notification is found.
    """

    name: str = "postgresql"

    def __init__(self, db: Postgres, *, visibility: float = 30.0, look_seconds: float = LOOK_SECONDS) -> None:
        self._db = db
        self._visibility = visibility
        self._look_seconds = look_seconds
        self._known: dict[str, _Queue] = {}
        self._losses = 0
        self._notifications = Notifications(db, look_seconds=look_seconds)

    async def open(self) -> None:
        """Open the database, and create the schema in an empty one.

        Raises:
            Unavailable: the database cannot be reached.
            CannotStart: its schema is not the schema of this release.
        """
        try:
            await self._db.open()
        except Unreachable as exc:
            raise broker_unavailable(f"cannot open the broker: {exc}") from exc

    # -- the port ----------------------------------------------------------------------------------

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        results: list[PublishResult] = []
        for at in range(0, len(dispatches), _MOST_AT_ONCE):
            try:
                results += await self._publish(dispatches[at : at + _MOST_AT_ONCE])
            except Unreachable as exc:
                if not results and not exc.in_doubt:
                    raise broker_unavailable(f"cannot write to the broker: {exc}") from exc
                results += [PublishResult("uncertain", str(exc))] * (len(dispatches) - at)
                break
        return results

    async def _publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        names = dict.fromkeys(dispatch.headers.queue for dispatch in dispatches)
        ids = {name: (await self._queue(name)).id for name in names}
        queues, messages, headers, payloads = zip(*_sql_broker.rows(dispatches), strict=True)

        async def job(con: Connection) -> None:
            # Rows are numbered in this order, which is the order of delivery.
            await con.execute(
                "INSERT INTO dispatches (queue, message_id, headers, payload) "
                "SELECT c.queue, c.message_id, c.headers, c.payload "
                "FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) "
                "WITH ORDINALITY AS c (queue, message_id, headers, payload, place) ORDER BY c.place",
                *([ids[queue] for queue in queues], messages, headers, payloads),
            )

        await self._db.run(job)
        for name in names:
            self._notifications.announce(name)
        return [CONFIRMED] * len(dispatches)

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        until = time.monotonic() + wait
        while True:
            # Registered before the look, so that a dispatch that is published in between wakes this receiver.
            with self._notifications.waiters.waiting(queue) as woken:
                received = await self._receive(queue, limit)
                rest = until - time.monotonic()
                if received or rest <= 0:
                    return received
                self._notifications.watch()
                await asyncio.wait([woken], timeout=rest)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        queues, numbers, tags = _tags(deliveries)

        async def job(con: Connection) -> None:
            await con.execute(
                "DELETE FROM dispatches d "
                "USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS a (queue, n, tag) "
                "WHERE d.queue = a.queue AND d.n = a.n AND d.tag = a.tag",
                *(queues, numbers, tags),
            )

        await self._write(job)

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        queues, numbers, tags = _tags(deliveries)

        async def job(con: Connection) -> None:
            await con.execute(
                "UPDATE dispatches d SET visible_at = playhead_now() + $4::double precision "
                "FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS h (queue, n, tag) "
                "WHERE d.queue = h.queue AND d.n = h.n AND d.tag = h.tag",
                *(queues, numbers, tags, self._visibility),
            )

        await self._write(job)

    async def depth(self, queue: str) -> Depth:
        known = self._queues.get(queue)
        if known and known.depth and time.monotonic() < known.depth_until:
            return known.depth

        async def job(con: Connection) -> Depth:
            # In a subquery, the clock is read once and not for each row.
            ((count, held),) = await con.fetch(
                "SELECT count(*), count(*) FILTER (WHERE visible_at > (SELECT playhead_now())) "
                "FROM dispatches WHERE queue = (SELECT id FROM queues WHERE name = $1)",
                queue,
            )
            return Depth(count - held, held)

        began = time.monotonic()
        found = await self._read(job)
        took = time.monotonic() - began
        # An empty queue is counted again each time: a confirmed dispatch is counted at once.
        if known and sum(found) and took > 0.01:
            known.depth, known.depth_until = found, began + took * _DEPTH_FOR
        return found

    async def is_empty(self, queue: str) -> bool:
        found: bool = await self._read(
            lambda con: con.fetchval(
                "SELECT NOT EXISTS (SELECT 1 FROM dispatches "
                "WHERE queue = (SELECT id FROM queues WHERE name = $1))",
                queue,
            )
        )
        return found

    async def peek(self, queue: str, limit: int) -> list[Message]:
        rows = await self._read(
            lambda con: con.fetch(
                "SELECT headers, payload FROM dispatches "
                "WHERE queue = (SELECT id FROM queues WHERE name = $1) ORDER BY n LIMIT $2",
                *(queue, limit),
            )
        )
        return [Message(decode_headers(h), decode_payload(p)) for h, p in rows]

    async def check(self) -> str:
        async def job(con: Connection) -> str:
            await con.fetchval("SELECT 1 FROM dispatches LIMIT 1")
            version: str = await con.fetchval("SHOW server_version")
            return version.split()[0]

        return f"postgresql {await self._read(job)} on {self._db.address}"

    async def diagnose(self) -> list[Finding]:
        found = await examine(self._db)
        if all(finding.status != "failed" for finding in found):
            try:
                channel = await self._read(self._notifications.channel)
            except Unavailable as exc:
                return [*found, Finding("wake", "failed", exc.detail, "look into PostgreSQL's log")]
            found.append(await check_notify(self._db, channel))
        return found

    async def close(self) -> None:
        await self._notifications.close()

    # -- rows --------------------------------------------------------------------------------------

    @property
    def _queues(self) -> dict[str, _Queue]:
        """Queues by name. After a failover the new primary may have other ids for the last of them."""
        if self._losses != self._db.losses:
            self._losses = self._db.losses
            self._known = {}
        return self._known

    async def _queue(self, name: str) -> _Queue:
        """Return a queue, which is created if it does not exist. Its row is committed before any dispatch."""
        known = self._queues.get(name)
        if known is None:

            async def job(con: Connection) -> int:
                await con.execute("INSERT INTO queues (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
                made: int = await con.fetchval("SELECT id FROM queues WHERE name = $1", name)
                return made

            known = self._queues.setdefault(name, _Queue(await self._db.run(job)))
        return known

    async def _receive(self, name: str, limit: int) -> list[Delivery]:
        queue = self._queues.get(name)
        if queue is None:
            found = await self._read(lambda con: con.fetchval("SELECT id FROM queues WHERE name = $1", name))
            if found is None:
                return []
            queue = self._queues.setdefault(name, _Queue(found))
        now = time.monotonic()
        if queue.next and now - queue.looked < self._look_seconds:
            received = await self._receive_from(name, queue, queue.next, limit)
            if received:
                return received
        queue.looked = now
        return await self._receive_from(name, queue, 0, limit)

    async def _receive_from(self, name: str, queue: _Queue, first: int, limit: int) -> list[Delivery]:
        tag = int.from_bytes(mint(1)[0][8:], "big") >> 2
        longest = _sql_broker.longest_hidden(self._visibility)

        async def job(con: Connection) -> list[tuple[int, str, str]]:
            rows = await con.fetch(
                "WITH taken AS MATERIALIZED (SELECT n FROM dispatches WHERE queue = $1 AND n >= $2 "
                "AND (visible_at <= playhead_now() OR visible_at > playhead_now() + $6::double precision) "
                "ORDER BY n LIMIT $3 FOR UPDATE SKIP LOCKED) "
                "UPDATE dispatches d SET visible_at = playhead_now() + $4::double precision, tag = $5 "
                "FROM taken t WHERE d.queue = $1 AND d.n = t.n RETURNING d.n, d.message_id, d.headers",
                *(queue.id, first, limit, self._visibility, tag, longest),
            )
            return sorted((n, message_id, headers) for n, message_id, headers in rows)

        # Most looks at an idle queue find nothing. They look first, and write nothing.
        if not first and not await self._read(
            lambda con: con.fetchval(
                "SELECT EXISTS (SELECT 1 FROM dispatches WHERE queue = $1 AND (visible_at <= playhead_now() "
                "OR visible_at > playhead_now() + $2::double precision))",
                *(queue.id, longest),
            )
        ):
            return []
        rows = await self._write(job)
        if rows:
            queue.next = max(queue.next, rows[-1][0] + 1)
        return [
            Delivery(name, message_id, EncodedHeaders(partial(decode_headers, headers)), (queue.id, n, tag))
            for n, message_id, headers in rows
        ]

    async def _write(self, job: Job[T]) -> T:
        try:
            return await self._db.run(job)
        except Unreachable as exc:
            raise broker_unavailable(f"cannot write to the broker: {exc}") from exc

    async def _read(self, job: Job[T]) -> T:
        try:
            async with self._db.read() as con:
                return await job(con)
        except Unreachable as exc:
            raise broker_unavailable(f"cannot read from the broker: {exc}") from exc


def _tags(deliveries: Sequence[Delivery]) -> tuple[tuple[int, ...], ...]:
    """Return queues, numbers and tags, a column each.

    They are sorted, so that two processes that acknowledge the same rows, one of them too late, lock the rows
    in the same order.
    """
    return tuple(zip(*sorted(delivery.tag for delivery in deliveries), strict=True))
