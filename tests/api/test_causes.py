"""Causes of failures over HTTP: the list, one cause, its acknowledgement, and how it closes."""

from __future__ import annotations

from typing import Any

from tests.api.server import Playhead


async def failed(playhead: Playhead) -> dict[str, Any]:
    await playhead.run({"a": b"bad", "b": b"bad", "c": b"good"})
    await playhead.run({"b": b"bad"})
    [cause] = await playhead.items("causes")
    return cause


async def test_a_cause_counts_objects_and_letters(playhead: Playhead):
    cause = await failed(playhead)

    assert (cause["objects"], cause["letters"], cause["executions"]) == (2, 3, 2)
    assert cause["routes"] == [{"config": "words", "route": "upper", "objects": 2}]
    assert (cause["state"], cause["is_new"]) == ("open", True)
    letters = await playhead.items("dead-letters")
    assert cause["newest"] == letters[0]["correlation_id"]
    assert "".join(part["text"] for part in cause["error"]) == letters[0]["error"]
    assert await playhead.get(f"causes/{cause['id']}") == cause
    assert await playhead.items("causes", route="split") == []
    assert await playhead.items("causes", since="-1h") == [cause]
    assert (await playhead.get(f"causes/{'0' * 12}", 404))["error_code"] == "cause_not_found"


async def test_the_objects_of_a_cause_are_listed_until_they_are_processed(playhead: Playhead):
    cause = await failed(playhead)
    path = f"causes/{cause['id']}/objects"

    [newest, other] = await playhead.items(path)

    assert [one["path"] for one in (newest, other)] == ["input/b", "input/a"]
    assert (newest["config"], newest["route"], newest["letters"]) == ("words", "upper", 2)
    assert newest["correlation_id"] == cause["newest"]
    assert newest["processed_at"] is None
    await playhead.run({"a": b"good"})
    assert [one["path"] for one in await playhead.items(path)] == ["input/b"]
    await playhead.run({"b": b"good"})
    assert {one["path"] for one in await playhead.items(path)} == {"input/a", "input/b"}
    first = await playhead.get(path, limit=1)
    rest = await playhead.get(path, limit=1, cursor=first["next_cursor"])
    assert [len(page["items"]) for page in (first, rest)] == [1, 1]
    assert rest["next_cursor"] is None
    assert (await playhead.get(f"causes/{'0' * 12}/objects", 404))["error_code"] == "cause_not_found"


async def test_a_cause_is_acknowledged_until_a_version_is_applied(playhead: Playhead):
    cause = await failed(playhead)
    path = f"causes/{cause['id']}"
    given = {"reason": "fixed in 2", "requested_by": "ann", "until": "words@2"}

    known = await playhead.post(f"{path}/acknowledge", given)

    assert (known["state"], known["is_new"]) == ("acknowledged", False)
    assert known["acknowledgement"]["until_version"] == "words@2"
    assert await playhead.items("causes") == []
    assert await playhead.items("causes", state="acknowledged") == [known]
    assert (await playhead.post(f"{path}/unacknowledge"))["state"] == "open"

    await playhead.post(f"{path}/acknowledge", given | {"until": "2126-01-31"})
    [known] = await playhead.items("causes", state="acknowledged")
    assert known["acknowledgement"]["ends_at"] == "2126-01-31T00:00:00.000Z"
    for until in ("words@1", "soon", "2020-01-31", "2020-01-31T00:00:00Z"):
        refused = await playhead.post(f"{path}/acknowledge", given | {"until": until}, 400)
        assert refused["error_code"] == "invalid_until"


async def test_a_cause_is_closed_by_a_later_run_without_a_resend(playhead: Playhead):
    cause = await failed(playhead)

    await playhead.run({"a": b"good", "b": b"good"})

    assert await playhead.items("causes") == []
    [closed] = await playhead.items("causes", state="closed")
    assert (closed["id"], closed["processed"]) == (cause["id"], 2)
    assert closed["closed_at"] > closed["last_failed_at"]
    assert len(await playhead.items("dead-letters")) == 3, "the dead letters stay"


async def test_a_plan_of_a_cause_has_each_object_once_from_its_newest_source(playhead: Playhead):
    first = await playhead.run({"a": b"bad", "b": b"bad", "c": b"good"})
    second = await playhead.run({"b": b"bad", "d/e": b"bad"})
    [cause] = await playhead.items("causes")

    planned = await playhead.post(f"causes/{cause['id']}/plan")

    assert (planned["cause"], planned["objects"], planned["left_out"]) == (cause["id"], 3, [])
    assert [(one["request"]["from_execution_id"], one["first_keys"]) for one in planned["plans"]] == [
        (second, [f"{second}/input/b", f"{second}/input/d/e"]),
        (first, [f"{first}/input/a"]),
    ]
    assert {one["request"]["to_route"] for one in planned["plans"]} == {"words/upper"}
    for one in planned["plans"]:
        replay = await playhead.post("replay", {"plan_id": one["plan_id"]})
        assert replay["objects_published"] == one["objects"]


async def test_one_request_plans_the_objects_of_100_sources_and_the_next_one_those_of_the_next(
    playhead: Playhead,
):
    runs = [await playhead.submit({f"{n:03}": b"bad"}) for n in range(102)]
    await playhead.work()
    [cause] = await playhead.items("causes")
    path = f"causes/{cause['id']}/plan"

    first = await playhead.post(path)
    for one in first["plans"]:
        await playhead.post("replay", {"plan_id": one["plan_id"]})
    second = await playhead.post(f"{path}?cursor={first['next_cursor']}")

    def sources(planned: Any) -> list[str]:
        return [one["request"]["from_execution_id"] for one in planned["plans"]]

    assert (first["objects"], first["objects_left"]) == (100, 2)
    assert (second["objects"], second["objects_left"], second["next_cursor"]) == (2, 0, None)
    assert sources(first) + sources(second) == runs[::-1]
    refused = await playhead.post(f"{path}?cursor=x", status=400)
    assert refused["error_code"] == "invalid_cursor"


async def test_a_failure_in_a_replay_is_planned_from_the_source_of_the_replay(playhead: Playhead):
    source = await playhead.run({"a": b"bad"})
    replay = await playhead.replay(source, "input", "upper")
    await playhead.process()
    [cause] = await playhead.items("causes")
    assert cause["execution_id"] == replay["execution_id"]

    [plan] = (await playhead.post(f"causes/{cause['id']}/plan"))["plans"]

    assert plan["first_keys"] == [f"{source}/input/a"]


async def test_objects_of_a_cause_that_were_pruned_are_left_out_with_the_reason(playhead: Playhead):
    pruned = await playhead.run({"a": b"bad", "c": b"bad"})
    kept = await playhead.run({"b": b"bad"})
    [cause] = await playhead.items("causes")
    await playhead.post("prune", {"execution_ids": [pruned]})

    planned = await playhead.post(f"causes/{cause['id']}/plan")

    assert [one["first_keys"] for one in planned["plans"]] == [[f"{kept}/input/b"]]
    [left] = planned["left_out"]
    assert (left["code"], left["objects"], left["execution_id"]) == ("stage_pruned", 2, pruned)
    assert left["route"] == "words/upper"


async def test_a_closed_cause_has_nothing_to_plan(playhead: Playhead):
    cause = await failed(playhead)
    await playhead.run({"a": b"good", "b": b"good"})

    planned = await playhead.post(f"causes/{cause['id']}/plan")

    assert (planned["objects"], planned["plans"], planned["left_out"]) == (0, [], [])
