"""Replay one stage in a separate process and print the result as JSON for `bench.million`.

python -m bench.lone_replay HOME STORE EXECUTION OBJECTS
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.homes import ROUTE, SOURCE, STAGE, opened
from playhead.ids import created_at
from playhead.model import ReplayRequest


async def _replay(home: Path, store: Path, execution: UUID, objects: int) -> dict[str, Any]:
    async with opened(home, "replay", store=store) as rt:
        await rt.services.configs.apply(SOURCE)
        began, at = time.perf_counter(), time.time()
        done = await rt.services.replay.execute(ReplayRequest(execution, STAGE, None, ROUTE))
        took = time.perf_counter() - began
    if done.objects_published != objects:
        raise RuntimeError(f"{done.objects_published} of {objects} objects were published: {done.errors}")
    # An id contains the millisecond in which its row was recorded. So the rate at any point can be computed
    # afterwards, without an observer that would disturb the measurement.
    tenth = max(objects // 10, 2)
    start, tenth_at, tail_at, end = _minted(home, (1, tenth, objects - tenth + 1, objects))
    return {
        "rate": objects / took,
        "first_rate": tenth / (tenth_at - start or took),
        "last_rate": tenth / (end - tail_at or took),
        "first_ms": (start - at) * 1000,
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Return the peak memory of this process.

    On Linux `ru_maxrss` includes the memory of the parent at the fork, so /proc is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _minted(home: Path, ordinals: tuple[int, ...]) -> list[float]:
    """Return when the rows with these ordinals were recorded, in seconds since the epoch."""
    with contextlib.closing(sqlite3.connect(home / "playhead.db")) as con:
        rows = [
            con.execute("SELECT id FROM messages WHERE execution = 2 AND ordinal = ?", (o,)) for o in ordinals
        ]
        return [created_at(UUID(bytes=row.fetchone()[0])) for row in rows]


def main() -> None:
    home, store, execution, objects = sys.argv[1:]
    result = asyncio.run(_replay(Path(home), Path(store), UUID(execution), int(objects)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
