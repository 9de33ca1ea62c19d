"""A worker keeps the chains of a limited number of config versions, until one of their secrets changes."""

from __future__ import annotations

import logging

import pytest
from pydantic import BaseModel, SecretStr

from playhead import Context, Item, Reject, adapter
from playhead.environment import Environment, WorkerSettings
from playhead.ids import uuid7
from playhead.model import Step
from playhead.ports.adapter import spec_of
from playhead.secrets import Reference, SecretUnavailable
from playhead.services.worker import WorkerService
from tests.lab import MemoryDeployment

VERSIONS = 70


async def test_the_adapters_of_config_versions_that_were_not_used_for_longest_are_closed():
    """A worker kept a chain for each config version that it had ever run."""
    made: list[int] = []
    closed: list[int] = []

    @adapter("counted")
    class Counted:
        def __init__(self) -> None:
            self.number = len(made)
            made.append(self.number)

        def __call__(self, item: Item) -> None:
            return None

        def close(self) -> None:
            closed.append(self.number)

    spec = spec_of(Counted)
    assert spec
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    worker = WorkerService(
        deployment.backends,
        {"counted": spec},
        WorkerSettings(visibility=30, data_dir="/nowhere", max_object_bytes=1000),
        Environment("w1"),
    )
    item = Item("a.md", b"", "text/markdown", {}, key="e/input/a.md")
    context = Context(uuid7(), uuid7(), "docs", 1, "convert", 1, None, "/nowhere", logging.getLogger("test"))

    for version in range(VERSIONS):
        route = lab.route("convert", steps=(Step("counted"),), timeout_seconds=version + 1)
        run = await lab.started("a.md", config=lab.config("docs", route))
        runtime = await worker.runtime(await lab.claim(run.ids[0]))
        runtime.chain.run(item, context)

    assert made == list(range(VERSIONS))
    assert closed == [0, 1, 2, 3, 4]


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
