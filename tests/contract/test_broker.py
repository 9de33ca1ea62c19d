"""The contract of `ports.broker`, for every broker. `test_broker_deliveries.py` has a part of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from playhead.backends.broker_nats import NatsBroker
from playhead.backends.broker_nats.streams import BULK_CONSUMER, CONSUMER, ask, stream_of
from playhead.envelope import Dispatch, Headers
from playhead.errors import Unavailable
from playhead.ids import uuid7
from playhead.ports.broker import CONFIRMED, Broker, Depth
from tests.contract.backends import VISIBILITY
from tests.lab import dispatches, ids
from tests.waiting import take, until

if TYPE_CHECKING:
    from tests.contract.backends import Factory
    from tests.lab import Clock

STEP = 0.1 * VISIBILITY
SOON = 0.6 * VISIBILITY
LATE = 1.5 * VISIBILITY
PATIENCE = 20.0
"""Real seconds after which a message that has not arrived counts as lost. Less than the visibility, so that
held messages are not redelivered meanwhile."""
WOKEN = 0.75 * PATIENCE
"""Real seconds within which a receiver that waits for `PATIENCE` must wake."""
IN_VAIN = 0.3
"""Real seconds to wait for a message that must not arrive."""


def shared(queue: str = "docs.convert", *, batch: UUID | None = None) -> Headers:
    return Headers(queue, uuid7(), "docs", 3, "convert", batch)


async def put(
    broker: Broker, count: int = 1, queue: str = "docs.convert", *, bulk: bool = False
) -> list[str]:
    """Publish dispatches until all are confirmed, as every publisher does; return their message ids."""
    left = made = dispatches(count, headers=replace(shared(queue), bulk=bulk))

    async def are_confirmed() -> bool:
        nonlocal left
        results = list(zip(left, await broker.publish(left), strict=True))
        assert all(result.result != "refused" for _, result in results), results
        left = [dispatch for dispatch, result in results if result != CONFIRMED]
        return not left

    await until(are_confirmed, "all dispatches to be confirmed", not_yet=(Unavailable,))
    return [dispatch.message_id for dispatch in made]


async def depth_soon(
    broker: Broker, expected: tuple[int, int], queue: str = "docs.convert", *, seconds: float = PATIENCE
) -> Depth:
    """Wait for the expected depth; return the last depth.

    A cluster counts acked messages for a moment longer, and a slow broker counts as holding one.
    """
    until = time.monotonic() + seconds
    while True:
        depth = await broker.depth(queue)
        if depth == expected or time.monotonic() >= until:
            return depth
        await asyncio.sleep(0.05)


async def coming_back(
    broker: Broker, clock: Clock, count: int, queue: str = "docs.convert"
) -> dict[str, float]:
    """Receive until there are `count` dispatches; return the time of arrival by id.

    None may stay hidden beyond `LATE`. With a real clock, a slow machine gets more time: `in_time` checks
    this limit in the two tests of `extend`.
    """
    came: dict[str, float] = {}
    until = clock.time() + (LATE if clock.scale is None else PATIENCE / clock.scale)
    while True:
        found = ids(await broker.receive(queue, count))
        came = dict.fromkeys(found, clock.time()) | came
        if len(came) >= count or clock.time() >= until:
            return came
        await clock.wait(STEP)


class TooLate(Exception):
    """The machine was too slow for this observation."""


def in_time(clock: Clock, since: float, now: float | None = None) -> None:
    """Raise `TooLate` if the visibility has passed since then: what follows would prove nothing."""
    if (clock.time() if now is None else now) - since < VISIBILITY:
        return
    assert clock.scale is not None, "the broker is at fault: this clock moves only when the test moves it"
    raise TooLate


def again_if_too_late(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Repeat a test with another queue when the machine was too slow for it."""

    @wraps(test)
    async def tried(**given: Any) -> None:
        for n in range(9):
            try:
                return await test(**given | {"queue": f"docs.try.{n}"})
            except TooLate:
                pass
        pytest.fail("it was too late nine times")

    return tried


# -- publish ---------------------------------------------------------------------------------------


async def test_a_published_dispatch_is_confirmed_and_delivered(broker: Broker):
    (message_id,) = await put(broker)

    (delivery,) = await take(broker, 1, limit=10)

    assert delivery.message_id == message_id
    assert delivery.queue == "docs.convert"


async def test_a_message_carries_exactly_the_headers_of_its_dispatch(broker: Broker):
    batch, parent = uuid7(), uuid7()
    headers = shared(batch=batch)
    dispatch = Dispatch(headers, str(uuid7()), 2, str(parent), "key")
    await broker.publish([dispatch])

    (delivery,) = await take(broker, 1)

    assert delivery.message_id == f"{dispatch.correlation_id}.2"
    assert dict(delivery.headers) == {
        "execution_id": str(headers.execution_id),
        "correlation_id": dispatch.correlation_id,
        "parent_correlation_id": str(parent),
        "replay_batch_id": str(batch),
        "config": "docs",
        "config_version": "3",
        "route": "convert",
    }


async def test_headers_that_do_not_apply_are_absent(broker: Broker):
    await put(broker)

    (delivery,) = await take(broker, 1)

    assert not {"parent_correlation_id", "replay_batch_id", "traceparent"} & set(delivery.headers)


async def test_each_dispatch_carries_the_span_of_its_own_headers(broker: Broker):
    spans = [f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333{n}-01" for n in range(3)]
    made = [
        dispatch for span in spans for dispatch in dispatches(2, headers=replace(shared(), traceparent=span))
    ]
    await broker.publish(made)

    deliveries = await take(broker, 6, limit=10)

    carried = {delivery.message_id: delivery.headers["traceparent"] for delivery in deliveries}
    assert carried == {dispatch.message_id: dispatch.headers.traceparent for dispatch in made}


async def test_each_dispatch_goes_to_the_queue_that_its_headers_name(broker: Broker):
    one, two = dispatches(1, "a"), dispatches(1, "b")

    outcomes = await broker.publish([*one, *two])

    assert [outcome.result for outcome in outcomes] == ["confirmed", "confirmed"]
    assert ids(await take(broker, 1, "a", limit=10)) == [one[0].message_id]
    assert ids(await take(broker, 1, "b", limit=10)) == [two[0].message_id]


async def test_publishing_nothing_has_no_outcomes(broker: Broker):
    assert await broker.publish([]) == []


async def test_a_thousand_dispatches_have_a_thousand_outcomes(broker: Broker):
    await put(broker, 1000)

    assert sum(await broker.depth("docs.convert")) >= 1000, "what is confirmed is counted at once"
    assert await depth_soon(broker, (1000, 0)) == (1000, 0)


async def test_a_dispatch_published_twice_is_delivered_at_least_once(broker: Broker):
    (dispatch,) = dispatches(1)
    await broker.publish([dispatch])
    await broker.publish([dispatch])

    taken = await take(broker, 1, limit=10)

    assert set(ids(taken)) == {dispatch.message_id}


async def test_a_new_generation_is_delivered_regardless_of_the_previous_one(broker: Broker):
    (dispatch,) = dispatches(1)
    await broker.publish([dispatch])
    await broker.ack(await take(broker, 1))

    await broker.publish([dispatch._replace(generation=1)])

    assert ids(await take(broker, 1)) == [f"{dispatch.correlation_id}.1"]


async def test_a_confirmed_dispatch_outlives_the_process_that_published_it(broker_factory: Factory[Broker]):
    patience = PATIENCE if broker_factory.must("outlives its process") else IN_VAIN
    published = await put(await broker_factory())
    await broker_factory.close()

    again = await broker_factory()

    assert ids(await take(again, 1, limit=10, seconds=patience)) == published


# -- receive ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bulk", [False, True])
async def test_dispatches_of_one_level_are_delivered_in_the_order_of_publishing(broker: Broker, bulk: bool):
    published = await put(broker, 5, bulk=bulk) + await put(broker, 5, bulk=bulk)

    assert ids(await take(broker, 10, limit=4)) == published


async def until_known(broker: Broker, count: int) -> None:
    """Wait until a receiver could get `count` dispatches of each level.

    A consumer of a NATS cluster learns of them after they were confirmed.
    """
    if isinstance(broker, NatsBroker):
        for consumer in (CONSUMER, BULK_CONSUMER):
            subject = f"CONSUMER.INFO.{stream_of(broker._prefix + 'docs.convert')}.{consumer}"

            async def is_known(subject: str = subject) -> bool:
                return bool((await ask(broker._connected(), subject))["num_pending"] == count)

            await until(is_known)


@pytest.mark.parametrize("limit", [1, 4, 25])
async def test_normal_dispatches_come_first_and_one_in_five_deliveries_is_bulk(broker: Broker, limit: int):
    bulk = await put(broker, 60, bulk=True)
    normal = await put(broker, 60)
    await until_known(broker, 60)

    taken = ids(await take(broker, 50, limit=limit))

    assert len(taken) // 5 <= len(set(taken) & set(bulk)) <= len(taken) // 4
    for level in (normal, bulk):
        of_level = [message_id for message_id in taken if message_id in set(level)]
        assert of_level == level[: len(of_level)], "the order within a level is that of publishing"


@pytest.mark.parametrize("limit", [1, 10])
async def test_a_level_is_delivered_without_gaps_while_the_other_is_empty(broker: Broker, limit: int):
    bulk = await put(broker, 20, bulk=True)
    assert set(ids(await take(broker, 20, limit=limit))) == set(bulk)

    # NATS may have sent the first ones to a request of the last receive, which returns them to the queue.
    normal = await put(broker, 20)
    assert set(ids(await take(broker, 20, limit=limit))) == set(normal)


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_waiting_receiver_gets_a_dispatch_of_either_level(broker: Broker, bulk: bool):
    waiting = asyncio.create_task(broker.receive("docs.convert", 1, wait=PATIENCE))
    await asyncio.sleep(0.02)

    published = await put(broker, bulk=bulk)

    assert ids(await asyncio.wait_for(waiting, WOKEN)) == published


async def test_a_released_bulk_dispatch_is_received_again(broker: Broker):
    published = await put(broker, 2, bulk=True)
    await broker.release(await take(broker, 2))

    taken = await take(broker, 2)

    assert sorted(ids(taken)) == published
    await broker.ack(taken)
    assert await depth_soon(broker, (0, 0)) == (0, 0)


async def test_receive_takes_at_most_its_limit(broker: Broker):
    published = await put(broker, 3)

    assert ids(await take(broker, 2)) == published[:2]


async def test_a_queue_that_never_existed_delivers_nothing(broker: Broker):
    assert await broker.receive("nowhere", 10) == []


async def test_a_received_dispatch_is_hidden_from_other_receivers_until_its_visibility_expires(
    broker: Broker, clock: Clock
):
    published = await put(broker)
    since = clock.time()
    assert ids(await take(broker, 1)) == published

    back = await coming_back(broker, clock, 1)

    assert list(back) == published
    assert back[published[0]] - since >= VISIBILITY


async def test_two_receivers_never_hold_one_delivery_at_once(broker: Broker):
    published = await put(broker, 40)

    taken: list[str] = []
    until = time.monotonic() + PATIENCE
    while len(taken) < len(published) and time.monotonic() < until:
        batches = await asyncio.gather(*(broker.receive("docs.convert", 10) for _ in range(6)))
        taken += [message_id for batch in batches for message_id in ids(batch)]

    assert sorted(taken) == sorted(published)


async def test_two_processes_never_hold_one_delivery_at_once(broker_factory: Factory[Broker]):
    patience = PATIENCE if broker_factory.must("is shared by processes") else IN_VAIN
    one, two = await broker_factory(), await broker_factory()
    published = await put(one, 20)

    taken = await asyncio.gather(*(take(b, 5, seconds=patience) for b in (one, two, one, two)))

    assert sorted(message_id for batch in taken for message_id in ids(batch)) == sorted(published)


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_process_that_ends_hides_no_dispatch_that_no_receiver_got(
    broker_factory: Factory[Broker], bulk: bool
):
    patience = WOKEN if broker_factory.must("is shared by processes") else IN_VAIN
    one, two = await broker_factory(), await broker_factory()
    assert await one.receive("docs.convert", 10, wait=0.1) == []
    waiting = asyncio.create_task(one.receive("docs.convert", 10, wait=PATIENCE))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    published = await put(one, bulk=bulk)
    await asyncio.sleep(0.05)
    await one.close()

    assert ids(await take(two, 1, seconds=patience)) == published


async def test_a_waiting_receiver_gets_the_first_dispatch_when_it_is_published(broker: Broker):
    waiting = asyncio.create_task(broker.receive("docs.convert", 10, wait=PATIENCE))
    await asyncio.sleep(0.02)

    published = await put(broker)

    assert ids(await asyncio.wait_for(waiting, WOKEN)) == published


async def test_a_waiting_receiver_gets_dispatches_that_another_process_publishes(
    broker_factory: Factory[Broker],
):
    patience = WOKEN if broker_factory.must("is shared by processes") else IN_VAIN
    one, two = await broker_factory(), await broker_factory()
    waiting = asyncio.create_task(one.receive("docs.convert", 10, wait=PATIENCE))
    await asyncio.sleep(0.02)

    published = await put(two)

    assert ids(await asyncio.wait_for(waiting, patience)) == published


async def test_a_waiting_receiver_gets_a_dispatch_whose_visibility_expires(broker: Broker, clock: Clock):
    published = await put(broker)
    await take(broker, 1)
    waiting = asyncio.create_task(broker.receive("docs.convert", 1, wait=PATIENCE))
    await asyncio.sleep(0.02)

    await clock.wait(LATE)

    assert ids(await asyncio.wait_for(waiting, WOKEN)) == published


async def test_a_receiver_gives_up_after_its_wait(broker: Broker):
    began = time.monotonic()

    assert await broker.receive("docs.convert", 10, wait=0.05) == []

    assert 0.04 < time.monotonic() - began < PATIENCE


async def test_dispatches_of_a_cancelled_receiver_are_redelivered_after_their_visibility(
    broker: Broker, clock: Clock
):
    waiting = asyncio.create_task(broker.receive("docs.convert", 1, wait=PATIENCE))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.wait([waiting])

    published = await put(broker)

    await clock.wait(LATE)
    assert ids(await take(broker, 1)) == published


async def test_a_dispatch_that_was_received_before_the_clock_was_set_back_is_ready(
    broker: Broker, clock: Clock
):
    if clock.scale is not None:
        pytest.skip("the server measures time with a clock of its own")
    published = await put(broker)
    await take(broker, 1)
    clock.advance(-7200)

    assert ids(await take(broker, 1)) == published
    assert await broker.receive("docs.convert", 10) == []


async def test_a_waiting_receiver_gets_a_dispatch_from_before_the_clock_was_set_back(
    broker: Broker, clock: Clock
):
    if clock.scale is not None:
        pytest.skip("the server measures time with a clock of its own")
    published = await put(broker)
    await take(broker, 1)
    waiting = asyncio.create_task(take(broker, 1))
    await asyncio.sleep(0.02)
    clock.advance(-7200)

    assert ids(await asyncio.wait_for(waiting, WOKEN)) == published


# -- depth and peek --------------------------------------------------------------------------------


async def test_depth_separates_ready_and_held_messages(broker: Broker):
    await put(broker, 3)
    (taken, _) = await take(broker, 2)
    assert await depth_soon(broker, (1, 2)) == (1, 2)

    await broker.ack([taken])
    assert await depth_soon(broker, (1, 1)) == (1, 1)


async def test_depth_and_peek_include_both_levels(broker: Broker):
    published = await put(broker, 3) + await put(broker, 2, bulk=True)

    assert sum(await broker.depth("docs.convert")) >= 5
    assert await depth_soon(broker, (5, 0)) == (5, 0)
    assert not await broker.is_empty("docs.convert")
    seen = await broker.peek("docs.convert", 5)
    shown = {f"{message.headers['correlation_id']}.0" for message in seen}
    assert shown == set(published)
    assert len(await broker.peek("docs.convert", 4)) == 4


async def test_a_queue_with_only_bulk_dispatches_is_not_empty(broker: Broker):
    await put(broker, bulk=True)

    assert not await broker.is_empty("docs.convert")
    assert await depth_soon(broker, (1, 0)) == (1, 0)


async def test_depth_counts_dispatches_with_expired_visibility_as_ready(
    broker: Broker, clock: Clock, request: pytest.FixtureRequest
):
    seconds = IN_VAIN if request.node.get_closest_marker("xfail") else 5.0
    await put(broker, 3)
    await take(broker, 2)

    await clock.wait(LATE)

    assert await depth_soon(broker, (3, 0), seconds=seconds) == (3, 0)


async def test_a_queue_is_empty_before_its_first_dispatch_and_after_the_last_is_acked(broker: Broker):
    assert await broker.is_empty("docs.convert")
    await put(broker, 2)
    assert not await broker.is_empty("docs.convert"), "a confirmed dispatch is there at once"
    taken = await take(broker, 2)
    assert not await broker.is_empty("docs.convert"), "a dispatch that is held is in the queue"

    await broker.ack(taken)

    async def is_empty() -> bool:
        return await broker.is_empty("docs.convert")

    await until(is_empty)


async def test_a_queue_that_never_existed_has_no_depth(broker: Broker):
    await put(broker, queue="docs.convert")

    assert await broker.depth("docs") == (0, 0)


async def test_peek_shows_the_first_dispatches_as_they_are_stored(broker: Broker):
    headers = shared()
    made = [
        Dispatch(headers, str(uuid7()), 0, None, key) for key in ('e/input/"ü"\\n', "e/input/b", "e/input/c")
    ]
    await broker.publish(made)

    seen = await broker.peek("docs.convert", 2)

    assert [message.headers["correlation_id"] for message in seen] == [c.correlation_id for c in made[:2]]
    assert [dict(message.payload) for message in seen] == [{"object_key": c.object_key} for c in made[:2]]


async def test_peek_consumes_and_hides_nothing(broker: Broker):
    published = await put(broker, 2)

    await broker.peek("docs.convert", 2)

    assert await depth_soon(broker, (2, 0)) == (2, 0)
    assert ids(await take(broker, 2)) == published


async def test_peek_into_a_queue_that_never_existed_shows_nothing(broker: Broker):
    assert await broker.peek("nowhere", 10) == []


# -- the rest --------------------------------------------------------------------------------------


async def test_a_broker_has_a_name(broker: Broker):
    assert await broker.check()


async def test_a_broker_may_be_closed_twice(broker: Broker):
    await broker.close()
    await broker.close()
