"""The answer to a replay that the broker does not take contains the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from playhead.envelope import Dispatch
from playhead.environment import Environment
from playhead.model import MOST_ERRORS, Replay, ReplayRequest
from playhead.ports.broker import PublishResult
from playhead.services.replay import ReplayService
from tests.broker_memory import MemoryBroker
from tests.lab import MemoryDeployment


class Full(MemoryBroker):
    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        return [PublishResult("uncertain", "the stream is full")] * len(dispatches)


class Clock:
    """A clock that advances only while something sleeps."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Silent(MemoryBroker):
    """A broker that never answers a publish."""

    async def publish(self, dispatches: Any) -> Any:
        await asyncio.Event().wait()


async def replayed(broker: MemoryBroker, count: int) -> Replay:
    """Return the answer for a replay of some objects."""
    deployment = MemoryDeployment(broker=broker)
    await deployment.lab.save()
    source = await deployment.external(count)
    tasks: list[asyncio.Task[None]] = []
    clock = Clock()
    async with asyncio.TaskGroup() as group:

        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            tasks.append(group.create_task(work))
            return tasks[-1]

        service = ReplayService(
            deployment.backends,
            Environment("server", spawn=spawn, sleep=clock.sleep, clock=clock),
            lease=15,
            settle=10,
        )
        done = await service.execute(ReplayRequest(source, "pages", None, "docs/convert"))
        for task in tasks:
            task.cancel()
    return done


async def test_objects_whose_messages_the_broker_has_not_answered_are_named() -> None:
    done = await replayed(Silent(), 3)
    assert (done.status, done.objects_failed) == ("partial_failure", 3)
    assert done.errors
    assert "uncertain, will be settled" in done.errors[0]


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
async def test_each_error_line_has_the_brokers_reason(count: int) -> None:
    done = await replayed(Full(), count)
    assert (done.status, done.objects_failed) == ("partial_failure", count)
    assert done.errors is not None
    named = [
        line for line in done.errors if line.endswith(".md: uncertain, will be settled: the stream is full")
    ]
    assert len(done.errors) == min(count, MOST_ERRORS)
    assert done.errors[len(named) :] == ([] if len(named) == count else [f"and {count - len(named)} more"])
