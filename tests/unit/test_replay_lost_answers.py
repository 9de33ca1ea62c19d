"""The answer to "record this replay" is lost: the caller must not send the request a second time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from playhead.environment import Environment
from playhead.errors import Unavailable, catalog_unavailable
from playhead.model import Replay, ReplayRequest
from playhead.ports.catalog.jobs import Opened
from playhead.services.replay import ReplayService
from tests.catalog_memory import MemoryCatalog
from tests.lab import MemoryDeployment


class Lossy(MemoryCatalog):
    """Records replays or not, and never answers."""

    records = True
    failing_reads = 0

    async def open_replay(self, **asked: Any) -> Opened:
        if self.records:
            await super().open_replay(**asked)
        raise catalog_unavailable("the connection broke")

    async def admit(self, *, per_queue: int) -> list[UUID]:
        raise catalog_unavailable("the connection broke")

    async def replay(self, batch: UUID, *, work: bool = True, trouble: str = "") -> Replay | None:
        if self.failing_reads:
            self.failing_reads -= 1
            raise catalog_unavailable("it is still unavailable")
        return await super().replay(batch, work=work, trouble=trouble)


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


async def world() -> tuple[Lossy, ReplayService, ReplayRequest]:
    catalog = Lossy()
    deployment = MemoryDeployment(catalog=catalog)
    await deployment.lab.save()
    source = await deployment.external(1)
    service = ReplayService(
        deployment.backends,
        Environment("server", sleep=no_sleep, spawn=lambda work: pytest.fail("nothing is driven here")),
        lease=15,
        settle=30,
    )
    return catalog, service, ReplayRequest(source, "pages", None, "docs/convert")


@pytest.mark.parametrize("failing_reads", [0, 3])
async def test_a_replay_that_was_recorded_without_an_answer_is_found(failing_reads):
    catalog, service, request = await world()
    catalog.failing_reads = failing_reads

    made, _ = await service.create(request)

    found, _ = await catalog.replays()
    assert [r.replay_batch_id for r in found] == [made.replay_batch_id]


async def test_a_replay_that_was_recorded_is_answered_although_its_place_in_the_queue_is_not_known():
    """The client got an error, sent the request again, and everything was published twice."""
    catalog, service, request = await world()

    made, is_new = await service.create(replace(request, reason="a new splitter"))

    found, _ = await catalog.replays()
    assert [r.replay_batch_id for r in found] == [made.replay_batch_id]
    assert is_new


async def test_a_replay_that_was_not_recorded_raises_the_first_error():
    catalog, service, request = await world()
    catalog.records = False

    with pytest.raises(Unavailable) as raised:
        await service.create(request)

    assert raised.value.detail == "the connection broke"
    assert await catalog.replays() == ([], None)


async def test_while_the_catalog_is_unavailable_the_error_says_how_to_check_whether_it_was_recorded():
    catalog, service, request = await world()
    catalog.failing_reads = 99

    with pytest.raises(Unavailable) as raised:
        await service.create(request)

    catalog.failing_reads = 0
    ((made,), _) = await catalog.replays()
    assert str(made.replay_batch_id) in raised.value.detail
    assert "not known" in raised.value.detail
