"""The contract of `ports.catalog.plans`, for every catalog."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from playhead.errors import Conflict, NotFound
from playhead.ids import uuid7
from playhead.model import (
    ChangedObject,
    LeftOut,
    ObjectState,
    Plan,
    PlanDifference,
    PlannedRoute,
    PlanProblems,
    PruneFilter,
    Warning,
    Worker,
    WorkerAdapter,
)
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.jobs import Key, LeasedJob, LeasedPlan, Listed, Opened
from playhead.ports.catalog.plans import PlanPage
from tests.lab import asked

if TYPE_CHECKING:
    from tests.lab import Lab

SECONDS = 100.0


def page(no: int, first: str, last: str, objects: int = 2) -> PlanPage:
    return PlanPage(no, first, last, objects, bytes([no]) * 32, b"\x00\xff data")


async def opened(lab: Lab, *, plan: UUID | None = None, owner: str = "w1", **request: Any) -> Plan:
    """Open a plan of a replay into `docs/convert`."""
    version = await lab.save()
    return await lab.catalog.open_plan(
        plan or uuid7(),
        owner=owner,
        request={"from_stage": "input", **request},
        source=lab.unknown(),
        config="docs",
        version=version,
        route="convert",
        seconds=SECONDS,
    )


async def ready(lab: Lab, *pages: PlanPage) -> Plan:
    plan = await opened(lab)
    for one in pages:
        assert await lab.catalog.add_page(plan.plan_id, one)
    objects, last = sum(p.objects for p in pages), pages[-1].last_key if pages else None
    finished = await lab.catalog.finish_plan(replace(plan, digest="sha256:x", objects=objects, last_key=last))
    assert finished
    return finished


async def state_of(lab: Lab, plan: Plan) -> str | None:
    found = await lab.catalog.plan(plan.plan_id)
    return found.state if found else None


async def pages_of(lab: Lab, plan: Plan, after: str = "") -> list[int]:
    return [one.no for one in await lab.catalog.plan_pages(plan.plan_id, after=after, limit=100)]


async def ask(lab: Lab, plan: UUID, *, source: UUID | None = None, key: Key | None = None) -> Opened:
    """Open a replay of inputs that is started from a plan."""
    source = source or await lab.sealed("a.md")
    opened = await lab.catalog.open_replay(
        batch=uuid7(),
        request=asked(source, "input", "convert", plan_id=plan),
        prefix=f"{source}/input",
        config="docs",
        version=await lab.save(),
        route="convert",
        key=key,
    )
    await lab.catalog.admit(per_queue=0)
    return opened


async def checking(lab: Lab, *pages: PlanPage) -> tuple[Plan, Opened, LeasedJob]:
    """A replay that compares its plan, and that `w1` holds."""
    plan = await ready(lab, *(pages or [page(0, "a", "b")]))
    opened = await ask(lab, plan.plan_id)
    return plan, opened, await lab.hold(opened.replay.execution_id)


def a_key(text: str = "k", body: bytes = b"1" * 32) -> Key:
    return Key("replay", "", text, body, 60.0)


# -- making ----------------------------------------------------------------------------------------


async def test_a_new_plan_is_being_listed(catalog: Catalog, lab: Lab):
    identity = uuid7()
    plan = await opened(lab, plan=identity, to_route="convert", limit=5)

    assert (plan.plan_id, plan.state, plan.digest, plan.error) == (identity, "listing", None, None)
    assert (plan.to_config, plan.to_config_version, plan.to_queue) == ("docs", 1, "docs.convert")
    assert plan.request == {"from_stage": "input", "to_route": "convert", "limit": 5}
    assert plan.expires_at > plan.created_at
    assert await catalog.plan(identity) == plan
    assert await catalog.plan(lab.unknown()) is None


async def test_opening_a_plan_again_changes_nothing(catalog: Catalog, lab: Lab):
    plan = await opened(lab)
    await catalog.add_page(plan.plan_id, page(0, "a", "b"))

    assert (await opened(lab, plan=plan.plan_id, limit=1)).request == plan.request
    assert await pages_of(lab, plan) == [0]


async def test_a_plan_counts_the_objects_of_its_pages_while_it_is_made(catalog: Catalog, lab: Lab):
    plan = await opened(lab)
    for no in range(2):
        assert await catalog.add_page(plan.plan_id, page(no, f"{no}a", f"{no}b", 10))

    found = await catalog.plan(plan.plan_id)
    assert found
    assert found.objects == 20


async def test_the_same_page_may_be_stored_twice(catalog: Catalog, lab: Lab):
    plan = await opened(lab)
    for _ in range(2):
        assert await catalog.add_page(plan.plan_id, page(0, "a", "b"))

    assert await catalog.plan_pages(plan.plan_id, limit=10) == [page(0, "a", "b")]


async def test_a_ready_plan_shows_all_that_was_found(catalog: Catalog, lab: Lab):
    plan = await opened(lab)
    worker = Worker(
        *("w1", "worker", "host", 1, ["docs.convert"], plan.created_at, plan.created_at, 0.5, "1.0"),
        [WorkerAdapter("split", "2", "sha256:y", "steps.py", ["changed"])],
    )
    full = replace(
        plan,
        digest="sha256:x",
        consumers=1,
        queue_depth=7,
        objects=3,
        bytes=1 << 40,
        first_keys=["a", "é"],
        last_key="z",
        content_types={"text/html": 3},
        left_out=LeftOut(sidecars=3, over_limit=1),
        problems=PlanProblems(invalid_key=1, no_sidecar=0),
        routes=[PlannedRoute("docs", "convert", "docs.convert", "unknown", "run", True)],
        would_refuse=["convert"],
        seconds=1.5,
        replayable_until=plan.expires_at,
        config_diff="-a\n+b\n",
        workers=[worker],
        warnings=[Warning("code_differs", "a", ["a"], ["w"], {"sha256:aa": ["w"]}, 1, "d")],
    )

    finished = await catalog.finish_plan(full)

    assert finished == replace(full, state="ready")
    assert await catalog.plan(plan.plan_id) == finished
    assert await catalog.finish_plan(full) == finished
    assert not await catalog.add_page(plan.plan_id, page(0, "a", "b"))
    assert not await catalog.fail_plan(plan.plan_id, "late")


async def test_a_failed_plan_is_not_continued(catalog: Catalog, lab: Lab):
    plan = await opened(lab)
    assert await catalog.fail_plan(plan.plan_id, "no store\0")

    failed = await catalog.plan(plan.plan_id)
    assert failed
    assert (failed.state, failed.error) == ("failed", "no store�")
    assert not await catalog.fail_plan(plan.plan_id, "again")
    assert not await catalog.add_page(plan.plan_id, page(0, "a", "b"))
    assert await catalog.finish_plan(plan) is None
    assert not await catalog.fail_plan(lab.unknown(), "unknown")


# -- reading ---------------------------------------------------------------------------------------


async def test_plans_are_listed_newest_first_by_pages(catalog: Catalog, lab: Lab):
    made = [(await opened(lab)).plan_id for _ in range(5)]

    pages = await lab.pages(lambda before: catalog.plans(before=before, limit=2))

    assert [[one.plan_id for one in some] for some in pages] == [made[:2:-1], made[2:0:-1], made[:1]]


async def test_pages_continue_after_a_key(catalog: Catalog, lab: Lab):
    pages = [page(0, "a", "c"), page(1, "d", "f"), page(2, "é", "ﬀ", 1)]
    plan = await ready(lab, *pages)
    other = await ready(lab, page(0, "a", "b"))

    assert await catalog.plan_pages(plan.plan_id, limit=2) == pages[:2]
    assert await pages_of(lab, plan, "b") == [0, 1, 2]
    assert await pages_of(lab, plan, "c") == [1, 2]
    assert await pages_of(lab, plan, "g") == [2]
    assert await pages_of(lab, plan, "ﬀ") == []
    assert await pages_of(lab, other) == [0]


async def test_the_largest_of_the_newest_replays_into_a_route_provides_the_rate(catalog: Catalog, lab: Lab):
    assert await catalog.publishing_rate("docs", "convert") is None
    run = await lab.started("1.md", "2.md", "3.md", "4.md")
    keys = [one.object_key for one in run.dispatches]
    for count, seconds in ((4, 2.0), (1, 9.0)):
        replay = await lab.replayed(run.execution)
        held = await lab.hold(replay.execution_id)
        dispatches = await lab.list_all(held, *keys[:count])
        lab.clock.advance(seconds)
        await lab.publish_all(held, dispatches)

    assert await catalog.publishing_rate("docs", "convert") == 2.0
    assert await catalog.publishing_rate("docs", "split") is None
    assert await catalog.publishing_rate("other", "convert") is None


# -- ends ------------------------------------------------------------------------------------------


async def test_a_plan_whose_process_died_is_failed_and_loses_its_pages(catalog: Catalog, lab: Lab):
    lost, live = await opened(lab, owner="w1"), await opened(lab, owner="w2")
    for plan in (lost, live):
        await catalog.add_page(plan.plan_id, page(0, "a", "b"))
    assert await catalog.fail_lost_plans() == 0
    await lab.die("w1")

    assert await catalog.fail_lost_plans() == 1

    failed = await catalog.plan(lost.plan_id)
    assert failed
    assert failed.state == "failed"
    assert failed.error
    assert "ended" in failed.error
    assert (await state_of(lab, live), await pages_of(lab, lost), await pages_of(lab, live)) == (
        "listing",
        [],
        [0],
    )
    assert await catalog.fail_lost_plans() == 0


async def test_a_plan_expires_with_its_pages_and_is_deleted_later(catalog: Catalog, lab: Lab):
    plan = await ready(lab, page(0, "a", "b"))
    lab.clock.advance(SECONDS - 1)
    await lab.beat("w1", "w2")
    await catalog.fail_lost_plans()
    assert (await state_of(lab, plan), await pages_of(lab, plan)) == ("ready", [0])

    lab.clock.advance(2)
    assert await state_of(lab, plan) == "expired"
    await catalog.fail_lost_plans()
    assert (await state_of(lab, plan), await pages_of(lab, plan)) == ("expired", [])

    lab.clock.advance(SECONDS)
    await catalog.fail_lost_plans()
    assert await state_of(lab, plan) is None


async def test_a_failed_plan_is_deleted_as_late_as_an_expired_one(catalog: Catalog, lab: Lab):
    plan = await opened(lab)
    await catalog.fail_plan(plan.plan_id, "it broke")
    lab.clock.advance(2 * SECONDS - 1)
    await catalog.fail_lost_plans()
    assert await state_of(lab, plan) == "failed"

    lab.clock.advance(2)
    await catalog.fail_lost_plans()
    assert await state_of(lab, plan) is None


async def test_a_plan_that_is_made_for_long_is_not_deleted(catalog: Catalog, lab: Lab):
    plan = await opened(lab)
    await catalog.add_page(plan.plan_id, page(0, "a", "b"))
    lab.clock.advance(3 * SECONDS)
    await lab.beat("w1", "w2")

    await catalog.fail_lost_plans()

    assert (await state_of(lab, plan), await pages_of(lab, plan)) == ("listing", [0])


# -- using -----------------------------------------------------------------------------------------


async def test_the_replay_of_a_plan_compares_it_first(catalog: Catalog, lab: Lab):
    plan, opened, held = await checking(lab, page(0, "a", "c"), page(1, "d", "é"))

    assert opened.fresh
    assert (held.state, held.plan) == ("checking", LeasedPlan(plan.plan_id, "é"))
    replay = await lab.replay(opened.replay.replay_batch_id)
    assert (replay.state, replay.plan_id, replay.objects_found) == ("checking", plan.plan_id, 0)
    used = await catalog.plan(plan.plan_id)
    assert used
    assert (used.state, used.replay_batch_id) == ("used", replay.replay_batch_id)
    # Nothing is recorded or published before.
    assert await catalog.record(held, [Listed("a", "input")], cursor="a", last=False) is None
    assert await catalog.unpublished(held, limit=10) is None
    assert not await catalog.close_job(held)
    assert await catalog.renew(held, lease=lab.LEASE)


async def test_the_second_request_for_a_plan_returns_the_first_replay(catalog: Catalog, lab: Lab):
    plan = await ready(lab, page(0, "a", "b"))
    first = await ask(lab, plan.plan_id)

    second = await ask(lab, plan.plan_id)

    assert not second.fresh
    assert second.replay.replay_batch_id == first.replay.replay_batch_id
    lab.clock.advance(3 * SECONDS)
    await lab.beat("w1", "w2")
    await catalog.fail_lost_plans()
    assert (await ask(lab, plan.plan_id)).replay.replay_batch_id == first.replay.replay_batch_id


async def test_of_two_requests_at_once_one_starts_a_replay(catalog: Catalog, lab: Lab):
    plan = await ready(lab, page(0, "a", "b"))
    source = await lab.sealed("a.md")

    opened = await asyncio.gather(*(ask(lab, plan.plan_id, source=source) for _ in range(8)))

    assert sorted(one.fresh for one in opened) == [False] * 7 + [True]
    assert len({one.replay.replay_batch_id for one in opened}) == 1
    found, _ = await catalog.replays()
    assert len(found) == 1


async def test_a_key_of_a_later_request_finds_the_first_replay(catalog: Catalog, lab: Lab):
    plan = await ready(lab, page(0, "a", "b"))
    first = await ask(lab, plan.plan_id)

    await ask(lab, plan.plan_id, key=a_key())

    assert await catalog.keyed(a_key()) == first.replay.replay_batch_id


async def test_a_refused_key_does_not_use_a_plan(catalog: Catalog, lab: Lab):
    first, second = await ready(lab, page(0, "a", "b")), await ready(lab, page(0, "a", "b"))
    await ask(lab, first.plan_id, key=a_key())

    with pytest.raises(Conflict) as raised:
        await ask(lab, second.plan_id, key=a_key(body=b"2" * 32))

    assert raised.value.code == "idempotency_key_reused"
    assert await state_of(lab, second) == "ready"


async def test_a_pruned_stage_does_not_use_a_plan(catalog: Catalog, lab: Lab):
    plan = await ready(lab, page(0, "a", "b"))
    source = (await lab.started("a.md")).execution
    await catalog.cancel(source)
    await catalog.begin_prune((await catalog.prune_candidates(PruneFilter(execution_ids=[source])))[0])

    with pytest.raises(Conflict) as raised:
        await ask(lab, plan.plan_id, source=source)

    assert raised.value.code == "stage_pruned"
    assert await state_of(lab, plan) == "ready"


async def test_a_plan_that_is_not_ready_starts_no_replay(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    listing, failed, expired = await opened(lab), await opened(lab), await ready(lab, page(0, "a", "b"))
    await catalog.fail_plan(failed.plan_id, "no store")
    lab.clock.advance(SECONDS + 1)
    await lab.beat("w1", "w2")
    cases = {
        listing.plan_id: "plan_not_ready",
        failed.plan_id: "plan_not_ready",
        expired.plan_id: "plan_expired",
        lab.unknown(): "plan_not_found",
    }

    for plan, code in cases.items():
        with pytest.raises((Conflict, NotFound)) as raised:
            await ask(lab, plan, source=source)
        assert raised.value.code == code
        assert str(plan) in raised.value.detail
    assert (await catalog.replays())[0] == []


# -- checking --------------------------------------------------------------------------------------


async def test_after_the_check_the_objects_of_the_plan_are_recorded(catalog: Catalog, lab: Lab):
    _, opened, held = await checking(lab)
    hidden = await lab.opened()
    await catalog.bind_inputs(hidden, [lab.input("late.md")])
    late = f"{hidden}/input/late.md"

    assert await catalog.pass_check(held)
    assert await catalog.pass_check(held)

    assert (await lab.replay(opened.replay.replay_batch_id)).state == "publishing"
    # A row that was inserted after the check hides no object.
    dispatches = await lab.list_all(held, late)
    assert [one.object_key for one in dispatches] == [late]
    await lab.publish_all(held, dispatches)
    assert (await lab.replay(opened.replay.replay_batch_id)).state == "publishing_complete"


async def test_a_takeover_during_the_check_repeats_it(catalog: Catalog, lab: Lab):
    plan, opened, held = await checking(lab)
    lab.clock.advance(lab.LEASE + 1)
    await lab.beat("w1", "w2")

    assert opened.replay.execution_id in await catalog.abandoned_jobs()
    second = await lab.hold(opened.replay.execution_id, "w2")

    assert (second.state, second.plan) == ("checking", LeasedPlan(plan.plan_id, "b"))
    assert not await catalog.pass_check(held)
    assert not await catalog.refuse_plan(held, PlanDifference(1, 0))
    assert await catalog.pass_check(second)


async def test_a_check_that_makes_progress_is_continued_however_often_it_is_taken_over(
    catalog: Catalog, lab: Lab
):
    """After four deaths during the check the replay was stalled."""
    _, opened, held = await checking(lab)
    for key in "abcdefgh":
        assert await catalog.keep_check(held, key)
        stale = held
        lab.clock.advance(lab.LEASE + 1)
        await lab.beat("w1", "w2")
        held = await lab.hold(opened.replay.execution_id, "w2")
        assert (held.state, held.cursor, held.checked) == ("checking", "", key)
        assert not await catalog.keep_check(stale, "z")

    assert await catalog.pass_check(held)

    assert not await catalog.keep_check(held, "z")
    await catalog.release(held)
    assert (await lab.hold(opened.replay.execution_id)).cursor == ""


@pytest.mark.parametrize("is_passed", [False, True])
async def test_a_resumed_replay_repeats_the_check_as_objects_may_have_changed_since_the_pause(
    catalog: Catalog, lab: Lab, is_passed: bool
):
    _, opened, held = await checking(lab)
    assert await catalog.keep_check(held, "a")
    if is_passed:
        assert await catalog.pass_check(held)
    await catalog.pause(opened.replay.replay_batch_id)
    await catalog.resume(opened.replay.replay_batch_id)
    await catalog.admit(per_queue=0)

    again = await lab.hold(opened.replay.execution_id)

    assert (again.state, again.checked) == ("checking", "")


async def test_a_takeover_after_the_check_does_not_repeat_it(catalog: Catalog, lab: Lab):
    plan, opened, held = await checking(lab)
    await catalog.pass_check(held)
    await catalog.release(held)

    second = await lab.hold(opened.replay.execution_id, "w2")

    assert (second.state, second.plan) == ("publishing", LeasedPlan(plan.plan_id, "b"))


DIFFERENCE = PlanDifference(
    2,
    1,
    [
        ChangedObject("a", "gone", ObjectState(1, "r:1"), None),
        ChangedObject("é", "changed", ObjectState(1, "s:1"), ObjectState(2, "s:2")),
    ],
)


async def test_a_refused_replay_records_nothing_and_says_why(catalog: Catalog, lab: Lab):
    plan, opened, held = await checking(lab)

    assert await catalog.refuse_plan(held, DIFFERENCE)

    replay = await lab.replay(opened.replay.replay_batch_id)
    assert (replay.state, replay.status, replay.objects_found) == ("refused", "partial_failure", 0)
    assert replay.ended_at
    assert replay.errors == [
        "plan_changed: objects have changed since the plan was made: 2 gone, 1 changed; the first is a (gone)"
    ]
    assert await catalog.plan_difference(plan.plan_id) == DIFFERENCE
    used = await catalog.plan(plan.plan_id)
    assert used
    assert (used.state, used.error) == ("used", None)
    await catalog.end_executions([replay.execution_id])
    execution = await lab.execution(replay.execution_id)
    assert (execution.status, execution.counts.total) == ("failed", 0)
    assert execution.error
    assert execution.error.code == "plan_changed"
    assert not await catalog.pass_check(held)
    assert not await catalog.refuse_plan(held, DIFFERENCE)
    assert await catalog.acquire(replay.execution_id, owner="w2", lease=lab.LEASE) is None
    with pytest.raises(Conflict, match="refused"):
        await catalog.retry_replay(replay.replay_batch_id)


async def test_a_plan_without_a_refused_replay_has_no_difference(catalog: Catalog, lab: Lab):
    plan, _, held = await checking(lab)
    await catalog.pass_check(held)

    assert await catalog.plan_difference(plan.plan_id) is None
    assert await catalog.plan_difference(lab.unknown()) is None


async def test_a_check_that_cannot_be_made_fails_the_listing(catalog: Catalog, lab: Lab):
    _, opened, held = await checking(lab)

    assert await catalog.fail_listing(held, "the plan is damaged")

    assert await catalog.close_job(held)
    replay = await lab.replay(opened.replay.replay_batch_id)
    assert (replay.state, replay.errors) == (
        "partial_failure",
        ["listing was abandoned: the plan is damaged"],
    )


async def test_a_paused_check_begins_again_after_the_resume(catalog: Catalog, lab: Lab):
    _, opened, held = await checking(lab)
    batch = opened.replay.replay_batch_id
    await catalog.pause(batch)
    assert not await catalog.pass_check(held)

    await catalog.resume(batch)
    await catalog.admit(per_queue=0)

    assert (await lab.hold(opened.replay.execution_id)).state == "checking"


# -- pages of a used plan --------------------------------------------------------------------------


async def test_pages_of_a_used_plan_are_kept_until_its_replay_has_listed_them(catalog: Catalog, lab: Lab):
    plan, opened, held = await checking(lab)
    await catalog.pass_check(held)
    await catalog.pause(opened.replay.replay_batch_id)
    lab.clock.advance(3 * SECONDS)
    await lab.beat("w1", "w2")
    await catalog.fail_lost_plans()
    assert await pages_of(lab, plan) == [0]

    await catalog.resume(opened.replay.replay_batch_id)
    await catalog.admit(per_queue=0)
    again = await lab.hold(opened.replay.execution_id)
    assert again.state == "checking", "nothing was recorded"
    await catalog.pass_check(again)
    await lab.list_all(again, "a")
    await catalog.fail_lost_plans()
    assert (await state_of(lab, plan), await pages_of(lab, plan)) == ("used", [])


async def test_pages_of_a_listing_that_was_given_up_are_kept_for_a_retry_until_the_plan_expires(
    catalog: Catalog, lab: Lab
):
    plan, opened, held = await checking(lab)
    await catalog.pass_check(held)
    await catalog.fail_listing(held, "no store")
    await catalog.close_job(held)
    await catalog.fail_lost_plans()
    assert await pages_of(lab, plan) == [0]

    await catalog.retry_replay(opened.replay.replay_batch_id)
    await catalog.admit(per_queue=0)
    again = await lab.hold(opened.replay.execution_id)
    await catalog.fail_listing(again, "no store")
    await catalog.close_job(again)
    lab.clock.advance(SECONDS + 1)
    await lab.beat("w1", "w2")
    await catalog.fail_lost_plans()
    assert (await state_of(lab, plan), await pages_of(lab, plan)) == ("used", [])


@pytest.mark.parametrize("end", ["refused", "cancelled"])
async def test_pages_of_a_replay_that_has_ended_are_deleted(catalog: Catalog, lab: Lab, end: str):
    plan, opened, held = await checking(lab)
    if end == "refused":
        await catalog.refuse_plan(held, DIFFERENCE)
    else:
        await catalog.cancel_replay(opened.replay.replay_batch_id)

    await catalog.fail_lost_plans()

    assert (await state_of(lab, plan), await pages_of(lab, plan)) == ("used", [])
    assert (await catalog.plan_difference(plan.plan_id) is None) == (end == "cancelled")
