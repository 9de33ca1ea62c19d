"""The page of what needs attention."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from playhead.errors import broker_unavailable, catalog_unavailable, store_unavailable
from playhead.model import LoadedAdapter, Worker, WorkerAdapter
from playhead.web import home
from playhead.web.needs import of_workers
from tests.api.server import open_playhead
from tests.ui.site import Site, text_of
from tests.ui.test_queue_pages import wait_in
from tests.ui.test_replays_pages import SLOW, replayed

STATE = r'data-part="state[^"]+"><span class="st (\w+) pill">.*?<span>(\w+)</span>'


async def titles(site: Site) -> list[str]:
    return [need["title"] for need in (await site.twin("/"))["view"]["needs"]]


async def test_an_empty_home_names_the_next_command(tmp_path: Any, site: Site):
    assert "Nothing needs attention." in await site.page("/")
    assert "playhead run words inputs/" in await site.page("/")

    async with open_playhead(tmp_path / "empty", Site) as empty:
        page = await empty.page("/")
        assert "playhead init" in page
        assert "The catalog of this server" in page


async def test_dead_letters_that_failed_alike_need_attention_once(site: Site):
    await site.run({"a": b"bad", "b": b"bad", "c": b"good"})

    page = await site.page("/")

    assert "1 new cause of failures." in page
    assert await titles(site) == []
    [row] = (await site.twin("/"))["view"]["causes"]
    cells = await site.cells("/")
    cause = row["cause"]["id"]
    assert (cells[f"objects.{cause}"], cells[f"letters.{cause}"]) == ("2 objects", "2 dead letters")
    assert f'href="/dead-letters/{row["cause"]["newest"]}">Look at one</a>' in page
    assert f'href="/causes/{cause}">Acknowledge…</a>' in page
    assert "only=failed" in row["replay_url"]
    assert (await site.http.get(row["replay_url"], follow_redirects=True)).status_code == 200


async def test_a_queue_without_a_worker_needs_attention_until_one_consumes_it(site: Site):
    await site.run({"a": b"good"})
    await wait_in(site, "words.upper", 12)

    assert await titles(site) == ["No worker for 12 messages in words.upper"]
    page = await site.page("/")
    assert "1 thing waits for you." in page
    assert len(re.findall(r'class="note (?:fail|warn)"', page)) == 1
    assert 'href="/queues/words.upper"' in page
    [mark] = re.findall(r"[?&;]mark=(\w+)", page)
    assert (await site.cells(f"/?mark={mark}"))["news"] == ""

    await site.consume("words.upper")
    assert await titles(site) == []
    assert (await site.cells(f"/?mark={mark}"))["news"] == "Reload: nothing needs attention"


async def test_a_paused_replay_needs_attention_however_many_came_after_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(home, "ROWS", 1)
    source = await site.run({"a": b"good"})
    begun = await replayed(site, source, **SLOW)
    paused = begun["replay_batch_id"]
    await site.services.control.pause(UUID(paused))
    page = await site.page(f"/executions/{begun['execution_id']}")
    assert "The replay is paused: its page has the button to resume it." in page
    await site.consume("words.split")
    await site.replay(source, "shouted", "split")

    [need] = (await site.twin("/"))["view"]["needs"]

    assert (need["level"], need["detail"]) == ("warn", "It was paused on request.")
    assert need["steps"][0]["href"] == f"/replays/{paused}"
    for path in ("/replays?open=true", f"/replays?open=true&from_execution_id={source}"):
        [row] = (await site.twin(path))["view"]["replays"]
        assert row["replay_batch_id"] == paused

    page = await site.page("/")
    assert re.findall(STATE, page) == [
        ("run", "running"),
        ("warn", "paused"),
        ("ok", "completed"),
    ]
    listed = await site.page("/executions")
    assert re.findall(
        r'data-part="state[^"]+"><span class="st (\w+) pill">.*?<span>(\w+)</span>', listed
    ) == [
        ("run", "running"),
        ("warn", "paused"),
        ("ok", "completed"),
    ]

    await site.services.control.cancel(UUID(paused))

    assert (await site.twin("/"))["view"]["needs"] == []
    assert "Publishing has ended for all replays." in await site.page("/replays?open=true")


async def test_old_code_needs_attention_once_for_each_source(site: Site):
    await site.consume("words.upper", worker="worker-1", source=site.changed_file())
    await site.consume("words.split", worker="worker-2", source=site.changed_file())

    [need] = (await site.twin("/"))["view"]["needs"]

    assert need["title"] == "2 workers run old code of steps.py"
    assert "split, upper" in need["detail"]


def test_adapters_that_differ_between_workers_need_attention():
    loaded = LoadedAdapter("upper", "1", "sha256:aa", "/x/steps.py")
    one = WorkerAdapter(**{name: getattr(loaded, name) for name in ("type", "version", "code", "source")})
    times = {"started_at": "2026-01-01T00:00:00Z", "heartbeat_at": "2026-01-01T00:00:00Z"}
    worker = Worker("w", "worker", "b3", 7, ["q"], **times, heartbeat_age_seconds=1, version="1", adapters=[])
    workers = [
        replace(worker, pid=pid, adapters=[replace(one, code=f"sha256:{pid}", notes=["differs"])])
        for pid in (7, 8)
    ]

    [need] = of_workers(workers, [])

    assert need.title == "Workers have loaded different code of adapter upper"
    assert need.detail.startswith("worker 7 on b3, worker 8 on b3; adapters: upper. Any of them may receive")
    assert list(of_workers([replace(one, queues=[]) for one in workers], [])) == []


async def test_without_a_broker_or_a_store_the_rest_is_shown(site: Site):
    execution = await site.run({"a": b"bad"})
    site.broker_outage.error = broker_unavailable("no route to host")
    site.store_outage.error = store_unavailable("the disk is gone")

    page = await site.page("/")

    assert "2 things wait for you, 1 new cause of failures." in page
    assert [title.partition(" (")[0] for title in await titles(site)] == [
        "The store",
        "The broker",
    ]
    assert "no route to host" in page
    assert execution in page


async def test_without_a_catalog_the_page_names_it(site: Site):
    site.catalog_outage.error = catalog_unavailable("the catalog does not answer")

    page = await site.page("/")

    assert "the catalog does not answer" in page
    assert "1 thing waits for you." in page


async def test_numbers_change_in_place_and_new_rows_are_announced(site: Site):
    await site.run({"a": b"bad"})
    page = await site.page("/")
    [live] = re.findall(r'data-live-url="([^"]+)"', page)
    live = html.unescape(live)
    assert (await site.http.get(live)).json()["cells"]["news"] == ""

    await site.run({"b": b"bad"})

    cells = (await site.http.get(live)).json()["cells"]
    assert cells["news"] == "Reload: 1 new cause of failures"
    [objects] = [text for name, text in cells.items() if name.startswith("objects.")]
    assert objects == "2 objects"


async def test_a_cancelled_replay_is_no_completed_execution(site: Site):
    source = await site.run({"a": b"good", "b": b"good"})
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split", "pace": {"rate": 0.01}}
    answer = await site.http.post("/api/v1/replay", json=body, headers={"Prefer": "respond-async"})
    await site.services.control.cancel(UUID(answer.json()["replay_batch_id"]), withdraw=True)

    for path in ("/", "/executions", f"/executions/{answer.json()['execution_id']}"):
        assert "replay cancelled</span>" in (await site.page(path)).lower(), path


async def test_one_cause_in_many_routes_is_one_line_and_hides_nothing_that_waits(site: Site):
    routes = "".join(
        f"  r{n}:\n    adapters: [{{type: upper}}]\n    outbound: {{stage: s{n}}}\n" for n in range(1, 20)
    )
    to = ", ".join(f"r{n}" for n in range(1, 20))
    await site.apply(
        f'version: "1.0"\nname: wide\nentry: r0\nroutes:\n  r0:\n    adapters: [{{type: split}}]\n'
        f"    outbound: {{stage: kept, to: [{to}]}}\n{routes}"
    )
    await site.run({"a": b"bad", "b": b"bad"}, config="wide")
    await site.run({"a": b"good"})
    await wait_in(site, "words.upper", 12)
    await site.consume("words.split", source=site.changed_file())

    view = (await site.twin("/"))["view"]
    page = await site.page("/")

    assert [need["title"] for need in view["needs"]] == [
        "No worker for 12 messages in words.upper",
        "1 worker runs old code of steps.py",
    ]
    [row] = view["causes"]
    assert (row["cause"]["objects"], row["cause"]["letters"], row["cause"]["route_count"]) == (2, 38, 19)
    assert row["replay_url"] is None
    assert page.index("Waiting for you") < page.index("Last 24 hours") < page.index("Failing, by cause")
    assert "2 things wait for you, 1 new cause of failures." in page
    assert "and 18 other routes" in page


async def test_an_acknowledged_cause_needs_no_attention_until_it_is_undone(site: Site):
    await site.run({"a": b"bad"})
    [row] = (await site.twin("/"))["view"]["causes"]
    cause = f"/causes/{row['cause']['id']}"

    page = await site.page(cause)
    assert ">all of this route<" in page
    assert "<option>words@2</option>" in page
    refused = await site.http.post(f"{cause}/acknowledge", data={"reason": "known", "until": "words@1"})
    assert (refused.status_code, "is applied already" in refused.text) == (400, True)
    assert 'value="known"' in refused.text
    empty = await site.http.post(f"{cause}/acknowledge", data={"reason": " "})
    assert (empty.status_code, "needs a reason" in empty.text) == (400, True)
    done = await site.http.post(
        f"{cause}/acknowledge", data={"reason": "known", "requested_by": "ann", "until": "words@2"}
    )
    assert (done.status_code, done.headers["location"]) == (303, cause)

    assert "Nothing needs attention." in await site.page("/")
    page = await site.page(cause)
    assert "by ann: known" in page
    assert "Until words@2 is applied." in page
    assert "acknowledged" in await site.page("/causes?state=acknowledged")
    await site.http.post(f"{cause}/unacknowledge")
    assert "1 new cause of failures." in await site.page("/")


async def test_an_hour_of_the_strip_filters_the_page(site: Site):
    await site.run({"a": b"bad", "b": b"good"})

    view = (await site.twin("/"))["view"]
    now, before = view["strip"]["hours"][-1], view["strip"]["hours"][-2]

    assert view["strip"]["failed"] == 1
    assert now["text"].endswith("1 failed")
    assert not now["chosen"]
    assert f'href="{html.escape(now["href"])}"' in await site.page("/")
    page = await site.page(now["href"])
    assert "Look at one" in page
    assert 'aria-current="true"' in page
    page = await site.page(before["href"])
    assert "messages done, 1 failed; below only" in text_of(page)
    assert "No open cause." in page
    assert "Look at one" not in page
    assert (await site.http.get("/?since=yesterday")).status_code == 400


async def test_the_strip_draws_what_waited_and_has_its_numbers_in_a_table(site: Site):
    await site.run({"a": b"good"})
    page = await site.page("/")
    assert "done failed an event, named below highest bar: 2 messages in 15 minutes" in text_of(page)
    assert 'class="wait"' not in page
    assert "waiting" not in page.partition('id="day"')[2].partition("</section>")[0].partition("<table")[0]
    files = [("files", (name, b"good")) for name in "abc"]
    await site.http.post("/api/v1/configs/words/run", files=files)
    await site.driven()

    await site.rt._sample()
    assert "waiting" not in await site.page("/"), "another process has the lease"
    await site.rt._reconcile()
    await site.rt._sample()

    strip = (await site.twin("/"))["view"]["strip"]
    assert (strip["waiting"], strip["hours"][-1]["waiting"], strip["hours"][-2]["waiting"]) == (3, 3, 0)
    assert strip["line"].endswith("V2H960")
    page = await site.page("/")
    assert f'd="{strip["line"]}"' in page
    assert "peak of 3 waiting" in page
    assert re.search(r"<th[^>]*>Waiting, peak</th>.*<td[^>]*>3</td></tr>", page)


async def test_the_causes_page_lists_those_in_a_state(site: Site):
    await site.run({"a": b"bad"})
    assert "Look at one" in await site.page("/causes?route=upper")
    assert "No cause meets the conditions." in await site.page("/causes?state=closed")

    await site.run({"a": b"good"})

    assert "No cause meets the conditions." in await site.page("/causes")
    page = await site.page("/causes?state=closed")
    assert "closed" in page
    [row] = (await site.twin("/causes?state=all"))["view"]["rows"]
    assert row["state"] == "closed"
    assert (await site.http.get("/causes/000000000000")).status_code == 404
