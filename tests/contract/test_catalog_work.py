"""The contract of `ports.catalog.work`, for every catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.model import Config, ErrorHandling
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.work import (
    Binding,
    Bound,
    Claim,
    Done,
    Failed,
    Finished,
    Refusal,
    Released,
    Source,
    Unbound,
)

if TYPE_CHECKING:
    from tests.lab import Lab


def fan_out(lab: Lab) -> Config:
    """convert feeds two routes, one of which others consume."""
    return lab.config(
        "fan",
        lab.route("convert", queue="fan.convert", stage="pages", to=("split", "publish")),
        lab.route("split", queue="fan.split"),
        lab.route("publish", queue="fan.publish", external=True),
    )


# -- claim -----------------------------------------------------------------------------------------


async def test_a_claim_has_everything_that_a_worker_needs(catalog: Catalog, lab: Lab):
    run = await lab.started("guide/page.html")

    claim = await lab.claim(run.ids[0])

    assert claim.correlation_id == run.ids[0]
    assert (claim.attempt, claim.spent) == (1, 1)
    assert (claim.execution_id, claim.replay_batch_id) == (run.execution, None)
    assert (claim.config, claim.config_version, claim.route) == ("docs", 1, "convert")
    assert claim.config_hash == (await lab.execution(run.execution)).config_hash
    assert claim.object_key == f"{run.execution}/input/guide/page.html"
    assert (claim.stage, claim.path) == ("input", "guide/page.html")
    source = lab.input("guide/page.html")
    assert claim.source == Source("text/html", {}, source.size, source.sha256)
    row = await lab.row(run.ids[0])
    assert (row.status, row.attempts) == ("running", 1)
    assert row.started_at is not None


async def test_a_claim_on_an_output_of_playhead_has_its_attributes(lab: Lab):
    run = await lab.started("a.md")
    made = lab.output("deep/b.md", "text", title="Ü", tags=[1, {"x": None}])
    (child,) = await lab.work(run.ids[0], made)

    claim = await lab.claim(lab.ids([child])[0])

    assert (claim.stage, claim.path, claim.route) == ("pages", "deep/b.md", "split")
    assert claim.source == Source(
        "text/markdown", {"title": "Ü", "tags": [1, {"x": None}]}, made.size, made.sha256
    )


async def test_the_path_of_an_object_in_a_stage_of_two_segments_lies_below_both(lab: Lab):
    run = await lab.started("a.md")
    children = await lab.work(run.ids[0], lab.output("a.md"))
    (grandchild,) = await lab.work(lab.ids(children)[0], lab.output("a/0001.md"))

    claim = await lab.claim(lab.ids([grandchild])[0])

    assert (claim.stage, claim.path) == ("segments/small", "a/0001.md")


async def test_a_claim_on_an_external_object_has_no_source(catalog: Catalog, lab: Lab):
    adopted = (await catalog.adopt(lab.unknown())).execution_id
    replay = await lab.started_replay(adopted, f"{adopted}/scans/a.png", stage="scans")

    claim = await lab.claim(replay.ids[0])

    assert claim.source is None
    assert (claim.stage, claim.path) == ("scans", "a.png")
    assert (claim.execution_id, claim.replay_batch_id) == (replay.execution, replay.batch)


async def test_rows_are_claimed_in_the_requested_order(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    a, b = run.ids
    nobody = lab.unknown()

    answers = await catalog.claim("w1", [b, nobody, a])

    assert [answer.correlation_id for answer in answers] == [b, nobody, a]
    assert [type(answer) for answer in answers] == [Claim, Refusal, Claim]


async def test_an_id_without_a_row_is_unknown(lab: Lab):
    refusal = await lab.refusal(lab.unknown())

    assert (refusal.reason, refusal.execution_id, refusal.children) == ("unknown", None, ())


async def test_a_row_that_a_live_worker_holds_is_refused_to_others(lab: Lab):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")

    refusal = await lab.refusal(run.ids[0], "w2")
    assert (refusal.reason, refusal.execution_id) == ("held", run.execution)


@pytest.mark.parametrize("worker", ["w1", "one that never beat"])
async def test_the_same_id_twice_in_one_call_is_claimed_once(catalog: Catalog, lab: Lab, worker: str):
    run = await lab.started("a.md")

    first, second = await catalog.claim(worker, [run.ids[0], run.ids[0]])

    assert isinstance(first, Claim)
    assert isinstance(second, Refusal)
    assert second.reason == "held"


async def test_the_row_of_a_worker_that_misses_its_beats_can_be_claimed(lab: Lab):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")
    await lab.die("w1")

    claim = await lab.claim(run.ids[0], "w2")

    assert (claim.attempt, claim.spent) == (2, 2)


async def test_the_row_of_a_departed_worker_can_be_claimed_at_once(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")

    await catalog.depart("w1")

    assert (await lab.claim(run.ids[0], "w2")).attempt == 2


async def test_a_retry_is_refused_until_it_is_due(lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=10)

    lab.clock.advance(9)
    refusal = await lab.refusal(run.ids[0])
    assert (refusal.reason, refusal.execution_id) == ("early", run.execution)

    lab.clock.advance(2)
    assert (await lab.claim(run.ids[0])).attempt == 2


async def test_a_retry_that_is_due_may_be_claimed_by_a_redelivery_before_it_is_published_again(lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=0)

    claim = await lab.claim(run.ids[0])

    assert (claim.attempt, claim.spent) == (2, 2)


async def test_a_closed_row_is_refused(lab: Lab):
    run = await lab.started("done.md", "dead.md")
    await lab.work(run.ids[0])
    await lab.kill(run.ids[1])

    for identity in run.ids:
        refusal = await lab.refusal(identity)
        assert (refusal.reason, refusal.execution_id) == ("closed", run.execution)


async def test_a_row_of_a_cancelled_execution_is_refused_also_when_its_worker_is_dead(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")
    await catalog.cancel(run.execution)
    await catalog.depart("w1")

    refusal = await lab.refusal(run.ids[0], "w2")

    assert (refusal.reason, refusal.execution_id) == ("ended", run.execution)


async def test_a_row_that_is_not_published_yet_can_be_claimed(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    dispatches = await lab.list_all(held, f"{job}/input/a.md")

    await lab.claim(lab.ids(dispatches)[0])

    assert await lab.unpublished(held, limit=10) == []


async def test_a_refused_claim_of_a_completed_row_returns_its_unpublished_children(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md", config=fan_out(lab))
    children = await lab.work(run.ids[0], lab.output("1.md"), lab.output("2.md"))

    refusal = await lab.refusal(run.ids[0], "w2")

    assert [c.message_id for c in refusal.children] == [c.message_id for c in children]
    await catalog.mark_published(children[:3])
    refusal = await lab.refusal(run.ids[0], "w2")
    assert [c.message_id for c in refusal.children] == [children[3].message_id]


async def test_a_refused_claim_returns_no_child_that_was_already_processed(lab: Lab):
    run = await lab.started("a.md")
    (child,) = await lab.work(run.ids[0], lab.output("a.md"))
    await lab.work(lab.ids([child])[0])

    assert (await lab.refusal(run.ids[0])).children == ()


async def test_a_message_that_killed_two_workers_is_claimed_only_alone(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    for worker in ("v1", "v2"):
        await lab.claim(run.ids[0], worker)
        await catalog.depart(worker)

    beside, other = await catalog.claim("w2", run.ids)
    assert isinstance(beside, Refusal)
    assert beside.reason == "suspect"
    assert isinstance(other, Claim)

    assert (await lab.refusal(run.ids[0], "w2")).reason == "suspect"
    claim = await lab.claim(run.ids[0], "w2", alone=True)
    assert claim.attempt == 3


@pytest.mark.parametrize(("most", "together"), [(1, 1), (2, 1), (3, 2)])
async def test_a_crash_ends_a_message_only_if_it_ran_alone(
    catalog: Catalog, lab: Lab, most: int, together: int
):
    route = lab.route("convert", errors=ErrorHandling(max_attempts=most))
    run = await lab.started("a.md", config=lab.config("docs", route))
    for worker in range(together):
        await lab.claim(run.ids[0], f"v{worker}")
        await catalog.depart(f"v{worker}")
    assert (await lab.refusal(run.ids[0], "w1")).reason == "suspect"
    await lab.claim(run.ids[0], "w1", alone=True)
    await catalog.depart("w1")

    assert (await lab.refusal(run.ids[0], "w2")).reason == "lost"
    letter = await catalog.dead_letter(run.ids[0])
    assert letter
    assert letter.attempts == together + 1


async def test_a_worker_that_lost_the_answer_to_its_claim_claims_again_and_spends_no_attempt(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md")
    unheard = await lab.claim(run.ids[0], "w1")

    assert (await lab.refusal(run.ids[0], "w2")).reason == "held"
    claim = await lab.claim(run.ids[0], "w1")

    assert (claim.attempt, claim.spent) == (2, 1)
    assert await catalog.finish("w1", [Done(unheard.correlation_id, unheard.attempt)]) == [None]
    await lab.done(claim, lab.output("a.md"))
    assert await lab.state(run.ids[0]) == "completed"


async def test_claims_whose_answers_were_lost_never_make_a_message_a_dead_letter(lab: Lab):
    run = await lab.started("a.md")

    claims = [await lab.claim(run.ids[0], "w1") for _ in range(5)]

    assert [claim.spent for claim in claims] == [1] * 5


async def test_a_claim_whose_answer_was_lost_is_cancelled_with_its_execution(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")
    await catalog.cancel(run.execution)

    assert (await lab.refusal(run.ids[0], "w1")).reason == "ended"

    assert await lab.state(run.ids[0]) == "cancelled"
    assert (await lab.counts(run.execution)).pending == 0


async def test_an_attempt_ended_again_returns_its_unpublished_children(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", config=fan_out(lab))
    claim = await lab.claim(run.ids[0])
    children = await lab.done(claim, lab.output("1.md"), lab.output("2.md"))
    await catalog.mark_published(children[:1])
    keys = [f"{run.execution}/pages/1.md", f"{run.execution}/pages/2.md"]

    (again,) = await catalog.finish("w1", [Done(claim.correlation_id, claim.attempt, keys)])

    assert again is not None
    assert [c.message_id for c in again.children] == [c.message_id for c in children[1:]]
    assert (await lab.counts(run.execution)).total == 1 + len(children)


async def test_a_message_without_outputs_is_skipped_with_a_reason(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    claim, other, failing = [await lab.claim(identity) for identity in run.ids]
    await lab.fail(failing, delay=0)  # an error of an earlier attempt
    failing = await lab.claim(run.ids[2])

    await lab.skip(claim, "the condition of small dropped it\0", "condition_false")
    await lab.done(other)
    await lab.skip(failing, "small returned no output")

    skipped = await lab.row(run.ids[0])
    assert (skipped.status, skipped.error, skipped.output_keys) == ("skipped", None, [])
    assert skipped.skip_reason is not None
    assert skipped.skip_reason.startswith("the condition of small dropped it")
    assert (skipped.skip_code, skipped.error) == ("condition_false", None)
    assert skipped.ended_at is not None
    completed = await lab.row(run.ids[1])
    assert (completed.status, completed.skip_reason) == ("completed", None)
    retried = await lab.row(run.ids[2])
    assert (retried.error, retried.skip_reason) == (None, "small returned no output")
    listed, _ = await catalog.lineage_list(execution=run.execution, status="skipped")
    assert [(one.correlation_id, one.skip_reason) for one in listed] == [
        (run.ids[2], retried.skip_reason),
        (run.ids[0], skipped.skip_reason),
    ]


async def test_skipped_messages_are_closed_and_count_as_completed(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    claim = await lab.claim(run.ids[0])
    await lab.skip(claim, "small returned no output")
    await lab.kill(run.ids[1])

    assert (await lab.refusal(run.ids[0], "w2")).reason == "closed"
    assert await catalog.end_executions([run.execution]) == [run.execution]
    counts = await lab.counts(run.execution)
    assert (counts.completed, counts.failed, counts.total) == (1, 1, 2)
    (first, *_) = await catalog.route_counts(run.execution)
    assert first.counts == counts
    assert await catalog.resend(where=DeadLetterFilter(execution=run.execution)) == [run.ids[1]]
    assert await lab.state(run.ids[0]) == "skipped"


async def test_a_skip_whose_answer_was_lost_is_confirmed_again(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await lab.skip(claim, "small returned no output")

    await lab.skip(claim, "small returned no output")

    assert await lab.state(run.ids[0]) == "skipped"


async def test_a_message_skipped_in_a_cancelled_execution_keeps_its_reason(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await catalog.cancel(run.execution)

    await lab.skip(claim, "small returned no output")

    row = await lab.row(run.ids[0])
    assert (row.status, row.skip_code) == ("skipped", "no_output")
    assert row.skip_reason == "small returned no output"


async def test_an_attempt_that_is_rejected_in_a_cancelled_execution_leaves_no_error(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await catalog.cancel(run.execution)

    await lab.fail(claim, code="rejected")

    row = await lab.row(run.ids[0])
    assert (row.status, row.error) == ("cancelled", None)


async def test_only_consecutive_crashes_are_counted(catalog: Catalog, lab: Lab):
    route = lab.route("convert", errors=ErrorHandling(max_attempts=9))
    run = await lab.started("a.md", "b.md", config=lab.config("docs", route))
    await lab.claim(run.ids[0], "w1")
    await catalog.depart("w1")
    assert await catalog.recall_abandoned(limit=10) == 1
    claim = await lab.claim(run.ids[0], "w1")
    await catalog.finish("w1", [Released(claim.correlation_id, claim.attempt, 0)])
    await lab.claim(run.ids[0], "w1")
    await catalog.depart("w1")

    answers = await catalog.claim("w2", run.ids)

    assert all(isinstance(a, Claim) for a in answers)


async def test_a_message_that_kills_its_workers_ends_as_a_dead_letter(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    for attempt in (1, 2, 3):
        claim = await lab.claim(run.ids[0], f"v{attempt}", alone=True)
        assert (claim.attempt, claim.spent) == (attempt, attempt)
        await lab.bind(claim, lab.output("a.md", "text"))
        await catalog.depart(f"v{attempt}")

    refusal = await lab.refusal(run.ids[0], "w2")

    assert (refusal.reason, refusal.execution_id) == ("lost", run.execution)
    assert (refusal.config, refusal.route) == ("docs", "convert")
    letter = await catalog.dead_letter(run.ids[0])
    assert letter is not None
    assert (letter.error_code, letter.attempts) == ("worker_lost", 3)
    assert await catalog.unstored([f"{run.execution}/pages/a.md"])
    assert await catalog.end_executions([run.execution]) == [run.execution]
    assert (await lab.execution(run.execution)).status == "failed"


async def test_attempts_are_counted_by_the_config_version_of_the_execution(catalog: Catalog, lab: Lab):
    once = ErrorHandling(max_attempts=1)
    run = await lab.started("a.md", config=lab.config("docs", lab.route("convert", errors=once)))
    await lab.save(lab.DOCS)
    for worker in ("w1", "w2"):
        await lab.claim(run.ids[0], worker, alone=True)
        await catalog.depart(worker)

    assert (await lab.refusal(run.ids[0], "w3")).reason == "lost"


# -- tokens ----------------------------------------------------------------------------------------


async def test_a_zombie_can_neither_bind_nor_finish(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    zombie = await lab.claim(run.ids[0], "w1")
    await catalog.depart("w1")
    claim = await lab.claim(run.ids[0], "w2")

    assert await lab.try_bind(zombie, lab.output("a.md", "late")) is None
    for result in (
        Done(zombie.correlation_id, zombie.attempt),
        Failed(zombie.correlation_id, zombie.attempt, "adapter_error", "late"),
        Released(zombie.correlation_id, zombie.attempt, 0),
    ):
        assert await catalog.finish("w1", [result]) == [None]

    row = await lab.row(run.ids[0])
    assert (row.status, row.attempts) == ("running", 2)
    await lab.done(claim, lab.output("a.md", "good"))
    assert (await lab.row(run.ids[0])).output_keys == [f"{run.execution}/pages/a.md"]


async def test_a_zombie_cannot_change_a_row_that_no_worker_holds(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    zombie = await lab.claim(run.ids[0], "w1")
    await catalog.depart("w1")
    assert await catalog.recall_abandoned(limit=10) == 1

    assert await lab.try_bind(zombie, lab.output("a.md")) is None
    assert await catalog.finish("w1", [Done(zombie.correlation_id, zombie.attempt)]) == [None]
    assert await lab.state(run.ids[0]) == "retry"


async def test_an_attempt_number_is_never_used_again_after_a_resend(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    zombie = await lab.claim(run.ids[0], "w1")
    await catalog.depart("w1")
    await lab.kill(run.ids[0])
    await catalog.resend(ids=run.ids)

    claim = await lab.claim(run.ids[0], "w2")

    assert (claim.attempt, claim.spent) == (3, 1)
    assert await catalog.finish("w1", [Done(zombie.correlation_id, zombie.attempt)]) == [None]


async def test_an_id_without_a_row_has_no_token(catalog: Catalog, lab: Lab):
    assert await catalog.bind([Binding(lab.unknown(), 1, [lab.output("a.md")])]) == [None]
    assert await catalog.finish("w1", [Done(lab.unknown(), 1)]) == [None]


# -- bind ------------------------------------------------------------------------------------------


async def test_outputs_are_bound_in_order_below_the_stage_of_their_route(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])

    bound = await lab.bind(claim, lab.output("b/2.md"), lab.output("a/1.md"))

    assert [b.path for b in bound] == ["b/2.md", "a/1.md"]
    assert [b.key for b in bound] == [f"{run.execution}/pages/{b.path}" for b in bound]
    assert {b.attempt for b in bound} == {1}
    assert {b.created_at for b in bound} == {lab.clock.now}
    keys = sorted(b.key for b in bound)
    assert await catalog.unstored(keys) == set(keys)


async def test_a_redelivery_with_the_same_fingerprint_uses_the_key_again(lab: Lab):
    run = await lab.started("a.md")
    first = await lab.bind(await lab.claim(run.ids[0]), lab.output("a.md", "text", title="T"))
    await lab.die("w1")

    again = await lab.bind(await lab.claim(run.ids[0], "w2"), lab.output("a.md", "text", title="T"))

    assert again == first
    assert (again[0].attempt, again[0].created_at) == (1, first[0].created_at)


async def test_binding_the_same_attempt_twice_binds_the_same_keys(lab: Lab):
    run = await lab.started("a.md")
    await lab.bind(await lab.claim(run.ids[0], "w1"), lab.output("a.md", "1"))
    await lab.die("w1")
    claim = await lab.claim(run.ids[0], "w2")
    outputs = [lab.output("a.md", "2"), lab.output("b.md")]

    assert await lab.bind(claim, *outputs) == await lab.bind(claim, *outputs)


@pytest.mark.parametrize("change", ["content", "attributes"])
async def test_another_fingerprint_supersedes_the_key_and_names_the_output_by_its_attempt(
    catalog: Catalog, lab: Lab, change: str
):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await lab.bind(claim, lab.output("d/a.b.md", "1"), lab.output("same.md"))
    await lab.fail(claim, delay=0)
    other = lab.output("d/a.b.md", "2") if change == "content" else lab.output("d/a.b.md", "1", title="T")

    second = await lab.claim(run.ids[0])
    bound = await lab.bind(second, other, lab.output("same.md"))

    assert [b.path for b in bound] == ["d/a.b~2.md", "same.md"]
    assert [b.key for b in bound] == [f"{run.execution}/pages/{b.path}" for b in bound]
    assert [b.attempt for b in bound] == [2, 1]
    await catalog.finish("w1", [Done(second.correlation_id, second.attempt, [b.key for b in bound])])
    keys = sorted(f"{run.execution}/pages/{path}" for path in ("d/a.b.md", "d/a.b~2.md", "same.md"))
    assert await catalog.unstored(keys) == {f"{run.execution}/pages/d/a.b.md"}


async def test_a_superseded_key_is_used_again_for_the_bytes_that_it_was_bound_for(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    for content in ("1", "2"):
        claim = await lab.claim(run.ids[0])
        await lab.bind(claim, lab.output("a.md", content))
        await lab.fail(claim, delay=0)

    third = await lab.claim(run.ids[0])
    await lab.done(third, lab.output("a.md", "1"))

    assert (await lab.row(run.ids[0])).output_keys == [f"{run.execution}/pages/a.md"]
    keys = [f"{run.execution}/pages/{path}" for path in ("a.md", "a~2.md")]
    assert await catalog.unstored(keys) == {keys[1]}


async def test_every_attempt_with_other_bytes_has_its_own_key(lab: Lab):
    run = await lab.started("a.md")
    paths = []
    for content in ("1", "2", "3"):
        claim = await lab.claim(run.ids[0])
        paths += [b.path for b in await lab.bind(claim, lab.output("a.md", content))]
        if content != "3":
            await lab.fail(claim, delay=0)

    assert paths == ["a.md", "a~2.md", "a~3.md"]


@pytest.mark.parametrize("content", ["same", "other"])
async def test_the_key_of_another_message_is_a_conflict_and_binds_nothing(
    catalog: Catalog, lab: Lab, content: str
):
    run = await lab.started("x.htm", "x.html")
    first, second = [await lab.claim(identity) for identity in run.ids]
    await lab.bind(first, lab.output("x.md", "same"))

    answer = await lab.try_bind(second, lab.output("fine.md"), lab.output("x.md", content))

    assert isinstance(answer, Unbound)
    assert answer.code == "output_conflict"
    assert f"{run.execution}/pages/x.md" in answer.detail
    third = (await lab.started("y.md")).ids[0]
    assert isinstance(await lab.try_bind(await lab.claim(third), lab.output("x.md")), list)
    assert await catalog.unstored([f"{run.execution}/pages/fine.md"]) == set()


async def test_a_key_stays_with_its_message_after_the_message_is_dead(lab: Lab):
    run = await lab.started("x.htm", "x.html")
    claim = await lab.claim(run.ids[0])
    await lab.bind(claim, lab.output("x.md", "same"))
    await lab.fail(claim)

    assert isinstance(await lab.try_bind(await lab.claim(run.ids[1]), lab.output("x.md", "same")), Unbound)


async def test_a_conflict_supersedes_nothing(catalog: Catalog, lab: Lab):
    run = await lab.started("x.htm", "x.html")
    other, mine = [await lab.claim(identity) for identity in run.ids]
    await lab.bind(other, lab.output("taken.md"))
    await lab.bind(mine, lab.output("a.md", "1"))
    await lab.fail(mine, delay=0)
    again = await lab.claim(run.ids[1])

    assert isinstance(await lab.try_bind(again, lab.output("a.md", "2"), lab.output("taken.md")), Unbound)

    assert [b.path for b in await lab.bind(again, lab.output("a.md", "1"))] == ["a.md"]


async def test_two_messages_that_bind_one_key_in_one_call_conflict(catalog: Catalog, lab: Lab):
    run = await lab.started("x.htm", "x.html")
    claims = [await lab.claim(identity) for identity in run.ids]

    first, second = await catalog.bind(
        [Binding(c.correlation_id, c.attempt, [lab.output("x.md")]) for c in claims]
    )

    assert isinstance(first, list)
    assert isinstance(second, Unbound)


async def test_each_binding_has_a_result_in_the_same_order(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    a, b = [await lab.claim(identity) for identity in run.ids]

    answers = await catalog.bind(
        [
            Binding(b.correlation_id, b.attempt, [lab.output("b.md")]),
            Binding(a.correlation_id, a.attempt + 1, [lab.output("zombie.md")]),
            Binding(a.correlation_id, a.attempt, [lab.output("a.md")]),
            Binding(b.correlation_id, b.attempt, []),
        ]
    )

    assert answers == [
        [Bound(f"{run.execution}/pages/b.md", "b.md", 1, lab.clock.now)],
        None,
        [Bound(f"{run.execution}/pages/a.md", "a.md", 1, lab.clock.now)],
        [],
    ]


async def test_the_same_path_in_two_executions_is_not_a_conflict(lab: Lab):
    for _ in range(2):
        run = await lab.started("a.md")
        assert await lab.work(run.ids[0], lab.output("a.md", "other each time"))


# -- finish ----------------------------------------------------------------------------------------


async def test_done_stores_the_outputs_and_creates_a_child_for_each_output_and_route(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md", config=fan_out(lab))

    children = await lab.work(run.ids[0], lab.output("2.md"), lab.output("1.md"))

    stored = [f"{run.execution}/pages/{path}" for path in ("2.md", "1.md")]
    assert [(c.object_key, c.headers.route) for c in children] == [
        (stored[0], "split"),
        (stored[0], "publish"),
        (stored[1], "split"),
        (stored[1], "publish"),
    ]
    assert [c.headers.queue for c in children[:2]] == ["fan.split", "fan.publish"]
    assert [c.external for c in children[:2]] == [False, True]
    assert {(c.generation, c.ordinal, c.parent) for c in children} == {(0, None, str(run.ids[0]))}
    assert {c.headers.execution_id for c in children} == {run.execution}
    assert lab.ids(children) == sorted(lab.ids(children))
    row = await lab.row(run.ids[0])
    assert (row.status, row.attempts, row.output_keys) == ("completed", 1, stored)
    assert await catalog.unstored(sorted(stored)) == set()
    counts = await lab.counts(run.execution)
    assert (counts.pending, counts.completed, counts.total) == (4, 1, 5)


async def test_children_of_one_message_share_their_headers_by_route(lab: Lab):
    run = await lab.started("a.md")

    children = await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(3)))

    assert len({id(child.headers) for child in children}) == 1


async def test_done_supersedes_outputs_of_other_attempts(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await lab.bind(claim, lab.output("only-first.md"), lab.output("both.md"))
    await lab.fail(claim, delay=0)

    await lab.work(run.ids[0], lab.output("both.md"))

    keys = [f"{run.execution}/pages/{path}" for path in ("both.md", "only-first.md")]
    assert await catalog.unstored(keys) == {keys[1]}
    assert (await lab.row(run.ids[0])).output_keys == keys[:1]


async def test_done_without_outputs_completes_without_children(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")

    assert await lab.work(run.ids[0]) == []

    assert await catalog.end_executions([run.execution]) == [run.execution]
    assert (await lab.execution(run.execution)).status == "completed"


async def test_done_on_the_last_route_creates_no_children(lab: Lab):
    config = lab.config("leaf", lab.route("only", queue="leaf.only", stage="made"))
    run = await lab.started("a.md", config=config)

    assert await lab.work(run.ids[0], lab.output("a.md")) == []
    assert (await lab.row(run.ids[0])).output_keys == [f"{run.execution}/made/a.md"]


async def test_children_belong_to_the_batch_of_their_parent(lab: Lab):
    run = await lab.started("a.md")
    replay = await lab.started_replay(run.execution, f"{run.execution}/input/a.md")

    (child,) = await lab.work(replay.ids[0], lab.output("a.md"))

    assert child.headers.replay_batch_id == replay.batch
    claim = await lab.claim(lab.ids([child])[0])
    assert (claim.replay_batch_id, claim.execution_id) == (replay.batch, replay.execution)


def claim_token(claim: Claim) -> tuple[UUID, int]:
    return claim.correlation_id, claim.attempt


async def test_an_attempt_ends_once(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    done = Done(claim.correlation_id, claim.attempt)

    for result in (Failed(*claim_token(claim), "adapter_error", "late"), Released(*claim_token(claim), 0)):
        assert await catalog.finish("w1", [done, result]) == [Finished([]), None]
    assert await lab.state(run.ids[0]) == "completed"


async def test_each_result_is_answered_in_the_same_order(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md", "d.md")
    a, b, c, d = [await lab.claim(identity) for identity in run.ids]
    (bound,) = await lab.bind(d, lab.output("d.md"))

    answers = await catalog.finish(
        "w1",
        [
            Failed(a.correlation_id, a.attempt, "adapter_error", "it broke", delay=3),
            Done(b.correlation_id, b.attempt + 7),
            Released(c.correlation_id, c.attempt, 1),
            Done(d.correlation_id, d.attempt, [bound.key]),
        ],
    )

    assert [answer and [c.object_key for c in answer.children] for answer in answers] == [
        [],
        None,
        [],
        [bound.key],
    ]
    assert [await lab.state(i) for i in run.ids] == ["retry", "running", "retry", "completed"]


async def test_a_failure_with_a_delay_is_a_retry_that_is_published_when_due(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=10)

    assert await lab.state(run.ids[0]) == "retry"
    assert await catalog.due("w1", limit=10) == []
    lab.clock.advance(11)
    (dispatch,) = await catalog.due("w1", limit=10)
    assert (dispatch.message_id, dispatch.generation) == (f"{run.ids[0]}.1", 1)
    claim = await lab.claim(run.ids[0])
    assert (claim.attempt, claim.spent) == (2, 2)


async def test_a_failure_without_a_delay_is_a_dead_letter(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await lab.bind(claim, lab.output("a.md"))

    await lab.fail(claim, code="rejected")

    letter = await catalog.dead_letter(run.ids[0])
    assert letter is not None
    assert (letter.error_code, letter.error, letter.traceback) == ("rejected", "it broke", "Traceback: …")
    assert (letter.attempts, letter.route, letter.queue) == (1, "convert", "docs.convert")
    row = await lab.row(run.ids[0])
    assert (row.status, row.output_keys) == ("dead", [])
    assert row.error is not None
    assert (row.error.code, row.error.message) == ("rejected", "it broke")
    assert await catalog.unstored([f"{run.execution}/pages/a.md"])


async def test_a_message_that_succeeds_in_the_end_has_no_error(lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=0)

    await lab.work(run.ids[0])

    row = await lab.row(run.ids[0])
    assert (row.status, row.attempts, row.error) == ("completed", 2, None)


async def test_a_released_attempt_does_not_count(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    for attempt in range(1, 8):
        claim = await lab.claim(run.ids[0])
        assert (claim.attempt, claim.spent) == (attempt, 1)
        await catalog.finish("w1", [Released(claim.correlation_id, claim.attempt, 5)])
        assert (await lab.refusal(run.ids[0])).reason == "early"
        lab.clock.advance(6)
    (dispatch,) = await catalog.due("w1", limit=10)
    assert dispatch.generation == 7


async def test_a_release_does_not_restore_spent_attempts(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=0)
    claim = await lab.claim(run.ids[0])
    await catalog.finish("w1", [Released(claim.correlation_id, claim.attempt, 0)])

    claim = await lab.claim(run.ids[0])

    assert (claim.attempt, claim.spent) == (3, 2)


async def test_a_released_attempt_without_a_delay_keeps_its_dispatch(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    claims = [await lab.claim(identity) for identity in run.ids]
    await catalog.finish("w1", [Released(one.correlation_id, one.attempt, None) for one in claims])

    assert await catalog.due("w1", limit=10) == []
    assert await catalog.waiting_queues() == ["docs.convert"], "if the broker loses the dispatch"
    again = await lab.claim(run.ids[0], "w2")
    assert (again.attempt, again.spent) == (2, 1)
    lost = await catalog.redeliver_lost("w1", "docs.convert", limit=10)
    assert [one.message_id for one in lost] == [f"{run.ids[1]}.1"]


async def test_an_attempt_without_a_call_is_not_an_attempt_for_people(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    (identity,) = run.ids
    for called in (False, True, False):
        claim = await lab.claim(identity)
        await catalog.finish("w1", [Released(identity, claim.attempt, None, called=called)])
    await catalog.claim("w1", [identity])
    claim = await lab.claim(identity)  # the answer to the claim before was lost
    assert (claim.attempt, claim.spent) == (5, 1)
    assert (await lab.row(identity)).attempts == 2

    await lab.fail(claim)

    letter = await catalog.dead_letter(identity)
    assert letter is not None
    assert letter.attempts == 2


# -- marking ---------------------------------------------------------------------------------------


async def test_children_that_were_marked_are_published(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    children = await lab.work(run.ids[0], lab.output("1.md"), lab.output("2.md"), worker="gone")

    await catalog.mark_published(children[:1])

    assert [c.message_id for c in await catalog.orphans("w1", limit=10)] == [children[1].message_id]
    assert await catalog.waiting_queues() == ["docs.split"]


async def test_a_mark_of_an_earlier_generation_changes_nothing(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    (child,) = await lab.work(run.ids[0], lab.output("1.md"))
    await lab.fail(await lab.claim(lab.ids([child])[0]), delay=0)

    await catalog.mark_published([child])

    (dispatch,) = await catalog.due("w1", limit=10)
    assert dispatch.generation == 1
    await catalog.mark_published([dispatch])
    assert await catalog.due("w1", limit=10) == []


async def test_a_refusal_of_an_earlier_generation_changes_nothing(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    (child,) = await lab.work(run.ids[0], lab.output("1.md"))
    await lab.fail(await lab.claim(lab.ids([child])[0]), delay=0)

    await catalog.mark_published([], refused=[(child, "no")])

    assert await lab.state(lab.ids([child])[0]) == "retry"


async def test_a_refused_child_is_a_dead_letter(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    one, two = await lab.work(run.ids[0], lab.output("1.md"), lab.output("2.md"))

    await catalog.mark_published([one], refused=[(two, "over 1 MiB")])

    letter = await catalog.dead_letter(lab.ids([two])[0])
    assert letter is not None
    assert letter.error_code == "publish_refused"
    assert "over 1 MiB" in letter.error
    assert await lab.state(lab.ids([one])[0]) == "pending"


async def test_a_mark_does_not_change_a_running_or_closed_row(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    one, two = await lab.work(run.ids[0], lab.output("1.md"), lab.output("2.md"))
    await lab.claim(lab.ids([one])[0])
    await lab.work(lab.ids([two])[0])

    await catalog.mark_published([one, two], refused=[(one, "no"), (two, "no")])

    assert [await lab.state(i) for i in lab.ids([one, two])] == ["running", "completed"]


async def test_a_child_on_an_external_route_is_completed_by_its_mark(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", config=fan_out(lab))
    split, publish = await lab.work(run.ids[0], lab.output("1.md"))

    await catalog.mark_published([split, publish])

    assert [await lab.state(i) for i in lab.ids([split, publish])] == ["pending", "completed"]
    row = await lab.row(lab.ids([publish])[0])
    assert (row.attempts, row.started_at) == (0, None)
    assert row.ended_at is not None


async def test_a_mark_completes_nothing_in_a_cancelled_execution(catalog: Catalog, lab: Lab):
    """What an external route may have received is uncertain."""
    run = await lab.started("a.md", config=fan_out(lab))
    _, publish = await lab.work(run.ids[0], lab.output("1.md"))
    await catalog.cancel(run.execution)

    await catalog.mark_published([publish])

    assert await lab.state(lab.ids([publish])[0]) == "uncertain"


# -- the end of an execution -----------------------------------------------------------------------


async def test_an_execution_ends_when_its_last_row_is_closed(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    await lab.work(run.ids[0])
    claim = await lab.claim(run.ids[1])
    assert await catalog.end_executions([run.execution]) == []
    await lab.fail(claim, delay=0)
    await lab.work(run.ids[2])
    assert await catalog.end_executions([run.execution]) == []
    await lab.work(run.ids[1])

    assert await catalog.end_executions([run.execution]) == [run.execution]

    ended = await lab.execution(run.execution)
    assert (ended.status, ended.error) == ("completed", None)
    assert ended.ended_at is not None
    assert (ended.counts.completed, ended.counts.total) == (3, 3)


async def test_an_execution_runs_while_its_children_run(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    children = await lab.work(run.ids[0], lab.output("1.md"))
    assert await catalog.end_executions([run.execution]) == []

    await lab.work(lab.ids(children)[0])

    assert await catalog.end_executions([run.execution]) == [run.execution]


async def test_an_execution_with_a_dead_row_has_failed(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.work(run.ids[0])
    await lab.kill(run.ids[1])

    assert await catalog.end_executions([run.execution]) == [run.execution]

    ended = await lab.execution(run.execution)
    assert (ended.status, ended.error) == ("failed", None)
    assert (ended.counts.completed, ended.counts.failed) == (1, 1)


async def test_an_execution_never_ends_while_its_root_is_open(catalog: Catalog, lab: Lab):
    uploading = await lab.opened()
    sealed = await lab.sealed("a.md")

    assert await catalog.end_executions([uploading, sealed]) == []
    assert (await lab.execution(sealed)).status == "running"


async def test_only_executions_that_the_call_has_ended_are_returned(catalog: Catalog, lab: Lab):
    done = await lab.started("a.md")
    other = await lab.started("b.md")
    cancelled = await lab.started("c.md")
    await lab.work(done.ids[0])
    await catalog.cancel(cancelled.execution)
    adopted = (await catalog.adopt(lab.unknown())).execution_id
    asked = [cancelled.execution, other.execution, done.execution, adopted, lab.unknown()]

    assert await catalog.end_executions(asked) == [done.execution]
    assert await catalog.end_executions(asked) == []
    assert (await lab.execution(cancelled.execution)).status == "cancelled"


async def test_all_executions_that_can_end_are_ended_if_none_is_named(catalog: Catalog, lab: Lab):
    first, running, last = [await lab.started(path) for path in ("a.md", "b.md", "c.md")]
    await lab.sealed("d.md")
    await lab.work(last.ids[0])
    await lab.fail(await lab.claim(first.ids[0]))

    assert await catalog.end_executions() == [first.execution, last.execution]

    assert await catalog.end_executions() == []
    assert (await lab.execution(running.execution)).status == "running"


async def test_an_execution_that_a_resend_reopened_ends_again(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.kill(run.ids[0])
    await catalog.end_executions([run.execution])
    await catalog.resend(ids=run.ids)
    assert await catalog.end_executions([run.execution]) == []

    await lab.work(run.ids[0])

    assert await catalog.end_executions([run.execution]) == [run.execution]
    assert (await lab.execution(run.execution)).status == "completed"


async def test_unpublished_dispatches_are_released_to_any_publisher(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    (first, second, third) = await lab.work(
        run.ids[0], lab.output("1.md"), lab.output("2.md"), lab.output("3.md"), worker="w1"
    )
    await catalog.mark_published([first])

    await catalog.mark_published([second], left=[first, second, third])

    assert [c.message_id for c in await catalog.orphans("w2", limit=10)] == [third.message_id]
    await catalog.mark_published([], left=[third])
    assert [c.message_id for c in await catalog.orphans("w1", limit=10)] == [third.message_id]


async def test_a_held_message_is_claimed_again_although_the_clock_was_set_back(catalog: Catalog, lab: Lab):
    """Its claim was refused as too early, and the only dispatch of the message was acked."""
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await catalog.finish("w1", [Released(claim.correlation_id, claim.attempt, None)])
    lab.clock.advance(-1)

    (again,) = await catalog.claim("w1", run.ids)

    assert isinstance(again, Claim)


async def test_a_retry_that_was_dispatched_is_claimed_although_the_clock_was_set_back(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=2)
    lab.clock.advance(3)
    await catalog.mark_published(await catalog.due("w1", limit=10))
    lab.clock.advance(-2)

    (again,) = await catalog.claim("w1", run.ids)

    assert isinstance(again, Claim)
