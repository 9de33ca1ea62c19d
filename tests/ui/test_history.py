"""Who changed what, and why, where people look."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from playhead.model import ReplayRequest
from playhead.web.app import ACTIONS
from tests.ui.site import Site, text_of
from tests.ui.test_run_form import start
from tests.ui.test_words import TEMPLATES

FORM = re.compile(r'<form [^>]*?method="post".*?</form>|\bchange\(|\bcontrol\(|\bact\(', re.S)
HAS_REASON = re.compile(r'\bwhy\("|\bwhy\(id\)|name="(?:reason|why)"|^(?:change|control|act)\(')
WITHOUT = {
    "login.html": ["/login"],
    "base.html": ["/logout"],
    # A plan changes nothing that anyone sees. The page that follows has the field.
    "cause_parts.html": ["/causes/%s/plan"],
    "cause_replay.html": ["/causes/%s/plan"],
}
"""Forms without a field for the reason, by template."""


async def test_a_form_records_its_reason_and_the_pages_show_it(site: Site):
    source = await site.run({"a.txt": b"one"})
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split", "pace": {"rate": 0.01}}
    answer = await site.http.post("/api/v1/replay", json=body, headers={"Prefer": "respond-async"})
    replay = answer.json()

    await site.send(f"/replays/{replay['replay_batch_id']}/cancel", why="wrong splitter")

    page = await site.page(f"/replays/{replay['replay_batch_id']}")
    text = text_of(page[page.index('id="history"') :])
    assert "replay.cancel" in text
    assert "wrong splitter" in text
    twin = (await site.twin(f"/replays/{replay['replay_batch_id']}"))["view"]
    assert [one["action"] for one in twin["history"]] == ["replay.cancel", "replay.start"]
    assert twin["replay"]["requested_by"]["name"] == "local"
    assert "address" not in twin["history"][0], "everyone who may read sees it"
    of_run = (await site.twin(f"/executions/{source}"))["view"]["history"]
    assert [one["outcome"] for one in of_run] == ["done", "intended"]
    assert "By" in text_of(await site.page("/replays"))


def test_every_form_that_changes_something_has_a_field_for_the_reason():
    without = {}
    for template in TEMPLATES:
        forms = FORM.findall(template.read_text())
        lacking = [form for form in forms if not HAS_REASON.search(form)]
        if lacking:
            without[template.name] = [re.findall(r"/[a-z]+(?:/%s/[a-z]+)?", form)[0] for form in lacking]
    assert without == WITHOUT


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.path)
def test_every_action_has_a_form_in_a_template(action: Any):
    last = re.escape(action.path.rpartition("/")[2])
    found = [one for one in TEMPLATES if re.search(rf"""[/"']{last}["'?{{]""", one.read_text())]
    assert found, action.path


async def test_the_reason_of_a_run_and_of_a_button_is_recorded(site: Site):
    answer = await start(site, ("a.txt", b"one"), why=" nightly run ")
    run = answer.headers["location"]
    await site.work()
    await site.send(f"{run}/pin", why="keep it")

    history = (await site.twin(run))["view"]["history"]

    assert [(one["action"], one["reason"]) for one in history] == [
        ("execution.pin", "keep it"),
        ("run.start", "nightly run"),
        ("run.start", "nightly run"),
    ]


async def test_each_button_of_a_replay_has_its_own_form(site: Site):
    run = await site.run({"a.txt": b"one"})
    request = ReplayRequest(UUID(run), "input", None, "upper", report=True, webhook="https://hooks.example/")
    replay = await site.services.replay.execute(request)
    await site.work()
    for _ in range(3):
        await site.catalog.claim_report(replay.execution_id, owner="w1", lease=0.0, most=2)
    for claimed in await site.catalog.claim_deliveries(limit=10, lease=30, most=1):
        await site.catalog.delivered(claimed, status=410, error="gone", retry=None)

    page = await site.page(f"/replays/{replay.replay_batch_id}")

    assert {"send-1", "send-2", "write-again"} <= set(
        re.findall(r'<details class="menu"[^>]* id="([^"]+)"', page)
    )
    assert [one for one, count in Counter(re.findall(r' id="([^"]+)"', page)).items() if count > 1] == []
    await site.send(f"/replays/{replay.replay_batch_id}/report", why="the disk was full")
    history = (await site.twin(f"/replays/{replay.replay_batch_id}"))["view"]["history"]
    assert (history[0]["action"], history[0]["reason"]) == ("report.write", "the disk was full")
