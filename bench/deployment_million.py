"""Replay a million objects from S3 into NATS, with rows in PostgreSQL: rate, memory and first message."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.deployment_listing import arithmetic
from bench.deployments import Deployment, ServerMissing, Testbed
from bench.figures import Figure, median, not_measured
from bench.homes import ROUTE, STAGE
from bench.machine import report
from bench.processor import OURS, spent
from playhead.backends.broker_nats import NatsBroker
from playhead.ids import uuid7

SMALL = 10_000
_TARGET_MEMORY = 1.2
_TARGET_FIRST_MS = 200
_LOOK_SECONDS = 0.002


def measure(testbed: Testbed, *, objects: int, rounds: int) -> list[Figure]:
    """Replay `SMALL` and `objects` objects, each in a separate process, in `rounds` rounds.

    The server computes the bucket, with a sidecar for each object. This process waits for the first message.
    """
    results: dict[int, list[dict[str, Any]]] = {SMALL: [], objects: []}
    try:
        for _ in range(rounds):
            for count, into in results.items():
                into.append(_replay(testbed, count))
    except ServerMissing as exc:
        return [not_measured(f"peak memory, {objects:,} objects on S3, NATS and PostgreSQL", str(exc))]
    small, large = (median([t["peak_bytes"] for t in results[count]]) for count in (SMALL, objects))
    rates = [t["rate"] for t in results[objects]]
    firsts = [t["first_ms"] for t in results[objects]]
    return [
        Figure(
            f"replay of {objects:,} on S3, NATS and PostgreSQL",
            median(rates),
            "/s",
            rounds=rates,
            baseline=f"{SMALL:,} objects: {median([t['rate'] for t in results[SMALL]]):,.0f}/s",
            cost=results[objects][-1]["cost"],
        ),
        Figure(
            f"peak memory, {objects:,} objects on S3",
            large / 1e6,
            "MB",
            rounds=[t["peak_bytes"] / 1e6 for t in results[objects]],
            baseline=f"{SMALL:,} objects: {small / 1e6:,.0f} MB",
            ratio=large / small,
            target=f"at most {_TARGET_MEMORY:g} of {SMALL:,}",
            passes=large / small <= _TARGET_MEMORY,
        ),
        Figure(
            f"first message of {objects:,} objects on S3",
            median(firsts),
            "ms",
            rounds=firsts,
            target=f"within {_TARGET_FIRST_MS} ms",
            passes=median(firsts) <= _TARGET_FIRST_MS,
        ),
    ]


def _replay(testbed: Testbed, objects: int) -> dict[str, Any]:
    """Run `lone_deployment_replay`. Return its result, the delay of the first message, and the cost."""
    execution = uuid7()
    with (
        arithmetic(2 * objects, "flat", f"{execution}/{STAGE}") as bucket,
        testbed.deployment("nats", store=bucket.url) as deployment,
        subprocess.Popen(
            [sys.executable, "-m", "bench.lone_deployment_replay", str(execution), str(objects)],
            cwd=Path(__file__).parent.parent,
            env=deployment.environment,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout
        asked = json.loads(process.stdout.readline())
        before = {name: spent(pids) for name, pids in deployment.programs().items()}
        bucket_before = spent(bucket.processes())
        first = asyncio.run(_first(deployment))
        result: dict[str, Any] = json.loads(process.stdout.readline())
        spending = {name: spent(pids) - before[name] for name, pids in deployment.programs().items()}
        spending |= {OURS: result["cpu_seconds"], "s3": spent(bucket.processes()) - bucket_before}
    result["first_ms"] = (first - asked["asked_at"]) * 1000
    result["cost"] = {name: seconds / objects * 1e6 for name, seconds in spending.items()}
    report(
        f"  {objects:,} objects: {result['rate']:,.0f}/s, peak {result['peak_bytes'] / 1e6:,.0f} MB, "
        f"first message after {result['first_ms']:.0f} ms"
    )
    return result


async def _first(deployment: Deployment) -> float:
    """Wait for the first message in the queue. Return the time in seconds since the epoch."""
    broker = NatsBroker(deployment.broker, prefix=deployment.prefix)
    await broker.open()
    try:
        while not await broker.peek(f"bench.{ROUTE}", 1):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)  # observe the queue from outside, as a worker does
        return time.time()
    finally:
        await broker.close()
