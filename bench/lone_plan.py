"""Make and use a plan in a separate process and print the result as JSON for `bench.plans`.

python -m bench.lone_plan HOME STORE EXECUTION OBJECTS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.homes import SOURCE, STAGE, opened
from bench.lone_replay import peak_bytes
from bench.plans import seconds_to_plan
from playhead.model import ReplayRequest


async def _use(home: Path, store: Path, execution: UUID, objects: int) -> dict[str, Any]:
    async with opened(home, "replay", store=store) as rt:
        await rt.services.configs.apply(SOURCE)
        plan, _ = await seconds_to_plan(rt, execution, STAGE, objects)
        began = time.perf_counter()
        started, _ = await rt.services.replay.start(ReplayRequest.of_plan(plan))
        checked = began
        while (now := await rt.catalog.replay(started.replay_batch_id)) and now.state == "checking":
            await asyncio.sleep(0.05)
            checked = time.perf_counter()
        done = await rt.services.replay.wait(started)
        took = time.perf_counter() - began
    if done.objects_published != objects:
        raise RuntimeError(f"{done.objects_published} of {objects} objects were published: {done.errors}")
    return {
        "peak_bytes": peak_bytes(),
        "replay_seconds": took,
        "check_seconds": checked - began,
    }


def main() -> None:
    home, store, execution, objects = sys.argv[1:]
    result = asyncio.run(_use(Path(home), Path(store), UUID(execution), int(objects)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
