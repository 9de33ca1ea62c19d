"""Replays that check all of their objects (`pause_if`), compared with the same replay without a guard.

Two workers process each replay. The guard waits after every K objects until their messages have ended, so the
workers have nothing to do at the end of each K objects.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from bench.deployment_workers import start
from bench.deployments import Deployment, ServerMissing, Testbed
from bench.figures import Figure, median, middle_ratio, not_measured
from bench.homes import ROUTE, SOURCE, STAGE, finish, lay_out
from bench.machine import report, scratch
from playhead import ids
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.model import Guard, ReplayRequest

_CATALOGS: Final[Mapping[str, str]] = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_FAILED: Final = 0.02
_WORKERS: Final = 2
_PATIENCE_SECONDS: Final = 600.0

_Rates = dict[int | None, list[float]]
"""Objects per second by K; None: without a guard."""


def measure(
    testbed: Testbed, memory: Path | None, *, objects: int, every: Sequence[int], rounds: int
) -> list[Figure]:
    """Replay `objects` objects without a guard, and with one that waits after each of these numbers."""
    figures = []
    with scratch(memory) as folder:
        execution = lay_out(folder / "objects", objects)
        for broker, name in _CATALOGS.items():
            try:
                with testbed.deployment(broker, store=folder / "objects") as deployment:
                    rates = asyncio.run(_rates(deployment, execution, every, rounds))
            except ServerMissing as exc:
                figures.append(not_measured(f"replay with a guard on {name}", str(exc)))
                continue
            whole = rates[None]
            shown = [f"{k or 'no guard'}: {median(found):,.0f}/s" for k, found in rates.items()]
            report(f"  {name}: " + ", ".join(shown))
            figures += [
                Figure(
                    f"replay with a guard of the last {k:,} objects, {name}",
                    median(rates[k]),
                    "objects/s",
                    rounds=rates[k],
                    ratio=middle_ratio(rates[k], whole),
                    baseline=f"without a guard: {median(whole):,.0f}/s",
                )
                for k in every
            ]
    return figures


async def _rates(deployment: Deployment, execution: UUID, every: Sequence[int], rounds: int) -> _Rates:
    rates: _Rates = {None: [], **{k: [] for k in every}}
    async with open_runtime(deployment.settings, kind="replay", checks_configs=True) as rt:
        await rt.services.configs.apply(SOURCE)
        processes = [start(deployment) for _ in range(_WORKERS)]
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not await _all_listen(rt):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            for n in range(rounds):
                for k in rates if n % 2 == 0 else reversed(rates):
                    rates[k].append(await _rate(rt, execution, k))
        finally:
            finish(processes)
    return rates


async def _all_listen(rt: Runtime) -> bool:
    found = (await rt.services.workers.list(None, 10)).items
    return sum(len(one.queues) > 1 for one in found) == _WORKERS


async def _rate(rt: Runtime, execution: UUID, k: int | None) -> float:
    """Return objects per second from the request to the end of the last message."""
    guard = None if k is None else Guard(_FAILED, k)
    request = ReplayRequest(execution, STAGE, None, ROUTE, pause_if=guard, report=False)
    opened = await rt.services.replay.start(request)
    until = time.monotonic() + _PATIENCE_SECONDS
    while (made := await rt.services.executions.get(opened.replay.execution_id)).ended_at is None:
        if time.monotonic() > until:
            raise RuntimeError(f"{made.counts.completed} messages of the replay were completed")
        await asyncio.sleep(0.1)
    return made.counts.completed / (ids.seconds(made.ended_at) - ids.seconds(made.created_at))
