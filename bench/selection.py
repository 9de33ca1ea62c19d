"""Listing of a stage with a condition. Baseline: the listing of the whole stage."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final
from uuid import UUID

from bench.figures import Figure, median, middle_ratio
from bench.homes import opened
from bench.machine import report, scratch
from bench.workers import published
from playhead.bootstrap.process import Runtime
from playhead.ids import now
from playhead.keys import is_aside
from playhead.model import Selection
from playhead.ports.catalog.work import Claim, Failed
from playhead.reading.listing import PAGE
from playhead.replay.selection import selector_of

_STAGE: Final = "input"
_TARGET: Final = "bench/first"
_FAILED_SHARE: Final = 100
"""One in this number of objects has a dead letter."""
_CLAIMS: Final = 500
_WORKER: Final = "bench"
_CONDITIONS: Final = {
    "include": Selection(include=["**/*1.md"]),
    "20 globs": Selection(include=[f"**/*[0-9]{n:02}.md" for n in range(20)]),
    "modified_after": Selection(modified_after="-1d"),
    "content_type": Selection(content_type=["text/*"]),
    "only failed": Selection(only="failed"),
    "only unfinished": Selection(only="unfinished"),
}


def measure(parent: Path | None, *, objects: int, rounds: int) -> list[Figure]:
    """List `objects` inputs of a run: all of them, and those that meet each of several conditions."""
    with scratch(parent) as home:
        execution = asyncio.run(published(home, objects))
        return asyncio.run(_measured(home, execution, objects, rounds))


async def _measured(home: Path, execution: UUID, objects: int, rounds: int) -> list[Figure]:
    async with opened(home, None) as rt:
        failed = await _fail_some(rt, execution)
        expected = {"only failed": failed, "only unfinished": failed, "include": objects // 10}
        whole: list[float] = []
        rates: dict[str, list[float]] = {name: [] for name in _CONDITIONS}
        for _ in range(rounds):
            whole.append(objects / (await _list(rt, execution, None))[1])
            for name, selection in _CONDITIONS.items():
                found, seconds = await _list(rt, execution, selection)
                if found != expected.get(name, found):
                    raise RuntimeError(f"{name}: {found} objects were selected, not {expected[name]}")
                rates[name].append(objects / seconds)
    report(f"  whole stage: {median(whole):,.0f}/s")
    return [
        Figure(
            f"listing of {objects:,} objects with {name}",
            median(found),
            "/s",
            rounds=found,
            ratio=middle_ratio(found, whole),
            baseline=f"whole stage: {median(whole):,.0f}/s",
        )
        for name, found in rates.items()
    ]


async def _fail_some(rt: Runtime, execution: UUID) -> int:
    """Turn one of `_FAILED_SHARE` messages into a dead letter. Return their number."""
    rows, before = [], None
    while True:
        page, before = await rt.catalog.lineage_list(execution=execution, before=before, limit=1000)
        rows += page
        if before is None:
            break
    ids = [row.correlation_id for row in rows[::_FAILED_SHARE]]
    for at in range(0, len(ids), _CLAIMS):
        claims = await rt.catalog.claim(_WORKER, ids[at : at + _CLAIMS])
        failed = [
            Failed(one.correlation_id, one.attempt, "bench", "for the benchmark", "", None)
            for one in claims
            if isinstance(one, Claim)
        ]
        await rt.catalog.finish(_WORKER, failed)
    return len(ids)


async def _list(rt: Runtime, execution: UUID, selection: Selection | None) -> tuple[int, float]:
    """List the stage as a replay does, without recording it. Return the number of objects and the seconds."""
    began = time.perf_counter()
    selector = None
    if selection:
        selector = await selector_of(
            rt.catalog,
            selection.fixed(now()),
            source=execution,
            stage=_STAGE,
            target=_TARGET,
        )
    found = 0
    sizes = selector is not None and selector.needs_times
    async for page in rt.store.list(f"{execution}/{_STAGE}", sizes=sizes, page=2 * PAGE):
        entries = [entry for entry in page if not is_aside(entry.key)]
        found += len(await selector.select(entries) if selector else entries)
    return found, time.perf_counter() - began
