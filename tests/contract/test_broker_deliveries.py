"""The contract of `ports.broker` about deliveries that are acknowledged, extended or released."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.ports.broker import Broker
from tests.contract.backends import VISIBILITY
from tests.contract.test_broker import (
    LATE,
    SOON,
    again_if_too_late,
    coming_back,
    depth_soon,
    in_time,
    put,
)
from tests.lab import ids
from tests.waiting import take

if TYPE_CHECKING:
    from tests.lab import Clock


@again_if_too_late
async def test_an_acked_dispatch_is_removed_permanently(broker: Broker, clock: Clock, queue: str):
    await put(broker, 2, queue)
    since = clock.time()
    await broker.ack(await take(broker, 2, queue))
    in_time(clock, since)

    await clock.wait(LATE)

    assert await broker.receive(queue, 2) == []
    assert await depth_soon(broker, (0, 0), queue) == (0, 0)


@again_if_too_late
async def test_an_ack_removes_no_other_dispatch(broker: Broker, clock: Clock, queue: str):
    published = await put(broker, 3, queue)
    since = clock.time()
    taken = await take(broker, 3, queue)

    await broker.ack(taken[1:2])
    in_time(clock, since)

    await clock.wait(LATE)
    back = await coming_back(broker, clock, 2, queue)
    assert sorted(back) == [published[0], published[2]]
    assert published[1] not in ids(await broker.receive(queue, 3))


async def test_a_late_ack_does_not_affect_the_new_holder_of_the_dispatch(broker: Broker, clock: Clock):
    published = await put(broker)
    late = await take(broker, 1)
    await clock.wait(LATE)
    assert ids(await take(broker, 1)) == published

    await broker.ack(late)

    await clock.wait(LATE)
    assert ids(await take(broker, 1)) == published


async def test_a_second_ack_has_no_effect(broker: Broker):
    await put(broker)
    taken = await take(broker, 1)

    await broker.ack(taken)
    await broker.ack(taken)

    assert await depth_soon(broker, (0, 0)) == (0, 0)


@again_if_too_late
async def test_extend_restarts_the_visibility(broker: Broker, clock: Clock, queue: str):
    first, second = await put(broker, 2, queue)
    since = clock.time()
    taken = await take(broker, 2, queue)
    assert ids(taken) == [first, second]

    await clock.wait(SOON)
    extended = clock.time()
    await broker.extend(taken[:1])
    in_time(clock, since)

    back = await coming_back(broker, clock, 2, queue)
    assert sorted(back) == [first, second]
    assert back[first] - extended >= VISIBILITY
    in_time(clock, extended, back[second])
    assert back[second] - since >= VISIBILITY


@again_if_too_late
async def test_extend_has_no_effect_on_a_dispatch_with_a_new_holder(broker: Broker, clock: Clock, queue: str):
    published = await put(broker, 1, queue)
    late = await take(broker, 1, queue)
    await clock.wait(LATE)
    since = clock.time()
    assert ids(await take(broker, 1, queue)) == published

    await clock.wait(SOON)
    extended = clock.time()
    await broker.extend(late)
    in_time(clock, since)

    back = await coming_back(broker, clock, 1, queue)
    assert list(back) == published
    in_time(clock, extended, back[published[0]])


@again_if_too_late
async def test_a_released_dispatch_is_received_again_at_once(broker: Broker, clock: Clock, queue: str):
    first, second = await put(broker, 2, queue)
    since = clock.time()
    taken = await take(broker, 2, queue)

    await broker.release(taken[:1])
    again = await take(broker, 1, queue)
    assert ids(again) == [first]
    await broker.release(taken[:1])
    await broker.ack(taken[:1])
    assert await broker.receive(queue, 2) == []
    in_time(clock, since)
    await broker.ack(again)

    back = await coming_back(broker, clock, 1, queue)
    assert list(back) == [second]
    assert back[second] - since >= VISIBILITY


async def test_release_has_no_effect_on_a_dispatch_with_a_new_holder(broker: Broker, clock: Clock):
    published = await put(broker)
    late = await take(broker, 1)
    await clock.wait(LATE)
    since = clock.time()
    taken = await take(broker, 1)

    await broker.release(late)

    assert await broker.receive("docs.convert", 1) == []
    in_time(clock, since)
    await broker.release(taken)
    assert ids(await take(broker, 1)) == published


async def test_settling_an_empty_list_is_allowed(broker: Broker):
    await broker.ack([])
    await broker.extend([])
    await broker.release([])
