"""A catalog of each earlier schema is upgraded with its data, and that of another build is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Protocol

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.backends._postgres import Postgres
from playhead.backends._postgres.schema import apply
from playhead.backends._sqlite import Database
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.backends.sql import Migration, migration, migrations
from playhead.errors import CannotStart
from playhead.ports.catalog import Catalog
from tests.lab import Clock, Lab
from tests.servers.schema import schema

FIRST = 1


class Place(Protocol):
    """Two addresses for catalogs: an earlier one, and one of this release."""

    async def current(self) -> Catalog:
        """Open the catalog of this release."""
        ...

    async def copy(self, known: Sequence[Migration]) -> None:
        """Create the earlier catalog with these migrations, and copy all rows of the current one into it."""
        ...

    async def earlier(self) -> Catalog:
        """Open the earlier catalog with this release."""
        ...

    async def migrate(self) -> list[int]:
        """Do for the earlier catalog what `playhead migrate` does."""
        ...

    async def forget_digest(self) -> None:
        """Turn the earlier catalog into that of another build."""
        ...


class SqlitePlace:
    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._new, self._old = folder / "new.db", folder / "old.db"
        self._stack = stack

    async def _open(self, path: Path) -> Catalog:
        db = Database(path)
        await db.open()
        self._stack.push_async_callback(db.close)
        return SqliteCatalog(db)

    async def current(self) -> Catalog:
        return await self._open(self._new)

    async def copy(self, known: Sequence[Migration]) -> None:
        Database(self._old).migrate(known)
        with closing(sqlite3.connect(self._old, isolation_level=None)) as con:
            con.execute(f"ATTACH '{self._new}' AS new")
            tables = con.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
            for (table,) in tables:
                if table != "schema_version":
                    names = ", ".join(row[1] for row in con.execute(f"PRAGMA main.table_info({table})"))
                    con.execute(f"DELETE FROM {table}")
                    con.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM new.{table}")

    async def earlier(self) -> Catalog:
        return await self._open(self._old)

    async def migrate(self) -> list[int]:
        return Database(self._old).migrate()

    async def forget_digest(self) -> None:
        with closing(sqlite3.connect(self._old, isolation_level=None)) as con:
            con.execute("DROP TABLE schema_version")


class PostgresPlace:
    def __init__(self, new: str, old: str, stack: AsyncExitStack) -> None:
        self._new, self._old = new, old
        self._stack = stack

    async def _open(self, url: str) -> Catalog:
        db = Postgres(url)
        self._stack.push_async_callback(db.close)
        await db.open()
        return PostgresCatalog(db)

    async def current(self) -> Catalog:
        return await self._open(self._new)

    async def copy(self, known: Sequence[Migration]) -> None:
        new, old = await asyncpg.connect(self._new), await asyncpg.connect(self._old)
        async with old.transaction():
            await apply(old, *known)
        source = await new.fetchval("SELECT current_schema()")
        columns = (
            "SELECT table_name, string_agg(quote_ident(column_name), ', '), "
            "max(column_name) FILTER (WHERE is_identity = 'YES') FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name <> 'schema_version' GROUP BY table_name"
        )
        await old.execute("SET session_replication_role = replica")  # copy in any order
        for table, names, identity in await old.fetch(columns):
            await old.execute(f"DELETE FROM {table}")
            await old.execute(
                f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {source}.{table}"
            )
            if identity:
                sequence = f"pg_get_serial_sequence('{table}', '{identity}')"
                await old.execute(
                    f"SELECT setval({sequence}, (SELECT coalesce(max({identity}), 0) + 1 FROM {table}))"
                )
        await new.close()
        await old.close()

    async def earlier(self) -> Catalog:
        return await self._open(self._old)

    async def migrate(self) -> list[int]:
        db = Postgres(self._old)
        try:
            return await db.migrate()
        finally:
            await db.close()

    async def forget_digest(self) -> None:
        con = await asyncpg.connect(self._old)
        await con.execute("ALTER TABLE schema_version DROP COLUMN sha256")
        await con.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            yield SqlitePlace(tmp_path, stack)
        else:
            new, old = [await stack.enter_async_context(schema()) for _ in range(2)]
            yield PostgresPlace(new, old, stack)


def known(place: Place) -> list[Migration]:
    return migrations("sqlite" if isinstance(place, SqlitePlace) else "postgresql")


@pytest.mark.parametrize("number", range(FIRST, len(migrations("sqlite"))))
async def test_a_catalog_of_an_earlier_schema_is_upgraded_with_its_data(place: Place, number: int):
    before = Lab(await place.current(), Clock())
    await before.beat("w1")
    run = await before.started("a.md", "b.md")
    await before.work(run.ids[0], before.output("a.md"))
    await place.copy(known(place)[:number])

    assert await place.migrate() == [step.number for step in known(place)[number:]]

    after = Lab(await place.earlier(), Clock())
    await after.beat("w1")
    assert await after.execution(run.execution) == await before.execution(run.execution)
    assert await after.row(run.ids[0]) == await before.row(run.ids[0])
    await after.work(run.ids[1], after.output("b.md"))
    assert (await after.counts(run.execution)).completed == 2
    again = await after.started_replay(run.execution, f"{run.execution}/input/a.md")
    await after.work(again.ids[0], after.output("a.md"))
    assert await place.migrate() == []


async def test_processes_refuse_the_catalog_of_another_build_and_say_what_to_do(place: Place):
    await (await place.current()).open_executions()
    await place.copy(known(place))
    await place.earlier()
    await place.forget_digest()

    for use in (place.earlier, place.migrate):
        with pytest.raises(CannotStart, match="another PLAYHEAD_HOME or PLAYHEAD_CATALOG") as caught:
            await use()
        assert caught.value.code == "catalog_other_build"


def test_a_comment_or_a_line_break_does_not_make_another_build_but_a_statement_does():
    first = migration(1, "-- runs from: 1\nCREATE TABLE a (b integer);\n", "sqlite")
    same = migration(1, "-- runs from: 1\n-- New.\nCREATE TABLE a (\n  b integer  -- why\n);\n", "sqlite")
    other = migration(1, "-- runs from: 1\nCREATE TABLE a (b text);\n", "sqlite")

    assert first.sha256 == same.sha256 != other.sha256
