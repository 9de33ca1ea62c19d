"""What a version of an adapter, or a worker, has made: the list over executions, and the replay of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import Playhead
from tests.api.test_incremental import since

FILES = {"a.md": b"one two", "b/c.md": b"three", "bad.md": b"bad"}


async def selected(playhead: Playhead, one: dict[str, Any]) -> list[str]:
    """Plan the replay of an affected route, and return its objects."""
    route = f"{one['config']}/{one['route']}"
    body = {name: one[name] for name in ("from_execution_id", "from_stage", "in_replay", "made_by")}
    answer = await playhead.http.post("/api/v1/replay/plan", json=body | {"to_route": route})
    assert answer.status_code == 200, answer.text
    objects = await playhead.items(f"replay/plans/{answer.json()['plan_id']}/objects")
    return [one["key"].split("/", 2)[2] for one in objects]


async def test_results_of_a_version_are_listed_over_executions_and_replayed_exactly(playhead: Playhead):
    run = await playhead.run(FILES)
    playhead.load("upper", version="2", code="sha256:bb")
    replay = await playhead.replay(run, "input", "upper")
    await playhead.work()

    [old] = await playhead.items("affected", adapter="upper@1")
    [new] = await playhead.items("affected", adapter="upper@sha256:b")

    assert (old["execution_id"], old["route"], old["stage"], old["results"]) == (run, "upper", "shouted", 2)
    assert (old["from_execution_id"], old["from_stage"], old["in_replay"]) == (run, "input", None)
    assert (new["execution_id"], new["kind"]) == (replay["execution_id"], "replay")
    assert (new["from_execution_id"], new["in_replay"]) == (run, replay["replay_batch_id"])
    assert await playhead.items("affected", adapter="upper@1", execution=replay["execution_id"]) == []
    assert await playhead.items("affected", adapter="upper@1", since="2126-01-31T18:00:00Z") == []
    for one in (old, new):
        assert await selected(playhead, one) == ["a.md", "b/c.md"], "what failed has no result"
        messages = await playhead.items(f"executions/{one['execution_id']}/lineage", made_by=one["made_by"])
        keys = [message["input_key"] for message in messages]
        assert sorted(keys) == [f"{run}/input/a.md", f"{run}/input/b/c.md"]


async def test_results_of_a_worker_include_those_that_a_later_run_has_taken_over(playhead: Playhead):
    run = await playhead.run(FILES)
    later = await since(playhead, run, FILES)
    assert playhead.rt.process
    worker = playhead.rt.process.id

    found = await playhead.items("affected", worker=worker)

    assert [(one["execution_id"], one["route"], one["results"]) for one in found] == [
        *((later, "upper", 2), (later, "split", 2)),
        *((run, "upper", 2), (run, "split", 2)),
    ]
    assert await selected(playhead, found[1]) == ["a.md", "b/c.md"]
    assert await playhead.items("affected", worker="another") == []


@pytest.mark.parametrize(
    ("path", "query", "status", "expected"),
    [
        ("affected", {}, 400, "either adapter or worker"),
        ("affected", {"adapter": "upper@1", "worker": "w1"}, 400, "either adapter or worker"),
        ("affected", {"adapter": "upper"}, 422, "chunk@2"),
        ("affected", {"worker": "w1", "since": "soon"}, 422, "since"),
        ("executions/latest/lineage", {"made_by": "upper!=newest"}, 422, "compares with the newest code"),
    ],
)
async def test_other_questions_are_refused(
    playhead: Playhead, path: str, query: dict[str, str], status: int, expected: str
):
    await playhead.run(FILES)

    answer = await playhead.http.get(f"/api/v1/{path}", params=query)

    assert answer.status_code == status, answer.text
    assert expected in answer.text
