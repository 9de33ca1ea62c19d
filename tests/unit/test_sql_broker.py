"""The order in which a SQL broker changes rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from playhead.backends._sql_broker import SqlBroker
from playhead.ports.broker import Delivery


class Recorder:
    """Transactions that record which rows each statement names: queue, number and tag."""

    losses = 0

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int]] = []

    async def write(self, body: Callable[[Any], Any]) -> Any:
        return await body(self)

    async def run(self, statement: object, *, queue: int, tag: int, numbers: list[int], **_: Any) -> int:
        self.rows += [(queue, n, tag) for n in numbers]
        return len(numbers)


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
        assert sorted(recorder.rows) == sorted(delivery.tag for delivery in some)
        orders.append(recorder.rows)

    acked, extended = orders
    assert [row for row in acked if row in extended] == [row for row in extended if row in acked]
