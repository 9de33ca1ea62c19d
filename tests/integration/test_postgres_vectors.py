"""The sink for vectors in PostgreSQL, against a real server with pgvector."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead import Context, Item, RateLimited, Reject, Retry
from playhead.adapters.postgres_vectors import PostgresVectors, PostgresVectorsConfig
from playhead.ids import uuid7
from playhead.sinks import Shown, SinkContext, StagePage
from playhead.testing import check_sink
from tests.servers import Missing, absent, need, need_fresh

OLD, NEW = uuid7(), uuid7()


class Table:
    """A new database with an empty table, which the first row creates."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sinks: list[PostgresVectors] = []

    def sink(self, **config: Any) -> PostgresVectors:
        made = PostgresVectors(PostgresVectorsConfig(url=self.url, **config))
        self.sinks.append(made)
        return made

    async def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    async def rows(self, table: str = "playhead_vectors") -> list[tuple[str, UUID]]:
        found = await self.query(f"SELECT path, execution_id FROM {table} ORDER BY 1, 2")
        return [(path, UUID(str(execution))) for path, execution in found]


@pytest.fixture
async def table() -> AsyncIterator[Table]:
    url = need("postgres")
    server = await asyncpg.connect(url)
    name = f"vectors_{uuid7().hex}"
    try:
        if not await server.fetch("SELECT FROM pg_available_extensions WHERE name = 'vector'"):
            absent(Missing("postgres", "it has no pgvector", "install the package postgresql-…-pgvector"))
        await server.execute(f"CREATE DATABASE {name}")
        made = Table(urlsplit(url)._replace(path=f"/{name}").geturl())
        yield made
        for sink in made.sinks:
            await sink.close()
        # Closed sinks have no connections, so the database is not in use.
        await server.execute(f"DROP DATABASE {name}")
    finally:
        await server.close()


def context(
    execution: UUID = OLD, config: str = "docs", allowed: Sequence[str] = ("127.0.0.0/8",)
) -> Context:
    return Context(
        execution, uuid7(), config, 1, "index", 1, None, "", logging.getLogger("test"), internal_hosts=allowed
    )


def segment(path: str, execution: UUID = OLD, vector: Sequence[float] = (1.0, 0.0), **more: Any) -> Item:
    fields = {"text": f"text of {path}", "vector": list(vector), **more}
    key = f"{execution}/segments/{path}"
    return Item(path, json.dumps(fields).encode(), attributes={"title": "T"}, stage="segments", key=key)


async def store(sink: PostgresVectors, item: Item, ctx: Context) -> None:
    """Write one item. Raises `Reject`."""
    (result,) = await sink([item], [ctx])
    if result is not None:
        raise result


async def test_rows_have_vector_text_and_metadata_and_are_searched_with_sql(table):
    sink = table.sink()
    await store(sink, segment("x.json", vector=(1, 0), lang="en"), context())
    await store(sink, segment("y.json", vector=(0, 1)), context())
    found = await table.query(
        "SELECT id, path, text, metadata, embedding <=> '[1, 0.1]' FROM playhead_vectors ORDER BY 5"
    )
    assert [row[:3] for row in found] == [
        (f"{OLD}/segments/x.json", "x.json", "text of x.json"),
        (f"{OLD}/segments/y.json", "y.json", "text of y.json"),
    ]
    assert json.loads(found[0][3]) == {"title": "T", "lang": "en"}
    assert found[0][4] < 0.01


EVENTS = [(f"a/{n}.json", OLD) for n in (1, 2, 3)] + [(f"a/{n}.json", NEW) for n in (1, 2)]


async def test_the_rows_of_the_newest_execution_remain_in_any_order_of_the_writes(table):
    sink = table.sink(replace="folder")
    for order in [*itertools.permutations(range(5))][::7]:
        for path, execution in [EVENTS[n] for n in order] * 2:
            await store(sink, segment(path, execution), context(execution))
        assert await table.rows() == [("a/1.json", NEW), ("a/2.json", NEW)], order
        await table.query("DELETE FROM playhead_vectors")


@pytest.mark.parametrize(
    ("replace", "left"),
    [("none", EVENTS), ("path", [*EVENTS[3:], EVENTS[2]]), ("folder", EVENTS[3:])],
)
async def test_the_rows_of_two_executions_that_write_at_once_are_replaced_as_configured(table, replace, left):
    # Two instances, as in two processes.
    sinks = [table.sink(replace=replace), table.sink(replace=replace)]
    for sink in sinks:  # the table is created at once as well
        await store(sink, segment("other.json"), context())
    calls = [(path, execution, sinks[n % 2]) for n, (path, execution) in enumerate(EVENTS * 5)]
    await asyncio.gather(*(store(sink, segment(path, one), context(one)) for path, one, sink in calls))
    assert await table.rows() == sorted([*left, ("other.json", OLD)])


async def test_batches_that_are_written_at_once_in_any_order_do_not_block_each_other(table):
    sinks = [table.sink(), table.sink()]
    events = EVENTS * 10
    for batch in (events, events[::-1]):
        items = [segment(path, one) for path, one in batch]
        contexts = [context(one) for _, one in batch]
        await asyncio.gather(*(sink(items, contexts) for sink in sinks))
    assert await table.rows() == sorted([*EVENTS[3:], EVENTS[2]])


async def test_an_item_of_a_batch_without_a_vector_is_rejected_alone(table):
    first, second = await table.sink()([segment("a.json"), Item("b.json", b"{}")], [context()] * 2)
    assert first is None
    assert isinstance(second, Reject)
    assert await table.rows() == [("a.json", OLD)]


async def test_instances_that_create_the_table_at_once_do_not_fail(table):
    await asyncio.gather(*(store(table.sink(), segment(f"{n}.json"), context()) for n in range(8)))
    assert len(await table.rows()) == 8


async def test_a_row_of_the_same_object_is_updated_by_a_replay(table):
    sink = table.sink()
    await store(sink, segment("a.json"), context(OLD))
    await store(sink, segment("a.json", vector=(0, 1)), context(NEW))
    await store(sink, segment("a.json"), context(OLD))
    assert await table.query("SELECT execution_id::text, embedding::text FROM playhead_vectors") == [
        (str(NEW), "[0,1]")
    ]


async def test_a_late_write_of_another_config_does_not_replace_a_newer_row_of_the_same_object(table):
    for execution, config in ((OLD, "one"), (NEW, "two"), (OLD, "one")):
        await store(table.sink(), segment("a.json"), context(execution, config))
    assert await table.rows() == [("a.json", NEW)]


async def test_rows_of_another_config_are_not_replaced(table):
    await store(table.sink(), segment("a.json", OLD), context(OLD, "one"))
    await store(table.sink(), segment("a.json", NEW), context(NEW, "two"))
    assert await table.rows() == [("a.json", OLD), ("a.json", NEW)]


async def test_the_table_can_have_another_name_and_schema(table):
    await table.query("CREATE SCHEMA own")
    await store(table.sink(table="own.select", dimensions=2), segment("a.json"), context())
    assert await table.rows('own."select"') == [("a.json", OLD)]


@pytest.mark.parametrize("name", ["a b", "a;b", "A", 'a"b', "a.b.c", "", "é"])
def test_a_table_name_that_needs_quotes_is_refused(name):
    with pytest.raises(ValueError, match="a name in lower case"):
        PostgresVectorsConfig(url="postgresql://x/y", table=name)


async def test_a_vector_that_does_not_fit_and_a_text_with_nul_are_rejected(table):
    sink = table.sink()
    await store(sink, segment("a.json"), context())
    with pytest.raises(Reject, match="expected 2 dimensions, not 3"):
        await store(sink, segment("b.json", vector=(1, 2, 3)), context())
    with pytest.raises(Reject, match="playhead_vectors"):
        await store(sink, Item("c.json", b'{"vector": [1, 0], "text": "a\\u0000b"}'), context())
    assert await table.rows() == [("a.json", OLD)]


async def test_an_internal_database_needs_the_permission_of_the_operator(table):
    with pytest.raises(Reject, match=r"PLAYHEAD_INTERNAL_HOSTS=127\.0\.0\.1:"):
        await store(table.sink(), segment("a.json"), context(allowed=()))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db",
        "postgresql://u@a,b/db",
        "postgresql://u@1.1.1.1/db?host=127.0.0.1",
        "x",
        "postgresql://[/",
    ],
)
async def test_an_address_that_cannot_be_checked_is_rejected(url):
    sink = PostgresVectors(PostgresVectorsConfig(url=url))
    with pytest.raises(Reject, match="must have the form"):
        await store(sink, segment("a.json"), context())


@pytest.mark.slow
async def test_an_error_that_concerns_all_rows_is_raised_once_for_the_whole_batch(table):
    items, contexts = [segment(f"{n}.json") for n in range(3)], [context()] * 3
    await table.query("CREATE TABLE other (id text)")
    missing = urlsplit(table.url)._replace(path="/missing").geturl()
    for sink, why in (
        (table.sink(table="other"), "table other: column .* does not exist"),
        (table.sink(table="none.rows"), 'schema "none" does not exist'),
        (PostgresVectors(PostgresVectorsConfig(url=missing)), 'database "missing" does not exist'),
    ):
        with pytest.raises(Retry, match=why):
            await sink(items, contexts)


async def test_a_dropped_table_is_created_again(table):
    sink = table.sink()
    await store(sink, segment("a.json"), context())
    await table.query("DROP TABLE playhead_vectors CASCADE")
    with pytest.raises(Retry, match="does not exist"):
        await store(sink, segment("a.json"), context())
    await store(sink, segment("a.json"), context())
    assert await table.rows() == [("a.json", OLD)]


async def test_a_user_without_the_right_to_create_tables_writes_into_an_existing_table(table):
    await store(table.sink(), segment("a.json"), context())
    role = f"writer_{uuid7().hex}"
    await table.query(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        await table.query(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        address = urlsplit(table.url)
        url = address._replace(netloc=f"{role}:x@{address.netloc.rpartition('@')[2]}").geturl()
        sink = PostgresVectors(PostgresVectorsConfig(url=url))
        await store(sink, segment("b.json"), context())
        with pytest.raises(Retry, match="permission denied"):
            await store(PostgresVectors(PostgresVectorsConfig(url=url, table="new")), segment("c"), context())
        await sink.close()
        assert await table.rows() == [("a.json", OLD), ("b.json", OLD)]
    finally:
        await table.query(f"DROP OWNED BY {role}")
        await table.query(f"DROP ROLE {role}")


async def test_an_unavailable_database_starts_a_cooldown_and_the_sink_works_again_afterwards():
    with need_fresh("postgres") as server:
        table = Table(server.url)
        sink = table.sink()
        await store(sink, segment("a.json"), context())
        server.stop()
        for _ in range(2):
            with pytest.raises(RateLimited, match="database of postgres_vectors is unavailable") as caught:
                await store(sink, segment("b.json"), context())
            assert caught.value.after == 10
        server.start()
        await store(sink, segment("b.json"), context())
        assert await table.rows() == [("a.json", OLD), ("b.json", OLD)]
        await sink.close()


async def test_a_time_out_of_the_database_is_named(table):
    sink = table.sink()
    with pytest.raises(RateLimited, match="unavailable: TimeoutError"):
        async with sink._errors():
            raise TimeoutError


async def test_the_table_shows_whole_publications_in_any_history(table):
    name = "a_table_with_the_longest_name_that_a_config_may_have_in_postgre"
    assert len(name) == 63
    check_sink(
        PostgresVectors,
        segment("a/1.json"),
        {"url": "${env:VECTORS_URL}", "table": name},
        schedules=12,
        secrets={"${env:VECTORS_URL}": table.url},
        internal_hosts=["127.0.0.0/8"],
    )
    shown = await table.query(f"SELECT result FROM {name[:50]}_current")
    stored = await table.query(f"SELECT result FROM {name}")
    assert 0 < len(shown) < len(stored)


async def test_a_publication_before_the_first_row_leaves_the_dimensions_to_the_first_row(table):
    ctx = SinkContext("docs", "docs", "index", "", ["127.0.0.0/8"])
    sink, other = table.sink(), table.sink()
    assert await sink.stage(StagePage(1, 0, 1, 0, ["lost"], []), ctx) == ["lost"]
    assert await sink.stage(StagePage(2, 0, 1, 0, [], []), ctx) == []
    await sink.switch(2, 1, ctx)
    await sink.forget([range(1, 2)], 2, [NEW], ctx)
    assert await sink.shown(ctx) == Shown(2, 1, 2)
    assert await sink.results(2, "", 10, ctx) == []

    one = replace(context(), dataset="docs")
    await store(other, segment("a.json"), one)
    await store(other, segment("late.json", NEW), context(NEW))
    await table.query("CREATE INDEX ON playhead_vectors USING hnsw (embedding vector_cosine_ops)")
    assert await table.query("SELECT path FROM playhead_vectors_current") == []
    assert await sink.stage(StagePage(3, 0, 1, 2, [one.result, "lost"], []), ctx) == ["lost"]
    await sink.switch(3, 2, ctx)
    assert await table.query("SELECT path FROM playhead_vectors_current") == [("a.json",)]
    assert await table.rows() == [("a.json", OLD)], "rows of an execution that was forgotten are not written"
