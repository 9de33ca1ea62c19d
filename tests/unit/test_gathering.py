"""Attempts of slow steps end in batches, because a commit costs almost the same for one as for dozens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from playhead import Item
from playhead.environment import WorkerSettings
from playhead.model import Route
from playhead.ports.catalog.work import Finished, Result
from playhead.steps.chain import Chain
from playhead.steps.slots import Slots
from playhead.work.attempt import AttemptOutcome
from playhead.work.dispatch import Dispatcher, RouteRuntime
from tests.attempts import OneConsumer, Worker, completed, ended
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock
from tests.waiting import until

MESSAGES = 200


class Counted(MemoryCatalog):
    """Counts its transactions that end attempts, and its checks for executions that have ended."""

    transactions = 0
    checks = 0

    async def end_executions(self, executions: Sequence[UUID] | None = None) -> list[UUID]:
        self.checks += bool(executions)
        return await super().end_executions(executions)

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        self.transactions += 1
        return await super().finish(publisher, results)


def two_milliseconds(item: Item) -> str:
    time.sleep(0.002)
    return item.text


@pytest.mark.parametrize("concurrency", [4, 16])
async def test_messages_with_two_milliseconds_of_work_share_commits(concurrency: int):
    catalog = Counted(clock=Clock())
    world = OneConsumer(two_milliseconds, catalog=catalog, concurrency=concurrency)
    run = await world.started(*(f"{n}.md" for n in range(MESSAGES)))
    consumer = world.consumer()

    async def are_completed() -> bool:
        return await world.lab.state(run.ids[-1]) == "completed" and not consumer.deliveries

    await until(are_completed)
    consumer.stop(departing=True)
    await ended(consumer)

    assert catalog.transactions <= MESSAGES / 20


async def test_an_execution_is_checked_only_when_this_process_holds_no_other_of_its_messages():
    catalog = Counted(clock=Clock())
    worker = Worker(catalog=catalog)
    run = await worker.started("a.md", "b.md")
    one, other = (await worker.take()).claimed

    await worker.end(completed(one))
    assert catalog.checks == 0

    await worker.end(completed(other))
    assert catalog.checks == 1
    found = await catalog.execution(run.execution)
    assert found
    assert found.status == "completed"


async def test_a_single_message_does_not_wait_for_a_batch():
    worker = Worker()
    await worker.started()
    message = await worker.claim()
    slots: Slots[Any] = Slots(4)
    dispatcher = Dispatcher(slots, worker.deliveries, WorkerSettings(30, "", 100))
    route = Route("convert", "docs.convert")
    dispatcher.start(message, RouteRuntime(route, Chain(route, {})))
    await dispatcher.wait()

    assert not dispatcher.has_few_ended()
    outcomes: list[AttemptOutcome] = dispatcher.ended()
    assert [one.message for one in outcomes] == [message]
    slots.close()
