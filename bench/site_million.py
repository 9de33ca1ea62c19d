"""A million objects from S3 into NATS, rows in PostgreSQL: is memory flat, and the start quick?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.figures import Figure, absent, median
from bench.homes import ROUTE, STAGE
from bench.machine import say
from bench.processor import OURS, spent
from bench.site_listing import arithmetic
from bench.sites import Absent, Site, Stand
from playhead.backends.broker_nats import NatsBroker
from playhead.ids import uuid7

SMALL = 10_000
_TARGET_MEMORY = 1.2
_TARGET_FIRST_MS = 200
_LOOK_SECONDS = 0.002


def measure(stand: Stand, *, objects: int, rounds: int) -> list[Figure]:
    """Replay `SMALL` and `objects` objects, each in a process of its own, as often as `rounds` says.

    The bucket is computed, with a sidecar beside each object; a subscriber waits for the first message.
    """
    told: dict[int, list[dict[str, Any]]] = {SMALL: [], objects: []}
    try:
        for _ in range(rounds):
            for count, into in told.items():
                into.append(_replay(stand, count))
    except Absent as exc:
        return [absent(f"peak memory, {objects:,} objects on S3, NATS and PostgreSQL", str(exc))]
    small, large = (median([t["peak_bytes"] for t in told[count]]) for count in (SMALL, objects))
    rates = [t["rate"] for t in told[objects]]
    firsts = [t["first_ms"] for t in told[objects]]
    return [
        Figure(
            f"replay of {objects:,} on S3, NATS and PostgreSQL",
            median(rates),
            "/s",
            rounds=rates,
            beside=f"{SMALL:,} objects: {median([t['rate'] for t in told[SMALL]]):,.0f}/s",
            cost=told[objects][-1]["cost"],
        ),
        Figure(
            f"peak memory, {objects:,} objects on S3",
            large / 1e6,
            "MB",
            rounds=[t["peak_bytes"] / 1e6 for t in told[objects]],
            beside=f"{SMALL:,} objects: {small / 1e6:,.0f} MB",
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


def _replay(stand: Stand, objects: int) -> dict[str, Any]:
    """What `lone_site_replay` tells, and when the first message was out, and what it cost by program."""
    execution = uuid7()
    with (
        arithmetic(2 * objects, "flat", f"{execution}/{STAGE}") as bucket,
        stand.site("nats", store=bucket.url) as site,
        subprocess.Popen(
            [sys.executable, "-m", "bench.lone_site_replay", str(execution), str(objects)],
            cwd=Path(__file__).parent.parent,
            env=site.environment,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout
        asked = json.loads(process.stdout.readline())
        before = {name: spent(pids) for name, pids in site.programs().items()}
        bucket_before = spent(bucket.processes())
        first = asyncio.run(_first(site))
        told: dict[str, Any] = json.loads(process.stdout.readline())
        spending = {name: spent(pids) - before[name] for name, pids in site.programs().items()}
        spending |= {OURS: told["cpu_seconds"], "s3": spent(bucket.processes()) - bucket_before}
    told["first_ms"] = (first - asked["asked_at"]) * 1000
    told["cost"] = {name: seconds / objects * 1e6 for name, seconds in spending.items()}
    say(
        f"  {objects:,} objects: {told['rate']:,.0f}/s, peak {told['peak_bytes'] / 1e6:,.0f} MB, "
        f"first message after {told['first_ms']:.0f} ms"
    )
    return told


async def _first(site: Site) -> float:
    """When a message was there to be had, in seconds since the epoch."""
    broker = NatsBroker(site.broker, prefix=site.prefix)
    await broker.open()
    try:
        while not await broker.peek(f"bench.{ROUTE}", 1):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)  # seen from outside, as a worker would see it
        return time.time()
    finally:
        await broker.close()
