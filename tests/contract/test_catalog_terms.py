"""The search index of Find: what is indexed, found, and left out."""

from __future__ import annotations

import pytest

from playhead.model import Step
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.terms import RouteAdapter, Term
from tests.contract.test_catalog_prune import done, prune
from tests.contract.test_catalog_records import begin, delete
from tests.lab import Clock, Lab

MINUTE = 61.0


async def index(catalog: Catalog, clock: Clock) -> None:
    """Index everything, also what PostgreSQL treats as perhaps not committed yet."""
    for _ in range(3):
        while await catalog.index_terms():
            pass
        clock.advance(MINUTE)


async def find(catalog: Catalog, text: str, *, paths: bool = True) -> list[Term]:
    has_parts = (await catalog.term_index()).has_parts
    return await catalog.terms_with(text, paths=paths, has_parts=has_parts, limit=10)


async def terms(catalog: Catalog, text: str, *, paths: bool = True) -> list[str]:
    return [one.text for one in await find(catalog, text, paths=paths)]


async def has_parts(catalog: Catalog) -> bool:
    """Whether parts are found: not by a PostgreSQL without the extension pg_trgm, as in its wheels."""
    return (await catalog.term_index()).has_parts


async def beginnings(catalog: Catalog, text: str, *, paths: bool = True) -> list[str]:
    return sorted(one.text for one in await catalog.terms_with(text, paths=paths, has_parts=False, limit=10))


async def test_a_part_of_a_path_leads_to_its_newest_executions(catalog: Catalog, lab: Lab, clock: Clock):
    first = await lab.sealed("reports/march.pdf", "b.md")
    second = await lab.sealed("march-notes.md", "reports/march.pdf")
    third = await lab.sealed("new/march.md", "March.md", "xmarch.md")
    await index(catalog, clock)

    found = await find(catalog, "march")
    by_case = ["input/March.md", "input/new/march.md", "input/xmarch.md"]
    assert [one.text for one in found] == [
        *(by_case if await has_parts(catalog) else ["input/new/march.md"]),
        "input/march-notes.md",
        "input/reports/march.pdf",
    ]
    newest, oldest = found[0].n, found[-1].n
    places = await catalog.places_of([newest, oldest], limit=5)
    assert [place.execution for place in places[newest]] == [third]
    assert [place.execution for place in places[oldest]] == [second, first]
    assert len((await catalog.places_of([oldest], limit=1))[oldest]) == 1
    assert await catalog.uses_counted([oldest], most=10) == {oldest: 2}
    assert await catalog.uses_counted([oldest], most=1) == {oldest: 1}
    assert await terms(catalog, "input/rep") == ["input/reports/march.pdf"]
    assert await terms(catalog, "reports/march.pdf") == ["input/reports/march.pdf"]
    assert await terms(catalog, "april") == []


HOSTILE = [
    'say "hello" AND.md',
    "100%_done.txt",
    "it's; DROP TABLE terms--.md",
    "NEAR(a b) OR *.md",
    "ünï/çødé – 日本語.md",
    "/".join(["d" * 190] * 4) + "/end.md",
]


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
async def test_no_character_of_a_path_is_special(catalog: Catalog, lab: Lab, clock: Clock, path: str):
    await lab.sealed(path, "1000 done.txt", "other.md")
    await index(catalog, clock)

    parts = {path[1:-1], path[-9:]} if await has_parts(catalog) else set()
    for text in {path, path[:6], f"input/{path[:9]}", path.rpartition("/")[2], *parts}:
        assert await terms(catalog, text) == [f"input/{path}"], text
    for text in ("a%b", "_____", '"', '""""', "\\\\\\", "'''", "\x01p\x01", "^.*", "x" * 1024):
        assert await terms(catalog, text) == []


async def test_short_texts_are_searched_at_the_beginning_of_paths_and_file_names(
    catalog: Catalog, lab: Lab, clock: Clock
):
    await lab.sealed("ab/x.md", "cd/ab.md", "xab.md")
    await index(catalog, clock)

    assert sorted(await terms(catalog, "ab")) == ["input/ab/x.md", "input/cd/ab.md"]
    assert await beginnings(catalog, "xab") == ["input/xab.md"]
    assert await beginnings(catalog, "input/c") == ["input/cd/ab.md"]
    assert await beginnings(catalog, "b.md") == []


async def test_attributes_are_found_by_name_and_value_with_the_newest_object(
    catalog: Catalog, lab: Lab, clock: Clock
):
    run = await lab.started("a.md", "b.md")
    await lab.work(run.ids[0], lab.output("a.txt", lang="en", source="https://example.org/x"))
    await lab.work(run.ids[1], lab.output("b.txt", lang="en", page=7, odd="nul\0 \ud800"))
    await index(catalog, clock)

    [found] = await find(catalog, "lang=e", paths=False)
    assert found[1:3] == ("attribute", "lang=en")
    [place] = (await catalog.places_of([found.n], limit=5))[found.n]
    assert place.execution == run.execution
    assert place.key is not None
    assert place.key.endswith("/b.txt")
    if await has_parts(catalog):
        assert await terms(catalog, "EXAMPLE.org", paths=False) == ["source=https://example.org/x"]
    assert await beginnings(catalog, "https:", paths=False) == ["source=https://example.org/x"]
    assert await terms(catalog, "page=7", paths=False) == ["page=7"]
    assert await terms(catalog, "example.org") == []
    assert await terms(catalog, "a.txt", paths=False) == []


async def test_a_reason_leads_to_the_replays_that_were_started_with_it(
    catalog: Catalog, lab: Lab, clock: Clock
):
    run = await lab.started("a.md")
    replay = await lab.managed(run.execution, {"reason": "the fix of ticket 4711"})
    await index(catalog, clock)

    [found] = await find(catalog, "the fix of", paths=False)
    assert found[1:3] == ("reason", "the fix of ticket 4711")
    [(n, started)] = await catalog.started_with([found.n], limit=5)
    assert (n, started.batch, started.kind, started.config) == (
        found.n,
        replay.replay_batch_id,
        "replay",
        "docs",
    )


async def test_each_row_is_indexed_once_in_pages(catalog: Catalog, lab: Lab, clock: Clock):
    await lab.sealed(*(f"{n}.md" for n in range(25)))
    await catalog.index_terms()
    clock.advance(MINUTE)
    await catalog.index_terms()
    clock.advance(MINUTE)
    await catalog.index_terms()

    pages = 1
    while await catalog.index_terms(limit=10):
        pages += 1
    assert pages >= 1
    indexed, recorded, _ = await catalog.term_index()
    assert indexed == recorded
    assert not await catalog.index_terms()
    again = await lab.sealed("24.md")
    await index(catalog, clock)
    [found] = await find(catalog, "24.md")
    assert (await catalog.places_of([found.n], limit=1))[found.n][0].execution == again


async def test_a_cleared_index_is_filled_again(catalog: Catalog, lab: Lab, clock: Clock):
    await lab.sealed("report.pdf")
    await index(catalog, clock)
    assert await terms(catalog, "report.p") == ["input/report.pdf"]

    await catalog.clear_terms()
    indexed, recorded, parts = await catalog.term_index()
    assert (indexed, recorded > 0, parts) == (0, True, False)
    assert await terms(catalog, "report.pdf") == []

    await index(catalog, clock)
    assert await terms(catalog, "report.p") == ["input/report.pdf"]


async def test_the_newest_objects_are_found_before_they_are_indexed(catalog: Catalog, lab: Lab):
    run = await lab.started("report.md", "b.md")
    await lab.work(run.ids[0], lab.output("Report.txt"))
    claim = await lab.claim(run.ids[1])
    await lab.bind(claim, lab.output("report-unfinished.txt"))

    found = await catalog.newest_keys("REPORT", rows=10, limit=5)
    assert [key.rpartition("/")[2] for key in found] == ["Report.txt", "report.md"]
    assert await catalog.newest_keys("report.md", rows=1, limit=5) == []


async def test_objects_are_found_with_the_newest_state_of_each_route(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    key = f"{run.execution}/input"
    await lab.work(run.ids[0], lab.output("a.txt"))
    await lab.kill(run.ids[1])

    found = await catalog.objects_found([f"{key}/{name}.md" for name in "abcd"])
    assert {k[-4]: list(one.states) for k, one in found.items()} == {
        "a": ["completed"],
        "b": ["dead"],
        "c": ["pending"],
    }
    assert all(one.is_current is None and not one.is_pruned for one in found.values())
    again = await lab.started_replay(run.execution, f"{key}/b.md")
    assert (await catalog.objects_found([f"{key}/b.md"]))[f"{key}/b.md"].states == ["pending"]
    assert again.execution != run.execution


async def test_failures_are_found_by_their_error_and_their_code(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.kill(run.ids[0])

    [found] = await catalog.failures_with("ADAPTER_err", limit=5)
    assert (found.id, found.execution, found.route) == (run.ids[0], run.execution, "convert")
    assert found.error
    assert [one.id for one in await catalog.failures_with(found.error[1:-1], limit=5)] == [run.ids[0]]
    assert await catalog.failures_with("a%a", limit=5) == []


async def test_adapters_are_found_in_the_newest_version_of_each_config(catalog: Catalog, lab: Lab):
    step = Step("html_to_markdown", {})
    await lab.save(lab.config("old", lab.route("other", steps=(step,))))
    await lab.save(lab.config("old", lab.route("other")))
    await lab.save(lab.config("docs", lab.route("convert", steps=(step, step)), lab.route("last")))

    assert await catalog.adapters_with("TO_mark", limit=5) == [
        RouteAdapter("docs", "convert", "html_to_markdown")
    ]
    assert await catalog.adapters_with("no_such_adapter", limit=5) == []


async def test_pruned_objects_say_so_and_those_whose_records_are_deleted_are_left_out(
    catalog: Catalog, lab: Lab, clock: Clock
):
    """SQLite uses the number of a deleted last row again: the new row is indexed, too."""
    old = await done(lab, "deleted.md")
    key = f"{old}/input/deleted.md"
    await index(catalog, clock)
    assert not (await catalog.objects_found([key]))[key].is_pruned
    await prune(catalog, old)
    assert (await catalog.objects_found([key]))[key].is_pruned
    await delete(catalog, await begin(catalog, old))
    await lab.beat("w1")
    new = await lab.sealed("new.md")
    await index(catalog, clock)

    assert await catalog.objects_found([key]) == {}
    [found] = await find(catalog, "new.md")
    assert [one.execution for one in (await catalog.places_of([found.n], limit=5))[found.n]] == [new]
