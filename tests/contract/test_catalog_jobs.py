"""The contract of `ports.catalog.jobs`, for every catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.errors import BadRequest, Conflict
from playhead.ids import uuid7
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter, ExecutionFilter
from playhead.ports.catalog.jobs import LeasedJob, Listed
from playhead.ports.catalog.upkeep import Process
from playhead.ports.catalog.work import Claim, Done, Failed, Finished, Released
from playhead.wording import STALLED
from tests.lab import asked

if TYPE_CHECKING:
    from playhead.envelope import Dispatch
    from playhead.model import Config, Replay
    from tests.lab import Lab


def keys(execution: UUID, *paths: str, stage: str = "input") -> list[str]:
    return [f"{execution}/{stage}/{path}" for path in paths]


async def recorded(lab: Lab, *paths: str) -> tuple[LeasedJob, list[Dispatch]]:
    """Return the leased job of a run, and the dispatches of all its inputs."""
    held = await lab.hold(await lab.sealed(*paths))
    return held, await lab.list_all(held, *keys(held.job, *paths))


async def recorded_replay(lab: Lab, *paths: str) -> tuple[Replay, LeasedJob, list[Dispatch]]:
    """Return a replay of inputs, its leased job, and the dispatches of all its objects."""
    source = await lab.sealed(*paths)
    replay = await lab.replayed(source)
    held = await lab.hold(replay.execution_id)
    return replay, held, await lab.list_all(held, *keys(source, *paths))


def listed(*names: str) -> list[Listed]:
    return [Listed(name, "input") for name in names]


def with_outlet(lab: Lab) -> Config:
    """A config that enters at an external route."""
    return lab.config("outlet", lab.route("out", queue="outlet.out", external=True))


# -- runs ------------------------------------------------------------------------------------------


async def test_a_new_run_is_running_and_empty(catalog: Catalog, lab: Lab):
    version = await lab.save(digest="sha256:d")

    identity = lab.unknown()
    run = await catalog.open_run(identity, "docs", version, tags=["a", "b"], owner="w1", lease=lab.LEASE)

    assert run.execution_id == identity
    assert (run.kind, run.status, run.tags) == ("run", "running", ["a", "b"])
    assert (run.config, run.config_version, run.config_hash) == ("docs", version, "sha256:d")
    assert (run.parent_execution_id, run.replay_batch_id, run.ended_at, run.error) == (None,) * 4
    assert run.counts.total == 0
    assert await catalog.execution(run.execution_id) == run


async def test_a_run_cannot_be_acquired_before_it_is_sealed(catalog: Catalog, lab: Lab):
    execution = await lab.opened()
    lab.clock.advance(10 * lab.LEASE)
    await lab.beat("w1")

    assert await catalog.acquire(execution, owner="w2", lease=lab.LEASE) is None
    assert execution not in await catalog.abandoned_jobs()


async def test_inputs_are_hidden_until_all_are_sealed(catalog: Catalog, lab: Lab):
    execution = await lab.opened()
    inputs = keys(execution, "a.md", "b.md")

    await catalog.bind_inputs(execution, [lab.input("a.md")])
    await catalog.bind_inputs(execution, [lab.input("b.md")])
    assert await catalog.unstored(inputs) == set(inputs)

    assert await catalog.seal(execution)
    assert await catalog.unstored(inputs) == set()


async def test_the_sealed_inputs_of_a_run_are_listed_in_byte_order_by_pages(catalog: Catalog, lab: Lab):
    paths = ["ä.md", "b/c.md", "b.md", "a.md", "Z.md"]
    execution = await lab.sealed(*paths)
    other = await lab.sealed("x.md")
    unsealed = await lab.opened()
    await catalog.bind_inputs(unsealed, [lab.input("a.md")])
    expected = sorted(keys(execution, *paths), key=str.encode)

    first = await catalog.inputs(execution, after="", limit=2)
    rest = await catalog.inputs(execution, after=first[-1], limit=1000)

    assert [first, rest] == [expected[:2], expected[2:]]
    assert await catalog.inputs(execution, after=rest[-1], limit=2) == []
    assert await catalog.inputs(other, after="", limit=1000) == keys(other, "x.md")
    assert await catalog.inputs(unsealed, after="", limit=1000) == []


async def test_sealing_one_run_does_not_affect_the_inputs_of_another(catalog: Catalog, lab: Lab):
    one, other = await lab.opened(), await lab.opened()
    for execution in (one, other):
        await catalog.bind_inputs(execution, [lab.input("a.md")])

    await catalog.seal(one)

    assert await catalog.unstored(keys(other, "a.md")) == set(keys(other, "a.md"))


async def test_the_same_input_may_be_bound_again(catalog: Catalog, lab: Lab):
    execution = await lab.opened()
    await catalog.bind_inputs(execution, [lab.input("a.md", "text")])

    await catalog.bind_inputs(execution, [lab.input("a.md", "text")])

    assert await catalog.seal(execution)
    assert await catalog.unstored(keys(execution, "a.md")) == set()


async def test_two_different_inputs_with_one_path_are_refused_with_their_whole_batch(
    catalog: Catalog, lab: Lab
):
    execution = await lab.opened()
    await catalog.bind_inputs(execution, [lab.input("a.md", "text")])

    with pytest.raises(BadRequest) as caught:
        await catalog.bind_inputs(execution, [lab.input("b.md"), lab.input("a.md", "other")])

    assert caught.value.code == "invalid_path"
    assert "a.md" in caught.value.detail
    assert await catalog.unstored(keys(execution, "a.md", "b.md")) == set(keys(execution, "a.md"))


async def test_two_different_inputs_with_one_path_in_one_call_are_refused(catalog: Catalog, lab: Lab):
    execution = await lab.opened()

    with pytest.raises(BadRequest):
        await catalog.bind_inputs(execution, [lab.input("a.md", "1"), lab.input("a.md", "2")])


async def test_a_cancelled_run_is_not_sealed(catalog: Catalog, lab: Lab):
    execution = await lab.opened()
    await catalog.bind_inputs(execution, [lab.input("a.md")])
    await catalog.cancel(execution)

    assert not await catalog.seal(execution)
    assert await catalog.unstored(keys(execution, "a.md")) == set(keys(execution, "a.md"))


async def test_a_run_that_has_failed_as_lost_is_not_sealed(catalog: Catalog, lab: Lab):
    execution = await lab.opened(owner="w1")
    await catalog.depart("w1")
    assert await catalog.fail_unsealed() == [execution]

    assert not await catalog.seal(execution)


# -- replays and adopted executions ----------------------------------------------------------------


async def test_a_replay_is_a_new_execution_with_the_source_as_parent(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    version = await lab.save(digest="sha256:d")

    replay, fresh = await catalog.open_replay(
        batch=uuid7(),
        request=asked(source, "input", "docs/split", path="a"),
        prefix=f"{source}/input/a",
        config="docs",
        version=version,
        route="split",
    )

    assert fresh
    assert (replay.from_execution_id, replay.from_stage, replay.from_path) == (source, "input", "a")
    assert (replay.to_route, replay.to_queue) == ("docs/split", "docs.split")
    assert (replay.to_config, replay.to_config_version) == ("docs", version)
    assert (replay.objects_found, replay.objects_published, replay.objects_failed) == (0, 0, 0)
    assert (replay.status, replay.state, replay.errors, replay.ended_at) == (None, "publishing", None, None)
    execution = await lab.execution(replay.execution_id)
    assert (execution.kind, execution.status) == ("replay", "running")
    assert execution.parent_execution_id == source
    assert execution.replay_batch_id == replay.replay_batch_id
    assert (execution.config, execution.config_version, execution.config_hash) == (
        "docs",
        version,
        "sha256:d",
    )
    assert await catalog.replay(replay.replay_batch_id, work=False) == replay


async def test_a_replay_runs_the_version_that_was_resolved_at_its_creation(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md", config=lab.DOCS)
    newer = lab.config("docs", lab.route("convert", queue="docs.newer"))

    replay = await lab.replayed(source, config=newer)

    assert (replay.to_config_version, replay.to_queue) == (2, "docs.newer")
    held = await lab.hold(replay.execution_id)
    assert (held.headers.config_version, held.headers.queue) == (2, "docs.newer")


async def test_an_adopted_execution_is_completed_and_has_no_config(catalog: Catalog, lab: Lab):
    identity = lab.unknown()

    adopted = await catalog.adopt(identity)

    assert (adopted.execution_id, adopted.kind, adopted.status) == (identity, "adopted", "completed")
    assert (adopted.config, adopted.config_version, adopted.config_hash) == (None, None, None)
    assert adopted.counts.total == 0
    assert await catalog.execution(identity) == adopted


async def test_adopting_twice_changes_nothing(catalog: Catalog, lab: Lab):
    identity = lab.unknown()
    adopted = await catalog.adopt(identity)
    lab.clock.advance(60)

    assert await catalog.adopt(identity) == adopted
    found, _ = await catalog.executions(ExecutionFilter(kind="adopted"))
    assert len(found) == 1


async def test_adopting_an_existing_execution_returns_it_unchanged(catalog: Catalog, lab: Lab):
    run = await lab.sealed("a.md")

    adopted = await catalog.adopt(run)

    assert (adopted.kind, adopted.status, adopted.config) == ("run", "running", "docs")


async def test_an_adopted_execution_can_be_the_source_of_a_replay(catalog: Catalog, lab: Lab):
    source = (await catalog.adopt(lab.unknown())).execution_id

    replay = await lab.replayed(source, "scans")

    held = await lab.hold(replay.execution_id)
    assert (held.prefix, held.stages, held.default_stage) == (f"{source}/scans", (), "scans")


# -- acquire, renew, release -----------------------------------------------------------------------


async def test_the_leased_job_of_a_run_has_the_prefix_to_list_and_the_common_headers(
    catalog: Catalog, lab: Lab
):
    execution = await lab.sealed("a.md")

    held = await lab.hold(execution, owner="w2")

    assert (held.job, held.owner, held.external) == (execution, "w2", False)
    assert (held.prefix, held.default_stage) == (f"{execution}/input", "input")
    assert held.cursor == ""
    headers = held.headers
    assert (headers.queue, headers.execution_id) == ("docs.convert", execution)
    assert (headers.config, headers.config_version, headers.route) == ("docs", 1, "convert")
    assert headers.replay_batch_id is None


async def test_the_leased_job_of_a_replay_has_its_batch_and_the_stages_of_its_source(
    catalog: Catalog, lab: Lab
):
    source = await lab.sealed("a.md")
    replay = await lab.replayed(source, "pages", "split")

    held = await lab.hold(replay.execution_id)

    assert (held.prefix, held.default_stage) == (f"{source}/pages", "pages")
    assert held.stages == ("segments/small", "pages")
    assert held.headers.replay_batch_id == replay.replay_batch_id
    assert held.headers.execution_id == replay.execution_id


async def test_the_leased_job_for_an_external_route_is_marked_external(lab: Lab):
    config = with_outlet(lab)

    assert (await lab.hold(await lab.sealed("a.md", config=config))).external


async def test_a_job_has_one_holder_until_its_lease_expires(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    first = await lab.hold(job, "w1")

    lab.clock.advance(lab.LEASE - 1)
    assert await catalog.acquire(job, owner="w2", lease=lab.LEASE) is None
    assert job not in await catalog.abandoned_jobs()

    lab.clock.advance(2)
    assert job in await catalog.abandoned_jobs()
    second = await lab.hold(job, "w2")
    assert second.epoch > first.epoch


async def test_renewing_extends_the_lease(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    lab.clock.advance(lab.LEASE - 1)

    assert await catalog.renew(held, lease=lab.LEASE)

    lab.clock.advance(lab.LEASE - 1)
    assert await catalog.acquire(job, owner="w2", lease=lab.LEASE) is None


async def test_an_expired_lease_is_valid_until_another_process_acquires_the_job(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    lab.clock.advance(100 * lab.LEASE)

    assert await lab.record(held, listed(*keys(job, "a.md")), cursor="x", last=True)
    assert await catalog.renew(held, lease=lab.LEASE)


async def test_a_released_job_is_free_at_once(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    await catalog.release(await lab.hold(job, "w1"))

    assert job in await catalog.abandoned_jobs()
    assert await catalog.acquire(job, owner="w2", lease=lab.LEASE)


async def test_a_departed_process_has_no_jobs(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    await lab.hold(job, "w1")

    await catalog.depart("w1")

    assert await catalog.acquire(job, owner="w2", lease=lab.LEASE)


async def test_a_job_that_has_ended_cannot_be_acquired_or_renewed(catalog: Catalog, lab: Lab):
    held, dispatches = await recorded(lab, "a.md")
    await lab.publish_all(held, dispatches)

    assert not await catalog.renew(held, lease=lab.LEASE)
    assert await catalog.acquire(held.job, owner="w2", lease=lab.LEASE) is None
    assert await catalog.abandoned_jobs() == []


async def test_a_job_is_stalled_after_five_deaths_without_progress(catalog: Catalog, lab: Lab):
    replay = await lab.replayed(await lab.sealed("a.md"))
    job = replay.execution_id
    for _ in range(5):
        last = await lab.hold(job)
        lab.clock.advance(lab.LEASE + 1)

    assert await catalog.acquire(job, owner="w1", lease=lab.LEASE) is None

    stalled = await lab.replay(replay.replay_batch_id)
    assert (stalled.state, stalled.status) == ("stalled", None)
    assert stalled.errors
    assert STALLED in stalled.errors[0]
    assert "resume" in stalled.errors[0]
    assert job not in await catalog.abandoned_jobs()
    assert await catalog.acquire(job, owner="w1", lease=lab.LEASE) is None
    assert await lab.record(last, [], cursor="x", last=True) is None
    assert (await lab.execution(job)).status == "running"


async def test_a_released_job_does_not_stall(catalog: Catalog, lab: Lab):
    replay = await lab.replayed(await lab.sealed("a.md"))

    for _ in range(6):
        await catalog.release(await lab.hold(replay.execution_id))
    for _ in range(6):
        await catalog.heartbeat(Process("p9", "serve", "h", 9))
        await lab.hold(replay.execution_id, "p9")
        await catalog.depart("p9")

    assert (await lab.replay(replay.replay_batch_id)).state == "publishing"


async def test_a_job_that_is_listed_never_stalls(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    await lab.list_all(await lab.hold(job), *keys(job, "a.md"))
    for _ in range(8):
        lab.clock.advance(lab.LEASE + 1)
        held = await lab.hold(job)

    assert await catalog.is_listed(held.job)
    await lab.publish_all(held, await lab.unpublished(held, limit=10))


async def test_a_job_whose_listing_has_failed_never_stalls(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    held = await lab.hold(job)
    await lab.list_all(held, *keys(job, "a.md"), last=False)
    assert await catalog.fail_listing(held, "it can't be listed")
    for _ in range(8):
        lab.clock.advance(lab.LEASE + 1)
        held = await lab.hold(job)

    await lab.publish_all(held, await lab.unpublished(held, limit=10))


async def test_a_page_between_two_acquisitions_is_progress(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    for n in range(8):
        held = await lab.hold(job)
        if n % 3 == 0:
            assert await lab.record(held, [], cursor=f"cursor {n}", last=False) is not None
        lab.clock.advance(lab.LEASE + 1)


async def test_a_mark_between_two_acquisitions_is_progress(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md", "c.md")
    await lab.list_all(await lab.hold(job), *keys(job, "a.md", "b.md", "c.md"), last=False)
    lab.clock.advance(lab.LEASE + 1)
    for n in range(8):
        held = await lab.hold(job)
        if n % 3 == 0 and (dispatches := await lab.unpublished(held, limit=1)):
            assert await catalog.mark(held, dispatches[0].ordinal or 0)
        lab.clock.advance(lab.LEASE + 1)


async def test_a_holder_whose_epoch_has_passed_changes_nothing(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    a, b = keys(job, "a.md", "b.md")
    late = await lab.hold(job, "w1")
    (dispatch,) = await lab.list_all(late, a, last=False)
    lab.clock.advance(lab.LEASE + 1)
    held = await lab.hold(job, "w2")

    assert await lab.record(late, listed(b), cursor=b, last=True) is None
    assert not await catalog.fail_listing(late, "…")
    assert not await catalog.mark(late, dispatch.ordinal or 0, refused=[(dispatch, "no")])
    assert not await catalog.renew(late, lease=lab.LEASE)
    await catalog.release(late)

    assert (await lab.counts(job)).total == 1
    assert await lab.state(UUID(dispatch.correlation_id)) == "pending"
    assert not await catalog.is_listed(job)
    assert len(await lab.unpublished(held, limit=10)) == 1
    assert await catalog.acquire(job, owner="w1", lease=lab.LEASE) is None


async def test_a_holder_whose_epoch_has_passed_cannot_end_the_job(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    late = await lab.hold(job, "w1")
    dispatches = await lab.list_all(late, *keys(job, "a.md"))
    await catalog.mark(late, dispatches[0].ordinal or 0, uncertain=dispatches)
    lab.clock.advance(lab.LEASE + 1)
    held = await lab.hold(job, "w2")

    assert not await catalog.settle(late, dispatches, [])
    assert await catalog.unsettled(late, limit=10) == []
    assert len(await catalog.unsettled(held, limit=10)) == 1

    assert await catalog.settle(held, dispatches, [])
    assert not await catalog.close_job(late)
    assert await catalog.close_job(held)


# -- record ----------------------------------------------------------------------------------------


async def test_a_page_becomes_rows_in_the_order_given(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md", "c.md")
    held = await lab.hold(job)
    a, b, c = keys(job, "a.md", "b.md", "c.md")

    first = await lab.record(held, listed(a, b), cursor=b, last=False)
    second = await lab.record(held, listed(c), cursor=c, last=True)

    assert first is not None
    assert second is not None
    dispatches = [*first, *second]
    assert [dispatch.object_key for dispatch in dispatches] == [a, b, c]
    ordinals = [dispatch.ordinal or 0 for dispatch in dispatches]
    assert ordinals[0] > 0
    assert ordinals == sorted(set(ordinals))
    assert lab.ids(dispatches) == sorted(lab.ids(dispatches))
    assert {(dispatch.generation, dispatch.parent, dispatch.external) for dispatch in dispatches} == {
        (0, None, False)
    }
    assert {dispatch.headers.queue for dispatch in dispatches} == {"docs.convert"}
    assert [await lab.state(identity) for identity in lab.ids(dispatches)] == ["pending"] * 3
    assert (await lab.counts(job)).total == 3


async def test_a_page_omits_objects_that_were_never_stored(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await lab.bind(claim, lab.output("superseded.md", "1"))
    await lab.fail(claim, delay=0)
    again = await lab.claim(run.ids[0])
    await lab.done(again, lab.output("stored.md", "2"))
    other = await lab.started("b.md")
    await lab.bind(await lab.claim(other.ids[0]), lab.output("writing.md"))
    found = sorted(
        [
            *keys(run.execution, "superseded.md", "stored.md", stage="pages"),
            *keys(other.execution, "writing.md", stage="pages"),
        ]
    )
    replay = await lab.replayed(run.execution, "pages", "split")

    dispatches = await lab.list_all(await lab.hold(replay.execution_id), *found)

    assert [dispatch.object_key for dispatch in dispatches] == keys(run.execution, "stored.md", stage="pages")
    assert (await lab.replay(replay.replay_batch_id)).objects_found == 1


async def test_an_invalid_key_is_a_dead_row_that_counts(catalog: Catalog, lab: Lab):
    source = (await catalog.adopt(lab.unknown())).execution_id
    replay = await lab.replayed(source, "scans")
    held = await lab.hold(replay.execution_id)
    good, bad, better = f"{source}/scans/a", f"{source}/scans/a\\b", f"{source}/scans/c"
    objects = [Listed(good, "scans"), Listed(bad, "scans", "holds a backslash"), Listed(better, "scans")]

    dispatches = await lab.record(held, objects, cursor=better, last=True)

    assert dispatches is not None
    assert [dispatch.object_key for dispatch in dispatches] == [good, better]
    await lab.publish_all(held, dispatches)
    after = await lab.replay(replay.replay_batch_id)
    assert (after.objects_found, after.objects_published, after.objects_failed) == (3, 2, 1)
    assert after.status == "partial_failure"
    assert after.errors is not None
    assert len(after.errors) == 1
    assert bad in after.errors[0]
    (dead,), _ = await catalog.dead_letters(DeadLetterFilter(execution=replay.execution_id))
    assert (dead.input_key, dead.error_code, dead.attempts) == (bad, "invalid_key", 0)
    assert "holds a backslash" in dead.error


async def test_a_page_with_only_dead_rows_is_recorded(catalog: Catalog, lab: Lab):
    source = (await catalog.adopt(lab.unknown())).execution_id
    replay = await lab.replayed(source, "scans")
    held = await lab.hold(replay.execution_id)

    assert await lab.record(held, [Listed("x", "scans", "is bad")], cursor="x", last=True) == []
    assert await lab.unpublished(held, limit=10) == []
    assert await catalog.close_job(held)
    assert await catalog.end_executions([replay.execution_id]) == [replay.execution_id]
    assert (await lab.execution(replay.execution_id)).status == "failed"


async def test_the_last_page_closes_the_root(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    held = await lab.hold(job)
    a, b = keys(job, "a.md", "b.md")

    first = await lab.list_all(held, a, last=False)
    await lab.work(lab.ids(first)[0])
    assert not await catalog.is_listed(job)
    assert await catalog.end_executions([job]) == []

    second = await lab.list_all(held, b, last=True)
    assert await catalog.is_listed(job)
    await lab.work(lab.ids(second)[0])
    assert await catalog.end_executions([job]) == [job]


async def test_an_empty_last_page_may_end_at_the_cursor(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    (key,) = keys(job, "a.md")
    await lab.list_all(held, key, last=False)

    assert await lab.record(held, [], cursor=key, last=True) == []

    assert await catalog.is_listed(job)


async def test_the_next_holder_continues_at_the_cursor(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    a, b = keys(job, "a.md", "b.md")
    await lab.list_all(await lab.hold(job, "w1"), a, last=False)
    lab.clock.advance(lab.LEASE + 1)

    second = await lab.hold(job, "w2")
    assert (second.cursor, await catalog.is_listed(job)) == (a, False)

    await lab.list_all(second, b, last=True)
    lab.clock.advance(lab.LEASE + 1)
    third = await lab.hold(job, "w1")
    assert (third.cursor, await catalog.is_listed(job)) == (b, True)


async def test_a_page_behind_the_cursor_is_refused(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    held = await lab.hold(job)
    a, b = keys(job, "a.md", "b.md")
    await lab.list_all(held, a, b, last=False)

    assert await lab.record(held, listed(a, b), cursor=b, last=False) is None
    assert await lab.record(held, listed(a), cursor=a, last=False) is None
    assert (await lab.counts(job)).total == 2


async def test_a_page_after_the_last_is_refused(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    held = await lab.hold(job)
    a, b = keys(job, "a.md", "b.md")
    await lab.list_all(held, a, last=True)

    assert await lab.record(held, listed(b), cursor=b, last=True) is None
    assert (await lab.counts(job)).total == 1


async def test_a_page_for_a_cancelled_execution_is_refused(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    await catalog.cancel(job)
    (key,) = keys(job, "a.md")

    assert await lab.record(held, listed(key), cursor=key, last=True) is None
    assert (await lab.counts(job)).total == 0


async def test_a_thousand_objects_are_one_page(catalog: Catalog, lab: Lab):
    source = (await catalog.adopt(lab.unknown())).execution_id
    replay = await lab.replayed(source, "scans")
    held = await lab.hold(replay.execution_id)

    dispatches = await lab.list_all(held, *keys(source, *(f"{n:04}" for n in range(1000)), stage="scans"))

    await lab.publish_all(held, dispatches)
    after = await lab.replay(replay.replay_batch_id)
    assert (after.objects_found, after.objects_published) == (1000, 1000)


# -- publish and mark ------------------------------------------------------------------------------


async def test_recorded_rows_are_to_be_published_in_order(catalog: Catalog, lab: Lab):
    held, dispatches = await recorded(lab, "a.md", "b.md", "c.md")

    backlog = await lab.unpublished(held, limit=2)

    assert [c.message_id for c in backlog] == [c.message_id for c in dispatches[:2]]
    assert [c.ordinal for c in backlog] == [c.ordinal for c in dispatches[:2]]
    assert [c.object_key for c in backlog] == [c.object_key for c in dispatches[:2]]


async def test_the_next_holder_publishes_what_the_last_one_recorded(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    first = await lab.hold(job, "w1")
    dispatches = await lab.list_all(first, *keys(job, "a.md", "b.md"))
    await catalog.mark(first, dispatches[0].ordinal or 0)
    lab.clock.advance(lab.LEASE + 1)

    second = await lab.hold(job, "w2")

    assert [c.message_id for c in await lab.unpublished(second, limit=10)] == [dispatches[1].message_id]


async def test_rows_that_were_claimed_or_ended_need_not_be_published(catalog: Catalog, lab: Lab):
    paths = ("done.md", "running.md", "retry.md", "dead.md", "left.md")
    held, dispatches = await recorded(lab, *paths)
    done, _running, retry, dead, _left = [await lab.claim(i) for i in lab.ids(dispatches)[:4]] + [None]
    assert done
    assert retry
    assert dead
    await lab.done(done)
    await lab.fail(retry, delay=1)
    await lab.fail(dead)

    assert [c.object_key for c in await lab.unpublished(held, limit=10)] == keys(held.job, "left.md")


async def test_marked_rows_are_published(catalog: Catalog, lab: Lab):
    replay, held, dispatches = await recorded_replay(lab, "a.md", "b.md", "c.md")

    assert await catalog.mark(held, dispatches[1].ordinal or 0)

    now = await lab.replay(replay.replay_batch_id)
    assert (now.objects_found, now.objects_published, now.objects_failed) == (3, 2, 0)
    assert [c.message_id for c in await lab.unpublished(held, limit=10)] == [dispatches[2].message_id]


async def test_the_publishing_mark_never_moves_back(catalog: Catalog, lab: Lab):
    held, dispatches = await recorded(lab, "a.md", "b.md")
    await catalog.mark(held, dispatches[1].ordinal or 0)

    assert await catalog.mark(held, dispatches[0].ordinal or 0)

    assert await lab.unpublished(held, limit=10) == []


async def test_an_uncertain_row_is_named_and_stays_until_it_is_settled(catalog: Catalog, lab: Lab):
    replay, held, dispatches = await recorded_replay(lab, "a.md", "b.md")

    assert await catalog.mark(held, dispatches[1].ordinal or 0, uncertain=[dispatches[0]])

    assert await lab.unpublished(held, limit=10) == []
    assert [c.message_id for c in await catalog.unsettled(held, limit=10)] == [dispatches[0].message_id]
    now = await lab.replay(replay.replay_batch_id)
    assert (now.objects_found, now.objects_published, now.objects_failed) == (2, 1, 0)
    assert now.errors is not None
    (line,) = now.errors
    assert dispatches[0].object_key in line
    assert "uncertain" in line
    assert not await catalog.close_job(held)
    await catalog.settle(held, [dispatches[0]], [])
    assert (await lab.replay(replay.replay_batch_id)).errors is None


async def test_uncertain_rows_come_oldest_first_and_to_a_limit(catalog: Catalog, lab: Lab):
    held, dispatches = await recorded(lab, "a.md", "b.md", "c.md")
    await catalog.mark(held, dispatches[2].ordinal or 0, uncertain=[dispatches[2], dispatches[0]])

    assert [c.message_id for c in await catalog.unsettled(held, limit=1)] == [dispatches[0].message_id]
    assert [c.message_id for c in await catalog.unsettled(held, limit=9)] == [
        dispatches[0].message_id,
        dispatches[2].message_id,
    ]


async def test_a_claim_settles_an_uncertain_row_as_published(catalog: Catalog, lab: Lab):
    replay, held, dispatches = await recorded_replay(lab, "a.md")
    await catalog.mark(held, dispatches[0].ordinal or 0, uncertain=dispatches)

    await lab.claim(lab.ids(dispatches)[0])

    assert await catalog.unsettled(held, limit=10) == []
    assert (await lab.replay(replay.replay_batch_id)).objects_published == 1
    assert await catalog.close_job(held)


async def test_a_row_that_was_claimed_before_its_mark_is_not_uncertain(catalog: Catalog, lab: Lab):
    held, dispatches = await recorded(lab, "a.md")
    await lab.claim(lab.ids(dispatches)[0])

    await catalog.mark(held, dispatches[0].ordinal or 0, uncertain=dispatches)

    assert await catalog.unsettled(held, limit=10) == []


async def test_a_retry_is_still_dispatched_when_its_first_dispatch_is_marked_late(catalog: Catalog, lab: Lab):
    held, dispatches = await recorded(lab, "sure.md", "unsure.md", "refused.md")
    for identity in lab.ids(dispatches):
        await lab.fail(await lab.claim(identity), delay=0)

    assert await catalog.mark(
        held, dispatches[2].ordinal or 0, uncertain=[dispatches[1]], refused=[(dispatches[2], "no")]
    )

    assert await catalog.unsettled(held, limit=10) == []
    due = await catalog.due("w1", limit=10)
    assert sorted(lab.ids(due)) == sorted(lab.ids(dispatches))
    assert await catalog.close_job(held)


async def test_settling_records_what_was_confirmed_and_what_was_refused(catalog: Catalog, lab: Lab):
    replay, held, dispatches = await recorded_replay(lab, "a.md", "b.md", "c.md")
    await catalog.mark(held, dispatches[2].ordinal or 0, uncertain=dispatches)

    assert await catalog.settle(held, [dispatches[0]], [(dispatches[1], "too large")])

    assert [c.message_id for c in await catalog.unsettled(held, limit=10)] == [dispatches[2].message_id]
    assert [await lab.state(i) for i in lab.ids(dispatches)] == ["pending", "dead", "pending"]
    now = await lab.replay(replay.replay_batch_id)
    assert (now.objects_found, now.objects_published, now.objects_failed) == (3, 1, 1)


async def test_a_refused_row_is_a_dead_letter(catalog: Catalog, lab: Lab):
    replay, held, dispatches = await recorded_replay(lab, "a.md", "b.md")

    assert await catalog.mark(held, dispatches[1].ordinal or 0, refused=[(dispatches[0], "over 1 MiB")])

    letter = await catalog.dead_letter(lab.ids(dispatches)[0])
    assert letter is not None
    assert (letter.error_code, letter.attempts) == ("publish_refused", 0)
    assert "over 1 MiB" in letter.error
    now = await lab.replay(replay.replay_batch_id)
    assert (now.objects_found, now.objects_published, now.objects_failed) == (2, 1, 1)


async def test_rows_of_an_external_route_are_completed_by_their_mark(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md", "c.md", "d.md", config=with_outlet(lab))
    held = await lab.hold(job)
    dispatches = await lab.list_all(held, *keys(job, "a.md", "b.md", "c.md", "d.md"))
    assert {dispatch.external for dispatch in dispatches} == {True}

    await catalog.mark(
        held, dispatches[2].ordinal or 0, uncertain=[dispatches[0]], refused=[(dispatches[1], "no")]
    )

    states = [await lab.state(i) for i in lab.ids(dispatches)]
    assert states == ["pending", "dead", "completed", "pending"]
    assert (await lab.row(lab.ids(dispatches)[2])).attempts == 0


async def test_an_uncertain_row_of_an_external_route_is_completed_when_it_is_settled(
    catalog: Catalog, lab: Lab
):
    job = await lab.sealed("a.md", config=with_outlet(lab))
    held = await lab.hold(job)
    dispatches = await lab.list_all(held, *keys(job, "a.md"))
    await catalog.mark(held, dispatches[0].ordinal or 0, uncertain=dispatches)

    assert await catalog.settle(held, dispatches, [])

    assert await lab.state(lab.ids(dispatches)[0]) == "completed"
    assert await catalog.close_job(held)
    assert await catalog.end_executions([job]) == [job]


# -- the end of a job ------------------------------------------------------------------------------


async def test_a_job_ends_only_when_all_rows_are_listed_published_and_settled(catalog: Catalog, lab: Lab):
    replay = await lab.replayed(await lab.sealed("a.md", "b.md"))
    held = await lab.hold(replay.execution_id)
    a, b = keys(replay.from_execution_id, "a.md", "b.md")

    first = await lab.list_all(held, a, last=False)
    await catalog.mark(held, first[0].ordinal or 0)
    assert not await catalog.close_job(held)

    second = await lab.list_all(held, b, last=True)
    assert not await catalog.close_job(held)

    await catalog.mark(held, second[0].ordinal or 0, uncertain=second)
    assert not await catalog.close_job(held)
    assert (await lab.replay(replay.replay_batch_id)).state == "publishing"

    await catalog.settle(held, second, [])
    assert await catalog.close_job(held)
    after = await lab.replay(replay.replay_batch_id)
    assert (after.state, after.status) == ("publishing_complete", "publishing_complete")
    assert (after.objects_found, after.objects_published, after.objects_failed) == (2, 2, 0)
    assert after.errors is None
    assert after.ended_at is not None


async def test_a_job_whose_messages_have_all_ended_is_closed_with_its_execution(catalog: Catalog, lab: Lab):
    replay, held, dispatches = await recorded_replay(lab, "a.md")
    await lab.work(lab.ids(dispatches)[0])
    assert await catalog.end_executions([replay.execution_id]) == [replay.execution_id]

    assert not await catalog.mark(held, dispatches[0].ordinal or 0)
    assert await catalog.close_job(held), "its holder reports the end"
    assert (await lab.replay(replay.replay_batch_id)).status == "publishing_complete"


async def test_no_process_takes_over_the_job_of_an_ended_execution(catalog: Catalog, lab: Lab):
    replay = await lab.replayed(await lab.sealed("a.md"))
    first = await lab.hold(replay.execution_id, "w1")
    dispatches = await lab.list_all(first, *keys(replay.from_execution_id, "a.md"))
    await lab.work(lab.ids(dispatches)[0])
    await catalog.end_executions([replay.execution_id])
    lab.clock.advance(lab.LEASE + 1)

    assert await catalog.abandoned_jobs() == [replay.from_execution_id]
    assert await catalog.acquire(replay.execution_id, owner="w2", lease=lab.LEASE) is None
    after = await lab.replay(replay.replay_batch_id)
    assert (after.objects_found, after.objects_published, after.objects_failed) == (1, 1, 0)


async def test_the_outcome_of_a_published_row_does_not_change_the_numbers_of_its_batch(
    catalog: Catalog, lab: Lab
):
    source = await lab.sealed("a.md", "b.md", "c.md")
    started = await lab.started_replay(source, *keys(source, "a.md", "b.md", "c.md"))
    assert started.batch
    await lab.work(started.ids[0])
    await lab.fail(await lab.claim(started.ids[1]), delay=5)
    await lab.kill(started.ids[2])

    after = await lab.replay(started.batch)

    assert (after.objects_found, after.objects_published, after.objects_failed) == (3, 3, 0)
    assert (after.status, after.errors) == ("publishing_complete", None)


async def test_a_row_that_is_dispatched_again_still_counts_as_published(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    started = await lab.started_replay(source, *keys(source, "a.md"))
    assert started.batch

    assert len(await catalog.redeliver_lost("w1", "docs.convert", limit=10)) == 1

    after = await lab.replay(started.batch)
    assert (after.objects_published, after.objects_failed) == (1, 0)


async def test_resending_a_refused_object_reduces_the_failures_of_its_batch(catalog: Catalog, lab: Lab):
    replay, held, dispatches = await recorded_replay(lab, "a.md", "b.md")
    await catalog.mark(held, dispatches[1].ordinal or 0, refused=[(dispatches[0], "full")])
    assert await catalog.close_job(held)
    assert (await lab.replay(replay.replay_batch_id)).status == "partial_failure"

    assert await catalog.resend(ids=lab.ids(dispatches)) == [lab.ids(dispatches)[0]]
    await catalog.mark_published(await catalog.orphans("w1", limit=10))

    after = await lab.replay(replay.replay_batch_id)
    assert (after.objects_found, after.objects_published, after.objects_failed) == (2, 2, 0)
    assert after.status == "publishing_complete"


async def test_a_failed_listing_fails_the_execution_after_its_rows_have_ended(catalog: Catalog, lab: Lab):
    replay = await lab.replayed(await lab.sealed("a.md", "b.md"))
    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, *keys(replay.from_execution_id, "a.md"), last=False)
    await catalog.mark(held, dispatches[0].ordinal or 0)

    assert await catalog.fail_listing(held, "the store lists without order")

    assert await catalog.end_executions([replay.execution_id]) == []
    assert await catalog.close_job(held)
    await lab.work(lab.ids(dispatches)[0])
    assert await catalog.end_executions([replay.execution_id]) == [replay.execution_id]
    execution = await lab.execution(replay.execution_id)
    assert execution.status == "failed"
    assert execution.error is not None
    assert execution.error.code == "listing_failed"
    assert "without order" in execution.error.message
    assert execution.counts.failed == 0
    assert (await lab.replay(replay.replay_batch_id)).status == "partial_failure"


async def test_a_listing_can_fail_only_once_and_only_while_it_is_open(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    await lab.list_all(held, *keys(job, "a.md"))

    assert not await catalog.fail_listing(held, "too late")
    assert (await lab.execution(job)).error is None


@pytest.mark.parametrize("count", [100, 150])
async def test_at_most_a_hundred_errors_are_shown_and_the_last_counts_the_rest(
    catalog: Catalog, lab: Lab, count: int
):
    source = (await catalog.adopt(lab.unknown())).execution_id
    replay = await lab.replayed(source, "scans")
    held = await lab.hold(replay.execution_id)
    objects = [Listed(f"{source}/scans/{n:03}\\", "scans", "is bad") for n in range(count)]

    await lab.record(held, objects, cursor="x", last=True)

    after = await lab.replay(replay.replay_batch_id)
    assert after.objects_failed == count
    assert after.errors is not None
    assert len(after.errors) == 100
    assert all(found.key in line for found, line in zip(objects, after.errors[:99], strict=False))
    assert ("51" if count == 150 else objects[99].key) in after.errors[-1]


async def test_batches_are_listed_newest_first_in_pages_and_by_source(catalog: Catalog, lab: Lab):
    one, two = await lab.sealed("a.md"), await lab.sealed("b.md")
    batches = [(await lab.replayed(source)).replay_batch_id for source in (one, two, one, one)]

    pages = await lab.pages(lambda before: catalog.replays(before=before, limit=3))
    assert [[r.replay_batch_id for r in page] for page in pages] == [
        [batches[3], batches[2], batches[1]],
        [batches[0]],
    ]

    pages = await lab.pages(lambda before: catalog.replays(source=one, before=before, limit=2))
    assert [[r.replay_batch_id for r in page] for page in pages] == [[batches[3], batches[2]], [batches[0]]]


async def test_the_open_batches_are_those_whose_publishing_has_not_ended(catalog: Catalog, lab: Lab):
    one, two = await lab.sealed("a.md"), await lab.sealed("b.md")
    batches = [await lab.replayed(source) for source in (one, two, one, one)]
    await catalog.cancel(batches[2].execution_id)
    await catalog.pause(batches[1].replay_batch_id)

    pages = await lab.pages(lambda before: catalog.replays(is_open=True, before=before, limit=2))
    assert [[r.replay_batch_id for r in page] for page in pages] == [
        [batches[3].replay_batch_id, batches[1].replay_batch_id],
        [batches[0].replay_batch_id],
    ]

    found, _ = await catalog.replays(source=one, is_open=True)
    assert [r.replay_batch_id for r in found] == [batches[3].replay_batch_id, batches[0].replay_batch_id]


async def test_a_page_that_is_just_full_is_the_last(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    for _ in range(2):
        await lab.replayed(source)

    _, then = await catalog.replays(limit=2)

    assert then is None


# -- cancel ----------------------------------------------------------------------------------------


async def test_cancelling_closes_every_row_that_is_not_running(catalog: Catalog, lab: Lab):
    run = await lab.started("pending.md", "retry.md", "running.md", "done.md", "dead.md")
    pending, retry, running, done, dead = run.ids
    await lab.fail(await lab.claim(retry), delay=1)
    await lab.claim(running)
    await lab.work(done)
    await lab.kill(dead)

    cancelled = await catalog.cancel(run.execution)

    assert cancelled is not None
    assert cancelled.status == "cancelled"
    assert cancelled.ended_at is not None
    states = [await lab.state(i) for i in (pending, retry, running, done, dead)]
    assert states == ["cancelled", "cancelled", "running", "completed", "dead"]
    counts = await lab.counts(run.execution)
    assert (counts.pending, counts.completed, counts.failed, counts.cancelled) == (1, 1, 1, 2)


async def test_no_work_starts_after_a_cancel(catalog: Catalog, lab: Lab):
    run = await lab.started("pending.md", "retry.md", "lost.md")
    pending, retry, lost = run.ids
    await lab.fail(await lab.claim(retry), delay=0)
    await lab.claim(lost, "w2")
    await catalog.cancel(run.execution)
    await catalog.depart("w2")

    answers = await catalog.claim("w1", [pending, retry, lost])

    assert [isinstance(answer, Claim) for answer in answers] == [False, False, False]
    assert await catalog.orphans("w1", limit=10) == []
    assert await catalog.due("w1", limit=10) == []
    assert await catalog.waiting_queues() == []


async def test_cancelling_fences_the_holder_of_the_job(catalog: Catalog, lab: Lab):
    held, dispatches = await recorded(lab, "a.md")

    await catalog.cancel(held.job)

    assert not await catalog.mark(held, dispatches[0].ordinal or 0)
    assert not await catalog.renew(held, lease=lab.LEASE)
    assert not await catalog.close_job(held)
    assert await lab.unpublished(held, limit=10) == []
    assert await catalog.acquire(held.job, owner="w2", lease=lab.LEASE) is None
    assert await catalog.abandoned_jobs() == []
    assert await lab.state(lab.ids(dispatches)[0]) == "cancelled"


async def test_a_running_message_of_a_cancelled_execution_may_end(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    done, failed, back = [await lab.claim(identity) for identity in run.ids]
    bound = await lab.bind(done, lab.output("a.md"))
    await catalog.cancel(run.execution)

    answers = await catalog.finish(
        "w1",
        [
            Done(done.correlation_id, done.attempt, [bound[0].key]),
            Failed(failed.correlation_id, failed.attempt, "adapter_error", "it broke", delay=1),
            Released(back.correlation_id, back.attempt, 1),
        ],
    )

    assert answers == [Finished(), Finished(cancelled=True), Finished(cancelled=True)]
    assert [await lab.state(i) for i in run.ids] == ["completed", "cancelled", "cancelled"]
    children, _ = await catalog.lineage_list(execution=run.execution, route="split")
    assert [child.status for child in children] == ["cancelled"]
    counts = await lab.counts(run.execution)
    assert (counts.pending, counts.completed, counts.cancelled, counts.total) == (0, 1, 3, 4)
    assert (await lab.execution(run.execution)).status == "cancelled"


async def test_cancelling_twice_is_the_same_as_once(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    first = await catalog.cancel(run.execution)
    lab.clock.advance(60)

    assert await catalog.cancel(run.execution) == first


@pytest.mark.parametrize("end", ["completed", "failed"])
async def test_an_execution_that_has_ended_cannot_be_cancelled(catalog: Catalog, lab: Lab, end: str):
    run = await lab.started("a.md")
    await (lab.work(run.ids[0]) if end == "completed" else lab.kill(run.ids[0]))
    await catalog.end_executions([run.execution])

    with pytest.raises(Conflict) as caught:
        await catalog.cancel(run.execution)

    assert caught.value.code == "execution_ended"
    assert (await lab.execution(run.execution)).status == end


async def test_an_adopted_execution_cannot_be_cancelled(catalog: Catalog, lab: Lab):
    adopted = await catalog.adopt(lab.unknown())

    with pytest.raises(Conflict):
        await catalog.cancel(adopted.execution_id)


async def test_the_numbers_of_a_cancelled_batch_add_up(catalog: Catalog, lab: Lab):
    replay = await lab.replayed(await lab.sealed("a.md", "b.md", "c.md"))
    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, *keys(replay.from_execution_id, "a.md", "b.md", "c.md"), last=False)
    await catalog.mark(held, dispatches[1].ordinal or 0, uncertain=[dispatches[1]])

    await catalog.cancel(replay.execution_id)

    after = await lab.replay(replay.replay_batch_id)
    assert (after.state, after.status) == ("cancelled", "partial_failure")
    assert (after.objects_found, after.objects_published, after.objects_failed) == (3, 1, 2)
    assert after.errors
    assert after.ended_at is not None


async def test_a_batch_that_was_published_before_the_cancel_stays_published(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    started = await lab.started_replay(source, *keys(source, "a.md"))
    assert started.batch

    await catalog.cancel(started.execution)

    after = await lab.replay(started.batch)
    assert (after.status, after.objects_published, after.objects_failed) == ("publishing_complete", 1, 0)
