"""Find, the links that it leads to, and the near matches of pages that do not exist."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from playhead.errors import broker_unavailable, catalog_unavailable, store_unavailable
from playhead.ids import uuid7
from playhead.web.links import link
from tests.api.server import WORDS
from tests.ui.site import Site

SOME = "01a213bc-9b9c-77a3-b71b-2d245629ac9a"


async def found(site: Site, text: str) -> str:
    """Return the URL to which Find redirects."""
    answer = await site.http.get("/find", params={"q": text})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def test_find_without_a_text_says_what_it_accepts(site: Site):
    page = await site.page("/find")

    assert "Find accepts" in page
    assert "its last digits" in page


async def test_several_hits_are_listed_each_with_its_kind(site: Site):
    await site.apply(WORDS.replace("name: words", "name: upper").replace("queue: elsewhere", "queue: there"))

    page = await site.page("/find?q=upper")

    assert "3 things have this name" in page
    groups = (await site.twin("/find?q=upper"))["view"]["groups"]
    exact = [hit["kind"] for group in groups for hit in group["hits"] if hit["is_exact"]]
    assert exact == ["config", "route", "route"]


async def test_if_nothing_is_found_similar_names_are_listed(site: Site):
    execution = await site.run({"a": b"good"})
    similar = execution[:-4] + ("0000" if not execution.endswith("0000") else "1111")

    page = await site.page(f"/find?q={similar}")

    assert "No match for" in page
    assert f'href="/executions/{execution}"' in page
    assert "These were looked up" in await site.page("/find?q=nothing-like-this")


async def test_find_needs_only_the_catalog(site: Site):
    execution = await site.run({"a": b"good"})
    site.broker_outage.error = broker_unavailable("no route to host")
    site.store_outage.error = store_unavailable("the disk is gone")
    assert await found(site, execution[-8:]) == f"/executions/{execution}"

    site.catalog_outage.error = catalog_unavailable("the catalog does not answer")
    assert "the catalog does not answer" in await site.page("/find?q=words", 503)


@pytest.mark.parametrize("path", ["/dead-letters/{}", "/dead-letters?execution_id={}", "/nothing/{}"])
async def test_a_page_of_an_unknown_id_lists_similar_ids(site: Site, path: str):
    execution = await site.run({"a": b"bad"})
    similar = execution[:-4] + ("0000" if not execution.endswith("0000") else "1111")

    page = await site.page(path.format(similar), 404)

    assert "Did you mean" in page
    assert f'href="/executions/{execution}"' in page


async def test_a_page_of_an_unknown_queue_lists_similar_ones(site: Site):
    page = await site.page("/queues/words", 404)

    assert 'href="/queues/words.upper"' in page
    assert (await site.twin("/queues/words", 404))["near"][0]["href"]


async def test_a_404_page_needs_no_catalog(site: Site):
    site.catalog_outage.error = catalog_unavailable("the catalog does not answer")

    assert "there is no page" in await site.page(f"/nothing/{uuid7()}", 404)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("execution", UUID(SOME), f"/executions/{SOME}"),
        ("replay", SOME, f"/replays/{SOME}"),
        ("message", SOME, f"/lineage/{SOME}"),
        ("dead_letter", SOME, f"/dead-letters/{SOME}"),
        ("object", f"{SOME}/input/a b&c", f"/objects?key={SOME}%2Finput%2Fa+b%26c"),
        ("config", "words", "/configs/words"),
        ("attribute", f"{SOME}/input/a", f"/objects?key={SOME}%2Finput%2Fa"),
        ("adapter", "words/upper", "/configs/words?focus=upper"),
        ("route", "words/upper", "/configs/words?focus=upper"),
        ("queue", "words.upper", "/queues/words.upper"),
        ("stage", f"{SOME}/split/words", f"/executions/{SOME}?stage=split%2Fwords"),
        ("plan", SOME, f"/replay?plan_id={SOME}"),
    ],
)
def test_every_kind_has_a_page(kind: str, name: Any, expected: str):
    assert link(kind, name) == expected


def test_an_unknown_kind_has_no_page():
    with pytest.raises(ValueError, match="no page shows a window"):
        link("window", "x")


async def test_a_path_leads_to_its_object_or_lists_its_objects_newest_first(site: Site):
    first = await site.run({"a": b"one two", "old": b"x"})
    second = await site.run({"a": b"one two"})
    replay = await site.replay(second, "shouted", "split")
    await site.work()

    page = await site.page("/find?q=input/a")
    assert page.index(f"key={second}%2Finput%2Fa") < page.index(f"key={first}%2Finput%2Fa")
    assert await found(site, "input/old") == f"/objects?key={first}%2Finput%2Fold"
    assert replay["execution_id"] not in await site.page("/find?q=shouted/a.md")
    assert "No match for" in await site.page("/find?q=shouted/none.md")
    assert await found(site, "words/upper") == "/configs/words?focus=upper"


async def test_what_contains_a_text_is_grouped_by_kind_with_its_outcome(site: Site):
    first = await site.run({"reports/march.md": b"one", "march-bad.md": b"bad"})
    second = await site.run({"reports/march.md": b"two"})
    await site.work()

    page = await site.page("/find?q=march")
    assert "No match for" in page
    assert "newest of 2 executions" in page
    assert f"key={second}%2Finput%2Freports%2Fmarch.md" in page
    assert f"key={first}%2Finput%2Freports%2Fmarch.md" not in page
    groups = (await site.twin("/find?q=march"))["view"]["groups"]
    assert groups[0]["name"] == "Objects"
    outcomes = {hit["title"].partition(" of ")[0]: hit["outcome"] for hit in groups[0]["hits"]}
    assert outcomes["Object input/march-bad.md"] == "dead"
    assert outcomes["Object input/reports/march.md"] == "completed"
    alone = (await site.twin("/find?q=march&kind=dead_letter"))["view"]["groups"]
    assert {group["id"] for group in alone} <= {"dead_letter"}


async def test_a_group_with_more_than_20_hits_leads_to_the_others(site: Site):
    await site.run({f"page-{n}.md": b"x" for n in range(22)})

    page = await site.page("/find?q=page-")
    assert 'href="/find?q=page-&amp;kind=object"' in page
    more = await site.twin("/find?q=page-&kind=object")
    assert len(more["view"]["groups"][0]["hits"]) >= 22
    assert "Show all kinds" in await site.page("/find?q=page-&kind=object")


async def test_a_short_text_says_that_only_beginnings_are_searched(site: Site):
    await site.run({"march.md": b"x", "xma.md": b"y"})

    page = await site.page("/find?q=ma")
    assert "The text has fewer than 3 characters" in page
    assert "march.md" in page
