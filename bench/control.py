"""Paced replays: how exactly the rate is kept. Pause: how soon it takes effect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench.figures import Figure, median
from bench.homes import ROUTE, SOURCE, STAGE, lay_out, opened
from bench.machine import report, scratch
from playhead.bootstrap.process import Runtime
from playhead.model import RatePace, Replay, ReplayRequest
from playhead.ports.catalog.jobs import WINDOW

_QUEUE = f"bench.{ROUTE}"
_SKIPPED_SECONDS = 2
_TARGET_SHARE = 0.05
_TARGET_PAUSE_MS = 200


def measure(memory: Path | None, *, rates: Sequence[float], seconds: float, rounds: int) -> list[Figure]:
    """Measure each rate (messages per second) for some seconds, then pauses of replays without a pace."""
    return [*(_paced(memory, rate, seconds) for rate in rates), *_pauses(memory, rounds)]


# -- rate ------------------------------------------------------------------------------------------


def _paced(parent: Path | None, rate: float, seconds: float) -> Figure:
    with scratch(parent) as folder:
        count = int(rate * (seconds + 2 * _SKIPPED_SECONDS)) + 100
        execution = lay_out(folder / "objects", count)
        measured, most = asyncio.run(_rate(folder, execution, rate, seconds))
    off = measured / rate - 1
    report(f"  {rate:g}/s: {measured:.1f}/s; at most {most:.0f} in one second")
    return Figure(
        f"paced replay at {rate:g}/s for {seconds:g} s",
        measured,
        "/s",
        ratio=measured / rate,
        baseline=f"most in a second: {most:.0f}, allowed {rate + 2 * max(1, rate / 10):.0f}",
        target="within 5 %",
        passes=abs(off) <= _TARGET_SHARE,
    )


async def _rate(folder: Path, execution: UUID, rate: float, seconds: float) -> tuple[float, float]:
    """Return the messages per second that reach the queue, and the most in any second."""
    async with opened(folder / "home", "replay", store=folder / "objects") as rt:
        await rt.services.configs.apply(SOURCE)
        await rt.services.replay.start(
            ReplayRequest(execution, STAGE, None, ROUTE, pace=RatePace(rate), report=False)
        )
        seen: list[tuple[float, int]] = []
        until = time.monotonic() + seconds + _SKIPPED_SECONDS
        while time.monotonic() < until:
            seen.append((time.monotonic(), (await rt.broker.depth(_QUEUE)).ready))
            await asyncio.sleep(0.05)
    begin = next(n for n, (at, _) in enumerate(seen) if at >= seen[0][0] + _SKIPPED_SECONDS)
    (first, had), (last, have) = seen[begin], seen[-1]
    most = 0
    low = 0
    for at, depth in seen:
        while seen[low][0] < at - 1:
            low += 1
        most = max(most, depth - seen[low][1])
    return (have - had) / (last - first), most


# -- pause -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pause:
    """Milliseconds until the answer and until the last message; messages that came after the answer."""

    answer: float
    effect: float
    after: int


def _pauses(parent: Path | None, rounds: int) -> list[Figure]:
    pauses: list[_Pause] = []
    with scratch(parent) as folder:
        execution = lay_out(folder / "objects", 50_000)
        for number in range(rounds):
            home = folder / f"home{number}"
            pauses.append(asyncio.run(_pause(home, folder / "objects", execution)))
    effects = [one.effect for one in pauses]
    answers = [one.answer for one in pauses]
    most = max(one.after for one in pauses)
    report(
        f"  pause: answer {median(answers):.0f} ms, effect {max(effects):.0f} ms, {most} messages after it"
    )
    return [
        Figure(
            "pause of a replay at full speed: last message after the request",
            max(effects),
            "ms",
            rounds=effects,
            baseline=f"answer: {median(answers):.0f} ms; messages after it: at most {most}",
            target=f"one batch ({WINDOW:,}) or {_TARGET_PAUSE_MS} ms",
            passes=most <= WINDOW or max(effects) <= _TARGET_PAUSE_MS,
        )
    ]


async def _pause(home: Path, store: Path, execution: UUID) -> _Pause:
    async with opened(home, "replay", store=store) as rt:
        await rt.services.configs.apply(SOURCE)
        started, _ = await rt.services.replay.start(ReplayRequest(execution, STAGE, None, ROUTE))
        while await _depth(rt) < 5_000:  # noqa: ASYNC110 - observe the queue from outside
            await asyncio.sleep(0.001)
        began = time.perf_counter()
        paused: Replay = await rt.services.control.pause(started.replay_batch_id)
        answered = time.perf_counter()
        at_answer = depth = await _depth(rt)
        changed = answered
        while time.perf_counter() < changed + 1:
            now = await _depth(rt)
            if now != depth:
                depth, changed = now, time.perf_counter()
            await asyncio.sleep(0.001)
        if not paused.objects_published <= depth <= paused.objects_published + paused.objects_uncertain:
            raise RuntimeError(f"{depth} messages arrived, but the answer said: {paused}")
        await rt.services.control.cancel(started.replay_batch_id, withdraw=True)
    return _Pause((answered - began) * 1000, (changed - began) * 1000, depth - at_answer)


async def _depth(rt: Runtime) -> int:
    return (await rt.broker.depth(_QUEUE)).ready
