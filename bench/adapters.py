"""Steps that call an API, and steps that compute.

The API is a server on this machine that counts calls. So the number of calls depends on the speed of the
machine only if the machine cannot make them in time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench import homes, steps
from bench.figures import Figure, median, middle_ratio
from bench.machine import report
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.model import Execution
from playhead.settings import Settings
from tests.limited_api import LimitedApi

_CALLS_A_SECOND = 20
_WORKERS = 2
_CALL_SECONDS = 0.05
_REFUSES = 0.6
_MOST_CALLS = 1.05
_PATIENCE_SECONDS = 1200.0

_SOURCE = """
version: "1.0"
name: bench
entry: call
routes:
  call:
    {limit}
    inbound: {{concurrency: {concurrency}}}
    adapters:
      - type: {step}
        {isolation}
    outbound: {{stage: answers}}
"""


@dataclass(frozen=True)
class _Case:
    """A route that calls the API.

    Attributes:
        refuses: the share of calls that the API refuses whatever the rate is.
        target: whether the number of calls must be near the number that is needed.
    """

    name: str
    step: str = "api"
    limit: str = ""
    refuses: float = 0
    target: bool = True


_LIMIT = f"rate_limit: {{calls: {_CALLS_A_SECOND}, seconds: 1}}"
_CASES = (
    _Case("rate_limit", limit=_LIMIT),
    _Case("rate_limit, 60 % of calls refused at random", limit=_LIMIT, refuses=_REFUSES),
    _Case("RateLimited without rate_limit", target=False),
    _Case("Retry without rate_limit", step="api_retry", target=False),
)


def measure(root: Path | None, *, limited: int, batched: int, computed: int, rounds: int) -> list[Figure]:
    """Process items with and without rate limits, batches and child processes.

    Args:
        limited: items for an API that allows 20 calls/s.
        batched: items for an API that takes 50 ms for a call.
        computed: items for a step that computes for 20 ms.
    """
    return [
        *_rate_limits(root, limited),
        _batches(root, items=batched, rounds=rounds),
        *_computing(root, items=computed, rounds=rounds),
    ]


def _rate_limits(root: Path | None, items: int) -> list[Figure]:
    figures = []
    for case in _CASES:
        api = LimitedApi(
            _CALLS_A_SECOND,
            1,
            refuses=case.refuses,
            latency=_CALL_SECONDS,
            retry_after=0.05 if case.refuses else 1,
        )
        execution, seconds = _process(root, api, case.step, case.limit, items=items, concurrency=8)
        calls = len(api.served) + api.rejected
        needed = items + api.refused
        done, dead = execution.counts.completed, execution.counts.failed
        report(f"  {case.name}: {done} completed, {dead} dead, {calls} calls in {seconds:.1f} s")
        passes = done == items and calls <= _MOST_CALLS * needed
        figures.append(
            Figure(
                f"calls of an API with 20 calls/s for {items} items, {case.name} ({dead} dead letters)",
                calls,
                "calls",
                baseline=f"needed: {needed}",
                ratio=calls / needed,
                target=f"at most {_MOST_CALLS:g} of the calls needed, no dead letter" if case.target else "",
                passes=passes if case.target else None,
            )
        )
    return figures


def _batches(root: Path | None, *, items: int, rounds: int) -> Figure:
    rates: dict[str, list[float]] = {"api": [], "api_batch": []}
    for n in range(rounds):
        for step, found in rates.items() if n % 2 == 0 else reversed(rates.items()):
            api = LimitedApi(1_000_000, 1, latency=_CALL_SECONDS)
            _, seconds = _process(root, api, step, "", items=items, concurrency=4)
            found.append(items / seconds)
            report(f"  {step} {n + 1}/{rounds}: {items / seconds:,.0f} items/s, {len(api.served)} calls")
    ours, theirs = rates["api_batch"], rates["api"]
    return Figure(
        "items in batches of 100, 50 ms a call, concurrency 4, two workers",
        median(ours),
        "items/s",
        rounds=ours,
        baseline=f"item by item: {median(theirs):,.0f} items/s",
        ratio=middle_ratio(ours, theirs),
    )


def _computing(root: Path | None, *, items: int, rounds: int) -> list[Figure]:
    """Compare threads with child processes for a step that computes."""
    cases = {
        "threads, one worker": ("", 1),
        "isolation: process, one worker": ("isolation: process", 1),
        "threads, two workers": ("", 2),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for n in range(rounds):
        for name, (isolation, workers) in cases.items() if n % 2 == 0 else reversed(cases.items()):
            api = LimitedApi(1, 1)
            _, seconds = _process(
                root, api, "busy_20", "", items=items, concurrency=2, isolation=isolation, workers=workers
            )
            rates[name].append(items / seconds)
            report(f"  {name} {n + 1}/{rounds}: {items / seconds:,.0f} items/s")
    base, *others = rates
    return [
        Figure(
            f"items that compute for {steps.LONG_MILLISECONDS} ms, {name}",
            median(rates[name]),
            "items/s",
            rounds=rates[name],
            baseline=f"{base}: {median(rates[base]):,.0f} items/s",
            ratio=middle_ratio(rates[name], rates[base]),
        )
        for name in others
    ]


def _process(
    root: Path | None,
    api: LimitedApi,
    step: str,
    limit: str,
    *,
    items: int,
    concurrency: int,
    isolation: str = "",
    workers: int = _WORKERS,
) -> tuple[Execution, float]:
    """Run items through the step; return the execution and how long it took."""
    with tempfile.TemporaryDirectory(dir=root) as folder, api.running():
        os.environ["BENCH_API"] = api.url
        home = Path(folder)
        source = _SOURCE.format(step=step, limit=limit, concurrency=concurrency, isolation=isolation)
        return asyncio.run(_timed(home, source, items, workers))


async def _timed(home: Path, source: str, items: int, count: int) -> tuple[Execution, float]:
    settings = Settings(home=home, adapters=(steps.__file__,))
    async with open_runtime(settings, checks_configs=True) as rt:
        await rt.services.configs.apply(source)
        workers = [_worker(home) for _ in range(count)]
        try:
            await _until_listening(rt, count)
            for worker in workers:
                worker.send_signal(signal.SIGSTOP)
            execution = (await rt.services.submit.run("bench", homes.inputs(items))).execution_id
            await rt.services.replay.drives.drive(execution)
            for worker in workers:
                worker.send_signal(signal.SIGCONT)
            began = time.monotonic()
            return await _ended(rt, execution), time.monotonic() - began
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGCONT)
            homes.finish(workers)


def _worker(home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "playhead", "worker"],
        cwd=home,
        env=homes.environment(home) | {"PLAYHEAD_ADAPTERS": steps.__file__, "PLAYHEAD_LOG_LEVEL": "error"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


async def _until_listening(rt: Runtime, count: int) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while (await rt.services.queues.routes(None, 1)).items[0].workers < count:
        if time.monotonic() > until:
            raise RuntimeError("the workers did not start")
        await asyncio.sleep(0.05)


async def _ended(rt: Runtime, execution: UUID) -> Execution:
    until = time.monotonic() + _PATIENCE_SECONDS
    while (found := await rt.services.executions.get(execution)).status == "running":
        if time.monotonic() > until:
            raise RuntimeError(f"the run did not end: {found.counts}")
        await asyncio.sleep(0.05)
    return found
