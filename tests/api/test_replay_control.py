"""Replays that a client does not wait for, requests that it repeats, and the control of replays."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from playhead.errors import broker_unavailable
from tests.api.test_watching import read, while_watching
from tests.api.test_workers import starts

if TYPE_CHECKING:
    import httpx

    from tests.api.server import Playhead

KEY = {"Idempotency-Key": "5d1e0c1e-3c1b"}
ASYNC = {"Prefer": "respond-async"}
SLOW = {"rate": 0.01}
"""At most one message in a hundred seconds: publishing does not end during a test."""


@pytest.fixture
async def source(playhead: Playhead) -> str:
    return await playhead.run({f"{n}.md": b"one two" for n in range(4)})


def _body(source: str, **changes: Any) -> dict[str, Any]:
    return {"from_execution_id": source, "from_stage": "shouted", "to_route": "split"} | changes


async def _post(playhead: Playhead, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    return await playhead.http.post("/api/v1/replay", json=body, headers=headers)


async def _slow(playhead: Playhead, source: str, **changes: Any) -> str:
    """Start a replay that does not end during the test, and return its path."""
    answer = await _post(playhead, _body(source, pace=SLOW, **changes), ASYNC)
    assert answer.status_code == 202, answer.text
    return f"replays/{answer.json()['replay_batch_id']}"


async def _ended(playhead: Playhead, path: str) -> Any:
    return await playhead.replay_when(path.rpartition("/")[2], lambda shown: shown["status"] is not None)


async def _put(playhead: Playhead, path: str, pace: Any, kind: str = "application/json") -> httpx.Response:
    """Send a pace, also null, which httpx would take for no body."""
    sent = pace if isinstance(pace, bytes) else json.dumps(pace).encode()
    return await playhead.http.put(f"/api/v1/{path}/pace", content=sent, headers={"Content-Type": kind})


# -- without waiting -------------------------------------------------------------------------------


async def test_a_client_that_prefers_not_to_wait_gets_the_replay_at_once(playhead: Playhead, source: str):
    playhead.publish_outage.error = broker_unavailable("not now")
    answer = await _post(playhead, _body(source), ASYNC)
    assert answer.status_code == 202
    replay = answer.json()
    path = f"/api/v1/replays/{replay['replay_batch_id']}"
    assert (answer.headers["Location"], answer.headers["Preference-Applied"]) == (path, "respond-async")
    assert (replay["state"], replay["status"], replay["from_execution_id"]) == ("publishing", None, source)
    assert replay.keys() == (await playhead.http.get(path)).json().keys()
    playhead.publish_outage.error = None
    assert (await _ended(playhead, path.removeprefix("/api/v1/")))["objects_published"] == 4


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("respond-async", 202),
        ("Respond-Async", 202),
        ("wait=10, respond-async; foo=1", 202),
        ("return=minimal", 200),
        ("respond-asynchronously", 200),
        ('foo="a, respond-async"', 200),
        ("", 200),
    ],
)
async def test_the_header_prefer_is_read_as_rfc_7240_says(
    playhead: Playhead, source: str, prefer: str, status: int
):
    answer = await _post(playhead, _body(source), {"Prefer": prefer})
    assert answer.status_code == status
    assert ("Preference-Applied" in answer.headers) == (status == 202)


async def test_warnings_about_code_are_headers_of_both_answers(playhead: Playhead, source: str):
    await starts(playhead)
    waited = await _post(playhead, _body(source))
    accepted = await _post(playhead, _body(source), ASYNC)
    warnings = waited.headers.get_list("X-Playhead-Warning")
    assert accepted.headers.get_list("X-Playhead-Warning") == warnings != []


async def test_the_fields_of_a_managed_replay_are_shown(playhead: Playhead, source: str):
    path = await _slow(playhead, source, reason="the new splitter", report=False)
    shown = await playhead.get(path)
    assert (shown["pace"], shown["reason"], shown["report"]) == (SLOW, "the new splitter", "none")
    answer = await _post(playhead, _body(source, pace={"queue_depth": 7}, report=True), ASYNC)
    shown = await playhead.get(f"replays/{answer.json()['replay_batch_id']}")
    assert (shown["pace"], shown["reason"], shown["report"]) == ({"queue_depth": 7}, None, "due")


async def test_a_canary_holds_the_other_objects(playhead: Playhead, source: str):
    answer = await _post(playhead, _body(source, canary={"objects": 1, "max_failed": 0.5}), ASYNC)
    path = f"replays/{answer.json()['replay_batch_id']}"
    shown = await playhead.replay_when(path.rpartition("/")[2], lambda shown: shown["waits_for"] == "canary")
    assert (shown["state"], shown["hold_at"], shown["objects_published"]) == ("publishing", 1, 1)
    await playhead.process()
    ended = await _ended(playhead, path)
    assert (ended["state"], ended["hold_at"], ended["objects_published"]) == ("publishing_complete", None, 4)


async def test_a_guard_holds_the_objects_behind_the_last_ones(playhead: Playhead, source: str):
    guard = {"failed": 0.5, "of_last": 3}
    answer = await _post(playhead, _body(source, pause_if=guard), ASYNC)
    path = f"replays/{answer.json()['replay_batch_id']}"
    shown = await playhead.replay_when(path.rpartition("/")[2], lambda shown: shown["waits_for"] == "guard")
    assert (shown["hold_at"], shown["objects_published"], shown["pause_if"]) == (3, 3, guard)
    await playhead.process()
    assert (await _ended(playhead, path))["objects_published"] == 4


async def test_more_objects_of_a_replay_that_a_request_has_paused_are_not_checked_first(
    playhead: Playhead, source: str
):
    path = await _slow(playhead, source)
    await playhead.post(f"{path}/pause")

    refused = await playhead.post(f"{path}/resume", {"canary": 2}, status=409)

    assert refused["error_code"] == "not_paused_by_canary"
    assert "playhead replays resume " in refused["detail"]
    assert (await playhead.get(path))["state"] == "paused"
    await playhead.post(f"{path}/resume")


# -- keys ------------------------------------------------------------------------------------------


async def test_a_repeated_key_returns_the_first_replay_in_its_present_state(playhead: Playhead, source: str):
    playhead.publish_outage.error = broker_unavailable("not now")
    first = await _post(playhead, _body(source), ASYNC | KEY)
    assert "Idempotent-Replayed" not in first.headers
    playhead.publish_outage.error = None
    repeated = await _post(playhead, _body(source, from_path=None), KEY)  # waits, as a first request would
    assert (repeated.status_code, repeated.headers["Idempotent-Replayed"]) == (200, "true")
    assert repeated.json()["replay_batch_id"] == first.json()["replay_batch_id"]
    assert (repeated.json()["status"], repeated.json()["objects_published"]) == ("publishing_complete", 4)
    accepted = await _post(playhead, _body(source), ASYNC | KEY)
    assert (accepted.status_code, accepted.headers["Idempotent-Replayed"]) == (202, "true")
    assert accepted.json()["state"] == "publishing_complete"
    assert len(await playhead.items("replays")) == 1


async def test_a_refused_request_leaves_its_key_unused(playhead: Playhead, source: str):
    assert (await _post(playhead, _body(source, from_path="gone"), KEY)).status_code == 404
    assert (await _post(playhead, _body(source), KEY)).status_code == 200


@pytest.mark.parametrize("key", [b"", b" ", b"a b", b"\xe9", b"a\tb", b"x" * 256])
async def test_an_invalid_key_is_refused_after_the_shape_and_before_all_else(playhead: Playhead, key: bytes):
    body = _body("00000000-0000-0000-0000-000000000001")
    headers: Any = {b"Idempotency-Key": key}
    answer = await _post(playhead, body, headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_idempotency_key")
    assert (await _post(playhead, {}, headers)).status_code == 422


async def test_a_key_may_have_255_visible_characters(playhead: Playhead, source: str):
    key = "".join(map(chr, range(0x21, 0x7F))) * 3
    for _ in range(2):
        answer = await _post(playhead, _body(source), {"Idempotency-Key": key[:255]})
        assert answer.status_code == 200
    assert answer.headers["Idempotent-Replayed"] == "true"


# -- control ---------------------------------------------------------------------------------------


async def test_a_replay_is_paused_and_resumed(playhead: Playhead, source: str):
    path = await _slow(playhead, source)
    for _ in range(2):  # a repeated request has the same answer
        paused = await playhead.post(f"{path}/pause")
        assert (paused["state"], paused["paused_by"], paused["status"]) == ("paused", "request", None)
        assert paused["objects_published"] + paused["objects_uncertain"] <= 1
    assert (await playhead.get(path))["state"] == "paused"
    # Resumed at its slow pace, so that it does not end before the answer.
    assert (await playhead.post(f"{path}/resume"))["state"] in ("queued", "publishing")
    assert (await _put(playhead, path, None)).json()["pace"] is None
    ended = await _ended(playhead, path)
    assert (ended["state"], ended["objects_published"]) == ("publishing_complete", 4)


async def test_a_client_that_waits_is_answered_when_the_replay_is_paused(playhead: Playhead, source: str):
    waiting = asyncio.create_task(_post(playhead, _body(source, pace=SLOW)))
    async with asyncio.timeout(30):
        while not (found := await playhead.items("replays")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    path = f"replays/{found[0]['replay_batch_id']}"
    await playhead.post(f"{path}/pause")
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "partial_failure")
    assert answer.json()["errors"][0] == f"paused: continue with POST /api/v1/{path}/resume"


async def test_a_cancelled_replay_publishes_no_more_and_repeats_its_answer(playhead: Playhead, source: str):
    path = await _slow(playhead, source)
    cancelled = await playhead.post(f"{path}/cancel", {"withdraw": False})
    assert (cancelled["state"], cancelled["status"]) == ("cancelled", "partial_failure")
    again = await playhead.post(f"{path}/cancel")
    assert (again["objects_published"], again["objects_failed"]) == (
        cancelled["objects_published"],
        cancelled["objects_failed"],
    )
    for refused in ("pause", "resume", "retry"):
        answer = await playhead.post(f"{path}/{refused}", status=409)
        assert answer["error_code"] == "replay_ended"
        assert "only: unfinished" in answer["detail"]


async def test_withdraw_cancels_published_messages_that_no_worker_has_started(
    playhead: Playhead, source: str
):
    answer = await _post(playhead, _body(source))
    path = f"replays/{answer.json()['replay_batch_id']}"
    withdrawn = await playhead.post(f"{path}/cancel", {"withdraw": True})
    assert (withdrawn["withdrawn"], withdrawn["work"]["pending"]) == (4, 0)
    await playhead.work()
    assert (await playhead.get(path))["work"] == withdrawn["work"]
    again = await playhead.post(f"{path}/cancel", {"withdraw": True})
    assert again["withdrawn"] == 4
    execution = await playhead.get(f"executions/{answer.json()['execution_id']}")
    assert execution["status"] == "cancelled"


async def test_the_pace_is_changed_while_the_replay_is_published(playhead: Playhead, source: str):
    path = await _slow(playhead, source)
    for pace in ({"rate": 0.5}, {"queue_depth": 1}, SLOW, None):
        answer = await _put(playhead, path, pace)
        assert (answer.status_code, answer.json()["pace"]) == (200, pace)
    assert (await _ended(playhead, path))["objects_published"] == 4


async def test_the_end_of_an_id_is_enough(playhead: Playhead, source: str):
    path = await _slow(playhead, source)
    assert (await playhead.post(f"replays/{path[-12:]}/pause"))["state"] == "paused"


# -- progress --------------------------------------------------------------------------------------


async def test_the_stream_continues_through_a_pause(playhead: Playhead, source: str):
    path = await _slow(playhead, source)

    async def pause_and_resume() -> None:
        await playhead.post(f"{path}/pause")
        await playhead.looked()
        await playhead.looked()
        await _put(playhead, path, None)
        await playhead.post(f"{path}/resume")

    told = read(await while_watching(playhead, path, pause_and_resume))
    states = list(dict.fromkeys(event.data["state"] for event in told))
    assert states[0] in ("queued", "publishing")
    assert "paused" in states
    assert (told[-1].name, states[-1]) == ("end", "publishing_complete")
    paused = next(event for event in told if event.data["state"] == "paused")
    later = read(
        (await playhead.http.get(f"/api/v1/{path}/events", headers={"Last-Event-ID": paused.id})).text
    )
    assert later[-1].id == told[-1].id


async def test_a_get_has_the_rate_and_the_remaining_time_while_the_replay_is_published(
    playhead: Playhead, source: str
):
    playhead.publish_outage.error = broker_unavailable("not now")
    answer = await _post(playhead, _body(source), ASYNC)
    path = f"replays/{answer.json()['replay_batch_id']}"
    shown = await playhead.get(path)
    assert shown["rate"] in (0.0, None)
    assert shown["eta_seconds"] is None
    playhead.publish_outage.error = None
    ended = await _ended(playhead, path)
    assert (ended["rate"], ended["eta_seconds"]) == (None, 0.0)


async def test_a_replay_whose_messages_are_processed_cannot_be_withdrawn(playhead: Playhead, source: str):
    answer = await _post(playhead, _body(source))
    await playhead.process()
    refused = await playhead.post(
        f"replays/{answer.json()['replay_batch_id']}/cancel", {"withdraw": True}, status=409
    )
    assert refused["error_code"] == "replay_ended"
