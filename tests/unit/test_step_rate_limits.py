"""Steps that wait for their rate limit within a chain."""

from __future__ import annotations

import asyncio

from playhead.model import RateLimit
from playhead.ports.catalog.limits import Reservation
from playhead.steps.ratelimits import CallLimits
from tests.catalog_memory import MemoryCatalog
from tests.lab import MemoryDeployment


class World(MemoryDeployment):
    """CallLimits on a clock that moves as they sleep."""

    def __init__(self, catalog: MemoryCatalog | None = None) -> None:
        super().__init__(catalog=catalog)
        self.turns = CallLimits(self.catalog, self.clock, self._sleep)

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


async def test_a_cooldown_uses_up_only_the_calls_that_would_begin_during_it():
    world = World()
    limit = RateLimit(20, 1, "api")
    began = world.clock.now
    waiting = asyncio.gather(*(world.turns.wait_async(limit) for _ in range(4)))
    while world.clock.now < began + 0.04:  # noqa: ASYNC110 - the clock is not real
        await asyncio.sleep(0)
    world.turns.cool_down(limit.key, 0.03)
    await waiting

    assert world.clock.now - began < 0.3


async def test_calls_begin_although_a_reservation_fails_unexpectedly():
    class Faulty(MemoryCatalog):
        faults = 2

        async def reserve_calls(self, limit: RateLimit, wanted: int) -> Reservation:
            self.faults -= 1
            if self.faults >= 0:
                raise ValueError("broken")
            return await super().reserve_calls(limit, wanted)

    world = World(Faulty())
    limit = RateLimit(100, 1, "api")
    async with asyncio.timeout(30):
        await asyncio.gather(*(world.turns.wait_async(limit) for _ in range(3)))
