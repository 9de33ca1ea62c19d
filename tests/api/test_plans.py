"""Plans over HTTP, and the replay that is started from a plan."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from playhead.model import LoadedAdapter, LoadedCode
from playhead.ports.catalog.upkeep import Process

if TYPE_CHECKING:
    from tests.api.server import Playhead

FILES = {"a.md": b"one two", "b/c.md": b"three", "d.md": b"four"}
UNKNOWN = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
async def source(playhead: Playhead) -> str:
    await playhead.apply()
    return await playhead.run(FILES)


async def plan(playhead: Playhead, source: str, **given: Any) -> Any:
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split"} | given
    return await playhead.post("replay/plan", body)


async def send(playhead: Playhead, path: str, body: Any) -> httpx.Response:
    return await playhead.http.post(f"/api/v1/{path}", json=body)


async def test_a_plan_says_what_a_replay_would_publish_and_what_would_process_it(
    playhead: Playhead, source: str
):
    found = await plan(playhead, source, from_path="b", pace={"rate": 2})

    assert set(found) == {
        *("plan_id", "state", "digest", "request", "to_config", "to_config_version", "to_queue", "consumers"),
        *(
            "queue_depth",
            "objects",
            "bytes",
            "first_keys",
            "last_key",
            "content_types",
            "left_out",
            "others_valid",
            "problems",
        ),
        *("routes", "would_refuse", "seconds", "replay_batch_id", "error", "created_at", "expires_at"),
        *("replayable_until", "config_diff", "workers", "warnings", "looked_up", "known"),
    }
    assert re.fullmatch("sha256:[0-9a-f]{64}", found["digest"])
    assert found["request"] == {
        "from_execution_id": source,
        "from_stage": "shouted",
        "from_path": "b",
        "to_route": "split",
        "config_version": 1,
        "pace": {"rate": 2.0},
    }
    assert (found["state"], found["objects"], found["bytes"]) == ("ready", 1, 5)
    assert (found["to_config"], found["to_config_version"], found["to_queue"]) == ("words", 1, "words.split")
    assert found["first_keys"] == [found["last_key"]] == [f"{source}/shouted/b/c.md"]
    assert found["content_types"] == {"text/markdown": 1}
    assert found["left_out"] == {
        "sidecars": 1,
        "not_stored": 0,
        "filtered": 0,
        "not_failed": 0,
        "aborted_not_selected": 0,
        "over_limit": 0,
    }
    assert found["problems"] == {"invalid_key": 0, "no_sidecar": 0, "hash_differs": None}
    assert [(one["route"], one["reached"]) for one in found["routes"]] == [
        ("upper", False),
        ("split", True),
        ("aside", False),
    ]
    assert found["seconds"] == 0.5
    assert (found["queue_depth"], found["consumers"], found["workers"]) == (0, 0, [])
    assert found["config_diff"] is None
    [warning] = found["warnings"]
    assert (warning["code"], warning["subject"]) == ("no_consumer", "words.split")
    assert warning["text"] == "no live worker consumes words.split; its messages wait until one starts"
    assert found["expires_at"] > found["created_at"]
    assert (await playhead.get(f"replay/plans/{found['plan_id']}")) == found
    assert (await playhead.get("replay/plans")) == {"items": [found], "next_cursor": None}


async def messages_of(playhead: Playhead, source: str, **given: Any) -> tuple[dict[str, int | None], Any]:
    found = await plan(playhead, source, **given)
    return {one["route"]: one["messages"] for one in found["routes"]}, found


async def test_a_plan_counts_the_messages_that_its_own_objects_led_to(playhead: Playhead, source: str):
    some = {"from_stage": "input", "to_route": "upper", "include": ["a.md", "d.md"]}

    counted, found = await messages_of(playhead, source, **some)

    assert counted == {"upper": 2, "split": 2, "aside": None}
    assert (found["looked_up"], found["known"]) == (2, 2)
    assert all(one["seconds"] >= 0 for one in found["routes"] if one["messages"])


async def test_a_plan_extrapolates_from_the_objects_that_were_processed(playhead: Playhead):
    await playhead.apply()
    source = await playhead.run({"a.md": b"one", "b.md": b"two", "c.md": b"bad", "d.md": b"four"})

    counted, found = await messages_of(playhead, source, from_stage="input", to_route="upper")

    assert counted == {"upper": 4, "split": 4, "aside": None}
    assert (found["looked_up"], found["known"]) == (4, 3)


async def test_a_plan_into_a_route_that_has_not_processed_its_objects_knows_no_messages(
    playhead: Playhead, source: str
):
    counted, found = await messages_of(playhead, source, from_stage="input", to_route="aside")

    assert counted == {"upper": None, "split": None, "aside": 3}
    assert found["known"] == 0


async def test_the_objects_of_a_plan_are_listed_by_pages(playhead: Playhead, source: str):
    found = await plan(playhead, source)
    path = f"replay/plans/{found['plan_id']}/objects"

    first = await playhead.get(path, limit=2)
    rest = await playhead.get(path, limit=2, cursor=first["next_cursor"])

    assert [one["key"].removeprefix(f"{source}/shouted/") for one in first["items"] + rest["items"]] == [
        "a.md",
        "b/c.md",
        "d.md",
    ]
    assert rest["next_cursor"] is None
    assert set(first["items"][0]) == {"key", "size", "tag"}
    assert first["items"][0]["size"] == 7
    assert re.fullmatch("r:[0-9a-f]{32}", first["items"][0]["tag"])
    other = await plan(playhead, source)
    refused = await playhead.get(f"replay/plans/{other['plan_id']}/objects", 400, cursor=first["next_cursor"])
    assert refused["error_code"] == "invalid_cursor"


async def test_a_plan_is_made_in_the_background_if_the_client_prefers_that(playhead: Playhead, source: str):
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split"}
    answer = await playhead.http.post(
        "/api/v1/replay/plan", json=body, headers={"Prefer": "wait=1, Respond-Async"}
    )

    assert answer.status_code == 202
    identity = answer.json()["plan_id"]
    assert answer.json()["state"] == "listing"
    assert answer.headers["Location"] == f"/api/v1/replay/plans/{identity}"
    assert answer.headers["Preference-Applied"] == "respond-async"
    await playhead.driven()
    assert (await playhead.http.get(answer.headers["Location"])).json()["state"] == "ready"


async def test_a_plan_shows_the_difference_to_the_config_that_ran(playhead: Playhead, source: str):
    await playhead.apply((await playhead.get("configs/words"))["source"].replace("elsewhere", "moved"))

    found = await plan(playhead, source)

    assert found["to_config_version"] == 2
    lines = found["config_diff"].splitlines()
    assert lines[:2] == ["--- words version 1", "+++ words version 2"]
    assert [one for one in lines[2:] if one[0] in "+-"] == [
        "-    inbound: {queue: elsewhere}",
        "+    inbound: {queue: moved}",
    ]
    assert (await plan(playhead, source, config_version=1))["config_diff"] is None


async def test_a_plan_names_the_workers_and_those_that_run_another_version(playhead: Playhead, source: str):
    for number, (version, code) in enumerate([("1.0", "aa"), ("1.0", "aa"), ("1.1", "bb")]):
        await playhead.catalog.heartbeat(
            Process(f"w{number}", "worker", "here", 40 + number),
            ["words.split"],
            loaded=LoadedCode(
                version,
                (
                    LoadedAdapter("split", "1", f"sha256:{code}", "/x/steps.py"),
                    LoadedAdapter("upper", "1", "sha256:aa", "/x/steps.py"),
                ),
            ),
        )

    found = await plan(playhead, source)

    assert found["consumers"] == 3
    assert [(one["pid"], [a["type"] for a in one["adapters"]]) for one in found["workers"]] == [
        (40, ["split"]),
        (41, ["split"]),
        (42, ["split"]),
    ]
    assert found["workers"][2]["adapters"][0]["notes"] == ["differs"]
    assert "worker 42 on here runs Playhead 1.1, the other workers 1.0" in {
        one["text"] for one in found["warnings"]
    }
    [differing] = [one for one in found["warnings"] if one["code"] == "code_differs"]
    assert (differing["subject"], differing["places"][2]) == ("split", "worker 42 on here")


async def test_a_replay_of_a_plan_needs_no_other_field(playhead: Playhead, source: str):
    found = await plan(playhead, source, exclude=["d.*"])
    await playhead.put(f"{source}/shouted/b/new.md")

    answer = await send(playhead, "replay", {"plan_id": found["plan_id"]})

    assert answer.status_code == 200, answer.text
    replay = answer.json()
    assert (replay["objects_found"], replay["objects_published"], replay["status"]) == (
        2,
        2,
        "publishing_complete",
    )
    assert (replay["from_execution_id"], replay["from_stage"], replay["to_route"]) == (
        source,
        "shouted",
        "split",
    )
    shown = await playhead.get(f"replays/{replay['replay_batch_id']}")
    assert (shown["plan_id"], shown["state"]) == (found["plan_id"], "publishing_complete")
    used = await playhead.get(f"replay/plans/{found['plan_id']}")
    assert (used["state"], used["replay_batch_id"]) == ("used", replay["replay_batch_id"])
    again = await send(playhead, "replay", {"plan_id": found["plan_id"]})
    assert again.json() == replay


async def test_a_changed_plan_is_answered_with_the_difference(playhead: Playhead, source: str):
    await playhead.put(f"{source}/shouted/x.bin", b"data")
    found = await plan(playhead, source)
    await playhead.put(f"{source}/shouted/x.bin", b"DATA")
    await playhead.store.delete([f"{source}/shouted/a.md"])

    answer = await send(playhead, "replay", {"plan_id": found["plan_id"]})

    assert (answer.status_code, answer.json()["error_code"]) == (409, "plan_changed")
    difference = answer.json()["difference"]
    assert (difference["gone"], difference["changed"]) == (1, 1)
    gone, changed = difference["first"]
    assert (gone["key"], gone["what"], gone["planned"]["size"], gone["now"]) == (
        f"{source}/shouted/a.md",
        "gone",
        7,
        None,
    )
    assert (changed["what"], changed["planned"]["size"], changed["now"]["size"]) == ("changed", 4, 4)
    assert changed["planned"]["tag"] != changed["now"]["tag"]
    await playhead.driven()
    [replay] = (await playhead.get("replays"))["items"]
    assert (replay["state"], replay["status"], replay["objects_published"]) == (
        "refused",
        "partial_failure",
        0,
    )
    execution = await playhead.get(f"executions/{replay['execution_id']}")
    assert (execution["status"], execution["error"]["code"]) == ("failed", "plan_changed")


async def test_a_plan_shows_which_effects_are_run_skipped_or_refused(playhead: Playhead, source: str):
    await playhead.apply(
        """
version: "1.0"
name: out
entry: copy
routes:
  copy: {adapters: [{type: upper}], outbound: {stage: copied, to: [send, keep]}}
  send: {inbound: {queue: out.send}, external: true, on_replay: skip}
  keep: {adapters: [{type: upper}], outbound: {stage: kept}}
"""
    )
    found = await plan(playhead, source, to_route="out/copy")
    assert [(one["route"], one["effects"], one["on_replay"], one["reached"]) for one in found["routes"]] == [
        ("copy", "none", "run", True),
        ("send", "external", "skip", True),
        ("keep", "none", "run", True),
    ]
    assert (found["would_refuse"], found["request"]["effects"]) == ([], {"send": "skip"})
    refused = await plan(playhead, source, to_route="out/copy", effects="refuse")
    assert refused["would_refuse"] == ["send"]
    answer = await playhead.post("replay", {"plan_id": refused["plan_id"]}, 409)
    assert answer["error_code"] == "effects_refused"
    other = await playhead.post("replay", {"plan_id": found["plan_id"], "effects": {"send": "run"}}, 400)
    assert other["error_code"] == "plan_mismatch"
    same = await playhead.post("replay", {"plan_id": found["plan_id"], "effects": {"send": "skip"}})
    shown = await playhead.get(f"replays/{same['replay_batch_id']}")
    assert shown["effects"] == {"send": "skip"}
