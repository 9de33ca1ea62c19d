"""The guard of a replay (`pause_if`), and a canary that is a sample of all objects."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from playhead.errors import Conflict
from playhead.model import Canary, Guard, Replay
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.control import Verdict
from playhead.ports.catalog.jobs import LeasedJob
from tests.contract.test_catalog_canary import HELD, is_waiting, publish
from tests.contract.test_catalog_control import listed, objects, queued
from tests.lab import Lab

OBJECTS = 8


async def guarded(lab: Lab, failed: float = 0.5, of_last: int = 3, **given: Any) -> tuple[Replay, LeasedJob]:
    return await listed(lab, count=OBJECTS, pause_if=Guard(failed, of_last), **given)


async def work(lab: Lab, ids: list[UUID], *, bad: int = 0) -> None:
    """Process messages; the first `bad` ones become dead letters."""
    for place, identity in enumerate(ids):
        await (lab.kill if place < bad else lab.work)(identity)


async def test_a_guard_decides_after_each_of_the_last_objects(catalog: Catalog, lab: Lab):
    replay, held = await guarded(lab)

    for bad in (0, 1):
        ids = await publish(lab, held)
        assert len(ids) == 3
        assert await is_waiting(lab, held)
        await work(lab, ids, bad=bad)
        assert await catalog.decide(held) == Verdict(3, bad, True)

    found = await lab.replay(replay.replay_batch_id)
    assert (found.hold_at, found.pause_if) == (9, Guard(0.5, 3))
    assert len(await publish(lab, held)) == 2
    assert await catalog.close_job(held), "nothing is left to decide about"


async def test_too_many_failures_among_the_last_objects_pause_the_replay(catalog: Catalog, lab: Lab):
    replay, held = await guarded(lab)
    await work(lab, await publish(lab, held), bad=1)
    assert await catalog.decide(held) == Verdict(3, 1, True)
    await work(lab, await publish(lab, held), bad=2)

    assert await catalog.decide(held) == Verdict(3, 2, False), "failures before the last objects do not count"

    paused = await lab.replay(replay.replay_batch_id)
    assert (paused.state, paused.paused_by) == ("paused", "guard")
    assert paused.pause_reason == "2 of the last 3 objects failed"
    assert await catalog.allow(held, want=100) is None


async def test_a_resumed_replay_is_guarded_again(catalog: Catalog, lab: Lab):
    replay, held = await guarded(lab)
    await work(lab, await publish(lab, held), bad=3)
    assert await catalog.decide(held) == Verdict(3, 3, False)

    resumed = await catalog.resume(replay.replay_batch_id)

    assert resumed
    assert (resumed.state, resumed.hold_at) == ("queued", 6)
    await catalog.admit(per_queue=0)
    again = await lab.hold(replay.execution_id, "w2")
    assert again.paced
    ids = await publish(lab, again)
    assert len(ids) == 3
    assert await catalog.allow(again, want=100) == HELD
    assert (await lab.replay(replay.replay_batch_id)).waits_for == "guard"
    await work(lab, ids)
    assert await catalog.decide(again) == Verdict(3, 0, True)


async def again(lab: Lab, replay: Replay, canary: int) -> LeasedJob:
    """Resume a paused replay with another canary; return its job, held by another process."""
    assert await lab.catalog.resume(replay.replay_batch_id, canary)
    await lab.catalog.admit(per_queue=0)
    return await lab.hold(replay.execution_id, "w2")


async def test_more_objects_of_a_canary_are_decided_by_its_limit(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=OBJECTS, canary=Canary(2, 0.4))
    await work(lab, await publish(lab, held), bad=1)
    assert await catalog.decide(held) == Verdict(2, 1, False)

    held = await again(lab, replay, 3)

    ids = await publish(lab, held)
    assert len(ids) == 3
    assert await is_waiting(lab, held)
    found = await lab.replay(replay.replay_batch_id)
    assert (found.waits_for, found.hold_from, found.hold_at) == ("canary", 2, 5)
    await work(lab, ids, bad=2)
    assert await catalog.decide(held) == Verdict(3, 2, False)
    assert (await lab.replay(replay.replay_batch_id)).pause_reason == "2 of 3 canary objects failed"

    held = await again(lab, replay, 2)
    await work(lab, await publish(lab, held))
    assert await catalog.decide(held) == Verdict(2, 0, True)
    assert len(await publish(lab, held)) == 1
    assert (await lab.replay(replay.replay_batch_id)).hold_from is None
    assert await catalog.close_job(held)


async def test_a_guard_follows_more_objects_of_a_canary(catalog: Catalog, lab: Lab):
    replay, held = await guarded(lab, canary=Canary(2))
    await work(lab, await publish(lab, held), bad=1)
    await catalog.decide(held)

    held = await again(lab, replay, 1)
    await work(lab, await publish(lab, held))
    assert await catalog.decide(held) == Verdict(1, 0, True)

    assert len(await publish(lab, held)) == 3
    found = await lab.replay(replay.replay_batch_id)
    assert (found.waits_for, found.hold_from, found.hold_at) == ("guard", 3, 6)


async def test_more_objects_after_a_guard_are_decided_by_its_limit(catalog: Catalog, lab: Lab):
    replay, held = await guarded(lab)
    await work(lab, await publish(lab, held), bad=2)
    await catalog.decide(held)

    held = await again(lab, replay, 2)
    await work(lab, await publish(lab, held), bad=1)

    assert await catalog.decide(held) == Verdict(2, 1, True)
    assert len(await publish(lab, held)) == 3


async def test_more_objects_are_refused_without_a_decision_before_them(catalog: Catalog, lab: Lab):
    replay, held = await guarded(lab)
    await publish(lab, held)
    await catalog.pause(replay.replay_batch_id)

    with pytest.raises(Conflict, match="leave out `canary`: run `playhead replays resume ") as refused:
        await catalog.resume(replay.replay_batch_id, 2)

    assert refused.value.code == "not_paused_by_canary"
    found = await lab.replay(replay.replay_batch_id)
    assert (found.state, found.hold_at) == ("paused", 3)


async def test_a_pause_on_request_does_not_move_the_guard(catalog: Catalog, lab: Lab):
    replay, held = await guarded(lab)
    await publish(lab, held)

    await catalog.pause(replay.replay_batch_id)
    resumed = await catalog.resume(replay.replay_batch_id)

    assert resumed
    assert resumed.hold_at == 3


async def test_a_guard_follows_a_canary_with_its_own_limit(catalog: Catalog, lab: Lab):
    replay, held = await guarded(lab, of_last=4, canary=Canary(2, 1))
    ids = await publish(lab, held)
    assert len(ids) == 2
    await work(lab, ids, bad=1)

    assert await catalog.decide(held) == Verdict(2, 1, True)

    ids = await publish(lab, held)
    assert len(ids) == 4
    assert (await lab.replay(replay.replay_batch_id)).waits_for == "guard"
    await work(lab, ids, bad=3)
    assert await catalog.decide(held) == Verdict(4, 3, False)


async def test_failures_below_the_last_objects_count_and_those_of_resent_earlier_ones_do_not(
    catalog: Catalog, lab: Lab
):
    _, held = await guarded(lab, 1)
    first = await publish(lab, held)
    await work(lab, first, bad=1)
    assert await catalog.decide(held) == Verdict(3, 1, True)
    ids = await publish(lab, held)
    await catalog.resend(ids=first[:1])
    (early,) = await lab.work(first[0], lab.output("early.html"))
    await lab.kill(UUID(early.correlation_id))
    (child,) = await lab.work(ids[0], lab.output("a.html"))
    await work(lab, ids[1:])
    assert await is_waiting(lab, held), "a child is open"
    await lab.kill(UUID(child.correlation_id))

    assert await catalog.decide(held) == Verdict(3, 1, True)


# -- samples ---------------------------------------------------------------------------------------


async def sent(lab: Lab, held: LeasedJob) -> list[str]:
    """Publish what is allowed now; return the keys of the objects."""
    allowed = await lab.catalog.allow(held, want=1000)
    assert allowed
    window = await lab.catalog.unpublished(held, limit=1000, upto=allowed.upto)
    assert window
    assert await lab.catalog.mark(held, window.upto)
    for identity in lab.ids(window.dispatches):
        await lab.work(identity)
    return [one.object_key.rpartition("/")[2] for one in window.dispatches]


async def test_a_canary_with_a_seed_is_a_sample_of_all_objects(catalog: Catalog, lab: Lab):
    samples = []
    for seed in (1, 1, 2):
        _, held = await listed(lab, count=100, canary=Canary(5, seed=seed))
        every = [one.key.rpartition("/")[2] for one in objects(held, 100)]
        sample = await sent(lab, held)
        assert len(sample) == 5
        assert sample != every[:5]
        assert await catalog.decide(held) == Verdict(5, 0, True)
        assert sorted([*sample, *await sent(lab, held)]) == every, "each object is published once"
        samples.append(sample)
    assert samples[0] == samples[1] != samples[2]


@pytest.mark.parametrize("count", [3, 5])
async def test_a_sample_of_all_objects_leaves_their_order(lab: Lab, count: int):
    _, held = await listed(lab, count=count, canary=Canary(5, seed=1))

    assert await sent(lab, held) == [one.key.rpartition("/")[2] for one in objects(held, count)]


async def test_no_sample_is_drawn_once_an_object_may_be_sent(catalog: Catalog, lab: Lab):
    replay, held = await queued(lab, canary=Canary(3, seed=1))
    found = objects(held, 8)
    await lab.record(held, found[:2], cursor=found[1].key, last=False)
    assert await catalog.fail_listing(held, "too many", code="too_many_objects")
    first = await sent(lab, held)
    assert await catalog.close_job(held)
    await catalog.retry_replay(replay.replay_batch_id)
    await catalog.admit(per_queue=0)
    again = await lab.hold(replay.execution_id, "w2")

    await lab.record(again, found[2:], cursor=found[-1].key, last=True)

    assert [*first, *await sent(lab, again)] == [one.key.rpartition("/")[2] for one in found[:3]]
