"""What a replay has changed, by its objects: what it repaired, changed and broke."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead import Item, Reject
from tests.inprocess import Playhead, opened_with

CONFIG = """
entry: read
routes:
  read:
    adapters: [{type: do}]
    outbound: {stage: read, to: [split, side]}
  split:
    adapters: [{type: ado}]
    outbound: {stage: parts, to: [index]}
  side:
    adapters: [{type: stamp}]
    outbound: {stage: sides}
  index:
    adapters: [{type: stamp}]
    outbound: {stage: indexed}
"""
FILES = {
    "a/same.txt": "one",
    "a/other.txt": "other one",
    "b/still.txt": "bad still",
    "b/moved.txt": "bad moved",
    "b/repaired.txt": "bad repaired",
    "c/broken.txt": "broken",
    "d/part.txt": "one stuck",
}


def _read(item: Item, ctx: Any) -> Any:
    if item.text.startswith("bad"):
        raise Reject(f"cannot read {item.text.split()[1]!r}")
    return item.data


async def _split(item: Item, ctx: Any) -> Any:
    if "stuck" in item.text:
        raise Reject("no part is 'stuck'")
    return item.text.split()


def _fixed(item: Item, ctx: Any) -> Any:
    if "still" in item.text:
        raise Reject("cannot read 'still'")
    if "other" in item.text:
        return b"other two"
    return item.data


async def _fixed_split(item: Item, ctx: Any) -> Any:
    if "moved" in item.text or "broken" in item.text:
        raise Reject("this is new")
    return item.text.split()


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened_with(tmp_path, CONFIG, _read, _split) as playhead:
        yield playhead


async def fixed(ph: Playhead) -> tuple[str, str]:
    """Return a run with failures, and its replay with other code."""
    run = await ph.run(FILES)
    ph.steps.doing, ph.steps.adoing = _fixed, _fixed_split
    return run, await ph.replayed(run, "input", "read")


async def cells(ph: Playhead, a: str, b: str) -> dict[str, int]:
    """Return the cells that are not empty. They equal the lists and the groups."""
    found = await ph.get(f"executions/{a}/result/{b}")
    assert found["objects"] == sum(one["objects"] for one in found["cells"])
    for one in found["cells"]:
        where = {"before": one["before"], "after": one["after"]}
        listed = await ph.items(f"executions/{a}/result/{b}/objects", limit=1, **where)
        assert len({item["key"] for item in listed}) == one["objects"]
        assert all({**item, **where} == item for item in listed)
        folders = await ph.items(f"executions/{a}/result/{b}/groups", limit=1, by="folder", **where)
        assert sum(group["objects"] for group in folders) == one["objects"]
    return {f"{one['before']} {one['after']}": one["objects"] for one in found["cells"] if one["objects"]}


async def test_each_object_is_counted_once_by_what_happened_before_and_after(ph: Playhead):
    run, again = await fixed(ph)

    assert await cells(ph, run, again) == {
        "done same": 1,
        "done other": 1,
        "done other_error": 1,
        "failed other": 2,
        "failed same_error": 1,
        "failed other_error": 1,
    }

    async def paths(**where: str) -> list[str]:
        return [one["path"] for one in await ph.items(f"executions/{run}/result/{again}/objects", **where)]

    assert await paths(before="failed", after="other") == ["b/repaired.txt", "d/part.txt"]
    assert await paths(before="done", after="other_error") == ["c/broken.txt"]
    assert await paths(folder="b", after="other_error") == ["b/moved.txt"]
    assert await paths(stage="split") == ["b/moved.txt", "c/broken.txt"]
    assert await paths(stage="read", after="other") == ["a/other.txt", "b/repaired.txt"]
    assert await paths(stage="nowhere") == []
    assert await paths(error="000000000000") == []


async def test_the_objects_have_their_errors_and_the_stages_that_differ(ph: Playhead):
    run, again = await fixed(ph)
    listed = await ph.items(f"executions/{run}/result/{again}/objects")
    found = {one["path"].rpartition("/")[2].removesuffix(".txt"): one for one in listed}

    assert found["other"]["stages"] == ["read", "parts", "sides", "indexed"]
    assert found["part"]["stages"] == ["parts", "indexed"]
    assert found["same"]["stages"] == []
    moved = found["moved"]
    assert (moved["old_failure"]["route"], moved["new_failure"]["route"]) == ("read", "split")
    assert moved["new_failure"]["error"] == "this is new"
    letter = await ph.get(f"dead-letters/{moved['new_failure']['correlation_id']}")
    assert letter["execution_id"] == again
    assert letter["group"] == moved["new_failure"]["group"]

    groups = await ph.items(f"executions/{run}/result/{again}/groups", after="other_error")
    assert [(one["name"], one["objects"], one["folders"]) for one in groups] == [
        (moved["new_failure"]["group"], 2, ["b", "c"])
    ]
    assert (groups[0]["first"], groups[0]["failure"]["error"]) == ("b/moved.txt", "this is new")
    stages = await ph.items(f"executions/{run}/result/{again}/groups", by="stage", after="other")
    assert [(one["name"], one["objects"], one["failure"]) for one in stages] == [
        ("read", 2, None),
        ("parts", 1, None),
    ]


async def test_only_routes_that_the_replay_reaches_count(ph: Playhead):
    run = await ph.run({"one.txt": "one", "stuck.txt": "one stuck"})
    ph.steps.doing, ph.steps.adoing = _fixed, _fixed_split
    again = await ph.replayed(run, "read", "side")

    # `split` had failed for one of them, but the replay is of `side` only.
    assert await cells(ph, run, again) == {"done same": 2}
    again = await ph.replayed(run, "read", "split")
    assert await cells(ph, run, again) == {"done same": 1, "failed other": 1}


async def test_messages_that_were_not_processed_are_not_decided(ph: Playhead):
    run = await ph.run({"one.txt": "one", "two.txt": "two"})
    body = {"from_execution_id": run, "from_stage": "input", "to_route": "read"}
    started = await ph.post("replay", body)
    execution = started["execution_id"]

    found = await ph.get(f"executions/{run}/result/{execution}")
    assert not found["is_complete"]
    assert await cells(ph, run, execution) == {"done undecided": 2}
    waiting = await ph.items(f"executions/{run}/result/{execution}/groups", by="stage")
    assert [(one["name"], one["objects"]) for one in waiting] == [("read", 2)]

    await ph.work(execution)
    assert await cells(ph, run, execution) == {"done same": 2}


async def test_runs_are_compared_by_the_stages_and_paths_of_their_inputs(ph: Playhead):
    first = await ph.run({"a.txt": "one", "b.txt": "bad b"})
    ph.steps.doing = _fixed
    second = await ph.run({"a.txt": "one", "b.txt": "bad b", "c.txt": "new"})

    assert await cells(ph, first, second) == {"done same": 1, "failed other": 1, "none other": 1}
    again = await ph.replayed(first, "input", "read")
    assert await cells(ph, second, again) == {"done same": 2}


async def test_what_has_no_messages_is_refused(ph: Playhead):
    run = await ph.run({"a.txt": "one"})
    other = str(UUID(int=UUID(run).int ^ 1))
    answer = await ph.get(f"executions/{run}/result/{other}", 404)
    assert answer["error_code"] == "execution_not_found"
    await ph.get(f"executions/{run}/result/{run}/objects", 422, after="done")
    await ph.get(f"executions/{run}/result/{run}/groups", 422, by="route")
