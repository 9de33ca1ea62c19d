"""Limits that all workers share: calls per period (`ports.catalog.limits`), and running messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.model import RateLimit, RoutePause
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.limits import pause_key
from playhead.ports.catalog.work import Claim, Released
from playhead.ratelimit import SLACK_SECONDS

if TYPE_CHECKING:
    from tests.lab import Lab

TWENTY = RateLimit(calls=20, seconds=1, key="api")
SPACE = (1 + SLACK_SECONDS) / 20
SLOW = RateLimit(calls=1, seconds=60, key="slow")


async def reasons(catalog: Catalog, worker: str, ids: list[UUID], most_running: int) -> list[str]:
    """The answers to a claim: `claim`, or why not."""
    answers = await catalog.claim(worker, ids, most_running=most_running)
    return ["claim" if isinstance(answer, Claim) else answer.reason for answer in answers]


async def shown(catalog: Catalog) -> dict[str, tuple[float | None, str]]:
    """The cooldowns and pauses, with rounded seconds."""
    found = await catalog.cooldowns()
    return {key: (one.seconds and round(one.seconds, 2), one.reason) for key, one in found.items()}


# -- calls -----------------------------------------------------------------------------------------


async def test_calls_are_evenly_spread(catalog: Catalog, lab: Lab):
    reserved = await catalog.reserve_calls(TWENTY, 4)

    assert reserved.waits == pytest.approx([0, SPACE, 2 * SPACE, 3 * SPACE], abs=0.001)


async def test_two_callers_share_the_calls_of_a_key(catalog: Catalog, lab: Lab):
    first, second = await asyncio.gather(catalog.reserve_calls(TWENTY, 2), catalog.reserve_calls(TWENTY, 2))

    assert sorted(first.waits + second.waits) == pytest.approx([0, SPACE, 2 * SPACE, 3 * SPACE], abs=0.001)


async def test_keys_do_not_share_calls(catalog: Catalog, lab: Lab):
    await catalog.reserve_calls(TWENTY, 10)

    assert (await catalog.reserve_calls(SLOW, 1)).waits == [0]


async def test_only_calls_of_the_next_second_are_reserved(catalog: Catalog, lab: Lab):
    reserved = await catalog.reserve_calls(TWENTY, 100)
    later = await catalog.reserve_calls(TWENTY, 100)

    assert len(reserved.waits) == 20
    assert later.waits == []
    assert 0 < later.retry <= 0.1


async def test_calls_of_a_second_can_be_reserved_when_it_has_come(catalog: Catalog, lab: Lab):
    assert (await catalog.reserve_calls(SLOW, 5)).waits == [0]
    assert (await catalog.reserve_calls(SLOW, 5)).retry == pytest.approx(59, abs=0.1)
    lab.clock.advance(59.55)

    assert (await catalog.reserve_calls(SLOW, 5)).waits == pytest.approx([0.5], abs=0.001)


async def test_unused_calls_do_not_accumulate(catalog: Catalog, lab: Lab):
    await catalog.reserve_calls(TWENTY, 1)
    lab.clock.advance(3600)

    assert (await catalog.reserve_calls(TWENTY, 2)).waits == pytest.approx([0, SPACE], abs=0.001)


async def test_a_burst_begins_at_once(catalog: Catalog, lab: Lab):
    daily = RateLimit(calls=24, seconds=86_400, key="daily", burst=3)

    assert (await catalog.reserve_calls(daily, 5)).waits == [0, 0, 0]
    lab.clock.advance(3601)
    assert (await catalog.reserve_calls(daily, 5)).waits == [0]


async def test_a_clock_that_is_set_back_delays_calls_by_a_second(catalog: Catalog, lab: Lab):
    await catalog.reserve_calls(TWENTY, 5)
    await catalog.cool_down("api", 30, "429")
    lab.clock.advance(-3600)
    await catalog.maintain()

    assert await catalog.cooldowns() == {}
    reserved = await catalog.reserve_calls(TWENTY, 2)
    assert reserved.waits == []
    assert reserved.retry == pytest.approx(SPACE, abs=0.001)
    lab.clock.advance(1 + SPACE)
    assert (await catalog.reserve_calls(TWENTY, 2)).waits == pytest.approx([0, SPACE], abs=0.001)


# -- cooldowns -------------------------------------------------------------------------------------


async def test_no_call_begins_during_a_cooldown(catalog: Catalog, lab: Lab):
    await catalog.cool_down("api", 30, "429 Too Many Requests")

    assert await shown(catalog) == {"api": (30, "429 Too Many Requests")}
    reserved = await catalog.reserve_calls(TWENTY, 1)
    assert (reserved.waits, round(reserved.retry, 2)) == ([], 29)
    lab.clock.advance(30.5)
    assert await catalog.cooldowns() == {}
    assert (await catalog.reserve_calls(TWENTY, 2)).waits == pytest.approx([0, SPACE], abs=0.001)


async def test_a_shorter_cooldown_does_not_replace_a_longer_one(catalog: Catalog, lab: Lab):
    await catalog.cool_down("api", 30, "long")
    await catalog.cool_down("api", 10, "short")
    assert await shown(catalog) == {"api": (30, "long")}

    await catalog.cool_down("api", 40, "longer\x00\ud800")
    assert (await catalog.cooldowns())["api"].seconds == pytest.approx(40, abs=0.001)


# -- pauses ----------------------------------------------------------------------------------------


async def test_a_route_is_paused_until_it_is_resumed(catalog: Catalog, lab: Lab):
    await catalog.pause_route("docs", "embed", RoutePause("the provider is down"))
    await catalog.maintain()

    assert await shown(catalog) == {pause_key("docs", "embed"): (None, "the provider is down")}
    assert await catalog.resume_route("docs", "embed")
    assert await shown(catalog) == {}
    assert not await catalog.resume_route("docs", "embed")


async def test_a_pause_with_an_end_is_over_after_it(catalog: Catalog, lab: Lab):
    await catalog.pause_route("docs", "embed", RoutePause("first"))
    await catalog.pause_route("docs", "embed", RoutePause("second", 60))

    assert await shown(catalog) == {pause_key("docs", "embed"): (60, "second")}
    lab.clock.advance(61)
    assert await shown(catalog) == {}
    assert not await catalog.resume_route("docs", "embed")


# -- running messages ------------------------------------------------------------------------------


async def test_at_most_so_many_messages_of_a_queue_run(catalog: Catalog, lab: Lab):
    ids = (await lab.started("1.md", "2.md", "3.md", "4.md")).ids

    assert await reasons(catalog, "w1", ids[:2], 3) == ["claim", "claim"]
    assert await reasons(catalog, "w2", ids[2:], 3) == ["claim", "full"]
    await catalog.finish("w1", [Released(ids[0], 1, 60)])
    assert await catalog.running("docs.convert") == 2
    assert await reasons(catalog, "w2", ids[3:], 3) == ["claim"]
    assert await catalog.running("docs.convert") == 3
    assert await catalog.running("docs.other") == 0


async def test_a_repeated_claim_is_not_full(catalog: Catalog, lab: Lab):
    ids = (await lab.started("1.md", "2.md")).ids
    await catalog.claim("w1", ids, most_running=2)

    assert await reasons(catalog, "w1", ids, 2) == ["claim", "claim"]


async def test_messages_of_other_queues_do_not_count(catalog: Catalog, lab: Lab):
    other = lab.config("other", lab.route("convert", queue="other.convert"))
    first = (await lab.started("1.md", "2.md")).ids
    second = (await lab.started("1.md", config=other)).ids
    await catalog.claim("w1", first, most_running=2)

    assert await reasons(catalog, "w1", second, 2) == ["claim"]


async def test_two_workers_that_claim_at_once_respect_the_limit(catalog: Catalog, lab: Lab):
    ids = (await lab.started(*(f"{n}.md" for n in range(20)))).ids

    answers = await asyncio.gather(*(reasons(catalog, f"w{n % 2 + 1}", [ids[n]], 3) for n in range(20)))

    assert sorted(reason for (reason,) in answers) == ["claim"] * 3 + ["full"] * 17
