"""The fields of `error_handling`: how often and when a message that always fails is tried."""

from __future__ import annotations

from itertools import pairwise

import pytest

from playhead.config import parse
from playhead.ports.adapter import spec_of
from playhead.work.failures import failure
from tests.inprocess_steps import stamp
from tests.lab import MemoryDeployment

RETRIES = b"""
version: "1.0"
name: docs
entry: as_above
error_handling: {max_attempts: 3, retry_delay_seconds: 0.2, backoff: 10, max_delay_seconds: 0.8}
routes:
  as_above: {adapters: [{type: stamp}]}
  often: {adapters: [{type: stamp}], error_handling: {max_attempts: 4}}
  once: {adapters: [{type: stamp}], error_handling: {max_attempts: 1}}
  late: {adapters: [{type: stamp}], error_handling: {retry_delay_seconds: 0.8}}
  flat: {adapters: [{type: stamp}], error_handling: {backoff: 1}}
  free: {adapters: [{type: stamp}], error_handling: {max_delay_seconds: 5}}
"""


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("as_above", [0.2, 0.8]),
        ("often", [0.2, 0.8, 0.8]),
        ("once", []),
        ("late", [0.8, 0.8]),
        ("flat", [0.2, 0.2]),
        ("free", [0.2, 2.0]),
    ],
)
async def test_a_failed_message_is_tried_when_the_fields_of_its_route_say(name: str, waits: list[float]):
    stamping = spec_of(stamp)
    assert stamping
    config = parse(RETRIES, adapters={"stamp": stamping}).config
    assert config
    route, world = config.routes[name], MemoryDeployment()
    await world.lab.beat("w1", "w2")
    run = await world.lab.started("a.md", config=world.lab.config("docs", route))
    tried = []
    while await world.lab.state(run.ids[0]) != "dead":
        claim = await world.lab.claim(run.ids[0])
        tried.append(world.clock.now)
        await world.catalog.finish("w1", [failure(claim, route, ValueError("always"), str)])
        while await world.lab.state(run.ids[0]) == "retry" and not await world.catalog.due("w1", limit=1):
            world.clock.advance(0.05)

    assert [late - early for early, late in pairwise(tried)] == pytest.approx(waits, abs=0.051)
