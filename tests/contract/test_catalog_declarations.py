"""Results that a person has declared valid with a replay: the sentences of `ports.catalog.declarations`.

The route `split` gets a fix. A replay of what readers see makes the segments of some pages again, and the
person declares that the others are valid.
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

import pytest

from playhead.model import Declaration, PruneFilter
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.access import AuditFilter
from playhead.ports.catalog.prune import Candidate
from tests.contract.fixing import FIX, NEXT, TEXTS, Fixing
from tests.contract.publishing import SEGMENTS, Publisher, declared
from tests.lab import Clock, Lab


@pytest.fixture
def fixing(lab: Lab) -> Fixing:
    return Fixing(lab)


@pytest.fixture
async def run(fixing: Fixing) -> UUID:
    """A run that readers see as publication 1."""
    found = await fixing.docs.run(**TEXTS)
    await fixing.docs.publish(found)
    return found


# -- what is taken over ----------------------------------------------------------------------------


async def test_results_of_the_replay_and_those_declared_valid_are_taken_over(fixing: Fixing, run: UUID):
    replay = await fixing.fixed(1, a="x-y")

    new = await fixing.since(run, replay, declared=[replay])

    assert await fixing.taken(new) == {"a": "fix", "b": "declared", "c": "declared", "e": "declared"}
    rows = await fixing.rows(new)
    assert (rows["a"].adapters, rows["b"].adapters) == (FIX, [])
    named = rows["b"].declared_valid
    assert named
    assert (named.execution_id, named.reason, named.adapters) == (replay, "tables", FIX)
    stored = {
        one.key.partition("/")[2]: one.location
        for one in await fixing.catalog.references(f"{new}/{SEGMENTS}", limit=9)
    }
    assert stored == {
        f"{SEGMENTS}/a/1": f"{replay}/{SEGMENTS}/a/1",
        f"{SEGMENTS}/b/1": f"{run}/{SEGMENTS}/b/1",
        f"{SEGMENTS}/c/1": f"{run}/{SEGMENTS}/c/1",
    }
    by_route = {one.route: one.counts.declared_valid for one in await fixing.catalog.route_counts(new)}
    assert {route: count for route, count in by_route.items() if count} == {"split": 3}
    assert (await fixing.lab.counts(new)).declared_valid == 3


async def test_without_a_declaration_results_of_older_code_are_processed(fixing: Fixing, run: UUID):
    replay = await fixing.fixed(1, declares=False, a="x-y")

    assert await fixing.taken(await fixing.since(run, replay)) == {
        "a": "fix",
        "b": None,
        "c": None,
        "e": None,
    }


async def test_the_newest_code_comes_before_other_code_that_is_accepted(fixing: Fixing, run: UUID):
    older = await fixing.fixed(1, NEXT, declares=False, a="older", b="older")
    replay = await fixing.fixed(1, declares=False, a="x-y")

    new = await fixing.since(run, older, replay, accepted=[NEXT])

    rows = await fixing.rows(new)
    assert {path: one.adapters for path, one in rows.items()} == {"a": FIX, "b": NEXT, "c": [], "e": []}
    assert rows["c"].status == "pending"


@pytest.mark.parametrize("end", ["dead", "open", "cancelled", "pruned"])
async def test_an_object_that_the_replay_has_received_gets_no_older_result(
    catalog: Catalog, lab: Lab, fixing: Fixing, run: UUID, end: str
):
    replay = await fixing.listed(await fixing.opened(1), 1, "a")
    if end == "dead":
        await lab.kill(replay.ids[0])
    elif end == "cancelled":
        await catalog.cancel(replay.execution)
    elif end == "pruned":
        await fixing.split(replay.ids[0], "a", "x-y")
        await catalog.end_executions([replay.execution])
        [pruning] = await catalog.begin_prune([Candidate(replay.execution, (), None)])
        last = None
        while page := await catalog.prune_page(pruning, deleted=last, limit=9):
            last = page.last
        await catalog.end_prune(pruning)

    new = await fixing.since(run, replay.execution, declared=[replay.execution])

    assert await fixing.taken(new) == {"a": None, "b": "declared", "c": "declared", "e": "declared"}


async def test_not_even_one_of_other_code_that_is_accepted(lab: Lab, fixing: Fixing, run: UUID):
    older = await fixing.fixed(1, NEXT, declares=False, a="older")
    replay = await fixing.listed(await fixing.opened(1), 1, "a")
    await lab.kill(replay.ids[0])

    new = await fixing.since(run, older, replay.execution, declared=[replay.execution], accepted=[NEXT])

    assert (await fixing.taken(new))["a"] is None


async def test_an_object_that_a_later_replay_has_received_gets_no_older_result(fixing: Fixing, run: UUID):
    replay = await fixing.fixed(1, a="x-y")
    later = await fixing.fixed(1, declares=False, b="")

    new = await fixing.since(run, replay, later, declared=[replay])

    assert await fixing.taken(new) == {"a": "fix", "b": None, "c": "declared", "e": "declared"}


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_while_it_is_not_known_what_the_replay_receives_nothing_is_declared_valid(
    catalog: Catalog, fixing: Fixing, run: UUID, is_cancelled: bool
):
    replay = await fixing.opened(1)
    await fixing.listed(replay, 1, "a", last=False)
    if is_cancelled:
        await catalog.cancel(replay)

    new = await fixing.since(run, replay, declared=[replay])

    assert await fixing.taken(new) == dict.fromkeys("abce")


async def test_only_results_that_the_publication_has_are_declared_valid(fixing: Fixing, run: UUID):
    """Readers see an earlier replay of `b`, so its result is declared valid, and not that of the run. The
    result of a replay that was not published is not valid, either."""
    before = await fixing.fixed(1, NEXT, declares=False, b="shown")
    await fixing.docs.publish(before)
    trial = await fixing.fixed(2, NEXT, declares=False, c="not published")
    replay = await fixing.fixed(2, a="x-y")

    new = await fixing.since(run, before, trial, replay, declared=[replay])

    assert await fixing.taken(new) == {"a": "fix", "b": "declared", "c": "declared", "e": "declared"}
    stored = {
        one.key.rpartition("/")[0][-1]: one.location
        for one in await fixing.catalog.references(f"{new}/{SEGMENTS}", limit=9)
    }
    assert {path: UUID(where.partition("/")[0]) for path, where in stored.items()} == {
        "a": replay,
        "b": before,
        "c": run,
    }


async def test_unchanged_results_stay_declared_valid_when_the_publication_is_dropped(
    catalog: Catalog, lab: Lab, fixing: Fixing, run: UUID
):
    replay = await fixing.fixed(1, a="x-y")
    fixing.docs = Publisher(lab, declared(keep=0))
    await fixing.docs.dataset()
    await fixing.docs.publish(replay)
    await fixing.docs.publish(await fixing.fixed(2, declares=False, b="newer"))
    for dropping in await catalog.mark_dropped():
        assert await catalog.drop_page(dropping, after=(0, 0), limit=99) is None
        await catalog.end_drop(dropping)

    new = await fixing.since(run, replay, declared=[replay])

    assert await fixing.taken(new) == {"a": "fix", "b": None, "c": "declared", "e": "declared"}


async def test_a_replay_is_not_pruned_while_a_run_takes_over_its_results(
    catalog: Catalog, fixing: Fixing, run: UUID
):
    replay = await fixing.fixed(1, a="x-y")
    new = await fixing.since(run, replay, declared=[replay])
    fetch = partial(catalog.prune_candidates, PruneFilter(execution_ids=[replay]))

    # Its messages in the routes below are open.
    kept = [one.kept for one in (await fetch())[0]]
    await catalog.cancel(new)
    free = [one.kept for one in (await fetch())[0]]

    assert (kept, free) == (["replayed"], [None])


# -- how long it holds -----------------------------------------------------------------------------


async def test_the_declaration_carries_on_through_runs_that_took_over_under_it(
    catalog: Catalog, lab: Lab, fixing: Fixing, run: UUID
):
    replay = await fixing.fixed(1, a="x-y")
    second = await fixing.since(run, replay, declared=[replay])
    # The publication does not exist any more for the third run.
    third = await fixing.since(second, declared=[replay])

    assert await fixing.taken(third) == {"a": "fix", "b": "declared", "c": "declared", "e": "declared"}
    assert (await fixing.rows(third))["b"].declared_valid == (await fixing.rows(second))["b"].declared_valid
    assert await fixing.taken(await fixing.since(second)) == {"a": "fix", "b": None, "c": None, "e": None}


async def test_after_it_was_undone_results_are_processed_and_records_still_name_it(
    catalog: Catalog, clock: Clock, fixing: Fixing, run: UUID
):
    replay = await fixing.fixed(1, a="x-y")
    before = await fixing.since(run, replay, declared=[replay])
    dataset = await fixing.docs.dataset()
    [declaration] = await catalog.declarations("docs")
    assert isinstance(declaration, Declaration)
    assert (declaration.dataset, declaration.route, declaration.from_stage, declaration.publication) == (
        *("docs", "split", "pages"),
        1,
    )
    assert await catalog.declarations("docs", "other") == []
    assert await catalog.undo_declarations(dataset, "convert") == 0

    assert await catalog.undo_declarations(dataset, "split") == 1
    [row] = await catalog.audit(AuditFilter(action="dataset.forget"))
    assert (row.config, row.object, row.detail) == ("docs", "docs/docs", {"route": "split", "count": 1})

    assert await catalog.undo_declarations(dataset, "split") == 0
    assert await catalog.declarations("docs") == []
    for since in (run, before):
        new = await fixing.since(since, replay, declared=[replay])
        assert await fixing.taken(new) == {"a": "fix", "b": None, "c": None, "e": None}
    named = (await fixing.rows(before))["b"].declared_valid
    assert named
    assert named.undone_at


async def test_a_replay_and_its_declaration_are_recorded_together_or_not_at_all(
    catalog: Catalog, fixing: Fixing, run: UUID
):
    with pytest.raises(Exception, match=r"(?i)null"):
        await fixing.opened(1, reason=None)  # a declaration without a reason cannot be recorded

    assert await catalog.declarations("docs") == []
    assert (await catalog.replays())[0] == []


# -- what publications show ------------------------------------------------------------------------


async def counts(fixing: Fixing, n: int, *replays: UUID) -> tuple[int, set[str]]:
    dataset = await fixing.docs.dataset()
    found = await fixing.catalog.count_declared(dataset, n, replays, stage=SEGMENTS)
    paths = await fixing.catalog.declared_in(dataset, n, replays, stage=SEGMENTS, after="", last="~")
    return sum(found.values()), paths


async def test_results_that_are_declared_valid_are_counted_and_listed(
    catalog: Catalog, fixing: Fixing, run: UUID
):
    replay = await fixing.fixed(1, a="x-y", b="")
    await fixing.docs.publish(replay)
    dataset = await fixing.docs.dataset()

    assert await counts(fixing, 2, replay) == (1, {"c/1"}), "`b` has failed, and keeps its old result"
    assert await catalog.declared_in(dataset, 2, [replay], stage=SEGMENTS, after="c/1", last="~") == set()
    assert await catalog.declared_in(dataset, 2, [replay], stage=SEGMENTS, after="", last="c/0") == set()
    later = await fixing.fixed(2, declares=False, c="")
    assert await counts(fixing, 2, replay) == (0, set()), f"{later} has received `c`"
    await catalog.undo_declarations(dataset, "split")
    assert await counts(fixing, 2, replay) == (0, set())


async def test_results_stay_declared_valid_in_later_publications(catalog: Catalog, fixing: Fixing, run: UUID):
    replay = await fixing.fixed(1, a="x-y")
    await fixing.docs.publish(replay)
    new = await fixing.since(run, replay, declared=[replay])
    await catalog.end_executions([new])
    await fixing.docs.publish(new)
    assert await counts(fixing, 3, replay) == (2, {"b/1", "c/1"})

    # A rollback, and then a publication that adds the entries again which the others had closed.
    other = await fixing.docs.run(b="another text")
    await fixing.docs.publish(other, allow=["removed"])
    await catalog.roll_back(await fixing.docs.dataset(), to=3, expect_seq=None, reason=None)
    again = await fixing.fixed(3, declares=False, a="x--y")
    await fixing.docs.publish(again)
    assert await counts(fixing, 5, replay) == (2, {"b/1", "c/1"})


async def test_an_open_listing_declares_nothing_valid(fixing: Fixing, run: UUID):
    replay = await fixing.opened(1)
    await fixing.listed(replay, 1, "a", last=False)

    assert await counts(fixing, 1, replay) == (0, set())
    assert await counts(fixing, 1) == (0, set())
