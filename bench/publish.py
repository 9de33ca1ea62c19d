"""Publications: their cost compared with the run, with the size of their base, and for readers.

Real workers process a run. For a larger base, its rows are copied in the catalog. The copied objects are not
in the store, but a publication reads none.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from bench import publish_sinks
from bench.deployments import Deployment, ServerMissing, Testbed
from bench.figures import Figure, median, not_measured
from bench.homes import inputs
from bench.machine import report
from bench.processor import Spending
from bench.publish_runs import (
    CONFIG,
    DATASET,
    SMALL,
    WORKERS,
    Size,
    publish,
    replayed,
    run_of,
    timed,
    working,
)
from bench.publish_tables import bytes_of, multiply, watched
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.model import ReplayRequest, Selection

__all__ = ["SMALL", "Size", "measure"]

_CATALOGS: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_STAGES: Final = ("input", "copies", "results")
_REPLAYED: Final = 50
_PAGE: Final = 1_000
_TARGET_SHARE: Final = 0.25
_TARGET_LISTING: Final = 1.2
_TARGET_ENTRY_BYTES: Final = 250
_TARGET_NIGHT_BYTES: Final = 5_000
_TABLES: Final = (
    *("datasets", "executions", "publications", "publication_parts", "publication_notes"),
    *("published", "published_executions", "switches"),
)
"""The tables in which a publication adds or changes rows."""


def measure(testbed: Testbed, *, size: Size) -> list[Figure]:
    """Measure an embedded deployment, and one with PostgreSQL."""
    figures = []
    for broker, catalog in _CATALOGS.items():
        try:
            with testbed.deployment(broker) as deployment:
                report(f"  {catalog}")
                figures += asyncio.run(_publications(deployment, catalog, size))
            with testbed.deployment(broker) as deployment:
                figures += asyncio.run(publish_sinks.sink(deployment, catalog, size))
            with testbed.deployment(broker) as deployment:
                figures.append(asyncio.run(publish_sinks.writing(deployment, catalog, size)))
            with testbed.deployment(broker) as deployment:
                figures.append(asyncio.run(_nights(deployment, catalog, size)))
        except ServerMissing as exc:
            figures.append(not_measured(f"publications in {catalog}", str(exc)))
    return figures


@dataclass
class _Cost:
    """Seconds on the clock, and processor seconds of all programs."""

    wall: float = 0.0
    processor: float = 0.0


async def _publications(deployment: Deployment, catalog: str, size: Size) -> list[Figure]:
    async with open_runtime(deployment.settings) as rt:
        await rt.services.configs.apply(CONFIG)
        async with working(deployment, rt, 2) as workers:
            with _spending(deployment, workers) as run_cost:
                run = await run_of(rt, inputs(size.inputs))
            replays = [await _some_replayed(rt, run, at) for at in range(2 * size.rounds)]
        entries = len(_STAGES) * size.inputs
        report(f"    run: {run_cost.wall:.1f} s, {entries:,} entries")

        with watched(rt) as transactions:
            with _spending(deployment) as cost:
                await publish(rt, run)
            longest = max(one.seconds for one in transactions)
            size_of_entry = await bytes_of(deployment, ("published",)) / entries
            report(f"    publication: {cost.wall:.2f} s")
            small = [await timed(publish(rt, replay)) for replay in replays[: size.rounds]]
            transactions.clear()
            back = [
                await timed(rt.services.publish.roll_back(DATASET, 1 + n % 2)) for n in range(2 * size.rounds)
            ]
            changed = max(one.rows for one in transactions)
        # The next publication is prepared on the first one.
        await rt.services.publish.roll_back(DATASET, 1)
        of_run, of_publication = await _listings(rt, run, size.rounds)

        report(f"    rows of {size.times - 1} copies")
        await multiply(deployment, run, size)
        large_entries = entries * size.times
        with watched(rt) as transactions:
            with _spending(deployment) as large_cost:
                await publish(rt, run)
            longest_large = max(one.seconds for one in transactions)
            report(f"    publication of {large_entries:,} entries: {large_cost.wall:.1f} s")
            large = [await timed(publish(rt, replay)) for replay in replays[size.rounds :]]
            longest_small = max(one.seconds for one in transactions)
            transactions.clear()
            back_large = [
                await timed(rt.services.publish.roll_back(DATASET, n))
                for n in (1, size.rounds + 2) * size.rounds
            ]
    at, more = f"{entries:,} entries ({catalog})", f"{large_entries:,} entries ({catalog})"
    share, processor = cost.wall / run_cost.wall, cost.processor / run_cost.processor
    wanted = f"at most {_TARGET_SHARE:g} of the run"
    listing = median(of_publication) / median(of_run)
    return [
        Figure(
            f"publication of a run, {at}",
            cost.wall,
            "s",
            ratio=share,
            baseline=f"run with {WORKERS} workers: {run_cost.wall:.1f} s",
            target=wanted,
            passes=share <= _TARGET_SHARE,
        ),
        Figure(
            f"the same, processor time, {at}",
            cost.processor,
            "s",
            ratio=processor,
            baseline=f"run: {run_cost.processor:.1f} s",
            target=wanted,
            passes=processor <= _TARGET_SHARE,
        ),
        Figure(f"publication of a run, {more}", large_cost.wall, "s", baseline="rows are copies"),
        Figure(
            f"publication of a replay of {_REPLAYED}, on {at}",
            median(small),
            "s",
            small,
            f"publication of the run: {cost.wall:.1f} s",
            median(small) / cost.wall,
        ),
        Figure(
            f"publication of a replay of {_REPLAYED}, on {more}",
            median(large),
            "s",
            large,
            f"on {entries:,}: {median(small):.3f} s",
            median(large) / median(small),
        ),
        Figure(f"rollback, {at}", median(back), "s", back, f"{changed} rows changed" if changed else ""),
        Figure(
            f"rollback, {more}",
            median(back_large),
            "s",
            back_large,
            f"on {entries:,}: {median(back):.4f} s",
            median(back_large) / median(back),
        ),
        Figure(
            f"listing of {_PAGE:,} published objects ({catalog})",
            median(of_publication) * 1000,
            "ms",
            [seconds * 1000 for seconds in of_publication],
            f"listing of the run: {median(of_run) * 1000:.1f} ms",
            listing,
            f"at most {_TARGET_LISTING:g} of the run",
            listing <= _TARGET_LISTING,
        ),
        Figure(
            f"catalog per entry ({catalog})",
            size_of_entry,
            "bytes",
            baseline="with its indexes",
            target=f"at most {_TARGET_ENTRY_BYTES}",
            passes=size_of_entry <= _TARGET_ENTRY_BYTES,
        ),
        Figure(f"longest transaction, {at}", longest * 1000, "ms"),
        Figure(
            f"longest transaction, {more}",
            longest_large * 1000,
            "ms",
            baseline=f"with those of the replays: {longest_small * 1000:.0f} ms",
        ),
    ]


async def _listings(rt: Runtime, run: UUID, rounds: int) -> tuple[list[float], list[float]]:
    """List a stage of a run and of its publication in pages, in turn. Return the seconds of each page."""
    publication = await rt.services.resolve.execution(f"current:{DATASET}")
    taken: dict[UUID, list[float]] = {run: [], publication: []}
    for _ in range(rounds):
        cursors: dict[UUID, str | None] = dict.fromkeys(taken)
        while True:
            for one, seconds in taken.items():
                began = time.perf_counter()
                page = await rt.services.objects.list(one, _STAGES[-1], None, cursors[one], _PAGE)
                seconds.append(time.perf_counter() - began)
                cursors[one] = page.next_cursor
            if None in cursors.values():
                break
    return taken[run], taken[publication]


async def _nights(deployment: Deployment, catalog: str, size: Size) -> Figure:
    """Publish runs that have taken over all their results."""
    async with open_runtime(deployment.settings) as rt:
        await rt.services.configs.apply(CONFIG)
        async with working(deployment, rt, 2):
            runs = [await run_of(rt, inputs(1_000))]
            for _ in range(size.nights):
                runs.append(await run_of(rt, inputs(1_000), changed_since=runs[-1]))
        await publish(rt, runs[0])
        before = await bytes_of(deployment, _TABLES)
        for run in runs[1:]:
            await publish(rt, run)
        added = (await bytes_of(deployment, _TABLES) - before) / size.nights
    return Figure(
        f"publication of an unchanged run ({catalog})",
        added,
        "bytes",
        baseline=f"{size.nights} runs of 1,000 inputs",
        target=f"at most {_TARGET_NIGHT_BYTES:,}",
        passes=added <= _TARGET_NIGHT_BYTES,
    )


async def _some_replayed(rt: Runtime, run: UUID, at: int) -> UUID:
    """Replay 50 objects of a run; other ones for each `at`."""
    some = Selection(include=[f"d0000/page0000{at % 10}[0-4]?.md"])
    return await replayed(rt, ReplayRequest(run, _STAGES[1], None, "second", selection=some))


@contextmanager
def _spending(deployment: Deployment, workers: Sequence[subprocess.Popen[bytes]] = ()) -> Iterator[_Cost]:
    """Measure a block. The workers, the server of the catalog and this process are its programs."""

    def programs() -> Mapping[str, list[int]]:
        return {"workers": [one.pid for one in workers], **deployment.programs()}

    cost, spending, began = _Cost(), Spending(programs), time.perf_counter()
    yield cost
    cost.wall = time.perf_counter() - began
    cost.processor = sum(spending.so_far().values())
