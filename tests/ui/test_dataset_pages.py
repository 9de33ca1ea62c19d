"""The pages of datasets and publications, and the forms that publish and go back."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from playhead.ids import uuid7
from playhead.model import Dataset, PublishRequest, SinkCheck, SinkState
from playhead.web.needs import of_datasets
from tests.api.server import WORDS
from tests.ui.site import Site, joined, text_of

DATASET = WORDS + "datasets: {docs: {}}\n"
FILES = {"a": b"x y", "b": b"z"}
DOCS = "/datasets/docs?config=words"
LONG = "d" * 63


@pytest.fixture
async def run(site: Site) -> str:
    await site.apply(DATASET)
    return await site.run(FILES)


async def publish(site: Site, *executions: str, **fields: str) -> Any:
    """Send the form that publishes as a browser without JavaScript does: with what its page shows."""
    form = await site.page(form_of(*executions))
    [seq] = re.findall(r'name="expect_seq" value="(\d+)"', form)
    [counted] = re.findall(r'name="counted" value="(\w+)"', form)
    given = {"execution": " ".join(executions), "expect_seq": seq, "counted": counted, **fields}
    return await site.send("/datasets/docs/publish?config=words", **given)


def form_of(*executions: str, more: str = "") -> str:
    return f"/datasets/docs/publish?config=words&execution={'+'.join(executions)}{more}"


async def published(site: Site, *executions: str, **fields: str) -> None:
    answer = await publish(site, *executions, **fields)
    assert (answer.status_code, answer.headers.get("location")) == (303, DOCS), answer.text


# -- nothing is published --------------------------------------------------------------------------


async def test_without_a_dataset_the_list_says_how_to_get_one(site: Site):
    page = await site.page("/datasets")

    assert "No config declares a dataset." in page
    assert 'href="/datasets" aria-current="page"' in page
    assert "no dataset" in await site.page("/datasets/docs", 404)
    assert "no dataset" in await site.page("/datasets/docs/1", 404)
    assert "no dataset" in await site.page("/datasets/docs/publish", 404)
    assert (await site.send("/datasets/docs/release")).status_code == 404


async def test_before_the_first_publication_the_runs_wait(site: Site, run: str):
    listed, page = await site.page("/datasets"), await site.page(DOCS)

    assert "nothing published" in listed
    assert "Nothing is published in docs: readers see nothing." in text_of(page)
    assert html.escape(form_of(run)) in page
    assert "Nothing was published yet." in page
    [dataset] = (await site.twin("/datasets"))["view"]["datasets"]
    assert (dataset["current"], dataset["unpublished"]) == (None, [run])
    assert (await site.twin(DOCS))["view"]["dataset"]["seq"] == 0
    assert "Not published in docs" in text_of(await site.page(f"/executions/{run}"))


# -- publish ---------------------------------------------------------------------------------------


async def test_the_form_counts_what_would_change_and_stores_nothing(site: Site, run: str):
    page = await site.page(form_of(run))

    assert "Publish 7 changes as 1" in text_of(page)
    assert 'name="expect_seq" value="0"' in page
    view = (await site.twin(form_of(run)))["view"]
    counts = {one["name"]: (one["total"], one["added"], one["same"]) for one in view["stages"]}
    assert counts == {"input": (2, 2, 0), "shouted": (2, 2, 0), "split/words": (3, 3, 0)}
    assert view["command"] == f"playhead publish words/docs {run}"
    assert (await site.get("datasets/docs/publications", all=True))["items"] == []


async def test_a_publication_by_form_is_what_readers_see(site: Site, run: str):
    await published(site, run, reason="first")

    page = text_of(await site.page(DOCS))
    assert "Readers of docs see publication 1 since " in page
    assert ": 7 objects (2 in input, 2 in shouted, 3 in split/words)." in page
    assert "No result waits for publication." in page
    found = await site.get("datasets/docs/publications/1")
    assert (found["state"], found["reason"]) == ("published", "first")
    assert "published" in await site.page("/datasets")


async def test_a_second_click_publishes_nothing_again(site: Site, run: str):
    for _ in range(2):
        answer = await site.send("/datasets/docs/publish?config=words", execution=run, expect_seq="0")
        assert (answer.status_code, answer.headers["location"]) == (303, DOCS)

    assert len((await site.get("datasets/docs/publications", all=True))["items"]) == 1


async def test_a_form_that_changed_after_the_count_is_counted_again(site: Site, run: str):
    answer = await publish(site, run, allow="older")

    assert (answer.status_code, "the form has changed" in joined(answer.text)) == (400, True)
    assert "Publish 7 changes as 1" in text_of(answer.text)
    assert re.search(r'name="allow" value="older" checked', joined(answer.text))
    assert (await site.get("datasets/docs"))["current"] is None


async def test_a_form_that_another_publication_has_overtaken_is_refused(site: Site, run: str):
    other = await site.run({"a": b"x q", "b": b"z"})
    await published(site, run)

    late = await site.send("/datasets/docs/publish?config=words", execution=other, expect_seq="0")

    assert late.status_code == 409
    assert '<b class="m">publication_moved</b>' in joined(late.text)
    assert 'name="expect_seq" value="1"' in joined(late.text)
    assert (await site.get("datasets/docs"))["current"] == 1


async def test_a_refusal_is_on_the_form_with_its_code(site: Site, run: str):
    await published(site, run)
    small = await site.run({"a": b"x y"})

    counted = await site.page(form_of(small), 409)
    assert '<b class="m">publication_shrinks</b>' in counted
    assert "1 of 2 inputs would be removed" in counted
    assert "Publish 1" not in text_of(counted)
    sent = await site.send("/datasets/docs/publish?config=words", execution=small, expect_seq="1")
    assert (sent.status_code, "publication_shrinks" in sent.text) == (409, True)
    assert "publication_shrinks" in await site.page("/datasets/docs/2?config=words")

    allowed = await site.page(form_of(small, more="&allow=removed"))
    assert re.search(r'name="allow" value="removed" checked', allowed)
    await site.send("/datasets/docs/publish?config=words", execution=small, expect_seq="1", allow="removed")
    assert (await site.get("datasets/docs"))["current"] == 3


async def test_failed_documents_are_named_with_what_happens_to_them(site: Site, run: str):
    await published(site, run)
    other = await site.run({"a": b"bad", "b": b"z"})

    page = await site.page(form_of(other))
    assert "1 with earlier results, because processing failed" in page
    assert "earlier results kept" in page
    assert "this is bad" in page
    assert "without a change" in text_of(page)
    await published(site, other)
    assert "earlier results kept" in await site.page("/datasets/docs/2?config=words")
    assert (await site.twin("/datasets/docs/2?config=words"))["view"]["notes"][0]["path"] == "a"


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"execution": str(uuid7()), "expect_seq": "0"}, 404, "execution_not_found"),
        ({"execution": "nothing-like-it", "expect_seq": "0"}, 404, "execution_not_found"),
        ({"execution": "latest"}, 400, "count the changes first"),
        ({"execution": "latest", "expect_seq": "x"}, 400, "use a number"),
        ({"execution": "latest", "expect_seq": "9" * 30}, 400, "use a number"),
        ({"execution": "latest", "expect_seq": "0", "on_failure": "x"}, 400, "use one of"),
        ({"execution": "latest", "expect_seq": "0", "allow": "x"}, 400, "use one of"),
        ({"execution": "latest", "expect_seq": "0", "reason": "x" * 1001}, 400, "reason"),
        ({"execution": "latest", "expect_seq": "0", "reason": "<b>\0"}, 400, "NUL"),
        ({"execution": "", "expect_seq": "0"}, 400, "executions"),
    ],
)
async def test_a_form_with_a_bad_field_is_refused(
    site: Site, run: str, fields: dict[str, str], status: int, text: str
):
    answer = await site.send("/datasets/docs/publish?config=words", **fields)

    assert (answer.status_code, text in joined(answer.text)) == (status, True), answer.text
    assert (await site.get("datasets/docs"))["current"] is None


async def test_what_people_typed_is_escaped(site: Site, run: str):
    await published(site, run, reason="<script>alert(1)</script>")

    pages = [DOCS, "/datasets/docs/1?config=words", "/datasets?name=<script>", form_of("<script>")]
    for path in pages:
        assert "<script>" not in (await site.http.get(path)).text.replace("<script src", ""), path


async def test_the_form_names_the_base_and_runs_that_only_add_inputs(site: Site, run: str):
    other = await site.run({"c": b"new"})
    path = f"/datasets/docs/publish?config=words&base={run}&add={other}"

    page = await site.page(path)
    command = (await site.twin(path))["view"]["command"]
    [seq] = re.findall(r'name="expect_seq" value="(\d+)"', page)
    [mark] = re.findall(r'name="counted" value="(\w+)"', page)
    wanted = {"base": run, "add": other, "expect_seq": seq}
    changed = await site.send(path, **(wanted | {"add": "", "counted": mark}))
    sent = await site.send("/datasets/docs/publish?config=words", **wanted, counted=mark)

    assert command == f"playhead publish words/docs --base {run} --add {other}"
    assert (changed.status_code, "the form has changed" in changed.text) == (400, True)
    assert sent.status_code == 303, sent.text
    parts = (await site.get("datasets/docs/publications/1"))["parts"]
    assert [(one["execution_id"], one["role"]) for one in parts] == [(run, "base"), (other, "layer")]


async def test_the_form_says_that_the_dataset_is_held_and_that_publishing_ends_the_hold(site: Site):
    await site.apply(WORDS + "datasets: {docs: {publish: automatic}}\n")
    for text in (b"x", b"y"):
        run = await site.run({"a": text})
        await published(site, run)
    form = form_of(run)
    assert "Publishing ends the hold" not in await site.page(form)
    await site.post("datasets/docs/rollback", {"to": 1, "reason": "wrong text"})

    page = text_of(await site.page(form))
    twin = await site.twin(form)

    assert (
        "because of a rollback to publication 1: “wrong text”. Publishing ends the hold: runs of words"
        in page
    )
    assert (twin["view"]["hold"]["n"], twin["view"]["hold"]["reason"]) == (1, "wrong text")
    await published(site, run)
    assert not (await site.get("datasets/docs"))["held"]


# -- go back ---------------------------------------------------------------------------------------


@pytest.fixture
async def two(site: Site, run: str) -> tuple[str, str]:
    """Two publications, of which the second one changes an object in each stage."""
    await published(site, run)
    other = await site.run({"a": b"x q", "b": b"z"})
    await published(site, other)
    return run, other


async def test_a_rollback_by_form(site: Site, two: tuple[str, str]):
    history = await site.page(DOCS)
    assert "/datasets/docs/rollback?config=words&amp;to=1" in history
    assert 'aria-label="Compare 1 with current"' in history

    form = await site.page("/datasets/docs/rollback?config=words&to=1")
    assert "3 objects change (1 in input, 1 in shouted, 1 in split/words)." in form
    assert "Automatic publication will be held" in form
    answer = await site.send(
        "/datasets/docs/rollback?config=words", to="1", expect_seq="2", reason="wrong text"
    )

    assert (answer.status_code, answer.headers["location"]) == (303, DOCS)
    page = text_of(await site.page(DOCS))
    assert "Readers of docs see publication 1" in page
    assert "Automatic publication is held since" in page
    assert "because of a rollback to publication 1: “wrong text”." in page
    assert re.search(r"2 ?taken back.*Roll back to this ?1 ?current", page)
    later = text_of(await site.page("/datasets/docs/2?config=words"))
    assert "Publication 2 of docs taken back" in later
    assert "Roll back to this" in later
    assert "a rollback" in page
    assert (await site.get("datasets/docs"))["held"]
    assert "Rollback of words/docs to publication 1: wrong text" in await site.page("/find?q=wrong+text")
    assert (await site.send("/datasets/docs/release?config=words")).headers["location"] == DOCS
    assert not (await site.get("datasets/docs"))["held"]


async def test_refused_rollbacks_are_on_the_form(site: Site, two: tuple[str, str]):
    path = "/datasets/docs/rollback?config=words"

    late = await site.send(path, to="1", expect_seq="1")
    assert (late.status_code, "publication_moved" in joined(late.text)) == (409, True)
    assert 'name="expect_seq" value="2"' in joined(late.text)
    for to in ("7", "x", "0", "9" * 40, ""):
        answer = await site.send(path, to=to, expect_seq="2")
        assert (answer.status_code, "publication_not_found" in joined(answer.text)) == (404, True), to
    assert (await site.send(path, to="1")).status_code == 400
    assert "publication_not_found" in await site.page(f"{path}&to=7", 404)
    assert "Readers see publication 2 already." in await site.page(f"{path}&to=2")
    assert (await site.http.get(path)).status_code == 400
    assert (await site.get("datasets/docs"))["current"] == 2


async def test_many_changes_are_not_counted_to_their_end(
    site: Site, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("playhead.web.rollbackform._MOST_COUNTED", 2)

    assert "More than 2 objects change." in await site.page("/datasets/docs/rollback?config=words&to=1")


async def test_an_earlier_publication_can_be_compared_with_the_current_one(site: Site, two: tuple[str, str]):
    path = "/datasets/docs/1?config=words"
    page = await site.page(path)

    assert "Roll back to this" in page
    assert f'href="/executions/{two[0]}"' in page
    [compare] = re.findall(r'href="(/executions/[^"]+/compare\?with=[^"]+)"', page)
    assert "3 objects differ" in await site.page(compare)
    current = await site.page("/datasets/docs/2?config=words")
    assert "Roll back to this" not in current
    assert "Compare with 2 (current)" in page
    assert "(current)" not in current
    assert "All results of its parts are published." in current


async def test_the_counts_of_a_publication_lead_to_its_changes(site: Site, two: tuple[str, str]):
    third = await site.run({"b": b"z", "c": b"new"})
    await site.services.publish.publish("docs", PublishRequest([UUID(third)], allow=["removed"]))
    rows = (await site.twin("/datasets/docs/3?config=words"))["view"]["stages"]
    page = await site.page("/datasets/docs/3?config=words")

    states = {"added": "added", "changed": "changed", "removed": "missing", "same": "same"}
    found = [(row["name"], name, row[name]) for row in rows for name in states if row[name]]
    assert {("split/words", "added", 1), ("split/words", "removed", 2), ("input", "same", 1)} <= set(found)
    links = [html.unescape(one) for one in re.findall(r'href="([^"]+/compare[^"]+state=[^"]+)"', page)]
    assert len(links) == len(found)
    for href, (stage, name, count) in zip(links, found, strict=True):
        objects = (await site.twin(href))["view"]["objects"]
        assert [(one["stage"], one["state"]) for one in objects] == [(stage, states[name])] * count
    assert "state=" not in await site.page("/datasets/docs/1?config=words"), "it has no base"


async def test_the_id_of_a_publication_leads_to_its_page_and_its_objects(site: Site, two: tuple[str, str]):
    identity = (await site.get("datasets/docs/publications/1"))["execution_id"]

    answer = await site.http.get(f"/executions/{identity}")

    assert (answer.status_code, answer.headers["location"]) == (303, "/datasets/docs/1?config=words")
    assert "split/words" in await site.page(f"/executions/{identity}?tab=objects")
    for tab in ("family", "messages", "config"):
        assert (await site.http.get(f"/executions/{identity}?tab={tab}")).status_code == 200, tab


async def test_an_unknown_publication_is_a_404(site: Site, two: tuple[str, str]):
    for n in ("3", "0", "x", "9" * 40, "-1", "%3Cb%3E"):
        assert (await site.http.get(f"/datasets/docs/{n}?config=words")).status_code == 404, n
    assert (await site.http.get("/datasets/docs/1?config=nothing")).status_code == 404


# -- drafts ----------------------------------------------------------------------------------------


async def draft(site: Site, execution: str) -> Any:
    """Begin a publication that no process prepares."""
    request = PublishRequest([UUID(execution)])
    return await site.catalog.begin_publication("words", "docs", request, owner="another", lease=60)


async def test_a_draft_is_shown_and_cancelled(site: Site, run: str):
    await draft(site, run)

    page = text_of(await site.page(DOCS))
    assert "is being prepared since" in page
    assert "preparing" in page
    assert "It is being prepared." in await site.page("/datasets/docs/1?config=words")
    second = await site.run({"a": b"x q", "b": b"z"})
    refused = await site.send("/datasets/docs/publish?config=words", execution=second, expect_seq="0")
    assert (refused.status_code, "publication_in_progress" in joined(refused.text)) == (409, True)

    await site.send("/datasets/docs/cancel?config=words", n="2")
    assert (await site.get("datasets/docs"))["draft"]["n"] == 1
    answer = await site.send("/datasets/docs/cancel?config=words", n="1")
    assert answer.headers["location"] == DOCS
    assert (await site.get("datasets/docs"))["draft"] is None
    assert "It was cancelled." in await site.page("/datasets/docs/1?config=words")
    assert (await site.send("/datasets/docs/cancel?config=words", n="x")).status_code == 404


async def test_the_shape_changes_with_the_state(site: Site, run: str):
    live = "/datasets/docs.live?config=words"
    shapes = [(await site.http.get(live)).json()["shape"]]
    await draft(site, run)
    shapes.append((await site.http.get(live)).json()["shape"])
    await site.send("/datasets/docs/cancel?config=words", n="1")
    shapes.append((await site.http.get(live)).json()["shape"])

    assert shapes[0] == shapes[2] != shapes[1]


# -- names -----------------------------------------------------------------------------------------


async def test_a_name_of_several_configs_leads_to_the_list_of_them(site: Site, run: str):
    other = DATASET.replace("name: words", "name: other").replace("queue: elsewhere", "queue: there")
    await site.apply(other)

    answer = await site.http.get("/datasets/docs")

    assert (answer.status_code, answer.headers["location"]) == (303, "/datasets?name=docs")
    page = await site.page("/datasets?name=docs")
    assert 'href="/datasets/docs?config=other"' in page
    assert 'href="/datasets/docs?config=words"' in page
    assert (await site.http.get("/datasets/docs/1")).status_code == 400
    assert (await site.http.get(DOCS)).status_code == 200


@pytest.mark.parametrize("name", [LONG, "8", "a--_", "publish", "rollback"])
async def test_any_name_that_a_config_may_have_works(site: Site, name: str):
    await site.apply(WORDS + f"datasets: {{'{name}': {{}}}}\n")
    execution = await site.run(FILES)
    path = f"/datasets/{name}"

    answer = await site.send(f"{path}/publish?config=words", execution=execution, expect_seq="0")

    assert answer.headers["location"] == f"{path}?config=words", answer.text
    assert f"Readers of {name} see publication 1" in text_of(await site.page(path))
    assert f"Publication 1 of {name}" in text_of(await site.page(f"{path}/1"))
    assert (await site.twin(f"{path}/1"))["view"]["publication"]["n"] == 1
    assert "already" in await site.page(f"{path}/rollback?to=1")
    assert name in await site.page("/datasets")


# -- the newest code -------------------------------------------------------------------------------


async def test_results_of_other_code_are_counted_and_replayed(site: Site, run: str):
    await published(site, run)
    assert "Differs from the newest code" not in await site.page(DOCS)

    site.load("split", code="sha256:bb")
    page = await site.page(DOCS)
    assert "Differs from the newest code" in page
    [row] = (await site.twin(DOCS))["view"]["stale"]
    assert (row["route"], row["from_stage"], row["stale"], row["results"]) == ("split", "shouted", 2, 2)
    current = (await site.get("datasets/docs/publications/1"))["execution_id"]
    assert row["replay_url"] in html.unescape(page)
    counted = await site.http.get(row["replay_url"])
    assert counted.status_code == 303
    plan = (await site.twin(counted.headers["location"]))["view"]["plan"]
    asked = plan["request"]
    assert (asked["from_execution_id"], asked["from_stage"]) == (current, "shouted")
    assert (asked["to_route"], plan["objects"]) == ("split", 2)

    # After a part of them was replayed, a condition selects the others.
    replay = str((await site.replay(current, "shouted", "split", "a.md"))["execution_id"])
    await site.work()
    await published(site, replay)
    [row] = (await site.twin(DOCS))["view"]["stale"]
    assert (row["stale"], row["results"]) == (1, 2)
    counted = await site.http.get(row["replay_url"])
    plan = (await site.twin(counted.headers["location"]))["view"]["plan"]
    assert (plan["request"]["made_by"], plan["objects"]) == ("split!=newest", 1)
    assert [one["from_path"] for one in await site.items("datasets/docs/stale", route="split")] == ["b.md"]


async def test_the_page_says_why_stale_results_cannot_be_replayed(site: Site, run: str):
    await published(site, run)
    without = DATASET.replace(", to: [split]", "").replace(
        "  split:\n    adapters: [{type: split}]\n    outbound: {stage: split/words}\n", ""
    )
    await site.apply(without)
    assert "The newest version of the config does not have this route." in await site.page(DOCS)
    site.adapters.pop("upper")
    assert "This server has not loaded the adapters of the route." in await site.page(DOCS)


# -- executions and replays ------------------------------------------------------------------------


async def where(site: Site, path: str) -> str:
    """Return the sentence about publication on the page of an execution or a replay."""
    page = await site.page(path)
    found = re.findall(r'<p class="soft">((?:Not published|Published|Replaced).*?)</p>', page, re.S)
    assert len(found) == 1, page
    return text_of(found[0])


async def test_an_execution_says_whether_it_is_published(site: Site, two: tuple[str, str]):
    first, second = two

    assert await where(site, f"/executions/{second}") == "Published in docs 2."
    assert await where(site, f"/executions/{first}") == (
        "Replaced in docs 2; it was published in 1. Publish…"
    )
    await site.send("/datasets/docs/rollback?config=words", to="1", expect_seq="2")
    assert await where(site, f"/executions/{first}") == "Published in docs 1."
    assert (await where(site, f"/executions/{second}")).startswith(
        "Not published: it was in docs 2, and readers see 1 since a rollback."
    )


async def test_a_replay_says_whether_it_is_published(site: Site, run: str):
    await published(site, run)
    batch = (await site.replay(run, "shouted", "split"))["replay_batch_id"]
    await site.work()
    replay = str((await site.get(f"replays/{batch}"))["execution_id"])

    assert await where(site, f"/replays/{batch}") == "Not published in docs. Publish…"
    await published(site, replay)
    assert await where(site, f"/replays/{batch}") == "Published in docs 2."
    assert await where(site, f"/executions/{replay}") == "Published in docs 2."
    assert await where(site, f"/executions/{run}") == (
        "Published in docs 1; readers see 2, which is based on it."
    )


async def test_without_a_dataset_there_is_no_sentence(site: Site):
    page = await site.page(f"/executions/{await site.run(FILES)}")

    assert "ublished in" not in page


# -- the first page --------------------------------------------------------------------------------


async def titles(site: Site) -> list[str]:
    return [need["title"] for need in (await site.twin("/"))["view"]["needs"]]


async def test_waiting_results_need_attention_until_they_are_published(site: Site, run: str):
    assert await titles(site) == ["1 result waits for publication in docs"]
    assert html.escape(DOCS) in await site.page("/")
    await published(site, run)
    assert await titles(site) == []


async def test_a_hold_and_a_refused_automatic_publication_need_attention(site: Site):
    await site.apply(WORDS + "datasets: {docs: {publish: automatic}}\n")
    for files in (FILES, {"a": b"x q", "b": b"z"}):
        await site.run(files)
        await site.services.publish.publish_automatic()
        await site.driven()
    await site.send("/datasets/docs/rollback", to="1", expect_seq="2")

    assert await titles(site) == ["Publication of docs is held, because of a rollback to 1"]

    await site.send("/datasets/docs/release")
    await site.run({"a": b"x y"})
    await site.services.publish.publish_automatic()
    await site.driven()
    found = await titles(site)
    assert found[0] == "Publication 3 of docs was refused"
    page = await site.page("/")
    assert "publication_shrinks" in page
    assert 'href="/datasets/docs/3?config=words"' in page


def a_dataset(**changed: Any) -> Dataset:
    sink = SinkState("index", "sqlite_search", 1, 1, 0.0, 0, 0, None)
    given: dict[str, Any] = {
        "name": "docs",
        "config": "words",
        "current": 2,
        "switched_at": None,
        "seq": 2,
        "decided": 2,
        "draft": None,
        "refused": None,
        "held": False,
        "publish": "manual",
        "routes": ["index"],
        "sinks": [replace(sink, **changed.pop("sink", {}))],
        "unpublished": [],
    }
    return Dataset(**given | changed)


def test_a_sink_needs_attention_if_it_is_late_or_cannot_be_changed():
    def titles_of(**changed: Any) -> list[str]:
        return [one.title for one in of_datasets([a_dataset(**changed)], [])]

    late = "words/index shows publication 1 of docs, and readers see 2"
    assert titles_of() == []
    assert titles_of(sink={"lag_seconds": 59.0}) == []
    assert titles_of(sink={"lag_seconds": 61.0}) == [late]
    assert titles_of(sink={"problem": "the file is gone"}) == [late]
    [need] = of_datasets([a_dataset(sink={"problem": "the file is gone"})], [])
    assert (need.level, need.code) == ("fail", "the file is gone")
    # A hold stops automatic publication only.
    assert titles_of(held=True) == []
    assert titles_of(unpublished=[uuid7()] * 10) == ["10+ results wait for publication in docs"]


async def test_sinks_are_shown_with_what_they_show(site: Site, monkeypatch: pytest.MonkeyPatch):
    await site.apply(DATASET)
    found = a_dataset(current=None, sink={"lag_seconds": 70.0, "staged": 1, "pages": 3})

    async def datasets(*_: object, **__: object) -> list[Dataset]:
        return [found]

    monkeypatch.setattr(site.catalog, "datasets", datasets)

    for path in ("/datasets", DOCS):
        assert "behind for 70 s" in await site.page(path), path
    assert (await site.cells(DOCS))["sink.index"] == "behind for 70 s"
    assert "1 thing waits for you." in await site.page("/")
    answer = await site.send("/datasets/docs/check?config=words")
    assert "route_not_found" in joined(answer.text), "it reaches the catalog, which has no sink"
    sink = replace(found.sinks[0], lag_seconds=0.0)
    found = replace(found, sinks=[replace(sink, is_checked=True)])
    assert "is being compared with the publication" in await site.page(DOCS)
    found = replace(found, sinks=[replace(sink, check=SinkCheck(2, 3, 1, [], [], ""))])
    assert "lacks 3 results, and has 1 that are not published" in await site.page(DOCS)
    found = replace(found, sinks=[replace(found.sinks[0], problem="<b>")])
    assert "cannot be changed: &lt;b&gt;" in await site.page(DOCS)


async def test_the_graph_of_a_pipeline_marks_the_routes_of_a_dataset(site: Site, run: str):
    await published(site, run)

    for path in (f"/executions/{run}", "/configs/words"):
        page = await site.page(path)
        assert "<title>in dataset docs, readers see publication 1</title>" in page, path
        assert "what readers see" in page
        table = await site.page(f"{path}?view=table")
        assert '<span title="in dataset docs, readers see publication 1">' in table, path


async def test_the_events_for_the_webhook_are_shown_and_sent_again(site: Site, run: str):
    await site.apply(WORDS + "datasets: {docs: {webhook: 'https://hooks.example/x'}}\n")
    assert "Webhook" not in await site.page(DOCS)
    await published(site, run)
    [delivery] = (await site.twin(DOCS))["view"]["deliveries"]
    path = "/datasets/docs/send?config=words"

    assert "dataset.published" in await site.page(DOCS)
    assert delivery["delivery_id"] not in await site.page(DOCS), "it was not tried yet"
    answer = await site.send(path, delivery_id=delivery["delivery_id"])
    assert (answer.status_code, answer.headers["location"]) == (303, DOCS)
    assert (await site.send(path, delivery_id=str(uuid7()))).status_code == 404
    assert (await site.send(path, delivery_id="x")).status_code == 400


async def test_a_publication_is_pinned_and_unpinned_on_its_page(site: Site, run: str):
    await published(site, run)
    path = "/datasets/docs/1?config=words"
    assert "playhead publications pin words/docs@1" in await site.page(path)

    pinned = await site.send("/datasets/docs/1/pin?config=words")

    assert (pinned.status_code, pinned.headers["location"]) == (303, path)
    assert (await site.twin(path))["view"]["publication"]["is_pinned"]
    assert 'action="/datasets/docs/1/unpin?config=words"' in await site.page(path)
    await site.send("/datasets/docs/1/unpin?config=words")
    assert not (await site.twin(path))["view"]["publication"]["is_pinned"]
    assert (await site.send("/datasets/docs/2/pin?config=words")).status_code == 404
