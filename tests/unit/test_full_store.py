"""A store without room: no step runs again for outputs that it cannot take, however long that lasts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from playhead import Item
from playhead.errors import StoreFull, catalog_unavailable
from playhead.ports.catalog.work import Binding, Bound, Unbound
from playhead.ports.store import Blob, WriteResult
from tests.attempts import OneConsumer, ended
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock
from tests.store_memory import MemoryStore
from tests.waiting import SECONDS, until


class Full(MemoryStore):
    """A store without free space.

    Attributes:
        is_full: whether it rejects objects.
        probes_fit: whether it still accepts the small object of a check.
        room: number of writes that it accepts although it is full.
    """

    is_full = True
    room = 0
    probes_fit = False
    writes = 0
    checks = 0

    async def check(self) -> str:
        self.checks += 1
        if self.is_full and not self.probes_fit:
            raise StoreFull("no space left on device")
        return await super().check()

    async def write(self, groups: Sequence[Sequence[Blob]], **how: Any) -> WriteResult:
        self.writes += 1
        if self.is_full and not self.room:
            raise StoreFull("no space left on device")
        self.room = max(0, self.room - 1)
        return await super().write(groups, **how)


class World(OneConsumer):
    """A consumer whose step counts how often it ran."""

    store: Full

    def __init__(self, *, concurrency: int = 4, catalog: MemoryCatalog | None = None) -> None:
        self.runs: list[str] = []
        self.may_return = threading.Event()
        self.may_return.set()
        super().__init__(self._run, store=Full(), concurrency=concurrency, catalog=catalog)

    def _run(self, item: Item) -> str:
        self.runs.append(item.path)
        if item.path != "quick.md":
            self.may_return.wait(SECONDS)
        return "expensive"


@pytest.mark.parametrize("probes_fit", [False, True], ids=["full", "nearly full"])
async def test_an_expensive_step_runs_once_while_the_store_is_full(probes_fit: bool):
    """It ran every two seconds: its attempt was released each time, and the next one began at once."""
    world = World()
    world.store.probes_fit = True  # the consumer starts
    (message,) = (await world.started()).ids
    consumer = world.consumer()
    await until(lambda: world.store.writes)
    world.store.probes_fit = probes_fit

    await until(lambda: len(world.slept) > 20)

    assert world.runs == ["a.md"]
    assert await world.lab.state(message) == "running"
    assert max(world.slept) >= 5, "the store is tried less and less often"
    world.store.is_full = False
    await until(lambda: len(consumer.deliveries) == 0)
    assert await world.lab.state(message) == "completed"
    assert world.runs == ["a.md"]
    consumer.stop(departing=True)
    await ended(consumer)


async def test_a_worker_that_starts_while_the_store_is_full_runs_no_step_before_there_is_room():
    world = World()
    (message,) = (await world.started()).ids
    consumer = world.consumer()

    await until(lambda: world.store.checks > 5)

    assert world.runs == []
    assert await world.lab.state(message) == "pending"
    world.store.is_full = False
    await until(lambda: len(consumer.deliveries) == 0 and world.runs)
    assert await world.lab.state(message) == "completed"
    consumer.stop(departing=True)
    await ended(consumer)


async def test_messages_that_wait_for_a_slot_when_the_store_is_found_full_are_released():
    world = World(concurrency=2)
    world.route = replace(world.route, prefetch=4)
    world.store.probes_fit = True
    run = await world.started("a.md", "b.md", "c.md", "d.md")
    world.may_return.clear()
    consumer = world.consumer()
    await until(lambda: len(world.runs) == 2)
    world.may_return.set()
    await until(lambda: world.store.writes)

    async def states() -> list[str]:
        return [await world.lab.state(each) for each in run.ids]

    async def are_held_or_released() -> bool:
        found = await states()
        return found.count("running") == len(world.runs) and found.count("retry") == 4 - len(world.runs)

    await until(are_held_or_released)
    assert len(world.runs) < 4 or "retry" not in await states()
    consumer.stop(departing=True)
    await ended(consumer)
    assert "running" not in await states()


async def test_a_departing_worker_releases_outputs_that_a_full_store_does_not_take():
    world = World()
    world.store.probes_fit = True
    (message,) = (await world.started()).ids
    consumer = world.consumer()
    await until(lambda: world.store.writes)
    world.store.probes_fit = False

    consumer.stop(departing=True)
    await ended(consumer)

    assert await world.lab.state(message) == "retry"


class TooSlow(MemoryCatalog):
    """A catalog that cannot bind the outputs of two messages in time, from the second try on."""

    store: Full

    def __init__(self) -> None:
        super().__init__(clock=Clock())
        self.batches: list[int] = []

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        self.batches.append(len(bindings))
        if self.batches.count(2) > 1 and len(bindings) == 2:
            self.store.is_full = False
            raise catalog_unavailable("statement timeout")
        return await super().bind(bindings)


async def test_a_consumer_receives_again_after_a_full_store_when_its_batch_was_halved_meanwhile():
    """Both halves were recorded, but the consumer stayed blocked."""
    catalog = TooSlow()
    world = World(catalog=catalog)
    catalog.store = world.store
    world.store.probes_fit = True
    world.may_return.clear()
    run = await world.started("quick.md", "b.md", "c.md")
    consumer = world.consumer()
    await until(lambda: world.store.writes and len(world.runs) == 3)
    world.may_return.set()
    await until(lambda: consumer.slots.ended_count == 2)
    world.store.room = 1  # for quick.md: the two others are the next batch
    await until(lambda: len(consumer.deliveries) == 0)

    for later in ("d.md", "e.md"):  # a receive that was already waiting for messages may return the first
        await world.started(later)
        await until(lambda: later in world.runs)  # noqa: B023

    assert 2 in catalog.batches
    assert [await world.lab.state(each) for each in run.ids] == ["completed"] * 3
    consumer.stop(departing=True)
    await ended(consumer)
