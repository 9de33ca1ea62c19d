"""The connections of one process to one database, and transactions on them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg  # type: ignore[import-untyped]

from playhead.backends._postgres.address import taken_apart
from playhead.backends._postgres.grants import statements
from playhead.backends._postgres.schema import apply, refusal, state, unsupported, unusable
from playhead.backends._postgres.session import (
    FAULTS,
    LOCK_SECONDS,
    Connection,
    Job,
    Unreachable,
    code_of,
    explain,
    is_lost,
)
from playhead.backends.sql import Migration, migrations
from playhead.errors import CannotStart
from playhead.ports.diagnosis import ProcessRole

T = TypeVar("T")

_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 30.0
_STOPPED_SECONDS = 10.0  # shorter than the time that other processes wait for its locks
_PART_SECONDS = 2.0
_UNUSED_SECONDS = 300.0  # after this time, a firewall or proxy may have dropped an idle connection
_TRIES = 6
_MIGRATION_SECONDS = 86_400.0

_WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED"
_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SETTINGS = (
    f"SET LOCAL lock_timeout = '{LOCK_SECONDS:.0f}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{_STOPPED_SECONDS:.0f}s'; "
    "SET LOCAL synchronous_commit = on; "
    # A table can grow from empty to millions of rows between two runs of autovacuum, so its statistics are
    # often wrong. These settings make the planner use the actual values, and scan indexes in their order.
    "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; "
    "SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"
)
_AGAIN = {"40001", "40P01"}


class Postgres:
    """A database and up to `connections` connections to it.

    Args:
        url: `postgresql://user:password@host:port/database?…`. `statement_cache_size` and `pool_size` are
            options of Playhead. Options of libpq have their usual meaning, and all others are settings of
            the server, such as `search_path`.
        clock: seconds since the epoch, instead of the database's clock; only for tests.
        role: what its process does, if that is known. `doctor` checks the rights of this role.
        connections: maximum number of connections, unless the URL has `pool_size`. Urgent transactions have
            one additional connection.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] | None = None,
        role: ProcessRole | None = None,
        connections: int = 8,
    ) -> None:
        self._dsn, self.address, options = taken_apart(url)
        self._cache = options.get("statement_cache_size", 256)
        self.connections = max(options.get("pool_size", connections), 1)
        self._clock = clock
        self.role = role
        self._room = asyncio.Semaphore(self.connections)
        self._urgent = asyncio.Semaphore(1)
        self._idle: list[tuple[Connection, float]] = []
        self._parting: dict[Connection, asyncio.Task[None]] = {}
        self._wanted = self._opened = self._closed = False
        self._opener: asyncio.Task[None] | None = None
        self.losses = 0
        """How often a connection was lost. After a failover, rows that were read before may not exist. So
        a caller that caches rows drops its cache when this number changes."""

    # -- opening and migrating ---------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and migrate an empty database. A second call has no effect.

        If the database is unavailable, the next operation tries to open it again.

        Raises:
            Unreachable: the database is unavailable, or rejects the login.
            CannotStart: `catalog_older`, `catalog_newer`, `catalog_other_build`, `catalog_unusable`.
        """
        self._wanted, self._closed = True, False
        await self._ready()

    async def _ready(self) -> None:
        """Check the schema, or create it, if `open` was called and has not succeeded yet."""
        if self._opened or not self._wanted:
            return
        # Concurrent callers share one attempt and its outcome, so their waits do not add up.
        if self._opener is None or self._opener.done():
            self._opener = asyncio.create_task(self._see_to_schema())
            self._opener.add_done_callback(lambda done: done.cancelled() or done.exception())
        opener = self._opener
        await asyncio.wait([opener])
        opener.result()

    async def _see_to_schema(self) -> None:
        have = await self._run(state)
        if not have.number:
            await self.migrate()
        elif error := refusal(have, self.address):
            raise error
        self._opened = True

    async def pending(self) -> list[int]:
        """Return the numbers of the migrations that have not been applied. `open` is not needed before.

        Raises:
            Unreachable: the database is unavailable.
            CannotStart: `catalog_newer`, `catalog_other_build`.
        """
        have = await self._run(state)
        if error := unsupported(have, self.address):
            raise error
        return [step.number for step in migrations("postgresql") if step.number > have.number]

    async def migrate(self) -> list[int]:
        """Migrate the schema to this release, and return the applied migrations.

        Several processes may call it at the same time.

        Raises:
            Unreachable: the database is unavailable.
            CannotStart: `catalog_newer`, `catalog_other_build`, or `catalog_unusable` if the schema cannot be
                created.
        """
        wanted = await self.pending()
        steps = [step for step in migrations("postgresql") if step.number in wanted]
        # A new schema is created in one transaction: other processes would refuse a partial one as that of an
        # older release. An existing schema has one transaction per step, so that locks are held briefly.
        together = [steps] if steps == migrations("postgresql") else [[step] for step in steps]
        return [number for some in together for number in await self._apply(some)]

    async def grants(self, roles: Mapping[ProcessRole, str], *, execute: bool = False) -> list[str]:
        """Return the statements that give these roles their rights, and run them if `execute` says so.

        `open` is not needed before.

        Raises:
            Unreachable: the database is unavailable.
            CannotStart: `catalog_older`: the tables of this release do not exist.
        """
        if pending := await self.pending():
            raise CannotStart(
                "catalog_older",
                f"{self.address} lacks migration {pending[0]} of this release. Run: playhead migrate",
            )
        schema = await self._run(lambda con: con.fetchval("SELECT current_schema()"))
        granting = statements(schema, roles)
        if execute:
            await self._run(lambda con: con.execute("; ".join(granting)))
        return ["BEGIN", *granting, "COMMIT"]

    async def _apply(self, steps: Sequence[Migration]) -> list[int]:
        try:
            return await self._run(lambda con: apply(con, *steps), seconds=_MIGRATION_SECONDS)
        except Unreachable as exc:
            if error := unusable(exc.__cause__, self.address):
                raise error from exc
            raise

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        self._wanted = self._opened = False
        self._closed = True
        if self._opener:
            self._opener.cancel()
            await asyncio.wait([self._opener])
            self._opened = False
        idle, self._idle = self._idle, []
        await asyncio.gather(*(self._close_one(con) for con, _ in idle), *self._parting.values())

    # -- work --------------------------------------------------------------------------------------

    async def run(self, job: Job[T], *, seconds: float = _STATEMENT_SECONDS, urgent: bool = False) -> T:
        """Run `job` in a write transaction, and return its result when the transaction is durable.

        If PostgreSQL aborts the transaction because of a deadlock or a conflict, `job` runs again, a few
        times. So `job` must be repeatable.

        Args:
            seconds: time limit of one transaction.
            urgent: whether to use the additional connection. All others may be waiting for one lock.

        Raises `Unreachable`, or the exception of `job`. After an exception none of its changes remain.
        """
        await self._ready()
        return await self._run(job, seconds=seconds, urgent=urgent)

    async def _run(self, job: Job[T], *, seconds: float = _STATEMENT_SECONDS, urgent: bool = False) -> T:
        room = self._urgent if urgent else self._room
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._within(_WRITING, seconds, room) as con:
                    return await job(con)
            except Unreachable as exc:
                if code_of(exc.__cause__) not in _AGAIN or attempt == _TRIES:
                    raise
            await asyncio.sleep(random.uniform(0.5, 1.5) * 0.005 * 2**attempt)
        raise AssertionError("the last attempt raised")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """Open a read-only transaction. All its statements see the same snapshot."""
        await self._ready()
        async with self._within(_READING, _STATEMENT_SECONDS, self._room) as con:
            yield con

    @asynccontextmanager
    async def _within(self, begin: str, seconds: float, room: asyncio.Semaphore) -> AsyncIterator[Connection]:
        con: Connection | None = None
        committing = False
        try:
            # The server cancels a slow statement earlier. This limit is for a server that does not answer.
            async with asyncio.timeout(seconds + _CONNECT_SECONDS):
                con = await self._begin(
                    f"{begin}; SET LOCAL statement_timeout = {seconds * 1000:.0f}; {_SETTINGS}", room
                )
                yield con
                committing = True
                # If the block suppressed an error, COMMIT rolls back without raising an error.
                if await con.execute("COMMIT") != "COMMIT":
                    raise Unreachable(f"PostgreSQL at {self.address} did not commit: a statement had failed")
        except FAULTS as exc:
            await self._give_up(con, exc)
            raise Unreachable(explain(self.address, exc), in_doubt=committing and is_lost(exc)) from exc
        except Exception as exc:
            await self._give_up(con, exc)
            raise
        except BaseException:
            # The block was cancelled, so the state of the connection is unknown.
            if con is not None:
                self._part(con)
            raise
        finally:
            if con is not None:
                room.release()
                self._release(con)

    async def _begin(self, begin: str, room: asyncio.Semaphore) -> Connection:
        """Wait for a free connection, and begin a transaction on it."""
        if self._clock:
            begin += f"; SET LOCAL playhead.now = '{self._clock()!r}'"
        await room.acquire()
        con: Connection | None = None
        try:
            while True:
                con, fresh = await self._take()
                try:
                    await con.execute(begin)
                    return con
                except FAULTS as exc:
                    con.terminate()
                    self.losses += 1
                    # An idle connection can be from before a restart of the server. Try the next one.
                    if fresh or not is_lost(exc):
                        raise
        except BaseException:
            if con is not None:
                con.terminate()
            room.release()
            raise

    async def _take(self) -> tuple[Connection, bool]:
        """Return a connection, and whether it is new."""
        while self._idle:
            con, since = self._idle.pop()
            if con.is_closed():
                self.losses += 1
            elif time.monotonic() - since < _UNUSED_SECONDS:
                return con, False
            else:
                con.terminate()
        return await self.connect(), True

    async def connect(self) -> Connection:
        """Open a connection. The caller closes it. Raises the exceptions in `FAULTS`."""
        if self._closed:
            raise asyncpg.InterfaceError("this process has closed its connections")
        made: Connection = await asyncpg.connect(
            self._dsn, timeout=_CONNECT_SECONDS, statement_cache_size=self._cache
        )
        return made

    async def _give_up(self, con: Connection | None, exc: Exception) -> None:
        if con is None:
            return
        standby = code_of(exc) == "25006"
        if standby or con.is_closed() or is_lost(exc):
            self.losses += 1
            if isinstance(exc, TimeoutError) and not con.is_closed():
                self._part(con)
            else:
                con.terminate()
            if standby:
                # After a failover the host name points to the new primary, idle connections to the old one.
                for idle, _ in self._idle:
                    idle.terminate()
                self._idle.clear()
            return
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await con.execute("ROLLBACK")
        except FAULTS:
            con.terminate()
        except BaseException:
            # Cancelled before the rollback was confirmed: the old transaction may still be open.
            self._part(con)
            raise

    def _part(self, con: Connection) -> None:
        """Close a connection that may be in the middle of a statement.

        If the connection were only dropped, the server would finish the statement and keep its locks until
        then. So the statement is cancelled first, and the server has a short time to react.
        """
        task = asyncio.create_task(self._close_one(con))
        self._parting[con] = task
        task.add_done_callback(lambda _: self._parting.pop(con, None))

    async def _close_one(self, con: Connection) -> None:
        try:
            await con.close(timeout=_PART_SECONDS)
        except FAULTS:
            con.terminate()

    def _release(self, con: Connection) -> None:
        if con in self._parting:
            return
        if not (self._closed or con.is_closed()):
            self._idle.append((con, time.monotonic()))
        elif not con.is_closed():
            con.terminate()
