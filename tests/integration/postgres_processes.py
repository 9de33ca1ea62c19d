"""Several processes on one PostgreSQL database, and a session that holds their rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]

from playhead.backends._postgres import Postgres
from playhead.backends.catalog_postgres import PostgresCatalog
from tests.lab import Clock, Lab
from tests.servers.schema import schema

OPEN = "(0, 1, 2)"  # pending, running, retry
SOON = 60.0
"""The test fails if an expected change takes longer than this number of seconds."""


class Place:
    """One database with several processes.

    Attributes:
        lab: steps of the first process.
        sql: a session of the test.
    """

    def __init__(self, url: str, sql: Any, stack: AsyncExitStack) -> None:
        self._url = url
        self.sql = sql
        self._stack = stack
        self.lab: Lab

    async def process(self, *workers: str) -> PostgresCatalog:
        """A catalog with its own connections and live workers."""
        catalog = PostgresCatalog(await self.connections(), heartbeat_seconds=60)
        await Lab(catalog, Clock()).beat(*workers)
        return catalog

    async def connections(self) -> Postgres:
        db = Postgres(self._url)
        await db.open()
        self._stack.push_async_callback(db.close)
        return db

    async def value(self, query: str, *values: Any) -> Any:
        return await self.sql.fetchval(query, *values)

    @asynccontextmanager
    async def holding(self, query: str, *values: Any, then: str = "") -> AsyncIterator[int]:
        """Another session that holds rows, and its backend pid. It executes `then` before it commits."""
        con = await asyncpg.connect(self._url)
        try:
            async with con.transaction():
                assert await con.fetch(f"{query} FOR UPDATE", *values), "there is something to hold"
                yield con.get_server_pid()
                if then:
                    await con.execute(then)
        finally:
            await con.close()

    async def waiter(self, holder: int) -> int:
        """Return the session that waits for a lock of `holder`."""
        async with asyncio.timeout(SOON):
            while True:
                found = await self.sql.fetch(
                    "SELECT pid FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))", holder
                )
                if found:
                    pid: int = found[0][0]
                    return pid
                await asyncio.sleep(0.005)

    async def open_rows(self, execution: UUID) -> int:
        count: int = await self.value(
            "SELECT count(*) FROM messages m JOIN executions e ON e.n = m.execution "
            f"WHERE e.id = $1 AND m.state IN {OPEN}",
            execution,
        )
        return count


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    """A new schema with one process, in which `w1` and `w2` work."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(schema())
        sql = await asyncpg.connect(url)
        stack.push_async_callback(sql.close)
        made = Place(url, sql, stack)
        made.lab = Lab(await made.process("w1", "w2"), Clock())
        yield made
