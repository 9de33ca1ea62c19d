"""Replay one stage of a site in a process that does nothing else: `site_million` reads what it prints.

    python -m bench.lone_site_replay EXECUTION OBJECTS

The site is that of the environment. Two lines come: when the request was made, and how it went.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from uuid import UUID

from bench.homes import ROUTE, SOURCE, STAGE
from bench.lone_replay import peak_bytes
from playhead.bootstrap import open_runtime
from playhead.services.replay import ReplayRequest
from playhead.settings import load_settings


async def _replay(execution: UUID, objects: int) -> None:
    async with open_runtime(load_settings(), kind="replay") as rt:
        await rt.services.configs.apply(SOURCE)
        before, cpu = time.perf_counter(), time.process_time()
        print(json.dumps({"asked_at": time.time()}), flush=True)
        done = await rt.services.replay.execute(ReplayRequest(execution, STAGE, None, ROUTE))
        took, cpu = time.perf_counter() - before, time.process_time() - cpu
    if done.objects_published != objects:
        raise RuntimeError(f"{done.objects_published} of {objects} objects were published: {done.errors}")
    told = {"rate": objects / took, "peak_bytes": peak_bytes(), "cpu_seconds": cpu}
    print(json.dumps(told), flush=True)


def main() -> None:
    execution, objects = sys.argv[1:]
    asyncio.run(_replay(UUID(execution), int(objects)))


if __name__ == "__main__":
    main()
