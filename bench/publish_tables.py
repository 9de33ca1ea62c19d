"""What publications do to the catalog: length of transactions, bytes of rows; and copies of a run."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]

from bench.deployments import Deployment
from bench.publish_runs import Size
from playhead.bootstrap.process import Runtime

_PATIENCE_SECONDS: Final = 900.0


@dataclass
class _Transaction:
    """Seconds from BEGIN to COMMIT, and rows that changed (SQLite only)."""

    seconds: float
    rows: int = field(default=0)


@contextmanager
def watched(rt: Runtime) -> Iterator[list[_Transaction]]:
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


async def bytes_of(deployment: Deployment, tables: Sequence[str]) -> float:
    """Return the bytes of tables with their indexes."""
    if deployment.servers:
        con = await asyncpg.connect(deployment.catalog)
        try:
            size = "SELECT sum(pg_total_relation_size(one::regclass)) FROM unnest($1::text[]) AS one"
            return float(await con.fetchval(size, tables))
        finally:
            await con.close()
    with contextlib.closing(sqlite3.connect(deployment.home / "playhead.db", timeout=30)) as file:
        [(used,)] = file.execute(
            "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master "
            "WHERE tbl_name IN (SELECT value FROM json_each(?)))",
            (json.dumps(tables),),
        )
        return float(used)


async def multiply(deployment: Deployment, run: UUID, size: Size) -> None:
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
