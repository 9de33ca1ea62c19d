"""A PostgreSQL schema for one test: a new one, or an emptied one of Playhead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
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
        yield _at(server, name)
        await con.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    finally:
        await con.close()


_spare: list[tuple[str, Mapping[str, Sequence[Sequence[object]]]]] = []
"""Emptied schemas by their names, each with the rows of its tables before any use."""


@asynccontextmanager
async def emptied_schema() -> AsyncIterator[str]:
    """Yield the URL of a schema with the tables of Playhead, for this test alone, and empty it at the end.

    To create the tables takes longer than most tests. After a failure to empty it, a schema is abandoned.
    """
    import asyncpg

    from playhead.backends._postgres import Postgres

    server = need("postgres")
    con = await asyncpg.connect(server, server_settings={"lock_timeout": "60s"})
    try:
        if not _spare:
            name = f"t{uuid7().hex}"
            await con.execute(f"CREATE SCHEMA {name}")
            db = Postgres(_at(server, name))
            await db.open()
            await db.close()
            tables = await con.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", name)
            names = [row[0] for row in tables if row[0] != "schema_version"]
            _spare.append((name, {one: await con.fetch(f"TABLE {name}.{one}") for one in names}))
        name, rows = _spare.pop()
        yield _at(server, name)
        async with con.transaction():
            await con.execute("SET LOCAL session_replication_role = replica")  # no order of the tables
            await con.execute("; ".join(f"DELETE FROM {name}.{table}" for table in rows))
            for table, values in rows.items():
                for row in values:
                    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
                    await con.execute(f"INSERT INTO {name}.{table} VALUES ({places})", *row)
        _spare.append((name, rows))
    finally:
        await con.close()


def _at(server: str, name: str) -> str:
    return f"{server}{'&' if '?' in server else '?'}search_path={name}"
