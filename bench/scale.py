"""Time queries on 2.2 million message rows and 20,000 executions, in SQLite and in PostgreSQL.

Rows are inserted directly: to process them would take hours. The queries go through the ports, each on a new
catalog object, which has no counts in memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]

from bench.deployments import ServerMissing, Testbed
from bench.figures import Figure, not_measured
from bench.machine import report, scratch
from playhead.backends._postgres import Postgres
from playhead.backends._sql_catalog import requests
from playhead.backends._sql_catalog.counts import encode
from playhead.backends._sqlite import Database
from playhead.backends.broker_postgres import PostgresBroker
from playhead.backends.broker_sqlite import SqliteBroker
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.backends.sql import COMPLETED, DEAD, PENDING, PUBLISHED
from playhead.envelope import Dispatch, Headers
from playhead.model import ReplayRequest
from playhead.ports.broker import Broker
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter, ExecutionFilter
from playhead.services.reconcile import RUNNING_EACH_SECOND

_ROUTES: Final = 20
_QUEUE: Final = "scale.long"
_TARGET: Final = "about 50 ms in both"

Row = tuple[Any, ...]
Query = Callable[[Catalog, Broker], Awaitable[object]]


class Size(NamedTuple):
    """How many rows of each kind there are.

    Attributes:
        small: ended executions of 60 rows each, and as many running ones of 50 rows, of which 5 are pending.
        large: rows of one ended execution.
        failed: rows of one ended replay; three quarters are dead letters.
        versions: of one config, with 20 routes each.
        dispatches: in one queue.
    """

    small: int = 10_000
    large: int = 700_000
    failed: int = 400_000
    versions: int = 5_000
    dispatches: int = 1_000_000


SMALL: Final = Size(small=200, large=2_000, failed=2_000, versions=20, dispatches=2_000)


class Execution(NamedTuple):
    """One execution. `roots` of its rows were listed; each other row is a child of a root."""

    n: int
    status: str
    version: int
    rows: int
    roots: int
    pending: int = 0
    dead: int = 0
    source: UUID | None = None

    @property
    def id(self) -> UUID:
        return identity(1, self.n)


def identity(kind: int, n: int) -> UUID:
    """Return a UUIDv7. Those of one kind are ordered by `n`."""
    return UUID(int=(1_800_000_000_000 + n) << 80 | 7 << 76 | 2 << 62 | kind << 40 | n)


def executions(size: Size) -> Iterator[Execution]:
    """Yield the executions, oldest first. Every fourth of the ended ones is a replay."""
    for n in range(1, size.small + 1):
        failed = n % 100 == 0
        source = identity(1, 1) if n % 4 == 0 else None
        status = "failed" if failed else "completed"
        yield Execution(n, status, n % size.versions + 1, 60, 10, dead=int(failed), source=source)
    scale = size.versions + 1
    for n in range(size.small + 1, 2 * size.small + 1):
        yield Execution(n, "running", scale, 50, 10, pending=5)
    n = 2 * size.small + 1
    yield Execution(n, "completed", scale, size.large, size.large // 7)
    dead = size.failed * 3 // 4
    yield Execution(n + 1, "failed", scale, size.failed, size.failed, dead=dead, source=identity(1, n))


def tables(size: Size) -> Iterator[tuple[str, str, Iterable[Row]]]:
    """Yield the name, the columns and the rows of each table, referenced tables first."""
    found = list(executions(size))
    versions = [*((v, "many", v) for v in range(1, size.versions + 1)), (size.versions + 1, "scale", 1)]
    yield "configs", "n name active created_at", ((1, "many", True, 0.0), (2, "scale", True, 1.0))
    columns = "id name version hash source document created_at"
    yield "config_versions", columns, ((*v, f"hash{v[0]}", "", '{"entry": "r00"}', 0.0) for v in versions)
    columns = "id config_version route queue external max_attempts feeds"
    lanes = ((v, r, f"{name}.v{number}.r{r:02}") for v, name, number in versions for r in range(_ROUTES))
    yield "lanes", columns, ((_lane(v, r), v, f"r{r:02}", queue, False, 5, "[]") for v, r, queue in lanes)
    columns = "n id kind status settled config config_version parent batch created_at ended_at counts"
    yield "executions", columns, (_execution(e, 1 if e.version <= size.versions else 2) for e in found)
    columns = "execution source stage prefix to_route lane state listing_state ordinals watermark request"
    yield "jobs", columns, map(_job, found)
    yield "tags", "tag execution", ((f"tag{e.n % 100}", e.n) for e in found)
    columns = "n id execution lane object_key stage ordinal state published attempt parent"
    yield "messages", f"{columns} started_at ended_at error_code error failure_group", _messages(found)


def _lane(version: int, route: int) -> int:
    return (version - 1) * _ROUTES + route + 1


def _places(e: Execution) -> Iterator[tuple[int, int]]:
    """Yield the route and the state of each row: roots in the first route, children in the next five."""
    for at in range(e.rows):
        state = PENDING if at >= e.rows - e.pending else DEAD if at < e.dead else COMPLETED
        yield 0 if at < e.roots else 1 + at * 5 // e.rows, state


def _execution(e: Execution, config: int) -> Row:
    kind, batch = ("replay", identity(2, e.n)) if e.source else ("run", None)
    ended = e.status != "running"
    counts = encode(Counter((_lane(e.version, route), state) for route, state in _places(e)))
    row = (e.n, e.id, kind, e.status, ended, config, e.version, e.source, batch, float(e.n))
    return (*row, float(e.n), counts) if ended else (*row, None, None)


def _job(e: Execution) -> Row:
    request = requests.encode(ReplayRequest(e.source, "input", None, "r00"))[0] if e.source else None
    row = (e.n, e.source or e.id, "input", f"{e.id}/input", "r00", _lane(e.version, 0))
    return (*row, "publishing_complete", "completed", e.roots, e.roots, request)


def _messages(found: Iterable[Execution]) -> Iterator[Row]:
    number = count(1)
    for e in found:
        numbers = list(islice(number, e.rows))
        for at, (n, (route, state)) in enumerate(zip(numbers, _places(e), strict=True)):
            key = f"{e.id}/input/{at:07}.md"
            row = (n, identity(3, n), e.n, _lane(e.version, route), key, f"s{route:02}")
            ordinal, published, parent = (
                (None, PUBLISHED, numbers[at % e.roots]) if route else (at + 1, None, None)
            )
            attempt, ended = (0, None) if state == PENDING else (1, float(n))
            error = ("step_failed", "no title", 1) if state == DEAD else (None, None, None)
            yield (*row, ordinal, state, published, attempt, parent, ended, ended, *error)


async def _waiting_queues(catalog: Catalog, _: Broker) -> None:
    some, _after = await catalog.some_running(after=0, limit=RUNNING_EACH_SECOND)
    await catalog.waiting_queues(some)


async def _end_check(catalog: Catalog, _: Broker) -> None:
    some, _after = await catalog.some_running(after=0, limit=RUNNING_EACH_SECOND)
    await catalog.end_executions(some)


def queries(size: Size) -> dict[str, Query]:
    large = 2 * size.small + 1
    return {
        "each second: waiting queues": _waiting_queues,
        "each second: end check": _end_check,
        "each second: is a long queue empty": lambda c, b: b.is_empty(_QUEUE),
        "twice a second: subscriptions": lambda c, b: c.subscriptions(),
        "metrics: open by route": lambda c, b: c.open_by_route(),
        "metrics: dead by route": lambda c, b: c.dead_by_route(),
        "executions": lambda c, b: c.executions(ExecutionFilter()),
        "executions: completed": lambda c, b: c.executions(ExecutionFilter(status="completed")),
        "executions: cancelled (none)": lambda c, b: c.executions(ExecutionFilter(status="cancelled")),
        "executions: replays": lambda c, b: c.executions(ExecutionFilter(kind="replay")),
        "executions: of a config": lambda c, b: c.executions(ExecutionFilter(config="many")),
        "executions: with a tag": lambda c, b: c.executions(ExecutionFilter(tag="tag7")),
        "route counts of the large execution": lambda c, b: c.route_counts(identity(1, large)),
        "messages of the large execution": lambda c, b: c.lineage_list(execution=identity(1, large)),
        "replays": lambda c, b: c.replays(),
        "the replay with many dead letters": lambda c, b: c.replay(identity(2, large + 1)),
        "dead letters": lambda c, b: c.dead_letters(),
        "dead letters: of a route": lambda c, b: c.dead_letters(DeadLetterFilter(route="r00")),
        "dead letters: of a route (none)": lambda c, b: c.dead_letters(DeadLetterFilter(route="scale/r09")),
        "dead letters: of an old execution": lambda c, b: c.dead_letters(
            DeadLetterFilter(execution=identity(1, 100))
        ),
        "depth of a long queue": lambda c, b: b.depth(_QUEUE),
        "peek into a long queue": lambda c, b: b.peek(_QUEUE, 1),
    }


class Place(NamedTuple):
    """An open database: a bulk insert of rows, and new catalog and broker objects."""

    insert: Callable[[str, Sequence[str], Iterable[Row]], Awaitable[object]]
    catalog: Callable[[], Catalog]
    broker: Callable[[], Broker]

    async def fill(self, size: Size) -> None:
        for table, columns, rows in tables(size):
            await self.insert(table, columns.split(), rows)
        headers = Headers(_QUEUE, identity(1, 1), "scale", 1, "r01")
        made = (Dispatch(headers, str(identity(4, n)), 0, None, f"{n}.md") for n in range(size.dispatches))
        while some := list(islice(made, 5000)):
            await self.broker().publish(some)

    async def time(self, query: Query) -> float:
        catalog, broker = self.catalog(), self.broker()
        began = time.perf_counter()
        await query(catalog, broker)
        return (time.perf_counter() - began) * 1000


@asynccontextmanager
async def in_sqlite(folder: Path) -> AsyncIterator[Place]:
    async def insert(table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        values = ([value.bytes if isinstance(value, UUID) else value for value in row] for row in rows)
        with sqlite3.connect(db.path) as con:
            con.executemany(into, values)
        con.close()

    db = Database(folder / "playhead.db")
    await db.open()
    yield Place(insert, lambda: SqliteCatalog(db), lambda: SqliteBroker(db))
    await db.close()


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[Place]:
    async def insert(table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        con = await asyncpg.connect(url)
        await con.copy_records_to_table(table, columns=columns, records=rows, timeout=1000)
        await con.execute(f"VACUUM ANALYZE {table}", timeout=1000)
        await con.close()

    db = Postgres(url)
    await db.open()
    yield Place(insert, lambda: PostgresCatalog(db), lambda: PostgresBroker(db))
    await db.close()


def measure(testbed: Testbed, memory: Path | None, *, size: Size, rounds: int) -> list[Figure]:
    """Fill both databases, and return the best time of each query in both."""
    try:
        with scratch(memory) as folder, testbed.deployment("postgres") as deployment:
            sqlite = asyncio.run(_times(in_sqlite(folder), size, rounds))
            postgres = asyncio.run(_times(in_postgres(deployment.catalog), size, rounds))
    except ServerMissing as exc:
        return [not_measured("queries of a large catalog", str(exc))]
    return [
        Figure(name, min(taken), "ms", taken, f"PostgreSQL: {min(postgres[name]):,.1f} ms", target=_TARGET)
        for name, taken in sqlite.items()
    ]


async def _times(
    opened: AbstractAsyncContextManager[Place], size: Size, rounds: int
) -> dict[str, list[float]]:
    async with opened as place:
        report("  filling a database")
        await place.fill(size)
        return {name: [await place.time(q) for _ in range(rounds)] for name, q in queries(size).items()}
