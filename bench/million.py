"""Replay a million objects: compare the last tenth with the first, and the memory with a small replay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.figures import Figure
from bench.homes import environment, lay_out
from bench.machine import report, scratch

SMALL = 10_000
_TARGET_TAIL = 0.8
_TARGET_MEMORY = 1.2
_TARGET_FIRST_MS = 200


def measure(memory: Path | None, *, objects: int) -> list[Figure]:
    """Replay `SMALL` and then `objects` objects, each in a separate process."""
    with scratch(memory) as folder:
        store = folder / "objects"
        report(f"  writing {objects:,} objects")
        few, many = lay_out(store, SMALL), lay_out(store, objects)
        small = _replay(folder / "small", store, few, SMALL)
        large = _replay(folder / "large", store, many, objects)
    tail = large["last_rate"] / large["first_rate"]
    growth = large["peak_bytes"] / small["peak_bytes"]
    return [
        Figure(
            f"replay of {objects:,} objects, last tenth",
            large["last_rate"],
            "/s",
            baseline=f"first tenth: {large['first_rate']:,.0f}/s, overall: {large['rate']:,.0f}/s",
            ratio=tail,
            target=f"at least {_TARGET_TAIL:g} of the first tenth",
            passes=tail >= _TARGET_TAIL,
        ),
        Figure(
            f"peak memory, {objects:,} objects",
            large["peak_bytes"] / 1e6,
            "MB",
            baseline=f"{SMALL:,} objects: {small['peak_bytes'] / 1e6:,.0f} MB",
            ratio=growth,
            target=f"at most {_TARGET_MEMORY:g} of {SMALL:,}",
            passes=growth <= _TARGET_MEMORY,
        ),
        Figure(
            f"first message of {objects:,} objects",
            large["first_ms"],
            "ms",
            target=f"within {_TARGET_FIRST_MS} ms",
            passes=large["first_ms"] <= _TARGET_FIRST_MS,
        ),
    ]


def _replay(home: Path, store: Path, execution: UUID, objects: int) -> dict[str, Any]:
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "bench.lone_replay", str(home), str(store), str(execution), str(objects)],
        env={**environment(home), "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    report(f"  {objects:,} objects: {result['rate']:,.0f}/s, peak {result['peak_bytes'] / 1e6:,.0f} MB")
    return result
