"""Recall and latency of an approximate index of pgvector while rows of several publications are stored."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]

from bench.figures import Figure
from bench.machine import report
from playhead import Context, Item
from playhead.adapters.postgres_vectors import PostgresVectors, PostgresVectorsConfig
from playhead.ids import uuid7
from playhead.sinks import SinkContext, StagePage
from tests.servers import fresh

_DIMENSIONS: Final = 64
_NEAREST: Final = 10
_BATCH: Final = 100
_PAGE: Final = 1_000
_SCANS: Final = ("off", "relaxed_order")
_QUERY: Final = "SELECT id FROM playhead_vectors_current ORDER BY embedding <=> $1::text::vector LIMIT $2"


def measure(*, vectors: int, publications: int, queries: int) -> list[Figure]:
    """Store publications that each replace all vectors, and search the shown one with HNSW and exactly."""
    with fresh("postgres") as server:
        return asyncio.run(_measure(server.url, vectors, publications, queries))


async def _measure(url: str, vectors: int, publications: int, queries: int) -> list[Figure]:
    sink = PostgresVectors(PostgresVectorsConfig(url=url))
    drawn = random.Random(1)
    centres = [[drawn.gauss(0, 1) for _ in range(_DIMENSIONS)] for _ in range(50)]

    def near(centre: Sequence[float], by: float) -> list[float]:
        return [one + drawn.gauss(0, by) for one in centre]

    base = [near(drawn.choice(centres), 0.5) for _ in range(vectors)]
    wanted = [json.dumps(near(drawn.choice(base), 0.3)) for _ in range(queries)]
    figures = []
    before: list[str] = []
    connection = None
    try:
        for n in range(1, publications + 1):
            results = await _write(sink, [near(one, 0.1) for one in base], uuid7())
            await _publish(sink, n, results, before)
            before = results
            connection = connection or await asyncpg.connect(url)
            if n == 1:
                await connection.execute(
                    "CREATE INDEX ON playhead_vectors USING hnsw (embedding vector_cosine_ops)"
                )
            if n in (1, publications):
                await connection.execute("VACUUM ANALYZE playhead_vectors")
                figures += await _searched(connection, wanted, n, vectors)
    finally:
        if connection:
            await connection.close()
        await sink.close()
    return figures


async def _write(sink: PostgresVectors, vectors: Sequence[Sequence[float]], execution: UUID) -> list[str]:
    results = []
    for first in range(0, len(vectors), _BATCH):
        items, contexts = [], []
        for n, vector in enumerate(vectors[first : first + _BATCH], first):
            data = json.dumps({"text": "", "vector": vector}).encode()
            items.append(Item(f"{n}.json", data, stage="vectors", key=f"{execution}/vectors/{n}.json"))
            contexts.append(_context(execution))
        assert not any(await sink(items, contexts))
        results += [one.result for one in contexts]
    return results


def _context(execution: UUID) -> Context:
    log = logging.getLogger("bench")
    given: dict[str, Any] = {"internal_hosts": ["127.0.0.0/8"], "dataset": "docs"}
    return Context(execution, uuid7(), "docs", 1, "index", 1, None, "", log, **given)


async def _publish(sink: PostgresVectors, n: int, added: Sequence[str], removed: Sequence[str]) -> None:
    ctx = SinkContext("docs", "docs", "index", "", ["127.0.0.0/8"])
    pages = range(0, max(len(added), len(removed)), _PAGE)
    for k, first in enumerate(pages):
        some = slice(first, first + _PAGE)
        page = StagePage(n, k, len(pages), n - 1, added[some], removed[some])
        assert not await sink.stage(page, ctx)
    await sink.switch(n, n, ctx)


async def _searched(connection: Any, wanted: Sequence[str], n: int, vectors: int) -> list[Figure]:
    await connection.execute("SET enable_indexscan = off")
    exact, slow = await _search(connection, wanted)
    await connection.execute("SET enable_indexscan = on; SET enable_seqscan = off; SET enable_sort = off")
    figures = []
    for scan in _SCANS:
        await connection.execute(f"SET hnsw.iterative_scan = {scan}")
        found, seconds = await _search(connection, wanted)
        recall = statistics.mean(
            len(set(one) & set(other)) / len(other) for one, other in zip(found, exact, strict=True)
        )
        what = f"{vectors:,} vectors, {n} publications stored, iterative_scan {scan}"
        report(f"  {what}: recall {recall:.3f}, {1000 * seconds:.2f} ms, exact {1000 * slow:.2f} ms")
        figures += [
            Figure(f"recall of the {_NEAREST} nearest, {what}", recall, "share", baseline="exact search"),
            Figure(f"milliseconds a search, {what}", 1000 * seconds, "ms", baseline="exact search"),
        ]
    await connection.execute("RESET ALL")
    return figures


async def _search(connection: Any, wanted: Sequence[str]) -> tuple[list[list[str]], float]:
    found, taken = [], []
    for vector in wanted:
        began = time.perf_counter()
        rows = await connection.fetch(_QUERY, vector, _NEAREST)
        taken.append(time.perf_counter() - began)
        found.append([row["id"] for row in rows])
    return found, statistics.median(taken)
