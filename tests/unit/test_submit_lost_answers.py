"""The catalog becomes unavailable while a run starts: the run must not stay open while its process lives."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

import pytest

from playhead.environment import Environment
from playhead.errors import Unavailable, catalog_unavailable
from playhead.model import Execution
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.ports.catalog.upkeep import Process
from playhead.services.submit import SubmitService
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock, Lab, pages
from tests.store_memory import MemoryStore

T = TypeVar("T")

OWNER = Process("server", "serve", "here", 1)


class Lossy(MemoryCatalog):
    """Executes one request without an answer, and is unavailable for some requests after it."""

    unanswered = ""
    unavailable = 0
    late: Coroutine[Any, Any, Execution] | None = None
    holds_back = 0

    async def _answer(self, step: str, done: Coroutine[Any, Any, T]) -> T:
        if self.unavailable:
            self.unavailable -= 1
            done.close()
            raise catalog_unavailable("it is still unavailable")
        answer = await done
        if step == self.unanswered:
            self.unanswered, self.unavailable = "", 3
            raise catalog_unavailable("the connection broke")
        return answer

    async def open_run(self, *asked: Any, **more: Any) -> Execution:
        if self.holds_back:
            self.late = super().open_run(*asked, **more)
            raise catalog_unavailable("it did not answer in time")
        return await self._answer("open", super().open_run(*asked, **more))

    async def seal(self, execution: UUID) -> bool:
        return await self._answer("seal", super().seal(execution))

    async def cancel(self, execution: UUID, **given: Any) -> Execution | None:
        if self.holds_back:
            self.holds_back -= 1
        elif self.late:
            late, self.late = self.late, None
            await late
        return await self._answer("cancel", super().cancel(execution, **given))


class Begun:
    """A service over a catalog that loses answers, with its spawned tasks and its sleeps."""

    def __init__(self, catalog: Lossy) -> None:
        self.catalog = catalog
        self.waits: list[float] = []
        self.spawned: list[asyncio.Task[None]] = []
        self.service = SubmitService(
            *(catalog, MemoryStore()),
            Environment(OWNER.id, sleep=self._sleep, spawn=self._spawn),
            lease=15,
            max_object_bytes=100,
            sealed=lambda job: pytest.fail("nothing is driven here"),
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.spawned.append(asyncio.create_task(work))
        return self.spawned[-1]

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def fail(self) -> None:
        """Start a run that fails, and wait for its spawned tasks."""
        await Lab(self.catalog, Clock()).save()
        await self.catalog.heartbeat(OWNER)
        with pytest.raises(Unavailable):
            await self.service.run("docs", pages())
        (given_up,) = self.spawned
        await given_up

    async def statuses(self) -> list[str]:
        runs, _ = await self.catalog.executions(ExecutionFilter())
        return [run.status for run in runs]


@pytest.mark.parametrize("unanswered", ["open", "seal"])
async def test_a_run_whose_start_was_not_answered_is_ended_when_the_catalog_is_available(unanswered: str):
    begun = Begun(Lossy())
    begun.catalog.unanswered = unanswered
    await begun.fail()
    assert await begun.statuses() == ["cancelled"]
    assert begun.waits == [1, 2, 4]


async def test_a_run_that_starts_after_its_caller_gave_up_is_ended():
    begun = Begun(Lossy())
    begun.catalog.holds_back = 3  # its COMMIT is on its way, still when it is asked about
    await begun.fail()
    assert await begun.statuses() == ["cancelled"]
    assert begun.waits == [1, 2, 4]


async def test_a_run_that_never_starts_is_not_checked_forever():
    begun = Begun(Lossy())
    begun.catalog.holds_back = 1_000
    await begun.fail()
    assert await begun.statuses() == []
    assert 120 <= sum(begun.waits) < 125  # to the last pause
    assert begun.catalog.late
    begun.catalog.late.close()
