"""A consumer that stops while answers of the catalog are lost: attempts count, and claims are released."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from playhead import Item
from playhead.errors import catalog_unavailable
from playhead.ports.broker import Delivery
from playhead.ports.catalog.work import Claim, Finished, Refusal, Result
from tests.attempts import OneConsumer, ended
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock
from tests.waiting import SECONDS, until


class Lossy(MemoryCatalog):
    """Executes every request, but loses some answers.

    Attributes:
        lost: how many answers are lost from now on.
        is_unavailable: its check fails.
        at_loss: called when an answer is lost.
    """

    lost = 0
    is_unavailable = False
    checks = 0
    at_loss: Callable[[], object] = staticmethod(lambda: None)

    async def check(self) -> str:
        self.checks += 1
        if self.is_unavailable:
            raise catalog_unavailable("it is unavailable")
        return await super().check()

    async def claim(self, worker: str, ids: Sequence[UUID], **options: Any) -> list[Claim | Refusal]:
        answer = await super().claim(worker, ids, **options)
        self._lose_answer()
        return answer

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        self._lose_answer()
        return await super().finish(publisher, results)

    def _lose_answer(self) -> None:
        if self.lost:
            self.lost -= 1
            self.at_loss()
            raise catalog_unavailable("it is unavailable")


class World(OneConsumer):
    """A consumer over a catalog that loses answers. Its adapter runs until `go_on` is set."""

    catalog: Lossy

    def __init__(self) -> None:
        self.runs, self.go_on = threading.Event(), threading.Event()
        super().__init__(self._wait, catalog=Lossy(clock=Clock()))

    def _wait(self, item: Item) -> str:
        self.runs.set()
        self.go_on.wait(SECONDS)
        return item.text


async def test_a_consumer_that_waits_for_a_dispatch_stops_at_once():
    world = World()
    waits, answer = asyncio.Event(), asyncio.Event()

    async def receive(queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        waits.set()
        await answer.wait()
        return []

    world.broker.receive = receive  # type: ignore[method-assign]
    consumer = world.consumer()
    await waits.wait()

    consumer.stop()

    await ended(consumer)


@pytest.mark.parametrize("lost", [1, 3])
async def test_an_attempt_that_ends_while_its_consumer_stops_counts_although_answers_are_lost(lost: int):
    world = World()
    (message,) = (await world.started()).ids
    consumer = world.consumer()
    await until(world.runs.is_set)

    consumer.stop(departing=True)
    world.catalog.lost = lost
    world.go_on.set()
    await ended(consumer)

    assert await world.lab.state(message) == "completed"
    assert len(consumer.deliveries) == 0


@pytest.mark.parametrize("is_unavailable", [True, False], ids=["is unavailable", "can be read"])
async def test_a_departing_consumer_stops_although_the_catalog_records_nothing(is_unavailable: bool):
    world = World()
    (message,) = (await world.started()).ids
    consumer = world.consumer()
    await until(world.runs.is_set)

    consumer.stop(departing=True)
    world.catalog.lost, world.catalog.is_unavailable = 1_000_000, is_unavailable
    world.go_on.set()
    await ended(consumer)

    assert await world.lab.state(message) == "running"
    assert len(consumer.deliveries) == 0


async def test_a_consumer_that_stops_alone_waits_until_its_outcomes_are_recorded():
    world = World()
    (message,) = (await world.started()).ids
    consumer = world.consumer()
    await until(world.runs.is_set)

    consumer.stop()  # the worker goes on, so no other process may end what this consumer holds
    world.catalog.lost, world.catalog.is_unavailable = 1_000_000, True
    world.go_on.set()
    await until(lambda: world.catalog.checks > 2)
    assert not consumer.task.done()
    world.catalog.lost, world.catalog.is_unavailable = 0, False
    await ended(consumer)

    assert await world.lab.state(message) == "completed"
    assert len(consumer.deliveries) == 0


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_message_whose_claim_was_not_answered_is_released_and_its_attempt_not_spent(lost: int):
    world = World()
    (message,) = (await world.started()).ids
    consumer = world.consumer()
    world.catalog.lost, world.catalog.at_loss = lost, partial(consumer.stop, departing=True)
    await ended(consumer)

    assert len(consumer.deliveries) == 0
    await world.catalog.depart("w1")
    assert await world.catalog.recall_abandoned(limit=10) == 0
    assert (await world.lab.claim(message, "w2")).spent == 1


async def test_a_departing_consumer_stops_although_its_claim_is_never_answered():
    world = World()
    (message,) = (await world.started()).ids
    consumer = world.consumer()
    world.catalog.lost, world.catalog.is_unavailable = 1_000_000, True
    world.catalog.at_loss = partial(consumer.stop, departing=True)
    await ended(consumer)

    assert await world.lab.state(message) == "running"
    assert len(consumer.deliveries) == 0
