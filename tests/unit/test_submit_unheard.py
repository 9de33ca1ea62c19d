"""The catalog goes away while a run is started: the run must not stay open while this process lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar
from uuid import UUID

import pytest

from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.errors import Unavailable, catalog_unavailable
from playhead.model import Config, Execution, Route
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.ports.catalog.upkeep import Process
from playhead.services.submit import SubmitService

T = TypeVar("T")

OWNER = Process("server", "serve", "here", 1)


class Lossy(MemoryCatalog):
    """Does one step without an answer, and is away for some calls after that."""

    unheard = ""
    away = 0
    late: Coroutine[Any, Any, Execution] | None = None
    holds_back = 0

    async def _answer(self, step: str, done: Coroutine[Any, Any, T]) -> T:
        if self.away:
            self.away -= 1
            done.close()
            raise catalog_unavailable("it is still away")
        answer = await done
        if step == self.unheard:
            self.unheard, self.away = "", 3
            raise catalog_unavailable("the connection broke")
        return answer

    async def open_run(self, *asked: Any, **more: Any) -> Execution:
        if self.holds_back:
            self.late = super().open_run(*asked, **more)
            raise catalog_unavailable("it did not answer in time")
        return await self._answer("open", super().open_run(*asked, **more))

    async def seal(self, execution: UUID) -> bool:
        return await self._answer("seal", super().seal(execution))

    async def cancel(self, execution: UUID) -> Execution | None:
        if self.holds_back:
            self.holds_back -= 1
        elif self.late:
            late, self.late = self.late, None
            await late
        return await self._answer("cancel", super().cancel(execution))


async def pages() -> AsyncIterator[tuple[str, bytes]]:
    yield "a.md", b"a"


class Begun:
    """A service over a catalog that loses answers, with what it left for later, and how long it rested."""

    def __init__(self, catalog: Lossy) -> None:
        self.catalog = catalog
        self.waits: list[float] = []
        self.later: list[asyncio.Task[None]] = []
        self.service = SubmitService(
            *(catalog, MemoryStore()),
            owner=OWNER.id,
            lease=15,
            max_object_bytes=100,
            sealed=lambda job: pytest.fail("nothing is driven here"),
            spawn=lambda work: self.later.append(asyncio.create_task(work)),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def fail(self) -> None:
        """Start a run that fails, and do what was left for later."""
        await self.catalog.save_config(
            Config("docs", "a", {"a": Route("a", "docs.a")}), source="", digest="d"
        )
        await self.catalog.heartbeat(OWNER)
        with pytest.raises(Unavailable):
            await self.service.run("docs", pages())
        (given_up,) = self.later
        await given_up

    async def statuses(self) -> list[str]:
        runs, _ = await self.catalog.executions(ExecutionFilter())
        return [run.status for run in runs]


@pytest.mark.parametrize("unheard", ["open", "seal"])
async def test_a_run_whose_start_was_not_heard_is_ended_once_the_catalog_is_back(unheard: str):
    begun = Begun(Lossy())
    begun.catalog.unheard = unheard
    await begun.fail()
    assert await begun.statuses() == ["cancelled"]
    assert begun.waits == [1, 2, 4]


async def test_a_run_that_begins_after_it_was_given_up_is_ended_all_the_same():
    begun = Begun(Lossy())
    begun.catalog.holds_back = 3  # its COMMIT is on its way, still when it is asked about
    await begun.fail()
    assert await begun.statuses() == ["cancelled"]
    assert begun.waits == [1, 2, 4]


async def test_a_run_that_never_begins_is_not_asked_about_for_ever():
    begun = Begun(Lossy())
    begun.catalog.holds_back = 1_000
    await begun.fail()
    assert await begun.statuses() == []
    assert 120 <= sum(begun.waits) < 125  # to the last pause
    assert begun.catalog.late
    begun.catalog.late.close()
