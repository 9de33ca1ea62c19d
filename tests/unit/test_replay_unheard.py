"""The answer to "record this replay" is lost: the caller must not be led to send everything twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.errors import Unavailable, catalog_unavailable
from playhead.ids import uuid7
from playhead.model import Config, Replay, Route
from playhead.ports.store import Blob
from playhead.services.replay import ReplayRequest, ReplayService


class Lossy(MemoryCatalog):
    """Records replays, or does not, and never answers that it did."""

    records = True
    looks_that_fail = 0

    async def open_replay(self, **asked: Any) -> Replay:
        if self.records:
            await super().open_replay(**asked)
        raise catalog_unavailable("the connection broke")

    async def replay(self, batch: UUID) -> Replay | None:
        if self.looks_that_fail:
            self.looks_that_fail -= 1
            raise catalog_unavailable("it is still away")
        return await super().replay(batch)


async def no_rest(seconds: float) -> None:
    await asyncio.sleep(0)


async def site() -> tuple[Lossy, ReplayService, ReplayRequest]:
    catalog, store = Lossy(), MemoryStore()
    await catalog.save_config(Config("docs", "a", {"a": Route("a", "docs.a")}), source="", digest="d")
    source = uuid7()
    await store.write([[Blob(f"{source}/pages/x.md", b"x")]])
    service = ReplayService(
        *(catalog, store, MemoryBroker()),
        owner="server",
        lease=15,
        settle=30,
        spawn=lambda work: pytest.fail("nothing is driven here"),
        sleep=no_rest,
    )
    return catalog, service, ReplayRequest(source, "pages", None, "docs/a")


@pytest.mark.parametrize("looks_that_fail", [0, 3])
async def test_a_replay_that_was_recorded_unheard_is_found_and_answered(looks_that_fail):
    catalog, service, request = await site()
    catalog.looks_that_fail = looks_that_fail

    made = await service.create(request)

    found, _ = await catalog.replays()
    assert [r.replay_batch_id for r in found] == [made.replay_batch_id]


async def test_one_that_was_not_recorded_is_the_error_that_it_was():
    catalog, service, request = await site()
    catalog.records = False

    with pytest.raises(Unavailable) as raised:
        await service.create(request)

    assert raised.value.detail == "the connection broke"
    assert await catalog.replays() == ([], None)


async def test_while_the_catalog_is_away_the_error_says_that_it_may_have_happened_and_how_to_see():
    catalog, service, request = await site()
    catalog.looks_that_fail = 99

    with pytest.raises(Unavailable) as raised:
        await service.create(request)

    catalog.looks_that_fail = 0
    ((made,), _) = await catalog.replays()
    assert str(made.replay_batch_id) in raised.value.detail
    assert "not known" in raised.value.detail
