"""Publishing to queues that must be declared first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from playhead.backends._declared import publish_declared
from playhead.envelope import Dispatch
from playhead.errors import broker_unavailable
from playhead.ports.broker import CONFIRMED, PublishResult
from tests.lab import dispatches
from tests.waiting import SECONDS


async def test_the_queues_of_one_publish_are_declared_at_once():
    asked: set[str] = set()
    all_asked = asyncio.Event()

    async def declare(queue: str) -> None:
        asked.add(queue)
        if len(asked) == 3:
            all_asked.set()
        await all_asked.wait()
        if queue.startswith("stuck"):
            raise broker_unavailable(f"{queue} does not answer")

    async def publish(some: Sequence[Dispatch]) -> list[PublishResult]:
        return [CONFIRMED] * len(some)

    made = [*dispatches(1, "stuck.1"), *dispatches(1), *dispatches(1, "stuck.2")]
    async with asyncio.timeout(SECONDS):
        outcomes = await publish_declared(made, publish, unfit=lambda queue: None, declare=declare)

    assert [outcome.result for outcome in outcomes] == ["uncertain", "confirmed", "uncertain"]
    assert outcomes[2].reason == "stuck.2 does not answer"
