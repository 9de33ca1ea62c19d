"""One object that the store can't give, though it gives others: they do not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.engine.attempts import UNREADABLE_DELAY_SECONDS, Attempts, Ended
from playhead.errors import Unavailable, store_unavailable
from playhead.ports.catalog.work import GivenBack
from playhead.ports.store import Blob, Found, any_of
from tests.contract.conftest import Clock, Lab

QUEUE = "docs.convert"


class Archive(MemoryStore):
    """Does not give what `away` names."""

    away: frozenset[str] = frozenset()

    async def read(self, keys: Sequence[str]) -> Found:
        found = await super().read(keys)
        return any_of(
            [
                store_unavailable(f"can't read {key}: it is archived") if key in self.away else one
                for key, one in zip(keys, found, strict=True)
            ]
        )


async def test_what_comes_with_an_object_that_can_not_be_read_is_worked_and_that_one_comes_again():
    clock = Clock()
    catalog = MemoryCatalog(clock=clock, heartbeat_seconds=1.0)
    broker, store, lab = MemoryBroker(clock=clock, visibility=1000.0), Archive(), Lab(catalog, clock)
    attempts = Attempts(
        *(catalog, broker, store), worker="w1", working={}, max_object_bytes=100, rest=asyncio.sleep
    )
    await lab.beat("w1")
    run = await lab.started("a.md", "b.md", "c.md")
    keys = [f"{run.execution}/input/{name}.md" for name in "abc"]
    await store.write([[Blob(key, b"x" * lab.input(key[-4:]).size)] for key in keys])
    await broker.publish(run.calls)
    store.away = frozenset([keys[1]])

    taken = await attempts.take(await broker.receive(QUEUE, 10))

    assert taken.away is None  # the route goes on
    assert [one.data is None for one in taken.started] == [False, True, False]
    problem = taken.started[1].problem
    assert isinstance(problem, GivenBack)
    assert problem.delay == UNREADABLE_DELAY_SECONDS
    done = [
        Ended(
            one,
            result=one.problem,
        )
        for one in taken.started
    ]
    await attempts.end(done, await attempts.store(done))
    assert [await lab.state(each) for each in run.ids] == ["completed", "retry", "completed"]
    (claim,) = [one.claim for one in taken.started if one.problem]
    assert claim.spent == 1

    store.away = frozenset()
    clock.advance(UNREADABLE_DELAY_SECONDS + 1)
    await lab.beat("w1")
    await broker.publish(await catalog.due("w1", limit=10))
    (again,) = (await attempts.take(await broker.receive(QUEUE, 10))).started
    assert (again.claim.attempt, again.claim.spent) == (2, 1)  # that attempt was not counted
    assert again.data is not None


def test_nothing_that_can_be_read_is_a_store_that_is_away():
    reason = store_unavailable("it is away")
    with pytest.raises(Unavailable, match="it is away"):
        any_of([reason, store_unavailable("it too")])
    founds: list[Found] = [[], [None], [b"x", reason], [reason, None]]
    for found in founds:
        assert any_of(found) == found
