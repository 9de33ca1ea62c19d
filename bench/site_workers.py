"""End to end on each broker: one worker beside two, and one worker where objects are on S3.

The workers are started, and stopped where they stand (SIGSTOP) until the run is published; so they begin
in one moment, and what is measured is work and nothing else: from the first row that is completed to the
last.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]

from bench.figures import Figure, absent, median, middle, middle_ratio
from bench.homes import SOURCE, finish, inputs
from bench.machine import say
from bench.processor import spent
from bench.sites import BROKERS, S3, Absent, Site, Stand
from bench.steps import BUSY_MILLISECONDS
from playhead.bootstrap import open_runtime

_TARGET_TWO = 1.6
_PATIENCE_SECONDS = 300.0
_QUEUES = 2
_COMPLETED = 3  # in `messages.state`

_STEPS = {"passthrough": "no work", "busy": f"{BUSY_MILLISECONDS} ms of work"}


class _Worked(NamedTuple):
    """Messages a second, and microseconds of processor time a message by program."""

    rate: float
    cost: dict[str, float]


def measure(stand: Stand, *, messages: int, rounds: int) -> list[Figure]:
    """Work a run of `messages` messages with one worker and with two, by turns, on each broker.

    Objects are files on tmpfs there, as an S3 server on the same two cores would be most of what is
    measured. Where each message takes two milliseconds of processor time, a fifth as many are worked.
    """
    figures = []
    for broker, name in BROKERS.items():
        try:
            for step in _STEPS:
                count = messages if step == "passthrough" else messages // 5
                figures += _one_and_two(stand, broker, step, count, rounds)
        except Absent as exc:
            figures.append(absent(f"end to end on {name}", str(exc)))
    return figures


def _one_and_two(stand: Stand, broker: str, step: str, messages: int, rounds: int) -> list[Figure]:
    worked: dict[int, list[_Worked]] = {1: [], 2: []}
    for n in range(rounds):
        for workers in (1, 2) if n % 2 == 0 else (2, 1):
            worked[workers].append(_work(stand, broker, step, messages, workers))
        one, two = worked[1][-1].rate, worked[2][-1].rate
        say(f"  {BROKERS[broker]}, {_STEPS[step]} {n + 1}/{rounds}: one {one:,.0f}/s, two {two:,.0f}/s")
    singles, pairs = ([w.rate for w in worked[k]] for k in (1, 2))
    ratio = middle_ratio(pairs, singles)
    judged = step == "busy"
    return [
        Figure(
            f"one worker on {BROKERS[broker]}, {_STEPS[step]}",
            median(singles),
            "/s",
            rounds=singles,
            cost=middle([w.cost for w in worked[1]]),
        ),
        Figure(
            f"two workers on {BROKERS[broker]}, {_STEPS[step]}",
            median(pairs),
            "/s",
            rounds=pairs,
            beside=f"one worker: {median(singles):,.0f}/s",
            ratio=ratio,
            target=f"at least {_TARGET_TWO:g} of one" if judged else "",
            passes=ratio >= _TARGET_TWO if judged else None,
            cost=middle([w.cost for w in worked[2]]),
        ),
    ]


def on_s3(stand: Stand, *, messages: int, rounds: int) -> list[Figure]:
    """One worker on each site as it is deployed: objects on S3, rows in PostgreSQL."""
    figures = []
    for broker, name in BROKERS.items():
        called = "S3 and PostgreSQL alone" if broker == "postgres" else f"S3, {name} and PostgreSQL"
        try:
            worked = [_work(stand, broker, "passthrough", messages, 1, on_s3=True) for _ in range(rounds)]
        except Absent as exc:
            figures.append(absent(f"one worker on {called}", str(exc)))
            continue
        rates = [w.rate for w in worked]
        say(f"  one worker on {called}: " + ", ".join(f"{rate:,.0f}/s" for rate in rates))
        figures.append(
            Figure(
                f"one worker on {called}",
                median(rates),
                "/s",
                rounds=rates,
                cost=middle([w.cost for w in worked]),
            )
        )
    return figures


def _work(
    stand: Stand, broker: str, step: str, messages: int, workers: int, *, on_s3: bool = False
) -> _Worked:
    with stand.site(broker, store=S3 if on_s3 else None) as site:
        asyncio.run(_configured(site, step))
        processes = [_start(site) for _ in range(workers)]
        try:
            return asyncio.run(_timed(site, processes, messages))
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)
            finish(processes)


async def _configured(site: Site, step: str) -> None:
    async with open_runtime(site.settings) as rt:
        await rt.services.configs.apply(SOURCE.replace("passthrough", step))


def _start(site: Site) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "playhead", "worker"],
        cwd=site.home,
        env=site.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


async def _timed(site: Site, processes: Sequence[subprocess.Popen[bytes]], messages: int) -> _Worked:
    con = await asyncpg.connect(site.catalog)
    try:
        await _until_all_listen(con, processes)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        execution = await _published(site, messages // 2)
        for process in processes:
            process.send_signal(signal.SIGCONT)
        seen = await _watch(con, site, processes, execution)
        completed, first, last = await con.fetchrow(
            "SELECT count(*), min(ended_at), max(ended_at) FROM messages "
            f"WHERE state = {_COMPLETED} AND execution = (SELECT n FROM executions WHERE id = $1)",
            execution,
        )
    finally:
        await con.close()
    if completed != messages:
        raise RuntimeError(f"{completed} of {messages} messages were completed")
    return _Worked((completed - 1) / (last - first), _between(seen))


async def _until_all_listen(con: asyncpg.Connection, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while await con.fetchval("SELECT count(*) FROM processes WHERE queues LIKE '%,%'") < len(processes):
        if time.monotonic() > until or any(p.poll() is not None for p in processes):
            raise RuntimeError("the workers did not start")
        await asyncio.sleep(0.05)


async def _published(site: Site, count: int) -> UUID:
    """A run whose inputs are stored and whose messages are in the queue."""
    async with open_runtime(site.settings) as rt:
        execution = (await rt.services.submit.run("bench", inputs(count))).execution_id
        await rt.services.replay.drive(execution)
    return execution


_Seen = tuple[int, dict[str, float]]


async def _watch(
    con: asyncpg.Connection, site: Site, processes: Sequence[subprocess.Popen[bytes]], execution: UUID
) -> list[_Seen]:
    """Look five times a second until the run has ended: messages completed, and seconds by program."""
    seen: list[_Seen] = []
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        status, completed = await con.fetchrow(
            "SELECT e.status, (SELECT count(*) FROM messages m WHERE m.execution = e.n "
            f"AND m.state = {_COMPLETED}) FROM executions e WHERE e.id = $1",
            execution,
        )
        if status != "running":
            return seen
        seconds = {name: spent(pids) for name, pids in site.programs().items()}
        seen.append((completed, {"playhead": spent(p.pid for p in processes), **seconds}))
        if time.monotonic() > until or any(p.poll() is not None for p in processes):
            raise RuntimeError(f"the workers stopped at {completed} messages")
        await asyncio.sleep(0.2)


def _between(seen: Sequence[_Seen]) -> dict[str, float]:
    """Microseconds of processor time a message, by program, while all was going on."""
    begun = [s for s in seen if s[0]]
    with suppress(IndexError, ZeroDivisionError):
        (first, before), (last, after) = begun[0], begun[-1]
        return {name: (after[name] - before[name]) / (last - first) * 1e6 for name in after}
    return {}
