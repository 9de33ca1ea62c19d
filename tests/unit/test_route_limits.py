"""When a consumer may claim messages of a route with a limit."""

from __future__ import annotations

from dataclasses import replace

from playhead.model import RateLimit, Route
from playhead.work.routelimits import RouteLimits
from tests.lab import MemoryDeployment

ONCE_A_DAY = Route("r", "q", rate_limit=RateLimit(1, 86_400, "api"))


async def test_a_new_version_of_the_limit_applies_within_a_second():
    world = MemoryDeployment()
    limits = RouteLimits(world.catalog, world.clock, lambda: 2)
    assert await limits.admit(ONCE_A_DAY, 2) == 1
    assert limits.wait_seconds > 80_000

    often = replace(ONCE_A_DAY, rate_limit=RateLimit(10, 1, "api"))
    assert await limits.admit(often, 2) == 0
    world.clock.advance(limits.wait_seconds)
    assert await limits.admit(often, 2) == 0, "calls of the last second may be granted already"
    world.clock.advance(1)
    assert await limits.admit(often, 2) == 1
    world.clock.advance(0.2)
    assert await limits.admit(often, 1) == 1


async def test_a_limit_that_is_removed_holds_no_message_back():
    world = MemoryDeployment()
    limits = RouteLimits(world.catalog, world.clock, lambda: 2)
    assert await limits.admit(ONCE_A_DAY, 2) == 1

    assert await limits.admit(replace(ONCE_A_DAY, rate_limit=None), 2) == 2


async def test_a_cooldown_uses_up_only_the_calls_that_would_begin_during_it():
    world = MemoryDeployment()
    limits = RouteLimits(world.catalog, world.clock, lambda: 10)
    route = Route("r", "q", rate_limit=RateLimit(20, 1, "api"))
    assert await limits.admit(route, 10) == 1

    limits.cool_down(0.06)
    assert await limits.admit(route, 10) == 0
    world.clock.advance(0.11)
    assert await limits.admit(route, 10) == 1
