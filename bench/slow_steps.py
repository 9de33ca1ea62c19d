"""Processor time that Playhead adds to a message while its step takes time.

Two things are subtracted from the processor time of the workers: what the step uses without Playhead, which
is measured before each run, and what an idle worker uses in the same time. So a ratio of two figures
tolerates other work on the machine. `playhead worker` processes are suspended until the run is published.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from bench import steps
from bench.deployment_workers import start
from bench.deployments import Deployment, ServerMissing, Testbed
from bench.figures import Figure, median, middle_ratio, not_measured
from bench.homes import SOURCE, finish, inputs
from bench.machine import report
from bench.processor import spent
from playhead import Item, Output
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime

_BACKENDS = {"sqlite": "SQLite", "postgres": "PostgreSQL", "nats": "NATS and PostgreSQL"}
_TARGET_STEP = 1.5
_TARGET_TWO = 1.15
_TARGET_IDLE_MS = 50
_PATIENCE_SECONDS = 300.0
_IDLE_SECONDS = 5.0
_CALLS = 500
_ROUTES = 2


@dataclass(frozen=True)
class _Step:
    """A step to measure.

    Attributes:
        share: the part of the messages that is enough for it.
    """

    name: str
    about: str
    share: float
    concurrency: int = 4


_NO_WORK = _Step("passthrough", "no work", 1)
_WAIT = _Step("wait_2", "2 ms of waiting", 0.5)
_STEPS = (
    _WAIT,
    _Step("busy", f"{steps.BUSY_MILLISECONDS} ms of computing", 0.25),
    _Step("async_wait_2", "2 ms of async waiting", 0.5),
    _Step("async_wait_50", "50 ms of async waiting", 0.25, concurrency=32),
)


def measure(testbed: Testbed, *, messages: int, rounds: int, times: int) -> list[Figure]:
    """Process runs with each step, with one worker and with two, in interleaved rounds.

    Args:
        messages: of a run without work; other runs have a part of it.
        times: how many single messages are processed by an idle worker.
    """
    figures: list[Figure] = []
    for backend, name in _BACKENDS.items():
        try:
            background, idle = _idle(testbed, backend, name, times)
            figures += [*_measure(testbed, backend, name, messages, rounds, background), idle]
        except ServerMissing as exc:
            figures.append(not_measured(f"overhead of slow steps on {name}", str(exc)))
    return figures


def _measure(
    testbed: Testbed, backend: str, name: str, messages: int, rounds: int, background: Mapping[str, float]
) -> list[Figure]:
    cases = [(_NO_WORK, 1), *((step, 1) for step in _STEPS), (_NO_WORK, 2), (_WAIT, 2)]
    costs: dict[tuple[_Step, int], list[dict[str, float]]] = {case: [] for case in cases}
    for n in range(rounds):
        for step, workers in cases if n % 2 == 0 else reversed(cases):
            count = int(messages * step.share) // _ROUTES * _ROUTES
            cost = _work(testbed, backend, step, count, workers, background)
            costs[step, workers].append(cost)
            shown = ", ".join(f"{program} {value:,.0f}" for program, value in cost.items())
            report(f"  {name}, {step.about}, {workers} worker(s) {n + 1}/{rounds}: µs a message: {shown}")
    ours = {case: [cost["playhead"] for cost in rounds_] for case, rounds_ in costs.items()}
    figures: list[Figure] = []
    for (step, workers), values in ours.items():
        base = (_NO_WORK, 1) if workers == 1 else (step, 1)
        is_base = base == (step, workers)
        ratio = None if is_base else middle_ratio(values, ours[base])
        most = _TARGET_STEP if workers == 1 else _TARGET_TWO
        against = "without work" if workers == 1 else "one worker"
        figures.append(
            Figure(
                f"overhead on {name}, {step.about}, {'one worker' if workers == 1 else 'two workers'}",
                median(values),
                "µs",
                rounds=values,
                baseline="" if is_base else f"{against}: {median(ours[base]):,.0f} µs",
                ratio=ratio,
                target="" if is_base else f"at most {most:g} of {against}",
                passes=None if ratio is None else ratio <= most,
            )
        )
    return figures


def _work(
    testbed: Testbed,
    backend: str,
    step: _Step,
    messages: int,
    workers: int,
    background: Mapping[str, float],
) -> dict[str, float]:
    """Return microseconds of processor time per message by program.

    Args:
        background: processor time of one idle worker in a second, by program.
    """
    alone = _alone(step)
    with testbed.deployment(backend) as deployment:
        processes = [start(deployment) for _ in range(workers)]
        try:
            seconds, spending = asyncio.run(_timed(deployment, processes, step, messages))
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)
            finish(processes)
    cost = {
        program: (used - background[program] * seconds * workers) / messages * 1e6
        for program, used in spending.items()
    }
    return {**cost, "playhead": cost["playhead"] - alone}


def _alone(step: _Step) -> float:
    """Return the microseconds of processor time that a call of the step uses without Playhead.

    A coroutine is called as often at a time as the workers call it, because they share each turn of the event
    loop. Other functions are called one after another, so switching between threads counts as overhead.
    """
    if step is _NO_WORK:
        return 0
    call = getattr(steps, step.name)
    item = Item(path="page.html", data=b"<p>page")
    before = time.process_time()
    if inspect.iscoroutinefunction(call):
        asyncio.run(_call_in_turns(call, item, step.concurrency * _ROUTES))
    else:
        for _ in range(_CALLS):
            call(item)
    return (time.process_time() - before) / _CALLS * 1e6


async def _call_in_turns(call: Callable[[Item], Awaitable[Output]], item: Item, concurrency: int) -> None:
    calls = iter(range(_CALLS))

    async def caller() -> None:
        for _ in calls:
            await call(item)

    await asyncio.gather(*(caller() for _ in range(concurrency)))


async def _timed(
    deployment: Deployment, processes: Sequence[subprocess.Popen[bytes]], step: _Step, messages: int
) -> tuple[float, dict[str, float]]:
    """Return how long a run takes, and the processor time in seconds by program."""
    async with open_runtime(deployment.settings, checks_configs=True) as rt:
        await _configure(rt, step)
        await _until_listening(rt, processes)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        execution = (await rt.services.submit.run("bench", inputs(messages // _ROUTES))).execution_id
        await rt.services.replay.drives.drive(execution)
        before, began = _spent(deployment, processes), time.monotonic()
        for process in processes:
            process.send_signal(signal.SIGCONT)
        await _until_completed(rt, execution, processes)
        after, ended = _spent(deployment, processes), time.monotonic()
    return ended - began, {program: after[program] - before[program] for program in after}


async def _configure(rt: Runtime, step: _Step, *, source: str = SOURCE) -> None:
    source = source.replace("passthrough", step.name)
    inbound = f"    inbound: {{concurrency: {step.concurrency}}}\n    adapters:"
    await rt.services.configs.apply(source.replace("    adapters:", inbound))


async def _until_listening(rt: Runtime, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while sum(len(worker.queues) == _ROUTES for worker in await rt.catalog.workers()) < len(processes):
        if time.monotonic() > until or any(p.poll() is not None for p in processes):
            raise RuntimeError("the workers did not start")
        await asyncio.sleep(0.05)


async def _until_completed(
    rt: Runtime, execution: UUID, processes: Sequence[subprocess.Popen[bytes]], every: float = 0.1
) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while (found := await rt.catalog.execution(execution)) and found.status == "running":
        if time.monotonic() > until or any(p.poll() is not None for p in processes):
            raise RuntimeError(f"the workers stopped: {found.counts}")
        await asyncio.sleep(every)
    if not found or found.status != "completed":
        raise RuntimeError(f"the run did not complete: {found}")


def _spent(deployment: Deployment, processes: Sequence[subprocess.Popen[bytes]]) -> dict[str, float]:
    servers = {name: spent(pids) for name, pids in deployment.programs().items()}
    return {"playhead": spent(process.pid for process in processes), **servers}


def _idle(testbed: Testbed, backend: str, name: str, times: int) -> tuple[dict[str, float], Figure]:
    """Measure the processor time of an idle worker in a second, by program, and the time from the publish of
    a single input until its run has ended."""
    with testbed.deployment(backend) as deployment:
        process = start(deployment)
        try:
            background, took = asyncio.run(_one_by_one(deployment, process, times))
        finally:
            finish([process])
    report(f"  a run of one message on {name}: " + ", ".join(f"{ms:.1f}" for ms in took) + " ms")
    return background, Figure(
        f"a run of one message of 2 ms on {name}",
        median(took),
        "ms",
        rounds=took,
        target=f"within {_TARGET_IDLE_MS} ms",
        passes=median(took) <= _TARGET_IDLE_MS,
    )


async def _one_by_one(
    deployment: Deployment, process: subprocess.Popen[bytes], times: int
) -> tuple[dict[str, float], list[float]]:
    took = []
    async with open_runtime(deployment.settings, checks_configs=True) as rt:
        await _configure(rt, _WAIT, source=SOURCE.replace(", to: [second]", ""))
        await _until_listening(rt, [process])
        before = _spent(deployment, [process])
        await asyncio.sleep(_IDLE_SECONDS)
        after = _spent(deployment, [process])
        background = {program: (after[program] - before[program]) / _IDLE_SECONDS for program in after}
        for _ in range(times):
            execution = (await rt.services.submit.run("bench", inputs(1))).execution_id
            began = time.perf_counter()
            await rt.services.replay.drives.drive(execution)
            await _until_completed(rt, execution, [process], every=0.002)
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.2)
    return background, took
