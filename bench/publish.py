"""Publications: their cost compared with the run, with the size of their base, and for readers.

Real workers process a run. For a larger base, its rows are copied in the catalog. The copied objects are not
in the store, but a publication reads none.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]

from bench.deployment_workers import start
from bench.deployments import Deployment, ServerMissing, Testbed
from bench.figures import Figure, median, not_measured
from bench.homes import SOURCE, finish, inputs, paths
from bench.machine import report
from bench.processor import Spending
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.model import PublishRequest, ReplayRequest, Selection

_CATALOGS: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_DATASET: Final = "docs"
_CONFIG: Final = SOURCE + f"datasets: {{{_DATASET}: {{}}}}\n"
_SEARCHED: Final = """
version: "1.0"
name: bench
entry: first
datasets: {docs: {}}
routes:
  first:
    adapters: [{type: passthrough}]
    outbound: {stage: copies, to: [index]}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""
_STAGES: Final = ("input", "copies", "results")
_WORKERS: Final = 2
_REPLAYED: Final = 50
_PAGE: Final = 1_000
_WORDS: Final = 100
_PUBLICATIONS: Final = 5
_PATIENCE_SECONDS: Final = 900.0
_TARGET_SHARE: Final = 0.25
_TARGET_LISTING: Final = 1.2


class Size(NamedTuple):
    """How much is published.

    Attributes:
        inputs: of the run. Each has three entries: the input, its copy, and a result.
        times: how many times larger the large base is.
        rounds: publications of replays on each base; at most 5.
        indexed: results in the index of the sink.
        searches: on each state of the index.
    """

    inputs: int = 33_334
    times: int = 10
    rounds: int = 5
    indexed: int = 10_000
    searches: int = 200


SMALL: Final = Size(inputs=1_000, times=3, rounds=2, indexed=1_000, searches=20)


def measure(testbed: Testbed, *, size: Size) -> list[Figure]:
    """Measure an embedded deployment, and one with PostgreSQL."""
    figures = []
    for broker, catalog in _CATALOGS.items():
        try:
            with testbed.deployment(broker) as deployment:
                report(f"  {catalog}")
                figures += asyncio.run(_publications(deployment, catalog, size))
            with testbed.deployment(broker) as deployment:
                figures += asyncio.run(_sink(deployment, catalog, size))
        except ServerMissing as exc:
            figures.append(not_measured(f"publications in {catalog}", str(exc)))
    return figures


# -- publications ----------------------------------------------------------------------------------


@dataclass
class _Cost:
    """Seconds on the clock, and processor seconds of all programs."""

    wall: float = 0.0
    processor: float = 0.0


async def _publications(deployment: Deployment, catalog: str, size: Size) -> list[Figure]:
    async with open_runtime(deployment.settings) as rt:
        await rt.services.configs.apply(_CONFIG)
        async with _working(deployment, rt, 2) as workers:
            with _spending(deployment, workers) as run_cost:
                run = await _run(rt, inputs(size.inputs))
            replays = [await _replayed(rt, run, at) for at in range(2 * size.rounds)]
        entries = len(_STAGES) * size.inputs
        report(f"    run: {run_cost.wall:.1f} s, {entries:,} entries")

        with _watched(rt) as transactions:
            with _spending(deployment) as cost:
                await _publish(rt, run)
            longest = max(one.seconds for one in transactions)
            size_of_entry = await _bytes(deployment)
            report(f"    publication: {cost.wall:.2f} s")
            small = [await _timed(_publish(rt, replay)) for replay in replays[: size.rounds]]
            transactions.clear()
            back = [
                await _timed(rt.services.publish.roll_back(_DATASET, 1 + n % 2))
                for n in range(2 * size.rounds)
            ]
            changed = max(one.rows for one in transactions)
        # The next publication is prepared on the first one.
        await rt.services.publish.roll_back(_DATASET, 1)
        of_run, of_publication = await _listings(rt, run, size.rounds)

        report(f"    rows of {size.times - 1} copies")
        await _multiply(deployment, run, size)
        large_entries = entries * size.times
        with _watched(rt) as transactions:
            with _spending(deployment) as large_cost:
                await _publish(rt, run)
            longest_large = max(one.seconds for one in transactions)
            report(f"    publication of {large_entries:,} entries: {large_cost.wall:.1f} s")
            large = [await _timed(_publish(rt, replay)) for replay in replays[size.rounds :]]
            longest_small = max(one.seconds for one in transactions)
            transactions.clear()
            back_large = [
                await _timed(rt.services.publish.roll_back(_DATASET, n))
                for n in (1, size.rounds + 2) * size.rounds
            ]
    at, more = f"{entries:,} entries ({catalog})", f"{large_entries:,} entries ({catalog})"
    share, processor = cost.wall / run_cost.wall, cost.processor / run_cost.processor
    wanted = f"at most {_TARGET_SHARE:g} of the run"
    listing = median(of_publication) / median(of_run)
    return [
        Figure(
            f"publication of a run, {at}",
            cost.wall,
            "s",
            ratio=share,
            baseline=f"run with {_WORKERS} workers: {run_cost.wall:.1f} s",
            target=wanted,
            passes=share <= _TARGET_SHARE,
        ),
        Figure(
            f"the same, processor time, {at}",
            cost.processor,
            "s",
            ratio=processor,
            baseline=f"run: {run_cost.processor:.1f} s",
            target=wanted,
            passes=processor <= _TARGET_SHARE,
        ),
        Figure(f"publication of a run, {more}", large_cost.wall, "s", baseline="rows are copies"),
        Figure(
            f"publication of a replay of {_REPLAYED}, on {at}",
            median(small),
            "s",
            small,
            f"publication of the run: {cost.wall:.1f} s",
            median(small) / cost.wall,
        ),
        Figure(
            f"publication of a replay of {_REPLAYED}, on {more}",
            median(large),
            "s",
            large,
            f"on {entries:,}: {median(small):.3f} s",
            median(large) / median(small),
        ),
        Figure(f"rollback, {at}", median(back), "s", back, f"{changed} rows changed" if changed else ""),
        Figure(
            f"rollback, {more}",
            median(back_large),
            "s",
            back_large,
            f"on {entries:,}: {median(back):.4f} s",
            median(back_large) / median(back),
        ),
        Figure(
            f"listing of {_PAGE:,} published objects ({catalog})",
            median(of_publication) * 1000,
            "ms",
            [seconds * 1000 for seconds in of_publication],
            f"listing of the run: {median(of_run) * 1000:.1f} ms",
            listing,
            f"at most {_TARGET_LISTING:g} of the run",
            listing <= _TARGET_LISTING,
        ),
        Figure(f"catalog per entry ({catalog})", size_of_entry, "bytes", baseline="with its indexes"),
        Figure(f"longest transaction, {at}", longest * 1000, "ms"),
        Figure(
            f"longest transaction, {more}",
            longest_large * 1000,
            "ms",
            baseline=f"with those of the replays: {longest_small * 1000:.0f} ms",
        ),
    ]


async def _listings(rt: Runtime, run: UUID, rounds: int) -> tuple[list[float], list[float]]:
    """List a stage of a run and of its publication in pages, in turn. Return the seconds of each page."""
    publication = await rt.services.resolve.execution(f"current:{_DATASET}")
    taken: dict[UUID, list[float]] = {run: [], publication: []}
    for _ in range(rounds):
        cursors: dict[UUID, str | None] = dict.fromkeys(taken)
        while True:
            for one, seconds in taken.items():
                began = time.perf_counter()
                page = await rt.services.objects.list(one, _STAGES[-1], None, cursors[one], _PAGE)
                seconds.append(time.perf_counter() - began)
                cursors[one] = page.next_cursor
            if None in cursors.values():
                break
    return taken[run], taken[publication]


# -- a sink ----------------------------------------------------------------------------------------


async def _sink(deployment: Deployment, catalog: str, size: Size) -> list[Figure]:
    searched: dict[int, list[float]] = {}
    staged: list[float] = []
    switched: list[float] = []
    async with open_runtime(deployment.settings, kind="run") as rt:
        await rt.services.configs.apply(_SEARCHED)
        marks = _marked(rt)
        async with _working(deployment, rt, 2):
            executions = [await _run(rt, _texts(size.indexed))]
        for n in range(1, _PUBLICATIONS + 1):
            if n == 2:
                again = ReplayRequest(executions[0], "copies", None, "index")
                async with _working(deployment, rt, 2):
                    executions += [await _replay(rt, again) for _ in range(_PUBLICATIONS - 1)]
            await _publish(rt, executions[n - 1])
            switched.append(time.perf_counter() - marks.decided)
            staged.append(marks.staged - marks.finished)
            report(f"    publication {n} with a sink: {staged[-1]:.2f} s")
            if n in (1, _PUBLICATIONS):
                searched[n] = [await _timed(_search(rt, at)) for at in range(size.searches)]
    one, many = (median(searched[n]) * 1000 for n in (1, _PUBLICATIONS))
    results = f"{size.indexed:,} results ({catalog})"
    return [
        Figure(
            f"sink: staging of {results}",
            median(staged) * 10_000 / size.indexed,
            "s",
            [seconds * 10_000 / size.indexed for seconds in staged],
            "seconds per 10,000 results",
        ),
        Figure(f"sink: switch to {results}", median(switched) * 1000, "ms", baseline="without the staging"),
        Figure(
            f"search, {_PUBLICATIONS} publications of {results}",
            many,
            "ms",
            baseline=f"one publication: {one:.2f} ms",
            ratio=many / one,
        ),
    ]


@dataclass
class _Marks:
    """When a publication had its content, when the sinks had it, and when it was decided."""

    finished: float = 0.0
    staged: float = 0.0
    decided: float = 0.0


def _marked(rt: Runtime) -> _Marks:
    """Record the times of each publication of this process. Its own loop may write to the sinks, too."""
    catalog: Any = rt.catalog
    marks = _Marks()

    def mark(method: str, name: str) -> None:
        original = getattr(catalog, method)

        async def marked(*given: Any, **named: Any) -> Any:
            answer = await original(*given, **named)
            setattr(marks, name, time.perf_counter())
            return answer

        setattr(catalog, method, marked)

    for method, name in (("finish_draft", "finished"), ("staged", "staged"), ("decide_draft", "decided")):
        mark(method, name)
    return marks


async def _texts(count: int) -> AsyncIterator[tuple[str, bytes]]:
    for n, path in enumerate(paths(count)):
        yield path, f"A text about word{n % _WORDS}, with the number {n}.".encode()


async def _search(rt: Runtime, at: int) -> None:
    hits = await rt.services.search.search("search.db", f"word{at % _WORDS}")
    if len(hits) != 10:
        raise RuntimeError(f"a search found {len(hits)} texts")


# -- executions ------------------------------------------------------------------------------------


@asynccontextmanager
async def _working(
    deployment: Deployment, rt: Runtime, lanes: int
) -> AsyncIterator[list[subprocess.Popen[bytes]]]:
    """Start workers, and wait until they receive messages of all `lanes`."""
    workers = [start(deployment) for _ in range(_WORKERS)]
    try:
        until = time.monotonic() + _PATIENCE_SECONDS
        while sum(len(one.queues) >= lanes for one in await rt.catalog.workers()) < _WORKERS:
            _check(workers, until)
            await asyncio.sleep(0.1)
        yield workers
    finally:
        finish([one for one in workers if one.poll() is None])


def _check(workers: Sequence[subprocess.Popen[bytes]], until: float) -> None:
    if time.monotonic() > until or any(one.poll() is not None for one in workers):
        raise RuntimeError("the workers did not start")


async def _run(rt: Runtime, given: AsyncIterator[tuple[str, bytes]]) -> UUID:
    made = await rt.services.submit.run("bench", given)
    rt.services.replay.drives.begin(made.execution_id)
    return await _ended(rt, made.execution_id)


async def _replayed(rt: Runtime, run: UUID, at: int) -> UUID:
    """Replay 50 objects of a run; other ones for each `at`."""
    some = Selection(include=[f"d0000/page0000{at % 10}[0-4]?.md"])
    return await _replay(rt, ReplayRequest(run, _STAGES[1], None, "second", selection=some))


async def _replay(rt: Runtime, request: ReplayRequest) -> UUID:
    return await _ended(rt, (await rt.services.replay.execute(request)).execution_id)


async def _ended(rt: Runtime, execution: UUID) -> UUID:
    until = time.monotonic() + _PATIENCE_SECONDS
    while (await rt.services.executions.get(execution)).status == "running":
        if time.monotonic() > until:
            raise RuntimeError(f"execution {execution} did not end")
        await asyncio.sleep(0.1)
    return execution


async def _publish(rt: Runtime, execution: UUID) -> None:
    await rt.services.publish.publish(_DATASET, PublishRequest([execution]))


async def _timed(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


@contextmanager
def _spending(deployment: Deployment, workers: Sequence[subprocess.Popen[bytes]] = ()) -> Iterator[_Cost]:
    """Measure a block. The workers, the server of the catalog and this process are its programs."""

    def programs() -> Mapping[str, list[int]]:
        return {"workers": [one.pid for one in workers], **deployment.programs()}

    cost, spending, began = _Cost(), Spending(programs), time.perf_counter()
    yield cost
    cost.wall = time.perf_counter() - began
    cost.processor = sum(spending.so_far().values())


# -- the databases ---------------------------------------------------------------------------------


@dataclass
class _Transaction:
    """Seconds from BEGIN to COMMIT, and rows that changed (SQLite only)."""

    seconds: float
    rows: int = field(default=0)


@contextmanager
def _watched(rt: Runtime) -> Iterator[list[_Transaction]]:
    """Record each transaction of this process that writes."""
    found: list[_Transaction] = []
    db: Any = rt.catalog._db  # type: ignore[attr-defined]
    undo = _watch_sqlite(db._file, found) if hasattr(db, "_file") else _watch_postgres(db._server, found)
    try:
        yield found
    finally:
        undo()


def _watch_sqlite(file: Any, found: list[_Transaction]) -> Callable[[], None]:
    begin, commit = file._begin, file._commit
    began = [0.0]

    def timed_begin(con: sqlite3.Connection) -> None:
        begin(con)
        began[0] = time.perf_counter()

    def timed_commit(con: sqlite3.Connection, jobs: Sequence[Any]) -> Any:
        before = con.total_changes
        answers = commit(con, jobs)
        found.append(_Transaction(time.perf_counter() - began[0], con.total_changes - before))
        return answers

    file._begin, file._commit = timed_begin, timed_commit

    def undo() -> None:
        file._begin, file._commit = begin, commit

    return undo


def _watch_postgres(server: Any, found: list[_Transaction]) -> Callable[[], None]:
    run = server._within

    @asynccontextmanager
    async def timed(begin: str, *given: Any) -> AsyncIterator[Any]:
        async with run(begin, *given) as con:
            began = time.perf_counter()
            yield con
        if "READ ONLY" not in begin:
            found.append(_Transaction(time.perf_counter() - began))

    server._within = timed

    def undo() -> None:
        server._within = run

    return undo


async def _bytes(deployment: Deployment) -> float:
    """Return the bytes of an entry with its indexes."""
    if deployment.servers:
        con = await asyncpg.connect(deployment.catalog)
        try:
            return float(
                await con.fetchval(
                    "SELECT pg_total_relation_size('published')::float8 / count(*) FROM published"
                )
            )
        finally:
            await con.close()
    with contextlib.closing(sqlite3.connect(deployment.home / "playhead.db", timeout=30)) as file:
        [(size, count)] = file.execute(
            "SELECT (SELECT sum(pgsize) FROM dbstat WHERE name IN "
            "(SELECT name FROM sqlite_master WHERE tbl_name = 'published')), (SELECT count(*) FROM published)"
        )
        return float(size / count)


async def _multiply(deployment: Deployment, run: UUID, size: Size) -> None:
    """Copy the messages and the outputs of a run within the run, with other paths."""
    if deployment.servers:
        con = await asyncpg.connect(deployment.catalog)
        try:

            async def rows(text: str) -> Sequence[Any]:
                found: Sequence[Any] = await con.fetch(text, timeout=_PATIENCE_SECONDS)
                return found

            await _copy(rows, "gen_random_uuid()", f"'{run}'", size)
            for table in ("messages", "outputs"):
                await rows(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'n'), (SELECT max(n) FROM {table}))"
                )
                await rows(f"VACUUM ANALYZE {table}")
        finally:
            await con.close()
        return
    with contextlib.closing(sqlite3.connect(deployment.home / "playhead.db", timeout=60)) as file:

        async def found(text: str) -> Sequence[Any]:
            return file.execute(text).fetchall()

        await _copy(found, "randomblob(16)", f"x'{run.hex}'", size)
        file.commit()


async def _copy(rows: Any, new_id: str, run: str, size: Size) -> None:
    [[execution]] = await rows(f"SELECT n FROM executions WHERE id = {run}")
    [[last, last_output]] = await rows("SELECT (SELECT max(n) FROM messages), (SELECT max(n) FROM outputs)")
    messages = "lane state published attempt started_at ended_at stage worker code bulk execution"
    for k in range(1, size.times):
        up = k * (last + 1)
        names = messages.replace(" ", ", ")
        await rows(
            f"INSERT INTO messages (n, id, parent, ordinal, object_key, {names}) SELECT n + {up}, {new_id}, "
            f"parent + {up}, ordinal + {k * size.inputs}, object_key || '.{k}', {names} FROM messages "
            f"WHERE execution = {execution} AND n <= {last}"
        )
        names = "size, created_at, attempt, state, sha256, fingerprint, content_type, attributes"
        await rows(
            f"INSERT INTO outputs (n, message, key, {names}) SELECT o.n + {k * (last_output + 1)}, "
            f"o.message + {up}, o.key || '.{k}', {', '.join('o.' + one for one in names.split(', '))} "
            f"FROM outputs o LEFT JOIN messages m ON m.n = o.message WHERE o.n <= {last_output} "
            f"AND (m.execution = {execution} OR o.message IS NULL)"
        )
