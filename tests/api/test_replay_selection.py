"""The fields of `POST /api/v1/replay` that select objects and a config version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from playhead.ids import uuid7
from playhead.model import PublishRequest
from tests.api.server import WORDS

if TYPE_CHECKING:
    from tests.api.server import Playhead

FILES = {"a.md": b"one two", "b/c.md": b"three", "b/d.txt": b"bad", "e.md": b"four"}


@pytest.fixture
async def source(playhead: Playhead) -> str:
    return await playhead.run(FILES)


async def _post(playhead: Playhead, source: str, **fields: Any) -> Any:
    body = {"from_execution_id": source, "from_stage": "input", "to_route": "upper"} | fields
    return await playhead.http.post("/api/v1/replay", json=body)


async def _paths(playhead: Playhead, source: str, **fields: Any) -> list[str]:
    """Replay, and return the paths of the published objects."""
    answer = await _post(playhead, source, **fields)
    assert answer.status_code == 200, answer.text
    rows, _ = await playhead.catalog.lineage_list(batch=UUID(answer.json()["replay_batch_id"]))
    stage = fields.get("from_stage", "input")
    found = [row.input_key.partition("/")[2].removeprefix(f"{stage}/") for row in rows][::-1]
    assert answer.json()["objects_published"] == len(found)
    return found


async def test_an_object_must_meet_all_given_conditions(playhead: Playhead, source: str):
    assert await _paths(playhead, source, include=["*.md"]) == ["a.md", "e.md"]
    assert await _paths(playhead, source, include=["**/*.md"], exclude=["a*"]) == ["b/c.md", "e.md"]
    assert await _paths(playhead, source, content_type=["text/plain"]) == ["b/d.txt"]
    assert await _paths(playhead, source, content_type=["text/*"], limit=2) == ["a.md", "b/c.md"]
    assert await _paths(playhead, source, modified_after="-24h", from_path="b") == ["b/c.md", "b/d.txt"]
    assert await _paths(playhead, source, only="failed") == ["b/d.txt"]
    assert await _paths(playhead, source, only="unfinished", exclude=["none"]) == ["b/d.txt"]
    first = (await _post(playhead, source, limit=3)).json()["replay_batch_id"]
    await playhead.work()
    assert await _paths(playhead, source, only="unfinished", in_replay=first) == ["b/d.txt", "e.md"]


async def test_a_replay_shows_its_selection_with_fixed_times(playhead: Playhead, source: str):
    answer = await _post(playhead, source, include=["*.md"], modified_after="-7d", limit=1, config_version=1)
    shown = await playhead.get(f"replays/{answer.json()['replay_batch_id']}")

    chosen = {name: value for name, value in shown["selection"].items() if value is not None}
    assert chosen.pop("modified_after") < shown["created_at"]
    assert chosen == {"include": ["*.md"], "limit": 1}
    assert (shown["objects_found"], shown["state"]) == (1, "publishing_complete")


async def test_exactly_the_objects_of_a_list_of_paths_are_replayed(playhead: Playhead, source: str):
    assert await _paths(playhead, source, paths=["e.md", "b/c.md", "e.md"]) == ["b/c.md", "e.md"]
    assert await _paths(playhead, source, paths=["e.md", "b/c.md"], include=["*.md"]) == ["e.md"]
    assert await _paths(playhead, source, paths=["b/c.md"], from_path="b") == ["b/c.md"]

    answer = await _post(playhead, source, paths=["a.md", "A.md", "b/none"])
    assert (answer.status_code, answer.json()["error_code"]) == (404, "object_not_found")
    assert "2 of 3 paths are not objects" in answer.json()["detail"]
    assert "A.md, b/none." in answer.json()["detail"]


async def test_a_list_of_paths_may_be_larger_than_other_bodies_and_no_page_repeats_it(
    playhead: Playhead, source: str
):
    paths = [f"{'x' * 100}/{n}" for n in range(playhead.max_body // 100)]
    answer = await _post(playhead, source, paths=[*paths, "a.md"])
    assert (answer.status_code, answer.json()["error_code"]) == (404, "object_not_found")

    answer = await _post(playhead, source, paths=["a.md", "e.md"])
    shown = await playhead.get(f"replays/{answer.json()['replay_batch_id']}")
    assert (shown["selection"], shown["selected_paths"]) == (None, 2)
    body = {"from_execution_id": source, "from_stage": "input", "to_route": "upper", "paths": ["a.md"]}
    plan = (await playhead.http.post("/api/v1/replay/plan", json=body)).json()
    assert (plan["objects"], plan["request"]["selected_paths"]) == (1, 1)
    assert "paths" not in plan["request"]
    answer = await playhead.http.post("/api/v1/replay", json={"plan_id": plan["plan_id"]})
    shown = await playhead.get(f"replays/{answer.json()['replay_batch_id']}")
    assert (shown["objects_found"], shown["selected_paths"]) == (1, 1)


async def _published(playhead: Playhead, execution: str) -> str:
    """Publish an execution; return the id of the publication."""
    found = await playhead.services.publish.publish("docs", PublishRequest([UUID(execution)]))
    return str(found.execution_id)


async def test_objects_of_a_dataset_are_selected_by_the_code_of_their_results(playhead: Playhead):
    """After the replay is published, the same condition selects nothing any more."""
    await playhead.apply(WORDS + "datasets: {docs: {}}\n")
    run = await playhead.run({"a.md": b"one", "b/c.md": b"two", "b/d.md": b"three"})
    current = await _published(playhead, run)
    playhead.load("upper", version="2", code="sha256:bb")
    all_of_it = ["a.md", "b/c.md", "b/d.md"]
    for condition in ("upper<2", "upper < 1.0.1", "upper=1", "upper!=newest"):
        assert await _paths(playhead, current, made_by=condition) == all_of_it, condition
    assert await _paths(playhead, current, made_by="upper<2", paths=["a.md", "b/c.md"]) == all_of_it[:2]
    body = {"from_execution_id": current, "from_stage": "input", "to_route": "upper", "from_path": "b"}
    plan = (await playhead.http.post("/api/v1/replay/plan", json=body | {"made_by": "upper<2"})).json()
    assert (plan["objects"], plan["request"]["made_by"]) == (2, "upper<2")
    again = body | {"plan_id": plan["plan_id"], "made_by": "upper<2"}
    replay = (await playhead.http.post("/api/v1/replay", json=again)).json()
    shown = await playhead.get(f"replays/{replay['replay_batch_id']}")
    assert (shown["selection"]["made_by"], shown["selected_paths"]) == ("upper<2", 2)

    await playhead.work()
    current = await _published(playhead, replay["execution_id"])
    assert await _paths(playhead, current, made_by="upper!=newest") == ["a.md"]
    assert await _paths(playhead, current, made_by="upper=2") == all_of_it[1:]
    for condition in ("upper<1", "upper=3", "split<2"):
        answer = await _post(playhead, current, made_by=condition)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "selection_empty")
        assert "What made its results: upper 1, upper 2" in answer.json()["detail"]
    answer = await _post(playhead, current, made_by="upper<2", from_path="b")
    assert answer.json()["error_code"] == "selection_empty"
    playhead.adapters.pop("upper")
    answer = await _post(playhead, current, made_by="upper!=newest")
    assert (answer.status_code, answer.json()["error_code"]) == (409, "code_unknown")


async def test_what_cannot_be_selected_by_code_is_refused(playhead: Playhead, source: str):
    answer = await _post(playhead, source, made_by="upper!=newest")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_body")
    assert "current:NAME" in answer.json()["detail"]
    answer = await _post(playhead, source, made_by="upper<1")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "selection_empty")
    answer = await _post(playhead, source, made_by="upper=1", in_replay=str(uuid7()))
    assert (answer.status_code, answer.json()["error_code"]) == (404, "replay_not_found")

    await playhead.apply(WORDS + "datasets: {docs: {}}\n")
    current = await _published(playhead, await playhead.run({"a.md": b"one"}))
    answer = await _post(playhead, current, made_by="split!=newest")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_body")
    assert "write upper!=newest" in answer.json()["detail"]
    answer = await _post(playhead, current, made_by="worker:w1")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_body")
    assert "playhead affected --worker w1" in answer.json()["detail"]


async def test_null_in_every_optional_field_is_a_request_of_the_contract(playhead: Playhead, source: str):
    names = ("include", "exclude", "modified_after", "modified_before", "content_type", "attributes")
    nothing = dict.fromkeys((*names, "only", "in_replay", "made_by", "limit", "config_version"))
    answer = await _post(playhead, source, **nothing)
    shown = await playhead.get(f"replays/{answer.json()['replay_batch_id']}")
    assert (shown["objects_found"], shown["selection"]) == (4, None)


async def test_objects_that_a_run_has_taken_over_are_selected_like_its_own(playhead: Playhead, source: str):
    answer = await playhead.http.post(
        "/api/v1/configs/words/run",
        files=[("files", (name, data)) for name, data in {**FILES, "f.md": b"five"}.items()],
        data={"changed_since": source},
    )
    run = answer.json()["execution_id"]
    await playhead.work()
    shown = await playhead.get(f"executions/{run}")
    assert (shown["counts"]["taken_over"], shown["counts"]["failed"]) == (6, 1)

    assert await _paths(playhead, run, only="failed") == ["b/d.txt"]
    assert await _paths(playhead, run, only="unfinished") == ["b/d.txt"]
    assert await _paths(playhead, run, include=["*.md"], modified_after="-1d") == ["a.md", "e.md", "f.md"]
    shouted = {"from_stage": "shouted", "to_route": "split"}
    all_of_it = ["a.md", "b/c.md", "e.md", "f.md"]
    assert await _paths(playhead, run, **shouted, content_type=["text/markdown"]) == all_of_it
    assert await _paths(playhead, run, **shouted, exclude=["f*"], limit=2) == all_of_it[:2]


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("include", [], "at least 1 item"),
        ("include", ["*"] * 101, "at most 100 items"),
        ("include", "*.md", "valid list"),
        ("include", ["a//b"], "the text has an empty segment"),
        ("include", ["x" * 1001], "at most 1000 characters"),
        ("include", [""], "empty segment"),
        ("exclude", ["[a"], "has a `[` without `]`"),
        ("exclude", ["**.md"], "write `**` as a whole segment"),
        ("modified_after", "yesterday", "the text is not a time"),
        ("modified_after", "24h", "as in -24h"),
        ("modified_before", 1700000000, "valid string"),
        ("content_type", [], "at least 1 item"),
        ("content_type", ["html"], "the text is not a media type"),
        ("attributes", {}, "at least 1 item"),
        ("attributes", {str(n): n for n in range(21)}, "at most 20 items"),
        ("attributes", ["lang"], "valid dictionary"),
        ("only", "dead", "'failed' or 'unfinished'"),
        ("in_replay", "latest", "valid UUID"),
        ("in_replay", "01890000-0000-7000-8000-000000000000", "send both, or leave it out"),
        *(("made_by", text, "is not a condition: write chunk<2") for text in ("", "chunk", "<2", "chunk>2")),
        *(("made_by", text, "!= is for newest only") for text in ("chunk!=2", "chunk=newest")),
        ("made_by", "chunk<beta", "needs a version of numbers after <"),
        ("paths", [], "at least 1 item"),
        ("paths", ["a.md", ""], "a path that is empty"),
        ("limit", 0, "greater than or equal to 1"),
        ("limit", 2**53 + 1, "less than or equal to"),
        ("config_version", 0, "greater than or equal to 1"),
    ],
)
async def test_an_invalid_value_is_named_with_its_field(playhead: Playhead, field: str, value: Any, why: str):
    answer = await _post(playhead, str(uuid7()), **{field: value})
    assert answer.status_code == 422
    [fault, *_] = answer.json()["detail"]
    assert fault["loc"][:2] == ["body", field] or "send both" in why
    assert why in fault["msg"]
