"""The broker in PostgreSQL, for deployments that have PostgreSQL and want no other server.

Receivers select with `FOR UPDATE SKIP LOCKED`, so none waits for another. Receivers that find nothing wait
for a `NOTIFY`. A notification is only a hint: one look a second finds dispatches whose notification was lost,
dispatches that a dead process held, and, behind PgBouncer in transaction mode, every dispatch.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final

from playhead.backends._postgres import FAULTS, Connection, Postgres, PostgresTransactions, Unreachable
from playhead.backends._sql_broker import LOOK_SECONDS, SqlBroker
from playhead.envelope import Dispatch
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import Depth, PublishResult
from playhead.ports.diagnosis import Finding

_CHANNEL: Final = "SELECT 'playhead_' || hashtext(current_schema())"
"""Returns the channel of this schema: channels belong to a database, which may have several."""
_NOTIFY: Final = (
    "SELECT pg_notify('playhead_' || hashtext(current_schema()), queue) FROM unnest($1::text[]) AS queue"
)
"""Notifies the channel of this schema of queues."""
_DEPTH_FOR: Final = 20.0
"""A depth is reused for this many times the time that it took to count: to watch a long queue then costs a
few per cent."""
_ANNOUNCE_SECONDS: Final = 0.005
_PROBE_SECONDS: Final = 30.0
_LISTEN_SECONDS: Final = 5.0
_NOTIFY_SECONDS: Final = 3.0


class PostgresBroker(SqlBroker):
    """Queues in a PostgreSQL database, the catalog's or another.

    Args:
        db: a database; the broker does not close it.
        visibility: seconds for which a received dispatch is hidden from other receivers.
        look_seconds: time after which a lost notification is found.
    """

    name: str = "postgresql"
    finds_at_once: ClassVar[bool] = False

    def __init__(self, db: Postgres, *, visibility: float = 30.0, look_seconds: float = LOOK_SECONDS) -> None:
        transactions = PostgresTransactions(db, "broker", broker_unavailable)
        super().__init__(transactions, visibility=visibility, look_seconds=look_seconds)
        self.open = transactions.open
        self._server = db
        self._depths: dict[str, tuple[Depth, float]] = {}
        self._to_announce: set[str] = set()
        self._announcer: asyncio.Task[None] | None = None

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        try:
            return await super().publish(dispatches)
        except Unavailable as exc:
            if isinstance(exc.__cause__, Unreachable) and exc.__cause__.in_doubt:
                return [PublishResult("uncertain", exc.detail)] * len(dispatches)
            raise

    async def depth(self, queue: str) -> Depth:
        known, until = self._depths.get(queue, (None, 0.0))
        began = time.monotonic()
        if known and began < until:
            return known
        found = await super().depth(queue)
        took = time.monotonic() - began
        # An empty queue is counted again each time: a confirmed dispatch is counted at once.
        if sum(found) and took > 0.01:
            self._depths[queue] = found, began + took * _DEPTH_FOR
        return found

    async def diagnose(self) -> list[Finding]:
        found = await super().diagnose()
        if all(finding.status != "failed" for finding in found):
            found.append(await _check_notify(self._server))
        return found

    async def close(self) -> None:
        await super().close()
        if self._announcer:
            self._announcer.cancel()
            await asyncio.gather(self._announcer, return_exceptions=True)

    # -- waking receivers --------------------------------------------------------------------------

    def announce(self, queue: str) -> None:
        """Wake the receivers of this process at once, and all others soon."""
        self._wake(queue)
        self._to_announce.add(queue)
        if self._announcer is None or self._announcer.done():
            self._announcer = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        """Send notifications, those of a few milliseconds together.

        Not in the transaction that published: a server commits all transactions that notify one after
        another, and each waits for the disk. Looks replace the notifications that are lost with this process.
        """

        async def job(con: Connection) -> None:
            await con.execute("SET LOCAL synchronous_commit = off")
            await con.execute(_NOTIFY, queues)

        while self._to_announce:
            queues, self._to_announce = list(self._to_announce), set()
            with contextlib.suppress(Unreachable):
                await self._server.run(job)
            await asyncio.sleep(_ANNOUNCE_SECONDS)

    async def watch(self) -> None:
        con: Connection | None = None
        probed = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if con is None or con.is_closed() or now - probed > _PROBE_SECONDS:
                    probed = now
                    con = await self._listening(con)
                if queues := list(self._waiting):
                    # If the read fails, all receivers are woken, and their own reads report the fault.
                    with contextlib.suppress(Unavailable):
                        queues = await self._db.read(partial(self._ready, queues=queues))
                    self._wake(*queues)
                await asyncio.sleep(self._look_seconds)
        finally:
            if con is not None:
                con.terminate()

    async def _listening(self, con: Connection | None) -> Connection | None:
        """Return a connection that listens: this one if it still answers, else a new one, else None."""
        try:
            async with asyncio.timeout(_LISTEN_SECONDS):
                if con is not None and not con.is_closed():
                    await con.execute("SELECT 1")
                    return con
                con = await self._server.connect()
                channel = await con.fetchval(_CHANNEL)
                await con.add_listener(channel, lambda _con, _pid, _channel, queue: self._wake(queue))
                return con
        except BaseException as exc:
            if con is not None:
                con.terminate()
            if isinstance(exc, FAULTS):
                return None
            raise


async def _check_notify(db: Postgres) -> Finding:
    """Check that a NOTIFY of one connection reaches another connection."""
    received = asyncio.Event()
    con: Connection | None = None
    try:
        async with asyncio.timeout(_NOTIFY_SECONDS):
            con = await db.connect()
            await con.add_listener(await con.fetchval(_CHANNEL), lambda *_: received.set())
            began = time.monotonic()
            await db.run(lambda other: other.execute(_NOTIFY, [""]))
            await received.wait()
    except (*FAULTS, Unreachable) as exc:
        return Finding(
            "wake",
            "warning",
            f"no NOTIFY arrived ({type(exc).__name__}), so receivers poll once a second",
            "use the address of PostgreSQL in PLAYHEAD_BROKER, not of PgBouncer in transaction mode",
        )
    finally:
        if con is not None:
            con.terminate()
    return Finding("wake", "ok", f"a NOTIFY arrives after {(time.monotonic() - began) * 1000:.1f} ms")
