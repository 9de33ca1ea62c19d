"""The next step of each sink, and what it has answered: the sentences of `ports.catalog.sinks`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.errors import Conflict
from playhead.model import SinkState
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.drafts import Draft
from playhead.ports.catalog.prune import Candidate
from playhead.ports.catalog.sinks import DueSink, Repair, SinkChanges, SinkDifference
from tests.contract.publishing import SEGMENTS, Publisher, declared

if TYPE_CHECKING:
    from tests.contract.backends import Factory
    from tests.lab import Clock, Lab

NOTHING = UUID(int=0)
EQUAL = SinkDifference(1, 0, 0, [], [])


@pytest.fixture
def docs(lab: Lab) -> Publisher:
    return Publisher(lab)


async def finished(docs: Publisher, *executions: UUID) -> Draft:
    draft = await docs.begin(*executions, allow=["older"])
    await docs.finish(draft)
    return draft


async def due(docs: Publisher) -> DueSink:
    found = await docs.due()
    assert found
    return found


async def sink(docs: Publisher) -> SinkState:
    [dataset] = await docs.catalog.datasets()
    [found] = dataset.sinks
    return found


async def changes(docs: Publisher) -> SinkChanges:
    now = await due(docs)
    assert now.page
    return await docs.catalog.sink_changes(now, now.page)


# -- pages and switches ----------------------------------------------------------------------------


async def test_a_sink_gets_the_results_of_a_draft_then_the_switch(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    assert await docs.catalog.due_sinks() == []
    draft = await finished(docs, run)

    first = await due(docs)

    assert (first.config, first.name, first.route, first.version) == ("docs", "docs", "index", 1)
    assert first.page
    assert (first.page.n, first.page.k, first.page.of, first.page.after) == (1, 0, 1, 0)
    assert (first.shows, first.current, first.seq) == (None, None, 0)
    found = await changes(docs)
    results = await docs.catalog.published_results(first, 1, after=NOTHING, limit=9)
    assert sorted(found.added) == [one.result for one in results]
    assert found.removed == []
    assert not await docs.catalog.staged(draft)
    await docs.catalog.sink_staged(first, first.page, found, [])
    assert await docs.catalog.due_sinks() == [], "nothing is decided yet"
    assert await docs.catalog.staged(draft)
    await docs.catalog.decide_draft(draft)
    then = await due(docs)
    assert (then.page, then.shows, then.seq) == (None, 1, 1)
    await docs.catalog.sink_switched(then, 1)
    assert await docs.catalog.due_sinks() == []
    assert ((await sink(docs)).shown, (await sink(docs)).seq) == (1, 1)


async def test_a_later_draft_changes_only_what_differs(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    before = await docs.catalog.published_results(await a_sink(docs), 1, after=NOTHING, limit=9)
    await finished(docs, await docs.replay(run, a="z"))

    found = await changes(docs)

    of_a = {one.result for one in before if one.key != f"{run}/{SEGMENTS}/b/1"}
    assert set(found.removed) == of_a
    assert len(found.added) == 1
    assert (await due(docs)).page.after == 1  # type: ignore[union-attr]


async def a_sink(docs: Publisher) -> DueSink:
    """Return the sink, although it has nothing to do."""
    await docs.catalog.check_sinks(await docs.dataset(), route=None, repair=False)
    now = await due(docs)
    await docs.catalog.sink_checked(now, EQUAL)
    return now


async def test_a_draft_without_changes_has_one_empty_page(docs: Publisher):
    """It fences pages of drafts that were abandoned."""
    run = await docs.run(a="x")
    await docs.publish(run)
    await finished(docs, run)

    found = await changes(docs)

    assert (found.added, found.removed) == ([], [])
    assert (await due(docs)).page.of == 1  # type: ignore[union-attr]


async def test_a_repeated_answer_for_a_page_changes_nothing(
    catalog_factory: Factory[Catalog], docs: Publisher
):
    other = await catalog_factory()
    draft = await finished(docs, await docs.run(a="x y"))
    now = await due(docs)
    assert now.page
    page, found = now.page, await changes(docs)
    lacks = found.added[:1]

    await asyncio.gather(
        *(one.sink_staged(now, page, found, lacks) for _ in range(3) for one in (docs.catalog, other))
    )

    with pytest.raises(Conflict, match="lacks rows of 1 results") as caught:
        await docs.catalog.staged(draft)
    assert caught.value.code == "sink_rows_missing"
    assert f"execution {draft.parts[0].id}" in caught.value.detail
    assert await docs.catalog.due_sinks() == []


async def test_a_page_of_an_earlier_draft_or_generation_changes_nothing(docs: Publisher):
    run = await docs.run(a="x")
    first = await finished(docs, run)
    now = await due(docs)
    assert now.page
    found = await changes(docs)
    await docs.catalog.abandon_draft(first.dataset, first.n)
    assert await docs.catalog.due_sinks() == []
    second = await finished(docs, run)
    newer = await due(docs)
    assert newer.page
    assert newer.page.n == 2

    await docs.catalog.sink_staged(now, now.page, found, [])
    await docs.catalog.sink_staged(replace_generation(newer), newer.page, found, [])

    assert not await docs.catalog.staged(second)
    await docs.stage()
    assert await docs.catalog.staged(second)


def replace_generation(now: DueSink) -> DueSink:
    return now._replace(generation=now.generation + 1)


async def test_a_switch_is_recorded_forwards_only(docs: Publisher):
    run = await docs.run(a="x")
    await docs.publish(run)
    draft = await finished(docs, await docs.replay(run, a="z"))
    await docs.stage()
    assert await docs.catalog.staged(draft)
    await docs.catalog.decide_draft(draft)
    late = await due(docs)
    await docs.catalog.roll_back(draft.dataset, to=1, expect_seq=None, reason=None)
    newest = await due(docs)
    assert (late.shows, late.seq, newest.shows, newest.seq) == (2, 2, 1, 3)

    await docs.catalog.sink_switched(newest, 1)
    await docs.catalog.sink_switched(late, 2)
    await docs.catalog.sink_switched(replace_generation(newest), 2)

    assert ((await sink(docs)).shown, (await sink(docs)).seq) == (1, 3)
    assert await docs.catalog.due_sinks() == []


async def test_a_failed_step_is_due_again_after_a_delay(docs: Publisher, clock: Clock):
    draft = await finished(docs, await docs.run(a="x"))
    await docs.catalog.sink_failed(await due(docs), "sink_unavailable", "disk full", delay=30)

    assert await docs.catalog.due_sinks() == []
    assert (await sink(docs)).problem == "disk full"
    assert not await docs.catalog.staged(draft)
    clock.advance(31)
    await docs.stage()
    assert (await sink(docs)).problem is None
    assert await docs.catalog.staged(draft)


async def test_a_sink_that_has_missed_a_publication_refuses_the_draft(docs: Publisher):
    draft = await finished(docs, await docs.run(a="x"))
    await docs.catalog.sink_failed(await due(docs), "sink_behind", "it has 3 of 7", delay=30)

    with pytest.raises(Conflict, match="restored from a backup") as caught:
        await docs.catalog.staged(draft)
    assert caught.value.code == "sink_behind"


async def test_results_of_a_sink_are_listed_by_message_in_pages(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    now = await a_sink(docs)

    every = await docs.catalog.published_results(now, 1, after=NOTHING, limit=9)

    assert len(every) == 3
    assert [one.message for one in every] == sorted(one.message for one in every)
    assert {(one.stage, one.key) for one in every} == {
        (SEGMENTS, f"{run}/{SEGMENTS}/{path}") for path in ("a/1", "a/2", "b/1")
    }
    assert {one.result for one in every} == {f"{one.message}.1" for one in every}
    first, *rest = every
    assert await docs.catalog.published_results(now, 1, after=first.message, limit=9) == rest
    assert await docs.catalog.published_results(now, 1, after=NOTHING, limit=1) == [first]
    assert await docs.catalog.published_results(now, 1, after=every[-1].message, limit=9) == []


async def test_a_sink_that_the_dataset_does_not_have_any_more_has_no_steps(docs: Publisher, lab: Lab):
    run = await docs.run(a="x")
    await docs.publish(run)
    without = Publisher(lab, declared(sinks=()))
    await without.dataset()

    draft = await finished(without, run)

    assert await lab.catalog.due_sinks() == []
    assert await lab.catalog.staged(draft)


# -- forget ----------------------------------------------------------------------------------------


async def test_a_sink_forgets_numbers_that_no_reader_asks_for_and_pruned_executions(
    docs: Publisher, clock: Clock
):
    run = await docs.run(a="x")
    await docs.publish(run)
    left = await docs.begin(run, allow=["older"])
    await docs.catalog.abandon_draft(left.dataset, left.n)
    unpublished = await docs.run(a="y")
    await docs.catalog.begin_prune([Candidate(unpublished, (), None)])
    clock.advance(3601)

    for _ in range(2):
        await docs.catalog.let_sinks_forget()

    now = await due(docs)
    assert (now.must_forget, now.page, now.shows) == (True, None, None)
    found = await docs.catalog.to_forget(now)
    assert (list(found.dropped), found.upto, found.executions) == ([range(2, 3)], 1, [unpublished])
    for _ in range(2):
        await docs.catalog.sink_forgot(now, found.at)
    assert await docs.catalog.due_sinks() == []
    await docs.catalog.let_sinks_forget()
    assert await docs.catalog.due_sinks() == [], "it did so in the last hour"
    clock.advance(3601)
    await docs.catalog.let_sinks_forget()
    assert (await docs.catalog.to_forget(await due(docs))).executions == []


async def test_sinks_forget_after_a_drop(lab: Lab):
    docs = Publisher(lab, declared(keep=0))
    run = await docs.run(a="x")
    await docs.publish(run)
    await docs.publish(await docs.replay(run, a="y"))
    [dropping] = await docs.catalog.mark_dropped()
    assert await docs.catalog.due_sinks() == []

    await docs.catalog.end_drop(dropping)

    now = await due(docs)
    assert now.must_forget
    assert list((await docs.catalog.to_forget(now)).dropped) == [range(1, 2)]


# -- lag -------------------------------------------------------------------------------------------


async def test_a_lag_is_reported_once_until_the_sink_has_switched(
    catalog_factory: Factory[Catalog], docs: Publisher, clock: Clock
):
    run = await docs.run(a="x")
    await docs.publish(run)
    await docs.publish(await docs.replay(run, a="z"))
    dataset, other = await docs.dataset(), await catalog_factory()
    assert await docs.catalog.report_lags(0) == [], "it is up to date"
    await docs.catalog.roll_back(dataset, to=1, expect_seq=None, reason=None)
    clock.advance(59)
    assert await docs.catalog.report_lags(60) == []
    clock.advance(2)

    found = await asyncio.gather(*(one.report_lags(60) for _ in range(3) for one in (docs.catalog, other)))

    [[one]] = [lags for lags in found if lags]
    assert (one.dataset, one.name, one.route) == (dataset, "docs", "index")
    assert one.seconds == pytest.approx(61, abs=1)
    await docs.follow()
    await docs.catalog.roll_back(dataset, to=2, expect_seq=None, reason=None)
    clock.advance(61)
    assert len(await docs.catalog.report_lags(60)) == 1


# -- check and repair ------------------------------------------------------------------------------


async def test_a_check_is_due_until_it_is_answered(docs: Publisher, clock: Clock):
    await docs.publish(await docs.run(a="x"))
    dataset = await docs.dataset()
    assert await docs.catalog.check_sinks(dataset, route="other", repair=False) == 0
    assert await docs.catalog.check_sinks(dataset, route="index", repair=False) == 1
    assert await docs.catalog.check_sinks(dataset, route=None, repair=False) == 1
    now = await due(docs)
    assert (now.must_check, now.must_rebuild, now.repairs) == (True, False, 0)
    assert (await sink(docs)).is_checked

    for _ in range(2):
        await docs.catalog.sink_checked(now, SinkDifference(1, 2, 1, ["k"], [SEGMENTS]))

    assert await docs.catalog.due_sinks() == []
    check = (await sink(docs)).check
    assert check
    assert (check.publication, check.missing, check.left_over) == (1, 2, 1)
    assert (check.first_missing, check.stages) == (["k"], [SEGMENTS])


async def test_a_repair_is_one_until_it_ends_however_often_it_is_asked_for(
    catalog_factory: Factory[Catalog], docs: Publisher
):
    run = await docs.run(a="x")
    await docs.publish(run)
    catalog, dataset, other = docs.catalog, await docs.dataset(), await catalog_factory()

    await asyncio.gather(
        *(one.check_sinks(dataset, route=None, repair=True) for _ in range(3) for one in (catalog, other))
    )

    now = await due(docs)
    assert (now.must_check, now.must_rebuild, now.repairs) == (True, True, 1)
    assert await catalog.open_repairs() == []
    replay = await docs.replay(run, a="x")
    for _ in range(2):
        await catalog.sink_checked(now, EQUAL._replace(missing=1), Repair(1, [replay]))
    [repair] = await catalog.open_repairs()
    assert (repair.dataset, repair.name, repair.route, repair.repairs, repair.n) == (
        dataset,
        "docs",
        "index",
        1,
        None,
    )
    assert repair.repair == Repair(1, [replay])
    state = (await sink(docs)).repair
    assert state
    assert (state.results, state.is_open, state.publication) == (1, True, None)

    await catalog.check_sinks(dataset, route=None, repair=True)
    again = await due(docs)
    assert (again.must_rebuild, again.repairs) == (False, 1), "it goes on, and the sink is compared"
    await catalog.sink_checked(again, EQUAL)
    assert await catalog.open_repairs() == [repair]

    draft = await docs.begin(replay)
    [tried] = await catalog.open_repairs()
    assert tried.n == draft.n
    for one in (catalog, other):
        await one.end_repair(tried, draft.n, None)
    await catalog.end_repair(tried, None, "late")
    assert await catalog.open_repairs() == []
    ended = (await sink(docs)).repair
    assert ended
    assert (ended.publication, ended.problem, ended.is_open) == (draft.n, None, False)
    assert (await due(docs)).must_check, "it is compared with what is published then"
    await catalog.sink_checked(await due(docs), EQUAL)
    await catalog.check_sinks(dataset, route=None, repair=True)
    assert (await due(docs)).repairs == 2


async def test_a_repair_that_cannot_be_published_ends_with_the_reason(docs: Publisher):
    run = await docs.run(a="x")
    await docs.publish(run)
    await docs.catalog.check_sinks(await docs.dataset(), route=None, repair=True)
    await docs.catalog.sink_checked(await due(docs), EQUAL, Repair(1, [await docs.replay(run, a="x")]))
    [repair] = await docs.catalog.open_repairs()

    await docs.catalog.end_repair(repair, None, "why")

    ended = (await sink(docs)).repair
    assert ended
    assert (ended.problem, ended.is_open) == ("why", False)
    assert await docs.catalog.due_sinks() == []


async def test_an_answer_to_an_earlier_request_changes_nothing(docs: Publisher):
    await docs.publish(await docs.run(a="x"))
    dataset = await docs.dataset()
    await docs.catalog.check_sinks(dataset, route=None, repair=False)
    late = await due(docs)
    await docs.catalog.check_sinks(dataset, route=None, repair=True)

    await docs.catalog.sink_checked(late, EQUAL._replace(missing=9))

    assert (await due(docs)).must_rebuild
    assert (await sink(docs)).check is None


async def test_a_rebuilt_sink_gets_the_whole_content_and_is_checked(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    await docs.publish(await docs.replay(run, a="z"))
    await docs.catalog.check_sinks(await docs.dataset(), route=None, repair=True)
    before = await due(docs)

    assert await docs.catalog.rebuild_sink(before)

    now = await due(docs)
    assert now.page
    assert (now.page.n, now.page.after, now.generation) == (2, 0, before.generation + 1)
    assert now.shows is None, "readers see what they see now until all of it is there"
    assert (await sink(docs)).shown == 2
    found = await docs.catalog.sink_changes(now, now.page)
    results = await docs.catalog.published_results(now, 2, after=NOTHING, limit=9)
    assert (sorted(found.added), found.removed) == ([one.result for one in results], [])
    await docs.stage()
    switch = await due(docs)
    assert (switch.page, switch.shows) == (None, 2)
    await docs.catalog.sink_switched(switch, 2)
    then = await due(docs)
    assert (then.shows, then.must_check, then.must_write, then.must_rebuild) == (None, True, True, False)


async def test_a_sink_is_not_rebuilt_while_a_draft_is_open(docs: Publisher):
    run = await docs.run(a="x")
    await docs.publish(run)
    now = await a_sink(docs)
    draft = await docs.begin(await docs.replay(run, a="y"))

    assert not await docs.catalog.rebuild_sink(now)

    await docs.finish(draft)
    await docs.stage()
    assert await docs.catalog.staged(draft)
    assert not await docs.catalog.rebuild_sink(now)
    await docs.catalog.decide_draft(draft)
    assert await docs.catalog.rebuild_sink(now)


async def test_a_rebuilt_sink_that_lacks_rows_keeps_what_it_shows(docs: Publisher):
    run = await docs.run(a="x")
    await docs.publish(run)
    assert await docs.catalog.rebuild_sink(await a_sink(docs))
    docs.lacks = set((await changes(docs)).added)

    await docs.stage()

    now = await due(docs)
    assert (now.page, now.shows, now.must_write) == (None, None, True)
    assert "lacks rows of 1 results" in ((await sink(docs)).problem or "")
    docs.lacks = set()
    draft = await finished(docs, await docs.replay(run, a="x"))
    again = await due(docs)
    assert again.page
    assert (again.page.n, again.page.after) == (draft.n, 0), "the next draft gives it its whole content"
