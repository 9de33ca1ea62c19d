"""The page of an object."""

from __future__ import annotations

import asyncio
import html
import re
import time
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest

from playhead.errors import store_unavailable
from playhead.model import PublishRequest
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.services.lineage import LineageService
from playhead.services.objects import ObjectService
from playhead.web.page import url
from tests.api.server import WORDS
from tests.slowness import slowness
from tests.ui.site import Site


async def test_an_object_shows_its_content_its_way_and_what_was_made_of_it(site: Site):
    execution = await site.run({"a/x.md": b"one two"})
    key = f"{execution}/shouted/a/x.md"

    page = await site.page(url("/objects", key=key))

    assert "ONE TWO" in page
    assert f"/objects?key={execution}%2Finput%2Fa%2Fx.md" in page
    assert "Where it came from" in page
    view = (await site.twin(url("/objects", key=key)))["view"]
    assert (view["stage"], view["path"]) == ("shouted", "a/x.md")
    assert [step["kind"] for step in view["ancestry"]["steps"]] == ["object", "message", "object"]
    assert view["ancestry"]["steps"][-1]["is_source"]
    assert view["sidecar"]["adapters"][0]["type"] == "upper"
    assert view["ancestry"]["made_count"] == 1


class CatalogInTurn:
    """A catalog that returns the family of an object after a request for the newest runs of a config."""

    def __init__(self, site: Site) -> None:
        self._catalog = site.catalog
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    async def executions(self, of: ExecutionFilter, **given: Any) -> Any:
        if of.kind == "run":
            self.asked.set()
        return await self._catalog.executions(of, **given)

    async def family(self, *given: Any, **named: Any) -> Any:
        await self.asked.wait()
        return await self._catalog.family(*given, **named)


async def test_parts_that_do_not_need_each_other_are_read_at_once(site: Site):
    execution = await site.run({"x.md": b"one"})
    catalog = cast(Any, CatalogInTurn(site))
    objects = ObjectService(catalog, site.store, lambda key: None)
    lineage = LineageService(catalog, site.store)
    site.rt.services = replace(site.services, objects=objects, lineage=lineage)
    site.make_app()

    async with asyncio.timeout(30):
        assert "Where it came from" in await site.page(url("/objects", key=f"{execution}/shouted/x.md"))


async def test_a_long_path_is_shortened_where_the_page_repeats_it(site: Site):
    path = "a-folder-with-a-long-name/" * 4 + "x.md"
    execution = await site.run({path: b"one two"})

    page = await site.page(url("/objects", key=f"{execution}/shouted/{path}"))

    end = "/…" + f"shouted/{path}"[-40:]
    assert f"<b>shouted{end}</b>" in page
    assert f">input{end}</a>" in page


async def test_an_input_has_no_way_and_shows_what_was_made_of_it(site: Site):
    execution = await site.run({"a.md": b"one two"})

    view = (await site.twin(url("/objects", key=f"{execution}/input/a.md")))["view"]

    assert [step["kind"] for step in view["ancestry"]["steps"]] == ["object"]
    assert view["ancestry"]["made_count"] == 2
    assert [one["route"] for one in view["ancestry"]["made"]] == ["upper"]
    assert "1 of 2 is shown." in await site.page(url("/objects", key=f"{execution}/input/a.md"))
    assert view["content"]["view"] == "text"


async def test_a_map_crosses_three_replays(site: Site):
    execution = await site.run({"a.md": b"one two three"})
    replays = []
    for _ in range(3):
        replays.append((await site.replay(execution, "shouted", "split"))["execution_id"])
        await site.work()
    key = f"{replays[-1]}/split/words/a/0002.txt"

    view = (await site.twin(url("/objects", key=key)))["view"]

    nodes = view["ancestry"]["nodes"]
    assert {node["row"] for node in nodes} == {execution, *replays}
    assert sum("rp" in edge["css"] for edge in view["ancestry"]["map"]["edges"]) == 3
    assert [name for name, _ in view["ancestry"]["map"]["columns"]] == ["input", "shouted", "split/words"]
    [here] = [node for node in nodes if node["side"] == "self"]
    assert (here["title"], here["sub"]) == ("a/0002.txt", "this, 1 of 3; split, split 1")
    assert [step["kind"] for step in view["ancestry"]["steps"]] == [
        *("object", "message", "replay", "object", "message", "object"),
    ]
    page = await site.page(url("/objects", key=key))
    assert page.count('class="g-edge hot rp"') == 1
    assert "3 objects" in await site.page(url("/objects", key=key, lineage="list"))


async def test_a_fan_out_of_thousands_is_one_box(site: Site):
    execution = await site.run({"a.md": b"word " * 2000})

    view = (await site.twin(url("/objects", key=f"{execution}/input/a.md")))["view"]

    boxes = view["ancestry"]["map"]["boxes"]
    assert [box["content"]["name"]["whole"] for box in boxes] == ["a.md", "a.md", "2,000 objects"]


async def test_an_object_of_a_replay_is_compared_with_that_of_its_source(site: Site):
    execution = await site.run({"a.md": b"one two"})
    replay = (await site.replay(execution, "input", "upper"))["execution_id"]
    await site.work()

    view = (await site.twin(url("/objects", key=f"{replay}/shouted/a.md")))["view"]

    assert view["against"]["key"] == f"{execution}/shouted/a.md"
    assert [one["execution_id"] for one in view["versions"]] == [execution, replay]
    assert view["content"]["view"] == "text"
    page = await site.page(url("/objects", key=f"{replay}/shouted/a.md", view="changes"))
    assert "Both objects have the same bytes" in page


async def test_the_code_of_the_object_that_it_is_compared_with_is_named(site: Site):
    execution = await site.run({"a.md": b"one two"})
    site.load("upper", code="sha256:bb")
    other = (await site.replay(execution, "input", "upper"))["execution_id"]
    await site.work()
    site.load("upper", version="2")
    newer = (await site.replay(execution, "input", "upper"))["execution_id"]
    await site.work()

    for replay, used in ((other, "other code"), (newer, "version 1")):
        page = await site.page(url("/objects", key=f"{replay}/shouted/a.md"))
        assert re.search(
            rf'<span class="tag hot">The run of <time[^>]+>[0-9:]+</time> used {used}</span>', page
        )


async def test_the_same_path_in_other_runs_of_the_config_is_offered(site: Site):
    execution = await site.run({"a.md": b"one two", "b.md": b"only here"})
    alone = await site.page(url("/objects", key=f"{execution}/shouted/b.md"))
    replay = (await site.replay(execution, "input", "upper"))["execution_id"]
    await site.work()
    later = await site.run({"a.md": b"one 2"})

    view = (await site.twin(url("/objects", key=f"{execution}/shouted/a.md")))["view"]
    page = await site.page(url("/objects", key=f"{replay}/shouted/a.md"))

    assert "No replay of the same run, and none of the newest runs of the same config, has an" in alone
    assert [one["execution_id"] for one in view["versions"]] == [execution, replay]
    assert [one["key"] for one in view["runs"]] == [f"{later}/shouted/a.md"]
    [changes] = re.findall(rf'href="([^"]+against={later}[^"]+)#content"', page)
    assert "Save all" in await site.page(html.unescape(changes))
    assert '<tr class="add">' in await site.page(html.unescape(changes))


async def test_changed_lines_are_shown_against_any_execution(site: Site):
    first = await site.run({"a.md": b"one\ntwo\nthree"})
    second = await site.run({"a.md": b"one\n2\nthree"})
    address = url("/objects", key=f"{second}/shouted/a.md", view="changes", against=first)

    view = (await site.twin(address))["view"]

    changes = view["content"]["changes"]
    assert (changes["added"], changes["removed"], changes["is_exact"]) == (1, 1, True)
    page = await site.page(address)
    assert "TWO" in page
    assert '<tr class="add">' in page


async def test_a_newline_that_only_one_text_ends_with_is_shown(site: Site):
    first = await site.run({"a.md": b"one\ntwo\n"})
    second = await site.run({"a.md": b"one\ntwo"})

    page = await site.page(url("/objects", key=f"{second}/shouted/a.md", view="changes", against=first))

    rows = re.findall(r'<tr class="(\w+)">.*?<td>([^<]*)(.*?)</td></tr>', page)
    marker = '<span class="dim">no newline at the end</span>'
    assert rows == [("del", "TWO", ""), ("add", "TWO ", marker)]


async def test_a_large_object_is_shown_in_part_and_in_time(site: Site):
    execution = await site.run({"a.md": b"one"})
    key = f"{execution}/shouted/large.txt"
    await site.put(key, b"0123456789abcde\n" * 3_750_000)

    await site.page(url("/objects", key=f"{execution}/shouted/a.md"))  # templates are compiled once
    start = time.process_time()
    page = await site.page(url("/objects", key=key))
    took = time.process_time() - start

    assert "The first 64 kB are shown" in page
    assert "60.0 MB" in page
    assert len(page) < 120_000
    assert took < 0.3 * slowness()


async def test_a_pruned_object_keeps_its_records(site: Site):
    execution = await site.run({"a.md": b"one two"})
    answer = await site.http.post("/api/v1/prune", json={"execution_ids": [execution]})
    assert answer.status_code == 200, answer.text
    await site.driven()

    page = await site.page(url("/objects", key=f"{execution}/shouted/a.md"), 410)

    assert "The content was deleted by a prune" in page
    assert "Where it came from" in page
    assert "Replay this object" not in page
    assert "Its lineage and its record are kept" in page


async def test_an_unknown_object_and_an_invalid_key_are_errors(site: Site):
    execution = await site.run({"a.md": b"one"})

    assert "there is no stored object" in await site.page(url("/objects", key=f"{execution}/input/b"), 404)
    await site.page(url("/objects", key="no key"), 400)
    await site.page("/objects", 400)


async def test_an_unavailable_store_hides_only_the_content(site: Site):
    execution = await site.run({"a.md": b"one two"})
    site.store_outage.error = store_unavailable("the store does not answer")

    page = await site.page(url("/objects", key=f"{execution}/shouted/a.md"))

    assert "the store does not answer" in page
    assert "Where it came from" in page


async def test_an_object_of_another_program_is_shown_without_a_sidecar(site: Site):
    execution = await site.run({"a.md": b"one"})
    await site.put(f"{execution}/elsewhere/b.json", b'{"a":[1,2]}')

    page = await site.page(url("/objects", key=f"{execution}/elsewhere/b.json"))

    assert "stored by another program" in page
    assert "has no sidecar" in page


@pytest.mark.parametrize(
    ("view", "expected"),
    [("bytes", "00000000"), ("text", "&lt;b&gt;"), ("rendered", '<iframe class="frame" sandbox ')],
)
async def test_html_is_shown_as_text_as_bytes_and_in_a_sandbox(site: Site, view: str, expected: str):
    execution = await site.run({"a.md": b"one"})
    key = f"{execution}/shouted/page.html"
    await site.put(key, b"<b>bold</b>")

    assert expected in await site.page(url("/objects", key=key, view=view))


async def test_bytes_are_saved_under_their_name(site: Site):
    execution = await site.run({"a.md": b"one"})

    answer = await site.http.get(url("/objects/raw", key=f"{execution}/shouted/a.md", save="yes"))

    assert answer.content == b"ONE"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a.md"
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_an_object_says_in_which_publications_readers_see_it(site: Site):
    await site.apply(WORDS + "datasets: {docs: {}}\n")
    publish = site.services.publish
    one = await site.run({"a.md": b"one two"})
    key = f"{one}/shouted/a.md"
    assert "current in docs" not in await site.page(url("/objects", key=key))
    await publish.publish("docs", PublishRequest([UUID(one)]))
    two = (await site.replay(one, "input", "upper"))["execution_id"]
    await site.work()
    await publish.publish("docs", PublishRequest([UUID(two)]))

    page = await site.page(url("/objects", key=key))
    assert '<a href="/datasets/docs/1?config=words">was in docs 1</a>' in page
    assert ", current in docs since 2</small>" in page, "of the same path in the replay"
    page = await site.page(url("/objects", key=f"{two}/shouted/a.md"))
    assert '<a href="/datasets/docs/2?config=words">current in docs since 2</a>' in page

    await publish.roll_back("docs")
    assert ">current in docs since 1<" in await site.page(url("/objects", key=key))
    assert ">was in docs 2<" in await site.page(url("/objects", key=f"{two}/shouted/a.md"))
    # A reference, and the name of an object in a publication, have the bytes of the published object.
    answer = await site.http.post(
        "/api/v1/configs/words/run", files=[("files", ("a.md", b"one two"))], data={"changed_since": one}
    )
    await site.work()
    current = (await publish.publication("docs")).execution_id
    for same in (answer.json()["execution_id"], current):
        page = await site.page(url("/objects", key=f"{same}/shouted/a.md"))
        assert ">current in docs since 1<" in page
