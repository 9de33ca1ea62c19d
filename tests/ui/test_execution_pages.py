"""The pages of executions: the list, the pipeline with its counts, and the tabs."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from playhead.model import Counts, Execution, Problem, RoutePause
from playhead.web.page import url
from playhead.web.verdict import verdict
from tests.api.server import WORDS
from tests.ui.drawings import names
from tests.ui.site import Site
from tests.waiting import until

STEP = "  r{0}:\n    adapters: [{{type: upper}}]\n    outbound: {{stage: s{0}, to: [{1}]}}\n"
LARGE = 'version: "1.0"\nname: large\nentry: r0\nroutes:\n' + "".join(
    STEP.format(number, f"r{number + 1}" if number < 119 else "") for number in range(120)
)
ADOPTED = "01a213bc-9b9c-77a3-b71b-2d245629ac9a"


def text(html: str) -> str:
    """Return the words of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", html.split("<main", 1)[1]).split())


def labels(html: str) -> list[str]:
    """Return the accessible names of the boxes of the drawing."""
    drawing = html[html.index("<svg xmlns") :]
    return names(drawing[: drawing.index("</svg>") + len("</svg>")])


async def test_a_completed_run_says_so_first(site: Site):
    identity = await site.run({"a.md": b"one two", "b.md": b"three"}, tags=("nightly",))
    page = text(await site.page(f"/executions/{identity}"))
    assert "All 4 messages are done." in page
    assert page.index("are done.") < page.index("Pipeline")
    assert "nightly" in page


async def test_a_failed_run_names_the_failures_and_where_their_inputs_are(site: Site):
    identity = await site.run({"a.md": b"bad", "b.md": b"fine"})
    html = await site.page(f"/executions/{identity}")
    page = text(html)
    assert "1 of 3 messages failed." in page
    assert "this is bad" in page
    assert "Its input is stored under input" in page
    assert f"/dead-letters?execution_id={identity}" in html


async def test_several_groups_of_failures_have_a_link_to_all_their_dead_letters(site: Site):
    def banner(html: str) -> str:
        return html.split('role="status">')[1].split('<nav class="tabs"')[0]

    one = await site.run({"a.md": b"bad"})
    several = await site.run({"a.md": b"bad", "b.md": b"bad luck", "c.md": b"bad luck"})
    html = banner(await site.page(f"/executions/{several}"))
    assert text(f"<main{html}").endswith("Look at one Resend 2… All 3 dead letters")
    assert re.search(rf'href="/dead-letters\?execution_id={several}">All', html)
    assert "with other errors" not in html
    many = await site.run({"a": b"bad", "b": b"bad luck", "c": b"bad luck", "d": b"bad day", "e": b"bad end"})
    assert "2 dead letters with other errors, or in other routes." in banner(
        await site.page(f"/executions/{many}")
    )
    assert text(f"<main{banner(await site.page(f'/executions/{one}'))}").endswith("Look at one Resend 1…")


async def test_the_drawing_and_the_table_have_the_same_numbers(site: Site):
    identity = await site.run({"a.md": b"bad", "b.md": b"one two"})
    twin = await site.twin(f"/executions/{identity}")
    counts = {one["route"]: one["counts"] for one in (await site.get(f"executions/{identity}/dag"))["routes"]}
    html = await site.page(f"/executions/{identity}")
    assert {"upper upper 1 done 1 failed", "shouted 1 object · 7 B"} <= {*labels(html)}
    assert {"split split 1 done", "split/words 2 objects · 6 B"} <= {*labels(html)}
    for row in twin["view"]["content"]["pipeline"]["rows"]:
        tally = row["node"]["tally"]
        assert tally["done"] == counts[row["node"]["name"]]["completed"]
        assert tally["failed"] == counts[row["node"]["name"]]["failed"]
    drawn = {
        box["content"]["routes"][0]: {part["state"]: part["count"] for part in box["content"]["parts"]}
        for box in twin["view"]["content"]["pipeline"]["drawing"]["boxes"]
        if box["content"]["kind"] == "route"
    }
    assert drawn["upper"] == {"done": 1, "failed": 1}


async def test_the_address_chooses_stage_and_route(site: Site):
    identity = await site.run({"a.md": b"one"})
    html = await site.page(f"/executions/{identity}?stage=split/words&route=upper")
    assert "playhead</text>" in html
    assert f"/replay?from_execution_id={identity}&amp;from_stage=split%2Fwords" in html
    assert f"/executions/{identity}?tab=messages&amp;route=upper" in html
    assert 'href="?stage=shouted"' in html


async def test_the_table_view_has_no_drawing(site: Site):
    identity = await site.run({"a.md": b"one"})
    html = await site.page(f"/executions/{identity}?view=table")
    assert "<svg xmlns" not in html
    assert re.search(r"<td[^>]*><a href=\"[^\"]+\"><b>upper</b></a>", html)


async def test_120_routes_are_at_most_40_boxes_and_one_table(site: Site):
    await site.apply(LARGE)
    identity = await site.run({"a.md": b"bad", "b.md": b"fine"}, config="large")
    for query in ("", "?view=around&focus=r100&depth=3", "?view=around&focus=r7&depth=20"):
        html = await site.page(f"/executions/{identity}{query}")
        assert html.count('class="g-box"') + html.count('class="g-stage" width="132"') <= 40
    assert "s100 1 object · 4 B" in labels(await site.page(f"/executions/{identity}?view=around&focus=r100"))
    table = await site.page(f"/executions/{identity}?view=table")
    assert len(re.findall(r"<b>r\d+</b>", table)) == 120


async def test_a_running_execution_has_live_numbers_and_can_be_cancelled(site: Site):
    answer = await site.http.post("/api/v1/configs/words/run", files=[("files", ("a.md", b"one"))])
    identity = answer.json()["execution_id"]
    await site.driven()
    html = await site.page(f"/executions/{identity}")
    said = (
        "1 of 1 message to go. upper waits: no worker consumes the queue words.upper. Run: playhead worker."
    )
    assert said in text(html)
    assert 'data-live="route:upper:open"' in html
    cells = await site.cells(f"/executions/{identity}")
    assert cells["verdict"] == said
    assert cells["open"] == cells["route:upper:open"] == "1"
    assert (await site.send(f"/executions/{identity}/cancel")).status_code == 303
    after = await site.page(f"/executions/{identity}")
    assert "Cancelled on request." in text(after)
    assert "data-live-url" not in after
    assert "/cancel" not in after


async def test_a_paused_route_is_named_in_the_sentence_and_in_the_drawing(site: Site):
    answer = await site.http.post("/api/v1/configs/words/run", files=[("files", ("a.md", b"one"))])
    await site.driven()
    await site.services.queues.pause("words", "upper", RoutePause("the provider is down"))

    page = await site.page(f"/executions/{answer.json()['execution_id']}")

    assert "upper is paused: the provider is down." in text(page)
    drawing = page[page.index("<svg xmlns") :]
    assert ">paused<" in drawing[: drawing.index("</svg>")]


async def test_with_a_worker_nothing_waits(site: Site):
    answer = await site.http.post("/api/v1/configs/words/run", files=[("files", ("a.md", b"one"))])
    await site.driven()
    await site.consume("words.upper")
    assert "no worker" not in await site.page(f"/executions/{answer.json()['execution_id']}")


async def test_an_adopted_execution_shows_its_objects(site: Site):
    await site.put(f"{ADOPTED}/pages/a.html")
    html = await site.page(f"/executions/{ADOPTED}")
    assert "Another program stored these objects." in text(html)
    assert "pages" in text(html)
    assert "a.html" in text(html)
    assert "Count all stages" in text(html)
    counted = await site.page(f"/executions/{ADOPTED}?tab=objects&count=yes")
    assert "1 object" in text(counted)


async def test_a_replay_names_its_source_and_both_are_one_family(site: Site):
    source = await site.run({"a.md": b"one two"})
    again = await site.replay(source, "shouted", "split")
    await site.work()
    page = await site.page(f"/executions/{again['execution_id']}")
    assert f"/executions/{source}" in page
    assert f"/replays/{again['replay_batch_id']}" in page
    assert "shouted → split" in text(await site.page(f"/executions/{source}"))
    for one in (source, again["execution_id"]):
        tree = (await site.twin(f"/executions/{one}?tab=family"))["view"]["content"]
        assert tree["root"]["execution_id"] == source
        assert [below["execution_id"] for below in tree["root"]["branches"]] == [again["execution_id"]]
        assert tree["replays"] == 1
        await site.page(f"/executions/{one}?tab=family")


async def test_the_objects_of_a_stage_are_listed_in_pages(site: Site):
    identity = await site.run({f"{number:03}.md": b"one" for number in range(101)})
    first = await site.page(f"/executions/{identity}?tab=objects&stage=shouted")
    assert text(first).count(".md") == 100
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following
    last = text(await site.page(following[1].replace("&amp;", "&")))
    assert "100.md" in last
    assert "First page" in last
    assert f"/replay?from_execution_id={identity}&amp;from_stage=shouted" in first
    assert "No objects" in text(
        await site.page(f"/executions/{identity}?tab=objects&stage=split/words&path=x")
    )


async def test_messages_are_filtered_by_route_and_state(site: Site):
    identity = await site.run({"a.md": b"bad", "b.md": b"one"})
    dead = (await site.twin(f"/executions/{identity}?tab=messages&status=dead"))["view"]["content"]
    assert [one["input_key"] for one in dead["messages"]] == [f"{identity}/input/a.md"]
    split = await site.page(f"/executions/{identity}?tab=messages&route=split")
    assert "shouted/b.md" in split
    assert "a.md" not in text(split)
    assert "No messages match." in text(await site.page(f"/executions/{identity}?tab=messages&status=retry"))


async def test_the_config_tab_has_the_text_of_the_version_that_ran(site: Site):
    identity = await site.run({"a.md": b"one"})
    assert "entry: upper" in await site.page(f"/executions/{identity}?tab=config")


@pytest.mark.parametrize(("name", "tags"), [("latest", ()), ("tag:nightly", ("nightly",))])
async def test_names_of_executions_redirect_and_keep_the_query(site: Site, name: str, tags: Any):
    identity = await site.run({"a.md": b"one"}, tags=tags)
    answer = await site.http.get(f"/executions/{name}?tab=config")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/executions/{identity}?tab=config"
    short = await site.http.get(f"/executions/{identity[-8:]}")
    assert short.headers["location"] == f"/executions/{identity}"


async def test_unknown_executions_and_wrong_parameters_are_refused(site: Site):
    identity = await site.run({"a.md": b"one"})
    await site.page("/executions/01a213bc-9b9c-77a3-b71b-2d2456290000", 404)
    await site.page(f"/executions/{identity}?view=circle", 400)
    await site.page(f"/executions/{identity}?depth=99", 400)
    await site.page(f"/executions/{identity}?tab=nothing", 400)


async def test_the_list_keeps_its_filters_in_the_address(site: Site):
    good = await site.run({"a.md": b"one"}, tags=("nightly",))
    failed = await site.run({"a.md": b"bad"})
    whole = await site.page("/executions")
    assert whole.index(failed[-8:]) < whole.index(good[-8:])
    assert good[-8:] not in text(await site.page("/executions?status=failed"))
    assert failed[-8:] not in text(await site.page("/executions?tag=nightly"))
    none = await site.page("/executions?config=other&kind=replay")
    assert "No execution matches these filters." in text(none)
    assert 'value="other"' in none
    assert good[-8:] not in text(await site.page("/executions?until=-1h"))
    page = await site.page("/executions?status=odd&since=yesterday&config=words", 400)
    assert "Status is &#39;odd&#39;" in page
    assert 'name="since" value="yesterday"' in page
    assert 'name="config" value="words"' in page
    assert "Since is not a time" in await site.page("/executions?since=yesterday", 400)


async def test_newer_executions_are_offered_and_move_no_row(site: Site):
    first = await site.run({"a.md": b"one"})
    html = await site.page("/executions")
    live = re.search(r'data-live-url="([^"]+)"', html)
    assert live
    await site.run({"a.md": b"two"})
    answer = await site.http.get(live[1].replace("&amp;", "&"))
    assert answer.json()["cells"]["newer"] == "1"
    assert answer.json()["cells"][f"done.{first}"] == "2"


async def test_an_empty_list_names_the_next_command(site: Site):
    assert "playhead run" in text(await site.page("/executions"))


async def test_a_config_shows_its_graph_text_and_changes(site: Site):
    await site.apply(WORDS.replace("stage: shouted", "stage: loud"))
    html = await site.page("/configs/words?version=2&against=1")
    assert "loud" in labels(html)
    assert "<ins>loud</ins>" in html
    assert "<del>shouted</del>" in html
    assert "entry: upper" in html
    twin = await site.twin("/configs/words?version=2&against=1")
    assert (twin["view"]["change"]["added"], twin["view"]["change"]["removed"]) == (1, 1)
    assert "version=2&amp;against=1" in await site.page("/configs/words?version=1")
    assert "Route upper" in text(await site.page("/configs/words?focus=upper"))
    await site.page("/configs/nothing", 404)
    await site.page("/configs/words?version=9", 404)


async def test_a_pruned_execution_says_what_was_deleted_and_offers_no_replay_of_it(site: Site):
    identity = await site.run({"a.md": b"one two"})
    await site.post("prune", {"execution_ids": [identity], "stages": ["shouted"]}, 200)
    html = await site.page(f"/executions/{identity}?stage=shouted")
    assert "The objects of stage shouted" in text(html)
    assert "cannot be replayed" in text(html)
    assert "Replay this stage" not in html
    assert "shouted pruned" in labels(html)
    assert not re.search(r"\b0 objects", html)
    for page in (f"/executions/{identity}?tab=objects", f"/replay?from_execution_id={identity}"):
        assert not re.search(r"\b0 objects", await site.page(page)), page
    assert "Replay this stage" in await site.page(f"/executions/{identity}?stage=split/words")


async def _is_pruned(site: Site) -> bool:
    return not await site.catalog.open_prunings()


async def test_pages_say_when_the_records_of_an_execution_were_deleted(site: Site):
    source = await site.run({"a.md": b"one two"})
    replays = []
    for _ in range(2):
        replays.append(await site.replay(source, "shouted", "split"))
        await site.work()
    for execution in (source, replays[0]["execution_id"]):
        for more in ({}, {"records": True}):
            await site.post("prune", {"execution_ids": [execution]} | more, 200)
            await until(lambda: _is_pruned(site))

    html = await site.page(f"/executions/{source}")
    assert "The records of this execution were deleted" in text(html)
    assert "Their records remain" not in html
    assert "tab=messages" not in html
    assert "were deleted on" in await site.page(f"/executions/{source}?tab=messages", 410)
    assert "were deleted on" in await site.page(url("/objects", key=f"{source}/shouted/a.md"), 410)
    assert "were deleted on" in await site.page(f"/why?execution_id={source}&path=a.md", 404)
    batch = await site.page(f"/replays/{replays[0]['replay_batch_id']}")
    assert "The records of this replay were deleted" in text(batch)
    key = f"{replays[1]['execution_id']}/split/words/a/0001.txt"
    page = text(await site.page(url("/objects", key=key)))
    assert "What is above is not known: its records were deleted" in page
    assert "records deleted" in await site.page(url("/objects", key=key, lineage="list"))
    [root] = (await site.get(f"executions/{replays[1]['execution_id']}/lineage"))["items"]
    assert "what is above is not known" in await site.page(f"/lineage/{root['correlation_id']}")


@pytest.mark.parametrize(
    ("kind", "status", "counts", "error", "sentence"),
    [
        ("run", "completed", Counts(), None, "The run had no inputs. There was nothing to do."),
        ("replay", "completed", Counts(), None, "The stage had no objects. There was nothing to do."),
        ("run", "completed", Counts(completed=1, total=1), None, "The only message is done."),
        (
            *("run", "completed", Counts(completed=9, total=9, processed=5, taken_over=4), None),
            "All 9 messages are done. 5 were processed, 4 reused.",
        ),
        (
            *("run", "failed", Counts(completed=4, failed=1, total=5, taken_over=4, declared_valid=3), None),
            "1 of 5 messages failed. 0 were processed, 4 reused, 3 of them declared valid.",
        ),
        ("run", "running", Counts(), None, "No messages yet: the inputs are being listed."),
        ("run", "running", Counts(pending=7, failed=1, total=9), None, "7 of 9 messages to go, 1 failed."),
        (
            *("run", "cancelled", Counts(completed=2, cancelled=3, total=5), None),
            "Cancelled on request. 2 of 5 messages were done before. 3 were not processed.",
        ),
        (
            *("run", "failed", Counts(completed=5, total=5), Problem("upload_incomplete", "the client left")),
            "Not all inputs became messages (upload_incomplete): the client left.",
        ),
        ("run", "failed", Counts(completed=3, failed=2, total=5), None, "2 of 5 messages failed."),
    ],
)
def test_the_verdict_is_one_sentence(
    kind: Any, status: Any, counts: Counts, error: Problem | None, sentence: str
):
    identity = UUID(ADOPTED)
    of = Execution(
        *(identity, kind, status, "words", 1, "sha256:aa", None, None, [], "2026-11-27T02:04:11.204Z", None),
        error,
        counts,
    )
    assert verdict(of).sentence == sentence


async def test_a_stage_of_another_program_is_named_as_such(site: Site):
    identity = await site.run({"a.md": b"one"})
    page = text(await site.page(f"/executions/{identity}?stage=notes"))
    assert "No route of this pipeline stores it." in page


async def test_a_part_of_a_name_finds_a_route(site: Site):
    await site.apply(LARGE)
    html = await site.page("/configs/large?view=around&focus=R12&depth=1")
    assert {"s11", "s12", "s13"} <= set(labels(html))


async def test_what_changes_while_it_runs_is_a_part_that_is_drawn_again(site: Site):
    answer = await site.http.post("/api/v1/configs/words/run", files=[("files", ("a.md", b"one two"))])
    path = f"/executions/{answer.json()['execution_id']}"
    await site.driven()
    before = (await site.http.get(f"{path}.live")).json()
    html = await site.page(path)
    for part in ("drawing", "chosen", "side", "state", "bar.upper"):
        assert f'data-part="{part}"' in html
    assert before["cells"]["can_cancel"] == "yes"
    await site.work()
    after = (await site.http.get(f"{path}.live")).json()
    assert after["shape"] != before["shape"]
    assert after["cells"]["can_cancel"] == ""
    assert after["cells"]["route:split:done"] == "1"
    assert after["cells"]["stage:split/words:size"] == "2 objects · 6 B"
    assert set(re.findall(r'data-live="([^"]+)"', html)) <= set(after["cells"])


async def test_a_pipeline_shows_the_adapters_of_the_config_and_the_code_that_ran(site: Site):
    execution = await site.run({"a.txt": b"good"})
    site.load("upper", version="9")

    page = await site.page(f"/executions/{execution}?route=upper")

    ran = site.adapters["split"].version
    assert "as loaded now" not in page
    assert "upper 9" not in page
    assert f"The newest message ran with upper {ran};" in page
    assert "upper 9" in await site.page("/configs/words")
