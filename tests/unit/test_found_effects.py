"""A worker finds that a route has external effects, which a replay does not repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

import pytest

from playhead import Item, adapter
from playhead.environment import Environment, WorkerSettings
from playhead.errors import catalog_unavailable
from playhead.model import Config, OnReplay, RouteEffects, Step
from playhead.ports.adapter import AdapterSpec, spec_of
from playhead.services.worker import WorkerService
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock, MemoryDeployment, Started
from tests.waiting import SECONDS

REASON = (
    "the replay does not repeat the effects of this route: when it was created, it was not known that send "
    "has external effects"
)


class Lossy(MemoryCatalog):
    """Cannot record routes as often as `lost` says."""

    lost = 0

    async def skip_route(self, execution: UUID, route: str) -> None:
        if self.lost:
            self.lost -= 1
            raise catalog_unavailable("it is unavailable")
        await super().skip_route(execution, route)


class World(MemoryDeployment):
    """A config that was applied when its adapter declared no external effects.

    Attributes:
        sent: the paths of the items that the adapter received.
    """

    catalog: Lossy

    def __init__(self, known: RouteEffects | None = "none") -> None:
        clock = Clock()
        super().__init__(clock=clock, catalog=Lossy(clock=clock))
        self.sent: list[str] = []
        route = self.lab.route("convert", steps=(Step("send"),), effects=known)
        self.config: Config = self.lab.config("docs", route)

    def adapters(self) -> Mapping[str, AdapterSpec]:
        @adapter("send", effects="external")
        def send(item: Item) -> None:
            self.sent.append(item.path)

        spec = spec_of(send)
        assert spec
        return {"send": spec}

    async def replay(self, effects: Mapping[str, OnReplay], *paths: str) -> Started:
        """A replay of some inputs, whose messages are in the queue."""
        await self.lab.beat("w1")
        run = await self.lab.started(*paths, config=self.config)
        keys = [f"{run.execution}/input/{path}" for path in paths]
        await self.put(*keys)
        started = await self.lab.started_replay(run.execution, *keys, config=self.config, effects=effects)
        await self.broker.publish(started.dispatches)
        return started

    async def work(self, started: Started, *states: str) -> None:
        """Work until each message of a replay is in one of these states."""
        worker = WorkerService(
            self.backends,
            self.adapters(),
            WorkerSettings(visibility=30, data_dir="/nowhere", max_object_bytes=1000),
            Environment("w1"),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop=stop))
        async with asyncio.timeout(SECONDS):
            while {await self.lab.state(identity) for identity in started.ids} - set(states):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        stop.set()
        assert await running == 0


@pytest.mark.parametrize("known", ["none", None])
@pytest.mark.parametrize("policy", ["skip", "refuse"])
async def test_messages_are_skipped_and_the_route_is_shown(known: RouteEffects | None, policy: OnReplay):
    world = World(known)
    started = await world.replay({"*": policy}, "a.md", "b.md")

    await world.work(started, "skipped")

    assert world.sent == []
    rows = [await world.lab.row(identity) for identity in started.ids]
    assert {(row.status, row.output_count) for row in rows} == {("skipped", 0)}
    assert rows[0].skip_reason == REASON
    assert (await world.lab.execution(started.execution)).status == "completed"
    assert started.batch is not None
    replay = await world.lab.replay(started.batch)
    assert (replay.effects, replay.objects_skipped) == ({"*": policy, "convert": "skip"}, 2)


@pytest.mark.parametrize("effects", [{}, {"*": "run"}, {"*": "skip", "convert": "run"}])
async def test_messages_of_other_replays_are_processed(effects: Mapping[str, OnReplay]):
    world = World()
    started = await world.replay(effects, "a.md")

    await world.work(started, "completed")

    assert world.sent == ["a.md"]


async def test_a_message_is_not_processed_while_the_route_cannot_be_recorded():
    world = World()
    started = await world.replay({"*": "skip"}, "a.md")
    world.catalog.lost = 1

    await world.work(started, "retry")

    assert world.sent == []
    world.clock.advance(3600)
    await world.lab.beat("w1")
    await world.broker.publish(await world.catalog.due("w1", limit=10))
    await world.work(started, "skipped")
    assert world.sent == []
