"""The embedded broker: a table of calls in a SQLite file, for any number of processes of one machine.

Durable as the file is. A held call is hidden by a time (`visible_at`) and owned by a tag, which every
later step gives back. Receivers wait on one poll of `PRAGMA data_version` a process: it changes with
every commit of any process, and costs a look into shared memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from playhead.backends._sqlite import Connection, Database, among, insert
from playhead.envelope import Dispatch, EncodedHeaders, Message, decode_headers, decode_payload
from playhead.errors import broker_unavailable
from playhead.ids import mint
from playhead.ports.broker import CONFIRMED, Delivery, Depth, PublishResult
from playhead.ports.diagnosis import Finding

T = TypeVar("T")

_POLL_SECONDS = 0.01
_EXPIRY_LOOK_SECONDS = 0.25


class SqliteBroker:
    """Calls in a SQLite file.

    Args:
        db: an open database; it is not closed with the broker.
        visibility: seconds for which a received call is hidden from others.
        clock: seconds since the epoch.
    """

    name: str = "sqlite"

    def __init__(
        self, db: Database, *, visibility: float = 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._visibility = visibility
        self._clock = clock
        self._queues: dict[str, int] = {}
        self._busy: set[str] = set()
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._watcher: asyncio.Task[None] | None = None

    # -- the port ----------------------------------------------------------------------------------

    async def publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]:
        if not calls:
            return []

        def job(con: Connection) -> set[str]:
            rows = []
            shared: dict[int, tuple[int, str]] = {}
            queues = set()
            for call in calls:
                headers = call.headers
                known = shared.get(id(headers))
                if known is None:
                    queues.add(headers.queue)
                    text = json.dumps(headers.shared(), ensure_ascii=False)
                    head = f'{text[:-1]}, "correlation_id": "'
                    known = shared[id(headers)] = (self._queue(con, headers.queue), head)
                queue_id, head = known
                cid = call.correlation_id
                tail = f'", "parent_correlation_id": "{call.parent}"}}' if call.parent else '"}'
                rows.append((queue_id, f"{cid}.{call.generation}", f"{head}{cid}{tail}", call.payload()))
            insert(con, "calls (queue, message_id, headers, payload)", rows)
            return queues

        try:
            queues = await self._db.write(job)
        except sqlite3.Error as exc:
            raise broker_unavailable(
                f"the broker's file {self._db.path} can't be written: {self._db.trouble(exc)}"
            ) from exc
        for name in queues:
            self._wake(name)
        return [CONFIRMED] * len(calls)

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        until = time.monotonic() + wait
        while True:
            taken = await self._take(queue, limit)
            if taken or time.monotonic() >= until:
                return taken
            await self._wait(queue, until)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        held: dict[int, list[int]] = {}  # what was taken at once has one tag
        for n, tag in (d.tag for d in deliveries):
            held.setdefault(tag, []).append(n)

        def job(con: Connection) -> None:
            for tag, calls in held.items():
                for marks, some in among(calls):
                    con.execute(f"DELETE FROM calls WHERE n IN ({marks}) AND tag = ?", (*some, tag))  # noqa: S608

        await self._write(job)

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        tags = [d.tag for d in deliveries]

        def job(con: Connection) -> None:
            until = self._clock() + self._visibility
            con.executemany(
                "UPDATE calls SET visible_at = ? WHERE n = ? AND tag = ?",
                [(until, n, tag) for n, tag in tags],
            )

        await self._write(job)

    async def depth(self, queue: str) -> Depth:
        def job(con: Connection) -> Depth:
            now = self._clock()
            row = con.execute(
                "SELECT count(*) FILTER (WHERE visible_at <= ?), count(*) FILTER (WHERE visible_at > ?) "
                "FROM calls WHERE queue = (SELECT id FROM queues WHERE name = ?)",
                (now, now, queue),
            ).fetchone()
            return Depth(*row)

        return await self._read(job)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        def job(con: Connection) -> list[tuple[bytes, bytes]]:
            return con.execute(
                "SELECT CAST(headers AS BLOB), CAST(payload AS BLOB) FROM calls "
                "WHERE queue = (SELECT id FROM queues WHERE name = ?) "
                "ORDER BY n LIMIT ?",
                (queue, limit),
            ).fetchall()

        return [Message(decode_headers(h), decode_payload(p)) for h, p in await self._read(job)]

    async def check(self) -> str:
        await self._read(lambda con: con.execute("SELECT 1 FROM calls LIMIT 1").fetchone())
        return f"sqlite {sqlite3.sqlite_version} in {self._db.path.name}"

    async def diagnose(self) -> list[Finding]:
        return await self._db.diagnose()

    async def maintain(self) -> None:
        """Checkpoint the file. Only for one that is not the catalog's, and only one process at a time."""
        try:
            await self._db.checkpoint()
        except sqlite3.Error as exc:
            raise broker_unavailable(
                f"the broker's file {self._db.path} can't be written: {self._db.trouble(exc)}"
            ) from exc

    async def close(self) -> None:
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None

    # -- within ------------------------------------------------------------------------------------

    def _queue(self, con: Connection, name: str) -> int:
        found = self._queues.get(name)
        if found is None:
            con.execute("INSERT INTO queues (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            (found,) = con.execute("SELECT id FROM queues WHERE name = ?", (name,)).fetchone()
            # Not remembered here: this transaction may be rolled back yet. `_take` remembers.
        return int(found)

    async def _take(self, queue: str, limit: int) -> list[Delivery]:
        queue_id = self._queues.get(queue)
        if queue_id is None:
            row = await self._read(
                lambda con: con.execute("SELECT id FROM queues WHERE name = ?", (queue,)).fetchone()
            )
            if row is None:
                return []
            queue_id = self._queues[queue] = row[0]
        tag = int.from_bytes(mint(1)[0][8:], "big") >> 2

        def job(con: Connection) -> list[tuple[int, bytes, bytes]]:
            now = self._clock()
            return con.execute(
                "UPDATE calls SET visible_at = ?, tag = ? WHERE n IN "
                "(SELECT n FROM calls WHERE queue = ? AND visible_at <= ? ORDER BY visible_at, n LIMIT ?) "
                # As bytes: one text of another program that is not UTF-8 would fail the whole query.
                "RETURNING n, CAST(message_id AS BLOB), CAST(headers AS BLOB)",
                (now + self._visibility, tag, queue_id, now, limit),
            ).fetchall()

        # Most looks at an idle queue find nothing: there, look first, without the write lock.
        if queue not in self._busy and not await self._read(
            lambda con: con.execute(
                "SELECT 1 FROM calls WHERE queue = ? AND visible_at <= ? LIMIT 1", (queue_id, self._clock())
            ).fetchone()
        ):
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

    async def _wait(self, queue: str, until: float) -> None:
        """Wait until something may be ready in `queue`, or until then."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        future = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(queue, []).append(future)
        try:
            await asyncio.wait_for(future, max(until - time.monotonic(), 0))
        except TimeoutError:
            pass
        finally:
            waiting = self._waiters.get(queue, [])
            if future in waiting:
                waiting.remove(future)

    def _wake(self, queue: str) -> None:
        for future in self._waiters.pop(queue, []):
            if not future.done():
                future.set_result(None)

    async def _watch(self) -> None:
        """Wake waiting receivers when any process committed something that is ready for them."""
        con = self._db.connect(read_only=True)
        try:
            seen, looked = None, 0.0
            while True:
                await asyncio.sleep(_POLL_SECONDS)
                names = [name for name, waiting in self._waiters.items() if waiting]
                if not names:
                    continue
                (version,) = con.execute("PRAGMA data_version").fetchone()
                now = time.monotonic()
                if version == seen and now - looked < _EXPIRY_LOOK_SECONDS:
                    continue
                seen, looked = version, now
                for name in names:
                    if con.execute(
                        "SELECT 1 FROM calls WHERE queue = (SELECT id FROM queues WHERE name = ?) "
                        "AND visible_at <= ? LIMIT 1",
                        (name, self._clock()),
                    ).fetchone():
                        self._wake(name)
        except sqlite3.Error:
            # The receivers' own looks will say what is wrong; let them go and look.
            for name in list(self._waiters):
                self._wake(name)
        finally:
            con.close()

    async def _write(self, job: Callable[[Connection], T]) -> T:
        try:
            return await self._db.write(job)
        except sqlite3.Error as exc:
            raise broker_unavailable(
                f"the broker's file {self._db.path} can't be written: {self._db.trouble(exc)}"
            ) from exc

    async def _read(self, job: Callable[[Connection], T]) -> T:
        try:
            return await self._db.read(job)
        except sqlite3.Error as exc:
            raise broker_unavailable(
                f"the broker's file {self._db.path} can't be read: {self._db.trouble(exc)}"
            ) from exc
