"""Replay rate on each broker, with rows in PostgreSQL. Baseline: the fastest bare client of that broker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import UUID

from bench import bare_nats, bare_rabbitmq
from bench.deployments import BROKERS, Deployment, ServerMissing, Testbed
from bench.figures import Figure, median, middle, middle_ratio, not_measured
from bench.homes import ROUTE, SOURCE, STAGE, lay_out, paths
from bench.machine import report, scratch
from bench.processor import Spending
from playhead.bootstrap import open_runtime
from playhead.envelope import Dispatch, Headers
from playhead.ids import mint, text, uuid7
from playhead.model import ReplayRequest

_TARGETS = {"nats": 0.5, "rabbitmq": 0.9}
_BASELINE = {"nats": "prepared frames", "rabbitmq": "the bare client's best"}


def measure(testbed: Testbed, memory: Path | None, *, objects: int, rounds: int) -> list[Figure]:
    """Replay `objects` objects on each broker and publish as many bare messages, in interleaved rounds.

    The objects are files. The part `listing` measures S3.
    """
    ours: dict[str, list[float]] = {name: [] for name in BROKERS}
    bare: dict[str, list[float]] = {name: [] for name in BROKERS}
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in BROKERS}
    library: list[float] = []
    ways: dict[str, str] = {}
    missing: dict[str, str] = {}
    with scratch(memory) as folder:
        execution = lay_out(folder / "objects", objects)
        dispatches = _dispatches(execution, objects)
        for n in range(rounds):
            for broker in BROKERS:
                if broker in missing:
                    continue
                try:
                    rate, ways[broker] = _bare(testbed, broker, dispatches)
                    if broker == "nats":
                        library.append(
                            bare_nats.client_rate(testbed.server("nats").url, "client", dispatches)
                        )
                    with testbed.deployment(broker, store=folder / "objects") as deployment:
                        rate_of_ours, cost = asyncio.run(_replay(deployment, execution, objects))
                except ServerMissing as exc:
                    missing[broker] = str(exc)
                    continue
                bare[broker].append(rate)
                ours[broker].append(rate_of_ours)
                costs[broker].append(cost)
                baseline = (
                    f", {_BASELINE[broker]} {rate:,.0f}/s ({ways[broker]})" if broker in _BASELINE else ""
                )
                report(f"  replay on {BROKERS[broker]} {n + 1}/{rounds}: {rate_of_ours:,.0f}/s{baseline}")
    figures = [
        not_measured(f"replay of {objects:,} on {BROKERS[broker]} and PostgreSQL", missing[broker])
        if broker in missing
        else _figure(broker, objects, ours[broker], bare[broker], ways[broker], middle(costs[broker]))
        for broker in BROKERS
    ]
    if library:
        figures.append(Figure("nats-py itself, without rows", median(library), "/s", rounds=library))
    return figures


def _figure(
    broker: str, objects: int, ours: list[float], bare: list[float], way: str, cost: dict[str, float]
) -> Figure:
    name = f"replay of {objects:,} on " + (
        "PostgreSQL alone" if broker == "postgres" else f"{BROKERS[broker]} and PostgreSQL"
    )
    if broker not in _TARGETS:
        return Figure(name, median(ours), "/s", rounds=ours, cost=cost)
    ratio = middle_ratio(ours, bare)
    return Figure(
        name,
        median(ours),
        "/s",
        rounds=ours,
        baseline=f"{_BASELINE[broker]}: {median(bare):,.0f}/s ({way})",
        ratio=ratio,
        target=f"at least {_TARGETS[broker]:g} of {_BASELINE[broker]}",
        passes=ratio >= _TARGETS[broker],
        cost=cost,
    )


def _bare(testbed: Testbed, broker: str, dispatches: list[Dispatch]) -> tuple[float, str]:
    """Return the rate of the fastest bare client, and its description."""
    if broker == "nats":
        server = testbed.server("nats")
        found = bare_nats.rates(server.port, server.url, "bare", dispatches)
        window = max(found, key=lambda window: found[window])
        return found[window], f"{window:,} in flight"
    if broker == "rabbitmq":
        by_way = bare_rabbitmq.rates(testbed.server("rabbitmq").url, "bare", dispatches)
        way = max(by_way, key=lambda way: by_way[way])
        return by_way[way], way
    return 0.0, ""


def _dispatches(execution: UUID, count: int) -> list[Dispatch]:
    """Return the messages that a replay of the stage publishes."""
    headers = Headers(f"bench.{ROUTE}", uuid7(), "bench", 1, ROUTE, uuid7())
    ids = map(text, mint(count))
    return [
        Dispatch(headers, cid, 0, None, f"{execution}/{STAGE}/{path}", ordinal=n)
        for n, (cid, path) in enumerate(zip(ids, paths(count), strict=True), 1)
    ]


async def _replay(deployment: Deployment, execution: UUID, objects: int) -> tuple[float, dict[str, float]]:
    """Return objects per second from request to answer, and microseconds of processor time per object."""
    async with open_runtime(deployment.settings, kind="replay") as rt:
        await rt.services.configs.apply(SOURCE)
        spending = Spending(deployment.programs)
        began = time.perf_counter()
        done = await rt.services.replay.execute(ReplayRequest(execution, STAGE, None, ROUTE))
        took = time.perf_counter() - began
        cost = spending.so_far()
    if done.objects_published != objects:
        raise RuntimeError(f"{done.objects_published} of {objects} objects were published: {done.errors}")
    return objects / took, {name: seconds / objects * 1e6 for name, seconds in cost.items()}
