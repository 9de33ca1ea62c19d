"""Control of replays: pause, resume, cancel, retry, pace, places in queues, and keys of requests."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.errors import Conflict
from playhead.ids import uuid7
from playhead.model import MAY_BE_SENT, Canary, Config, DepthPace, RatePace, Replay, Selection
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.jobs import WINDOW, Key, LeasedJob, Listed, Opened
from tests.contract.test_catalog_prune import begin
from tests.lab import DOCS, Clock, Given, Lab, asked

OBJECTS = 12
OUTLET = Lab.config("outlet", Lab.route("out", queue="outlet.out", external=True))


async def ask(
    lab: Lab, config: Config = DOCS, route: str = "convert", managed: Given | None = None, **given: Any
) -> Opened:
    """Open a replay of the inputs of a new run into a route."""
    source = await lab.sealed("a.md")
    return await lab.catalog.open_replay(
        batch=uuid7(),
        request=asked(source, "input", route, **(managed or {})),
        prefix=f"{source}/input",
        config=config.name,
        version=await lab.save(config),
        route=route,
        **given,
    )


def objects(held: LeasedJob, count: int = OBJECTS) -> list[Listed]:
    return [Listed(f"{held.prefix}/{number:04}", "input") for number in range(count)]


async def listed(
    lab: Lab, *, count: int = OBJECTS, external: bool = False, **given: Any
) -> tuple[Replay, LeasedJob]:
    """A managed replay whose objects are listed, and that `w1` holds."""
    replay, held = await queued(lab, external=external, **given)
    found = objects(held, count)
    for at in range(0, count, 1000):
        page = found[at : at + 1000]
        await lab.record(held, page, cursor=page[-1].key, last=at + 1000 >= count)
    return replay, held


async def queued(lab: Lab, *, external: bool = False, **given: Any) -> tuple[Replay, LeasedJob]:
    """A managed replay of which nothing is listed, and that `w1` holds."""
    await lab.beat("w1", "w2")
    into = (OUTLET, "out") if external else (DOCS, "convert")
    replay, _ = await ask(lab, *into, managed={"report": False, **given})
    await lab.catalog.admit(per_queue=0)
    return replay, await lab.hold(replay.execution_id)


async def send(lab: Lab, held: LeasedJob, upto: int) -> list[Any]:
    """Read the window up to an ordinal, as a publisher does before it sends."""
    window = await lab.catalog.unpublished(held, limit=1000, upto=upto)
    assert window is not None, "the epoch is current"
    return window.dispatches


# -- pause and resume ------------------------------------------------------------------------------


async def test_a_paused_replay_names_what_may_still_arrive_and_its_holder_stops(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab)
    assert await catalog.mark(held, 4)
    sent = await send(lab, held, 7)

    paused = await catalog.pause(replay.replay_batch_id)

    assert paused
    assert (paused.state, paused.paused_by, paused.status) == ("paused", "request", None)
    # Any of the rows behind the watermark may be on their way: the window is larger than the replay.
    assert (paused.objects_published, paused.objects_uncertain) == (4, OBJECTS - 4)
    assert not await catalog.mark(held, 7)
    assert await catalog.unpublished(held, limit=10) is None
    assert await catalog.record(held, [], cursor="z", last=True) is None
    assert not await catalog.renew(held, lease=lab.LEASE)
    assert await catalog.acquire(replay.execution_id, owner="w2", lease=lab.LEASE) is None
    # What was on its way is processed, and counts as published.
    await lab.work(lab.ids(sent)[0])
    after = await lab.replay(replay.replay_batch_id)
    assert (after.objects_published, after.objects_uncertain) == (5, OBJECTS - 5)
    assert await catalog.pause(replay.replay_batch_id) == await catalog.replay(
        replay.replay_batch_id, work=False
    )


async def test_a_pause_of_a_paced_replay_names_only_paid_rows_as_uncertain(
    catalog: Catalog, lab: Lab, clock: Clock
):
    replay, held = await listed(lab, pace=RatePace(20))
    await clock.wait(1)
    allowed = await catalog.allow(held, want=100)

    paused = await catalog.pause(replay.replay_batch_id)

    assert allowed
    assert allowed.upto == 2
    assert paused
    assert (paused.objects_published, paused.objects_uncertain) == (0, 2)


async def test_a_resumed_replay_waits_in_line_and_then_continues_where_it_was(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab)
    assert await catalog.mark(held, 4)
    await catalog.pause(replay.replay_batch_id)

    resumed = await catalog.resume(replay.replay_batch_id)

    assert resumed
    assert (resumed.state, resumed.queue_position, resumed.paused_by) == ("queued", 1, None)
    assert await catalog.admit(per_queue=1) == [replay.execution_id]
    again = await lab.hold(replay.execution_id, "w2")
    window = await catalog.unpublished(again, limit=5)
    assert window
    assert [dispatch.ordinal for dispatch in window.dispatches] == [5, 6, 7, 8, 9]
    assert not await catalog.mark(held, 12)


async def test_an_execution_that_ends_closes_its_paused_job(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=2)
    sent = await send(lab, held, 2)
    await catalog.pause(replay.replay_batch_id)
    for identity in lab.ids(sent):
        await lab.work(identity)

    assert await catalog.end_executions() == [replay.execution_id]

    ended = await lab.replay(replay.replay_batch_id)
    assert (ended.state, ended.status) == ("publishing_complete", "publishing_complete")
    assert (ended.objects_published, ended.objects_uncertain, ended.paused_by) == (2, 0, None)
    with pytest.raises(Conflict) as refused:
        await catalog.resume(replay.replay_batch_id)
    assert refused.value.code == "replay_ended"


async def test_a_plain_replay_can_be_paused_too(catalog: Catalog, lab: Lab):
    await lab.beat("w1", "w2")
    replay, _ = await ask(lab)
    assert replay.state == "publishing"

    paused = await catalog.pause(replay.replay_batch_id)

    assert paused
    assert paused.state == "paused"
    assert await catalog.acquire(replay.execution_id, owner="w1", lease=lab.LEASE) is None


async def test_an_unknown_batch_cannot_be_controlled(catalog: Catalog, lab: Lab):
    unknown = lab.unknown()
    assert await catalog.pause(unknown) is None
    assert await catalog.resume(unknown) is None
    assert await catalog.cancel_replay(unknown) is None
    assert await catalog.retry_replay(unknown) is None
    assert await catalog.set_pace(unknown, None) is None


# -- cancel ----------------------------------------------------------------------------------------


async def test_a_cancelled_replay_starts_nothing_more_and_its_numbers_are_final(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab)
    published = await send(lab, held, 4)
    assert await catalog.mark(held, 4, uncertain=published[3:])
    sent = await send(lab, held, 8)
    started = await lab.claim(lab.ids(sent)[0])

    cancelled = await catalog.cancel_replay(replay.replay_batch_id)

    assert cancelled
    assert (cancelled.state, cancelled.status) == ("cancelled", "partial_failure")
    assert (cancelled.objects_published, cancelled.objects_failed) == (4, OBJECTS - 4)
    assert cancelled.objects_uncertain == 0
    for identity in [*lab.ids(published[3:]), *lab.ids(sent[1:])]:
        assert (await lab.refusal(identity)).reason == "closed"
    assert not await catalog.mark(held, 8)
    # Published messages are processed, and then the execution ends.
    await lab.done(started)
    for identity in lab.ids(published[:3]):
        await lab.work(identity)
    assert await catalog.end_executions() == [replay.execution_id]
    ended = await lab.replay(replay.replay_batch_id)
    assert (ended.state, ended.objects_published, ended.objects_failed) == ("cancelled", 4, OBJECTS - 4)
    assert ended.withdrawn == 0
    assert ended.work
    assert (ended.work.completed, ended.work.cancelled) == (4, OBJECTS - 4)
    again = await catalog.cancel_replay(replay.replay_batch_id)
    assert again
    assert again.state == "cancelled"


async def test_rows_behind_the_window_are_cancelled_too(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=2500)

    cancelled = await catalog.cancel_replay(replay.replay_batch_id)

    assert cancelled
    assert (cancelled.objects_found, cancelled.objects_published) == (2500, 0)
    counts = await lab.counts(replay.execution_id)
    assert (counts.pending, counts.cancelled) == (0, 2500)
    assert await catalog.end_executions() == [replay.execution_id]
    assert await catalog.unpublished(held, limit=10) is None


async def test_a_withdrawn_replay_also_closes_what_no_worker_has_started(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab)
    published = await send(lab, held, 4)
    assert await catalog.mark(held, 4)
    started = await lab.claim(lab.ids(published)[0])

    await catalog.cancel(replay.execution_id)

    found = await lab.replay(replay.replay_batch_id)
    assert (found.state, found.objects_published, found.objects_failed) == ("cancelled", 4, OBJECTS - 4)
    assert found.withdrawn == 3
    assert (await lab.refusal(lab.ids(published)[1])).reason == "closed"
    await lab.done(started)
    assert (await lab.replay(replay.replay_batch_id)).withdrawn == 3


async def test_a_cancelled_replay_can_still_be_withdrawn(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab)
    await send(lab, held, 4)
    assert await catalog.mark(held, 4)
    await catalog.cancel_replay(replay.replay_batch_id)

    await catalog.cancel(replay.execution_id)

    found = await lab.replay(replay.replay_batch_id)
    assert (found.objects_published, found.withdrawn, found.objects_failed) == (4, 4, OBJECTS - 4)


@pytest.mark.parametrize("withdraw", [False, True])
async def test_a_cancel_into_an_external_route_names_what_may_have_been_sent(
    catalog: Catalog, lab: Lab, withdraw: bool
):
    """No worker claims these messages, so a publisher that was suspended may still send its window."""
    replay, held = await listed(lab, count=WINDOW + 500, external=True)
    published = await send(lab, held, 4)
    assert await catalog.mark(held, 4, uncertain=published[3:])
    sent = await send(lab, held, 8)

    if withdraw:
        await catalog.cancel(replay.execution_id)
    else:
        await catalog.cancel_replay(replay.replay_batch_id)

    found = await lab.replay(replay.replay_batch_id)
    assert (found.state, found.status) == ("cancelled", "partial_failure")
    assert (found.objects_published, found.objects_uncertain) == (3, 1 + WINDOW)
    assert (found.objects_failed, found.withdrawn) == (WINDOW + 500 - 4 - WINDOW, 0)
    assert found.work
    assert (found.work.completed, found.work.cancelled) == (4 + WINDOW, found.objects_failed)
    assert found.errors
    assert f"{1 + WINDOW:,} uncertain" in found.errors[0]
    assert f"{published[3].object_key}: {MAY_BE_SENT}" in found.errors
    assert [await lab.state(lab.ids([one])[0]) for one in (published[3], sent[0])] == ["uncertain"] * 2
    assert not await catalog.mark(held, 8)
    # A replay that continues this one must not send them under other ids.
    keys = [one.key for one in objects(held, WINDOW + 500)]
    rest = await catalog.failed_below(keys, replay.execution_id, "outlet/out", unfinished=True)
    assert sorted(rest) == keys[4 + WINDOW :]
    if not withdraw:
        assert await catalog.end_executions() == [replay.execution_id]


async def test_a_cancel_names_what_was_resent_into_an_external_route_and_may_have_been_sent(
    catalog: Catalog, lab: Lab
):
    replay, held = await listed(lab, external=True)
    sent = await send(lab, held, OBJECTS)
    assert await catalog.mark(held, OBJECTS, refused=[(one, "too large") for one in sent[:2]])
    assert await catalog.close_job(held)
    await catalog.resend(ids=lab.ids(sent[:2]))
    await catalog.cancel(replay.execution_id)

    ended = await lab.replay(replay.replay_batch_id)
    assert (ended.objects_published, ended.objects_uncertain, ended.objects_failed) == (OBJECTS - 2, 2, 0)
    assert (ended.status, ended.withdrawn) == ("partial_failure", 0)
    assert ended.errors == [f"{one.object_key}: {MAY_BE_SENT}" for one in sent[:2]]


async def test_a_cancel_of_a_paced_replay_into_an_external_route_names_what_was_paid(
    catalog: Catalog, lab: Lab, clock: Clock
):
    replay, held = await listed(lab, external=True, pace=RatePace(20))
    await clock.wait(1)
    assert await catalog.allow(held, want=100)

    cancelled = await catalog.cancel_replay(replay.replay_batch_id)

    assert cancelled
    assert (cancelled.objects_uncertain, cancelled.objects_failed) == (2, OBJECTS - 2)


# -- retry -----------------------------------------------------------------------------------------


async def test_a_retry_publishes_refused_messages_again_under_the_same_batch(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=3)
    sent = await send(lab, held, 3)
    assert await catalog.mark(held, 3, refused=[(sent[1], "too large")])
    assert await catalog.close_job(held)
    for at in (0, 2):
        await lab.work(lab.ids(sent)[at])
    assert await catalog.end_executions() == [replay.execution_id]
    assert (await lab.replay(replay.replay_batch_id)).state == "partial_failure"

    retried = await catalog.retry_replay(replay.replay_batch_id)

    assert retried
    assert (retried.state, retried.status, retried.objects_uncertain) == ("queued", None, 1)
    assert (await lab.execution(replay.execution_id)).status == "running"
    assert await catalog.orphans("w1", limit=10, without=()) == [], "the reconciler does not send it"
    await catalog.admit(per_queue=0)
    again = await lab.hold(replay.execution_id)
    (dispatch,) = await catalog.unsettled(again, limit=10)
    assert (dispatch.correlation_id, dispatch.generation) == (sent[1].correlation_id, 1)
    assert await catalog.settle(again, [dispatch], [])
    assert await catalog.close_job(again)
    await lab.work(lab.ids([dispatch])[0])
    ended = await lab.replay(replay.replay_batch_id)
    assert (ended.state, ended.objects_published, ended.objects_failed) == ("publishing_complete", 3, 0)


async def test_a_retry_continues_a_listing_that_was_given_up(catalog: Catalog, lab: Lab):
    await lab.beat("w1", "w2")
    replay, _ = await ask(lab)
    held = await lab.hold(replay.execution_id)
    first, second = objects(held, 2)
    await lab.record(held, [first], cursor=first.key, last=False)
    assert await catalog.mark(held, 1)
    assert await catalog.fail_listing(held, "the store refuses")
    assert await catalog.close_job(held)
    assert (await lab.replay(replay.replay_batch_id)).state == "partial_failure"

    retried = await catalog.retry_replay(replay.replay_batch_id)

    assert retried
    assert (retried.state, retried.errors) == ("queued", None)
    await catalog.admit(per_queue=0)
    again = await lab.hold(replay.execution_id)
    assert again.cursor == first.key
    assert await lab.record(again, [second], cursor=second.key, last=True)


async def test_a_retry_of_a_complete_replay_changes_nothing(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=1)
    assert await catalog.mark(held, 1)
    assert await catalog.close_job(held)

    same = await catalog.retry_replay(replay.replay_batch_id)

    assert same
    assert same.state == "publishing_complete"


async def test_a_cancelled_replay_cannot_be_continued(catalog: Catalog, lab: Lab):
    replay, _ = await listed(lab)
    batch = replay.replay_batch_id
    await catalog.cancel_replay(batch)

    for attempt in (catalog.retry_replay, catalog.resume, catalog.pause):
        with pytest.raises(Conflict) as refused:
            await attempt(batch)
        assert refused.value.code == "replay_ended"
        assert str(batch) in refused.value.detail


# -- pace ------------------------------------------------------------------------------------------


async def test_a_rate_allows_what_its_time_allows_and_never_more_than_a_burst(
    catalog: Catalog, lab: Lab, clock: Clock
):
    _, held = await listed(lab, count=100, pace=RatePace(100))
    await clock.wait(60)

    first = await catalog.allow(held, want=1000)

    assert first
    assert first.upto == 10
    # Until the first ten are marked, nothing more is paid for.
    assert await catalog.allow(held, want=1000) == first
    assert await catalog.mark(held, 10)
    waiting = await catalog.allow(held, want=1000)
    assert waiting
    assert (waiting.upto, waiting.why) == (0, "rate")
    assert 0 < waiting.wait <= 0.05
    await clock.wait(0.08)
    second = await catalog.allow(held, want=1000)
    assert second
    assert second.upto > 10 + 4


async def test_what_was_paid_for_is_sent_by_the_next_owner_without_paying(
    catalog: Catalog, lab: Lab, clock: Clock
):
    replay, held = await listed(lab, count=100, pace=RatePace(100))
    await clock.wait(1)
    first = await catalog.allow(held, want=1000)
    await catalog.release(held)
    again = await lab.hold(replay.execution_id, "w2")

    assert await catalog.allow(again, want=1000) == first
    assert await catalog.allow(held, want=1000) is None


async def test_a_pace_of_an_unpaced_replay_stops_its_holder(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=3)

    changed = await catalog.set_pace(replay.replay_batch_id, RatePace(5))

    assert changed
    assert changed.pace == RatePace(5)
    assert await catalog.set_pace(replay.replay_batch_id, RatePace(5)) == changed, "an answer may be lost"
    assert not await catalog.mark(held, 3)
    again = await lab.hold(replay.execution_id)
    assert again.paced
    # Its window may have been sent already.
    allowed = await catalog.allow(again, want=1000)
    assert allowed
    assert allowed.upto == 3


async def test_a_changed_pace_holds_at_once_and_a_removed_one_allows_all(
    catalog: Catalog, lab: Lab, clock: Clock
):
    replay, held = await listed(lab, count=100, pace=RatePace(0.01))
    await clock.wait(0.5)
    assert await catalog.set_pace(replay.replay_batch_id, RatePace(100))
    await clock.wait(0.1)
    allowed = await catalog.allow(held, want=1000)
    assert allowed
    assert allowed.upto >= 5
    assert await catalog.mark(held, allowed.upto)

    assert await catalog.set_pace(replay.replay_batch_id, None)

    rest = await catalog.allow(held, want=1000)
    assert rest
    assert rest.upto == 100
    assert await catalog.mark(held, 100)
    assert await catalog.allow(held, want=1000) == (0, 0.0, None)


async def test_a_depth_counts_the_messages_of_all_replays_that_no_worker_has_claimed(
    catalog: Catalog, lab: Lab
):
    _, one = await listed(lab, count=30, pace=DepthPace(10))
    _, two = await listed(lab, count=30, pace=DepthPace(10))

    first = await catalog.allow(one, want=6)
    second = await catalog.allow(two, want=100)

    assert first
    assert first.upto == 6
    assert second
    assert second.upto == 4
    sent = await send(lab, one, 6)
    assert await catalog.mark(one, 6)
    full = await catalog.allow(one, want=100)
    assert full
    assert (full.upto, full.why) == (0, "depth")
    await lab.claim(lab.ids(sent)[0])
    await lab.claim(lab.ids(sent)[1])
    more = await catalog.allow(one, want=100)
    assert more
    assert more.upto == 8
    assert await catalog.allow(two, want=100) == second


async def test_messages_that_a_queue_has_lost_count_until_they_are_published_again(
    catalog: Catalog, lab: Lab
):
    _, held = await listed(lab, pace=DepthPace(2))
    allowed = await catalog.allow(held, want=100)
    assert allowed
    sent = await send(lab, held, allowed.upto)
    assert await catalog.mark(held, allowed.upto)

    lost = await catalog.redeliver_lost("w1", held.headers.queue, limit=10)

    assert len(lost) == len(sent) == 2
    assert await catalog.allow(held, want=100) == (0, 0.1, "depth")
    await catalog.mark_published(lost)
    assert await catalog.allow(held, want=100) == (0, 0.1, "depth")
    await lab.work(lab.ids(lost)[0])
    assert await catalog.allow(held, want=100) == (3, 0.0, None)


async def test_the_depth_of_an_external_queue_is_given(catalog: Catalog, lab: Lab):
    _, held = await listed(lab, count=30, pace=DepthPace(10))

    full = await catalog.allow(held, want=100, depth=10)
    some = await catalog.allow(held, want=100, depth=4)

    assert full
    assert (full.upto, full.why) == (0, "depth")
    assert some
    assert some.upto == 6


# -- places in queues ------------------------------------------------------------------------------


async def test_replays_get_the_places_of_a_queue_in_their_order(catalog: Catalog, lab: Lab):
    await lab.beat("w1", "w2")
    first, second, third = [(await ask(lab, managed={"reason": "r"})).replay for _ in range(3)]

    assert await catalog.admit(per_queue=2) == [first.execution_id, second.execution_id]
    assert await catalog.admit(per_queue=2) == []
    waiting = await lab.replay(third.replay_batch_id)
    assert (waiting.state, waiting.queue_position, waiting.waits_for) == ("queued", 1, "queue")
    await catalog.pause(first.replay_batch_id)
    assert await catalog.admit(per_queue=2) == [third.execution_id]
    await catalog.resume(first.replay_batch_id)
    assert await catalog.admit(per_queue=2) == []
    await catalog.cancel_replay(second.replay_batch_id)
    assert await catalog.admit(per_queue=2) == [first.execution_id]


async def test_a_plain_replay_counts_but_never_waits(catalog: Catalog, lab: Lab):
    await lab.beat("w1", "w2")
    plain, _ = await ask(lab)
    managed, _ = await ask(lab, managed={"reason": "r"})

    assert plain.state == "publishing"
    assert await catalog.admit(per_queue=1) == []
    assert await catalog.admit(per_queue=0) == [managed.execution_id]


# -- what was asked for ----------------------------------------------------------------------------


async def test_a_replay_shows_what_was_asked_for(catalog: Catalog, lab: Lab):
    await lab.beat("w1", "w2")
    selection = Selection(include=["*.md"], attributes={"language": "en"}, only="failed", in_replay=uuid7())

    replay, _ = await ask(
        lab,
        managed={
            "selection": selection,
            "reason": "a new splitter",
            "report": True,
            "canary": Canary(3, 0.5),
        },
        effects={"index": "skip"},
    )

    assert (replay.selection, replay.reason, replay.report) == (selection, "a new splitter", "due")
    assert (replay.effects, replay.hold_at, replay.pace) == ({"index": "skip"}, 3, None)


async def test_only_the_process_that_lists_a_replay_reads_its_paths(lab: Lab):
    replay, held = await queued(lab, selection=Selection(paths=["a.md", "b.md"], limit=1))
    assert (replay.selection, replay.selected_paths) == (Selection(limit=1), 2)
    assert held.selection == Selection(paths=["a.md", "b.md"], limit=1)


async def test_the_limit_of_a_selection_ends_the_listing(catalog: Catalog, lab: Lab):
    replay, held = await queued(lab, selection=Selection(limit=3))
    found = objects(held, 4)

    first = await catalog.record(held, found[:2], cursor=found[1].key, last=False)
    rest = await catalog.record(held, found[2:], cursor=found[3].key, last=False)

    assert first
    assert (first.upto, first.listed) == (2, False)
    assert rest
    assert (rest.upto, rest.listed) == (3, True)
    assert await catalog.is_listed(replay.execution_id)


async def test_objects_behind_the_limit_are_left_out_and_listed_when_it_is_raised(catalog: Catalog, lab: Lab):
    replay, held = await queued(lab)
    found = objects(held, 5)

    first = await catalog.record(held, found[:2], cursor=found[1].key, last=False, most=3)
    full = await catalog.record(held, found[2:], cursor=found[4].key, last=False, most=3)
    again = await catalog.record(held, found[3:], cursor=found[4].key, last=True, most=3)

    assert first
    assert (first.upto, first.is_full) == (2, False)
    assert full
    assert (full.upto, full.listed, full.is_full) == (3, False, True)
    assert again
    assert (again.dispatches, again.listed, again.is_full) == ([], False, True)
    assert not await catalog.is_listed(replay.execution_id)
    # A successor continues with the first object that was left out.
    await catalog.release(held)
    other = await lab.hold(replay.execution_id, "w2")
    assert other.cursor == found[2].key
    rest = await catalog.record(other, found[3:], cursor=found[4].key, last=True, most=5)
    assert rest
    assert (rest.upto, rest.listed, rest.is_full) == (5, True, False)


async def test_a_selection_within_the_limit_of_objects_ends_the_listing_before_it(catalog: Catalog, lab: Lab):
    _, held = await queued(lab, selection=Selection(limit=3))
    found = objects(held, 5)

    window = await catalog.record(held, found, cursor=found[4].key, last=False, most=3)

    assert window
    assert (window.upto, window.listed, window.is_full) == (3, True, False)


async def test_a_listing_that_ended_at_the_limit_of_objects_continues_after_a_retry(
    catalog: Catalog, lab: Lab
):
    replay, held = await queued(lab)
    found = objects(held, 3)
    window = await catalog.record(held, found, cursor=found[2].key, last=False, most=2)
    assert window
    assert await catalog.fail_listing(held, "more than 2 objects", code="too_many_objects")
    assert await catalog.mark(held, 2)
    assert await catalog.close_job(held)
    for identity in lab.ids(window.dispatches):
        await lab.work(identity)
    assert await catalog.end_executions() == [replay.execution_id]
    failed = await lab.execution(replay.execution_id)
    assert failed.error
    assert (failed.status, failed.error.code) == ("failed", "too_many_objects")
    assert (await lab.replay(replay.replay_batch_id)).errors == ["listing was abandoned: more than 2 objects"]

    retried = await catalog.retry_replay(replay.replay_batch_id)

    assert retried
    assert (retried.state, retried.errors) == ("queued", None)
    await catalog.admit(per_queue=0)
    again = await lab.hold(replay.execution_id)
    assert again.cursor == found[1].key


# -- keys ------------------------------------------------------------------------------------------


def key(name: str = "k", body: bytes = b"1" * 32, seconds: float = 60) -> Key:
    return Key("replay", "", name, body, seconds)


async def test_a_repeated_key_returns_the_first_replay(catalog: Catalog, lab: Lab):
    assert await catalog.keyed(key()) is None

    first = await ask(lab, key=key())
    second = await ask(lab, key=key())

    assert (first.fresh, second.fresh) == (True, False)
    assert second.replay == first.replay
    assert await catalog.keyed(key()) == first.replay.replay_batch_id
    replays, _ = await catalog.replays()
    assert len(replays) == 1


async def test_another_body_under_the_same_key_is_refused(catalog: Catalog, lab: Lab):
    await ask(lab, key=key())

    for refused in (catalog.keyed(key(body=b"2" * 32)), ask(lab, key=key(body=b"2" * 32))):
        with pytest.raises(Conflict) as raised:
            await refused
        assert raised.value.code == "idempotency_key_reused"


async def test_a_key_is_kept_until_publishing_has_ended(catalog: Catalog, lab: Lab, clock: Clock):
    first = await ask(lab, key=key(seconds=0.2))
    await clock.wait(1)
    assert await catalog.keyed(key(seconds=0.2)) == first.replay.replay_batch_id

    await catalog.cancel_replay(first.replay.replay_batch_id)

    assert await catalog.keyed(key(seconds=0.2)) is None
    second = await ask(lab, key=key(body=b"2" * 32, seconds=0.2))
    assert second.fresh


async def test_a_resent_refused_message_of_a_paused_replay_waits_for_its_job(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=3)
    sent = await send(lab, held, 2)
    assert await catalog.mark(held, 2, refused=[(sent[1], "too large")])
    await catalog.pause(replay.replay_batch_id)

    assert await catalog.resend(ids=[lab.ids(sent)[1]]) == [lab.ids(sent)[1]]

    assert await catalog.orphans("w1", limit=10, without=()) == [], "the reconciler does not send it"
    paused = await lab.replay(replay.replay_batch_id)
    assert (paused.objects_published, paused.objects_uncertain, paused.objects_failed) == (1, 2, 0)


async def test_an_execution_that_ends_before_its_job_closes_it(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=2)
    for identity in lab.ids(await send(lab, held, 2)):
        await lab.work(identity)

    assert await catalog.end_executions() == [replay.execution_id]

    ended = await lab.replay(replay.replay_batch_id)
    assert (ended.state, ended.objects_published) == ("publishing_complete", 2)
    assert not await catalog.mark(held, 2)
    assert await catalog.close_job(held), "its holder reports the end"


async def test_a_replay_whose_outputs_are_pruned_is_not_retried(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=1)
    sent = await send(lab, held, 1)
    assert await catalog.mark(held, 1, refused=[(sent[0], "too large")])
    assert await catalog.close_job(held)
    assert await catalog.end_executions() == [replay.execution_id]
    await begin(catalog, replay.execution_id)

    with pytest.raises(Conflict) as refused:
        await catalog.retry_replay(replay.replay_batch_id)

    assert refused.value.code == "execution_pruned"


async def test_a_paused_replay_does_not_keep_the_queue_of_another_one_full(catalog: Catalog, lab: Lab):
    paid, held = await listed(lab, pace=DepthPace(5))
    assert await catalog.allow(held, want=100) == (5, 0.0, None)
    await catalog.pause(paid.replay_batch_id)
    _, other = await listed(lab, pace=DepthPace(5))

    assert await catalog.allow(other, want=100) == (5, 0.0, None)


async def test_a_second_pause_names_again_what_was_paid_for_before_the_first(catalog: Catalog, lab: Lab):
    """It may have been sent, although nothing of it is marked."""
    replay, held = await listed(lab, pace=DepthPace(5))
    assert await catalog.allow(held, want=100) == (5, 0.0, None)
    await catalog.pause(replay.replay_batch_id)
    await catalog.resume(replay.replay_batch_id)

    paused = await catalog.pause(replay.replay_batch_id)

    assert paused
    assert (paused.objects_published, paused.objects_uncertain) == (0, 5)


async def test_a_claimed_message_that_is_refused_later_still_counts_as_published(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=2)
    sent = await send(lab, held, 2)
    assert await catalog.mark(held, 2)
    await lab.fail(await lab.claim(lab.ids(sent)[0]), delay=0)
    cancelled = await catalog.cancel_replay(replay.replay_batch_id)
    assert cancelled
    assert cancelled.objects_published == 2
    (due,) = await catalog.due("w1", limit=10, without=())

    await catalog.mark_published([], refused=[(due, "too large")])

    assert await lab.state(lab.ids(sent)[0]) == "dead"
    assert (await lab.replay(replay.replay_batch_id)).objects_published == 2
