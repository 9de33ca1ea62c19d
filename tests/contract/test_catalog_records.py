"""How every catalog deletes the records of executions whose objects are all pruned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.errors import Conflict, NotFound
from playhead.model import PruneFilter, Selection
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter, Reference
from playhead.ports.catalog.prune import Candidate, Pruning
from playhead.ports.catalog.work import Done
from playhead.replay.selection import selector_of
from tests.contract.test_catalog_prune import DAY, done, failed, finish, prune, two
from tests.contract.test_catalog_takeover import ALL, SAME, bound, finished, since, under, work

if TYPE_CHECKING:
    from tests.contract.backends import Factory
    from tests.lab import Lab


async def candidates(catalog: Catalog, **where: object) -> dict[UUID, str | None]:
    """Return what a prune of records selects, each with the reason why it is kept."""
    found, then = await catalog.prune_candidates(PruneFilter(records=True, **where))  # type: ignore[arg-type]
    assert then is None
    return {one.execution: one.kept for one in found}


async def begin(catalog: Catalog, execution: UUID) -> Pruning:
    [begun] = await catalog.begin_prune([Candidate(execution, (), None, records=True)])
    return begun


async def delete(catalog: Catalog, pruning: Pruning, *, limit: int = 2) -> int:
    """Delete all records; returns their number."""
    last, records = "", 0
    while page := await catalog.delete_records(pruning, after=last, limit=limit):
        last = page.last
        records += page.records
    await catalog.end_prune(pruning)
    return records


async def pruned(lab: Lab, *paths: str) -> UUID:
    """Return a run whose objects are all pruned. Each path has a message, an input and an output."""
    execution = await done(lab, *paths)
    await prune(lab.catalog, execution)
    return execution


async def records_of(catalog: Catalog, execution: UUID) -> int:
    return await catalog.count_records(Candidate(execution, (), None, records=True))


# -- which executions ------------------------------------------------------------------------------


async def test_records_are_deleted_only_after_all_objects(catalog: Catalog, lab: Lab):
    stored, partly, begun, gone = [await done(lab, "a") for _ in range(4)]
    await prune(catalog, partly, "pages")
    await prune(catalog, gone)
    await catalog.begin_prune([Candidate(begun, (), None)])

    assert await candidates(catalog) == {gone: None}
    named = await candidates(catalog, execution_ids=[stored, partly, begun, gone])
    assert named == {stored: "stored", partly: "stored", begun: "stored", gone: None}
    assert await catalog.begin_prune([Candidate(stored, (), None, records=True)]) == []
    mixed = [Candidate(stored, (), None), Candidate(gone, (), None, records=True)]
    begun_now = await catalog.begin_prune(mixed)
    assert {(one.execution, one.records) for one in begun_now} == {(stored, False), (gone, True)}


async def test_conditions_select_the_executions_whose_records_are_deleted(catalog: Catalog, lab: Lab):
    old = await pruned(lab, "a")
    lab.clock.advance(2 * DAY)
    await lab.beat("w1")
    new = await pruned(lab, "a")

    assert await candidates(catalog, config="two") == {old: None, new: None}
    assert await candidates(catalog, older_than_seconds=DAY) == {old: None}
    assert await candidates(catalog, config="other") == {}


async def test_a_retention_selects_executions_until_their_records_are_deleted(catalog: Catalog, lab: Lab):
    config = two(lab)
    old = await done(lab, "a", config=config)
    lab.clock.advance(90 * DAY)
    await lab.beat("w1")
    new = await done(lab, "a", config=config)
    objects = PruneFilter(config="two", older_than_seconds=0, is_retention=True)
    for execution in (old, new):
        await prune(catalog, execution)
    assert await catalog.prune_candidates(objects) == ([], None)  # it has seen them

    assert await candidates(catalog, config="two", older_than_seconds=80 * DAY, is_retention=True) == {
        old: None
    }
    await delete(catalog, await begin(catalog, old))
    assert await candidates(catalog, config="two", older_than_seconds=80 * DAY, is_retention=True) == {}
    assert await candidates(catalog, config="two", older_than_seconds=0, is_retention=True) == {new: None}
    assert await catalog.prune_candidates(objects) == ([], None)


# -- what is deleted -------------------------------------------------------------------------------


async def test_the_execution_stays_with_its_counts(catalog: Catalog, lab: Lab):
    execution = await failed(lab)
    await prune(catalog, execution)
    before = await lab.execution(execution)
    routes = await catalog.route_counts(execution)

    assert await delete(catalog, await begin(catalog, execution)) == 5  # 2 messages, 2 inputs, 1 output

    after = await lab.execution(execution)
    assert after.records_deleted_at is not None
    assert (after.counts, after.status, after.pruned) == (before.counts, before.status, before.pruned)
    assert after.counts.failed == 1
    assert await catalog.route_counts(execution) == routes
    assert await records_of(catalog, execution) == 0
    assert await catalog.dead_letters(DeadLetterFilter(execution=execution)) == ([], None)


async def test_records_of_other_executions_stay(catalog: Catalog, lab: Lab):
    before, execution, after = [await pruned(lab, "a", "b") for _ in range(3)]
    await delete(catalog, await begin(catalog, execution))

    assert [await records_of(catalog, one) for one in (before, execution, after)] == [6, 0, 6]


async def test_an_object_without_records_of_its_newest_failure_does_not_count_as_processed(
    catalog: Catalog, lab: Lab
):
    before, execution = [await failed(lab) for _ in range(2)]
    await prune(catalog, execution)
    await delete(catalog, await begin(catalog, execution))

    [group], _ = await catalog.dead_letter_groups(execution=before)

    assert group.open


async def test_the_reviews_of_its_objects_are_deleted_with_it(catalog: Catalog, lab: Lab):
    source, execution, other = [await pruned(lab, "a") for _ in range(3)]
    for one in (execution, other):
        await catalog.record_review(one, source, 1, is_right=True, reviewed_by="ada")

    pruning = await begin(catalog, execution)
    await catalog.record_review(execution, source, 2, is_right=True, reviewed_by="late")
    assert list(await catalog.reviews(execution, source)) == [1]
    await delete(catalog, pruning)

    assert await catalog.reviews(execution, source) == {}
    assert list(await catalog.reviews(other, source)) == [1]


async def test_a_replay_keeps_its_numbers(catalog: Catalog, lab: Lab):
    source = await done(lab, "a", "b", config=two(lab))
    keys = [f"{source}/input/{path}" for path in ("a", "b")]
    replay = await lab.replayed(source, "input", "convert", config=two(lab))
    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, *keys)
    assert await catalog.mark(held, 2, refused=[(dispatches[1], "over 1 MiB")])
    assert await catalog.close_job(held)
    await lab.work(lab.ids(dispatches)[0], lab.output("a", "text"))
    await catalog.end_executions([replay.execution_id])
    await prune(catalog, replay.execution_id)
    batch = replay.replay_batch_id
    before = await catalog.replay(batch)
    assert before is not None
    assert (before.objects_published, before.objects_failed, before.status) == (1, 1, "partial_failure")

    await delete(catalog, await begin(catalog, replay.execution_id))

    after = await catalog.replay(batch)
    assert after is not None
    assert after.records_deleted_at is not None
    for name in ("objects_found", "objects_published", "objects_failed", "status", "state", "work"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.errors is not None
    assert "deleted" in after.errors[0]
    with pytest.raises(Conflict) as refused:
        await catalog.retry_replay(batch)
    assert refused.value.code == "execution_pruned"


async def test_no_object_is_unfinished_because_records_are_deleted_while_a_replay_selects_by_them(
    catalog: Catalog, lab: Lab
):
    source = await done(lab, "a", "b", config=two(lab))
    replay = await lab.replayed(source, "input", "convert", config=two(lab))
    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, *(f"{source}/input/{path}" for path in ("a", "b")))
    assert await catalog.mark(held, 2)
    assert await catalog.close_job(held)
    for message, path in zip(lab.ids(dispatches), ("a", "b"), strict=True):
        await lab.work(message, lab.output(path, "text"))
    await catalog.end_executions([replay.execution_id])
    await prune(catalog, replay.execution_id)
    unfinished = Selection(only="unfinished", in_replay=replay.replay_batch_id)
    selector = await selector_of(catalog, unfinished, source=source, stage="input", target="docs/convert")
    objects = [Reference(f"{source}/input/{path}", "", 1, 0.0) for path in ("a", "b")]
    assert await selector.select(objects) == []

    await delete(catalog, await begin(catalog, replay.execution_id))

    with pytest.raises(NotFound, match="records of execution") as refused:
        await selector.select(objects)
    assert refused.value.code == "records_deleted"


async def test_an_output_stays_until_the_last_reference_to_it_is_deleted(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a", "b")).execution
    second, _ = await since(lab, source, lab.input("a"))
    third, _ = await since(lab, second, lab.input("a"))
    await catalog.end_executions([second, third])
    for execution in (source, second):
        await prune(catalog, execution)
        await delete(catalog, await begin(catalog, execution))

    assert [await records_of(catalog, one) for one in (source, second, third)] == [4, 0, 8]
    assert await prune(catalog, third) == under(source, *ALL)
    await delete(catalog, await begin(catalog, third))
    assert [await records_of(catalog, one) for one in (source, second, third)] == [0, 0, 0]


async def test_an_output_with_a_reference_is_no_output_of_a_later_message(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a")).execution
    second, _ = await since(lab, source, lab.input("a"))
    await catalog.end_executions([second])
    await prune(catalog, source)
    await delete(catalog, await begin(catalog, source))

    assert await catalog.lineage_of_object(f"{source}/pages/a") == []
    record = await catalog.pruned_object(f"{source}/pages/a")
    assert record is not None
    assert record.message is None


async def test_readers_know_at_once_that_records_are_deleted(catalog: Catalog, lab: Lab):
    execution = await pruned(lab, "a", "b")
    await begin(catalog, execution)

    assert (await lab.execution(execution)).records_deleted_at is not None
    assert await records_of(catalog, execution) == 6
    assert await candidates(catalog, execution_ids=[execution]) == {}


# -- pages -----------------------------------------------------------------------------------------


async def test_a_page_deletes_no_more_than_its_limit(catalog: Catalog, lab: Lab):
    execution = await pruned(lab, *"abcde")
    pruning = await begin(catalog, execution)
    pages = []
    last = ""
    while page := await catalog.delete_records(pruning, after=last, limit=4):
        last = page.last
        pages.append(page.records)
    assert pages == [4, 4, 2, 4, 1]


@pytest.mark.parametrize("pages", range(6))
async def test_another_process_continues_after_any_page(
    catalog_factory: Factory[Catalog], lab: Lab, pages: int
):
    execution = await pruned(lab, "a", "b", "c")
    pruning = await begin(lab.catalog, execution)
    last = ""
    for _ in range(pages):
        page = await lab.catalog.delete_records(pruning, after=last, limit=2)
        last = page.last if page else last

    other = await catalog_factory()
    [found] = await other.open_prunings()
    assert found == pruning
    assert await other.open_prunings(older_than=60) == []
    await delete(other, found)
    assert await records_of(other, execution) == 0
    assert await other.open_prunings() == []


async def test_new_messages_do_not_belong_to_deleted_ones(catalog: Catalog, lab: Lab):
    first = (await finished(lab, "a")).execution
    later, _ = await since(lab, first, lab.input("a"))
    await catalog.end_executions([later])
    await prune(catalog, first)
    await delete(catalog, await begin(catalog, first))

    for _ in range(2):
        rows, _ = await catalog.lineage_list(execution=later)
        assert {(one.status, one.taken_over_from) for one in rows} == {("taken_over", None)}
        await lab.started("b", "c", "d", "e", "f")


async def test_a_late_message_of_a_finished_run_is_unaffected(catalog: Catalog, lab: Lab):
    execution = await pruned(lab, "a")
    other = await lab.started("a", config=two(lab))
    await delete(catalog, await begin(catalog, execution))
    await finish(lab, other, "a")
    assert (await lab.execution(other.execution)).status == "completed"


async def test_two_processes_delete_each_record_once(catalog_factory: Factory[Catalog], lab: Lab):
    source = (await finished(lab, "a", "b")).execution
    later, _ = await since(lab, source, lab.input("a"))
    await lab.catalog.end_executions([later])
    begun = []
    for execution in (source, later):
        await prune(lab.catalog, execution)
        begun.append(await begin(lab.catalog, execution))
    counts = [await records_of(lab.catalog, one.execution) for one in begun]
    other = await catalog_factory()

    found = await asyncio.gather(*(delete(one, of) for of in begun for one in (lab.catalog, other)))

    assert sum(found) == sum(counts)
    assert [await records_of(lab.catalog, one.execution) for one in begun] == [0, 0]
    assert await other.open_prunings() == []


async def test_an_outdated_attempt_of_a_deleted_message_stores_nothing(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab))
    [identity] = started.ids
    late = await lab.claim(identity)
    await lab.beat("w2")
    await lab.die("w1", others=["w2"])
    current = await lab.claim(identity, "w2")
    await lab.done(current, lab.output("a", "text"), publisher="w2")
    await catalog.end_executions([started.execution])
    await prune(catalog, started.execution)
    await delete(catalog, await begin(catalog, started.execution))

    assert not isinstance(await lab.try_bind(late, lab.output("b", "late")), list)
    assert await catalog.finish("w1", [Done(identity, late.attempt, [])]) == [None]
    assert (await lab.refusal(identity)).reason == "unknown"
    assert await records_of(catalog, started.execution) == 0


# -- what other executions need --------------------------------------------------------------------


async def test_a_run_takes_over_nothing_if_a_replay_of_the_earlier_run_has_no_records(
    catalog: Catalog, lab: Lab
):
    source = (await finished(lab, "a")).execution
    replay = await lab.started_replay(source, f"{source}/input/a")
    await work(lab, replay.ids[0], lab.output("a", "page"))
    await catalog.cancel(replay.execution)
    await prune(catalog, replay.execution)
    replays = {replay.execution: SAME}
    run, _ = await bound(lab, source, lab.input("a"), replays=replays)
    assert await candidates(catalog) == {replay.execution: "replayed"}
    assert await catalog.begin_prune([Candidate(replay.execution, (), None, records=True)]) == []
    await catalog.cancel(run)

    await delete(catalog, await begin(catalog, replay.execution))

    with pytest.raises(NotFound) as refused:
        await bound(lab, source, lab.input("a"), replays=replays)
    assert refused.value.code == "records_deleted"
    assert str(replay.execution) in refused.value.detail
