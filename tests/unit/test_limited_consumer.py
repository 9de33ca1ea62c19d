"""A consumer of a route with limits: what it claims when, and that it waits instead of polling."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from playhead import Item, RateLimited
from playhead.environment import Environment
from playhead.model import RateLimit
from playhead.ports.broker import Delivery
from playhead.ports.catalog.work import Claim
from playhead.work.attempt import CooldownRequest
from playhead.work.deliveries import State
from playhead.work.dispatch import RouteRuntime
from playhead.work.routelimits import RouteLimits
from tests.attempts import OneConsumer, Steps, ended
from tests.broker_memory import MemoryBroker
from tests.lab import VISIBILITY, Clock, MemoryDeployment
from tests.waiting import SECONDS, until


class Counted(MemoryBroker):
    """Counts calls of `receive`."""

    receives = 0

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        self.receives += 1
        return await super().receive(queue, limit, wait=wait)


class Limited(OneConsumer):
    """A consumer over a route with limits. Its step waits until `go_on` is set."""

    def __init__(self, *, hold: bool = False, **route: Any) -> None:
        clock = Clock()
        self.broker_counted = Counted(clock=clock, visibility=VISIBILITY)
        super().__init__(self.step, concurrency=2, broker=self.broker_counted, clock=clock)
        self.route = replace(self.route, **route)
        self.go_on = threading.Event()
        if not hold:
            self.go_on.set()
        self.begun: list[float] = []

    def step(self, item: Item) -> str:
        self.begun.append(time.monotonic())
        self.go_on.wait(30)
        return item.text


PATHS = [f"{n}.md" for n in range(10)]


async def test_calls_begin_at_the_rate_of_the_limit():
    world = Limited(rate_limit=RateLimit(calls=20, seconds=1, key="k"))
    run = await world.started(*PATHS)
    consumer = world.consumer()
    await until(lambda: len(world.begun) == len(run.ids))
    consumer.stop(departing=True)
    await ended(consumer)

    assert world.begun[-1] - world.begun[0] >= 9 * 0.05


@pytest.mark.parametrize("limit", [RateLimit(calls=1000, seconds=1, key="k"), None])
async def test_while_all_slots_are_in_use_the_broker_is_asked_twice_a_second(limit: RateLimit | None):
    world = Limited(hold=True, rate_limit=limit, concurrency_total=100, prefetch=50)
    await world.started(*PATHS)
    consumer = world.consumer()
    await until(lambda: len(world.begun) == 2)
    await asyncio.sleep(0.2)
    before, began = world.broker_counted.receives, time.monotonic()
    await asyncio.sleep(1)
    received, seconds = world.broker_counted.receives - before, time.monotonic() - began
    world.go_on.set()
    await until(lambda: len(world.begun) == len(PATHS))
    consumer.stop(departing=True)
    await ended(consumer)

    assert received <= 2 * seconds + 2


async def test_a_full_queue_uses_up_no_call_of_a_rate_limit():
    limit = RateLimit(calls=20, seconds=1, key="k")
    world = Limited(rate_limit=limit, concurrency_total=1)
    run = await world.started(*PATHS)
    other = await world.lab.claim(run.ids[-1], "w2")
    consumer = world.consumer()
    await asyncio.sleep(0.7)
    begun = len(world.begun)
    (wait,) = (await world.catalog.reserve_calls(limit, 1)).waits
    await world.lab.done(other)
    await until(lambda: len(world.begun) == len(run.ids) - 1)
    consumer.stop(departing=True)
    await ended(consumer)

    assert (begun, wait) == (0, 0)


async def test_a_suspected_poison_message_begins_with_a_reserved_call():
    world = Limited(rate_limit=RateLimit(calls=1, seconds=1, key="k"))
    (identity,) = (await world.started("a.md")).ids
    for worker in ("w2", "w3"):
        await world.lab.beat(worker)
        await world.lab.claim(identity, worker)
        await world.lab.die(worker, others=["w1", "w2"])
    consumer = world.consumer()
    await asyncio.sleep(1)
    begun = len(world.begun)
    world.clock.advance(2)
    await until(lambda: world.begun)
    consumer.stop(departing=True)
    await ended(consumer)

    assert begun == 0


async def test_a_cooldown_claims_nothing_and_its_end_claims_again():
    world = Limited(concurrency_total=100)
    consumer = world.consumer()
    consumer.cool_down(1.0)
    began = time.monotonic()
    run = await world.started(*PATHS)
    await until(lambda: len(world.begun) == len(run.ids))
    consumer.stop(departing=True)
    await ended(consumer)

    assert min(world.begun) - began >= 0.9


class Rejecting(Limited):
    """The first calls for each message are rejected. Each rejection starts a cooldown, as in a worker."""

    def __init__(self, rejections: int, *, after: float = 0.02, **route: Any) -> None:
        super().__init__(**route)
        self.rejections, self.after = rejections, after
        self.paths: list[str] = []
        self.finished_count = 0
        self.claims = 0

    async def runtime(self, claim: Claim) -> RouteRuntime:
        self.claims += 1
        return await super().runtime(claim)

    def step(self, item: Item) -> str:
        self.paths.append(item.path)
        self.go_on.wait(30)
        if self.paths.count(item.path) <= self.rejections:
            raise RateLimited("too many", after=self.after)
        return item.text

    async def cool_down(self, request: CooldownRequest) -> None:
        self.running.cool_down(request.seconds)

    def finished(self, count: int) -> None:
        self.finished_count += count

    async def process(self, *paths: str) -> list[UUID]:
        run = await self.started(*paths)
        self.running = self.consumer()

        async def states() -> set[str]:
            return {await self.lab.state(identity) for identity in run.ids}

        while await states() != {"completed"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self.running.stop(departing=True)
        await ended(self.running)
        return run.ids


@pytest.mark.parametrize("limit", [None, RateLimit(calls=100_000, seconds=1, key="k")])
async def test_rejected_calls_are_made_again_without_a_new_dispatch(limit: RateLimit | None):
    world = Rejecting(3, rate_limit=limit)
    ids = await asyncio.wait_for(world.process(*PATHS), SECONDS)

    assert len(world.paths) == 4 * len(PATHS)
    assert [(await world.lab.row(identity)).attempts for identity in ids] == [4] * len(PATHS)
    assert await world.catalog.due("w2", limit=100) == []
    assert await world.broker.depth("docs.convert") == (0, 0)
    assert world.finished_count == len(world.paths), "messages that were claimed without a call do not count"


async def test_after_a_rejected_call_only_those_messages_are_claimed_that_can_start():
    world = Rejecting(1)
    paths = [f"{n}.md" for n in range(60)]
    ids = await asyncio.wait_for(world.process(*paths), SECONDS)

    assert len(world.paths) == 2 * len(ids)
    assert world.claims <= len(world.paths) + len(ids), "with each rejected call, one more is withdrawn"


async def test_a_cooldown_that_follows_another_one_at_once_is_a_new_one():
    world = MemoryDeployment()
    limits = RouteLimits(world.catalog, world.clock, lambda: 1)
    assert limits.cool_down(0.05)
    assert not limits.cool_down(0.1), "the same one, read at another time"
    world.clock.advance(0.06)
    assert limits.cooldown_left == 0

    assert limits.cool_down(0.04)
    assert limits.cooldown_left == pytest.approx(0.04)


async def test_a_consumer_that_stops_returns_messages_that_wait_for_their_turn():
    world = Limited(rate_limit=RateLimit(calls=1, seconds=60, key="k"))
    run = await world.started(*PATHS)
    consumer = world.consumer()
    await until(lambda: len(world.begun) == 1)
    consumer.stop(departing=True)
    await ended(consumer)

    rows = [await world.lab.row(identity) for identity in run.ids]
    assert sorted(row.attempts for row in rows) == [0] * 9 + [1]
    assert await world.broker.depth("docs.convert") == (9, 0)


async def test_a_consumer_that_stops_returns_a_message_whose_call_is_rejected_meanwhile():
    world = Rejecting(1, after=0.05, hold=True)
    (identity,) = (await world.started("a.md")).ids
    world.running = world.consumer()
    await until(lambda: world.paths)
    world.running.stop(departing=True)
    await asyncio.sleep(0.05)
    world.go_on.set()
    await ended(world.running)

    assert await world.lab.state(identity) == "retry"
    assert await world.broker.depth("docs.convert") == (1, 0)


@pytest.mark.parametrize("is_received_here", [True, False])
async def test_a_held_message_is_not_lost_if_its_delivery_had_expired(is_received_here: bool):
    """An ack of its second delivery while its call ran would leave it without a dispatch when it is held."""
    world = Rejecting(1, after=0.05, hold=True)
    (identity,) = (await world.started("a.md")).ids
    world.running = world.consumer()
    await until(lambda: world.paths)
    world.clock.advance(VISIBILITY + 1)
    again = [] if is_received_here else await world.broker.receive("docs.convert", 10)
    await world.lab.beat("w1", "w2")
    if is_received_here:
        await until(lambda: world.running.deliveries.has(State.DEFERRED))
    else:
        other = Steps(world.catalog, world.broker, world.store, Environment("w2"))
        await other.intake.take(other.deliveries.receive(again))
    world.running.stop(departing=True)
    await asyncio.sleep(0.05)
    world.go_on.set()
    await ended(world.running)

    assert await world.lab.state(identity) == "retry"
    world.clock.advance(VISIBILITY + 1)
    assert await world.broker.depth("docs.convert") == (1, 0)


async def test_messages_that_wait_for_long_are_returned_and_received_again():
    world = Limited(rate_limit=RateLimit(calls=1, seconds=60, key="k"))
    await world.started("a.md", "b.md")
    consumer = world.consumer(visibility=0.3)
    await until(lambda: len(world.begun) == 1)
    (before,) = consumer.deliveries.in_state(State.LIMITED)
    await asyncio.sleep(0.5)
    assert list(consumer.deliveries.in_state(State.LIMITED)) == [before]

    before.since -= 1000
    await until(lambda: before.state is State.SETTLED and consumer.deliveries.has(State.LIMITED))
    consumer.stop(departing=True)
    await ended(consumer)


async def test_a_paused_consumer_finishes_what_runs_and_returns_the_rest_without_an_attempt():
    world = Limited(hold=True, concurrency=2, prefetch=10)
    run = await world.started(*PATHS)
    consumer = world.consumer()
    await until(lambda: len(world.begun) == 2)

    consumer.pause("the provider is down")
    await until(lambda: len(consumer.deliveries) == 2)
    world.go_on.set()
    await until(lambda: not consumer.deliveries)
    missing = consumer.missing
    consumer.stop(departing=True)
    await ended(consumer)

    rows = [await world.lab.row(identity) for identity in run.ids]
    assert Counter((row.status, row.attempts) for row in rows) == {("completed", 1): 2, ("retry", 0): 8}
    assert missing == "the route is paused: the provider is down"


async def test_a_paused_consumer_receives_nothing_until_it_is_resumed():
    world = Limited()
    consumer = world.consumer()
    consumer.pause("the provider is down")
    run = await world.started(*PATHS)
    await asyncio.sleep(0.7)  # longer than the broker is asked for messages
    waiting = await world.broker.depth("docs.convert")
    consumer.pause(None)
    await until(lambda: len(world.begun) == len(run.ids))
    consumer.stop(departing=True)
    await ended(consumer)

    assert waiting == (len(PATHS), 0)
