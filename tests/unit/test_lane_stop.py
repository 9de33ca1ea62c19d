"""A lane that stops while the catalog stutters: what it finished counts, what it claimed is given back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import pytest

from playhead import Item, adapter
from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.backends.store_memory import MemoryStore
from playhead.engine.attempts import Attempts
from playhead.engine.chain import Chain
from playhead.engine.lane import Backends, Lane, RouteRuntime
from playhead.errors import catalog_unavailable
from playhead.model import Route, Step
from playhead.ports.adapter import spec_of
from playhead.ports.broker import Delivery
from playhead.ports.catalog.upkeep import Subscription
from playhead.ports.catalog.work import Claim, Finished, Refusal, Result
from playhead.ports.store import Blob
from tests.contract.conftest import HEARTBEAT, Clock, Lab
from tests.waiting import SECONDS, until

QUEUE = "docs.convert"


class Stuttering(MemoryCatalog):
    """Does what it is asked; so many answers are lost."""

    lost = 0
    is_away = False
    checks = 0
    at_loss: Callable[[], object] = staticmethod(lambda: None)

    async def check(self) -> str:
        self.checks += 1
        if self.is_away:
            raise catalog_unavailable("it is away")
        return await super().check()

    async def claim(self, worker: str, ids: Sequence[UUID], *, alone: bool = False) -> list[Claim | Refusal]:
        answer = await super().claim(worker, ids, alone=alone)
        self._stutter()
        return answer

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        self._stutter()
        return await super().finish(publisher, results)

    def _stutter(self) -> None:
        if self.lost:
            self.lost -= 1
            self.at_loss()
            raise catalog_unavailable("it is away")


class Site:
    """A worker, `w1`, with one lane, beside another that beats. Its adapter runs until `go_on` is set."""

    may_start_suspect = True

    def __init__(self) -> None:
        self.catalog = Stuttering(clock=Clock(), heartbeat_seconds=HEARTBEAT)
        self.broker = MemoryBroker(clock=Clock(), visibility=1000.0)
        self.store = MemoryStore()
        self.lab = Lab(self.catalog, Clock())
        self.runs, self.go_on = threading.Event(), threading.Event()

        @adapter("held_up")
        def held_up(item: Item) -> str:
            self.runs.set()
            self.go_on.wait(SECONDS)
            return item.text

        spec = spec_of(held_up)
        assert spec
        self.route = Route("convert", QUEUE, (Step("held_up"),), stage="pages")
        self._runtime = RouteRuntime(self.route, Chain(self.route, {"held_up": spec}))

    async def started(self) -> UUID:
        """A run of one message, which is in its queue."""
        await self.lab.beat("w1", "w2")
        run = await self.lab.started("a.md")
        await self.store.write([[Blob(f"{run.execution}/input/a.md", b"")]])
        await self.broker.publish(run.calls)
        return run.ids[0]

    def lane(self) -> Lane:
        return Lane(
            self,
            Backends(self.catalog, self.broker, self.store),
            self._attempts,
            Subscription(QUEUE, "docs", 1, "convert"),
            self.route,
            visibility=1000.0,
            data_dir="/nowhere",
            sleep=lambda _: asyncio.sleep(0),
        )

    def _attempts(self, going_on: Callable[[], bool]) -> Attempts:
        return Attempts(
            *(self.catalog, self.broker, self.store),
            worker="w1",
            working={},
            max_object_bytes=100,
            sleep=asyncio.sleep,
            going_on=going_on,
        )

    # -- what a lane asks of its worker ------------------------------------------------------------

    def reserve_suspect_slot(self, suspect: Delivery) -> None: ...
    def settled(self, delivery: Delivery) -> None: ...
    def finished(self, count: int) -> None: ...

    async def runtime(self, claim: Claim) -> RouteRuntime:
        return self._runtime


async def ended(lane: Lane) -> None:
    await asyncio.wait_for(lane.task, SECONDS)


@pytest.mark.parametrize("lost", [1, 3])
async def test_what_was_finished_while_the_lane_stopped_counts_though_the_catalog_stuttered(lost: int):
    site = Site()
    message = await site.started()
    lane = site.lane()
    await until(site.runs.is_set)

    lane.stop(departing=True)
    site.catalog.lost = lost
    site.go_on.set()
    await ended(lane)

    assert await site.lab.state(message) == "completed"
    assert lane.in_hand == {}


@pytest.mark.parametrize("is_away", [True, False], ids=["is away", "can be read"])
async def test_a_lane_stops_though_the_catalog_takes_nothing(is_away: bool):
    site = Site()
    message = await site.started()
    lane = site.lane()
    await until(site.runs.is_set)

    lane.stop(departing=True)
    site.catalog.lost, site.catalog.is_away = 1_000_000, is_away
    site.go_on.set()
    await ended(lane)

    assert await site.lab.state(message) == "running"
    assert lane.in_hand == {}


async def test_a_lane_that_alone_is_to_stop_waits_until_what_it_finished_can_be_said():
    site = Site()
    message = await site.started()
    lane = site.lane()
    await until(site.runs.is_set)

    lane.stop()  # its queue is no longer wanted; its worker lives on, and nobody else may end what it holds
    site.catalog.lost, site.catalog.is_away = 1_000_000, True
    site.go_on.set()
    await until(lambda: site.catalog.checks > 2)
    assert not lane.task.done()
    site.catalog.lost, site.catalog.is_away = 0, False
    await ended(lane)

    assert await site.lab.state(message) == "completed"
    assert lane.in_hand == {}


@pytest.mark.parametrize("lost", [1, 3])
async def test_what_was_claimed_when_no_answer_came_is_given_back_and_not_spent(lost: int):
    site = Site()
    message = await site.started()
    lane = site.lane()
    site.catalog.lost, site.catalog.at_loss = lost, partial(lane.stop, departing=True)
    await ended(lane)

    assert lane.in_hand == {}
    await site.catalog.depart("w1")
    assert await site.catalog.recall_abandoned(limit=10) == 0
    assert (await site.lab.claim(message, "w2")).spent == 1


async def test_a_lane_stops_though_it_never_hears_what_it_claimed():
    site = Site()
    message = await site.started()
    lane = site.lane()
    site.catalog.lost, site.catalog.is_away = 1_000_000, True
    site.catalog.at_loss = partial(lane.stop, departing=True)
    await ended(lane)

    assert await site.lab.state(message) == "running"
    assert lane.in_hand == {}
