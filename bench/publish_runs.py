"""What the figures of publications share: their sizes, and executions that real workers process."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID

from bench.deployment_workers import start
from bench.deployments import Deployment
from bench.homes import SOURCE, finish
from playhead.bootstrap.process import Runtime
from playhead.model import PublishRequest, ReplayRequest

DATASET: Final = "docs"
CONFIG: Final = SOURCE + f"datasets: {{{DATASET}: {{}}}}\n"
WORKERS: Final = 2
_PATIENCE_SECONDS: Final = 900.0


class Size(NamedTuple):
    """How much is published.

    Attributes:
        inputs: of the run. Each has three entries: the input, its copy, and a result.
        times: how many times larger the large base is.
        rounds: publications of replays on each base; at most 5.
        indexed: results in the index of the sink.
        searches: on each state of the index.
        nights: runs whose inputs have not changed, each with its publication.
    """

    inputs: int = 33_334
    times: int = 10
    rounds: int = 5
    indexed: int = 10_000
    searches: int = 200
    nights: int = 20


SMALL: Final = Size(inputs=1_000, times=3, rounds=2, indexed=1_000, searches=20, nights=3)


@asynccontextmanager
async def working(
    deployment: Deployment, rt: Runtime, lanes: int
) -> AsyncIterator[list[subprocess.Popen[bytes]]]:
    """Start workers, and wait until they receive messages of all `lanes`."""
    workers = [start(deployment) for _ in range(WORKERS)]
    try:
        until = time.monotonic() + _PATIENCE_SECONDS
        while sum(len(one.queues) >= lanes for one in await rt.catalog.workers()) < WORKERS:
            _check(workers, until)
            await asyncio.sleep(0.1)
        yield workers
    finally:
        finish([one for one in workers if one.poll() is None])


def _check(workers: Sequence[subprocess.Popen[bytes]], until: float) -> None:
    if time.monotonic() > until or any(one.poll() is not None for one in workers):
        raise RuntimeError("the workers did not start")


async def run_of(
    rt: Runtime,
    given: AsyncIterator[tuple[str, bytes]],
    config: str = "bench",
    changed_since: UUID | None = None,
) -> UUID:
    made = await rt.services.submit.run(config, given, changed_since=changed_since)
    rt.services.replay.drives.begin(made.execution_id)
    return await _ended(rt, made.execution_id)


async def replayed(rt: Runtime, request: ReplayRequest) -> UUID:
    return await _ended(rt, (await rt.services.replay.execute(request)).execution_id)


async def _ended(rt: Runtime, execution: UUID) -> UUID:
    until = time.monotonic() + _PATIENCE_SECONDS
    while (await rt.services.executions.get(execution)).status == "running":
        if time.monotonic() > until:
            raise RuntimeError(f"execution {execution} did not end")
        await asyncio.sleep(0.1)
    return execution


async def publish(rt: Runtime, execution: UUID) -> None:
    await rt.services.publish.publish(DATASET, PublishRequest([execution]))


async def timed(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began
