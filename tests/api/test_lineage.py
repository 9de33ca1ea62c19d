"""Lineage over HTTP: one message, an object's maker, a chain across a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.ids import uuid7
from tests.counted import counts

if TYPE_CHECKING:
    from tests.api.server import Playhead

X = "01890000-0000-7000-8000-000000000000"


async def test_a_message_is_shown_with_all_fields(playhead: Playhead):
    execution = await playhead.run({"a.md": b"one two"})
    [root] = await playhead.items(f"executions/{execution}/lineage", route="upper")
    assert await playhead.get(f"lineage/{root['correlation_id']}") == root
    assert root["duration_ms"] >= 0
    assert {k: root[k] for k in root.keys() - {"correlation_id", "created_at", "started_at", "ended_at"}} == {
        "parent_correlation_id": None,
        "execution_id": execution,
        "replay_batch_id": None,
        "config": "words",
        "config_version": 1,
        "route": "upper",
        "status": "completed",
        "attempts": 1,
        "adapters": [{"type": "upper", "version": "1", "code": "sha256:aa"}],
        "input_key": f"{execution}/input/a.md",
        "output_keys": [f"{execution}/shouted/a.md"],
        "output_count": 1,
        "skip_code": None,
        "skip_reason": None,
        "error": None,
        "duration_ms": root["duration_ms"],
        "input_pruned_at": None,
        "outputs_pruned_at": None,
        "taken_over_from": None,
        "declared_valid": None,
        "input_records_deleted_at": None,
    }


async def test_a_message_without_an_output_is_skipped_and_its_reason_is_listed(playhead: Playhead):
    execution = await playhead.run({"a.md": b" "})
    [skipped] = await playhead.items(f"executions/{execution}/lineage", status="skipped")
    assert (skipped["route"], skipped["skip_reason"]) == ("split", "split returned no output")
    assert (skipped["output_keys"], skipped["error"]) == ([], None)
    [_, link] = await playhead.items(f"lineage/{skipped['correlation_id']}/chain")
    assert (link["status"], link["skip_reason"]) == ("skipped", "split returned no output")
    shown = await playhead.get(f"executions/{execution}")
    assert shown["counts"] == counts(completed=2)


async def test_an_object_leads_to_the_message_that_produced_it(playhead: Playhead):
    execution = await playhead.run({"a.md": b"one"})
    [made] = await playhead.items("lineage", object_key=f"{execution}/shouted/a.md")
    assert (made["route"], made["input_key"]) == ("upper", f"{execution}/input/a.md")
    [took] = await playhead.items("lineage", object_key=f"{execution}/input/a.md")
    assert took == made


async def test_an_object_that_no_message_touched_has_no_lineage(playhead: Playhead):
    key = f"{uuid7()}/pages/x.md"
    await playhead.put(key)
    assert await playhead.items("lineage", object_key=key) == []


async def test_a_chain_continues_across_a_replay(playhead: Playhead):
    execution = await playhead.run({"a.md": b"one"})
    answer = await playhead.replay(execution, "shouted", "split")
    await playhead.work()
    [leaf] = await playhead.items(f"lineage/batch/{answer['replay_batch_id']}")
    assert leaf["replay_batch_id"] == answer["replay_batch_id"]
    up = await playhead.items(f"lineage/{leaf['correlation_id']}/chain", direction="up")
    assert [(link["route"], link["distance"], link["via"]) for link in up] == [
        ("upper", -1, "replay"),
        ("split", 0, "self"),
    ]
    down = await playhead.items(f"lineage/{up[0]['correlation_id']}/chain", direction="down")
    assert sorted((link["route"], link["distance"], link["via"]) for link in down) == [
        ("split", 1, "parent"),
        ("split", 1, "replay"),
        ("upper", 0, "self"),
    ]
    nearest = await playhead.get(f"lineage/{up[0]['correlation_id']}/chain", 200, limit=2)
    assert len(nearest["items"]) == 2
    assert nearest["next_cursor"]


async def test_messages_are_filtered_by_route_and_status_in_pages(playhead: Playhead):
    execution = await playhead.run({"a": b"bad", "b": b"x", "c": b"y"})
    rows = await playhead.items(f"executions/{execution}/lineage", limit=2)
    assert len({row["correlation_id"] for row in rows}) == len(rows) == 5
    dead = await playhead.items(f"executions/{execution}/lineage", status="dead", route="upper")
    assert [(row["input_key"], row["error"]["code"]) for row in dead] == [
        (f"{execution}/input/a", "rejected")
    ]
    assert await playhead.items(f"executions/{execution}/lineage", route="none") == []


async def test_the_chain_of_an_object_leaves_out_its_siblings(playhead: Playhead):
    execution = await playhead.run({"a.md": b"one two three"})
    listed = await playhead.items("storage/objects", execution_id=execution, stage="split/words")
    keys = [found["key"] for found in listed]
    answer = await playhead.replay(execution, "split/words", "upper")
    await playhead.work()
    down = await playhead.items("lineage/chain", object_key=keys[1], direction="down")
    batch = answer["replay_batch_id"]
    assert [(link["input_key"], link["replay_batch_id"], link["distance"]) for link in down][:1] == [
        (keys[1], batch, 1)
    ]
    assert {link["distance"] for link in down[1:]} == {2}
    up = await playhead.items("lineage/chain", object_key=keys[1], direction="up")
    assert [(link["route"], link["distance"]) for link in up] == [("upper", -1), ("split", 0)]


async def test_the_messages_below_are_counted_by_route_and_state(playhead: Playhead):
    execution = await playhead.run({"a.md": b"one two three"})
    await playhead.replay(execution, "shouted", "split")
    [root] = await playhead.items(f"executions/{execution}/lineage", route="upper")
    key = f"{execution}/input/a.md"
    of_object = await playhead.get("lineage/counts", object_key=key)
    of_message = await playhead.get(f"lineage/{root['correlation_id']}/counts")
    assert of_object["is_complete"]
    assert (of_object["messages"], of_message["messages"]) == (3, 2)
    counted = [(one["route"], one["status"], one["messages"]) for one in of_object["counts"]]
    assert counted == [("upper", "completed", 1), ("split", "completed", 1), ("split", "pending", 1)]
    assert of_message["counts"] == of_object["counts"][1:]
