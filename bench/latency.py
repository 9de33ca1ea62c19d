"""Latency of a small replay over HTTP, of the first message of a large replay, and of `--help`."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import httpx

from bench.figures import Figure, median, middle_ratio, percentile
from bench.homes import ROUTE, SOURCE, STAGE, environment, finish, lay_out, opened, start
from bench.machine import report, scratch
from playhead.model import ReplayRequest

_SMALL = 10
_TARGET_SMALL_MS = 50
_TARGET_FIRST_MS = 200
_TARGET_HELP = 1.3
_LISTENING = re.compile(rb"listening on (http://\S+)")


# -- a small replay --------------------------------------------------------------------------------


def small_replay(memory: Path | None, disk: Path | None, *, times: int) -> Figure:
    """Measure the 99th percentile of `times` replays of ten objects over one HTTP connection."""
    took = _small(memory, times)
    worst = percentile(took, 0.99)
    report(f"  replay of {_SMALL} over HTTP: median {median(took):.1f} ms, p99 {worst:.1f} ms")
    return Figure(
        f"replay of {_SMALL} objects over HTTP, p99 of {times}",
        worst,
        "ms",
        rounds=took,
        baseline=f"median: {median(took):.1f} ms",
        target=f"about {_TARGET_SMALL_MS} ms",
        passes=worst <= _TARGET_SMALL_MS,
        disk=percentile(_small(disk, times), 0.99) if disk else None,
    )


def _small(parent: Path | None, times: int) -> list[float]:
    with scratch(parent) as home:
        asyncio.run(_configured(home))
        execution = lay_out(home / "objects", _SMALL)
        body = {"from_execution_id": str(execution), "from_stage": STAGE, "to_route": ROUTE}
        server = start(home, "serve", "--port", "0", stderr=subprocess.PIPE)
        try:
            with httpx.Client(base_url=address_of(server), timeout=60) as client:
                took = []
                for _ in range(times + 5):
                    began = time.perf_counter()
                    answer = client.post("/api/v1/replay", json=body)
                    took.append((time.perf_counter() - began) * 1000)
                    if answer.raise_for_status().json()["objects_published"] != _SMALL:
                        raise RuntimeError(f"not all messages were published: {answer.text}")
        finally:
            finish([server])
    return took[5:]  # the first requests import modules and open files


async def _configured(home: Path) -> None:
    async with opened(home, None) as rt:
        await rt.services.configs.apply(SOURCE)


def address_of(server: subprocess.Popen[bytes]) -> str:
    assert server.stderr
    line = server.stderr.readline()
    found = _LISTENING.search(line)
    if not found:
        rest = server.stderr.read() if server.poll() is not None else b""
        raise RuntimeError(f"the server did not start: {(line + rest).decode(errors='replace')}")
    return found[1].decode()


# -- the first message -----------------------------------------------------------------------------


def first_message(parent: Path | None, *, objects: int, rounds: int) -> Figure:
    """Measure the time from the request of a large replay until its first message is in the queue."""
    with scratch(parent) as folder:
        execution = lay_out(folder / "objects", objects)
        took = []
        for _ in range(rounds):
            took.append(asyncio.run(until_first(folder / "home", folder / "objects", execution)) * 1000)
            shutil.rmtree(folder / "home")
    report(f"  first message of {objects:,}: {median(took):.0f} ms")
    return Figure(
        f"first message of {objects:,} objects",
        median(took),
        "ms",
        rounds=took,
        target=f"within {_TARGET_FIRST_MS} ms",
        passes=median(took) <= _TARGET_FIRST_MS,
    )


async def until_first(home: Path, store: Path, execution: UUID) -> float:
    """Start a replay and return the seconds until its queue holds a message. The replay is then cancelled."""
    async with opened(home, "replay", store=store) as rt:
        queue = f"bench.{ROUTE}"
        await rt.services.configs.apply(SOURCE)
        began = time.perf_counter()
        answer = asyncio.ensure_future(
            rt.services.replay.execute(ReplayRequest(execution, STAGE, None, ROUTE))
        )
        while not answer.done() and not await rt.broker.peek(queue, 1):  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # observe the queue from outside, as a worker does
        took = time.perf_counter() - began
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
    return took


# -- --help ----------------------------------------------------------------------------------------


def help_text(*, rounds: int) -> Figure:
    """Measure `playhead --help` and `import typer` in interleaved rounds."""
    program = Path(sys.executable).with_name("playhead")
    shown = [str(program), "--help"] if program.exists() else [sys.executable, "-m", "playhead", "--help"]
    ours: list[float] = []
    bare: list[float] = []
    for n in range(rounds + 1):
        for command, into in ((shown, ours), ([sys.executable, "-c", "import typer"], bare)):
            took = _time(command)
            if n:  # the first round reads files that later rounds find in memory
                into.append(took)
    ratio = middle_ratio(ours, bare)
    report(f"  --help: {median(ours):.0f} ms, import typer {median(bare):.0f} ms")
    return Figure(
        "playhead --help",
        median(ours),
        "ms",
        rounds=ours,
        baseline=f"import typer: {median(bare):.0f} ms",
        ratio=ratio,
        target=f"at most {_TARGET_HELP:g} of import typer",
        passes=ratio <= _TARGET_HELP,
    )


def _time(command: Sequence[str]) -> float:
    with scratch(None) as folder:
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - began) * 1000
