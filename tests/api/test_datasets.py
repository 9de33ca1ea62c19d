"""Datasets over HTTP: publish, go back, and read what readers see."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from playhead.errors import BadRequest, Conflict
from playhead.model import Publication, PublishRequest
from tests.api.server import WORDS, Playhead
from tests.waiting import until

DATASET = WORDS + "datasets: {docs: {}}\n"
X = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
async def run(playhead: Playhead) -> str:
    await playhead.apply(DATASET)
    return await playhead.run({"a": b"x y", "b": b"z"})


async def publish(playhead: Playhead, *executions: str, **body: Any) -> dict[str, Any]:
    """Publish, and return the publication as soon as it has ended."""
    made = await playhead.post("datasets/docs/publications", {"executions": executions, **body}, 202)
    place = f"datasets/docs/publications/{made['n']}"

    async def ended() -> bool:
        return (await playhead.get(place))["state"] in ("published", "abandoned")

    await until(ended)
    found: dict[str, Any] = await playhead.get(place)
    return found


async def error(playhead: Playhead, method: str, path: str, status: int, **sent: Any) -> tuple[str, str]:
    answer = await playhead.http.request(method, f"/api/v1/{path}", **sent)
    assert answer.status_code == status, answer.text
    return answer.json()["error_code"], answer.json()["detail"]


async def test_nothing_is_published_at_first(playhead: Playhead, run: str):
    found = await playhead.get("datasets/docs")
    assert (found["current"], found["seq"], found["decided"], found["unpublished"]) == (None, 0, None, [run])
    code, detail = await error(playhead, "GET", "storage/objects?execution_id=current:docs", 409)
    assert code == "nothing_published"
    assert "playhead publish docs latest" in detail


async def test_a_published_run_is_what_readers_see(playhead: Playhead, run: str):
    answer = await playhead.http.post("/api/v1/datasets/docs/publications", json={"executions": ["latest"]})
    assert answer.status_code == 202
    assert answer.headers["Location"] == "/api/v1/datasets/docs/publications/1"
    await until(lambda: _is_current(playhead, 1))

    found = await playhead.get("datasets/docs/publications/1")
    assert found["state"] == "published"
    assert found["parts"] == [{"execution_id": run, "role": "base", "revision": 1}]
    assert found["counts"]["split/words"] == {"total": 3, "added": 3, "changed": 0, "removed": 0}
    assert found["units"]["good"] == 2
    listed = await playhead.items("storage/objects", execution_id="current:docs", stage="split/words")
    assert [one["path"] for one in listed] == ["a/0001.txt", "a/0002.txt", "b/0001.txt"]
    assert {one["key"].partition("/")[0] for one in listed} == {run}
    assert (await playhead.get("datasets/docs"))["unpublished"] == []


async def _is_current(playhead: Playhead, n: int) -> bool:
    return bool((await playhead.get("datasets/docs"))["current"] == n)


async def test_a_dry_run_stores_nothing(playhead: Playhead, run: str):
    body = {"executions": [run], "dry_run": True}
    preview = await playhead.post("datasets/docs/publications", body)
    assert preview["counts"]["input"] == {"total": 2, "added": 2, "changed": 0, "removed": 0}
    assert (preview["base"], preview["expect_seq"]) == (None, 0)
    assert await playhead.items("datasets/docs/publications", all=True) == []

    assert (await publish(playhead, run, expect_seq=0))["counts"] == preview["counts"]
    code, detail = await error(
        playhead, "POST", "datasets/docs/publications", 409, json={"executions": [run], "expect_seq": 0}
    )
    assert code == "publication_moved"
    assert "expects switch 0" in detail


async def test_a_refused_publication_says_why_and_changes_nothing(playhead: Playhead, run: str):
    await publish(playhead, run)
    small = await playhead.run({"a": b"x y"})

    refused = await publish(playhead, small)

    assert refused["state"] == "abandoned"
    assert refused["refusal"]["code"] == "publication_shrinks"
    assert "1 of 2 inputs would be removed" in refused["refusal"]["detail"]
    assert (await playhead.get("datasets/docs"))["current"] == 1
    assert (await publish(playhead, small, allow=["removed"]))["state"] == "published"


async def test_a_rollback_and_its_changes(playhead: Playhead, run: str):
    await publish(playhead, run)
    other = await playhead.run({"a": b"x q", "b": b"z"})
    await publish(playhead, other, reason="new text")

    forwards = await playhead.items("datasets/docs/changes", since=1, stage="split/words")
    assert [(one["path"], one["change"]) for one in forwards] == [("a/0002.txt", "changed")]
    back = await playhead.post("datasets/docs/rollback", {"reason": "wrong"})
    assert (back["current"], back["seq"], back["held"]) == (1, 3, True)
    listed = await playhead.items("datasets/docs/publications")
    assert [(one["n"], one["state"], one["is_taken_back"]) for one in listed] == [
        (2, "published", True),
        (1, "published", False),
    ]
    assert await playhead.get("datasets/docs/publications/2") == listed[0]
    backwards = await playhead.items("datasets/docs/changes", since=2, stage="split/words")
    assert [(one["sha256"], one["was"]) for one in backwards] == [
        (one["was"], one["sha256"]) for one in forwards
    ]
    switches = (await playhead.get("datasets/docs/switches"))["items"]
    assert [(one["seq"], one["n"], one["kind"], one["reason"]) for one in switches] == [
        (3, 1, "rollback", "wrong"),
        (2, 2, "publish", "new text"),
        (1, 1, "publish", None),
    ]
    assert not (await playhead.post("datasets/docs/release"))["held"]


async def test_an_etag_tells_whether_anything_was_switched(playhead: Playhead, run: str):
    await publish(playhead, run)
    answer = await playhead.http.get("/api/v1/datasets/docs")
    tag = answer.headers["ETag"]
    assert tag == '"docs@1/1"'
    again = await playhead.http.get("/api/v1/datasets/docs", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    await publish(playhead, run)
    again = await playhead.http.get("/api/v1/datasets/docs", headers={"If-None-Match": tag})
    assert (again.status_code, again.headers["ETag"]) == (200, '"docs@2/2"')


async def test_all_pages_of_a_list_are_of_one_publication(playhead: Playhead, run: str):
    await publish(playhead, run)
    first = await playhead.http.get("/api/v1/datasets/docs/objects?stage=split/words&limit=1")
    assert first.headers["ETag"] == '"docs@1"'
    await publish(playhead, await playhead.run({"a": b"q r s", "b": b"z"}))

    rest = await playhead.get(
        "datasets/docs/objects", stage="split/words", cursor=first.json()["next_cursor"]
    )

    assert [one["path"] for one in first.json()["items"] + rest["items"]] == [
        "a/0001.txt",
        "a/0002.txt",
        "b/0001.txt",
    ]
    content = await playhead.http.get("/api/v1/datasets/docs/content/shouted/a.md?at=1")
    assert content.text == "X Y"
    content = await playhead.http.get("/api/v1/datasets/docs/content/shouted/a.md")
    assert content.text == "Q R S"
    assert (await error(playhead, "GET", "datasets/docs/content/shouted/z", 404))[0] == "object_not_found"
    for cursor in ("x", "1", "1.", "0.x", "1.x", "9" * 40, "9" * 5000):
        path = f"datasets/docs/objects?cursor={cursor}"
        assert (await error(playhead, "GET", path, 400))[0] == "invalid_cursor"
    assert (await error(playhead, "GET", "datasets/docs/content/shouted/a//b", 400))[0] == "invalid_path"


async def test_a_replay_of_what_readers_see(playhead: Playhead, run: str):
    await publish(playhead, run)
    source = (await playhead.get("executions/current:docs"))["execution_id"]
    plan = await playhead.post(
        "replay/plan", {"from_execution_id": source, "from_stage": "shouted", "to_route": "split"}
    )
    assert plan["objects"] == 2
    replay = await playhead.post("replay", {"plan_id": plan["plan_id"]})
    assert replay["objects_published"] == 2
    await playhead.work()
    messages = await playhead.items(f"executions/{replay['execution_id']}/lineage")
    assert sorted(one["input_key"] for one in messages) == [f"{run}/shouted/a.md", f"{run}/shouted/b.md"]

    made = await publish(playhead, replay["execution_id"])
    assert made["state"] == "published"
    assert made["counts"]["split/words"]["changed"] == 0  # the same bytes
    listed = await playhead.items("storage/objects", execution_id="current:docs", stage="split/words")
    assert {one["key"].partition("/")[0] for one in listed} == {replay["execution_id"]}


async def test_what_cannot_be_published_is_refused_at_once(playhead: Playhead, run: str):
    async def refusal(*executions: str) -> str:
        sent = {"json": {"executions": executions}}
        return (await error(playhead, "POST", "datasets/docs/publications", 409, **sent))[0]

    replay = (await playhead.replay(run, "shouted", "split"))["execution_id"]
    assert await refusal(replay) == "execution_running"
    await playhead.work()
    assert await refusal(replay) == "nothing_published"  # it is only a layer
    answer = await playhead.http.post("/api/v1/datasets/docs/publications", json={"executions": [X]})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "execution_not_found")
    bodies: list[dict[str, Any]] = [{"executions": []}, {"executions": [run], "keeps_hold": True}]
    for body in bodies:
        answer = await playhead.http.post("/api/v1/datasets/docs/publications", json=body)
        assert answer.status_code == 422, body
    assert (await publish(playhead, run, replay))["state"] == "published"


# -- keys ------------------------------------------------------------------------------------------


async def test_a_repeated_request_with_a_key_returns_the_publication_of_the_first(
    playhead: Playhead, run: str
):
    async def send(body: dict[str, Any], key: str = "k1") -> tuple[int, Any, str | None]:
        answer = await playhead.http.post(
            "/api/v1/datasets/docs/publications", json=body, headers={"Idempotency-Key": key}
        )
        return answer.status_code, answer.json(), answer.headers.get("Idempotent-Replayed")

    status, first, replayed = await send({"executions": ["latest"]})
    assert (status, first["n"], replayed) == (202, 1, None)
    await until(lambda: _is_current(playhead, 1))
    await playhead.run({"a": b"other"})  # `latest` is another one now

    status, again, replayed = await send({"executions": ["latest"]})
    assert (status, again["n"], again["state"], replayed) == (202, 1, "published", "true")
    assert again["execution_id"] == first["execution_id"]
    status, other, _ = await send({"executions": ["latest"], "reason": "another body"})
    assert (status, other["error_code"]) == (409, "idempotency_key_reused")
    assert f"which started publication {first['execution_id']}" in other["detail"]
    status, other, _ = await send({"executions": ["latest"]}, key="not visible \t")
    assert (status, other["error_code"]) == (400, "invalid_idempotency_key")
    assert len(await playhead.items("datasets/docs/publications", all=True)) == 1


async def test_a_key_is_kept_only_if_the_publication_begins(playhead: Playhead, run: str):
    headers = {"Idempotency-Key": "k1"}
    running = {"executions": [run], "expect_seq": 5}
    code, _ = await error(playhead, "POST", "datasets/docs/publications", 409, json=running, headers=headers)
    assert code == "publication_moved"
    code, _ = await error(playhead, "POST", "datasets/docs/publications", 409, json=running, headers=headers)
    assert code == "publication_moved"
    answer = await playhead.http.post(
        "/api/v1/datasets/docs/publications", json={"executions": [run]}, headers=headers
    )
    assert answer.status_code == 202


async def test_two_requests_with_one_key_at_once_begin_one_publication(playhead: Playhead, run: str):
    async def send() -> Any:
        answer = await playhead.http.post(
            "/api/v1/datasets/docs/publications",
            json={"executions": [run]},
            headers={"Idempotency-Key": "k1"},
        )
        assert answer.status_code == 202, answer.text
        return answer.json()["n"]

    assert list(await asyncio.gather(send(), send())) == [1, 1]


async def test_a_key_means_the_same_for_a_command_as_over_http(playhead: Playhead, run: str):
    answer = await playhead.http.post(
        "/api/v1/datasets/docs/publications",
        json={"executions": [run], "reason": "why"},
        headers={"Idempotency-Key": "k1"},
    )
    request = PublishRequest([UUID(run)], reason="why")

    made = await playhead.services.publish.publish("docs", request, key="k1")

    assert (answer.status_code, made.n, made.state) == (202, 1, "published")
    with pytest.raises(Conflict, match="which started publication"):
        await playhead.services.publish.publish("docs", replace(request, reason="other"), key="k1")
    with pytest.raises(BadRequest, match="visible ASCII"):
        await playhead.services.publish.begin("docs", request, key="")
    assert len(await playhead.items("datasets/docs/publications", all=True)) == 1


async def test_a_command_that_waits_continues_the_publication_of_a_process_that_has_died(playhead: Playhead):
    await playhead.apply(WORDS + "datasets: {docs: {publish: automatic}}\n")
    run = UUID(await playhead.run({"a": b"x y", "b": b"z"}))
    request = PublishRequest([run], automatic=True)
    await playhead.catalog.begin_publication("words", "docs", request, owner="dead", lease=0)

    [(_, made)] = await playhead.services.publish.publish_run(run, "words")

    assert isinstance(made, Publication)
    assert (made.n, made.state) == (1, "published")


async def test_find_says_whether_readers_see_an_object(playhead: Playhead, run: str):
    async def seen() -> dict[str, bool | None]:
        found = await playhead.get("find", text="split/words/a/0001.txt", kind="object")
        return {one["execution_id"]: one["is_current"] for group in found["groups"] for one in group["items"]}

    assert await seen() == {run: None}
    await publish(playhead, run)
    again = await playhead.run({"a": b"other words", "b": b"z"})
    assert await seen() == {again: False, run: True}
    await publish(playhead, again)
    assert await seen() == {again: True, run: False}
    await playhead.post("datasets/docs/rollback", {"reason": "the words were wrong"})
    assert await seen() == {again: False, run: True}

    [group] = (await playhead.get("find", text="words were"))["groups"]
    assert [(one["kind"], one["id"]) for one in group["items"]] == [("dataset", "words/docs")]
    assert group["items"][0]["title"].endswith("to publication 1: the words were wrong")
