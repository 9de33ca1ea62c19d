"""One object that the store can't give, though it gives others: they do not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.engine.attempts import (
    BESIDE_DELAY_SECONDS,
    UNAVAILABLE_DELAY_SECONDS,
    AttemptOutcome,
    Attempts,
    IntakeResult,
)
from playhead.engine.outputs import Product
from playhead.errors import Unavailable, store_unavailable
from playhead.ports.catalog.work import Released
from playhead.ports.store import Blob, ReadResult, WriteResult, any_of
from tests.contract.conftest import Clock, Lab

QUEUE = "docs.convert"


class Archive(MemoryStore):
    """Does not give what `away` names, nor take what lies below it."""

    away: frozenset[str] = frozenset()
    answers = True

    async def check(self) -> str:
        if not self.answers:
            raise store_unavailable("it is away")
        return await super().check()

    async def read(self, keys: Sequence[str]) -> ReadResult:
        found = await super().read(keys)
        return any_of(
            [
                store_unavailable(f"can't read {key}: it is archived") if key in self.away else one
                for key, one in zip(keys, found, strict=True)
            ]
        )

    async def write(self, groups: Sequence[Sequence[Blob]], **how: Any) -> WriteResult:
        refused = [any(blob.key.startswith(tuple(self.away)) for blob in group) for group in groups]
        await super().write([group for group, no in zip(groups, refused, strict=True) if not no], **how)
        return any_of([store_unavailable("it is closed") if no else None for no in refused])


class Site:
    """A worker, `w1`, and a run of three messages that it has been called for."""

    async def open(self) -> None:
        self.clock = Clock()
        self.catalog = MemoryCatalog(clock=self.clock, heartbeat_seconds=1.0)
        self.broker = MemoryBroker(clock=self.clock, visibility=1000.0)
        self.store = Archive()
        self.lab = Lab(self.catalog, self.clock)
        self.attempts = Attempts(
            *(self.catalog, self.broker, self.store),
            worker="w1",
            working={},
            max_object_bytes=100,
            sleep=asyncio.sleep,
        )
        await self.lab.beat("w1")
        self.run = await self.lab.started("a.md", "b.md", "c.md")
        self.keys = [f"{self.run.execution}/input/{name}.md" for name in "abc"]
        await self.store.write([[Blob(key, b"x" * self.lab.input(key[-4:]).size)] for key in self.keys])
        await self.broker.publish(self.run.calls)

    async def take(self) -> IntakeResult:
        return await self.attempts.take(await self.broker.receive(QUEUE, 10))

    async def end(self, taken: IntakeResult) -> None:
        """End what could be read with one output each, as a lane does."""
        batch = []
        for one in taken.started:
            made = [Product(f"{one.claim.path}.txt", b"made", "text/plain", {})]
            problem = one.problem
            batch.append(
                AttemptOutcome(one, result=problem) if problem else AttemptOutcome(one, "pages", made)
            )
        await self.attempts.end(batch, await self.attempts.persist(batch))

    async def states(self) -> list[str]:
        return [await self.lab.state(each) for each in self.run.ids]

    async def call_again(self) -> None:
        self.store.away = frozenset()
        self.clock.advance(BESIDE_DELAY_SECONDS + 1)
        await self.lab.beat("w1")
        await self.broker.publish(await self.catalog.due("w1", limit=10))


async def test_what_comes_with_an_object_that_can_not_be_read_is_worked_and_that_one_comes_again():
    site = Site()
    await site.open()
    site.store.away = frozenset([site.keys[1]])

    taken = await site.take()

    assert taken.away is None  # the route goes on
    assert [one.data is None for one in taken.started] == [False, True, False]
    await site.end(taken)
    assert await site.states() == ["completed", "retry", "completed"]

    await site.call_again()
    (again,) = (await site.take()).started
    assert (again.claim.attempt, again.claim.spent) == (2, 1)  # the first was not counted
    assert again.data is not None


async def test_what_ends_with_an_output_that_can_not_be_stored_is_stored_and_that_one_is_made_again():
    site = Site()
    await site.open()
    site.store.away = frozenset([f"{site.run.execution}/pages/b"])

    await site.end(await site.take())
    assert await site.states() == ["completed", "retry", "completed"]

    await site.call_again()
    taken = await site.take()
    assert [(one.claim.attempt, one.claim.spent) for one in taken.started] == [(2, 1)]
    await site.end(taken)
    assert await site.states() == ["completed"] * 3


@pytest.mark.parametrize("answers", [True, False])
async def test_a_store_that_gives_none_of_some_objects_is_away_only_if_it_does_not_answer(answers: bool):
    site = Site()
    await site.open()
    site.store.away = frozenset(site.keys)
    site.store.answers = answers

    taken = await site.take()

    assert (taken.away is None) == answers
    delays = {one.problem.delay for one in taken.started if isinstance(one.problem, Released)}
    assert delays == {BESIDE_DELAY_SECONDS if answers else UNAVAILABLE_DELAY_SECONDS}


@pytest.mark.parametrize("answers", [True, False])
async def test_a_store_that_takes_none_of_some_outputs_is_away_only_if_it_does_not_answer(answers: bool):
    site = Site()
    await site.open()
    taken = await site.take()
    site.store.away = frozenset([f"{site.run.execution}/pages"])
    site.store.answers = answers

    if answers:
        await site.end(taken)
        assert await site.states() == ["retry"] * 3
    else:
        with pytest.raises(Unavailable, match="closed"):
            await site.end(taken)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_sidecar_of_others_that_can_not_be_had_is_waited_for_only_where_the_store_is_away(
    answers: bool,
):
    site = Site()
    await site.open()
    adopted = site.lab.unknown()
    key = f"{adopted}/pages/x.md"
    await site.store.write([[Blob(key, b"x")], [Blob(f"{key}.meta.json", b'{"attributes": {"a": 1}}')]])
    await site.catalog.adopt(adopted)
    await site.broker.publish((await site.lab.started_replay(adopted, key, stage="pages")).calls)
    site.store.away = frozenset([f"{key}.meta.json"])
    site.store.answers = answers

    (one,) = [one for one in (await site.take()).started if one.claim.object_key == key]

    assert (one.problem is None) == answers
    assert one.told.attributes == {}


def test_nothing_that_can_be_read_is_a_store_that_is_away():
    reason = store_unavailable("it is away")
    with pytest.raises(Unavailable, match="it is away"):
        any_of([reason, store_unavailable("it too")])
    founds: list[ReadResult] = [[], [None], [b"x", reason], [reason, None]]
    for found in founds:
        assert any_of(found) == found
