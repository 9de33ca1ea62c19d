"""The broker in PostgreSQL: a table of calls, for sites that have it and want no other server.

A held call is hidden by a time (`visible_at`) and owned by a tag, which every later step gives back. Receivers
take with `FOR UPDATE SKIP LOCKED`, so none waits for another, and those that find nothing wait for a `NOTIFY`.
That is only a hint: one look a second at what is waited for finds what a lost hint did not tell, what a dead
process held, and, behind PgBouncer, everything.

What has been acked stays at the head of the index until it is vacuumed (not while a backup runs). So a process
remembers how far it has taken of a queue and looks from there on, and from the start only once a second, or
when it found nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TypeVar

from playhead.backends._postgres import FAULTS, Connection, Job, Postgres, Unreachable, examine, hears
from playhead.envelope import Dispatch, EncodedHeaders, Message, decode_headers, decode_payload
from playhead.errors import Unavailable, broker_unavailable
from playhead.ids import mint
from playhead.ports.broker import CONFIRMED, Delivery, Depth, PublishResult
from playhead.ports.diagnosis import Finding

T = TypeVar("T")

_LOOK_SECONDS = 1.0
_NOTIFY_SECONDS = 0.005
_ALIVE_SECONDS = 30.0
_MOST_AT_ONCE = 5000
_DEPTH_FOR = 20.0
"""A depth is remembered for so many times the time that it took: a long queue costs a few per cent to watch.
Not that there was none: of an empty queue one concludes, after a second look, that its calls are lost."""


@dataclass
class _Queue:
    """What this process knows of a queue.

    Attributes:
        next: the call after the last that was taken here.
        looked: when its calls were last looked at from the first one on.
    """

    id: int
    next: int = 0
    looked: float = 0.0
    depth: Depth | None = None
    depth_until: float = 0.0


class PostgresBroker:
    """Calls in a PostgreSQL database, the catalog's or another.

    Args:
        db: a database; it is not closed with the broker.
        visibility: seconds for which a received call is hidden from others.
    """

    name: str = "postgresql"

    def __init__(self, db: Postgres, *, visibility: float = 30.0) -> None:
        self._db = db
        self._visibility = visibility
        self._known: dict[str, _Queue] = {}
        self._losses = 0
        self._channel = ""
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._to_tell: set[str] = set()
        self._teller: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the database; an empty one is given its schema.

        Raises:
            Unavailable: it can't be reached.
            CannotStart: its schema is not for this release.
        """
        try:
            await self._db.open()
        except Unreachable as exc:
            raise broker_unavailable(f"the broker can't be opened: {exc}") from exc

    # -- the port ----------------------------------------------------------------------------------

    async def publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]:
        outcomes: list[PublishResult] = []
        for at in range(0, len(calls), _MOST_AT_ONCE):
            try:
                outcomes += await self._publish(calls[at : at + _MOST_AT_ONCE])
            except Unreachable as exc:
                if not outcomes and not exc.in_doubt:
                    raise broker_unavailable(f"the broker can't be written: {exc}") from exc
                outcomes += [PublishResult("uncertain", str(exc))] * (len(calls) - at)
                break
        return outcomes

    async def _publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]:
        names = dict.fromkeys(call.headers.queue for call in calls)
        queues = {name: (await self._queue(name)).id for name in names}
        shared: dict[int, tuple[int, str]] = {}
        ids, messages, headers, payloads = list[int](), list[str](), list[str](), list[str]()
        for call in calls:
            known = shared.get(id(call.headers))
            if known is None:
                text = json.dumps(call.headers.shared(), ensure_ascii=False)
                known = shared[id(call.headers)] = (
                    queues[call.headers.queue],
                    f'{text[:-1]}, "correlation_id": "',
                )
            queue_id, head = known
            cid = call.correlation_id
            tail = f'", "parent_correlation_id": "{call.parent}"}}' if call.parent else '"}'
            ids.append(queue_id)
            messages.append(f"{cid}.{call.generation}")
            headers.append(f"{head}{cid}{tail}")
            payloads.append(call.payload())

        async def job(con: Connection) -> None:
            # Numbered in this order, which is the order of handing out.
            await con.execute(
                "INSERT INTO calls (queue, message_id, headers, payload) "
                "SELECT c.queue, c.message_id, c.headers, c.payload "
                "FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) "
                "WITH ORDINALITY AS c (queue, message_id, headers, payload, place) ORDER BY c.place",
                *(ids, messages, headers, payloads),
            )

        await self._db.run(job)
        for name in names:
            self._wake(name)
            self._tell(name)
        return [CONFIRMED] * len(calls)

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        until = time.monotonic() + wait
        while True:
            # Waited for from before the look: what is published in between wakes us.
            with self._waiting(queue) as woken:
                taken = await self._take(queue, limit)
                rest = until - time.monotonic()
                if taken or rest <= 0:
                    return taken
                if self._watcher is None or self._watcher.done():
                    self._watcher = asyncio.create_task(self._watch())
                await asyncio.wait([woken], timeout=rest)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        queues, numbers, tags = _tags(deliveries)

        async def job(con: Connection) -> None:
            await con.execute(
                "DELETE FROM calls c USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS a (queue, n, tag) "
                "WHERE c.queue = a.queue AND c.n = a.n AND c.tag = a.tag",
                *(queues, numbers, tags),
            )

        await self._write(job)

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        queues, numbers, tags = _tags(deliveries)

        async def job(con: Connection) -> None:
            await con.execute(
                "UPDATE calls c SET visible_at = playhead_now() + $4::double precision "
                "FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS h (queue, n, tag) "
                "WHERE c.queue = h.queue AND c.n = h.n AND c.tag = h.tag",
                *(queues, numbers, tags, self._visibility),
            )

        await self._write(job)

    async def depth(self, queue: str) -> Depth:
        known = self._queues.get(queue)
        if known and known.depth and time.monotonic() < known.depth_until:
            return known.depth

        async def job(con: Connection) -> Depth:
            (row,) = await con.fetch(
                "SELECT count(*) FILTER (WHERE visible_at <= playhead_now()), "
                "count(*) FILTER (WHERE visible_at > playhead_now()) "
                "FROM calls WHERE queue = (SELECT id FROM queues WHERE name = $1)",
                queue,
            )
            return Depth(row[0], row[1])

        began = time.monotonic()
        found = await self._read(job)
        took = time.monotonic() - began
        if known and sum(found) and took > 0.01:
            known.depth, known.depth_until = found, began + took * _DEPTH_FOR
        return found

    async def peek(self, queue: str, limit: int) -> list[Message]:
        rows = await self._read(
            lambda con: con.fetch(
                "SELECT headers, payload FROM calls WHERE queue = (SELECT id FROM queues WHERE name = $1) "
                "ORDER BY n LIMIT $2",
                *(queue, limit),
            )
        )
        return [Message(decode_headers(h), decode_payload(p)) for h, p in rows]

    async def check(self) -> str:
        async def job(con: Connection) -> str:
            await con.fetchval("SELECT 1 FROM calls LIMIT 1")
            version: str = await con.fetchval("SHOW server_version")
            return version.split()[0]

        return f"postgresql {await self._read(job)} on {self._db.address}"

    async def diagnose(self) -> list[Finding]:
        found = await examine(self._db)
        if all(finding.status != "failed" for finding in found):
            try:
                channel = await self._read(self._channel_of)
            except Unavailable as exc:
                return [*found, Finding("wake", "failed", exc.detail, "look into PostgreSQL's log")]
            found.append(await hears(self._db, channel))
        return found

    async def close(self) -> None:
        tasks = [task for task in (self._watcher, self._teller) if task]
        self._watcher = self._teller = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- within ------------------------------------------------------------------------------------

    @property
    def _queues(self) -> dict[str, _Queue]:
        """Queues by name. A standby that took over may have other ids for the last of them."""
        if self._losses != self._db.losses:
            self._losses = self._db.losses
            self._known = {}
        return self._known

    async def _queue(self, name: str) -> _Queue:
        """A queue, made when it is not there. Its row is committed before a call refers to it."""
        known = self._queues.get(name)
        if known is None:

            async def job(con: Connection) -> int:
                await con.execute("INSERT INTO queues (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
                made: int = await con.fetchval("SELECT id FROM queues WHERE name = $1", name)
                return made

            known = self._queues.setdefault(name, _Queue(await self._db.run(job)))
        return known

    async def _take(self, name: str, limit: int) -> list[Delivery]:
        queue = self._queues.get(name)
        if queue is None:
            found = await self._read(lambda con: con.fetchval("SELECT id FROM queues WHERE name = $1", name))
            if found is None:
                return []
            queue = self._queues.setdefault(name, _Queue(found))
        now = time.monotonic()
        if queue.next and now - queue.looked < _LOOK_SECONDS:
            taken = await self._take_from(name, queue, queue.next, limit)
            if taken:
                return taken
        queue.looked = now
        return await self._take_from(name, queue, 0, limit)

    async def _take_from(self, name: str, queue: _Queue, first: int, limit: int) -> list[Delivery]:
        tag = int.from_bytes(mint(1)[0][8:], "big") >> 2

        async def job(con: Connection) -> list[tuple[int, str, str]]:
            rows = await con.fetch(
                "WITH taken AS MATERIALIZED (SELECT n FROM calls WHERE queue = $1 AND n >= $2 "
                "AND visible_at <= playhead_now() ORDER BY n LIMIT $3 FOR UPDATE SKIP LOCKED) "
                "UPDATE calls c SET visible_at = playhead_now() + $4::double precision, tag = $5 "
                "FROM taken t WHERE c.queue = $1 AND c.n = t.n RETURNING c.n, c.message_id, c.headers",
                *(queue.id, first, limit, self._visibility, tag),
            )
            return sorted((n, message_id, headers) for n, message_id, headers in rows)

        # Most looks at an idle queue find nothing: there, look first, and write nothing.
        if not first and not await self._read(
            lambda con: con.fetchval(
                "SELECT EXISTS (SELECT 1 FROM calls WHERE queue = $1 AND visible_at <= playhead_now())",
                queue.id,
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
            raise broker_unavailable(f"the broker can't be written: {exc}") from exc

    async def _read(self, job: Job[T]) -> T:
        try:
            async with self._db.read() as con:
                return await job(con)
        except Unreachable as exc:
            raise broker_unavailable(f"the broker can't be read: {exc}") from exc

    # -- waking ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _waiting(self, queue: str) -> Iterator[asyncio.Future[None]]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(queue, []).append(future)
        try:
            yield future
        finally:
            waiting = self._waiters.get(queue, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiters.pop(queue, None)

    def _wake(self, queue: str) -> None:
        for future in self._waiters.pop(queue, []):
            if not future.done():
                future.set_result(None)

    def _tell(self, queue: str) -> None:
        """Let other processes know, soon, that there is something in a queue."""
        self._to_tell.add(queue)
        if self._teller is None or self._teller.done():
            self._teller = asyncio.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        """Send what is to be told, all of a few milliseconds at once.

        Not within the transaction that published: all transactions of a server that notify commit one after
        the other, each with its wait for the disk. What is lost with this process is found by the looks.
        """

        async def job(con: Connection) -> None:
            await con.execute("SET LOCAL synchronous_commit = off")
            await con.execute(
                "SELECT pg_notify($1, queue) FROM unnest($2::text[]) AS queue",
                await self._channel_of(con),
                names,
            )

        while self._to_tell:
            names, self._to_tell = list(self._to_tell), set()
            with contextlib.suppress(Unreachable):
                await self._db.run(job)
            await asyncio.sleep(_NOTIFY_SECONDS)

    async def _channel_of(self, con: Connection) -> str:
        """Channels belong to a database: this one is named for the schema."""
        if not self._channel:
            schema = await con.fetchval("SELECT current_schema()")
            self._channel = f"playhead_{sha256(schema.encode()).hexdigest()[:16]}"
        return self._channel

    async def _watch(self) -> None:
        """Wake receivers for as long as any waits: by what is heard, and by a look each second."""
        con: Connection | None = None
        heard = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if con is None or con.is_closed() or now - heard > _ALIVE_SECONDS:
                    heard = now
                    con = await self._listening(con)
                await self._look()
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            if con is not None:
                con.terminate()

    async def _listening(self, con: Connection | None) -> Connection | None:
        """A connection that is heard on: this one if it still answers, else a new one, else None."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS * 5):
                if con is not None and not con.is_closed():
                    await con.execute("SELECT 1")
                    return con
                con = await self._db.connect()
                channel = await self._channel_of(con)
                await con.add_listener(channel, lambda _con, _pid, _channel, queue: self._wake(queue))
                return con
        except BaseException as exc:
            if con is not None:
                con.terminate()
            if isinstance(exc, FAULTS):
                return None
            raise

    async def _look(self) -> None:
        async def job(con: Connection) -> list[str]:
            rows = await con.fetch(
                "SELECT q.name FROM queues q WHERE q.name = ANY($1::text[]) AND EXISTS "
                "(SELECT 1 FROM calls c WHERE c.queue = q.id AND c.visible_at <= playhead_now())",
                names,
            )
            return [name for (name,) in rows]

        names = list(self._waiters)
        if not names:
            return
        try:
            async with self._db.read() as con:
                found = await job(con)
        except Unreachable:
            found = names  # their own looks will say what is wrong
        for name in found:
            self._wake(name)


def _tags(deliveries: Sequence[Delivery]) -> tuple[tuple[int, ...], ...]:
    """Queues, numbers and tags, a column each. In order: two that let go of the same calls, after one came too
    late, lock them in the same order."""
    return tuple(zip(*sorted(d.tag for d in deliveries), strict=True))
