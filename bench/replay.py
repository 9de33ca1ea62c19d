"""Replay rate, from files to confirmed messages with catalog rows. Baseline: bare inserts into one table."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from bench.figures import Figure, median, middle_ratio
from bench.homes import ROUTE, SOURCE, STAGE, lay_out, opened, paths
from bench.machine import report, scratch
from playhead.model import ReplayRequest

_A_TRANSACTION = 1000
_TARGET = 0.1


def measure(memory: Path | None, disk: Path | None, *, objects: int, rounds: int) -> list[Figure]:
    """Replay `objects` objects and insert as many rows in interleaved rounds, each with a new database."""
    ours, bare = _side_by_side(memory, objects, rounds)
    on_disk = _side_by_side(disk, objects, 1)[0] if disk else None
    ratio = middle_ratio(ours, bare)
    return [
        Figure(
            f"replay of {objects:,} objects",
            median(ours),
            "/s",
            rounds=ours,
            baseline=f"bare inserts: {median(bare):,.0f}/s",
            ratio=ratio,
            target=f"at least {_TARGET:g} of bare inserts",
            passes=ratio >= _TARGET,
            disk=on_disk[0] if on_disk else None,
        )
    ]


def _side_by_side(parent: Path | None, objects: int, rounds: int) -> tuple[list[float], list[float]]:
    ours, bare = [], []
    with scratch(parent) as folder:
        store = folder / "objects"
        execution = lay_out(store, objects)
        keys = [f"{execution}/{STAGE}/{path}" for path in paths(objects)]
        for n in range(rounds):
            bare.append(objects / _insert(folder / "bare.db", keys))
            ours.append(objects / asyncio.run(_replay(folder / "home", store, execution, objects)))
            shutil.rmtree(folder / "home")
            report(f"  replay {n + 1}/{rounds}: {ours[-1]:,.0f}/s, bare inserts {bare[-1]:,.0f}/s")
    return ours, bare


def _insert(file: Path, keys: Sequence[str]) -> float:
    """Return the seconds for bare inserts with the same durability: WAL, FULL, 1,000 rows per transaction."""
    con = sqlite3.connect(file, isolation_level=None)
    con.execute("PRAGMA journal_mode=WAL")
    con.execute("PRAGMA synchronous=FULL")
    con.execute("CREATE TABLE ref (id INTEGER PRIMARY KEY, key TEXT, cid BLOB)")
    rows = [(key, os.urandom(16)) for key in keys]
    began = time.perf_counter()
    for at in range(0, len(rows), _A_TRANSACTION):
        con.execute("BEGIN IMMEDIATE")
        con.executemany("INSERT INTO ref (key, cid) VALUES (?, ?)", rows[at : at + _A_TRANSACTION])
        con.execute("COMMIT")
    took = time.perf_counter() - began
    con.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    return took


async def _replay(home: Path, store: Path, execution: UUID, objects: int) -> float:
    """Return the seconds from request to answer of the service behind `POST /api/v1/replay`."""
    async with opened(home, "replay", store=store) as rt:
        await rt.services.configs.apply(SOURCE)
        began = time.perf_counter()
        done = await rt.services.replay.execute(ReplayRequest(execution, STAGE, None, ROUTE))
        took = time.perf_counter() - began
    if done.objects_published != objects:
        raise RuntimeError(f"{done.objects_published} of {objects} objects were published: {done.errors}")
    return took
