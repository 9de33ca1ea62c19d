"""The list of replays, and the page of one."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any

import httpx
import pytest

from playhead.ids import uuid7
from playhead.web.matrix import state_of
from tests.ui.site import Site, text_of

FILES = {f"{name}.txt": b"one two" for name in "abcdef"}


@pytest.fixture
async def source(site: Site) -> str:
    return await site.run(FILES)


async def replayed(site: Site, source: str, **more: Any) -> Any:
    """Start a replay, and return it."""
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split", **more}
    answer = await site.http.post("/api/v1/replay", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    return answer.json()


SLOW = {"pace": {"rate": 0.01}}


async def test_the_list_has_reason_state_and_numbers(site: Site, source: str):
    first = await replayed(site, source, reason="a new splitter")
    await site.work()
    other = await site.run({"x.txt": b"x"})
    await replayed(site, other)

    page = await site.page("/replays")
    of_source = await site.page(f"/replays?from_execution_id={source}")

    assert "a new splitter" in page
    assert "shouted → split" in page
    twin = await site.twin("/replays")
    assert [one["objects_found"] for one in twin["view"]["replays"]][-1] == 6
    assert first["replay_batch_id"] in of_source
    assert len((await site.twin(f"/replays?from_execution_id={source}"))["view"]["replays"]) == 1
    assert (await site.cells("/replays"))[f"{first['replay_batch_id']}.published"] == "6"


async def test_the_numbers_are_those_of_the_api(site: Site, source: str):
    batch = (await replayed(site, source, reason="again"))["replay_batch_id"]
    await site.work()

    page = await site.page(f"/replays/{batch}")
    cells = await site.cells(f"/replays/{batch}")
    twin = await site.twin(f"/replays/{batch}")
    api = await site.get(f"replays/{batch}")

    assert {name: twin["view"]["replay"][name] for name in api if name not in ("rate", "eta_seconds")} == {
        name: value for name, value in api.items() if name not in ("rate", "eta_seconds")
    }
    assert (cells["found"], cells["published"], cells["to_go"]) == ("6", "6", "0")
    assert cells["route.split.text"] == "6 done"
    assert cells["route.split.done"] == "1000.0"
    assert "“again”" in page
    assert "Completed" in page
    assert f"/executions/{source}/compare?with={api['execution_id']}" in page


async def test_a_replay_is_found_by_other_names(site: Site, source: str):
    made = await replayed(site, source)

    for name in ("latest", made["execution_id"], made["replay_batch_id"][-8:]):
        answer = await site.http.get(f"/replays/{name}")
        assert answer.headers["location"] == f"/replays/{made['replay_batch_id']}", name
    assert "there is no replay" in await site.page(f"/replays/{uuid7()}", 404)


async def test_a_replay_can_be_repeated_with_its_pace_its_canary_and_its_guard(site: Site, source: str):
    limits = {
        "pace": {"rate": 0.5},
        "canary": {"objects": 2, "max_failed": 0.25, "seed": 7},
        "pause_if": {"failed": 0.02, "of_last": 50},
    }
    batch = (await replayed(site, source, **limits))["replay_batch_id"]

    again = (await site.twin(f"/replays/{batch}"))["view"]["again"]

    query = dict(httpx.URL(again).params)
    assert (query["pace"], query["pace_value"]) == ("rate", "0.5")
    assert (query["canary"], query["max_failed"], query["canary_seed"]) == ("2", "0.25", "7")
    assert (query["pause_if"], query["of_last"]) == ("0.02", "50")


async def test_pause_resume_pace_and_cancel(site: Site, source: str):
    batch = (await replayed(site, source, **SLOW))["replay_batch_id"]
    path = f"/replays/{batch}"
    await site.http.get(path)

    async def control(name: str, **fields: str) -> Any:
        answer = await site.send(f"{path}/{name}", **fields)
        assert (answer.status_code, answer.headers.get("location")) == (303, path), answer.text
        return await site.get(f"replays/{batch}")

    assert (await control("pause"))["state"] == "paused"
    page = await site.page(path)
    assert f'action="{path}/resume"' in page
    assert f'action="{path}/pause"' not in page
    assert (await control("pace", pace="queue_depth", pace_value="7"))["pace"] == {"queue_depth": 7}
    assert "at most 7 waiting in the queue" in await site.page(path)
    assert (await control("pace", pace="rate", pace_value="0.01"))["pace"] == {"rate": 0.01}
    assert (await control("resume"))["state"] in ("queued", "publishing")
    assert (await control("cancel"))["state"] == "cancelled"
    cells, api = await site.cells(path), await site.get(f"replays/{batch}")
    assert (cells["published"], cells["failed"]) == (
        f"{api['objects_published']}",
        f"{api['objects_failed']}",
    )
    assert f'action="{path}/resume"' not in await site.page(path)


async def test_cancel_and_withdraw(site: Site, source: str):
    batch = (await replayed(site, source, **SLOW))["replay_batch_id"]

    answer = await site.send(f"/replays/{batch}/withdraw")

    assert answer.status_code == 303
    assert (await site.get(f"replays/{batch}"))["state"] == "cancelled"


async def test_a_control_of_an_ended_replay_is_a_notice_on_its_page(site: Site, source: str):
    batch = (await replayed(site, source))["replay_batch_id"]
    await site.work()

    answer = await site.send(f"/replays/{batch}/pause")

    assert answer.status_code == 409
    assert 'id="notice"' in answer.text
    assert "shouted → split" in answer.text
    assert (await site.send(f"/replays/{batch}/pace", pace="rate", pace_value="x")).status_code == 400


async def test_the_shape_changes_with_the_state(site: Site, source: str):
    batch = (await replayed(site, source, **SLOW))["replay_batch_id"]
    live = f"/replays/{batch}.live"

    before = (await site.http.get(live)).json()["shape"]
    await site.send(f"/replays/{batch}/pause")

    assert (await site.http.get(live)).json()["shape"] != before


async def test_the_report_can_be_downloaded(site: Site, source: str):
    batch = (await replayed(site, source, report=True))["replay_batch_id"]
    await site.work()
    await site.services.reports.write_due()

    page = await site.page(f"/replays/{batch}")

    assert f"/api/v1/replays/{batch}/report/lines?revision=1" in page
    assert "6 lines" in page
    same = "outcome=published&amp;work=completed&amp;failed=false"
    assert f'/report/lines?revision=1&amp;{same}">6</a>' in page


@pytest.mark.parametrize("control", ["cancel", "withdraw"])
async def test_a_canary_that_failed_is_explained_until_the_replay_is_cancelled(site: Site, control: str):
    source = await site.run({"a.txt": b"bad", "b.txt": b"good"})
    canary = {"objects": 1, "max_failed": 0}
    request = {"from_stage": "input", "to_route": "upper", "canary": canary, "reason": "one first"}
    batch = (await replayed(site, source, **request))["replay_batch_id"]
    path = f"/replays/{batch}"
    await site.replay_when(batch, lambda shown: shown["waits_for"] == "canary")
    waiting = await site.page(path)
    assert "1 object is published. The others follow if none of the checked objects fail." in text_of(waiting)
    await site.process()
    await site.driven()

    paused = await site.page(path)

    assert (
        "1 of 1 canary objects failed. None may fail, so the replay is paused before the others. Resume "
        "publishes the others. More objects first… publishes some of them and checks these. Cancel… ends"
    ) in text_of(paused)
    [need] = (await site.twin("/"))["view"]["needs"]
    assert need["title"] == f"Replay {batch[-8:]}, input → upper, is paused, 1 of 2 published"
    assert need["detail"] == "1 of 1 canary objects failed. None may fail. Its reason: one first"
    assert "paused: 1 of 1 canary objects failed; press Resume to go on" in paused
    assert f"{batch}/resume continues" not in paused
    # The object that failed and its error are on the page, and what they lead to is not "Resume".
    assert "<code>this is bad</code>" in paused
    made = (await site.get(f"replays/{batch}"))["execution_id"]
    [letter] = await site.items("dead-letters", execution_id=made)
    assert f'href="/dead-letters/{letter["correlation_id"]}">input/a.txt</a>' in paused
    # What the object leads to is not "Resume".
    assert 'class="b go"' not in paused.split("Resume…")[0].rpartition("<details")[2]

    await site.send(f"{path}/{control}")
    cancelled = await site.page(path)

    assert "the replay is paused" not in cancelled
    assert "<span>cancelled at <time" in cancelled
    assert "published at <time" not in cancelled
    assert (await site.get(f"replays/{batch}"))["paused_by"] is None


async def test_replay_again_fills_in_the_form(site: Site, source: str):
    made = await replayed(site, source, include=["a.*"], reason="first")

    twin = await site.twin(f"/replays/{made['replay_batch_id']}")

    assert "include=a.%2A" in twin["view"]["again"]
    answer = await site.http.get(twin["view"]["again"])
    assert "plan_id=" in answer.headers["location"]


async def test_what_failed_can_be_replayed_again(site: Site):
    source = await site.run({"a.txt": b"bad", "b.txt": b"good"})
    batch = (await replayed(site, source, from_stage="input", to_route="upper"))["replay_batch_id"]
    await site.work()

    twin = await site.twin(f"/replays/{batch}")
    answer = await site.http.get(twin["view"]["failed_again"], follow_redirects=True)

    page = await site.page(f"/replays/{batch}")
    assert "All published; 1 message failed" in page
    assert re.search(r"\+ <span[^>]+>0</span> could not be published \+", page)
    assert "Replay 1 object<" in answer.text


async def test_deliveries_of_the_webhook_are_shown_and_sent_again(site: Site, source: str):
    made = await replayed(site, source, webhook="https://hooks.example/x")
    path = f"/replays/{made['replay_batch_id']}"
    [delivery] = (await site.twin(path))["view"]["deliveries"]

    assert "replay.started" in await site.page(path)
    assert (await site.send(f"{path}/send", delivery_id=delivery["delivery_id"])).status_code == 303
    assert (await site.send(f"{path}/send", delivery_id=str(uuid7()))).status_code == 404
    assert (await site.send(f"{path}/send", delivery_id="x")).status_code == 400


async def test_newer_replays_are_counted_and_move_no_row(site: Site, source: str):
    first = (await replayed(site, source))["replay_batch_id"]
    second = (await replayed(site, source))["replay_batch_id"]

    assert (await site.cells(f"/replays?mark={first}"))["newer"] == "1"
    assert (await site.cells(f"/replays?mark={second}"))["newer"] == ""
    drawn_again = await site.page(f"/replays?mark={first}")
    assert f'id="r-{first}"' in drawn_again
    assert f'id="r-{second}"' not in drawn_again


async def test_lists_show_the_dead_letters_of_a_replay(site: Site):
    source = await site.run({"a.txt": b"bad", "b.txt": b"good"})
    batch = (await replayed(site, source, from_stage="input", to_route="upper"))["replay_batch_id"]
    await site.work()

    for path in ("/replays", f"/executions/{source}", f"/executions/{source}?tab=family"):
        assert re.search(
            r'class="st fail pill">.{,300}?<span>all published; 1 message failed<', await site.page(path)
        ), path
    assert (await site.cells("/replays"))[f"{batch}.failed"] == "1"
    assert "publishing complete" not in await site.page("/replays")


async def cancelled(site: Site, source: str, found: int, published: int = 0, **more: Any) -> tuple[str, int]:
    """Cancel a replay after some objects. Return its batch, and the number of those that are left."""
    batch = (await replayed(site, source, **{**SLOW, **more}))["replay_batch_id"]
    for _ in range(200):
        now = await site.get(f"replays/{batch}")
        if (now["objects_found"], now["objects_published"]) == (found, published):
            break
        await asyncio.sleep(0.02)
    await site.send(f"/replays/{batch}/cancel")
    return batch, (await site.get(f"replays/{batch}"))["objects_failed"]


async def test_objects_that_a_cancelled_replay_left_are_not_failures(site: Site, source: str):
    batch, left = await cancelled(site, source, 6)

    assert (await site.cells("/replays"))[f"{batch}.failed"] == f"{left} not published"
    assert '"n bad"' not in await site.page("/replays")
    page = await site.page(f"/replays/{batch}")
    assert f"{left} objects were not published." in page
    assert ">Errors<" not in page
    [rest] = re.findall(r'href="([^"]+)">Replay the remaining', page)
    assert f"only=unfinished&in_replay={batch}" in html.unescape(rest)
    form = await site.http.get(f"{html.unescape(rest)}&count=1", follow_redirects=True)
    assert f"Replay {left} objects<" in form.text


async def test_the_rest_of_a_cancelled_replay_has_no_other_objects(site: Site, source: str):
    batch, left = await cancelled(site, source, 4, 1, limit=4, pace={"rate": 1})
    await site.work()

    page = await site.page(f"/replays/{batch}")
    [rest] = re.findall(r'href="([^"]+)">Replay the remaining', page)
    form = await site.http.get(f"{html.unescape(rest)}&count=1", follow_redirects=True)
    assert f"Replay {left} objects<" in form.text
    refused = await site.http.post(f"/api/v1/replays/{batch}/resume")
    assert f"--in-replay {batch} --limit {left}`;" in refused.json()["detail"]
    assert f"(`limit`: {left})" in (await site.get(f"replays/{batch}"))["errors"][0]

    batch, _ = await cancelled(site, source, 1, from_path="b.md")
    refused = await site.http.post(f"/api/v1/replays/{batch}/resume")
    assert " shouted split --path b.md --only unfinished" in refused.json()["detail"]


async def test_a_replay_that_the_form_cannot_show_is_not_repeated_with_more_objects(site: Site, source: str):
    batch, left = await cancelled(site, source, 3, paths=["a.md", "b.md", "c.md"])

    page = await site.page(f"/replays/{batch}")
    assert f"{left} objects were not published." in page
    assert f"--only unfinished --in-replay {batch}" in page
    assert 'href="/replay?' not in page


async def test_a_bar_of_a_route_is_not_full_while_objects_are_unpublished(site: Site):
    source = await site.run({"0.txt": b"bad"} | {f"{n}.txt": b"text" for n in range(1, 4)})
    begun = await replayed(
        site, source, from_stage="input", to_route="upper", canary={"objects": 2, "max_failed": 0}
    )
    path = f"/replays/{begun['replay_batch_id']}"
    await site.replay_when(begun["replay_batch_id"], lambda shown: shown["waits_for"] == "canary")
    await site.process()
    await site.driven()

    cells = await site.cells(path)

    assert (cells["route.upper.text"], cells["route.upper.done"]) == ("1 done, 1 failed, 2 to go", "250.0")
    assert (cells["route.split.text"], cells["route.split.done"]) == ("1 done", "500.0")


async def paused(site: Site, *, bad: int, objects: int = 6, canary: int = 3) -> str:
    """Start a replay whose canary fails, as its last objects do; return its batch when it is paused."""
    names = [f"{n}.txt" for n in range(objects)]
    source = await site.run({name: b"bad" if n >= canary - bad else b"text" for n, name in enumerate(names)})
    limits = {"canary": {"objects": canary, "max_failed": 0}}
    batch = str(
        (await replayed(site, source, from_stage="input", to_route="upper", **limits))["replay_batch_id"]
    )
    await site.replay_when(batch, lambda shown: shown["waits_for"] == "canary")
    await site.process()
    await site.driven()
    return batch


async def test_a_replay_that_its_canary_has_paused_shows_its_objects_failed_ones_first(site: Site):
    batch = await paused(site, bad=1)

    page = await site.page(f"/replays/{batch}")
    view = (await site.twin(f"/replays/{batch}"))["view"]["evidence"]

    assert [row["object"]["path"] for row in view["rows"]] == ["2.txt", "0.txt", "1.txt"]
    assert [row["object"]["after"] for row in view["rows"]] == ["same_error", "same", "same"]
    assert view["objects"] == 3
    evidence = page.partition('id="evidence"')[2].partition("</section>")[0]
    assert "this is bad" in html.unescape(evidence)
    assert "failed, same error" in evidence
    first = html.unescape(re.findall(r'href="(/executions/[^"]+/result[^"]+)#object"', evidence)[0])
    assert "2.txt" in await site.page(first)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"canary": {"objects": 2, "max_failed": 1}}, "at most 1"),
        ({"canary": {"objects": 2, "max_failed": 0.25}}, "at most 25%"),
        ({"pause_if": {"failed": 0.02, "of_last": 2}}, "at most 2%"),
    ],
)
async def test_a_replay_that_waits_shows_how_many_objects_may_fail(site: Site, limits: Any, words: str):
    source = await site.run({f"{n}.txt": b"text" for n in range(4)})
    begun = await replayed(site, source, from_stage="input", to_route="upper", **limits)
    batch = begun["replay_batch_id"]
    await site.replay_when(batch, lambda shown: shown["waits_for"] in ("canary", "guard"))

    assert f"The others follow if {words} of the checked objects fail." in text_of(
        await site.page(f"/replays/{batch}")
    )


def test_an_object_that_the_replay_has_repaired_looks_as_good_as_in_the_matrix():
    assert (state_of("failed", "other"), state_of("done", "other")) == ("same", "changed")


async def test_more_objects_of_a_paused_replay_are_checked_before_the_others(site: Site):
    batch = await paused(site, bad=1)
    path = f"/replays/{batch}"
    assert "More objects first…" in await site.page(path)

    assert (await site.send(f"{path}/resume", canary="2")).status_code == 303

    await site.replay_when(batch, lambda shown: shown["waits_for"] == "canary")
    shown = await site.get(f"replays/{batch}")
    assert (shown["hold_from"], shown["hold_at"], shown["objects_published"]) == (3, 5, 5)
    page = await site.page(path)
    assert "More objects first…" not in page
    assert "2 published objects" in page
    assert (await site.send(f"{path}/pause")).status_code == 303
    for given, status in (("2", 409), ("0", 400), ("x", 400)):
        assert (await site.send(f"{path}/resume", canary=given)).status_code == status, given
    refused = await site.send(f"{path}/resume", canary="x")
    assert "&#39;x&#39; is not a number of objects; write for example 100" in refused.text
