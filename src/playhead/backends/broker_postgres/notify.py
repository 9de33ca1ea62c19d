"""Waking receivers in other processes: `NOTIFY`, and a look each second where it does not arrive."""

from __future__ import annotations

import asyncio
import contextlib
import time
from hashlib import sha256
from typing import Final

from playhead.backends._postgres import FAULTS, Connection, Postgres, Unreachable
from playhead.backends._sql_broker import Waiters

LOOK_SECONDS: Final = 1.0
_ANNOUNCE_SECONDS = 0.005
_PROBE_SECONDS = 30.0


class Notifications:
    """Wakes the receivers of all processes when their queues may have a dispatch.

    A notification is only a hint. One look a second finds dispatches whose notification was lost, dispatches
    that a dead process held, and, behind PgBouncer in transaction mode, every dispatch.

    Args:
        db: where queues and dispatches are.
        look_seconds: time between two looks for all receivers of this process.
    """

    def __init__(self, db: Postgres, *, look_seconds: float) -> None:
        self.waiters = Waiters()
        self._db = db
        self._look_seconds = look_seconds
        self._channel = ""
        self._to_announce: set[str] = set()
        self._announcer: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    def announce(self, queue: str) -> None:
        """Wake the receivers of a queue: those of this process at once, all others soon."""
        self.waiters.wake(queue)
        self._to_announce.add(queue)
        if self._announcer is None or self._announcer.done():
            self._announcer = asyncio.create_task(self._announce())

    def watch(self) -> None:
        """Wake receivers of this process from now on."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        tasks = [task for task in (self._watcher, self._announcer) if task]
        self._watcher = self._announcer = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def channel(self, con: Connection) -> str:
        """Return the channel of this schema: channels belong to a database, which may have several."""
        if not self._channel:
            schema = await con.fetchval("SELECT current_schema()")
            self._channel = f"playhead_{sha256(schema.encode()).hexdigest()[:16]}"
        return self._channel

    async def _announce(self) -> None:
        """Send notifications, those of a few milliseconds together.

        Not in the transaction that published: a server commits all transactions that notify one after
        another, and each waits for the disk. Looks replace the notifications that are lost with this process.
        """

        async def job(con: Connection) -> None:
            await con.execute("SET LOCAL synchronous_commit = off")
            await con.execute(
                "SELECT pg_notify($1, queue) FROM unnest($2::text[]) AS queue",
                await self.channel(con),
                queues,
            )

        while self._to_announce:
            queues, self._to_announce = list(self._to_announce), set()
            with contextlib.suppress(Unreachable):
                await self._db.run(job)
            await asyncio.sleep(_ANNOUNCE_SECONDS)

    async def _watch(self) -> None:
        con: Connection | None = None
        probed = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if con is None or con.is_closed() or now - probed > _PROBE_SECONDS:
                    probed = now
                    con = await self._listening(con)
                await self._look()
                await asyncio.sleep(self._look_seconds)
        finally:
            if con is not None:
                con.terminate()

    async def _listening(self, con: Connection | None) -> Connection | None:
        """Return a connection that listens: this one if it still answers, else a new one, else None."""
        try:
            async with asyncio.timeout(LOOK_SECONDS * 5):
                if con is not None and not con.is_closed():
                    await con.execute("SELECT 1")
                    return con
                con = await self._db.connect()
                channel = await self.channel(con)
                await con.add_listener(channel, lambda _con, _pid, _channel, queue: self.waiters.wake(queue))
                return con
        except BaseException as exc:
            if con is not None:
                con.terminate()
            if isinstance(exc, FAULTS):
                return None
            raise

    async def _look(self) -> None:
        queues = self.waiters.queues
        if not queues:
            return
        try:
            async with self._db.read() as con:
                rows = await con.fetch(
                    "SELECT q.name FROM queues q WHERE q.name = ANY($1::text[]) AND EXISTS "
                    "(SELECT 1 FROM dispatches d WHERE d.queue = q.id AND d.visible_at <= playhead_now())",
                    queues,
                )
                queues = [name for (name,) in rows]
        except Unreachable:
            pass  # all receivers are woken, and their own reads report the fault
        for queue in queues:
            self.waiters.wake(queue)
