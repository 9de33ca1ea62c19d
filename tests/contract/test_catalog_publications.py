"""Datasets, what readers see, and what happens afterwards: the sentences of `ports.catalog.publications`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from playhead.errors import Conflict, NotFound
from playhead.ids import uuid7
from playhead.model import PublicationRange, PublishedIn
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.prune import Candidate, Pruning
from playhead.ports.catalog.publications import Dropping, Place
from tests.contract.publishing import SEGMENTS, Publisher, declared
from tests.lab import asked

if TYPE_CHECKING:
    from tests.contract.backends import Factory
    from tests.lab import Clock, Lab


@pytest.fixture
def docs(lab: Lab) -> Publisher:
    return Publisher(lab)


async def code_of(work: Awaitable[object]) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises((Conflict, NotFound)) as caught:
        await work
    return caught.value.code


async def dataset_of(docs: Publisher) -> Any:
    [found] = await docs.catalog.datasets("docs", config="docs")
    return found


async def two(docs: Publisher) -> tuple[UUID, UUID]:
    """Publish a run as 1, and a replay of one of its two documents as 2."""
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    replay = await docs.replay(run, a="z")
    await docs.publish(replay)
    return run, replay


async def roll_back(docs: Publisher, to: int | None = None, expect_seq: int | None = None) -> int:
    return await docs.catalog.roll_back(await docs.dataset(), to=to, expect_seq=expect_seq, reason="bad")


# -- what there is ---------------------------------------------------------------------------------


async def test_without_datasets_lists_are_empty(catalog: Catalog):
    assert await catalog.datasets() == []
    assert await catalog.automatic_runs() == []
    assert await catalog.replays_to_publish() == []
    assert await catalog.mark_dropped() == []
    assert await catalog.refused_automatic() == []
    assert await catalog.published_in([]) == {}
    assert await catalog.placements("docs", uuid7()) == []


async def test_a_declared_dataset_is_listed_before_anything_is_published(docs: Publisher):
    number = await docs.dataset()

    found = await dataset_of(docs)

    assert (found.current, found.seq, found.decided, found.draft, found.held) == (None, 0, None, None, False)
    assert (found.switched_at, found.sinks, found.unpublished) == (None, [], [])
    assert found.routes == ["convert", "split", "index"]
    assert await docs.catalog.datasets("other") == []
    assert await docs.catalog.datasets(config="other") == []
    assert await code_of(docs.catalog.dataset_number("docs", "other")) == "dataset_not_found"
    assert await code_of(docs.catalog.dataset_number("other", "docs")) == "dataset_not_found"
    catalog = docs.catalog
    assert await catalog.publications(number) == []
    assert await catalog.switches(number) == []
    assert await catalog.notes(number, 1, limit=9) == ([], None)
    assert await catalog.published(number, 1, stage=SEGMENTS, limit=9) == []
    assert await catalog.changes(number, 0, 1, stage=None, after=None, limit=9) == []


async def test_a_dataset_that_is_not_declared_any_more_is_listed_while_it_is_published(
    docs: Publisher, lab: Lab
):
    await docs.publish(await docs.run(a="x"))
    without = Publisher(lab, lab.config("docs", *declared().routes.values()))

    await lab.save(without.config)

    [found] = await docs.catalog.datasets()
    assert (found.name, found.current, found.routes, found.publish) == ("docs", 1, [], "manual")


async def test_an_unpublished_execution_is_named_until_it_is_published(docs: Publisher):
    run = await docs.run(a="x")
    replay = await docs.replay(run, a="y")
    assert (await dataset_of(docs)).unpublished == [replay, run]

    await docs.publish(run, replay)

    assert (await dataset_of(docs)).unpublished == []


async def test_a_publication_is_found_by_number_and_by_execution(docs: Publisher):
    run, replay = await two(docs)
    catalog, dataset = docs.catalog, await docs.dataset()

    found = await catalog.publication(dataset, 2)

    assert found
    assert (found.n, found.base, found.state, found.parts[0].execution_id) == (2, 1, "published", replay)
    assert await catalog.publication_of_dataset("docs", "docs", 2) == found
    assert await catalog.publication_of(found.execution_id) == found
    assert await catalog.publication(dataset, 3) is None
    assert await catalog.publication_of_dataset("docs", "docs", 3) is None
    assert await code_of(catalog.publication_of_dataset("docs", "other", 1)) == "dataset_not_found"
    assert await catalog.publication_of(run) is None
    assert await catalog.publication_of(docs.lab.unknown()) is None


async def test_publications_and_switches_are_listed_newest_first_in_pages(docs: Publisher):
    run, _ = await two(docs)
    abandoned = await docs.begin(run, allow=["older"])
    await docs.catalog.abandon_draft(abandoned.dataset, abandoned.n)
    await docs.begin(run, allow=["older"])
    await roll_back(docs)
    catalog, dataset = docs.catalog, await docs.dataset()

    assert [one.n for one in await catalog.publications(dataset)] == [4, 2, 1]
    assert [one.n for one in await catalog.publications(dataset, every=True)] == [4, 3, 2, 1]
    assert [one.n for one in await catalog.publications(dataset, every=True, before=4, limit=2)] == [3, 2]
    every = [(one.seq, one.n, one.kind, one.reason) for one in await catalog.switches(dataset)]
    assert every == [(3, 1, "rollback", "bad"), (2, 2, "publish", None), (1, 1, "publish", None)]
    assert [one.seq for one in await catalog.switches(dataset, before=3, limit=1)] == [2]


async def test_notes_are_listed_by_kind_in_pages(docs: Publisher):
    run = await docs.run(a="x", b="x", c="x", fails=("a", "b"))
    await docs.publish(run)
    await docs.publish(await docs.replay(run, c="y", fails="c"), allow=["older"])
    catalog, dataset = docs.catalog, await docs.dataset()

    page, after = await catalog.notes(dataset, 1, limit=1)

    assert after
    rest, end = await catalog.notes(dataset, 1, after=after, limit=1)
    assert end is None
    assert [(one.kind, one.stage, one.path) for one in page + rest] == [
        ("left_out", "input", "a"),
        ("left_out", "input", "b"),
    ]
    assert await catalog.notes(dataset, 1, kind="kept", limit=9) == ([], None)
    [kept], _ = await catalog.notes(dataset, 2, kind="kept", limit=9)
    assert (kept.path, kept.detail) == ("c", "split: adapter_error: it broke")


async def test_a_publication_stays_as_it_is(docs: Publisher):
    run, replay = await two(docs)
    await docs.publish(await docs.run(b="x"), allow=["removed"])
    await roll_back(docs, 1)
    await docs.publish(await docs.replay(run, b="v v"))

    assert await docs.segments(1) == {"a/1": run, "a/2": run, "b/1": run}
    assert await docs.segments(2) == {"a/1": replay, "b/1": run}
    assert set(await docs.segments(3)) == {"b/1"}
    assert set(await docs.segments(4)) == {"a/1", "a/2", "b/1", "b/2"}


async def test_objects_of_a_publication_are_listed_in_ranges_and_found_by_place(docs: Publisher):
    run = await docs.run(a="x y z", b="x")
    await docs.publish(run)
    catalog, dataset = docs.catalog, await docs.dataset()

    async def listed(**given: Any) -> list[str]:
        return [one.path for one in await catalog.published(dataset, 1, stage=SEGMENTS, **given)]

    assert await listed(limit=9) == ["a/1", "a/2", "a/3", "b/1"]
    assert await listed(first="a/1", last="b/1", limit=9) == ["a/2", "a/3"]
    assert await listed(first="a/1", limit=1) == ["a/2"]
    assert await catalog.published(dataset, 2, stage=SEGMENTS, limit=9) != [], (
        "a later number has open entries"
    )
    places = [Place(SEGMENTS, "b/1"), Place("input", "a"), Place("input", "b/1"), Place("no", "a")]
    found = await catalog.published_at(dataset, 1, places)
    assert sorted((one.key, one.size) for one in found) == [
        (f"{run}/input/a", 5),
        (f"{run}/{SEGMENTS}/b/1", 1),
    ]
    assert await catalog.published_at(dataset, 1, []) == []


async def test_changes_work_in_both_directions_and_after_a_rollback(docs: Publisher):
    _, replay = await two(docs)
    await docs.publish(await docs.run(b="x", c="x"), allow=["removed"])
    catalog, dataset = docs.catalog, await docs.dataset()

    async def changes(since: int, until: int, **given: Any) -> dict[str, str]:
        fields = {"stage": SEGMENTS, "after": None, "limit": 9} | given
        found = await catalog.changes(dataset, since, until, **fields)
        return {one.path: one.change for one in found}

    assert await changes(1, 2) == {"a/1": "changed", "a/2": "removed"}
    assert await changes(2, 1) == {"a/1": "changed", "a/2": "added"}
    assert await changes(1, 1) == {}
    assert await changes(0, 1) == {"a/1": "added", "a/2": "added", "b/1": "added"}
    # The same bytes in b/1, from another run, are no change.
    assert await changes(1, 3) == {"a/1": "removed", "a/2": "removed", "c/1": "added"}
    assert await changes(1, 3, after=Place(SEGMENTS, "a/1"), limit=1) == {"a/2": "removed"}
    [one] = await catalog.changes(dataset, 1, 2, stage=SEGMENTS, after=None, limit=1)
    assert (one.key, one.was) == (f"{replay}/{SEGMENTS}/a/1", docs.lab.output("a", "x").sha256)
    every = await catalog.changes(dataset, 0, 1, stage=None, after=None, limit=99)
    assert [one.stage for one in every] == ["input"] * 2 + ["pages"] * 2 + [SEGMENTS] * 3


async def test_where_the_results_of_an_execution_are(docs: Publisher):
    run, replay = await two(docs)
    catalog = docs.catalog

    async def place(execution: UUID) -> tuple[int | None, bool, int | None]:
        [one] = await catalog.placements("docs", execution)
        assert (one.dataset, one.current) == ("docs", (await dataset_of(docs)).current)
        return one.n, one.is_current, one.replaced_in

    assert await place(run) == (1, True, None)
    assert await place(replay) == (2, True, None)
    assert await place(docs.lab.unknown()) == (None, False, None)
    await roll_back(docs)
    assert await place(run) == (1, True, None)
    assert await place(replay) == (2, False, None), "a rollback has taken it back"
    newer = await docs.run(a="x", b="x")
    await docs.publish(newer)
    assert await place(run) == (1, False, 3)
    assert await place(newer) == (3, True, None)
    assert await catalog.placements("other", run) == []
    await docs.publish(run, allow=["older"])
    assert (await place(run), await place(newer)) == ((4, True, None), (3, False, 4))
    await roll_back(docs, 1)
    assert (await place(run), await place(replay)) == ((1, True, None), (2, False, None))
    await roll_back(docs, 3)
    assert await place(run) == (4, False, None)


async def test_in_which_publications_an_object_is(docs: Publisher):
    run, replay = await two(docs)
    keys = [f"{run}/{SEGMENTS}/a/1", f"{run}/{SEGMENTS}/b/1", f"{replay}/{SEGMENTS}/a/1", "no/such/key"]
    draft = await docs.begin(run, allow=["older"])
    await docs.prepare(draft)

    found = await docs.catalog.published_in(keys)

    def ranges(since: int | None, *pairs: tuple[int, int]) -> list[PublishedIn]:
        return [PublishedIn("docs", "docs", since, [PublicationRange(*pair) for pair in pairs])]

    assert found[keys[0]] == ranges(None, (1, 1)), "the draft shows nothing"
    assert found[keys[1]] == ranges(1, (1, 2))
    assert found[keys[2]] == ranges(2, (2, 2))
    assert not found.get(keys[3])


# -- rollbacks -------------------------------------------------------------------------------------


async def test_a_rollback_makes_an_earlier_publication_current_and_holds_the_dataset(docs: Publisher):
    await two(docs)

    assert await roll_back(docs) == 1

    found = await dataset_of(docs)
    assert (found.current, found.seq, found.held, found.decided) == (1, 3, True, 2)
    assert await roll_back(docs, 1) == 1, "it is current already"
    assert (await dataset_of(docs)).seq == 3
    assert await roll_back(docs, 2) == 2
    assert (await dataset_of(docs)).seq == 4


async def test_publications_on_which_the_current_one_is_not_based_are_taken_back(docs: Publisher):
    run, _ = await two(docs)
    catalog, dataset = docs.catalog, await docs.dataset()

    async def taken_back() -> list[int]:
        listed = await catalog.publications(dataset, every=True)
        for one in listed:
            assert await catalog.publication(dataset, one.n) == one
            assert await catalog.publications(dataset, every=True, before=one.n + 1, limit=1) == [one]
        return [one.n for one in listed if one.is_taken_back]

    assert await taken_back() == []
    await roll_back(docs, 1)
    assert await taken_back() == [2]
    abandoned = await docs.begin(run, allow=["older"])
    assert await taken_back() == [2], "readers have never seen a draft"
    await catalog.abandon_draft(abandoned.dataset, abandoned.n)
    made = await docs.publish(run, allow=["older"])
    assert (made.n, made.base, made.is_taken_back) == (4, 1, False)
    assert await taken_back() == [2], "the new one is based on what readers saw"
    await roll_back(docs, 2)
    assert await taken_back() == [4], "going forward is a rollback, too"


async def test_a_rollback_is_refused_with_its_reason(docs: Publisher):
    await docs.dataset()
    assert await code_of(roll_back(docs)) == "nothing_published"
    assert await code_of(roll_back(docs, 1)) == "publication_not_found"
    run = await docs.run(a="x")
    await docs.publish(run)
    assert await code_of(roll_back(docs)) == "nothing_published"
    assert await code_of(roll_back(docs, 1, expect_seq=9)) == "publication_moved"
    await docs.begin(run)
    assert await code_of(roll_back(docs, 2)) == "publication_not_found"
    assert (await dataset_of(docs)).seq == 1


async def test_of_two_rollbacks_that_expect_the_same_switch_one_happens(
    catalog_factory: Factory[Catalog], docs: Publisher
):
    await two(docs)
    other, dataset = await catalog_factory(), await docs.dataset()

    found = await asyncio.gather(
        *(
            one.roll_back(dataset, to=1, expect_seq=2, reason=None)
            for _ in range(3)
            for one in (docs.catalog, other)
        ),
        return_exceptions=True,
    )

    assert [one for one in found if isinstance(one, int)] == [1]
    assert {one.code for one in found if isinstance(one, Conflict)} == {"publication_moved"}
    assert (await dataset_of(docs)).seq == 3


async def test_all_events_are_kept_until_they_are_sent_and_then_the_newest_100(lab: Lab):
    docs = Publisher(lab, declared(webhook="https://example.org/hook"))
    run = await docs.run(a="x")
    await docs.publish(run)
    await docs.publish(await docs.replay(run, a="y"))

    for n in range(104):
        await roll_back(docs, 1 + n % 2)

    sent = await docs.catalog.claim_deliveries(limit=1_000, lease=60, most=5)
    assert len(sent) == 2 + 104
    for one in sent:
        await docs.catalog.delivered(one, status=204, error=None, retry=None)
    await roll_back(docs, 1)
    kept, _ = await docs.catalog.deliveries(await docs.dataset(), limit=1_000)
    assert [one.state for one in kept] == ["due"] + ["sent"] * 99


# -- automatic publication -------------------------------------------------------------------------


async def test_the_newest_settled_run_is_to_be_published_automatically_once(lab: Lab, clock: Clock):
    docs = Publisher(lab, declared(publish="automatic"))
    catalog = docs.catalog
    await docs.run(a="x")
    clock.advance(1)
    run = await docs.run(a="y")

    assert await catalog.automatic_runs() == [("docs", "docs", run)]

    draft = await docs.begin(run, automatic=True)
    assert await catalog.automatic_runs() == [], "while the dataset has a draft"
    await catalog.abandon_draft(draft.dataset, draft.n, code="units_failed", detail="why")
    assert await catalog.automatic_runs() == [], "it was tried"
    [refused] = await catalog.refused_automatic()
    assert (refused.n, refused.refusal and refused.refusal.code) == (1, "units_failed")
    clock.advance(1)
    newer = await docs.run(a="z")
    assert await catalog.automatic_runs() == [("docs", "docs", newer)]
    await docs.publish(newer, automatic=True)
    assert await catalog.refused_automatic() == []
    assert await catalog.automatic_runs() == []


async def test_a_refusal_of_a_person_is_not_one_of_an_automatic_publication(docs: Publisher):
    draft = await docs.begin(await docs.run(a="x"))
    await docs.catalog.abandon_draft(draft.dataset, draft.n, code="units_failed", detail="why")

    assert await docs.catalog.refused_automatic() == []


async def test_a_rollback_holds_automatic_publication_until_it_is_released(lab: Lab, clock: Clock):
    docs = Publisher(lab, declared(publish="automatic"))
    catalog = docs.catalog
    for text in "xy":
        await docs.publish(await docs.run(a=text))
        clock.advance(1)
    await roll_back(docs)
    clock.advance(1)
    during = await docs.run(a="z")
    assert await catalog.automatic_runs() == []
    assert await code_of(docs.begin(during, automatic=True)) == "publication_moved"

    for _ in range(2):
        await catalog.release_dataset(await docs.dataset())

    assert not (await dataset_of(docs)).held
    assert await catalog.automatic_runs() == [], "runs that exist wait for a person"
    clock.advance(1)
    later = await docs.run(a="v")
    assert await catalog.automatic_runs() == [("docs", "docs", later)]
    await docs.publish(later)
    await roll_back(docs)
    await docs.publish(during, allow=["older"])
    assert not (await dataset_of(docs)).held, "a publication by a person ends the hold"


async def test_a_replay_that_is_to_be_published_is_listed_until_a_draft_has_tried_it(
    docs: Publisher, clock: Clock
):
    run, _ = await two(docs)
    catalog, lab = docs.catalog, docs.lab
    clock.advance(1)

    async def replay(path: str) -> UUID:
        request = asked(run, "pages", "docs/split", publish=True, reason="why")
        opened = await catalog.open_replay(
            batch=uuid7(),
            request=request,
            prefix=f"{run}/pages",
            config="docs",
            version=await lab.save(docs.config),
            route="split",
            datasets=["docs"],
        )
        await catalog.admit(per_queue=0)
        held = await lab.hold(opened.replay.execution_id)
        sent = await lab.list_all(held, f"{run}/pages/{path}")
        await lab.publish_all(held, sent)
        assert await catalog.replays_to_publish() == [], "it runs"
        [child] = await lab.work(lab.ids(sent)[0], lab.output(f"{path}/1", "new"))
        await lab.work(lab.ids([child])[0])
        await catalog.end_executions([opened.replay.execution_id])
        return opened.replay.execution_id

    first = await replay("a")
    assert await catalog.replays_to_publish() == [("docs", "docs", first, "why")]
    assert await catalog.replays_to_publish() == [("docs", "docs", first, "why")], "reading changes nothing"
    draft = await docs.begin(first)
    assert await catalog.replays_to_publish() == []
    await catalog.abandon_draft(draft.dataset, draft.n)
    assert await catalog.replays_to_publish() == [], "it was tried"

    second = await replay("b")
    clock.advance(1)
    await roll_back(docs)
    assert await catalog.replays_to_publish() == [], "a rollback after the request holds it"
    await catalog.release_dataset(await docs.dataset())
    assert await catalog.replays_to_publish() == [("docs", "docs", second, "why")]


# -- drops -----------------------------------------------------------------------------------------


async def dropped(docs: Publisher) -> list[int]:
    """Drop what is not kept, to the end; return the numbers."""
    numbers: list[int] = []
    for one in await docs.catalog.mark_dropped():
        numbers += one.numbers
        after: tuple[int, int] | None = (0, 0)
        while after is not None:
            after = await docs.catalog.drop_page(one, after=after, limit=2)
        await docs.catalog.end_drop(one)
    return numbers


async def test_only_publications_that_nothing_needs_are_dropped(lab: Lab):
    docs = Publisher(lab, declared(keep=1))
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    for text in ("u", "v", "w", "z"):
        await docs.publish(await docs.replay(run, a=text))
    catalog, dataset = docs.catalog, await docs.dataset()
    for _ in range(2):
        await catalog.pin_publication(dataset, 2, True)
    await catalog.pin_publication(dataset, 99, True)
    await roll_back(docs, 1)
    kept = {n: await docs.segments(n) for n in (1, 2, 5)}
    before = await docs.catalog.publication(dataset, 3)
    assert before
    assert before.bytes_protected

    assert await dropped(docs) == [3]

    assert {n: await docs.segments(n) for n in kept} == kept
    found = await catalog.publication(dataset, 3)
    assert found
    assert (found.state, found.bytes_protected) == ("dropped", 0)
    assert found.dropped_at
    assert await code_of(roll_back(docs, 3)) == "publication_dropped"
    assert await dropped(docs) == [], "nothing is left to drop"
    await catalog.pin_publication(dataset, 2, False)
    assert not (await catalog.publication(dataset, 2)).is_pinned  # type: ignore[union-attr]
    await catalog.pin_publication(dataset, 3, True)
    assert not (await catalog.publication(dataset, 3)).is_pinned, "it is not published"  # type: ignore[union-attr]
    assert await dropped(docs) == [2]


async def test_a_drop_that_is_repeated_deletes_no_more(catalog_factory: Factory[Catalog], lab: Lab):
    docs = Publisher(lab, declared(keep=0))
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    for text in "uv":
        await docs.publish(await docs.replay(run, a=text))
    shown = await docs.segments(3)
    other = await catalog_factory()
    found = await asyncio.gather(docs.catalog.mark_dropped(), other.mark_dropped())
    dropping = Dropping(await docs.dataset(), [1, 2])
    assert list(found) == [[dropping]] * 2

    await asyncio.gather(
        *(one.drop_page(dropping, after=(0, 0), limit=100) for _ in range(2) for one in (docs.catalog, other))
    )

    assert await docs.segments(3) == shown
    assert await docs.catalog.mark_dropped() == [dropping], "until its end is recorded"
    await docs.catalog.end_drop(dropping)
    await other.end_drop(dropping)
    assert await docs.catalog.mark_dropped() == []
    keys = [f"{run}/{SEGMENTS}/a/1", f"{run}/{SEGMENTS}/b/1"]
    found_in = await docs.catalog.published_in(keys)
    assert not found_in[keys[0]], "its entry is deleted"
    assert found_in[keys[1]]


async def test_a_drop_opens_the_prunings_of_objects_that_no_entry_names_any_more(lab: Lab):
    docs = Publisher(lab, declared(keep=0))
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    catalog = docs.catalog

    async def prune(pruning: Pruning) -> list[str]:
        keys: list[str] = []
        deleted = None
        while page := await catalog.prune_page(pruning, deleted=deleted, limit=100):
            keys += page.keys
            deleted = page.last
        await catalog.end_prune(pruning)
        return keys

    [pruning] = await catalog.begin_prune([Candidate(run, (), None)])
    assert await prune(pruning) == [], "all of it is published"
    # The same bytes would be the same inputs, which stay published.
    await docs.publish(await docs.run(a="x y!", b="x!"))
    assert await dropped(docs) == [1]
    [again] = await catalog.open_prunings()
    assert len(await prune(again)) == 2 + 2 + 3
