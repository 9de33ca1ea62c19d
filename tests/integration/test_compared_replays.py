"""What a replay changed: its outputs compared with those of its source, object by object."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

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
    outbound: {stage: sides, to: [index]}
  index:
    adapters: [{type: stamp}]
    outbound: {stage: indexed}
"""
FILES = {"a.txt": "a one", "b.txt": "b two", "sub/c.txt": "c three", "sub/d.txt": "d"}
STATES = ("same", "changed", "moved", "added", "missing", "not_produced")


def _same(item: Item, ctx: Any) -> Any:
    return item.data


async def _words(item: Item, ctx: Any) -> Any:
    return item.text.split()


async def _fixed(item: Item, ctx: Any) -> Any:
    """Change the first word of `a`, give `c` one more, reject `b`, and return nothing for `d`."""
    words = item.text.split()
    match words[0]:
        case "a":
            return ["A", *words[1:]]
        case "b":
            raise Reject("no b")
        case "c":
            return [*words, "more"]
    return None


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened_with(tmp_path, CONFIG, _same, _words) as playhead:
        yield playhead


async def diff(ph: Playhead, a: str, b: str, **query: Any) -> dict[str, dict[str, int]]:
    """Return the counts of a comparison that are not zero, by stage. They equal those of its lists."""
    found = await ph.get(f"executions/{a}/diff/{b}", **query)
    counts = {one["stage"]: {state: one[state] for state in STATES if one[state]} for one in found["stages"]}
    for state in STATES:
        assert found["totals"][state] == sum(one.get(state, 0) for one in counts.values())
        listed = await ph.items(f"executions/{a}/diff/{b}/objects", limit=3, state=state, **query)
        assert {one["state"] for one in listed} <= {state}
        assert len(listed) == found["totals"][state]
    every = await ph.items(f"executions/{a}/diff/{b}/objects", limit=3, **query)
    assert len(every) == sum(found["totals"][state] for state in STATES)
    for side in "ab":
        sizes = [o[side]["size"] for o in every if o[side] and o["state"] != "not_produced"]
        assert found["totals"][f"bytes_{side}"] == sum(sizes)
    return {stage: one for stage, one in counts.items() if one}


async def listed(ph: Playhead, a: str, b: str, **query: Any) -> dict[str, list[str]]:
    """Return the paths of the objects that differ, by state."""
    found: dict[str, list[str]] = {}
    for one in await ph.items(f"executions/{a}/diff/{b}/objects", **({"state": "different"} | query)):
        assert (one["a"] is None) is (one["state"] == "added")
        assert (one["b"] is None) is (one["state"] == "missing")
        found.setdefault(one["state"], []).append(f"{one['stage']}/{one['path']}")
    return found


async def test_a_replay_is_compared_with_its_source(ph: Playhead):
    run = await ph.run(FILES)
    ph.steps.adoing = _fixed
    fixed = await ph.replayed(run, "read", "split")

    assert await diff(ph, run, fixed) == {
        "input": {"not_produced": 4},
        "read": {"not_produced": 4},
        "parts": {"same": 3, "changed": 1, "added": 1, "missing": 3},
        "sides": {"not_produced": 4},
        # Four objects of this stage were made from `sides`.
        "indexed": {"same": 3, "changed": 1, "added": 1, "missing": 3, "not_produced": 4},
    }
    assert await listed(ph, run, fixed, stage="parts") == {
        "changed": ["parts/a/0001.txt"],
        "added": ["parts/sub/c/0003.txt"],
        "missing": ["parts/b/0001.txt", "parts/b/0002.txt", "parts/sub/d/0001.txt"],
    }
    [changed] = await ph.items(f"executions/{run}/diff/{fixed}/objects", stage="parts", state="changed")
    assert (changed["a"]["key"], changed["b"]["key"]) == (
        f"{run}/parts/a/0001.txt",
        f"{fixed}/parts/a/0001.txt",
    )
    assert changed["a"]["sha256"] != changed["b"]["sha256"]
    assert (changed["a"]["size"], changed["a"]["content_type"]) == (1, "text/plain")


async def test_what_a_replay_of_some_objects_left_out_is_not_missing(ph: Playhead):
    run = await ph.run(FILES)
    ph.steps.adoing = _fixed
    some = await ph.replayed(run, "read", "split", from_path="sub")
    parts = {"same": 2, "added": 1, "missing": 1, "not_produced": 4}
    assert (await diff(ph, run, some))["parts"] == parts
    chosen = await ph.replayed(run, "input", "read", include=["b.txt", "sub/*"])
    assert await listed(ph, run, chosen, stage="parts") == {
        "added": ["parts/sub/c/0003.txt"],
        "missing": ["parts/b/0001.txt", "parts/b/0002.txt", "parts/sub/d/0001.txt"],
    }
    counts = await diff(ph, run, chosen)
    assert counts["parts"] == {"same": 2, "added": 1, "missing": 3, "not_produced": 2}
    assert counts["read"] == {"same": 3, "not_produced": 1}
    assert counts["indexed"] == {"same": 5, "added": 1, "missing": 3, "not_produced": 3}


async def test_replays_of_replays_and_siblings_are_compared_by_what_they_replayed(ph: Playhead):
    run = await ph.run(FILES)
    first = await ph.replayed(run, "input", "read", from_path="sub")
    again = await ph.replayed(first, "read", "split", from_path="sub/c.txt")
    ph.steps.adoing = _fixed
    second = await ph.replayed(first, "read", "split", from_path="sub/c.txt")
    sibling = await ph.replayed(run, "read", "split")

    # With the execution above its source, by stage and path.
    assert await listed(ph, run, again) == {}
    assert (await diff(ph, run, second))["parts"] == {"same": 2, "added": 1, "not_produced": 5}
    assert (await diff(ph, again, second))["parts"] == {"same": 2, "added": 1}
    # The other way round, the replay is the one that had no reason to produce the rest.
    assert (await diff(ph, second, run))["parts"] == {"same": 2, "missing": 1, "not_produced": 5}
    # `first` has all stages below `sub`. The sibling was given all objects, but only for one route.
    assert await diff(ph, first, sibling) == {
        "read": {"not_produced": 2},
        "parts": {"same": 2, "added": 1, "missing": 1, "not_produced": 2},
        "sides": {"not_produced": 2},
        "indexed": {"same": 2, "added": 1, "missing": 1, "not_produced": 4},
    }
    reverse = {"same": 2, "added": 1, "missing": 1, "not_produced": 2}
    assert (await diff(ph, sibling, first))["parts"] == reverse


async def test_two_runs_are_compared_as_a_whole(ph: Playhead):
    first = await ph.run({"a.txt": "a", "b.txt": "b", "c.txt": "c"})
    second = await ph.run({"a.txt": "a", "b.txt": "B", "d.txt": "d"})
    assert await diff(ph, first, second) == {
        stage: {"same": 1, "changed": 1, "added": 1, "missing": 1}
        for stage in ("input", "read", "parts", "sides")
    } | {"indexed": {"same": 2, "changed": 2, "added": 2, "missing": 2}}
    assert (await ph.get(f"executions/{first}/diff/{first}"))["totals"]["changed"] == 0
    assert await diff(ph, first, second, stage="parts", path="b") == {"parts": {"changed": 1}}
    assert await diff(ph, first, second, stage="parts/b/0001.txt") == {"parts": {"changed": 1}}
    assert await diff(ph, first, second, stage="read", path="d.txt") == {"read": {"added": 1}}


async def test_pruned_and_taken_over_outputs_are_compared_by_their_records(ph: Playhead):
    first = await ph.run({"a.txt": "a", "b.txt": "b"})
    files = [("files", ("a.txt", b"a")), ("files", ("b.txt", b"B"))]
    answer = await ph.http.post("/api/v1/configs/docs/run", files=files, data={"changed_since": first})
    second = answer.json()["execution_id"]
    await ph.work(second)
    assert (await ph.execution(second))["counts"]["taken_over"]
    assert (await diff(ph, first, second))["parts"] == {"same": 1, "changed": 1}
    await ph.post("prune", {"execution_ids": [second]})
    await ph.rt.services.prune.finish()
    assert (await diff(ph, first, second))["parts"] == {"same": 1, "changed": 1}
    [changed] = await ph.items(f"executions/{first}/diff/{second}/objects", stage="parts", state="changed")
    assert (changed["a"]["pruned_at"], changed["b"]["pruned_at"] is None) == (None, False)


async def test_a_running_execution_is_compared_as_far_as_it_is(ph: Playhead):
    first = await ph.run({"a.txt": "a"})
    second = await ph.submit({"a.txt": "a"})
    found = await ph.get(f"executions/{first}/diff/{second}")
    assert (found["is_complete"], found["totals"]["missing"]) == (False, 5)
    assert (await ph.get(f"executions/{first}/diff/{first}"))["is_complete"]


async def test_by_content_an_inserted_part_is_one_addition(ph: Playhead):
    run = await ph.run({"a.txt": "one two three", "b.txt": "one five", "c.txt": "six seven eight"})

    async def edited(item: Item, ctx: Any) -> Any:
        if item.path == "c.txt":
            return ["six", "SEVEN"]
        return [*(["new"] if item.path == "a.txt" else []), *item.text.split()]

    ph.steps.adoing = edited
    fixed = await ph.replayed(run, "read", "split")

    assert (await diff(ph, run, fixed))["parts"] == {"same": 3, "changed": 4, "added": 1, "missing": 1}
    by_content = await diff(ph, run, fixed, by="content")
    assert by_content["parts"] == {"same": 3, "moved": 3, "changed": 1, "added": 1, "missing": 1}
    assert by_content["indexed"] == by_content["parts"] | {"not_produced": 3}
    assert await listed(ph, run, fixed, stage="parts", by="content") == {
        "added": ["parts/a/0001.txt"],
        "changed": ["parts/c/0002.txt"],
        "missing": ["parts/c/0003.txt"],
    }
    moved = await ph.items(
        f"executions/{run}/diff/{fixed}/objects", state="moved", stage="parts", by="content", limit=1
    )
    assert [(one["a"]["key"][-8:], one["b"]["key"][-8:]) for one in moved] == [
        ("0001.txt", "0002.txt"),
        ("0002.txt", "0003.txt"),
        ("0003.txt", "0004.txt"),
    ]
    # Both runs and their own inputs are compared so, too.
    again = await ph.run({"a.txt": "one two three", "b.txt": "one five", "c.txt": "six seven eight"})
    assert (await diff(ph, run, again, by="content"))["parts"] == {"same": 3, "moved": 3} | {
        "changed": 1,
        "added": 1,
        "missing": 1,
    }


@pytest.mark.parametrize("seed", range(4))
async def test_the_pages_of_a_comparison_by_content_have_each_object_once(ph: Playhead, seed: int):
    rnd = random.Random(seed)
    words = [f"w{n}" for n in range(6)]
    files = {f"{n:02}.txt": " ".join(rnd.choices(words, k=rnd.randint(1, 6))) for n in range(8)}
    run = await ph.run(files)

    async def edited(item: Item, ctx: Any) -> Any:
        parts: list[str] = item.text.split()
        for _ in range(rnd.randint(0, 2)):
            at = rnd.randrange(len(parts) + 1)
            parts[at : at + rnd.randint(0, 1)] = rnd.choices(["new", *words], k=rnd.randint(0, 2))
        return parts or None

    ph.steps.adoing = edited
    fixed = await ph.replayed(run, "read", "split")
    path = f"executions/{run}/diff/{fixed}/objects"

    await diff(ph, run, fixed, by="content")  # compares the counts with the lists
    every = await ph.items(path, by="content", limit=1000)
    for limit in (1, 4):
        assert await ph.items(path, by="content", limit=limit) == every
    for side, execution in (("a", run), ("b", fixed)):
        keys = [one[side]["key"] for one in every if one[side]]
        assert len(keys) == len(set(keys))
        assert {one for one in keys if f"{execution}/parts/" in one} == {
            one[side]["key"] for one in await ph.items(path, limit=1000, stage="parts") if one[side]
        }
    for one in every:
        if one["state"] in ("same", "moved"):
            assert one["a"]["sha256"] == one["b"]["sha256"]
    by_path = [
        one for one in await ph.items(path, limit=1000) if one["state"] in ("changed", "added", "missing")
    ]
    differ = [one for one in every if one["state"] in ("changed", "added", "missing")]
    assert len(differ) <= len(by_path)
