"""The search index of Find in PostgreSQL: rows that are committed late, and how many rows a search reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.backends._postgres import Postgres
from playhead.backends.catalog_postgres import PostgresCatalog
from tests.lab import Clock, Lab

ROWS: Final = 20_000
MINUTE: Final = 61.0
COLUMNS: Final = "key, state, size, sha256, fingerprint, content_type, attributes, created_at"
READ: Final = (
    "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables "
    "WHERE schemaname = current_schema() AND relname IN ('terms', 'term_uses', 'outputs')"
)


class Deployment(NamedTuple):
    url: str
    catalog: PostgresCatalog
    lab: Lab
    clock: Clock
    sql: Any


@pytest.fixture
async def place(url: str) -> AsyncIterator[Deployment]:
    clock = Clock()
    db = Postgres(url, clock=clock)
    await db.migrate()
    await db.open()
    sql = await asyncpg.connect(url)
    catalog = PostgresCatalog(db)
    yield Deployment(url, catalog, Lab(catalog, clock), clock, sql)
    await sql.close()
    await db.close()


async def index(place: Deployment) -> None:
    while await place.catalog.index_terms():
        pass


def row_of(execution: object, path: str) -> str:
    return f"SELECT '{execution}/input/' || {path}, 1, 1, ''::bytea, ''::bytea, 'text/plain', '{{}}', 0"


async def test_a_row_that_is_committed_after_later_ones_is_indexed(place: Deployment):
    await place.lab.beat("w1")
    run = await place.lab.sealed("before.md")
    late = place.sql.transaction()
    await late.start()
    await place.sql.execute(f"INSERT INTO outputs ({COLUMNS}) {row_of(run, repr('late.md'))}")
    await place.lab.sealed("after.md")
    await index(place)
    place.clock.advance(MINUTE)
    await index(place)
    assert (await place.catalog.term_index()).indexed == 0  # it may be that a transaction is still open
    await late.commit()

    place.clock.advance(MINUTE)
    await index(place)
    found = await place.catalog.terms_with("late.md", paths=True, has_parts=False, limit=5)
    assert [one.text for one in found] == ["input/late.md"]
    assert [*await place.catalog.terms_with("after.md", paths=True, has_parts=False, limit=5)]


async def test_processes_that_index_at_the_same_time_index_each_row_once(place: Deployment):
    await place.lab.beat("w1")
    run = await place.lab.sealed("a.md")
    await place.sql.execute(
        f"INSERT INTO outputs ({COLUMNS}) "
        + row_of(run, "n || '.md'").replace(", 0", ", 0 FROM generate_series(1, 5000) n")
    )
    await place.sql.execute("UPDATE search_index SET safe_outputs = 5001, safe_executions = 1")

    await asyncio.gather(*(index(place) for _ in range(4)))
    await index(place)
    assert (await place.catalog.term_index())[:2] == (5001, 5001)
    assert await place.sql.fetchval("SELECT count(*) FROM terms") == 5001
    assert await place.sql.fetchval("SELECT count(*) FROM term_uses") == 5001


async def test_a_search_reads_few_of_many_rows(place: Deployment):
    await place.lab.beat("w1")
    run = await place.lab.sealed("needle.md")
    await place.sql.execute(
        f"INSERT INTO outputs ({COLUMNS}) "
        + row_of(run, "n || '.md'").replace(", 0", f", 0 FROM generate_series(1, {ROWS}) n")
    )
    await place.sql.execute(f"UPDATE search_index SET safe_outputs = {ROWS + 1}, safe_executions = 1")
    await index(place)
    has_parts = (await place.catalog.term_index()).has_parts

    before = await place.sql.fetchval(READ)
    db = Postgres(place.url)
    catalog = PostgresCatalog(db)
    [found] = await catalog.terms_with("needle", paths=True, has_parts=has_parts, limit=1000)
    assert len((await catalog.places_of([found.n], limit=3))[found.n]) == 1
    assert await catalog.newest_keys("needle", rows=100, limit=5) == []
    assert await catalog.objects_found([f"{run}/input/needle.md"])
    await db.close()  # a connection reports what it has read at its end

    async def reported() -> int:
        await place.sql.execute("SELECT pg_stat_clear_snapshot()")
        return int(await place.sql.fetchval(READ)) - int(before)

    async with asyncio.timeout(20):
        while not (rows := await reported()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert rows < 200
