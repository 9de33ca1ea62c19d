"""Which replays a process drives: at most a number at once, the oldest first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any
from uuid import UUID

import pytest

from playhead.envelope import Dispatch
from playhead.environment import Environment
from playhead.model import RatePace, Replay, ReplayRequest
from playhead.ports.broker import PublishResult
from playhead.services.replay import ReplayService
from tests.broker_memory import MemoryBroker
from tests.lab import MemoryDeployment
from tests.waiting import until


class Gate(MemoryBroker):
    """Accepts nothing until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        await self.open.wait()
        return await super().publish(dispatches)


class Server(MemoryDeployment):
    """A process that drives one replay at once."""

    broker: Gate

    def __init__(self) -> None:
        super().__init__(broker=Gate())
        self._tasks = set[asyncio.Task[None]]()
        self.service = ReplayService(
            self.backends, Environment("server", spawn=self._spawn), lease=15, settle=30, per_process=1
        )
        self.drives = self.service.drives

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def start(self, *, reason: str | None = "to test", rate: float | None = None) -> Replay:
        source = await self.external(3)
        pace = None if rate is None else RatePace(rate)
        request = ReplayRequest(source, "pages", None, "docs/convert", reason=reason, pace=pace)
        return (await self.service.start(request)).replay

    async def drives_only(self, *replays: Replay) -> None:
        """Wait until these are driven, and no other one."""
        expected = {replay.execution_id for replay in replays}
        await until(lambda: self.drives.driving == expected, "these replays to be driven")

    async def take(self) -> None:
        """What each process does twice a second."""
        self.drives.take(await self.catalog.abandoned_jobs())

    async def waits_for(self, replay: Replay) -> tuple[str, str | None]:
        found = await self.lab.replay(replay.replay_batch_id)
        return found.state, found.waits_for

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.lab.save()
    yield server
    await server.close()


async def test_a_managed_replay_waits_for_a_process_and_a_plain_one_does_not(server: Server):
    first = await server.start()
    await server.drives_only(first)

    second = await server.start()
    plain = await server.start(reason=None)

    await server.drives_only(first, plain)
    assert await server.waits_for(second) == ("publishing", "process")
    await server.take()
    await server.drives_only(first, plain)

    server.broker.open.set()
    await server.drives_only()
    await server.take()
    await until(lambda: _ended(server, second), "the replay that waited to be published")


async def _ended(server: Server, replay: Replay) -> bool:
    return (await server.lab.replay(replay.replay_batch_id)).status == "publishing_complete"


async def test_a_new_replay_does_not_overtake_one_that_waits(server: Server):
    first = await server.start()
    await server.drives_only(first)
    second = await server.start()
    await server.take()
    server.broker.open.set()
    await server.drives_only()
    server.broker.open.clear()

    third = await server.start()

    assert await server.waits_for(third) == ("publishing", "process")
    await server.take()
    await server.drives_only(second)
    assert (await server.lab.replay(first.replay_batch_id)).status == "publishing_complete"


async def test_another_process_takes_a_replay_that_waits(server: Server):
    await server.start()
    second = await server.start()
    jobs: list[UUID] = await server.catalog.abandoned_jobs()
    other = ReplayService(server.backends, Environment("other"), lease=15, settle=30, per_process=1)

    assert second.execution_id in jobs
    other.drives.take(jobs[-1:])

    await until(lambda: other.drives.driving == {second.execution_id}, "the other process to drive it")


async def test_a_replay_whose_next_message_is_due_soon_keeps_its_place(server: Server):
    server.broker.open.set()
    slow = await server.start(rate=10)
    await server.drives_only(slow)

    second = await server.start()
    await server.take()

    assert await server.waits_for(second) == ("publishing", "process")


async def test_replays_with_a_low_rate_do_not_keep_others_waiting(server: Server):
    """A replay of five objects waited for minutes, until one of the slow ones had ended."""
    server.broker.open.set()
    slow = await server.start(rate=1)
    await until(lambda: server.drives.waiting == {slow.execution_id}, "the slow replay to wait for its rate")

    second = await server.start()

    await until(lambda: _ended(server, second), "the other replay to be published")
    assert server.drives.driving == {slow.execution_id}
