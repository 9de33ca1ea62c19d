"""Executions over HTTP: listed, counted by route and stage, cancelled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from playhead.ids import uuid7

if TYPE_CHECKING:
    from tests.api.server import Playhead


async def test_executions_are_listed_newest_first_and_filtered(playhead: Playhead):
    first = await playhead.run({"a": b"x"}, tags=("red",))
    second = await playhead.run({"a": b"bad"}, tags=("red", "blue"))
    third = (await playhead.replay(first, "shouted", "split"))["execution_id"]
    await playhead.work()

    async def listed(**query: str) -> list[str]:
        return [e["execution_id"] for e in await playhead.items("executions", limit=1, **query)]

    assert await listed() == [third, second, first]
    assert await listed(tag="red") == [second, first]
    assert await listed(tag="none") == []
    assert await listed(status="failed") == [second]
    assert await listed(kind="replay") == [third]
    assert await listed(parent=first) == [third]
    assert await listed(config="words", status="completed", kind="run") == [first]
    assert await listed(config="other") == []
    created = (await playhead.get(f"executions/{second}"))["created_at"]
    assert await listed(since="-1h") == [third, second, first]
    assert await listed(until="-1h") == []
    assert (await listed(since=created))[-1] == second
    assert await listed(until=created, tag="red") == [first]


async def test_an_execution_is_shown_with_all_fields(playhead: Playhead):
    execution = await playhead.run({"a": b"bad", "b": b"x"})
    shown = await playhead.get(f"executions/{execution.upper()}")
    config = await playhead.get("configs/words")
    assert shown.pop("created_at") < shown.pop("ended_at")
    assert shown == {
        "execution_id": execution,
        "kind": "run",
        "status": "failed",
        "config": "words",
        "config_version": 1,
        "config_hash": config["hash"],
        "parent_execution_id": None,
        "replay_batch_id": None,
        "tags": [],
        "error": None,
        "counts": {
            "pending": 0,
            "completed": 2,
            "failed": 1,
            "cancelled": 0,
            "total": 3,
            "processed": 2,
            "taken_over": 0,
            "declared_valid": 0,
        },
        "pinned": False,
        "pruned": [],
        "replayable_until": None,
        "changed_since": None,
        "records_deleted_at": None,
        "revision": 1,
        "requested_by": {"kind": "local", "id": "local", "name": "local"},
    }


async def test_route_counts_add_up_to_the_executions(playhead: Playhead):
    execution = await playhead.run({"a": b"bad", "b": b"x"})
    routes = await playhead.items(f"executions/{execution}/routes")
    assert [(r["route"], r["queue"]) for r in routes if r["counts"]["total"]] == [
        ("upper", "words.upper"),
        ("split", "words.split"),
    ]
    total = (await playhead.get(f"executions/{execution}"))["counts"]
    assert {k: sum(r["counts"][k] for r in routes) for k in total} == total


async def test_stages_are_counted_with_sizes_input_first(playhead: Playhead):
    execution = await playhead.run({"a.md": b"one two", "b.md": b"three"})
    assert await playhead.items(f"executions/{execution}/stages") == [
        {
            "stage": "input",
            "objects": 2,
            "bytes": 12,
            "first_key": f"{execution}/input/a.md",
            "last_key": f"{execution}/input/b.md",
        },
        {
            "stage": "shouted",
            "objects": 2,
            "bytes": 12,
            "first_key": f"{execution}/shouted/a.md",
            "last_key": f"{execution}/shouted/b.md",
        },
        {
            "stage": "split/words",
            "objects": 3,
            "bytes": 11,
            "first_key": f"{execution}/split/words/a/0001.txt",
            "last_key": f"{execution}/split/words/b/0001.txt",
        },
    ]


async def test_a_stage_without_objects_is_listed_and_sidecars_and_markers_are_not_counted(playhead: Playhead):
    execution = await playhead.run({"a.md": b"bad"})
    await playhead.put(f"{execution}/shouted/")
    await playhead.put(f"{execution}/shouted/x.meta.json")
    await playhead.put(f"{execution}/stray")
    stages = await playhead.items(f"executions/{execution}/stages")
    assert [(s["stage"], s["objects"]) for s in stages] == [("input", 1), ("shouted", 0), ("split/words", 0)]
    assert (stages[1]["bytes"], stages[1]["first_key"]) == (0, None)


async def test_objects_of_other_programs_are_listed_after_the_stages(playhead: Playhead):
    execution = await playhead.run({"a.md": b"x"})
    await playhead.put(f"{execution}/by-hand/b/c.md", b"12345")
    stages = await playhead.items(f"executions/{execution}/stages")
    assert (stages[-1]["stage"], stages[-1]["objects"], stages[-1]["bytes"]) == ("by-hand", 1, 5)


async def totals(playhead: Playhead, execution: str) -> tuple[list[dict[str, Any]], bool]:
    """The totals of the stages of an execution, which are those of its list of stages."""
    found = await playhead.get(f"executions/{execution}/totals")
    listed = await playhead.items(f"executions/{execution}/stages")
    assert found["stages"] == [{name: one[name] for name in ("stage", "objects", "bytes")} for one in listed]
    assert datetime.fromisoformat(found["as_of"]).tzinfo == UTC
    return found["stages"], found["is_final"]


async def test_totals_are_those_of_the_list_of_stages(playhead: Playhead):
    execution = await playhead.run({"a.md": b"one two", "b.md": b"bad"})
    replay = (await playhead.replay(execution, "shouted", "split"))["execution_id"]

    assert await totals(playhead, execution) == (
        [
            {"stage": "input", "objects": 2, "bytes": 10},
            {"stage": "shouted", "objects": 1, "bytes": 7},
            {"stage": "split/words", "objects": 2, "bytes": 6},
        ],
        True,
    )
    assert (await totals(playhead, replay))[1] is False
    await playhead.work()
    stages, is_final = await totals(playhead, replay)
    assert (stages[2]["objects"], is_final) == (2, True)
    await playhead.post("prune", {"execution_ids": [execution], "stages": ["input"]})
    pruned = await playhead.get(f"executions/{execution}/totals")
    assert (pruned["stages"][0], pruned["is_final"]) == ({"stage": "input", "objects": 0, "bytes": 0}, True)


async def test_totals_of_an_execution_of_another_program_come_from_the_store(playhead: Playhead):
    execution = str(uuid7())
    await playhead.put(f"{execution}/pages/x.md", b"12345")

    assert await totals(playhead, execution) == ([{"stage": "pages", "objects": 1, "bytes": 5}], False)
    refused = await playhead.get(f"executions/{uuid7()}/totals", 404)
    assert refused["error_code"] == "execution_not_found"


async def test_an_execution_of_another_program_is_shown_and_not_written(playhead: Playhead):
    execution = str(uuid7())
    await playhead.put(f"{execution}/pages/x.md")
    await playhead.put(f"{execution}/words/deep/y.md")
    shown = await playhead.get(f"executions/{execution}")
    assert (shown["kind"], shown["status"], shown["config"]) == ("adopted", "completed", None)
    assert shown["counts"]["total"] == 0
    stages = await playhead.items(f"executions/{execution}/stages")
    assert [(s["stage"], s["objects"]) for s in stages] == [("pages", 1), ("words", 1)]
    assert await playhead.items(f"executions/{execution}/routes") == []
    assert await playhead.items("executions") == []


@pytest.mark.parametrize("key", ["stray", "pages/", "pages/x.meta.json"])
async def test_objects_with_other_keys_do_not_make_an_execution(playhead: Playhead, key: str):
    execution = str(uuid7())
    await playhead.put(f"{execution}/{key}")
    assert (await playhead.get(f"executions/{execution}", 404))["error_code"] == "execution_not_found"


async def test_cancelling_is_idempotent_and_too_late_after_the_end(playhead: Playhead):
    ended = await playhead.run({"a": b"x"})
    assert (await playhead.post(f"executions/{ended}/cancel", status=409))["error_code"] == "execution_ended"
    waiting = (await playhead.post("configs/words/run", {"payload": 1}, 202))["execution_id"]
    for _ in range(2):
        assert (await playhead.post(f"executions/{waiting}/cancel"))["status"] == "cancelled"
    await playhead.work()
    assert (await playhead.get(f"executions/{waiting}"))["status"] == "cancelled"
