"""A PostgreSQL schema for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playhead.ids import uuid7
from tests.servers import need


@asynccontextmanager
async def schema() -> AsyncIterator[str]:
    """Yield the URL of a new schema, which is dropped at the end.

    If a failed test leaves a transaction open, dropping the schema would block. It is abandoned after a
    minute.
    """
    import asyncpg  # type: ignore[import-untyped]

    server, name = need("postgres"), f"t{uuid7().hex}"
    con = await asyncpg.connect(server, server_settings={"lock_timeout": "60s"})
    try:
        await con.execute(f"CREATE SCHEMA {name}")
        yield f"{server}{'&' if '?' in server else '?'}search_path={name}"
        await con.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    finally:
        await con.close()
