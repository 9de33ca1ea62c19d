"""Replay one stage of a deployment in a separate process and print the result for `bench.deployment_million`.

    python -m bench.lone_deployment_replay EXECUTION OBJECTS

The environment names the deployment. Prints two lines of JSON: the time of the request, and the result.
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
from playhead.model import ReplayRequest
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
    result = {"rate": objects / took, "peak_bytes": peak_bytes(), "cpu_seconds": cpu}
    print(json.dumps(result), flush=True)


def main() -> None:
    execution, objects = sys.argv[1:]
    asyncio.run(_replay(UUID(execution), int(objects)))


if __name__ == "__main__":
    main()
