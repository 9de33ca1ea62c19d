"""Dead letters over HTTP: listed, shown, resent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from playhead.ids import uuid7
from tests.api.server import WORDS

if TYPE_CHECKING:
    from tests.api.server import Playhead


@pytest.fixture
async def execution(playhead: Playhead) -> str:
    return await playhead.run({"a": b"bad", "b": b"bad", "c": b"good"})


async def test_a_dead_letter_shows_what_failed_and_where(playhead: Playhead, execution: str):
    letters = await playhead.items("dead-letters", limit=1)
    assert [letter["input_key"][-1] for letter in letters] == ["b", "a"]
    letter = letters[1]
    shown = await playhead.get(f"dead-letters/{letter['correlation_id']}")
    assert "traceback" in shown
    assert letter.items() <= shown.items()
    assert letter.pop("failed_at").endswith("Z")
    assert letter == {
        "correlation_id": letter["correlation_id"],
        "execution_id": execution,
        "config": "words",
        "config_version": 1,
        "route": "upper",
        "queue": "words.upper",
        "input_key": f"{execution}/input/a",
        "attempts": 1,
        "error_code": "rejected",
        "error": letter["error"],
        "group": letter["group"],
    }
    assert "this is bad" in letter["error"]


async def test_dead_letters_are_filtered(playhead: Playhead, execution: str):
    other = await playhead.run({"a": b"bad"})
    assert len(await playhead.items("dead-letters")) == 3
    assert len(await playhead.items("dead-letters", execution_id=other)) == 1
    assert len(await playhead.items("dead-letters", route="upper")) == 3
    assert await playhead.items("dead-letters", route="split") == []
    assert len(await playhead.items("dead-letters", route="words/upper")) == 3
    assert await playhead.items("dead-letters", route="other/upper") == []


async def test_resending_one_reopens_its_execution(playhead: Playhead, execution: str):
    [letter, _] = await playhead.items("dead-letters")
    path = f"dead-letters/{letter['correlation_id']}"
    assert await playhead.post(f"{path}/resend", status=202) == {"resent": 1}
    assert (await playhead.get(f"executions/{execution}"))["status"] == "running"
    assert await playhead.post(f"{path}/resend", status=202) == {"resent": 0}
    await playhead.get(path, 404)
    await playhead.work()
    assert (await playhead.get(f"executions/{execution}"))["status"] == "failed"
    assert (await playhead.get(path))["attempts"] == 2


async def test_many_are_resent_by_id_execution_or_route(playhead: Playhead, execution: str):
    ids = [letter["correlation_id"] for letter in await playhead.items("dead-letters")]
    for body, number in (
        ({"correlation_ids": [ids[0], ids[0], str(uuid7())]}, 1),
        ({"execution_id": execution, "route": "split"}, 0),
        ({"route": "other/upper"}, 0),
        ({"execution_id": execution, "route": "words/upper", "priority": "normal"}, 1),
        ({"route": "upper"}, 0),
    ):
        assert await playhead.post("dead-letters/resend", body, 202) == {"resent": number}


@pytest.mark.parametrize("ids", [[], ["THOSE"]])
@pytest.mark.parametrize("more", [{}, {"execution_id": "RUN"}, {"route": "upper"}])
async def test_a_list_of_ids_resends_exactly_these_and_an_empty_list_none(
    playhead: Playhead, execution: str, ids: list[str], more: dict[str, str]
):
    """Ids together with other criteria are refused. An empty list used to mean the whole execution."""
    letters = await playhead.items("dead-letters")
    body: dict[str, Any] = {key: value.replace("RUN", execution) for key, value in more.items()}
    body["correlation_ids"] = [letters[0]["correlation_id"]] if ids else []
    status = 422 if more else 202 if ids else 400
    answer = await playhead.post("dead-letters/resend", body, status)
    if status == 400:
        assert answer["error_code"] == "selection_empty"
    elif status == 422:
        assert (
            "cannot be combined with execution_id, route, error_code, group or failed_before"
            in answer["detail"][0]["msg"]
        )
    sent = 1 if status == 202 else 0
    assert len(await playhead.items("dead-letters")) == len(letters) - sent


async def test_dead_letters_that_failed_alike_are_one_group(playhead: Playhead, execution: str):
    [group] = await playhead.items("dead-letters/groups")
    letters = await playhead.items("dead-letters", group=group["group"])
    assert [letter["group"] for letter in letters] == [group["group"]] * 2
    times = [letter["failed_at"] for letter in letters]
    assert group == {
        "group": letters[0]["group"],
        "config": "words",
        "route": "upper",
        "queue": "words.upper",
        "error_code": "rejected",
        "error": letters[0]["error"],
        "pattern": group["pattern"],
        "count": 2,
        "executions": 1,
        "first_failed_at": min(times),
        "last_failed_at": max(times),
        "newest": letters[0]["correlation_id"],
        "input_key": letters[0]["input_key"],
        "open": True,
    }
    for where, count in (
        ({"execution_id": execution}, 1),
        ({"config": "words", "route": "words/upper"}, 1),
        ({"config": "other"}, 0),
        ({"route": "split"}, 0),
    ):
        assert len(await playhead.items("dead-letters/groups", **where)) == count
    assert await playhead.items("dead-letters", group="0" * 12) == []
    await playhead.get("dead-letters/groups", 404, execution_id=uuid7())
    await playhead.get("dead-letters", 422, group="x")
    await playhead.get("dead-letters/groups", 422, queue="x")


async def test_a_group_is_resent_as_it_was_when_it_was_read(playhead: Playhead, execution: str):
    """Acceptance of the pages: "Resend 2" leaves what failed after the page was drawn."""
    [group] = await playhead.items("dead-letters/groups")
    await asyncio.sleep(0.01)
    later = await playhead.run({"a": b"bad"})
    frozen = {"group": group["group"], "failed_before": group["last_failed_at"]}
    assert await playhead.post("dead-letters/resend", frozen, 202) == {"resent": 2}
    await playhead.work()
    assert await playhead.post("dead-letters/resend", frozen, 202) == {"resent": 0}
    assert len(await playhead.items("dead-letters", execution_id=later)) == 1
    assert (await playhead.items("dead-letters/groups"))[0]["count"] == 3


async def test_a_plan_of_a_resend_counts_objects_and_names_external_effects(playhead: Playhead):
    await playhead.apply(WORDS.replace("to: [split]", "to: [split, aside]"))
    first = await playhead.run({"a": b"bad", "b": b"bad"})
    await playhead.run({"b": b"bad"})
    route = {"config": "words", "route": "upper", "external": ["aside"]}

    every = await playhead.post("dead-letters/resend/plan", {"route": "upper"})
    one = await playhead.post("dead-letters/resend/plan", {"execution_id": first})
    refused = await playhead.post("dead-letters/resend/plan", {}, 400)

    assert every == {"letters": 3, "objects": 2, "routes": [route | {"letters": 3}]}
    assert one == {"letters": 2, "objects": 2, "routes": [route | {"letters": 2}]}
    assert refused["error_code"] == "selection_empty"
    assert len(await playhead.items("dead-letters")) == 3


async def test_a_cancelled_execution_stays_cancelled(playhead: Playhead):
    execution = await playhead.run({"a": b"bad"})
    [letter] = await playhead.items("dead-letters")
    await playhead.post(f"dead-letters/{letter['correlation_id']}/resend", status=202)
    await playhead.post(f"executions/{execution}/cancel")
    assert await playhead.post(f"dead-letters/{letter['correlation_id']}/resend", status=202) == {"resent": 0}
