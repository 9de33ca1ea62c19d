"""The live processes with their code, and warnings about outdated code in the headers of responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from playhead.model import AdapterCode, LoadedAdapter, LoadedCode
from playhead.ports.catalog.upkeep import Process

if TYPE_CHECKING:
    from tests.api.server import Playhead

HEADER = "X-Playhead-Warning"
FILE = "/x/schritte-ä.py"


async def starts(playhead: Playhead, *, changed: bool = True) -> None:
    """Start a worker, of which a file has changed since."""
    split = LoadedAdapter("split", "1", "sha256:aa", FILE)
    loaded = LoadedCode("1.2.3", (split,), ("split",) if changed else ())
    await playhead.catalog.heartbeat(
        Process("worker-1", "worker", "there", 7), ["words.split"], loaded=loaded
    )


def warnings(answer: Any) -> list[str]:
    return [unquote(value) for value in answer.headers.get_list(HEADER)]


def body(execution: str, route: str = "split") -> dict[str, str]:
    return {"from_execution_id": execution, "from_stage": "shouted", "to_route": route}


async def test_workers_are_listed_with_the_code_that_they_have_loaded(playhead: Playhead):
    await starts(playhead)
    server, worker = await playhead.items("workers", limit=1)
    assert (server["kind"], server["queues"]) == ("serve", [])
    assert [one["type"] for one in server["adapters"]] == ["keep", "split", "upper"]
    assert {k: worker[k] for k in ("kind", "host", "pid", "queues", "version")} == {
        "kind": "worker",
        "host": "there",
        "pid": 7,
        "queues": ["words.split"],
        "version": "1.2.3",
    }
    assert 0 <= worker["heartbeat_age_seconds"] < 60
    assert worker["adapters"] == [
        {"type": "split", "version": "1", "code": "sha256:aa", "source": FILE, "notes": ["changed"]}
    ]


async def test_a_replay_into_outdated_code_has_a_warning_in_its_headers(playhead: Playhead):
    source = await playhead.run({"a.md": b"one"})
    answer = await playhead.http.post("/api/v1/replay", json=body(source))
    assert (answer.status_code, warnings(answer)) == (200, [])
    await starts(playhead)
    answer = await playhead.http.post("/api/v1/replay", json=body(source))
    assert answer.status_code == 200
    (warning,) = warnings(answer)
    assert warning.startswith("schritte-ä.py has changed since it was loaded by worker 7 on there")
    answer = await playhead.http.post("/api/v1/replay", json=body(source, "aside"))
    assert warnings(answer) == [], "no worker consumes that route"


async def test_a_replay_that_does_not_allow_old_code_is_refused_only_for_old_code(playhead: Playhead):
    source = await playhead.run({"a.md": b"one"})
    asked = {"allow_old_code": "false"}
    answer = await playhead.http.post("/api/v1/replay", json=body(source), params=asked)
    assert answer.status_code == 200, "no worker consumes the route"
    await starts(playhead)
    answer = await playhead.http.post("/api/v1/replay", json=body(source), params=asked)
    assert (answer.status_code, answer.json()["error_code"]) == (409, "code_differs")


async def test_a_replay_and_a_run_that_require_the_code_are_refused_and_record_nothing(playhead: Playhead):
    source = await playhead.run({"a.md": b"one"})
    await starts(playhead)
    asked = {"require_code": "true"}
    answer = await playhead.http.post("/api/v1/replay", json=body(source), params=asked)
    assert (answer.status_code, answer.json()["error_code"]) == (409, "code_differs")
    assert "has changed since" in answer.json()["detail"]
    path = "/api/v1/configs/words/run"
    for sent in ({"json": {"payload": 1}}, {"files": [("files", ("a.md", b"one"))]}):
        answer = await playhead.http.post(path, params=asked, **sent)
        assert (answer.status_code, answer.json()["error_code"]) == (409, "code_differs")
    assert [one["execution_id"] for one in await playhead.items("executions")] == [source]
    await starts(playhead, changed=False)
    answer = await playhead.http.post("/api/v1/replay", json=body(source), params=asked)
    assert answer.status_code == 200


async def test_a_replay_that_requires_the_code_is_refused_if_no_worker_consumes_a_route(playhead: Playhead):
    source = await playhead.run({"a.md": b"one"})
    for route, queue in (("split", "words.split"), ("upper", "words.upper")):
        answer = await playhead.http.post(
            "/api/v1/replay", json=body(source, route), params={"require_code": "true"}
        )
        assert (answer.status_code, answer.json()["error_code"]) == (409, "code_differs")
        assert f"no worker consumes {queue}" in answer.json()["detail"]
    await starts(playhead, changed=False)
    answer = await playhead.http.post("/api/v1/replay", json=body(source), params={"require_code": "true"})
    assert answer.status_code == 200


@pytest.mark.parametrize("sent", [{"json": {"payload": 1}}, {"files": [("files", ("a.md", b"one"))]}])
async def test_a_run_with_outdated_code_has_a_warning_in_its_headers(playhead: Playhead, sent: Any):
    await starts(playhead)
    answer = await playhead.http.post("/api/v1/configs/words/run", **sent)
    assert (answer.status_code, len(warnings(answer))) == (202, 1)


async def test_a_config_whose_adapter_changed_without_a_new_version_has_a_warning(playhead: Playhead):
    await playhead.catalog.record_code([AdapterCode("split", "1", "sha256:bb")])
    route = "{adapters: [{type: split}], outbound: {stage: s}}"
    config = f"version: '1.0'\nname: new\nentry: a\nroutes: {{a: {route}}}"
    for status in (201, 200):
        answer = await playhead.http.post(
            "/api/v1/configs", content=config, headers={"Content-Type": "application/yaml"}
        )
        assert (answer.status_code, len(warnings(answer))) == (status, 1)
        assert 'adapter split has changed, but its version is still "1"' in warnings(answer)[0]
