"""Streams of events: which events a client receives, when, and which again after it reconnects."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from fastapi.responses import StreamingResponse

from playhead.api.schemas import ErrorResponse
from playhead.errors import broker_unavailable, catalog_unavailable
from playhead.event_stream import event_stream
from tests.api.server import WORDS

if TYPE_CHECKING:
    from tests.api.server import Playhead

UNKNOWN = "00000000-0000-0000-0000-000000000001"


@dataclass(frozen=True)
class Event:
    name: str
    id: str
    data: Any


def read(body: str) -> list[Event]:
    """Return the events of a stream, parsed as the specification of `EventSource` says."""
    found = []
    for block in re.split(r"\n\n", body):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            assert set(fields) == {"event", "id", "data"}
            found.append(Event(fields["event"], fields["id"], json.loads(fields["data"])))
    return found


async def watch(playhead: Playhead, path: str, last: str | None = None) -> httpx.Response:
    """Read a stream from its first byte to its last."""
    headers = {"Last-Event-ID": last} if last is not None else {}
    async with asyncio.timeout(30):
        return await playhead.http.get(f"/api/v1/{path}/events", headers=headers)


async def while_watching(
    playhead: Playhead, path: str, happens: Callable[[], Awaitable[object]], last: str | None = None
) -> str:
    """Read a stream to its end while `happen` runs, and return its events."""
    stream = asyncio.create_task(watch(playhead, path, last))
    await playhead.looked()
    assert not stream.done()
    await happens()
    return (await stream).text


async def begun(playhead: Playhead) -> str:
    """An execution without a worker."""
    answer = await playhead.http.post("/api/v1/configs/words/run", files=[("files", ("a", b"one two"))])
    await playhead.driven()
    return str(answer.json()["execution_id"])


async def begun_replay(playhead: Playhead) -> Any:
    """A replay whose messages the broker does not accept yet."""
    source = await playhead.run({f"{n}.md": b"one two" for n in range(7)})
    playhead.publish_outage.error = broker_unavailable("not now")
    playhead.replays.stopping = True  # no request waits for it
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split"}
    answer = await playhead.http.post("/api/v1/replay", json=body)
    assert answer.json()["error_code"] == "replay_continues"
    [replay] = await playhead.items("replays")
    return await playhead.replay_when(replay["replay_batch_id"], lambda shown: shown["rate"] is not None)


# -- events ----------------------------------------------------------------------------------------


async def test_the_stream_of_an_ended_execution_sends_its_state_its_end_and_closes(playhead: Playhead):
    execution = await playhead.run({"a": b"x"})
    replay = await playhead.replay(execution, "shouted", "split")
    for path, name in (
        (f"executions/{execution}", "execution"),
        (f"replays/{replay['replay_batch_id']}", "replay"),
    ):
        answer = await watch(playhead, path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        told = read(answer.text)
        assert [e.name for e in told] == [name, "end"]
        shown = await playhead.get(path)
        for event in told:
            known = {key for key in shown if key not in ("rate", "eta_seconds")}
            assert {key: event.data[key] for key in known} == {key: shown[key] for key in known}


async def test_each_change_of_an_execution_is_sent(playhead: Playhead):
    execution = await begun(playhead)
    told = read(await while_watching(playhead, f"executions/{execution}", playhead.work))
    assert [e.name for e in told] == ["execution"] * (len(told) - 1) + ["end"]
    assert [told[0].data["status"], told[-2].data["status"]] == ["running", "completed"]
    shown = await playhead.get(f"executions/{execution}")
    routes = await playhead.items(f"executions/{execution}/routes")
    assert told[-1].data == told[-2].data == shown | {"routes": routes}
    assert [one["counts"]["total"] for one in told[0].data["routes"]] == [1, 0, 0]
    assert len({e.id for e in told}) == len(told)
    for one, other in pairwise(told[:-1]):
        assert one.data != other.data


async def test_a_replay_is_sent_until_publishing_ends(playhead: Playhead):
    replay = await begun_replay(playhead)
    path = f"replays/{replay['replay_batch_id']}"

    async def broker_is_back() -> None:
        playhead.publish_outage.error = None

    told = read(await while_watching(playhead, path, broker_is_back))
    assert [e.name for e in told] == ["replay"] * (len(told) - 1) + ["end"]
    first, last = told[0].data, told[-1].data
    assert (first["status"], first["objects_published"]) == (None, 0)
    assert (first["rate"], first["eta_seconds"]) == (0, None)
    assert (last["status"], last["objects_published"]) == ("publishing_complete", 7)
    assert (last["rate"], last["eta_seconds"]) == (None, 0)


async def test_a_cancelled_execution_and_its_replay_have_ended(playhead: Playhead):
    replay = await begun_replay(playhead)
    path = f"replays/{replay['replay_batch_id']}"

    async def cancel() -> None:
        await playhead.post(f"executions/{replay['execution_id']}/cancel")

    told = read(await while_watching(playhead, path, cancel))
    assert (told[-1].name, told[-1].data["state"]) == ("end", "cancelled")
    assert told[-1].data["status"] == "partial_failure"
    told = read((await watch(playhead, f"executions/{replay['execution_id']}")).text)
    assert [(e.name, e.data["status"]) for e in told] == [("execution", "cancelled"), ("end", "cancelled")]


async def test_an_execution_that_only_the_store_has_is_ended(playhead: Playhead):
    await playhead.put(f"{UNKNOWN}/found/a")
    told = read((await watch(playhead, f"executions/{UNKNOWN}")).text)
    assert [(e.name, e.data["kind"]) for e in told] == [("execution", "adopted"), ("end", "adopted")]


# -- reconnecting ----------------------------------------------------------------------------------


async def test_after_a_reconnect_only_newer_events_are_sent(playhead: Playhead):
    execution = await begun(playhead)
    path = f"executions/{execution}"
    told = read(await while_watching(playhead, path, playhead.work))
    running, completed, end = told[0], told[-2], told[-1]

    assert read((await watch(playhead, path, running.id)).text) == [completed, end]
    assert read((await watch(playhead, path, completed.id)).text) == [end]
    over = await watch(playhead, path, end.id)
    assert (over.status_code, over.content) == (204, b"")


async def test_a_client_that_has_the_current_state_receives_the_next_one_first(playhead: Playhead):
    execution = await begun(playhead)
    path = f"executions/{execution}"
    stream = asyncio.create_task(watch(playhead, path))
    await playhead.looked()
    await playhead.restart()
    [present] = read((await stream).text)

    told = read(await while_watching(playhead, path, playhead.work, present.id))
    assert told[0].data["counts"] != present.data["counts"]
    assert present.id not in [e.id for e in told]


@pytest.mark.parametrize("last", ["", "0", "garbage", "d6037dcbd79067b1600b1eef.end", "\u00e9" * 500])
async def test_an_unknown_event_id_gets_the_current_state(playhead: Playhead, last: str):
    execution = await playhead.run({"a": b"x"})
    async with asyncio.timeout(30):
        answer = await playhead.http.get(
            f"/api/v1/executions/{execution}/events", headers={b"Last-Event-ID": last.encode()}
        )
    assert [e.name for e in read(answer.text)] == ["execution", "end"]


async def test_a_client_that_received_the_end_receives_the_reopened_execution(playhead: Playhead):
    execution = await playhead.run({"a": b"bad"})
    path = f"executions/{execution}"
    end = read((await watch(playhead, path)).text)[-1]
    assert (end.name, end.data["status"]) == ("end", "failed")
    await playhead.post("dead-letters/resend", {"execution_id": execution}, 202)

    told = read(await while_watching(playhead, path, playhead.work, end.id))
    assert told[0].data["status"] == "running"
    assert (told[-1].name, told[-1].data["status"]) == ("end", "failed")
    assert told[-1].id != end.id


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"), [("executions", "execution_not_found"), ("replays", "replay_not_found")]
)
async def test_an_unknown_execution_or_replay_is_404_before_a_stream_begins(
    playhead: Playhead, path: str, code: str
):
    answer = await watch(playhead, f"{path}/{UNKNOWN}", "1")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == set(ErrorResponse.model_fields)
    assert answer.json()["error_code"] == code


@pytest.mark.parametrize("path", ["executions", "replays"])
async def test_an_unavailable_catalog_is_503_before_a_stream_begins(playhead: Playhead, path: str):
    playhead.catalog_outage.error = catalog_unavailable("it is unavailable")
    answer = await watch(playhead, f"{path}/{UNKNOWN}")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "catalog_unavailable")


async def test_a_stream_survives_an_unavailable_catalog_and_reports_it_once(playhead: Playhead):
    execution = await begun(playhead)

    async def catalog_goes_and_comes() -> None:
        playhead.catalog_outage.error = catalog_unavailable("it is\naway")
        await playhead.looked()
        playhead.catalog_outage.error = None
        await playhead.looked()
        await playhead.work()

    body = await while_watching(playhead, f"executions/{execution}", catalog_goes_and_comes)
    assert [line for line in body.splitlines() if line.startswith(":")] == [
        ": catalog_unavailable: it is",
        ": away",
    ]
    told = read(body)
    assert [told[0].data["status"], told[-1].data["status"]] == ["running", "completed"]
    assert len({e.id for e in told}) == len(told), "a known state is not sent again"


async def test_a_stream_closes_without_an_end_when_its_process_stops(playhead: Playhead):
    execution = await begun(playhead)

    told = read(await while_watching(playhead, f"executions/{execution}", playhead.restart))
    assert [e.name for e in told] == ["execution"]


async def test_a_head_request_is_answered_at_once_although_the_stream_is_endless(playhead: Playhead):
    execution = await begun(playhead)
    async with asyncio.timeout(30):
        answer = await playhead.http.head(f"/api/v1/executions/{execution}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


# -- datasets --------------------------------------------------------------------------------------


async def test_each_change_of_a_dataset_is_sent_and_after_a_reconnect_only_what_has_changed(
    playhead: Playhead,
):
    await playhead.apply(WORDS + "datasets: {docs: {}}\n")
    run = await playhead.run({"a": b"x y"})

    async def told_while(happens: Callable[[], Awaitable[object]], last: str | None = None) -> list[Event]:
        async def happens_and_stops() -> None:
            await happens()
            await playhead.looked()
            await playhead.restart()

        return read(await while_watching(playhead, "datasets/docs", happens_and_stops, last))

    async def publish() -> None:
        await playhead.post("datasets/docs/publications", {"executions": [run]}, 202)
        await playhead.driven()

    first = await told_while(publish)
    assert {one.name for one in first} == {"dataset"}
    assert [first[0].data["current"], first[-1].data["current"]] == [None, 1]
    assert first[-1].data == await playhead.get("datasets/docs")
    assert first[-1].data["unpublished"] == []

    async def nothing() -> None: ...

    assert await told_while(nothing, last=first[-1].id) == []
    [again] = await told_while(lambda: playhead.post("datasets/docs/publications/1/pin"), last=first[0].id)
    assert again == first[-1]


async def test_the_events_of_an_unknown_dataset_are_an_error(playhead: Playhead):
    answer = await watch(playhead, "datasets/dosc")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "dataset_not_found")


# -- the description -------------------------------------------------------------------------------


async def test_the_description_has_the_events_of_a_stream_and_json_errors(playhead: Playhead):
    served = (await playhead.http.get("/openapi.json")).json()
    for path, names, model in (
        ("/api/v1/executions/{execution_id}/events", ["execution", "end"], "WatchedExecution"),
        ("/api/v1/replays/{replay_batch_id}/events", ["replay", "end"], "Replay"),
        ("/api/v1/datasets/{name}/events", ["dataset"], "Dataset"),
    ):
        operation = served["paths"][path]["get"]
        assert [p["name"] for p in operation["parameters"] if p["in"] == "header"] == ["Last-Event-ID"]
        told = operation["responses"]
        assert set(told) >= {"200", "404", "503"}
        assert ("204" in told) == ("end" in names)
        assert list(told["200"]["content"]) == ["text/event-stream"]
        event = told["200"]["content"]["text/event-stream"]["itemSchema"]["properties"]
        assert event["event"]["enum"] == names
        assert event["data"]["contentSchema"] == {"$ref": f"#/components/schemas/{model}"}
        assert model in served["components"]["schemas"]
        for status in ("404", "500", "503"):
            assert told[status]["content"] == {
                "application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}
            }


async def test_a_stream_sends_a_comment_for_each_period_without_an_event():
    class Unchanged:
        def was_told_all(self, last: str | None) -> bool:
            return False

        async def tell(self, last: str | None) -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield

    answer = event_stream("execution", cast(Any, Unchanged()), None, data=str, heartbeat=0.01)
    assert isinstance(answer, StreamingResponse)
    pieces = aiter(answer.body_iterator)
    assert [await anext(pieces) for _ in range(3)] == [b": alive\n\n"] * 3
