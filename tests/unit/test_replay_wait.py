"""The answer to a caller that waits for a replay is correct, even if the process was suspended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import pytest

from playhead.envelope import Dispatch
from playhead.environment import Environment
from playhead.errors import ReplayContinues
from playhead.model import Replay, ReplayRequest
from playhead.ports.broker import PublishResult
from playhead.ports.catalog.jobs import LeasedJob
from playhead.services.replay import ReplayService
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog
from tests.lab import MemoryDeployment

SETTLE = 10.0


class Slow(MemoryCatalog):
    """A catalog with an event between its answer and the moment when the caller receives it."""

    def __init__(self) -> None:
        super().__init__()
        self.closes = True
        self.looks = 0
        self.meanwhile: list[Callable[[], Awaitable[None]]] = []

    async def replay(self, batch: UUID, *, work: bool = True, trouble: str = "") -> Replay | None:
        self.looks += 1
        found = await super().replay(batch, work=work, trouble=trouble)
        if self.meanwhile:
            await self.meanwhile.pop(0)()
        return found

    async def close_job(self, held: LeasedJob) -> bool:
        return self.closes and await super().close_job(held)


class Waiting(MemoryDeployment):
    """A replay of three objects with a waiting caller, on a clock that only the test moves."""

    catalog: Slow

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        super().__init__(catalog=Slow(), broker=broker)
        self.now = 0.0
        self.service = ReplayService(
            self.backends,
            Environment("server", sleep=self._sleep, clock=lambda: self.now),
            lease=1000,
            settle=SETTLE,
        )

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def begin(self) -> Replay:
        await self.lab.save()
        source = await self.external(3)
        return (await self.service.create(ReplayRequest(source, "pages", None, "docs/convert"))).replay

    async def nothing(self) -> None:
        """A read without an event."""


async def test_a_caller_suspended_during_the_end_of_publishing_reports_completion():
    waiting = Waiting()
    made = await waiting.begin()

    async def sleep() -> None:
        await waiting.service.drives.drive(made.execution_id)
        waiting.now += SETTLE + 1

    waiting.catalog.meanwhile = [waiting.nothing, sleep]
    answer = await waiting.service.wait(made)

    assert (answer.status, answer.objects_found, answer.objects_published) == ("publishing_complete", 3, 3)


async def test_a_caller_suspended_without_progress_reports_that_the_replay_continues():
    waiting = Waiting()
    made = await waiting.begin()

    async def sleep() -> None:
        waiting.now += SETTLE + 1

    waiting.catalog.meanwhile = [waiting.nothing, sleep]
    with pytest.raises(ReplayContinues, match="listing has made no progress"):
        await waiting.service.wait(made)


async def test_a_caller_that_waits_only_for_the_end_of_the_job_reports_that_all_is_published():
    """All messages are confirmed, but the catalog is unavailable or full, so the job cannot be closed."""
    waiting = Waiting()
    waiting.catalog.closes = False
    made = await waiting.begin()
    driving = asyncio.create_task(waiting.service.drives.drive(made.execution_id))
    answer = await waiting.service.wait(made)
    driving.cancel()

    assert (answer.status, answer.objects_found, answer.objects_failed) == ("publishing_complete", 3, 0)


class Stuck(MemoryBroker):
    """Does not answer."""

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_caller_whose_process_drives_the_job_looks_at_the_catalog_ten_times_a_second():
    waiting = Waiting(Stuck())
    made = await waiting.begin()
    driving = asyncio.create_task(waiting.service.drives.drive(made.execution_id))
    while made.execution_id not in waiting.service.drives.driving:  # noqa: ASYNC110
        await asyncio.sleep(0)
    began = waiting.now
    assert (await waiting.service.wait(made)).status == "partial_failure"
    driving.cancel()

    assert waiting.catalog.looks <= (waiting.now - began) * 10 + 2


async def test_nothing_waits_for_a_client_that_has_disconnected():
    waiting = Waiting()
    made = await waiting.begin()

    async def gone() -> bool:
        return waiting.now > 5

    with pytest.raises(ReplayContinues, match="disconnected"):
        await waiting.service.wait(made, gone)

    assert waiting.now < SETTLE
