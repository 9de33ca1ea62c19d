"""`POST /api/v1/replay`: its answers, and the order in which it checks a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from playhead.errors import broker_unavailable, catalog_unavailable, store_unavailable
from playhead.ids import uuid7

if TYPE_CHECKING:
    from tests.api.server import Playhead

NIL = str(UUID(int=0))
MAILING = """\
version: "1.0"
name: mailing
entry: upper
routes:
  upper:
    adapters: [{type: upper}]
    outbound: {stage: shouted, to: [others]}
  others:
    external: true
"""


def _body(execution: str, **changes: Any) -> dict[str, Any]:
    return {"from_execution_id": execution, "from_stage": "shouted", "to_route": "split"} | changes


async def _post(playhead: Playhead, body: Any) -> Any:
    return await playhead.http.post("/api/v1/replay", json=body)


@pytest.fixture
async def source(playhead: Playhead) -> str:
    return await playhead.run({"a.md": b"one two", "b/c.md": b"three", "b-d.md": b"four"})


async def test_it_publishes_a_message_for_each_object_of_the_stage(playhead: Playhead, source: str):
    answer = await playhead.replay(source, "shouted", "split")
    assert {k: v for k, v in answer.items() if k not in ("execution_id", "replay_batch_id")} == {
        "from_execution_id": source,
        "from_stage": "shouted",
        "from_path": None,
        "to_route": "split",
        "to_queue": "words.split",
        "objects_found": 3,
        "objects_published": 3,
        "objects_failed": 0,
        "status": "publishing_complete",
        "errors": None,
    }
    assert UUID(answer["execution_id"]).version == UUID(answer["replay_batch_id"]).version == 7


async def test_effects_that_the_request_skips_are_shown_with_the_reason(playhead: Playhead):
    await playhead.apply(MAILING)
    source = await playhead.run({"a.md": b"one"}, config="mailing")
    answer = await _post(playhead, _body(source, from_stage="input", to_route="upper", effects="skip"))
    await playhead.work()

    replay = await playhead.get(f"replays/{answer.json()['replay_batch_id']}")
    assert replay["effects"] == {"others": "skip", "*": "skip"}
    assert replay["objects_skipped"] == 1
    execution = answer.json()["execution_id"]
    rows = {one["route"]: one for one in await playhead.items(f"executions/{execution}/lineage")}
    assert {route: row["status"] for route, row in rows.items()} == {
        "upper": "completed",
        "others": "skipped",
    }
    assert rows["others"]["skip_reason"] == "the replay does not repeat the effects of this route"
    skipped = rows["others"]["correlation_id"]
    below = await playhead.items(f"lineage/{skipped}/chain", direction="down")
    assert [link["correlation_id"] for link in below] == [skipped]
    assert (await playhead.get(f"executions/{execution}"))["status"] == "completed"


@pytest.mark.parametrize("spelling", ["urn:uuid:{}", "{}".upper(), "hex"])
async def test_an_id_may_have_any_valid_uuid_format(playhead: Playhead, source: str, spelling: str):
    written = UUID(source).hex.upper() if spelling == "hex" else spelling.format(source)
    assert (await playhead.replay(written, "shouted", "split"))["from_execution_id"] == source


async def test_faults_are_reported_in_the_order_of_the_contract(playhead: Playhead, source: str):
    """Shape, path grammar, execution, stage, route, objects: each hides those after it."""
    await playhead.put(f"{source}/extra/x.meta.json")
    wrong = {
        "from_stage": "nowhere",
        "from_path": "/x",
        "to_route": "nowhere",
        "from_execution_id": str(uuid7()),
        "other": 1,
    }
    seen = []
    for field, right in (
        ("other", None),
        ("from_path", "gone"),
        ("from_execution_id", source),
        ("from_stage", "extra"),
        ("to_route", "split"),
        ("from_path", None),
    ):
        answer = await _post(playhead, wrong)
        seen.append((answer.status_code, answer.json().get("error_code")))
        wrong[field] = right
        wrong = {k: v for k, v in wrong.items() if v is not None}
    assert seen == [
        (422, None),
        (400, "invalid_path"),
        (404, "execution_not_found"),
        (404, "stage_not_found"),
        (404, "route_not_found"),
        (404, "no_objects"),
    ]
    assert await playhead.items("replays") == []


@pytest.mark.parametrize("what", ["store", "broker", "catalog"])
async def test_nothing_is_recorded_while_a_backend_is_unavailable(playhead: Playhead, source: str, what: str):
    playhead.store_outage.error = store_unavailable("gone") if what == "store" else None
    playhead.broker_outage.error = broker_unavailable("gone") if what == "broker" else None
    playhead.catalog_outage.error = catalog_unavailable("gone") if what == "catalog" else None
    answer = await _post(playhead, _body(source))
    assert (answer.status_code, answer.json()["error_code"]) == (503, f"{what}_unavailable")
    playhead.catalog_outage.error = None
    assert await playhead.items("replays") == []


async def test_a_replay_continues_after_the_wait_and_the_answer_says_where_to_look(
    playhead: Playhead, source: str
):
    playhead.replays.stopping = True
    playhead.publish_outage.error = broker_unavailable("gone")
    answer = await _post(playhead, _body(source))
    assert (answer.status_code, answer.json()["error_code"]) == (503, "replay_continues")
    assert int(answer.headers["Retry-After"]) > 0
    playhead.publish_outage.error = None
    [replay] = await playhead.items("replays")
    assert answer.headers["Location"] == f"/api/v1/replays/{replay['replay_batch_id']}"
    await _until_published(playhead, replay["replay_batch_id"], 3)


async def test_a_client_that_disconnects_does_not_stop_the_replay(playhead: Playhead, source: str):
    playhead.publish_outage.error = broker_unavailable("gone")
    calling = asyncio.create_task(_post(playhead, _body(source)))
    found = await _until(lambda: playhead.items("replays"))
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    playhead.publish_outage.error = None
    await _until_published(playhead, found[0]["replay_batch_id"], 3)


async def _until(look: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(30):
        while not (found := await look()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


async def _until_published(playhead: Playhead, batch: str, number: int) -> None:
    async def published() -> bool:
        return bool((await playhead.get(f"replays/{batch}"))["objects_published"] == number)

    await _until(published)


async def test_replays_are_listed_newest_first_and_by_source(playhead: Playhead, source: str):
    first = await playhead.replay(source, "shouted", "split")
    second = await playhead.replay(source, "input", "upper")
    await playhead.work()
    third = await playhead.replay(second["execution_id"], "shouted", "split")
    batches = [r["replay_batch_id"] for r in await playhead.items("replays", limit=1)]
    assert batches == [third["replay_batch_id"], second["replay_batch_id"], first["replay_batch_id"]]
    of_source = await playhead.items("replays", from_execution_id=source)
    assert [r["replay_batch_id"] for r in of_source] == batches[1:]
    assert of_source == await playhead.items(f"executions/{source}/replays")


async def test_a_replay_shows_the_numbers_of_the_contract_and_its_progress(playhead: Playhead, source: str):
    answer = await playhead.replay(source, "shouted", "split")
    shown = await playhead.get(f"replays/{answer['replay_batch_id']}")
    assert answer.items() <= shown.items()
    assert shown["state"] == "publishing_complete"
    assert (shown["to_config"], shown["to_config_version"]) == ("words", 1)
    assert shown["work"] == {"pending": 3, "completed": 0, "failed": 0, "cancelled": 0}
    assert (shown["pace"], shown["reason"], shown["report"], shown["effects"]) == (None, None, "none", {})


async def test_a_replay_of_a_replay_that_stored_nothing_there_names_the_command_for_its_source(
    playhead: Playhead,
):
    """The same command with the replay as the source."""
    run = await playhead.run({"a": b"two words"})
    replay = (await playhead.replay(run, "shouted", "split"))["execution_id"]
    body = {"from_execution_id": replay, "from_stage": "shouted", "to_route": "split", "from_path": "a b"}
    refused = await playhead.post("replay", body, 404)
    assert refused["error_code"] == "no_objects"
    assert f"{replay}/shouted/a b" in refused["detail"]
    assert f"itself a replay of {run}" in refused["detail"]
    assert refused["detail"].endswith(f"run: playhead replay {run} shouted split --path 'a b'")
