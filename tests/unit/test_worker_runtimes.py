"""A worker keeps the chains of few old config versions, until one of their secrets changes."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest
from pydantic import BaseModel, SecretStr

from playhead import Context, Item, Reject, adapter
from playhead.environment import Environment, WorkerSettings
from playhead.ids import uuid7
from playhead.model import Step
from playhead.ports.adapter import spec_of
from playhead.ports.catalog.work import Claim
from playhead.secrets import Reference, SecretUnavailable
from playhead.services.worker import WorkerService
from tests.lab import MemoryDeployment

VERSIONS = 12
ROUTES = 100
STEPS = (Step("counted"),)
ITEM = Item("a.md", b"", "text/markdown", {}, key="e/input/a.md")
CONTEXT = Context(uuid7(), uuid7(), "docs", 1, "convert", 1, None, "/nowhere", logging.getLogger("test"))


class Counting(MemoryDeployment):
    """A worker with an adapter that counts its instances."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []
        self.closed: list[int] = []
        world = self

        @adapter("counted")
        class Counted:
            def __init__(self) -> None:
                self.number = len(world.made)
                world.made.append(self.number)

            def __call__(self, item: Item) -> None:
                return None

            def close(self) -> None:
                world.closed.append(self.number)

        spec = spec_of(Counted)
        assert spec
        self.worker = WorkerService(
            self.backends,
            {"counted": spec},
            WorkerSettings(visibility=30, data_dir="/nowhere", max_object_bytes=1000),
            Environment("w1"),
        )

    async def run(self, claim: Claim) -> None:
        (await self.worker.runtime(claim)).chain.run(ITEM, CONTEXT)


async def test_the_adapters_of_config_versions_that_were_not_used_for_longest_are_closed():
    """A worker kept a chain for each config version that it had ever run."""
    world = Counting()
    await world.lab.beat("w1")
    for version in range(VERSIONS):
        route = world.lab.route("convert", steps=STEPS, timeout_seconds=version + 1)
        started = await world.lab.started("a.md", config=world.lab.config("docs", route))
        await world.run(await world.lab.claim(started.ids[0]))

    assert world.made == list(range(VERSIONS))
    assert world.closed == [0, 1, 2], "the last eight versions before the newest one are kept"


async def test_a_config_with_many_routes_constructs_each_of_their_steps_once():
    world = Counting()
    lab = world.lab
    names = [f"r{n}" for n in range(ROUTES)]
    routes = [lab.route(name, steps=STEPS) for name in names]
    config = lab.config("docs", lab.route("convert", stage="pages", to=tuple(names)), *routes)
    started = await lab.started("a.md", config=config)
    children = await lab.work(started.ids[0], lab.output("a.md"))
    claims = [await lab.claim(UUID(child.correlation_id)) for child in children]
    for claim in claims * 2:
        await world.run(claim)

    assert len(claims) == ROUTES
    assert (len(world.made), world.closed) == (ROUTES, [])


async def test_a_changed_secret_is_used_within_half_a_minute():
    closed: list[str] = []
    value = "first"

    class Config(BaseModel):
        key: SecretStr

    @adapter("keyed")
    class Keyed:
        def __init__(self, config: Config) -> None:
            self.key = config.key.get_secret_value()

        def __call__(self, item: Item) -> None:
            raise Reject(self.key)

        def close(self) -> None:
            closed.append(self.key)

    def resolve(reference: Reference) -> str:
        if value == "missing":
            raise SecretUnavailable("the file is gone")
        return value

    spec = spec_of(Keyed)
    assert spec
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    now = 0.0
    worker = WorkerService(
        deployment.backends,
        {"keyed": spec},
        WorkerSettings(visibility=30, data_dir="/nowhere", max_object_bytes=1000),
        Environment("w1", clock=lambda: now, resolve=resolve),
    )
    route = lab.route("convert", steps=(Step("keyed", {"key": "${env:KEY}"}),))
    run = await lab.started("a.md", config=lab.config("docs", route))
    claim = await lab.claim(run.ids[0])

    async def key_in_use() -> str:
        context = Context(uuid7(), uuid7(), "docs", 1, "convert", 1, None, "/", logging.getLogger("test"))
        chain = (await worker.runtime(claim)).chain
        with pytest.raises(Reject) as caught:
            chain.run(Item("a.md", b""), context)
        return str(caught.value)

    async def after_half_a_minute() -> str:
        nonlocal now
        for _ in range(100):  # the worker's clock counts at most half a second between two looks
            now += 0.4
            key = await key_in_use()
        return key

    assert await key_in_use() == "first"
    value = "second"
    assert await key_in_use() == "first"
    assert await after_half_a_minute() == "second"
    assert closed == ["first"]
    value = "missing"
    assert await after_half_a_minute() == "second"
    assert closed == ["first"]
