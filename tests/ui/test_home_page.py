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
from tests.ui.site import Site
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

    assert "1 thing needs attention." in page
    assert await titles(site) == ["2 dead letters in words/upper, all alike"]
    assert "Look at one" in page
    assert "Resend…" in page
    [group] = re.findall(r'href="(/dead-letters\?group=[0-9a-f]+)"', page)
    assert "Resend 2" in await site.page(group)


async def test_a_queue_without_a_worker_needs_attention_until_one_consumes_it(site: Site):
    await site.run({"a": b"good"})
    await wait_in(site, "words.upper", 12)

    assert await titles(site) == ["No worker for 12 messages in words.upper"]
    page = await site.page("/")
    assert "1 thing needs attention." in page
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

    [need] = of_workers(workers)

    assert need.title == "Workers have loaded different code of adapter upper"
    assert need.detail.startswith("worker 7 on b3, worker 8 on b3; adapters: upper. Any of them may receive")
    assert list(of_workers([replace(one, queues=[]) for one in workers])) == []


async def test_without_a_broker_or_a_store_the_rest_is_shown(site: Site):
    execution = await site.run({"a": b"bad"})
    site.broker_outage.error = broker_unavailable("no route to host")
    site.store_outage.error = store_unavailable("the disk is gone")

    page = await site.page("/")

    assert "3 things need attention." in page
    assert [title.partition(" (")[0] for title in await titles(site)] == [
        "The store",
        "The broker",
        "1 dead letter in words/upper",
    ]
    assert "no route to host" in page
    assert execution in page


async def test_without_a_catalog_the_page_names_it(site: Site):
    site.catalog_outage.error = catalog_unavailable("the catalog does not answer")

    page = await site.page("/")

    assert "the catalog does not answer" in page
    assert "1 thing needs attention." in page


async def test_numbers_change_in_place_and_new_rows_are_announced(site: Site):
    await site.run({"a": b"bad"})
    page = await site.page("/")
    [live] = re.findall(r'data-live-url="([^"]+)"', page)
    live = html.unescape(live)
    assert (await site.http.get(live)).json()["cells"]["news"] == ""

    await site.run({"b": b"bad"})

    cells = (await site.http.get(live)).json()["cells"]
    assert cells["news"] == "Reload: 1 thing needs attention"
    [title] = [text for name, text in cells.items() if name.startswith("title.")]
    assert title == "2 dead letters in words/upper, all alike"


async def test_a_cancelled_replay_is_no_completed_execution(site: Site):
    source = await site.run({"a": b"good", "b": b"good"})
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split", "pace": {"rate": 0.01}}
    answer = await site.http.post("/api/v1/replay", json=body, headers={"Prefer": "respond-async"})
    await site.services.control.cancel(UUID(answer.json()["replay_batch_id"]), withdraw=True)

    for path in ("/", "/executions", f"/executions/{answer.json()['execution_id']}"):
        assert "replay cancelled</span>" in (await site.page(path)).lower(), path
