"""Steps that wait for their rate limit within a chain."""

from __future__ import annotations

import asyncio

from playhead.engine.environment import Environment
from playhead.engine.turns import Turns
from playhead.model import RateLimit
from tests.lab import MemoryDeployment


class World(MemoryDeployment):
    """Turns on a clock that moves as they sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns(self.catalog, Environment("w1", clock=self.clock, sleep=self._sleep))

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await asyncio.sleep(0)


async def test_new_numbers_of_a_limit_apply_while_calls_wait():
    world = World()
    once_a_day = RateLimit(1, 86_400, "api")
    await world.turns.wait_async(once_a_day)
    waiting = asyncio.gather(*(world.turns.wait_async(once_a_day) for _ in range(3)))
    await asyncio.sleep(0.01)
    changed_at = world.clock.now
    await world.turns.wait_async(RateLimit(100, 1, "api"))
    await waiting

    assert world.clock.now < changed_at + 20
