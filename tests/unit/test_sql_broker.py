"""The order in which a SQL broker changes rows, and the numbers that it keeps of queues."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from playhead.backends._sql_broker import SqlBroker
from playhead.ports.broker import Delivery
from tests.lab import dispatches
from tests.waiting import until


class Recorder:
    """Transactions that record which rows are locked: queue, number and tag."""

    losses = 0

    def __init__(self) -> None:
        self.locked: list[tuple[int, int, int]] = []

    async def write(self, body: Callable[[Any], Any]) -> Any:
        return await body(self)

    async def rows(self, statement: object, **arrays: Any) -> list[Any]:
        self.locked += zip(arrays["queues"], arrays["numbers"], arrays["tags"], strict=True)
        return []

    async def run(self, statement: object, **values: Any) -> None:
        """The rows are locked already."""


class Broker(SqlBroker):
    async def watch(self) -> None:
        """Nothing is received."""


@pytest.mark.parametrize("seed", range(20))
async def test_ack_and_extend_lock_common_rows_in_the_same_order(seed: int):
    """PostgreSQL ends one of two transactions that wait for rows of each other."""
    chance = random.Random(seed)
    held = [
        Delivery("docs.convert", str(n), {}, (chance.randint(1, 2), n, chance.randint(1, 3)))
        for n in range(12)
    ]
    orders = []
    for change in ("ack", "extend"):
        recorder = Recorder()
        some = chance.sample(held, 8)
        await getattr(Broker(recorder), change)(some)  # type: ignore[arg-type]
        assert sorted(recorder.locked) == sorted(delivery.tag for delivery in some)
        orders.append(recorder.locked)

    acked, extended = orders
    assert [row for row in acked if row in extended] == [row for row in extended if row in acked]


class Failover:
    """Transactions on a server that is replaced by one with another number for the same queue.

    Each read of the number waits until the test lets it answer.
    """

    def __init__(self) -> None:
        self.losses = 0
        self.number = 1
        self.answers: list[asyncio.Event] = []
        self.published: list[int] = []

    async def read(self, body: Callable[[Any], Any]) -> Any:
        return await body(self)

    async def write(self, body: Callable[[Any], Any]) -> Any:
        return await body(self)

    async def value(self, statement: object, **_: Any) -> bool:
        return False

    async def rows(self, statement: object, **_: Any) -> list[Any]:
        number, answers = self.number, asyncio.Event()
        self.answers.append(answers)
        await answers.wait()
        return [(number,), (number + 10,)]

    async def insert(self, statement: object, rows: list[tuple[int, str, str, str]]) -> None:
        self.published += [number for number, *_ in rows]


async def test_a_number_that_was_read_before_a_failover_is_not_used_after_it():
    db = Failover()
    broker = Broker(db)  # type: ignore[arg-type]
    before = asyncio.create_task(broker.receive("docs.convert", 1))
    await until(lambda: len(db.answers) == 1)
    db.losses, db.number = 1, 2
    after = asyncio.create_task(broker.publish(dispatches(1)))
    await until(lambda: len(db.answers) == 2)

    for answers in db.answers:
        answers.set()
        await asyncio.sleep(0)
    await asyncio.gather(before, after)

    await broker.publish(dispatches(1))
    assert db.published == [2, 2]
