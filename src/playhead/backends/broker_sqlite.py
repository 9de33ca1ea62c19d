"""The embedded broker: a table of dispatches in a SQLite file, for any number of processes of one machine.

It is as durable as the file. A received dispatch is hidden until a time (`visible_at`) and belongs to a tag,
which every later step names. Receivers of a process share one poll of `PRAGMA data_version`: the version
changes with every commit of any process, and reading it costs one look into shared memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from playhead.backends import _sql_broker
from playhead.backends._sqlite import Connection, Database, among, examine, insert
from playhead.envelope import Dispatch, EncodedHeaders, Message, decode_headers, decode_payload
from playhead.errors import Unavailable, broker_unavailable
from playhead.ids import mint
from playhead.ports.broker import CONFIRMED, Delivery, Depth, PublishResult
from playhead.ports.diagnosis import Finding

T = TypeVar("T")

_POLL_SECONDS = 0.01
_EXPIRY_LOOK_SECONDS = 0.25
_LOOKING_SHARE = 0.2
"""The largest share of the event loop's time that is spent looking for ready dispatches."""

# One step for each queue that has dispatches, however many dispatches and empty queues there are.
_READY_QUEUES = """
WITH RECURSIVE used (id) AS (
  SELECT min(queue) FROM dispatches
  UNION ALL
  SELECT (SELECT min(queue) FROM dispatches WHERE queue > id) FROM used WHERE id IS NOT NULL
)
SELECT name FROM used JOIN queues USING (id)
WHERE (SELECT min(visible_at) FROM dispatches WHERE queue = used.id) <= :now
  OR (SELECT max(visible_at) FROM dispatches WHERE queue = used.id) > :latest
"""

# In the order of publishing. Few dispatches were ever received (`visible_at` is not 0), and the others are in
# the index in that order, so nothing is sorted but those few.
_FIRST = """
SELECT CAST(headers AS BLOB), CAST(payload AS BLOB) FROM dispatches WHERE n IN (
  SELECT n FROM (SELECT n FROM dispatches WHERE queue = :queue AND visible_at = 0 ORDER BY n LIMIT :limit)
  UNION ALL
  SELECT n FROM (SELECT n FROM dispatches WHERE queue = :queue AND visible_at > 0 ORDER BY n LIMIT :limit)
) ORDER BY n LIMIT :limit
"""


class SqliteBroker:
    """Queues in a SQLite file.

    Args:
        db: an open database; the broker does not close it.
        visibility: seconds for which a received dispatch is hidden from other receivers.
        clock: seconds since the epoch.
    """

    name: str = "sqlite"

    def __init__(
        self, db: Database, *, visibility: float = 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._visibility = visibility
        self._clock = clock
        self._ids: dict[str, int] = {}
        self._busy: set[str] = set()
        self._waiters = _sql_broker.Waiters()
        self._watcher: asyncio.Task[None] | None = None
        self._looked_at = 0.0

    # -- the port ----------------------------------------------------------------------------------

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        if not dispatches:
            return []
        queues = {dispatch.headers.queue for dispatch in dispatches}

        def job(con: Connection) -> None:
            ids = {queue: self._id(con, queue) for queue in queues}
            rows = [(ids[q], mid, headers, key) for q, mid, headers, key in _sql_broker.rows(dispatches)]
            insert(con, "dispatches (queue, message_id, headers, payload)", rows)

        await self._write(job)
        for queue in queues:
            self._waiters.wake(queue)
        return [CONFIRMED] * len(dispatches)

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        until = time.monotonic() + wait
        # Any number of lanes wait for idle queues. The watcher looks for all of them at once.
        may_be_ready = wait <= 0 or queue in self._busy
        while True:
            if may_be_ready and (received := await self._receive(queue, limit)):
                return received
            began = time.monotonic()
            if began >= until:
                return []
            if self._watcher is None or self._watcher.done():
                self._watcher = asyncio.create_task(self._watch())
            with self._waiters.waiting(queue) as woken:
                await asyncio.wait([woken], timeout=until - began)
            may_be_ready = woken.done() or self._looked_at <= began

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        held: dict[int, list[int]] = {}  # deliveries that were received at once have one tag
        for n, tag in (delivery.tag for delivery in deliveries):
            held.setdefault(tag, []).append(n)

        def job(con: Connection) -> None:
            for tag, numbers in held.items():
                for marks, some in among(numbers):
                    con.execute(f"DELETE FROM dispatches WHERE n IN ({marks}) AND tag = ?", (*some, tag))  # noqa: S608

        await self._write(job)

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        tags = [delivery.tag for delivery in deliveries]

        def job(con: Connection) -> None:
            until = self._clock() + self._visibility
            con.executemany(
                "UPDATE dispatches SET visible_at = ? WHERE n = ? AND tag = ?",
                [(until, n, tag) for n, tag in tags],
            )

        await self._write(job)

    async def depth(self, queue: str) -> Depth:
        def job(con: Connection) -> Depth:
            now = self._clock()
            row = con.execute(
                # Counting two ranges of the index takes half as long as comparing each entry.
                "SELECT (SELECT count(*) FROM dispatches WHERE queue = q.id AND visible_at <= ?), "
                "(SELECT count(*) FROM dispatches WHERE queue = q.id AND visible_at > ?) "
                "FROM queues q WHERE q.name = ?",
                (now, now, queue),
            ).fetchone()
            return Depth(*row) if row else Depth(0, 0)

        return await self._read(job)

    async def is_empty(self, queue: str) -> bool:
        found = await self._read(
            lambda con: con.execute(
                "SELECT 1 FROM dispatches WHERE queue = (SELECT id FROM queues WHERE name = ?) LIMIT 1",
                (queue,),
            ).fetchone()
        )
        return found is None

    async def peek(self, queue: str, limit: int) -> list[Message]:
        def job(con: Connection) -> list[tuple[bytes, bytes]]:
            found = con.execute("SELECT id FROM queues WHERE name = ?", (queue,)).fetchone()
            return con.execute(_FIRST, {"queue": found[0], "limit": limit}).fetchall() if found else []

        return [Message(decode_headers(h), decode_payload(p)) for h, p in await self._read(job)]

    async def check(self) -> str:
        await self._read(lambda con: con.execute("SELECT 1 FROM dispatches LIMIT 1").fetchone())
        return f"sqlite {sqlite3.sqlite_version} in {self._db.path.name}"

    async def diagnose(self) -> list[Finding]:
        return await examine(self._db)

    async def maintain(self) -> None:
        """Checkpoint the file. Only for a file that is not the catalog's, by one process at a time."""
        try:
            await self._db.checkpoint()
        except sqlite3.Error as exc:
            raise self._unavailable("write", exc) from exc

    async def close(self) -> None:
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None

    # -- rows --------------------------------------------------------------------------------------

    def _id(self, con: Connection, queue: str) -> int:
        """Return the id of a queue, which is created if it does not exist."""
        found = self._ids.get(queue)
        if found is None:
            con.execute("INSERT INTO queues (name) VALUES (?) ON CONFLICT DO NOTHING", (queue,))
            (found,) = con.execute("SELECT id FROM queues WHERE name = ?", (queue,)).fetchone()
            # Not cached here: this transaction may still be rolled back. `_receive` caches it.
        return int(found)

    async def _receive(self, queue: str, limit: int) -> list[Delivery]:
        queue_id = self._ids.get(queue)
        if queue_id is None:
            row = await self._read(
                lambda con: con.execute("SELECT id FROM queues WHERE name = ?", (queue,)).fetchone()
            )
            if row is None:
                return []
            queue_id = self._ids[queue] = row[0]
        tag = int.from_bytes(mint(1)[0][8:], "big") >> 2

        def job(con: Connection) -> list[tuple[int, bytes, bytes]]:
            now = self._clock()
            return con.execute(
                "UPDATE dispatches SET visible_at = ?, tag = ? WHERE n IN (SELECT n FROM dispatches "
                "WHERE queue = ? AND visible_at <= ? ORDER BY visible_at, n LIMIT ?) "
                # As bytes: one text of another program that is not UTF-8 would fail the whole query.
                "RETURNING n, CAST(message_id AS BLOB), CAST(headers AS BLOB)",
                (now + self._visibility, tag, queue_id, now, limit),
            ).fetchall()

        # Most looks at an idle queue find nothing, and need no write lock.
        if queue not in self._busy and not await self._is_ready(queue_id):
            return []
        rows = sorted(await self._write(job))
        (self._busy.add if rows else self._busy.discard)(queue)
        return [
            Delivery(
                queue,
                message_id.decode("utf-8", "replace"),
                EncodedHeaders(partial(decode_headers, headers)),
                (n, tag),
            )
            for n, message_id, headers in rows
        ]

    async def _is_ready(self, queue_id: int) -> bool:
        """Return whether a dispatch is ready. Dispatches that would be hidden for too long become ready."""

        def look(con: Connection) -> tuple[float | None, float | None]:
            row: tuple[float | None, float | None] = con.execute(
                "SELECT (SELECT min(visible_at) FROM dispatches WHERE queue = :queue), "
                "(SELECT max(visible_at) FROM dispatches WHERE queue = :queue)",
                {"queue": queue_id},
            ).fetchone()
            return row

        def show(con: Connection) -> None:
            con.execute(
                "UPDATE dispatches SET visible_at = 0 WHERE queue = ? AND visible_at > ?",
                (queue_id, self._latest(self._clock())),
            )

        first, last = await self._read(look)
        if first is None or last is None:
            return False
        now = self._clock()
        if last > self._latest(now):
            await self._write(show)
            return True
        return first <= now

    def _latest(self, now: float) -> float:
        """The latest time until which a dispatch may be hidden: a later one was recorded before the clock was
        set back."""
        return now + _sql_broker.longest_hidden(self._visibility)

    # -- the watcher -------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wake receivers whose queues have a ready dispatch, whichever process published it."""
        con = self._db.connect(read_only=True)
        try:
            seen, took = None, 0.0
            newest: set[str] = set()
            while True:
                await asyncio.sleep(max(_POLL_SECONDS, took / _LOOKING_SHARE))
                queues = set(self._waiters.queues)
                now = time.monotonic()
                (version,) = con.execute("PRAGMA data_version").fetchone()
                is_due = version != seen or now - self._looked_at >= _EXPIRY_LOOK_SECONDS
                if not queues or not (is_due or queues - newest):
                    continue
                seen, newest, self._looked_at = version, queues, now
                at = self._clock()
                found = con.execute(_READY_QUEUES, {"now": at, "latest": self._latest(at)}).fetchall()
                for (queue,) in found:
                    self._waiters.wake(queue)
                took = time.monotonic() - now
        except sqlite3.Error:
            # The receivers' own reads report the fault.
            for queue in self._waiters.queues:
                self._waiters.wake(queue)
        finally:
            con.close()

    # -- errors ------------------------------------------------------------------------------------

    async def _write(self, job: Callable[[Connection], T]) -> T:
        try:
            return await self._db.write(job)
        except sqlite3.Error as exc:
            raise self._unavailable("write", exc) from exc

    async def _read(self, job: Callable[[Connection], T]) -> T:
        try:
            return await self._db.read(job)
        except sqlite3.Error as exc:
            raise self._unavailable("read", exc) from exc

    def _unavailable(self, verb: str, exc: sqlite3.Error) -> Unavailable:
        return broker_unavailable(f"cannot {verb} the broker's file {self._db.path}: {self._db.trouble(exc)}")
