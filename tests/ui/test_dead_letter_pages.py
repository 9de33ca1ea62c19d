"""The pages of dead letters: groups, rows, one, and resends as of the time that a page was drawn."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from playhead.errors import broker_unavailable, store_unavailable
from playhead.ids import uuid7
from playhead.web import render
from playhead.web.dead_letters import _fold
from tests.api.server import WORDS
from tests.ui.site import Site

FORM = re.compile(r'<form[^>]* method="post" action="(/dead-letters[^"]+)">(.*?)</form>', re.S)


def form_of(page: str) -> tuple[str, dict[str, str], str]:
    """Return the action, the fields and the button of the form that resends."""
    found = FORM.search(page)
    assert found, page
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', found[2]))
    button = re.sub("<[^>]+>", "", found[2][found[2].rindex("<button") :]).strip()
    return found[1], {name: html.unescape(value) for name, value in fields.items()}, button


async def confirmed(site: Site, page: str) -> httpx.Response:
    """Press the button of a page that resends, and confirm it."""
    action, fields, _ = form_of(page)
    assert action == "/dead-letters/resend/plan"
    action, fields, _ = form_of((await site.send(action, **fields)).text)
    return await site.send(action, **fields)


async def group_of(site: Site) -> Any:
    [group] = (await site.twin("/dead-letters"))["view"]["groups"]
    return group


async def test_without_dead_letters_the_page_says_so(site: Site):
    assert "There are no dead letters." in await site.page("/dead-letters")
    assert "No dead letter matches the filters." in await site.page("/dead-letters?route=split")


async def test_dead_letters_that_failed_alike_are_one_group(site: Site):
    await site.run({"a": b"bad", "b": b"bad", "c": b"good"})

    page = await site.page("/dead-letters")

    group = await group_of(site)
    assert (group["count"], group["route"], group["error_code"]) == (2, "upper", "rejected")
    assert (await site.cells("/dead-letters"))[f"group.{group['group']}"] == "2"
    assert f'href="/dead-letters?group={group["group"]}"' in page
    rows = (await site.twin(f"/dead-letters?group={group['group']}"))["view"]["rows"]
    assert [row["input_key"][-1] for row in rows] == ["b", "a"]


async def test_a_resend_leaves_later_dead_letters_alone(site: Site):
    await site.run({"a": b"bad", "b": b"bad"})
    group = await group_of(site)
    drawn = await site.page(f"/dead-letters?group={group['group']}")
    await site.run({"c": b"bad"})

    answer = await confirmed(site, drawn)

    assert form_of(drawn)[2] == "Resend 2"
    assert answer.status_code == 303
    page = await site.page(answer.headers["location"])
    assert "2 dead letters were resent. 1 remains: it failed after the page was drawn." in page
    [left] = (await site.twin(f"/dead-letters?group={group['group']}"))["view"]["rows"]
    assert left["input_key"].endswith("/c")


async def test_a_repeated_resend_sends_nothing_again(site: Site):
    await site.run({"a": b"bad"})
    drawn = await site.page(f"/dead-letters?group={(await group_of(site))['group']}")

    action, fields, _ = form_of((await site.send("/dead-letters/resend/plan", **form_of(drawn)[1])).text)

    assert (await site.send(action, **fields)).headers["location"].endswith("resent=1")
    await site.work()
    again = await site.send(action, **fields)

    assert again.headers["location"].endswith("resent=0")
    assert "0 dead letters were resent." in await site.page(again.headers["location"])


async def test_a_resend_first_shows_objects_and_external_effects(site: Site):
    await site.apply(WORDS.replace("to: [split]", "to: [split, aside]"))
    await site.run({"a": b"bad", "b": b"bad"})
    await site.run({"b": b"bad"})
    drawn = await site.page(f"/dead-letters?group={(await group_of(site))['group']}")

    planned = (await site.send("/dead-letters/resend/plan", **form_of(drawn)[1])).text

    assert "Resend 3 dead letters?" in planned
    assert "External effects are repeated in words/aside." in planned
    assert "They are of 2 objects" in planned
    assert len(await site.items("dead-letters")) == 3


async def test_a_page_counts_what_is_newer_and_moves_nothing(site: Site):
    await site.run({"a": b"bad"})
    group = (await group_of(site))["group"]
    page = await site.page(f"/dead-letters?group={group}")
    [live] = re.findall(r'data-live-url="([^"]+)"', page)
    await site.run({"b": b"bad", "c": b"bad"})

    cells = (await site.http.get(html.unescape(live))).json()["cells"]

    assert cells["newer"] == "2"
    assert cells["count"] == "3"


async def test_filters_are_kept_in_links_and_select_what_is_resent(site: Site):
    await site.run({"a": b"bad"})
    execution = await site.run({"a": b"bad", "b": b"bad"})
    path = f"/dead-letters?config=words&route=upper&execution_id={execution}"

    page = await site.page(path)

    [group] = (await site.twin(path))["view"]["groups"]
    assert group["count"] == 2
    assert f"group={group['group']}&amp;execution_id={execution}" in page
    assert 'name="route" value="upper"' in page
    _, fields, button = form_of(page)
    assert button == "Resend all 2 that match"
    assert fields.keys() == {"execution_id", "route", "failed_before"}
    assert (await confirmed(site, page)).headers["location"].endswith("resent=2")
    assert (await group_of(site))["count"] == 1


async def test_a_config_alone_selects_nothing_to_resend(site: Site):
    await site.apply(WORDS.replace("name: words", "name: other").replace("queue: elsewhere", "queue: there"))
    await site.run({"a": b"bad"})
    await site.run({"a": b"bad"}, config="other")

    assert FORM.search(await site.page("/dead-letters?config=words")) is None
    assert FORM.search(await site.page("/dead-letters")) is None
    _, fields, button = form_of(await site.page("/dead-letters?config=words&route=upper"))
    assert (fields["route"], button) == ("words/upper", "Resend all 1 that match")


async def test_more_rows_than_fit_are_on_the_next_page(site: Site):
    await site.run({f"{n:03}": b"bad" for n in range(102)})
    group = (await group_of(site))["group"]

    page = await site.page(f"/dead-letters?group={group}")

    assert "Resend 102" in page
    [following] = re.findall(r'rel="next" href="([^"]+)"', page)
    rest = (await site.twin(html.unescape(following)))["view"]
    assert len(rest["rows"]) == 2
    assert rest["group"]["count"] == 102


async def test_one_dead_letter_leads_to_its_input_its_message_and_a_replay(site: Site):
    execution = await site.run({"dir/a": b"bad"})
    [row] = (await site.twin(f"/dead-letters?group={(await group_of(site))['group']}"))["view"]["rows"]
    message = row["correlation_id"]

    page = await site.page(f"/dead-letters/{message}")

    assert "this is bad" in page
    causes = "/causes?route=words%2Fupper"
    assert f'href="{causes}"' in await site.page(f"/dead-letters?group={row['group']}")
    assert "this is bad" in await site.page(causes)
    assert f'href="/lineage/{message}"' in page
    assert f"/objects?key={execution}%2Finput%2Fdir%2Fa" in page
    twin = await site.twin(f"/dead-letters/{message[-8:]}")
    assert twin["view"]["replay_url"] == (
        f"/replay?from_execution_id={execution}&from_stage=input&from_path=dir%2Fa&to_route=words%2Fupper"
    )
    action, fields, button = form_of(page)
    assert (action, fields, button) == (f"/dead-letters/{message}/resend", {}, "Resend")
    assert (await site.send(action)).headers["location"] == f"/lineage/{message}"
    assert "there is no dead letter" in await site.page(f"/dead-letters/{message}", 404)


async def test_a_dead_letter_names_the_replay_that_has_processed_its_object(site: Site):
    source = await site.run({"a": b"bad"})
    letter = (await site.items("dead-letters"))[0]["correlation_id"]
    page = await site.page(f"/dead-letters/{letter}")
    assert "has processed this input since" not in page
    pages_of_group = ("/dead-letters", f"/dead-letters?group={(await group_of(site))['group']}")
    for path in pages_of_group:
        assert "all objects processed since" not in await site.page(path)
    [cause] = await site.items("causes")
    assert f'href="/causes/{cause["id"]}">Cause</a>: 1 object in 1 route, open' in page
    await site.apply(WORDS.replace("{type: upper}", "{type: split}"))

    replay = await site.replay(source, "input", "upper")
    await site.work()

    page = await site.page(f"/dead-letters/{letter}")
    assert "has processed this input since" in page
    assert "Resend it only if you need its outputs in this execution too." in page
    assert "1 object in 1 route, closed" in page
    assert f'href="/executions/{replay["execution_id"]}"' in page
    for path in pages_of_group:
        assert "all objects processed since" in await site.page(path)


async def test_the_middle_of_a_long_traceback_is_folded(site: Site, monkeypatch):
    await site.run({"a": b"bad"})
    [row] = (await site.twin(f"/dead-letters?group={(await group_of(site))['group']}"))["view"]["rows"]
    letter = await site.services.queues.dead_letter(row["correlation_id"])
    traceback = "\n".join(f"line {n}" for n in range(30))

    async def long(_):
        return replace(letter, traceback=traceback)

    monkeypatch.setattr(type(site.services.queues), "dead_letter", lambda self, _: long(_))

    view = (await site.twin(f"/dead-letters/{row['correlation_id']}"))["view"]

    assert [*view["head"], *view["folded"], *view["tail"]] == traceback.split("\n")
    assert len(view["folded"]) == 16
    assert "16 lines between" in await site.page(f"/dead-letters/{row['correlation_id']}")


async def test_unknown_dead_letters_and_bad_forms_are_errors(site: Site):
    await site.page(f"/dead-letters/{uuid7()}", 404)
    await site.page(f"/dead-letters?execution_id={uuid7()}", 404)
    assert (await site.send("/dead-letters/resend", group="0" * 12)).status_code == 400
    assert (await site.send("/dead-letters/resend", failed_before="2026-01-01T00:00:00Z")).status_code == 400
    assert (
        await site.http.post("/dead-letters/resend", headers={"Origin": "http://evil"})
    ).status_code == 403


async def test_dead_letters_need_neither_the_broker_nor_the_store(site: Site):
    await site.run({"a": b"bad"})
    site.broker_outage.error = broker_unavailable("no route to host")
    site.store_outage.error = store_unavailable("the disk is gone")

    group = await group_of(site)
    assert "words/upper" in await site.page(f"/dead-letters?group={group['group']}")
    await site.page(f"/dead-letters/{group['newest']}")


async def test_what_failed_in_an_execution_or_in_a_replay_can_be_replayed(site: Site):
    run = await site.run({"a.txt": b"bad", "b.txt": b"good", "c.txt": b"bad luck"})
    again = await site.replay(run, "input", "upper")
    await site.work()
    group = (await site.twin("/dead-letters"))["view"]["groups"][0]["group"]

    for execution in (run, again["execution_id"]):
        path = f"/dead-letters?group={group}&execution_id={execution}"
        view = (await site.twin(path))["view"]
        form = await site.http.get(f"{view['replay_url']}&count=1", follow_redirects=True)

        assert len(view["rows"]) == 1
        assert (
            "replays every failed object of the newest execution, also those with other"
            in await site.page(path)
        )
        assert "Replay 2 objects" in form.text, form.text


@pytest.mark.parametrize("statement", [1, 4, 20])
def test_no_frame_of_a_traceback_is_cut(statement: int):
    first = "Traceback (most recent call last):"
    frames = [
        [f'  File "/x/steps.py", line {n}, in step', *["    call("] * statement, "    ^^^^^"]
        for n in range(9)
    ]
    lines = [first, *[line for frame in frames for line in frame], "ValueError: bad"]

    head, folded, tail = _fold(lines)

    assert [*head, *folded, *tail] == lines
    assert list(head) == [first, *frames[0]]
    assert tail[0] in [frame[0] for frame in frames]
    assert list(tail[-len(frames[-1]) - 1 :]) == [*frames[-1], "ValueError: bad"]
    assert folded


def test_a_short_traceback_is_shown_whole():
    lines = ["Traceback (most recent call last):", '  File "x", line 1, in f', "    f()", "    ^^^", "E: bad"]

    assert _fold(lines) == (lines, [], [])
    assert _fold([]) == ([], [], [])


async def test_the_newest_error_of_a_group_is_shown_with_marks_on_what_differs(site: Site):
    execution = await site.run({"a": b"bad 41"})
    await site.run({"a": b"bad <42>"})

    for path in ("/", "/dead-letters"):
        assert "<code>this is bad &lt;<mark>42</mark>&gt;</code>" in await site.page(path), path
    assert "<code>this is bad <mark>41</mark></code>" in await site.page(f"/executions/{execution}")


async def test_the_filters_of_dead_letters_offer_values(site: Site):
    await site.run({"a": b"bad"})

    page = await site.page("/dead-letters?route=upper")

    for values in ("words", "upper"):
        assert f'<option value="{values}"></option>' in page
    assert '<option value="split"></option>' in page  # a route without dead letters


def test_a_long_error_is_cut_in_lists_also_within_what_differs():
    assert render.marked("no " + "x" * 300) == f"no {'x' * 237}…"
    assert render.marked(f"'{'x' * 300}' is unknown") == f"<mark>&#39;{'x' * 239}…</mark>"
