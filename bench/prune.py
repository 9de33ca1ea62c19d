"""What small objects cost on a disk, and how fast a prune deletes them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from pathlib import Path
from uuid import UUID

from bench.figures import Figure
from bench.homes import opened
from bench.machine import report, scratch
from bench.workers import published, work
from playhead.model import PruneFilter

_PER_INPUT = 3
"""An input, a copy of it, and a result."""
_BLOCK = 512
_TARGET_RATE = 1_000


def measure(memory: Path | None, disk: Path | None, *, objects: int) -> list[Figure]:
    """Prune a run with `objects` objects of half a kilobyte: in memory, and on a disk."""
    on_disk = _prune(disk, objects) if disk else None
    figures = _prune(memory, objects)
    if on_disk is None:
        return figures
    return [
        Figure(**{name: getattr(one, name) for name in Figure.__slots__ if name != "disk"}, disk=other.value)
        for one, other in zip(figures, on_disk, strict=True)
    ]


def _prune(parent: Path | None, objects: int) -> list[Figure]:
    with scratch(parent) as home:
        inputs = objects // _PER_INPUT
        execution = asyncio.run(published(home, inputs))
        work(home, execution, 2 * inputs, 2)
        top = home / "objects"
        files, size, taken = _usage(top)
        before, _ = _database(home)
        counted, took = asyncio.run(_pruned(home, execution))
        left = asyncio.run(_objects(home, execution))
        _, _, still = _usage(top)
        after, free = _database(home)
        records, seconds = asyncio.run(_pruned(home, execution, records=True))
        rest, unused = _database(home)
        name = f"{counted:,} objects"
        report(f"  prune of {name}: {took:.1f} s, {left} objects left")
        if left or counted != _PER_INPUT * inputs:
            raise RuntimeError(f"{counted} objects were pruned, and {left} are left")
        rate = counted / took
        return [
            Figure(f"files of {name}", files, "files", baseline="of the store"),
            Figure(
                f"bytes per object, {name}",
                size / counted,
                "bytes",
                baseline="bytes of the object and of its sidecar",
            ),
            Figure(
                f"disk space per object, {name}",
                taken / counted,
                "bytes",
                baseline=f"{still / 1e6:,.1f} MB after the prune",
            ),
            Figure(f"catalog per object, {name}", before / counted, "bytes", baseline="with its messages"),
            Figure(
                f"prune of {name}",
                rate,
                "/s",
                baseline=f"{took:.1f} s",
                target=f"at least {_TARGET_RATE:,}/s",
                passes=rate >= _TARGET_RATE,
            ),
            Figure(
                f"catalog after the prune of {name}",
                after / counted,
                "bytes",
                baseline=f"{free / 1e6:,.1f} MB of it free",
                ratio=after / before,
            ),
            Figure(
                f"deletion of the records of {name}",
                records / seconds,
                "/s",
                baseline=f"{records:,} records in {seconds:.1f} s",
            ),
            Figure(
                f"catalog in use without the records of {name}",
                (rest - unused) / counted,
                "bytes",
                baseline=f"{unused / 1e6:,.1f} MB are free",
                ratio=(rest - unused) / before,
            ),
        ]


async def _pruned(home: Path, execution: UUID, *, records: bool = False) -> tuple[int, float]:
    """Prune an execution, or its records; return the number of its objects or records, and the seconds."""
    async with opened(home, None) as rt:
        began = time.perf_counter()
        done = await rt.services.prune.prune(PruneFilter(execution_ids=[execution], records=records))
        return done.objects + done.records, time.perf_counter() - began


async def _objects(home: Path, execution: UUID) -> int:
    """Return how many objects of an execution are in the store, with sidecars."""
    async with opened(home, None) as rt:
        return sum([len(page) async for page in rt.store.list(str(execution))])


def _usage(top: Path) -> tuple[int, int, int]:
    """Return number, bytes and used bytes of the files below a folder; used ones include the folders."""
    files = size = taken = 0
    for folder, _, names in os.walk(top):
        taken += os.stat(folder).st_blocks * _BLOCK
        for name in names:
            status = os.stat(os.path.join(folder, name))
            files, size, taken = files + 1, size + status.st_size, taken + status.st_blocks * _BLOCK
    return files, size, taken


def _database(home: Path) -> tuple[int, int]:
    """Return the bytes of the catalog with its log, and how many of them are free."""
    with contextlib.closing(sqlite3.connect(home / "playhead.db", timeout=30)) as con:
        con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [[page]], [[free]] = (
            con.execute(f"PRAGMA {what}").fetchall() for what in ("page_size", "freelist_count")
        )
    files = [home / "playhead.db", home / "playhead.db-wal"]
    return sum(file.stat().st_size for file in files if file.exists()), page * free
