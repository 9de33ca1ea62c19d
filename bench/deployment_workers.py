"""End-to-end rate on each broker: one worker, two workers, and one worker with objects on S3.

The workers are started, then suspended with SIGSTOP until the run is published. So all of them begin at the
same moment. The time runs from the first completed row to the last, without any start-up.
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

from bench.deployments import BROKERS, S3, Deployment, ServerMissing, Testbed
from bench.figures import Figure, median, middle, middle_ratio, not_measured
from bench.homes import SOURCE, finish, inputs
from bench.machine import report
from bench.processor import spent
from bench.steps import BUSY_MILLISECONDS
from playhead.bootstrap import open_runtime

_TARGET_TWO = 1.6
_PATIENCE_SECONDS = 300.0
_QUEUES = 2
_COMPLETED = 3  # in `messages.state`

_STEPS = {"passthrough": "no work", "busy": f"{BUSY_MILLISECONDS} ms of work"}


class _Worked(NamedTuple):
    """Messages per second, and microseconds of processor time per message by program."""

    rate: float
    cost: dict[str, float]


def measure(testbed: Testbed, *, messages: int, rounds: int) -> list[Figure]:
    """Process a run of `messages` messages with one worker and with two, interleaved, on each broker.

    Objects are files on tmpfs, because an S3 server on the same cores would dominate the figure. If each
    message takes two milliseconds of processor time, the run has a fifth of the messages.
    """
    figures = []
    for broker, name in BROKERS.items():
        try:
            for step in _STEPS:
                count = messages if step == "passthrough" else messages // 5
                figures += _one_and_two(testbed, broker, step, count, rounds)
        except ServerMissing as exc:
            figures.append(not_measured(f"end to end on {name}", str(exc)))
    return figures


def _one_and_two(testbed: Testbed, broker: str, step: str, messages: int, rounds: int) -> list[Figure]:
    worked: dict[int, list[_Worked]] = {1: [], 2: []}
    for n in range(rounds):
        for workers in (1, 2) if n % 2 == 0 else (2, 1):
            worked[workers].append(_work(testbed, broker, step, messages, workers))
        one, two = worked[1][-1].rate, worked[2][-1].rate
        report(f"  {BROKERS[broker]}, {_STEPS[step]} {n + 1}/{rounds}: one {one:,.0f}/s, two {two:,.0f}/s")
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
            baseline=f"one worker: {median(singles):,.0f}/s",
            ratio=ratio,
            target=f"at least {_TARGET_TWO:g} of one" if judged else "",
            passes=ratio >= _TARGET_TWO if judged else None,
            cost=middle([w.cost for w in worked[2]]),
        ),
    ]


def on_s3(testbed: Testbed, *, messages: int, rounds: int) -> list[Figure]:
    """Measure one worker on each kind of production deployment: objects on S3, rows in PostgreSQL."""
    figures = []
    for broker, name in BROKERS.items():
        called = "S3 and PostgreSQL alone" if broker == "postgres" else f"S3, {name} and PostgreSQL"
        try:
            worked = [_work(testbed, broker, "passthrough", messages, 1, on_s3=True) for _ in range(rounds)]
        except ServerMissing as exc:
            figures.append(not_measured(f"one worker on {called}", str(exc)))
            continue
        rates = [w.rate for w in worked]
        report(f"  one worker on {called}: " + ", ".join(f"{rate:,.0f}/s" for rate in rates))
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
    testbed: Testbed, broker: str, step: str, messages: int, workers: int, *, on_s3: bool = False
) -> _Worked:
    with testbed.deployment(broker, store=S3 if on_s3 else None) as deployment:
        asyncio.run(_configured(deployment, step))
        processes = [start(deployment) for _ in range(workers)]
        try:
            return asyncio.run(_timed(deployment, processes, messages))
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)
            finish(processes)


async def _configured(deployment: Deployment, step: str) -> None:
    async with open_runtime(deployment.settings, checks_configs=True) as rt:
        await rt.services.configs.apply(SOURCE.replace("passthrough", step))


def start(deployment: Deployment) -> subprocess.Popen[bytes]:
    """Start `playhead worker` on a deployment."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "playhead", "worker"],
        cwd=deployment.home,
        env=deployment.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


async def _timed(
    deployment: Deployment, processes: Sequence[subprocess.Popen[bytes]], messages: int
) -> _Worked:
    con = await asyncpg.connect(deployment.catalog)
    try:
        await _until_all_listen(con, processes)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        execution = await _published(deployment, messages // 2)
        for process in processes:
            process.send_signal(signal.SIGCONT)
        seen = await _watch(con, deployment, processes, execution)
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


async def _published(deployment: Deployment, count: int) -> UUID:
    """Start a run, store its inputs and publish its messages. Return its execution id."""
    async with open_runtime(deployment.settings) as rt:
        execution = (await rt.services.submit.run("bench", inputs(count))).execution_id
        await rt.services.replay.drives.drive(execution)
    return execution


_Seen = tuple[int, dict[str, float]]


async def _watch(
    con: asyncpg.Connection,
    deployment: Deployment,
    processes: Sequence[subprocess.Popen[bytes]],
    execution: UUID,
) -> list[_Seen]:
    """Record completed messages and seconds by program, five times per second, until the run has ended."""
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
        seconds = {name: spent(pids) for name, pids in deployment.programs().items()}
        seen.append((completed, {"playhead": spent(p.pid for p in processes), **seconds}))
        if time.monotonic() > until or any(p.poll() is not None for p in processes):
            raise RuntimeError(f"the workers stopped at {completed} messages")
        await asyncio.sleep(0.2)


def _between(seen: Sequence[_Seen]) -> dict[str, float]:
    """Return microseconds of processor time per message by program, between the first and last reading."""
    begun = [s for s in seen if s[0]]
    with suppress(IndexError, ZeroDivisionError):
        (first, before), (last, after) = begun[0], begun[-1]
        return {name: (after[name] - before[name]) / (last - first) * 1e6 for name in after}
    return {}
