"""Time the pages of the web UI over HTTP, with a million messages, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]
import httpx

from bench.deployments import ServerMissing, Testbed
from bench.figures import Figure, median, not_measured, percentile
from bench.history import CONFIG, History, Size
from bench.homes import environment, finish
from bench.latency import address_of
from bench.machine import report, scratch
from bench.scale import Place, identity, in_postgres, in_sqlite
from playhead.bootstrap import open_runtime
from playhead.settings import Settings

_MEDIAN_MS: Final = 50
_P99_MS: Final = 200
_LANES: Final = "SELECT config_version, route, id FROM lanes ORDER BY id"
_PLAYHEAD: Final = (sys.executable, "-P", "-m", "playhead")
_DURING: Final[Mapping[str, Sequence[str]]] = {
    "compare, large": ("compare, large", "object"),
    "replay": ("replay",),
    "execution, large: timeline": ("execution, large: timeline",),
    "affected": ("affected",),
}
"""Pages for which the server counts objects, and the pages that are also measured while it counts."""
_FILES: Final = {f"{name}.md": f"# Page {name}\n".encode() for name in ("guide", "replay", "lineage")}


def measure(testbed: Testbed, memory: Path | None, *, size: Size, times: int) -> list[Figure]:
    """Fill both databases, and return the figures of each page."""
    history = History(size)
    figures = []
    with scratch(memory) as home:
        report("  filling SQLite")
        asyncio.run(_fill_sqlite(Settings(home=home), history))
        figures += _measured("SQLite", environment(home), home, history, times)
    try:
        with testbed.deployment("postgres") as deployment:
            report("  filling PostgreSQL")
            asyncio.run(_fill_postgres(deployment.settings, str(deployment.catalog), history))
            figures += _measured("PostgreSQL", deployment.environment, deployment.home, history, times)
    except ServerMissing as exc:
        figures.append(not_measured("pages with PostgreSQL", str(exc)))
    return figures


def _measured(catalog: str, env: Mapping[str, str], home: Path, history: History, times: int) -> list[Figure]:
    stored = _run(env, home)
    began = time.perf_counter()
    subprocess.run([*_PLAYHEAD, "reindex"], cwd=home, env=env, check=True, capture_output=True)
    index = Figure(f"index of Find, from nothing ({catalog})", time.perf_counter() - began, "s")
    report(f"    {index.name}: {index.value:.0f} s")
    with _serving(env, home) as url:
        return [index, *_pages(catalog, url, _addresses(history, stored), times)]


async def _fill_sqlite(settings: Settings, history: History) -> None:
    async with open_runtime(settings) as rt:
        await rt.services.configs.apply(CONFIG)
    with contextlib.closing(sqlite3.connect(settings.home / "playhead.db")) as con:
        lanes = con.execute(_LANES).fetchall()
    async with in_sqlite(settings.home) as place:
        await _fill(place, history, lanes)


async def _fill_postgres(settings: Settings, url: str, history: History) -> None:
    async with open_runtime(settings) as rt:
        await rt.services.configs.apply(CONFIG)
    con = await asyncpg.connect(url)
    lanes = await con.fetch(_LANES)
    async with in_postgres(url) as place:
        await _fill(place, history, lanes)
    for table in ("executions", "messages"):
        await con.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'n'), (SELECT max(n) FROM {table}))"
        )
    # No transaction is open that could add rows below these.
    await con.execute("UPDATE search_index SET safe_outputs = (SELECT max(n) FROM outputs)")
    await con.close()


async def _fill(place: Place, history: History, lanes: Sequence[Sequence[Any]]) -> None:
    version = lanes[0][0]
    for table, columns, rows in history.tables(version, {route: lane for _, route, lane in lanes}):
        report(f"    {table}")
        await place.insert(table, columns.split(), rows)


@contextmanager
def _serving(env: Mapping[str, str], home: Path) -> Iterator[str]:
    """Start a server, and yield its address."""
    server = subprocess.Popen(
        [*_PLAYHEAD, "serve", "--port", "0"],
        cwd=home,
        env=env,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield address_of(server)
    finally:
        finish([server])


def _run(env: Mapping[str, str], home: Path) -> str:
    """Run a few files, so that the newest execution has stored objects. Return its id."""
    (home / "inputs").mkdir()
    for name, data in _FILES.items():
        (home / "inputs" / name).write_bytes(data)
    command = [*_PLAYHEAD, "run", "handbook", "inputs", "--json"]
    done = subprocess.run(command, cwd=home, env=env, check=True, capture_output=True)
    return str(json.loads(done.stdout)["execution_id"])


def _addresses(history: History, stored: str) -> dict[str, str]:
    """Return the URL of each page, by name."""
    large, failed, running = (
        f"/executions/{one.id}" for one in (history.large, history.failed, history.running)
    )
    batch = identity(2, history.failed.n)
    key = f"{stored}/markdown/guide.md"
    return {
        "home": "/",
        "home, an hour": "/?since=1970-01-01T00:00:01Z&until=2126-01-01T00:00:00Z",
        "causes": "/causes?state=all",
        "executions": "/executions",
        "executions: failed replays of a config": "/executions?status=failed&kind=replay&config=handbook",
        "executions: with a tag, since a time": "/executions?tag=tag7&since=1970-01-01T00:00:01Z",
        "execution, large": large,
        "execution, large: objects": f"{large}?tab=objects&stage=markdown",
        "execution, large: messages": f"{large}?tab=messages",
        "execution, large: family": f"{large}?tab=family",
        "execution, large: timeline": f"{large}?tab=timeline",
        "execution, failed": failed,
        "execution, running": running,
        "compare, large": f"{large}/compare?with={history.failed.id}",
        "object": f"/objects?key={key}",
        "why": f"/why?execution_id={stored}&path=guide.md",
        "message": f"/lineage/{identity(3, 1)}",
        # Without a stage: its objects are not in the store, so they cannot be counted.
        "replay form, large": f"/replay?from_execution_id={history.large.id}",
        "replays": "/replays",
        "replay": f"/replays/{batch}",
        "dead letters": "/dead-letters",
        "dead letters of an execution": f"/dead-letters?execution_id={history.failed.id}",
        "configs": "/configs",
        "config": "/configs/handbook",
        "queues": "/queues",
        "queue": "/queues/handbook.convert",
        "find an id": f"/find?q={history.running.id}",
        "find a tag": "/find?q=tag7",
        "find nothing": "/find?q=nothing-like-this",
        "find a file name": "/find?q=0001234.md",
        "find a part of a path": "/find?q=d0012/001",
        "find many paths": "/find?q=segments",
        "find an old path": "/find?q=markdown/d0000/0000001.md",
        "find two characters": "/find?q=00",
        "find an error": "/find?q=no field aab",
        "system": "/system",
        "affected": "/affected?worker=worker-1&since=1970-01-01T00:00:01Z",
    }


def _pages(catalog: str, url: str, addresses: Mapping[str, str], times: int) -> list[Figure]:
    """Ask for each page `times` times over one connection."""
    figures = []
    with httpx.Client(base_url=url, timeout=60, headers={"Accept-Encoding": "identity"}) as client:
        for name, address in addresses.items():
            during = _DURING.get(name, ())
            if during:
                client.get(address).raise_for_status()  # the server begins to count
            for one in during:
                figure = _page(client, f"{one}, counting ({catalog})", addresses[one], times)
                if _is_counted(client, address):
                    figure = replace(figure, baseline=f"{figure.baseline}; the count ended before")
                figures.append(figure)
            while during and not _is_counted(client, address):
                time.sleep(0.5)
            figures.append(_page(client, f"{name} ({catalog})", address, times))
    return figures


def _is_counted(client: httpx.Client, address: str) -> bool:
    """Whether a page has the counts for which it reads all messages."""
    path, _, query = address.partition("?")
    view = client.get(f"{path}.json?{query}").raise_for_status().json()["view"]
    content, matrix = view.get("content") or {}, view.get("matrix") or {}
    return bool(view.get("diff") or view.get("is_read") or content.get("until") or matrix.get("rows"))


def _page(client: httpx.Client, name: str, address: str, times: int) -> Figure:
    taken, answer = [], client.get(address, follow_redirects=True)
    if not answer.is_success:
        return not_measured(f"page: {name}", f"the server answered with {answer.status_code}")
    for _ in range(times):
        began = time.perf_counter()
        client.get(address, follow_redirects=True)
        taken.append((time.perf_counter() - began) * 1000)
    worst = percentile(taken, 0.99)
    weight = len(gzip.compress(answer.content, 5)) / 1000
    figure = Figure(
        f"page: {name}",
        median(taken),
        "ms",
        taken,
        f"p99 {worst:.0f} ms; {weight:.1f} kB compressed",
        target=f"{_MEDIAN_MS} ms, p99 {_P99_MS} ms",
        passes=median(taken) <= _MEDIAN_MS and worst <= _P99_MS,
    )
    report(f"    {figure.name}: {median(taken):.1f} ms, p99 {worst:.1f} ms, {weight:.1f} kB")
    return figure
