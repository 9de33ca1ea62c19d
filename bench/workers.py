"""End-to-end rate of `playhead worker` processes that start on a published run."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path
from uuid import UUID

from bench.figures import Figure, median, middle_ratio
from bench.homes import SOURCE, finish, inputs, opened, start
from bench.machine import report, scratch

_TARGET_ONE = 2000
_TARGET_TWO = 1.6
_PATIENCE_SECONDS = 300.0


def measure(memory: Path | None, disk: Path | None, *, objects: int, rounds: int) -> list[Figure]:
    """Process runs of `objects` inputs (twice as many messages) with one worker and with two, interleaved."""
    one, two = _interleaved(memory, objects, rounds)
    disk_one, disk_two = _interleaved(disk, objects, 1) if disk else ([], [])
    ratio = middle_ratio(two, one)
    return [
        Figure(
            "end to end, one worker",
            median(one),
            "messages/s",
            rounds=one,
            target=f"at least {_TARGET_ONE:,}/s on two cores",
            passes=median(one) >= _TARGET_ONE,
            disk=disk_one[0] if disk else None,
        ),
        Figure(
            "end to end, two workers",
            median(two),
            "messages/s",
            rounds=two,
            baseline=f"one worker: {median(one):,.0f}/s",
            ratio=ratio,
            target=f"at least {_TARGET_TWO:g} of one, on two cores",
            passes=ratio >= _TARGET_TWO,
            disk=disk_two[0] if disk else None,
        ),
    ]


def _interleaved(parent: Path | None, objects: int, rounds: int) -> tuple[list[float], list[float]]:
    rates: dict[int, list[float]] = {1: [], 2: []}
    for n in range(rounds):
        for workers in (1, 2) if n % 2 == 0 else (2, 1):
            with scratch(parent) as home:
                execution = asyncio.run(published(home, objects))
                rates[workers].append(work(home, execution, 2 * objects, workers))
        report(f"  end to end {n + 1}/{rounds}: one {rates[1][-1]:,.0f}/s, two {rates[2][-1]:,.0f}/s")
    return rates[1], rates[2]


async def published(home: Path, objects: int) -> UUID:
    """Start a run, store its inputs and publish its messages. Return its execution id."""
    async with opened(home, None) as rt:
        await rt.services.configs.apply(SOURCE)
        execution = (await rt.services.submit.run("bench", inputs(objects))).execution_id
        await rt.services.replay.drives.drive(execution)
    return execution


def work(home: Path, execution: UUID, messages: int, workers: int) -> float:
    """Let workers process a run. Return messages per second from the first completed row to the last."""
    processes = [start(home, "worker") for _ in range(workers)]
    until = time.monotonic() + _PATIENCE_SECONDS
    try:
        with contextlib.closing(sqlite3.connect(home / "playhead.db", timeout=30)) as con:
            con.execute("PRAGMA query_only=1")
            while _status(con, execution) == "running":
                if time.monotonic() > until or any(p.poll() is not None for p in processes):
                    raise RuntimeError(f"the workers in {home} did not complete {messages} messages")
                time.sleep(0.2)
            completed, first, last = con.execute(
                "SELECT count(*), min(ended_at), max(ended_at) FROM messages "
                "WHERE state = 3 AND execution = (SELECT n FROM executions WHERE id = ?)",
                (execution.bytes,),
            ).fetchone()
    finally:
        finish(processes)
    if completed != messages:
        raise RuntimeError(f"{completed} of {messages} messages were completed")
    return float((completed - 1) / (last - first))


def _status(con: sqlite3.Connection, execution: UUID) -> str:
    (status,) = con.execute("SELECT status FROM executions WHERE id = ?", (execution.bytes,)).fetchone()
    return str(status)
