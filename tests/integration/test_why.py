"""Why an item has no output: each outcome, in a run, across a replay, and before either has listed it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from playhead import Item, RateLimited, Reject, Retry
from playhead.model import OUTCOMES
from tests.acceptance.pages import ROOT
from tests.inprocess import Playhead, opened_with

CONFIG = """
entry: read
error_handling: {max_attempts: 2, retry_delay_seconds: 0}
routes:
  read:
    adapters: [{type: do}]
    outbound: {stage: read, to: [split]}
  split:
    adapters:
      - type: ado
        condition: {field: path, operator: not_equals, value: dropped.txt, otherwise: drop}
    outbound: {stage: parts, to: [index]}
  index:
    adapters: [{type: stamp}]
    outbound: {stage: indexed}
"""


def _read(item: Item, ctx: Any) -> Any:
    match item.path.partition(".")[0]:
        case "rejected":
            raise Reject("no text")
        case "dead":
            raise ValueError("broken page")
        case "later":
            raise Retry("busy", after=600)
        case "limited":
            raise RateLimited("too many requests", after=600)
        case "nothing":
            return None
    return item.data


async def _split(item: Item, ctx: Any) -> Any:
    return [item.data, item.data] if item.path != "empty.txt" else []


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened_with(tmp_path, CONFIG, _read, _split) as playhead:
        yield playhead


FILES = {f"{name}.txt": name for name in ("fine", "rejected", "dead", "nothing", "empty", "dropped")}


def way(answer: Any) -> list[tuple[str, str, int]]:
    return [(route["route"], route["outcome"], route["messages"]) for route in answer["routes"]]


async def why(ph: Playhead, execution: str, path: str, **query: str) -> Any:
    return await ph.get(f"executions/{execution}/why", path=path, **query)


@pytest.mark.parametrize(
    ("path", "outcome", "words", "routes"),
    [
        (
            *("fine.txt", "completed", "all messages of the item are completed"),
            [("read", "completed", 1), ("split", "completed", 1), ("index", "completed", 2)],
        ),
        (
            *("rejected.txt", "rejected", "route read: the adapter rejected it: no text"),
            [("read", "rejected", 1), ("split", "not_reached", 0), ("index", "not_reached", 0)],
        ),
        (
            *("dead.txt", "dead", "route read: adapter_error: ValueError: broken page (attempts: 2)"),
            [("read", "dead", 1), ("split", "not_reached", 0), ("index", "not_reached", 0)],
        ),
        (
            *("nothing.txt", "no_output", "route read: do returned no output"),
            [("read", "no_output", 1), ("split", "not_reached", 0), ("index", "not_reached", 0)],
        ),
        (
            *("empty.txt", "no_output", "1 of 2 messages, route split: ado returned no output"),
            [("read", "completed", 1), ("split", "no_output", 1), ("index", "not_reached", 0)],
        ),
        (
            *("dropped.txt", "condition_false"),
            "1 of 2 messages, route split: the condition of ado dropped it",
            [("read", "completed", 1), ("split", "condition_false", 1), ("index", "not_reached", 0)],
        ),
    ],
)
async def test_the_way_of_an_item_ends_with_the_reason(ph: Playhead, path, outcome, words, routes):
    execution = await ph.run(FILES)
    answer = await why(ph, execution, path)
    assert (answer["outcome"], answer["explanation"]) == (outcome, words)
    assert answer["outcome"] in OUTCOMES
    assert answer["key"] == f"{execution}/input/{path}"
    assert way(answer) == routes
    assert answer["messages"] == sum(number for _, _, number in routes)
    assert answer["is_complete"]


async def test_open_messages_are_explained(ph: Playhead):
    execution = await ph.submit({"later.txt": "", "fine.txt": ""})
    answer = await why(ph, execution, "fine.txt")
    assert (answer["outcome"], answer["explanation"]) == (
        "pending",
        "route read: it waits in queue docs.read",
    )
    async with ph.working():
        while (answer := await why(ph, execution, "later.txt"))["outcome"] != "retry":
            pass
    due = answer["routes"][0]["examples"][0]["retry_at"]
    assert answer["explanation"] == (f"route read: attempt 1 ended (retry: busy); the next is due at {due}")
    await ph.post(f"executions/{execution}/cancel")
    answer = await why(ph, execution, "later.txt")
    assert (answer["outcome"], answer["explanation"]) == (
        *("cancelled", "route read: the execution was cancelled before"),
    )


async def test_the_cooldown_of_a_route_is_a_part_of_the_reason(ph: Playhead):
    execution = await ph.submit({"limited.txt": ""})
    async with ph.working():
        while (answer := await why(ph, execution, "limited.txt"))["outcome"] != "retry":
            pass
    assert "attempt 1 ended (it was released); the next is due at " in answer["explanation"]
    assert answer["explanation"].endswith("; the route waits for another 600 s: too many requests")


async def test_an_item_may_be_named_by_its_stage_by_a_key_or_by_a_path_of_any_stage(ph: Playhead):
    execution = await ph.run({"fine.txt": ""})
    part = f"{execution}/parts/fine/0002.txt"
    for path in (part, "parts/fine/0002.txt", "fine/0002.txt"):
        answer = await why(ph, execution, path)
        assert (answer["key"], way(answer)) == (part, [("index", "completed", 1)])
    answer = await why(ph, execution, "fine.txt", stage="read")
    assert answer["key"] == f"{execution}/read/fine.txt"
    assert [route for route, _, _ in way(answer)] == ["split", "index"]
    answer = await why(ph, execution, "indexed/fine/0001.txt")
    assert (answer["outcome"], answer["routes"]) == ("completed", [])
    assert answer["explanation"] == "the object is stored in stage indexed, which no route follows"


async def test_an_item_may_be_named_without_its_suffix_if_only_one_matches(ph: Playhead):
    execution = await ph.run({"menu.json": "", "menu.d/a.txt": "", "menus.txt": "", "two.a": "", "two.b": ""})
    assert (await why(ph, execution, "menu"))["key"] == f"{execution}/input/menu.json"
    assert (await why(ph, execution, "menu", stage="read"))["key"] == f"{execution}/read/menu.json"
    assert (await why(ph, execution, "read/menu.d/a"))["key"] == f"{execution}/read/menu.d/a.txt"
    assert (await why(ph, execution, f"{execution}/read/menu"))["key"] == f"{execution}/read/menu.json"
    answer = await ph.get(f"executions/{execution}/why", 404, path="two")
    assert answer["detail"].endswith("Did you mean 'two.a' or 'two.b'?")


async def test_an_item_that_does_not_exist_is_answered_with_similar_paths(ph: Playhead):
    execution = await ph.run({f"docs/page-{n}.txt": "" for n in range(30)})
    for path in ("docs/page-l7.txt", "docs/page-17.tx", "page-17.txt", "doc/page-17.txt"):
        answer = await ph.get(f"executions/{execution}/why", 404, path=path)
        assert answer["error_code"] == "object_not_found"
        assert "'docs/page-17.txt'" in answer["detail"]
    answer = await ph.get(f"executions/{execution}/why", 404, path="parts/docs/page-17/0003.txt")
    assert "'parts/docs/page-17/0001.txt'" in answer["detail"]
    other = await ph.run({"a.txt": ""})
    answer = await ph.get(f"executions/{execution}/why", 400, path=f"{other}/input/a.txt")
    assert (answer["error_code"], other in answer["detail"]) == ("invalid_path", True)
    assert (await ph.get(f"executions/{execution}/why", 400, path="a/../b"))["error_code"] == "invalid_path"


async def test_the_way_of_a_replay_begins_in_its_source(ph: Playhead):
    run = await ph.run({**FILES, "sub/fine.txt": ""})
    replay = (await ph.replay(run, "read", "split", path="sub"))["execution_id"]
    await ph.work(replay)

    answer = await why(ph, replay, "sub/fine.txt")
    assert answer["key"] == f"{run}/read/sub/fine.txt"
    assert (answer["outcome"], way(answer)) == (
        *("completed", [("split", "completed", 1), ("index", "completed", 2)]),
    )
    assert {route["execution_id"] for route in answer["routes"]} == {replay}

    answer = await why(ph, replay, f"{run}/input/sub/fine.txt")
    assert [route["execution_id"] for route in answer["routes"]] == [run] * 3 + [replay] * 2
    assert answer["outcome"] == "completed"

    answer = await why(ph, replay, "fine.txt")
    assert (answer["outcome"], way(answer)) == ("not_replayed", [("split", "not_replayed", 0)])
    assert answer["explanation"] == (
        "route split: the replay took stage read, path sub, which does not contain the object"
    )

    answer = await why(ph, replay, "dead.txt")
    assert answer["key"] == f"{run}/input/dead.txt"
    assert answer["outcome"] == "dead"
    assert answer["explanation"].startswith(f"route read of the source {run}: adapter_error: ")
    assert way(answer)[-1] == ("split", "not_reached", 0)
    assert answer["routes"][-1]["explanation"] == (
        "the replay took stage read, path sub, and no output of the item is there"
    )


async def test_a_large_fan_out_is_counted_with_a_few_examples(ph: Playhead):
    async def many(item: Item, ctx: Any) -> Any:
        return [item.data] * 500

    ph.steps.adoing = many
    execution = await ph.run({"fine.txt": ""})
    answer = await why(ph, execution, "fine.txt")
    assert way(answer)[-1] == ("index", "completed", 500)
    assert [len(route["examples"]) for route in answer["routes"]] == [1, 1, 3]
    assert [len(example["output_keys"]) for example in answer["routes"][1]["examples"]] == [3]


async def test_objects_that_no_message_received_are_explained(ph: Playhead):
    execution = await ph.submit({"a.txt": ""})
    other = ph.put(execution, "scans/page.txt")
    answer = await why(ph, execution, "scans/page.txt")
    assert (answer["key"], answer["outcome"]) == (other, "no_message")


def test_the_how_to_describes_every_outcome():
    page = (ROOT / "docs/howto/why-missing.md").read_text(encoding="utf-8")
    table = page.partition("## Outcomes")[2].partition("\n## ")[0]
    described = {
        word.strip() for row in table.splitlines() for word in row.strip("| ").split("|")[0].split(",")
    }
    assert {outcome.replace("_", " ") for outcome in OUTCOMES} <= described
