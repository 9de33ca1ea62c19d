"""The rows that PostgreSQL reads for an answer depend on the size of the answer, not of the table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.backends._postgres import Postgres
from playhead.backends._sql_catalog import requests
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.backends.sql import COMPLETED
from playhead.model import Canary, ReplayRequest
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.reports import ClaimedReport
from tests.lab import Clock, Lab

ROWS = 20_000
PAGE = 50
VERSIONS = 1000
MOST = 20 * PAGE
"""Rows that a page may read: the query fetches a page for each state of each route and keeps one."""
COUNTERS = (
    "FROM pg_stat_user_tables WHERE schemaname = current_schema() "
    "AND relname IN ('messages', 'outputs', 'executions', 'config_versions', 'lanes')"
)


class Reads:
    """Counts the rows that the server has read.

    Attributes:
        url: of the database.
        execution: has `ROWS` unpublished messages, and as many dead letters. Its config had `VERSIONS`
            versions before.
    """

    def __init__(self, url: str, sql: Any, execution: UUID) -> None:
        self.url = url
        self._sql = sql
        self.execution = execution

    async def _so_far(self) -> int:
        count: int = await self._sql.fetchval(f"SELECT sum(seq_tup_read + idx_tup_fetch)::bigint {COUNTERS}")
        return count

    async def execute(self, statement: str) -> None:
        await self._sql.execute(statement)

    async def value(self, query: str) -> Any:
        return await self._sql.fetchval(query)

    async def by(self, call: Callable[[PostgresCatalog], Awaitable[object]]) -> int:
        """Return how many rows of the growing tables a call reads, on a new connection."""
        before = await self._so_far()
        db = Postgres(self.url)
        await db.open()
        try:
            catalog = PostgresCatalog(db)
            await catalog.open_executions()  # reads one row, so that the counters change
            await call(catalog)
        finally:
            await db.close()
        # A session reports its counters when it ends, a moment after its connection is closed.
        async with asyncio.timeout(60):
            while True:
                after = await self._so_far()
                if after != before:
                    return after - before
                await asyncio.sleep(0.01)


@pytest.fixture
async def reads(url: str) -> AsyncIterator[Reads]:
    sql = await asyncpg.connect(url)
    db = Postgres(url)
    await db.open()
    lab = Lab(PostgresCatalog(db), Clock())
    run = await lab.started("a.md")
    children = await lab.work(run.ids[0], lab.output("1.md"))
    await lab.catalog.mark_published(children)
    await lab.work(lab.ids(children)[0])
    await db.close()
    # As in a long replay. The ids follow the numbers, so both have the same order.
    await sql.execute(
        "INSERT INTO messages (id, execution, lane, object_key, stage, ordinal, state, error_code, ended_at, "
        "failure_group) "
        "SELECT (lpad(to_hex(g), 12, '0') || '70008000' || repeat('0', 12))::uuid, m.execution, m.lane, "
        "split_part(m.object_key, '/', 1) || '/in/' || g, 'in', 1 + g, CASE g % 2 WHEN 0 THEN 0 ELSE 5 END, "
        "CASE g % 2 WHEN 0 THEN NULL ELSE 'adapter_error' END, 1.0, CASE g % 2 WHEN 0 THEN NULL ELSE 7 END "
        f"FROM generate_series(1, {2 * ROWS}) g CROSS JOIN messages m WHERE m.id = $1",
        run.ids[0],
    )
    await sql.execute(
        "INSERT INTO config_versions (name, version, hash, source, document, created_at) "
        "SELECT name, -g, '', '', '{}', 0 FROM config_versions, generate_series(1, $1) g",
        VERSIONS,
    )
    await sql.execute(
        "INSERT INTO lanes (config_version, route, queue, external, max_attempts, feeds) "
        "SELECT v.id, l.route, l.queue, false, 1, '[]' FROM config_versions v, lanes l WHERE v.version < 0"
    )
    await sql.execute("UPDATE jobs SET ordinals = $1, state = 'publishing'", 1 + 2 * ROWS)
    await sql.close()
    sql = await asyncpg.connect(url)
    async with asyncio.timeout(60):  # as in `Reads.by`
        while True:
            if await sql.fetchval(f"SELECT max(n_tup_ins) {COUNTERS}") >= 2 * ROWS:
                break
            await asyncio.sleep(0.01)
    yield Reads(url, sql, run.execution)
    await sql.close()


async def test_a_page_of_a_list_reads_few_rows(reads: Reads):
    execution, middle = reads.execution, ROWS
    pages: dict[str, Callable[[PostgresCatalog], Awaitable[object]]] = {
        "newest": lambda c: c.lineage_list(execution=execution, limit=PAGE),
        "middle": lambda c: c.lineage_list(execution=execution, before=middle, limit=PAGE),
        "pending": lambda c: c.lineage_list(execution=execution, status="pending", before=middle, limit=PAGE),
        "completed": lambda c: c.lineage_list(execution=execution, status="completed", limit=PAGE),
        "running": lambda c: c.lineage_list(execution=execution, status="running", limit=PAGE),
        "a route": lambda c: c.lineage_list(execution=execution, route="split", limit=PAGE),
        "dead": lambda c: c.dead_letters(limit=PAGE),
        "dead, middle": lambda c: c.dead_letters(before=middle, limit=PAGE),
        "dead of an execution": lambda c: c.dead_letters(
            DeadLetterFilter(execution=execution), before=middle, limit=PAGE
        ),
        "dead of a route": lambda c: c.dead_letters(DeadLetterFilter(route="split"), limit=PAGE),
        "of an object": lambda c: c.lineage_of_object(f"{execution}/input/a.md"),
        "replays": lambda c: c.replays(limit=PAGE),
        "open replays": lambda c: c.replays(is_open=True, limit=PAGE),
    }

    found = {name: await reads.by(call) for name, call in pages.items()}

    assert {name: count for name, count in found.items() if count > MOST} == {}


@pytest.mark.parametrize("unfinished", [False, True])
async def test_the_outcomes_of_a_page_of_objects_read_few_rows(reads: Reads, unfinished: bool):
    keys = [f"{reads.execution}/in/{n}" for n in range(1, PAGE + 1)]

    def ask(catalog: PostgresCatalog) -> Awaitable[object]:
        return catalog.failed_below(keys, reads.execution, "docs/convert", unfinished=unfinished)

    assert await reads.by(ask) <= MOST
    assert await reads.by(lambda c: c.sources(keys)) <= MOST


async def test_the_lineage_of_a_page_of_outputs_reads_few_rows(reads: Reads):
    execution = reads.execution
    keys = [f"{execution}/in/{n}" for n in range(1, PAGE + 1)]

    assert await reads.by(lambda c: c.sent_by(execution, keys)) < MOST
    assert await reads.by(lambda c: c.inputs_of([f"{execution}/pages/1.md", *keys])) < MOST
    assert await reads.by(lambda c: c.recorded(f"{execution}/", f"{execution}0", limit=PAGE)) < MOST


async def test_the_outcomes_below_a_page_of_objects_read_few_rows(reads: Reads):
    execution = reads.execution
    keys = [f"{execution}/in/{n}" for n in range(1, PAGE + 1)]

    assert await reads.by(lambda c: c.listed_after(execution, ROWS, limit=PAGE)) < MOST
    assert await reads.by(lambda c: c.listed_at(execution, [*range(ROWS, ROWS + PAGE)])) < MOST
    assert await reads.by(lambda c: c.outcomes_below(keys, execution, "docs/convert")) < MOST
    assert await reads.by(lambda c: c.outputs_below(keys[0], execution, "docs/convert", limit=9)) < MOST
    assert await reads.by(lambda c: c.failures([*range(1, PAGE)])) < MOST


async def test_a_page_of_a_report_reads_few_rows(reads: Reads):
    number = 1  # of the only execution
    held = ClaimedReport(reads.execution, number, 1, 1, "")

    assert await reads.by(lambda c: c.report_lines(held, after=ROWS, limit=PAGE)) <= MOST


async def test_the_queries_of_the_reconciler_read_no_row_without_work(reads: Reads):
    questions: dict[str, Callable[[PostgresCatalog], Awaitable[object]]] = {
        "waiting": lambda c: c.waiting_queues(),
        "abandoned": lambda c: c.recall_abandoned(limit=1000),
        "orphans": lambda c: c.orphans("w1", limit=1000),
        "due": lambda c: c.due("w1", limit=1000),
        "stragglers": lambda c: c.cancel_stragglers(),
        "unsealed": lambda c: c.fail_unsealed(),
        "ended": lambda c: c.end_executions([reads.execution]),
        "all ended": lambda c: c.end_executions(),
        "subscriptions": lambda c: c.subscriptions(),
        "reports": lambda c: c.reports_due(lease=15, limit=10),
        "deliveries": lambda c: c.claim_deliveries(limit=10, lease=30, most=12),
    }

    found = {name: await reads.by(call) for name, call in questions.items()}

    assert {name: count for name, count in found.items() if count > PAGE} == {}


async def test_the_counts_of_an_ended_execution_are_read_from_its_row(reads: Reads):
    await reads.by(lambda c: c.cancel(reads.execution))

    assert await reads.by(lambda c: c.route_counts(reads.execution)) <= PAGE


async def test_a_replay_with_many_dead_letters_reads_only_those_that_were_not_published(reads: Reads):
    await reads.execute("UPDATE executions SET batch = id, kind = 'replay'")
    request = requests.encode(ReplayRequest(reads.execution, "in", None, "convert"))[0]
    await reads.execute(
        f"UPDATE jobs SET state = 'publishing_complete', watermark = ordinals, request = '{request}'"
    )

    assert await reads.by(lambda c: c.replays()) <= PAGE


async def test_the_decision_about_a_canary_reads_its_rows_only(reads: Reads):
    of_canary = "execution = (SELECT max(n) FROM executions) AND ordinal"
    await reads.execute(f"UPDATE messages SET state = {COMPLETED} WHERE {of_canary} < 51")
    request = requests.encode(ReplayRequest(reads.execution, "in", None, "convert", canary=Canary(51)))[0]
    await reads.execute(f"UPDATE jobs SET hold_at = 51, hold_by = 'canary', request = '{request}'")
    db = Postgres(reads.url)
    await db.open()
    held = await PostgresCatalog(db).acquire(reads.execution, owner="w1", lease=60.0)
    await db.close()
    assert held
    jobs = "SELECT hold_at IS NULL FROM jobs"

    assert await reads.by(lambda c: c.decide(held)) <= 5 * PAGE
    assert not await reads.value(jobs), "a message of the canary is open"
    await reads.execute(f"UPDATE messages SET state = {COMPLETED} WHERE {of_canary} = 51")
    assert await reads.by(lambda c: c.decide(held)) <= 5 * PAGE
    assert await reads.value(jobs)


async def test_the_chain_of_a_large_fan_out_reads_few_rows_before_there_are_statistics(url: str):
    fan_out = 3000
    db = Postgres(url)
    await db.open()
    lab = Lab(PostgresCatalog(db), Clock())
    run = await lab.started("a.md")
    await db.close()
    sql = await asyncpg.connect(url)
    # Children of the root, with outputs that no message received; and as many roots of other objects.
    for parent in ("m.n", "NULL"):
        await sql.execute(
            "INSERT INTO messages (id, execution, lane, parent, object_key, stage, state) "
            f"SELECT gen_random_uuid(), execution, lane, {parent}, 'k/in/' || g, 'in', 3 "
            f"FROM messages m, generate_series(1, {fan_out}) g WHERE m.id = $1",
            run.ids[0],
        )
    await sql.execute(
        "INSERT INTO outputs (message, size, created_at, attempt, state, key, sha256, fingerprint, "
        "content_type, attributes) "
        "SELECT n, 1, 0, 1, 1, format('k/out/%s/%s', n, g), '', '', '', '' "
        "FROM messages, generate_series(1, 6) g WHERE parent IS NOT NULL"
    )
    reads = Reads(url, sql, run.execution)
    async with asyncio.timeout(60):  # as in `Reads.by`
        while True:
            if await sql.fetchval(f"SELECT max(n_tup_ins) {COUNTERS}") >= 2 * fan_out:
                break
            await asyncio.sleep(0.01)

    assert await reads.by(lambda c: c.family(run.ids[0], limit=10_000)) < 30 * fan_out
    assert await reads.by(lambda c: c.descendants(run.ids, across_replays=True, limit=10_000)) < 30 * fan_out
    await sql.close()
