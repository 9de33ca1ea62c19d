"""A worker keeps the chains of a limited number of config versions."""

from __future__ import annotations

import logging

from playhead import Context, Item, adapter
from playhead.engine.environment import Environment, WorkerSettings
from playhead.ids import uuid7
from playhead.model import Step
from playhead.ports.adapter import spec_of
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
