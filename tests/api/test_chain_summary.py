"""The summary of a chain: messages above and below an object or a message, by execution and route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playhead.ids import uuid7

if TYPE_CHECKING:
    from tests.api.server import Playhead

CONFIG = """\
version: "1.0"
name: deep
entry: upper
routes:
  upper:
    adapters: [{type: upper}]
    outbound: {stage: shouted, to: [split]}
  split:
    adapters: [{type: split}]
    outbound: {stage: words, to: [again]}
  again:
    adapters: [{type: upper}]
    outbound: {stage: last}
"""
WORDS = 300


def _groups(summary: Any, executions: list[str]) -> list[tuple[int, str, str, int, int]]:
    return [
        (
            executions.index(group["execution_id"]),
            group["route"],
            group["direction"],
            group["messages"],
            group["outputs"],
        )
        for group in summary["groups"]
    ]


def _edges(summary: Any) -> list[tuple[int, int, str, int]]:
    return [(e["from_group"], e["to_group"], e["via"], e["messages"]) for e in summary["edges"]]


async def _family(playhead: Playhead) -> list[str]:
    """A run, whose page was split into many words, and three replays, each of the one before."""
    await playhead.apply(CONFIG)
    executions = [await playhead.run({"a.md": b"word " * WORDS, "b.md": b"other"}, config="deep")]
    for stage, route in (("input", "deep/upper"), ("shouted", "deep/split"), ("words", "deep/again")):
        body = {"from_execution_id": executions[-1], "from_stage": stage, "to_route": route}
        executions.append((await playhead.post("replay", body))["execution_id"])
        await playhead.work()
    return executions


async def test_a_fan_out_over_three_replays_is_summarized_in_a_few_groups(playhead: Playhead):
    executions = await _family(playhead)
    summary = await playhead.get("lineage/chain/summary", object_key=f"{executions[0]}/input/a.md")
    assert _groups(summary, executions) == [
        (0, "upper", "down", 1, 1),
        (1, "upper", "down", 1, 1),
        (0, "split", "down", 1, WORDS),
        (1, "split", "down", 1, WORDS),
        (2, "split", "down", 1, WORDS),
        (0, "again", "down", WORDS, WORDS),
        (1, "again", "down", WORDS, WORDS),
        (2, "again", "down", WORDS, WORDS),
        (3, "again", "down", WORDS, WORDS),
    ]
    assert _edges(summary) == [
        (0, 2, "parent", 1),
        (1, 3, "parent", 1),
        (1, 4, "replay", 1),
        (2, 5, "parent", WORDS),
        (3, 6, "parent", WORDS),
        (4, 7, "parent", WORDS),
        (4, 8, "replay", WORDS),
    ]
    assert (summary["messages"], summary["is_complete"]) == (5 + 4 * WORDS, True)


async def test_the_way_up_crosses_replays_and_counts_one_output_for_each_message(playhead: Playhead):
    executions = await _family(playhead)
    key = f"{executions[3]}/last/a/0007.md"
    summary = await playhead.get("lineage/chain/summary", object_key=key)
    assert _groups(summary, executions) == [
        (1, "upper", "up", 1, 1),
        (2, "split", "up", 1, 1),
        (3, "again", "self", 1, 1),
    ]
    assert _edges(summary) == [(0, 1, "replay", 1), (1, 2, "replay", 1)]
    first, second, third = summary["groups"]
    message = await playhead.get(f"lineage/{first['correlation_id']}")
    run = await playhead.get(f"executions/{executions[1]}")
    assert first == {
        "execution_id": executions[1],
        "kind": "replay",
        "replay_batch_id": run["replay_batch_id"],
        "created_at": run["created_at"],
        "config": "deep",
        "config_version": 1,
        "route": "upper",
        "stage": "shouted",
        "direction": "up",
        "messages": 1,
        "outputs": 1,
        "failed": 0,
        "correlation_id": message["correlation_id"],
        "input_key": f"{executions[0]}/input/a.md",
        "key": f"{executions[1]}/shouted/a.md",
    }
    assert second["key"] == f"{executions[2]}/words/a/0007.txt"
    assert third["key"] == key

    whole = await playhead.get(f"lineage/{second['correlation_id']}/chain/summary")
    assert _groups(whole, executions) == [
        (1, "upper", "up", 1, 1),
        (2, "split", "self", 1, WORDS),
        (2, "again", "down", WORDS, WORDS),
        (3, "again", "down", WORDS, WORDS),
    ]


async def test_failed_messages_are_counted(playhead: Playhead):
    run = await playhead.run({"a.md": b"bad"})
    [root] = await playhead.items(f"executions/{run}/lineage")
    summary = await playhead.get(f"lineage/{root['correlation_id']}/chain/summary")
    [group] = summary["groups"]
    assert (group["failed"], group["outputs"], group["key"], summary["edges"]) == (1, 0, None, [])


async def test_an_object_without_messages_has_an_empty_summary(playhead: Playhead):
    other = uuid7()
    await playhead.put(f"{other}/pages/a.md")
    summary = await playhead.get("lineage/chain/summary", object_key=f"{other}/pages/a.md")
    nothing = {"groups": [], "edges": [], "messages": 0, "is_complete": True}
    assert summary == nothing | {"records_deleted_at": None}
    for key, code in ((f"{other}/pages/b.md", "object_not_found"), ("nonsense", "invalid_path")):
        status = 404 if code == "object_not_found" else 400
        answer = await playhead.get("lineage/chain/summary", status, object_key=key)
        assert answer["error_code"] == code
    answer = await playhead.get(f"lineage/{other}/chain/summary", 404)
    assert answer["error_code"] == "message_not_found"
