"""Comparisons of executions over HTTP: the shape of the answers, pages, and what is refused."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from playhead.ids import uuid7

if TYPE_CHECKING:
    from tests.api.server import Playhead


async def test_a_comparison_counts_by_stage_and_lists_both_sides(playhead: Playhead):
    first = await playhead.run({"a.md": b"one two", "b.md": b"x"}, tags=("old",))
    second = await playhead.run({"a.md": b"one 2", "b.md": b"x"})
    found = await playhead.get(f"executions/tag:old/diff/{second[-12:]}")
    assert (found["a"], found["b"], found["is_complete"]) == (first, second, True)
    assert [one["stage"] for one in found["stages"]] == ["input", "shouted", "split/words"]
    assert found["stages"][2] == {
        "stage": "split/words",
        "same": 2,
        "changed": 1,
        "moved": 0,
        "added": 0,
        "missing": 0,
        "not_produced": 0,
        "bytes_a": 7,
        "bytes_b": 5,
    }
    assert found["totals"]["changed"] == 3

    page = await playhead.get(f"executions/{first}/diff/{second}/objects", stage="split/words", limit=2)
    assert [one["path"] for one in page["items"]] == ["a/0001.txt", "a/0002.txt"]
    key = f"{first}/split/words/a/0002.txt"
    assert page["items"][1]["state"] == "changed"
    assert page["items"][1]["a"] == {
        "key": key,
        "size": 3,
        "sha256": sha256(b"TWO").hexdigest(),
        "content_type": "text/plain",
        "pruned_at": None,
    }


async def test_the_pages_of_a_comparison_go_through_all_stages(playhead: Playhead):
    first = await playhead.run({f"{n}.md": b"x" for n in range(5)})
    second = await playhead.run({f"{n}.md": b"x" for n in range(2, 7)})
    every = await playhead.items(f"executions/{first}/diff/{second}/objects", limit=1000)
    assert await playhead.items(f"executions/{first}/diff/{second}/objects", limit=1) == every
    assert [one["path"] for one in every if one["stage"] == "input"] == [f"{n}.md" for n in range(7)]
    assert len(every) == 21
    different = await playhead.items(
        f"executions/{first}/diff/{second}/objects", limit=1, state="different", stage="input"
    )
    assert [one["state"] for one in different] == ["missing", "missing", "added", "added"]


async def test_what_cannot_be_compared_is_refused(playhead: Playhead):
    run = await playhead.run({"a": b"x"})
    other = uuid7()
    await playhead.put(f"{other}/pages/a.md")

    async def refused(status: int, b: object = run, **query: str) -> str:
        answer = await playhead.get(f"executions/{run}/diff/{b}", status, **query)
        again = await playhead.get(f"executions/{run}/diff/{b}/objects", status, **query)
        assert again["detail"] == answer["detail"]
        return str(answer.get("error_code"))

    assert await refused(400, other) == "not_comparable"
    assert await refused(404, uuid7()) == "execution_not_found"
    assert await refused(404, stage="shout") == "stage_not_found"
    assert await refused(400, path="a") == "invalid_path"
    assert await refused(400, stage="input", path="../a") == "invalid_path"
    await refused(422, stage="")
    await playhead.get(f"executions/{run}/diff/{run}/objects", 422, state="other")
    page = await playhead.get(f"executions/{run}/diff/{run}/objects", limit=1)
    answer = await playhead.get(
        f"executions/{run}/diff/{run}/objects", 400, state="same", cursor=page["next_cursor"]
    )
    assert answer["error_code"] == "invalid_cursor"
