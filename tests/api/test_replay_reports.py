"""Reports of replays, and deliveries of their webhooks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from playhead.errors import store_unavailable
from playhead.ids import uuid7
from playhead.model import ReplayRequest

if TYPE_CHECKING:
    from tests.api.server import Playhead

HOOK = "https://hooks.example/playhead"


async def replayed(playhead: Playhead, **fields: Any) -> str:
    """Return the batch of a replay whose messages have all ended."""
    source = await playhead.run({"a.md": b"one two", "b.md": b"three"})
    request = ReplayRequest(UUID(source), "shouted", None, "split", **fields)
    done = await playhead.services.replay.execute(request)
    await playhead.work()
    return str(done.replay_batch_id)


async def error_of(playhead: Playhead, path: str, method: str = "GET") -> tuple[int, str]:
    answer = await playhead.http.request(method, f"/api/v1/{path}")
    return answer.status_code, answer.json()["error_code"]


async def test_a_report_is_due_until_it_is_stored(playhead: Playhead):
    batch = await replayed(playhead, report=True, reason="a fix")
    due = await playhead.get(f"replays/{batch}/report")
    await playhead.services.reports.write_due()
    stored = await playhead.get(f"replays/{batch}/report")

    assert due == {
        "revision": 1,
        "state": "due",
        "lines": 0,
        "bytes": 0,
        "parts": [],
        "counts": [],
        "reason": "a fix",
        "error": None,
    }
    assert (stored["state"], stored["lines"]) == ("stored", 2)
    (part,) = stored["parts"]
    assert part["key"].endswith("/_replay/report/1.1/000001.jsonl")
    assert (await playhead.get(f"replays/{batch}"))["report"] == "stored"
    assert await playhead.get(f"replays/{batch}/report", revision=1) == stored


async def test_only_a_report_that_has_failed_is_written_again(playhead: Playhead):
    batch = await replayed(playhead, report=True)
    await playhead.services.reports.write_due()
    stored = await playhead.get(f"replays/{batch}/report")

    answer = await playhead.http.post(f"/api/v1/replays/{batch}/report/write")

    assert (answer.status_code, answer.json()) == (200, stored)
    assert await error_of(playhead, f"replays/{uuid7()}/report/write", "POST") == (404, "replay_not_found")


async def test_the_lines_of_a_report_are_streamed(playhead: Playhead):
    batch = await replayed(playhead, report=True)
    await playhead.services.reports.write_due()

    answer = await playhead.http.get(f"/api/v1/replays/{batch[-6:]}/report/lines")

    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["key"].rpartition("/")[2] for line in lines] == ["a.md", "b.md"]
    assert {(line["outcome"], line["work"]) for line in lines} == {("published", "completed")}
    (part,) = (await playhead.get(f"replays/{batch}/report"))["parts"]
    content = await playhead.http.get("/api/v1/storage/objects/content", params={"key": part["key"]})
    assert content.text == answer.text


async def test_conditions_choose_lines_of_a_report(playhead: Playhead):
    batch = await replayed(playhead, report=True)
    await playhead.services.reports.write_due()
    lines = f"/api/v1/replays/{batch}/report/lines"

    async def found(**query: str) -> int:
        return len((await playhead.http.get(lines, params=query)).text.splitlines())

    assert await found(outcome="published", work="completed", failed="false") == 2
    assert await found(failed="true") == 0
    assert await found(error_code="adapter_error") == 0
    assert (await playhead.http.get(lines, params={"work": "done"})).status_code == 422
    (count,) = (await playhead.get(f"replays/{batch}/report"))["counts"]
    assert count == {
        "outcome": "published",
        "work": "completed",
        "error_code": None,
        "failed_below": False,
        "objects": 2,
    }


async def test_a_report_without_objects_has_no_lines(playhead: Playhead):
    source = await playhead.run({"a.md": b"one two"})
    request = ReplayRequest(UUID(source), "shouted", None, "split", report=True)
    created = (await playhead.services.replay.create(request)).replay
    await playhead.catalog.cancel(created.execution_id)
    await playhead.services.reports.write_due()

    answer = await playhead.http.get(f"/api/v1/replays/{created.replay_batch_id}/report/lines")

    assert (answer.status_code, answer.text) == (200, "")


async def test_reports_that_do_not_exist_are_not_found(playhead: Playhead):
    batch = await replayed(playhead, report=False)
    other = await replayed(playhead, report=True)

    assert await error_of(playhead, f"replays/{batch}/report") == (404, "report_not_found")
    assert await error_of(playhead, f"replays/{batch}/report/lines") == (404, "report_not_found")
    assert await error_of(playhead, f"replays/{other}/report?revision=2") == (404, "report_not_found")
    assert await error_of(playhead, f"replays/{other}/report/lines") == (404, "report_not_found")
    assert await error_of(playhead, f"replays/{uuid7()}/report") == (404, "replay_not_found")
    answer = await playhead.http.get(f"/api/v1/replays/{other}/report?revision=0")
    assert answer.status_code == 422


async def test_the_lines_of_a_report_need_the_store(playhead: Playhead):
    batch = await replayed(playhead, report=True)
    await playhead.services.reports.write_due()
    playhead.store_outage.error = store_unavailable("it is unavailable")
    assert await error_of(playhead, f"replays/{batch}/report/lines") == (503, "store_unavailable")


async def test_deliveries_are_listed_and_sent_again(playhead: Playhead):
    batch = await replayed(playhead, webhook=HOOK)
    items = await playhead.items(f"replays/{batch}/deliveries")

    assert [(one["event"], one["revision"], one["state"]) for one in items] == [
        ("replay.completed", 1, "due"),
        ("replay.started", 0, "due"),
    ]
    for claimed in await playhead.catalog.claim_deliveries(limit=10, lease=30, most=1):
        await playhead.catalog.delivered(claimed, status=410, error="gone", retry=None)
    identity = items[0]["delivery_id"]
    again = await playhead.http.post(f"/api/v1/replays/{batch}/deliveries/{identity}/send")
    assert again.status_code == 200
    assert again.json() == {
        "delivery_id": identity,
        "event": "replay.completed",
        "revision": 1,
        "state": "due",
        "attempts": 0,
        "last_status": 410,
        "last_error": "gone",
        "sent_at": None,
        "next_at": again.json()["next_at"],
    }
    page = await playhead.get(f"replays/{batch}/deliveries", limit=1)
    assert (len(page["items"]), page["next_cursor"] is not None) == (1, True)


async def test_deliveries_that_do_not_exist_are_not_found(playhead: Playhead):
    batch = await replayed(playhead, reason="no webhook")
    assert await playhead.items(f"replays/{batch}/deliveries") == []
    path = f"replays/{batch}/deliveries/{uuid7()}/send"
    assert await error_of(playhead, path, "POST") == (404, "delivery_not_found")
    assert await error_of(playhead, f"replays/{uuid7()}/deliveries") == (404, "replay_not_found")
