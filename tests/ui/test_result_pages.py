"""The objects of a replay before and after it, on its page and on that of its result."""

from __future__ import annotations

import asyncio
import html
import re
from dataclasses import replace
from typing import Any

import pytest

from playhead import Item, Reject, adapter
from playhead.ports.adapter import spec_of
from playhead.services.result import ResultService
from playhead.web.page import url
from tests.ui.site import Site
from tests.ui.test_dataset_pages import DATASET, published

FILES = {
    "a/same.md": b"one",
    "a/other.md": b"other one",
    "b/still.md": b"bad still",
    "b/fixed.md": b"bad fixed",
    "c/broken.md": b"broken",
}


@adapter("upper", produces="text/markdown")
def fixed(item: Item) -> str:
    if "still" in item.text:
        raise Reject(f"this is {item.text}")
    if "broken" in item.text:
        raise Reject("this is new")
    return item.text.upper().replace("OTHER ONE", "OTHER TWO")


def load(site: Site, function: Any) -> None:
    spec = spec_of(function)
    assert spec
    site.adapters["upper"] = replace(spec, code="sha256:bb", source="/x/steps.py")


@pytest.fixture
async def pair(site: Site) -> tuple[str, str, str]:
    """Return a run, its replay with other code, and the page of their result."""
    run = await site.run(FILES)
    load(site, fixed)
    replay = (await site.replay(run, "input", "upper"))["execution_id"]
    await site.work()
    return run, replay, url(f"/executions/{run}/result", **{"with": replay})


async def test_the_page_of_a_replay_has_the_matrix_with_links_to_its_objects(
    site: Site, pair: tuple[str, str, str]
):
    run, replay, here = pair
    batch = (await site.get(f"executions/{replay}"))["replay_batch_id"]

    view = (await site.twin(f"/replays/{batch}"))["view"]["matrix"]
    page = await site.page(f"/replays/{batch}")

    api = (await site.get(f"executions/{run}/result/{replay}"))["cells"]
    shown = {(row["before"], one["after"]): one for row in view["rows"] for one in row["cells"]}
    assert {key: one["objects"] or 0 for key, one in shown.items()} == {
        (one["before"], one["after"]): one["objects"] for one in api if one["before"] != "none"
    }
    texts = {key: one["text"] for key, one in shown.items() if one["objects"]}
    assert texts == {
        ("done", "same"): "no change: as hoped",
        ("done", "other"): "look at these first",
        ("done", "other_error"): "this replay broke these",
        ("failed", "same_error"): "the fix does not reach these",
        ("failed", "other"): "repaired",
    }
    assert shown["done", "same_error"]["objects"] is None
    for one in shown.values():
        assert bool(one["href"]) == bool(one["objects"])
        if one["href"]:
            assert html.escape(one["href"]) in page
            assert "<h1>Did the fix work?" in await site.page(one["href"].partition("#")[0])
    cells = await site.cells(f"/replays/{batch}")
    assert (cells["mx.done.same"], cells["mx.done"], cells["mx.failed"]) == ("1", "3", "2")
    assert here in page or html.escape(here) in page


async def test_a_replay_of_what_readers_see_has_the_matrix_too(site: Site):
    await site.apply(DATASET)
    await published(site, await site.run({"a.md": b"one", "b.md": b"other one"}))
    seen = str(await site.services.resolve.execution("current:docs"))
    load(site, fixed)
    made = await site.replay(seen, "input", "upper")
    await site.work()

    page = await site.page(f"/replays/{made['replay_batch_id']}")
    assert "no change: as hoped" in page
    assert "look at these first" in page
    here = url(f"/executions/{seen}/result", **{"with": made["execution_id"]})
    assert html.escape(here) in page
    at = (await site.twin(here))["view"]["at"]
    assert (at["step"]["object"]["path"], at["output"]["path"]) == ("b.md", "b.md")
    assert "<ins>TWO</ins>" in await site.page(here)


async def test_a_replay_that_broke_nothing_says_so(site: Site):
    run = await site.run({"a.md": b"one"})
    batch = (await site.replay(run, "input", "upper"))["replay_batch_id"]
    await site.driven()
    assert "nothing broke" not in await site.page(f"/replays/{batch}")
    await site.work()

    page = await site.page(f"/replays/{batch}")
    assert "nothing broke" in page
    assert "had no result" not in page


async def test_objects_are_listed_by_error_folder_and_stage(site: Site, pair: tuple[str, str, str]):
    _, replay, here = pair
    cell = f"{here}&before=failed&after=same_error"

    view = (await site.twin(cell))["view"]["list"]
    page = await site.page(cell)

    assert (view["by"], [one["first"] for one in view["groups"]]) == ("error", ["b/still.md"])
    letter = view["groups"][0]["failure"]["correlation_id"]
    assert f'href="/dead-letters/{letter}"' in page
    assert "this is" in page
    [href] = view["hrefs"]
    narrowed = (await site.twin(href.partition("#")[0]))["view"]["list"]
    assert [one["path"] for one in narrowed["objects"]] == ["b/still.md"]

    folders = (await site.twin(f"{cell}&by=folder"))["view"]["list"]
    assert [one["name"] for one in folders["groups"]] == ["b"]
    batch = (await site.get(f"executions/{replay}"))["replay_batch_id"]
    [again] = folders["replays"]
    assert f"in_replay={batch}" in again
    assert "from_path=b" in again
    assert html.escape(again) in await site.page(f"{cell}&by=folder")
    stages = (await site.twin(f"{cell}&by=stage"))["view"]["list"]
    assert [one["name"] for one in stages["groups"]] == ["upper"]
    every = (await site.twin(f"{cell}&by=all"))["view"]["list"]
    assert every["objects"] == narrowed["objects"]


async def test_without_a_cell_the_worst_one_is_listed(site: Site, pair: tuple[str, str, str]):
    here = pair[2]

    view = (await site.twin(here))["view"]
    page = await site.page(here)

    assert (view["list"]["where"]["before"], view["list"]["where"]["after"]) == ("done", "other_error")
    assert "2 of 5 fail" in page
    assert 'aria-current="true"' in page
    failed = html.unescape(re.findall(r'href="(/replay\?[^"]*)"', page)[0])
    assert "from_stage=input&to_route=upper&only=failed&in_replay=" in failed


async def test_differences_are_shown_side_by_side_one_object_after_the_other(site: Site):
    run = await site.run({f"{n}.md": f"{n} other one".encode() for n in range(3)})
    load(site, fixed)
    replay = (await site.replay(run, "input", "upper"))["execution_id"]
    await site.work()
    cell = url(f"/executions/{run}/result", **{"with": replay, "before": "done", "after": "other"})

    first = (await site.twin(cell))["view"]["at"]
    page = await site.page(cell)

    assert (first["step"]["position"], first["step"]["objects"], first["previous"]) == (1, 3, None)
    assert [(one["stage"], one["path"], one["state"]) for one in first["outputs"]] == [
        ("shouted", "0.md", "changed"),
        ("split/words", "0/0003.txt", "changed"),
    ]
    assert first["others"] == 2
    assert "OTHER <del>ONE</del>" in page
    assert "OTHER <ins>TWO</ins>" in page
    assert f'data-key="j" href="{html.escape(first["next"])}"' in page
    second = (await site.twin(first["next"].partition("#")[0]))["view"]["at"]
    assert second["step"]["object"]["path"] == "1.md"
    assert second["previous"] == first["next"].replace("at=2", "at=1")
    third = (await site.twin(second["next"].partition("#")[0]))["view"]["at"]
    assert (third["step"]["position"], third["next"]) == (3, None)
    words = await site.page(first["hrefs"][1].partition("#")[0])
    assert '<td class="del">ONE</td>' in words
    assert '<td class="add">TWO</td>' in words
    await site.page(f"{cell}&at=99", 400)


def typed(kind: str, data: bytes) -> Any:
    """Return an adapter that produces these bytes."""

    @adapter("upper", produces=kind)
    def produce(item: Item) -> bytes:
        return data

    return produce


async def changed(site: Site, kind: str, old: bytes, new: bytes) -> tuple[dict[str, Any], str]:
    """Return what the page shows of an object whose bytes have changed, and the page."""
    load(site, typed(kind, old))
    run = await site.run({"a.md": b"a"})
    load(site, typed(kind, new))
    replay = (await site.replay(run, "input", "upper"))["execution_id"]
    await site.work()
    cell = url(f"/executions/{run}/result", **{"with": replay, "before": "done", "after": "other"})
    shown: dict[str, Any] = (await site.twin(cell))["view"]["at"]["shown"]
    return shown, await site.page(cell)


async def test_cells_of_csv_are_compared_one_by_one(site: Site):
    old, new = b"id,name\n1,ada\n2,bob\n", b'id,name\n1,ada\n2,"bo,b"\n3,eve\n'

    shown, page = await changed(site, "text/csv", old, new)

    assert shown["kind"] == "cells"
    rows = [
        [
            [(cell["text"], cell["is_changed"]) for cell in row[side] or ()]
            for side in ("left_cells", "right_cells")
        ]
        for row in shown["rows"]
        if row["is_changed"]
    ]
    assert rows == [
        [[("2", False), ("bob", True)], [("2", False), ("bo,b", True)]],
        [[], [("3", True), ("eve", True)]],
    ]
    assert "<ins>bo,b</ins>" in page


async def test_json_is_compared_with_one_value_a_line(site: Site):
    shown, page = await changed(site, "application/json", b'{"a":1,"b":2}', b'{"a":1,"b":3}')

    assert (shown["kind"], shown["note"]) == ("text", "Both are compared as re-indented JSON.")
    assert [row["is_changed"] for row in shown["rows"]] == [False, False, True, False]
    assert "<ins>3</ins>" in page


async def test_images_are_next_to_each_other_and_other_bytes_are_not_shown(site: Site):
    shown, page = await changed(site, "image/png", b"PNG one", b"PNG two")
    assert shown["kind"] == "images"
    assert page.count("<img src=") == 2

    shown, page = await changed(site, "application/octet-stream", b"\0one", b"\0two")
    assert shown["kind"] == "nothing"
    assert "The bytes are not text" in page


async def test_the_page_asks_as_often_for_many_objects_as_for_few(site: Site):
    asked = []
    for count in (3, 60):
        load(site, typed("text/plain", b"old"))
        run = await site.run({f"{n}.md": b"a" for n in range(count)})
        load(site, typed("text/plain", b"new"))
        replay = (await site.replay(run, "input", "upper"))["execution_id"]
        await site.work()
        cell = url(f"/executions/{run}/result", **{"with": replay, "before": "done", "after": "other"})
        await site.twin(cell)
        before = site.catalog_outage.asked
        assert len((await site.twin(cell))["view"]["list"]["objects"]) == count
        asked.append(site.catalog_outage.asked - before)
    assert asked[0] == asked[1]


async def test_a_review_is_recorded_with_a_name_and_the_next_object_follows(site: Site):
    run = await site.run({f"{n}.md": f"{n} other one".encode() for n in range(3)})
    load(site, fixed)
    replay = (await site.replay(run, "input", "upper"))["execution_id"]
    await site.work()
    cell = url(f"/executions/{run}/result", **{"with": replay, "before": "done", "after": "other"})
    at = (await site.twin(cell))["view"]["at"]
    page = await site.page(cell)
    assert 'value="right" data-key="y"' in page
    action = url(f"/executions/{run}/result/review")
    assert f'method="post" action="{action}"' in page

    unnamed = await site.send(action, **at["fields"], verdict="right", reviewer=" ")
    answer = await site.send(action, **at["fields"], verdict="right", reviewer="Ada")
    wrong = await site.send(
        action, **at["fields"] | {"at": "3", "next": "3"}, verdict="wrong", reviewer="Ada"
    )
    undecided = await site.send(action, **at["fields"], reviewer="Ada")

    assert (unnamed.status_code, "write your name" in unnamed.text) == (400, True)
    assert (undecided.status_code, "parameter verdict" in undecided.text) == (400, True)
    assert answer.status_code == wrong.status_code == 303
    following = (await site.twin(answer.headers["location"].partition("#")[0]))["view"]
    assert (following["at"]["step"]["object"]["path"], following["reviewer"]) == ("1.md", "Ada")
    assert following["list"]["reviewed"] == "2 of 3 reviewed: 1 right, 1 wrong"
    first = await site.page(following["at"]["previous"].partition("#")[0])
    assert "looks right" in first
    assert "to Ada" in first
    assert "2 of 3 reviewed: 1 right, 1 wrong" in first
    api = await site.get(f"executions/{run}/result/{replay}")
    counts = {(one["before"], one["after"]): (one["right"], one["wrong"]) for one in api["cells"]}
    assert counts["done", "other"] == (1, 1)
    [reviewed] = [
        one["review"]
        for one in await site.items(f"executions/{run}/result/{replay}/objects")
        if one["path"] == "2.md"
    ]
    assert (reviewed["is_right"], reviewed["reviewed_by"]) == (False, "Ada")
    cross = await site.http.post(action, data=at["fields"], headers={"Origin": "http://elsewhere"})
    assert cross.status_code == 403


async def test_two_runs_have_a_result_too(site: Site):
    first = await site.run({"a.md": b"bad a", "b.md": b"b"})
    load(site, fixed)
    second = await site.run({"a.md": b"bad a", "b.md": b"b", "c.md": b"c"})

    page = await site.page(url(f"/executions/{first}/result", **{"with": second}))

    assert "had no result" in page
    assert "nothing fails" in page


def slowed(site: Site) -> asyncio.Event:
    """Let counts wait for a gate. Returns the gate."""
    return site.slow(
        "listed_after",
        lambda catalog: {"result": ResultService(catalog, site.store, site.rt.environment)},
    )


async def test_a_page_does_not_wait_for_a_count_and_gets_it_later(site: Site, pair: tuple[str, str, str]):
    run, replay, here = pair
    gate = slowed(site)
    batch = (await site.get(f"executions/{replay}"))["replay_batch_id"]

    for path in (here, f"/replays/{batch}"):
        page = await site.page(path)
        assert "objects are counted so far" in page
        assert "data-live-url" in page, "the count follows"
    gate.set()
    await site.get(f"executions/{run}/result/{replay}")

    for path in (here, f"/replays/{batch}"):
        page = await site.page(path)
        assert "look at these first" in page
        assert "data-live-url" not in page


async def test_while_objects_are_counted_again_the_page_has_the_numbers_before(
    site: Site, pair: tuple[str, str, str]
):
    run, replay, here = pair
    batch = (await site.get(f"executions/{replay}"))["replay_batch_id"]
    cell = f"{here}&before=done&after=other_error"
    gate = slowed(site)
    gate.set()
    await site.get(f"executions/{run}/result/{replay}")
    gate.clear()
    assert (await site.twin(cell))["view"]["matrix"]["as_of"] is None
    [letter] = (await site.twin(cell))["view"]["list"]["groups"]
    answer = await site.http.post(f"/api/v1/dead-letters/{letter['failure']['correlation_id']}/resend")
    assert answer.status_code < 300, answer.text
    await site.work()

    for path in (cell, f"/replays/{batch}"):
        view = (await site.twin(path))["view"]["matrix"]
        assert (len(view["rows"]), view["is_complete"]) == (2, False)
        page = await site.page(path)
        assert "; as of <time" in page
        assert "data-live-url" in page
        assert (await site.cells(path))["mx.as_of"] == view["as_of"]
    assert [one["objects"] for one in (await site.twin(cell))["view"]["list"]["groups"]] == [1]
    waiting = asyncio.ensure_future(site.get(f"executions/{run}/result/{replay}"))
    gate.set()
    assert (await waiting)["is_complete"]
    assert (await site.twin(cell))["view"]["matrix"]["as_of"] is None


async def test_an_execution_without_messages_is_named(site: Site):
    run = await site.run({"a.md": b"one"})
    other = run[:-1] + ("0" if run[-1] != "0" else "1")
    await site.put(f"{other}/input/a.md")

    page = await site.page(url(f"/executions/{other}/result", **{"with": run}))

    assert "is adopted: it has no messages" in page
