"""The pages in which the content of a draft is read and written: the sentences of `ports.catalog.drafts`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import pytest

from playhead.model import PublishRequest
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.drafts import Draft, Note
from playhead.ports.catalog.entries import Entry
from playhead.ports.catalog.prune import Candidate
from playhead.ports.catalog.publications import SINK, Place
from tests.contract.publishing import SEGMENTS, Publisher

if TYPE_CHECKING:
    from tests.contract.backends import Factory
    from tests.lab import Lab


@pytest.fixture
def docs(lab: Lab) -> Publisher:
    return Publisher(lab)


def at(entries: list[Entry]) -> list[str]:
    return [f"{one.stage}/{one.path}" for one in entries]


async def content(catalog: Catalog, draft: Draft, stage: str | None = None) -> list[Entry]:
    return await catalog.scan(draft, stage=stage, after=Place(stage or "", ""), limit=100)


async def input_entry(docs: Publisher, draft: Draft, path: str, k: int = 0) -> Entry:
    """Return the entry of an input of part `k`, as it would be added."""
    [[root], _] = await docs.catalog.roots_at(draft, draft.parts[k], [Place("input", path)])
    assert root.object
    output, fingerprint = root.object[1:]
    return Entry("input", path, None, None, None, root.execution, output, fingerprint, None)


# -- messages of the parts -------------------------------------------------------------------------


async def test_units_are_the_roots_of_a_part_in_order_with_the_messages_below(docs: Publisher):
    run = await docs.run(a="x y", b="x", fails="b")
    draft = await docs.begin(run)
    [part] = draft.parts

    roots, nodes = await docs.catalog.units(draft, part, after=0, limit=1)

    [first] = roots
    assert (first.node.slot, first.node.key) == (("convert", "input", "a"), f"{run}/input/a")
    assert first.object
    assert first.execution == part.execution
    routes = sorted((one.slot.route, one.slot.path) for one in nodes)
    assert routes == [("convert", "a"), ("index", "a/1"), ("index", "a/2"), ("split", "a")]
    assert all(one.is_good for one in nodes)
    [split] = [one for one in nodes if one.slot.route == "split"]
    assert [made.place for made in split.outputs] == [(SEGMENTS, "a/1"), (SEGMENTS, "a/2")]
    assert (split.parent, split.message, split.attempt, split.execution) == (
        first.node.n, split.n, 1, part.execution,
    )  # fmt: skip
    [last], nodes = await docs.catalog.units(draft, part, after=first.ordinal, limit=9)
    assert [(one.slot.route, one.is_good, one.detail) for one in nodes] == [
        ("convert", True, None),
        ("split", False, "adapter_error: it broke"),
    ]
    assert await docs.catalog.units(draft, part, after=last.ordinal, limit=9) == ([], [])


async def test_units_of_a_replay_have_the_objects_that_it_received(docs: Publisher):
    run = await docs.run(a="x", b="x")
    replay = await docs.replay(run, b="y y")
    draft = await docs.begin(run, replay)
    part = draft.parts[1]
    assert (part.id, part.stage, part.route, part.source, part.is_run) == (
        replay,
        "pages",
        "split",
        run,
        False,
    )

    roots, nodes = await docs.catalog.units(draft, part, after=0, limit=9)

    assert [(one.node.slot, one.node.key) for one in roots] == [(("split", "pages", "b"), f"{run}/pages/b")]
    assert roots[0].execution == draft.parts[0].execution, "of the execution that has stored it"
    assert len(nodes) == 3
    places = [Place("pages", "a"), Place("pages", "b"), Place("pages", "nothing"), Place("input", "b")]
    assert await docs.catalog.roots_at(draft, part, places) == (roots, nodes)
    assert await docs.catalog.listed(part, places) == {Place("pages", "b")}
    assert await docs.catalog.roots_at(draft, part, []) == ([], [])
    assert await docs.catalog.listed(part, []) == set()


async def test_a_part_whose_source_is_a_publication_is_found_by_what_that_contains(docs: Publisher):
    run = await docs.run(a="x", b="x")
    one = await docs.publish(run)
    lab, catalog = docs.lab, docs.catalog
    # A publication lists the keys of the executions that stored its objects.
    sent = await lab.started_replay(
        one.execution_id, f"{run}/pages/a", stage="pages", route="split", config=docs.config
    )
    [child] = await lab.work(sent.ids[0], lab.output("a/1", "z"))
    await lab.work(lab.ids([child])[0])
    await catalog.end_executions([sent.execution])
    draft = await docs.begin(sent.execution)
    [part] = draft.parts
    assert (part.source, part.publication) == (one.execution_id, (draft.dataset, 1))

    places = [Place("pages", "a"), Place("pages", "b")]

    [root], _ = await catalog.roots_at(draft, part, places)
    assert root.node.slot == ("split", "pages", "a")
    assert await catalog.listed(part, places) == {Place("pages", "a")}


async def test_fingerprints_are_those_of_recorded_objects(docs: Publisher):
    run = await docs.run(a="x", b="x")
    keys = [f"{run}/input/{path}" for path in "abc"]

    found = await docs.catalog.fingerprints([*keys, "no key"])

    assert sorted(found) == keys[:2]
    assert found[keys[0]] == found[keys[1]], "of the content, not of the path"
    assert (await docs.catalog.fingerprints([f"{run}/pages/a"])).keys() == {f"{run}/pages/a"}
    assert await docs.catalog.fingerprints([]) == {}


# -- entries ---------------------------------------------------------------------------------------


async def test_entries_are_found_by_place_by_what_is_above_and_in_order(docs: Publisher):
    draft = await docs.begin(await docs.run(a="x y", b="x"))
    await docs.prepare(draft)
    catalog = docs.catalog
    sink = [f"{SINK}index/{SEGMENTS}/{path}" for path in ("a/1", "a/2", "b/1")]
    segments = [f"{SEGMENTS}/{path}" for path in ("a/1", "a/2", "b/1")]

    every = await content(catalog, draft)

    assert at(every) == [*sink, "input/a", "input/b", "pages/a", "pages/b", *segments]
    assert at(await content(catalog, draft, "pages")) == ["pages/a", "pages/b"]
    page = await catalog.scan(draft, stage=None, after=Place("input", "a"), limit=2)
    assert at(page) == ["input/b", "pages/a"]
    by_place = {Place(*one[:2]): one for one in every}
    top, page_a = by_place[Place("input", "a")], by_place[Place("pages", "a")]
    assert (top.up, top.message, top.slot, top.above) == (None, None, None, -(top.output or 0))
    assert (page_a.up, page_a.slot) == (top.above, ("convert", "input", "a"))
    assert at(await catalog.entries_below(draft, [top.above])) == ["pages/a"]
    assert sorted(at(await catalog.entries_below(draft, [page_a.above]))) == segments[:2]
    assert await catalog.entries_below(draft, []) == []
    found = await catalog.entries_at(draft, [Place(SEGMENTS, "b/1"), Place("pages", "a"), Place("no", "a")])
    assert sorted(at(found)) == ["pages/a", f"{SEGMENTS}/b/1"]
    assert await catalog.entries_at(draft, []) == []


async def test_a_preview_reads_its_base_publication(docs: Publisher):
    run = await docs.run(a="x y")
    await docs.publish(run)
    open_draft = await docs.begin(await docs.replay(run, a="z"))
    await docs.prepare(open_draft)

    shown = await docs.catalog.preview_publication("docs", "docs", PublishRequest([run]))

    assert shown.base == 1
    assert at(await content(docs.catalog, shown, SEGMENTS)) == [f"{SEGMENTS}/a/1", f"{SEGMENTS}/a/2"]
    assert at(await content(docs.catalog, open_draft, SEGMENTS)) == [f"{SEGMENTS}/a/1"]


async def test_a_repeated_write_changes_nothing(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    draft = await docs.begin(await docs.replay(run, a="z"))
    before = await content(docs.catalog, draft)
    await docs.prepare(draft)
    after = await content(docs.catalog, draft)
    added = [one for one in after if one.n not in {other.n for other in before}]
    closed = [one for one in before if one.n not in {other.n for other in after}]
    assert len(added) == 2, "a segment, and its result in the sink"
    assert len(closed) == 4

    for _ in range(2):
        assert await docs.catalog.write_entries(draft, add=added, close=closed, cursor="again")

    assert await content(docs.catalog, draft) == after


async def test_an_entry_of_the_draft_is_deleted_and_one_that_it_closed_is_opened_again(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    draft = await docs.begin(await docs.replay(run, a="z"))
    before = await content(docs.catalog, draft)
    await docs.prepare(draft)
    after = await content(docs.catalog, draft)
    added = [one for one in after if one.n not in {other.n for other in before}]
    closed = [one for one in before if one.n not in {other.n for other in after}]

    assert await docs.catalog.write_entries(draft, add=closed, close=added, cursor="back")

    assert await content(docs.catalog, draft) == before, "the same rows, not copies"
    assert await differences(docs.catalog, draft, "added") == []
    assert await differences(docs.catalog, draft, "closed") == []


async def test_a_write_moves_the_cursor_and_adds_notes_also_without_entries(docs: Publisher):
    draft = await docs.begin(await docs.run(a="x"))
    [part] = draft.parts
    note = Note("kept", Place("input", "a"), part.execution, None, "why")

    assert await docs.catalog.write_entries(draft, notes=[note], cursor="[1]")

    taken = await docs.catalog.acquire_draft(draft.dataset, draft.n, owner="w1", lease=9)
    assert taken
    assert taken.cursor == "[1]"
    notes, after = await docs.catalog.notes(draft.dataset, draft.n, limit=9)
    assert [(one.kind, one.path, one.execution_id, one.correlation_id, one.detail) for one in notes] == [
        ("kept", "a", part.id, None, "why")
    ]
    assert after is None


async def test_nothing_is_written_if_an_object_was_pruned_meanwhile(docs: Publisher):
    """The source of a part is not a part, so its objects may be pruned while a draft is open."""
    one, two = await docs.run(a="x"), await docs.run(b="x")
    first = await docs.begin(one)
    gone = await input_entry(docs, first, "a")
    await docs.catalog.abandon_draft(first.dataset, first.n)
    draft = await docs.begin(two)
    there = await input_entry(docs, draft, "b")
    [pruning] = await docs.catalog.begin_prune([Candidate(one, (), None)])
    assert await docs.catalog.prune_page(pruning, deleted=None, limit=100)

    assert not await docs.catalog.write_entries(draft, add=[there, gone], cursor="moved")

    assert await content(docs.catalog, draft) == []
    taken = await docs.catalog.acquire_draft(draft.dataset, draft.n, owner="w1", lease=9)
    assert taken
    assert taken.cursor == ""
    assert await docs.catalog.write_entries(taken, add=[there], cursor="moved")


async def test_two_entries_at_one_place_are_duplicates(docs: Publisher):
    one, two = await docs.run(a="x", b="x"), await docs.run(a="y")
    draft = await docs.begin(one, two, base=one, add=[two])
    every = [await input_entry(docs, draft, path, k) for path, k in (("a", 0), ("b", 0), ("a", 1))]
    await docs.catalog.write_entries(draft, add=every[:2], cursor="1")
    assert await duplicates(docs.catalog, draft) == []

    await docs.catalog.write_entries(draft, add=every[2:], cursor="2")

    assert set(await duplicates(docs.catalog, draft)) == {Place("input", "a")}


async def duplicates(catalog: Catalog, draft: Draft) -> list[Place]:
    found: list[Place] = []
    after: tuple[int, int] | None = (0, 0)
    while after:
        page, after = await catalog.duplicates(draft, after=after, limit=1)
        found += page
    return found


async def differences(catalog: Catalog, draft: Draft, side: Literal["added", "closed"]) -> list[Any]:
    found: list[Any] = []
    while page := await catalog.differences(draft, side, after=found[-1].at if found else (0, 0), limit=2):
        found += page
    return found


async def test_differences_are_the_places_at_which_a_draft_adds_or_closes_entries(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    first = await docs.begin(run)
    await docs.prepare(first)
    added = await differences(docs.catalog, first, "added")
    assert len(added) == 2 + 2 + 3 + 3
    assert {one.before for one in added} == {None}
    assert await differences(docs.catalog, first, "closed") == []
    await docs.catalog.abandon_draft(first.dataset, first.n)
    await docs.publish(run)
    draft = await docs.begin(await docs.replay(run, a="z"))
    await docs.prepare(draft)

    added, closed = [await differences(docs.catalog, draft, side) for side in ("added", "closed")]

    sink = SINK + "index"
    assert sorted((one.place, one.before != one.after) for one in added) == [
        (Place(sink, f"{SEGMENTS}/a/1"), False),  # rows of a sink have no bytes to compare
        (Place(SEGMENTS, "a/1"), True),
    ]
    gone = {one.place for one in closed if one.after is None}
    assert gone == {Place(SEGMENTS, "a/2"), Place(sink, f"{SEGMENTS}/a/2")}
    assert {one.place for one in closed if one.after is not None} == {one.place for one in added}


# -- undo and rewind -------------------------------------------------------------------------------


async def test_what_an_abandoned_draft_has_left_is_removed_in_pages(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    shown = await docs.segments(1)
    left = await docs.begin(await docs.replay(run, a="z"))
    before = await content(docs.catalog, left)
    await docs.prepare(left)
    await docs.catalog.abandon_draft(left.dataset, left.n)
    assert await docs.segments(1) == shown
    draft = await docs.begin(run, allow=["older"])

    counts = [await docs.catalog.undo_abandoned(draft, limit=3) for _ in range(4)]

    assert sum(counts) == 2 + 4
    assert max(counts) <= 2 * 3
    assert counts[-1] == 0
    assert await content(docs.catalog, draft) == before
    assert await docs.segments(1) == shown


async def test_a_draft_after_a_rollback_begins_with_what_readers_see(docs: Publisher):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    await docs.publish(await docs.replay(run, a="z", b="z"))
    await docs.catalog.roll_back(await docs.dataset(), to=1, expect_seq=None, reason=None)
    draft = await docs.begin(run, allow=["older"])
    assert draft.base == 1

    async def rewind(side: Literal["newer", "older"]) -> int:
        pages, after = 0, await docs.catalog.rewind(draft, side, after=(0, 0), limit=2)
        while after:
            pages, after = pages + 1, await docs.catalog.rewind(draft, side, after=after, limit=2)
        return pages

    assert await rewind("newer") == 2, "of four new entries"
    assert await rewind("older") == 3, "of six old ones"
    assert (await rewind("newer"), await rewind("older")) == (0, 0), "nothing is left to change"

    assert at(await content(docs.catalog, draft, SEGMENTS)) == [
        f"{SEGMENTS}/{path}" for path in ("a/1", "a/2", "b/1")
    ]
    assert set((await docs.segments(2)).keys()) == {"a/1", "b/1"}, "a publication stays as it is"
    assert await differences(docs.catalog, draft, "added") == []
    assert [one for one in await differences(docs.catalog, draft, "closed") if one.after is None] == []


async def test_two_processes_that_write_the_same_page_add_its_entries_once(
    catalog_factory: Factory[Catalog], docs: Publisher
):
    draft = await docs.begin(await docs.run(a="x", b="x"))
    entries = [await input_entry(docs, draft, path) for path in "ab"]
    other = await catalog_factory()

    found = await asyncio.gather(
        *(
            one.write_entries(draft, add=entries, cursor="1")
            for _ in range(3)
            for one in (docs.catalog, other)
        )
    )

    assert found == [True] * 6
    assert at(await content(docs.catalog, draft)) == ["input/a", "input/b"]


# -- what made the results -------------------------------------------------------------------------


async def counted(docs: Publisher, draft: Draft, side: Literal["added", "closed"], limit: int) -> Any:
    """Return results and bytes of all pages, and the number of results of known routes."""
    results, size, by = 0, 0, set()
    after: tuple[int, int] | None = (0, 0)
    while after is not None:
        page, after = await docs.catalog.count_made(draft, side, after=after, limit=limit)
        size += sum(one.bytes for one in page)
        results += sum(one.results for one in page)
        by |= {one.made_by for one in page if one.made_by}
    return results, size, len(by)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_entries_are_counted_by_what_made_their_results(docs: Publisher, limit: int):
    run = await docs.run(a="x y", b="x")
    first = await docs.begin(run)
    await docs.prepare(first)
    # Two pages, two results of segments for three objects, and three of the sink. Inputs have bytes only.
    assert await counted(docs, first, "added", limit) == (2 + 2 + 3, 2 * len("x yx") + 3, 3)
    assert await counted(docs, first, "closed", limit) == (0, 0, 0)
    await docs.catalog.abandon_draft(first.dataset, first.n)
    await docs.publish(run)
    draft = await docs.begin(await docs.replay(run, a="zz"))
    await docs.prepare(draft)
    assert await counted(docs, draft, "added", limit) == (1 + 1, 2, 2)
    assert await counted(docs, draft, "closed", limit) == (1 + 2, 2, 2)
