"""The canary of a replay: nothing behind it is sent before its messages are processed and it is decided."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from playhead.errors import Conflict
from playhead.model import Canary, RatePace, Replay
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.control import Allowance, Verdict
from playhead.ports.catalog.jobs import LeasedJob, Listed
from tests.contract.test_catalog_control import listed, objects, queued
from tests.lab import Clock, Lab

HELD = Allowance(0, 0.5, "decision")


async def canary(
    lab: Lab, count: int = 3, max_failed: float = 0, *, behind: int = 5, **given: Any
) -> tuple[Replay, LeasedJob, list[UUID]]:
    """A replay whose first objects are published; the ids of their messages."""
    replay, held = await listed(lab, count=count + behind, canary=Canary(count, max_failed), **given)
    return replay, held, await publish(lab, held)


async def publish(lab: Lab, held: LeasedJob) -> list[UUID]:
    """Publish what is allowed now; return the ids of the messages."""
    allowed = await lab.catalog.allow(held, want=1000)
    assert allowed
    window = await lab.catalog.unpublished(held, limit=1000, upto=allowed.upto)
    assert window
    assert await lab.catalog.mark(held, window.upto)
    return lab.ids(window.dispatches)


async def is_waiting(lab: Lab, held: LeasedJob) -> bool:
    """Whether the canary is not decided, and nothing behind it is allowed."""
    assert await lab.catalog.allow(held, want=1000) == HELD
    return await lab.catalog.decide(held) is None


async def test_nothing_behind_the_canary_is_allowed(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=30, canary=Canary(4))

    first = await catalog.allow(held, want=100)

    assert first
    assert first.upto == 4
    assert await catalog.mark(held, 4)
    assert await catalog.allow(held, want=100) == HELD
    found = await lab.replay(replay.replay_batch_id)
    assert (found.waits_for, found.hold_at) == ("canary", 4)


async def test_the_rest_follows_when_all_messages_below_the_canary_are_closed(catalog: Catalog, lab: Lab):
    replay, held, (first, second, third) = await canary(lab)
    await lab.work(first)
    (child,) = await lab.work(second, lab.output("b.html"))
    assert await is_waiting(lab, held)
    claim = await lab.claim(third)
    assert await is_waiting(lab, held)
    await lab.fail(claim, delay=0)
    assert await is_waiting(lab, held), "an attempt follows"
    await lab.work(third)
    assert await is_waiting(lab, held), "a child is open"
    (grandchild,) = await lab.work(UUID(child.correlation_id), lab.output("b.txt"))
    assert await is_waiting(lab, held), "a child of a child is open"
    await lab.work(UUID(grandchild.correlation_id))

    assert await catalog.decide(held) == Verdict(3, 0, True)

    found = await lab.replay(replay.replay_batch_id)
    assert (found.state, found.hold_at, found.waits_for, found.errors) == ("publishing", None, None, None)
    assert await catalog.allow(held, want=1000) == Allowance(8)
    assert await catalog.decide(held) is None, "it is decided once"
    assert len(await publish(lab, held)) == 5
    assert await catalog.close_job(held)


async def test_too_many_failed_objects_pause_the_replay_with_the_reason(catalog: Catalog, lab: Lab):
    replay, held, (first, second, third) = await canary(lab)
    await lab.kill(first)
    await lab.work(second)
    await lab.kill(third)

    assert await catalog.decide(held) == Verdict(3, 2, False)

    found = await lab.replay(replay.replay_batch_id)
    assert (found.state, found.status, found.paused_by) == ("paused", None, "canary")
    assert (found.objects_published, found.objects_uncertain, found.hold_at) == (3, 0, 3)
    assert found.pause_reason == "2 of 3 canary objects failed"
    assert found.errors == [
        f"paused: 2 of 3 canary objects failed; POST /api/v1/replays/{replay.replay_batch_id}/resume "
        "continues with the rest"
    ]
    # Its holder stops, no process acquires it, and the execution does not end.
    assert await catalog.allow(held, want=10) is None
    assert await catalog.decide(held) is None
    assert not await catalog.renew(held, lease=lab.LEASE)
    assert await catalog.acquire(replay.execution_id, owner="w2", lease=lab.LEASE) is None
    assert await catalog.end_executions() == []


@pytest.mark.parametrize("rate", [None, 1000.0])
async def test_a_resumed_replay_publishes_the_rest_in_spite_of_its_canary(
    catalog: Catalog, lab: Lab, clock: Clock, rate: float | None
):
    pace = None if rate is None else RatePace(rate)
    replay, held = await listed(lab, canary=Canary(1), pace=pace)
    await clock.wait(1)
    (first,) = await publish(lab, held)
    await lab.kill(first)
    await catalog.decide(held)

    resumed = await catalog.resume(replay.replay_batch_id)

    assert resumed
    assert (resumed.state, resumed.paused_by, resumed.hold_at) == ("queued", None, None)
    assert (resumed.errors, resumed.pace) == (None, pace)
    await catalog.admit(per_queue=0)
    again = await lab.hold(replay.execution_id, "w2")
    assert again.paced == (rate is not None)
    await clock.wait(1)
    assert len(await publish(lab, again)) == 11
    assert await catalog.decide(again) is None


@pytest.mark.parametrize(
    ("count", "max_failed", "failed", "passed"),
    [
        (4, 1, 1, True),
        (4, 1, 2, False),
        (4, 0.5, 2, True),
        (4, 0.49, 2, False),
        (100, 0.29, 29, True),
        (100, 0.29, 30, False),
    ],
)
async def test_the_limit_of_failed_objects_is_a_number_or_a_share(
    catalog: Catalog, lab: Lab, count: int, max_failed: float, failed: int, passed: bool
):
    replay, held, ids = await canary(lab, count, max_failed)
    for identity in ids[:failed]:
        await lab.kill(identity)
    for identity in ids[failed:]:
        await lab.work(identity)

    assert await catalog.decide(held) == Verdict(count, failed, passed)

    state = "publishing" if passed else "paused"
    assert (await lab.replay(replay.replay_batch_id)).state == state


async def test_an_object_with_several_dead_letters_below_it_counts_once(catalog: Catalog, lab: Lab):
    _, held, (first, second) = await canary(lab, 2, 1)
    children = await lab.work(first, lab.output("a.html"), lab.output("b.html"))
    await lab.kill(UUID(children[0].correlation_id))
    (deep,) = await lab.work(UUID(children[1].correlation_id), lab.output("b.txt"))
    await lab.kill(UUID(deep.correlation_id))
    await lab.work(second)

    assert await catalog.decide(held) == Verdict(2, 1, True)


async def test_refused_objects_and_invalid_keys_of_the_canary_are_failed_objects(catalog: Catalog, lab: Lab):
    _, held = await queued(lab, canary=Canary(3, 1))
    found = objects(held, 6)
    bad = [
        Listed(f"{held.prefix}/0000~", "input", "has a ~"),
        *found[1:5],
        Listed(found[5].key, "input", "…"),
    ]
    await lab.record(held, bad, cursor=bad[-1].key, last=True)
    allowed = await catalog.allow(held, want=100)
    assert allowed
    assert allowed.upto == 3
    window = await catalog.unpublished(held, limit=100, upto=3)
    assert window
    assert await catalog.mark(held, 3, refused=[(window.dispatches[0], "too large")])
    await lab.work(lab.ids(window.dispatches)[1])

    assert await catalog.decide(held) == Verdict(3, 2, False), "the invalid key behind it does not count"


async def test_a_message_without_an_answer_of_the_broker_keeps_the_canary_open(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, canary=Canary(2))
    allowed = await catalog.allow(held, want=100)
    assert allowed
    window = await catalog.unpublished(held, limit=100, upto=allowed.upto)
    assert window
    assert await catalog.mark(held, 2, uncertain=window.dispatches[1:])
    first, second = lab.ids(window.dispatches)
    await lab.work(first)
    assert await is_waiting(lab, held)
    # Its next owner settles it.
    await catalog.release(held)
    other = await lab.hold(replay.execution_id, "w2")
    assert lab.ids(await catalog.unsettled(other, limit=10)) == [second]
    assert await catalog.settle(other, window.dispatches[1:], [])
    assert await is_waiting(lab, other)
    await lab.work(second)

    assert await catalog.decide(held) is None
    assert await catalog.decide(other) == Verdict(2, 0, True)


async def test_a_resent_dead_letter_of_the_canary_is_waited_for(catalog: Catalog, lab: Lab):
    _, held, (first, second) = await canary(lab, 2)
    await lab.kill(first)
    await catalog.resend(ids=[first])
    await lab.work(second)
    assert await is_waiting(lab, held)
    await lab.work(first)

    assert await catalog.decide(held) == Verdict(2, 0, True)


async def test_a_refused_message_of_the_canary_that_is_resent_is_left_to_the_job(catalog: Catalog, lab: Lab):
    _, held = await listed(lab, canary=Canary(1))
    await catalog.allow(held, want=100)
    window = await catalog.unpublished(held, limit=100, upto=1)
    assert window
    assert await catalog.mark(held, 1, refused=[(window.dispatches[0], "too large")])
    await catalog.resend(ids=lab.ids(window.dispatches))
    assert await is_waiting(lab, held)
    unsettled = await catalog.unsettled(held, limit=10)
    assert await catalog.settle(held, unsettled, [])
    assert await is_waiting(lab, held)
    await lab.work(lab.ids(window.dispatches)[0])

    assert await catalog.decide(held) == Verdict(1, 0, True)


async def test_dead_letters_of_a_failed_canary_can_be_resent_while_it_is_paused(catalog: Catalog, lab: Lab):
    replay, held, (first,) = await canary(lab, 1)
    await lab.kill(first)
    await catalog.decide(held)
    await catalog.resend(ids=[first])
    await lab.work(first)

    resumed = await catalog.resume(replay.replay_batch_id)

    assert resumed
    assert (resumed.state, resumed.hold_at) == ("queued", None)


async def test_a_pause_on_request_keeps_the_canary(catalog: Catalog, lab: Lab):
    replay, held, (first,) = await canary(lab, 1)
    await catalog.pause(replay.replay_batch_id)
    await lab.work(first)
    assert await catalog.decide(held) is None
    assert (await lab.replay(replay.replay_batch_id)).errors is None

    await catalog.resume(replay.replay_batch_id)
    await catalog.admit(per_queue=0)
    again = await lab.hold(replay.execution_id, "w2")

    assert await catalog.allow(again, want=100) == HELD
    assert await catalog.decide(again) == Verdict(1, 0, True)


async def test_a_change_of_pace_does_not_lift_the_hold(catalog: Catalog, lab: Lab, clock: Clock):
    replay, held, _ = await canary(lab, 2)
    await catalog.set_pace(replay.replay_batch_id, RatePace(1000))
    await clock.wait(1)
    assert await catalog.allow(held, want=100) == HELD
    await catalog.set_pace(replay.replay_batch_id, None)
    assert await catalog.allow(held, want=100) == HELD
    assert (await lab.replay(replay.replay_batch_id)).hold_at == 2


async def test_a_replay_with_fewer_objects_than_its_canary_ends_without_a_decision(
    catalog: Catalog, lab: Lab
):
    replay, held = await listed(lab, count=2, canary=Canary(5))

    (first, second) = await publish(lab, held)

    assert await catalog.allow(held, want=100) == Allowance(0)
    assert await catalog.close_job(held)
    await lab.kill(first)
    await lab.work(second)
    assert await catalog.end_executions() == [replay.execution_id]
    ended = await lab.replay(replay.replay_batch_id)
    assert (ended.state, ended.hold_at, ended.paused_by) == ("publishing_complete", None, None)


async def test_a_replay_with_nothing_but_invalid_keys_behind_its_canary_is_not_paused_after_its_end(
    catalog: Catalog, lab: Lab
):
    replay, held = await queued(lab, canary=Canary(1))
    found = objects(held, 3)
    bad = [found[0], *(Listed(one.key, "input", "has a ~") for one in found[1:])]
    await lab.record(held, bad, cursor=bad[-1].key, last=True)
    (first,) = await publish(lab, held)
    await lab.kill(first)
    assert await catalog.end_executions() == [replay.execution_id]

    assert await catalog.decide(held) is None

    ended = await lab.replay(replay.replay_batch_id)
    assert (ended.state, ended.hold_at) == ("partial_failure", None)


async def test_a_cancelled_replay_is_not_decided(catalog: Catalog, lab: Lab):
    replay, held, (first,) = await canary(lab, 1)
    await catalog.cancel_replay(replay.replay_batch_id)
    await lab.work(first)

    assert await catalog.decide(held) is None

    with pytest.raises(Conflict) as raised:
        await catalog.resume(replay.replay_batch_id)
    assert raised.value.code == "replay_ended"


async def test_a_pause_by_the_canary_is_an_event_for_the_webhook(catalog: Catalog, lab: Lab):
    _, held, (first,) = await canary(lab, 1, webhook="https://hooks.example/playhead")
    await lab.kill(first)
    await catalog.decide(held)

    sent = await catalog.claim_deliveries(limit=10, lease=30, most=3)

    # Deliveries that are due together are sent at once, in no order.
    (body,) = (body for one in sent if (body := json.loads(one.body))["type"] == "replay.paused")
    assert body["data"]["paused_by"] == "canary"
    assert body["data"]["errors"][0].startswith("paused: 1 of 1 canary objects failed")


async def test_a_replay_without_a_canary_is_not_decided(catalog: Catalog, lab: Lab):
    _, held = await listed(lab, pace=RatePace(1))
    assert await catalog.decide(held) is None
