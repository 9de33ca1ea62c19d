"""Configs over HTTP: stored, versioned, validated, switched on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.api.server import Playhead

OTHER = """\
version: "1.0"
name: other
entry: one
routes:
  one:
    adapters: [{type: upper}]
    outbound: {stage: done}
"""


async def _send(playhead: Playhead, source: str, path: str = "configs") -> httpx.Response:
    return await playhead.http.post(
        f"/api/v1/{path}", content=source, headers={"Content-Type": "application/yaml"}
    )


async def test_a_new_config_is_201_and_shows_its_content(playhead: Playhead):
    answer = await _send(playhead, OTHER)
    shown = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/api/v1/configs/other/versions/1"
    assert shown.pop("hash").startswith("sha256:")
    assert shown.pop("created_at").endswith("Z")
    assert shown == {
        "name": "other",
        "version": 1,
        "active": True,
        "entry": "one",
        "routes": ["one"],
        "stages": ["done"],
        "source": OTHER,
        "warnings": [],
    }


async def test_the_same_config_again_is_200_and_a_changed_one_is_a_new_version(playhead: Playhead):
    first = await _send(playhead, OTHER)
    again = await _send(playhead, OTHER)
    changed = await _send(playhead, OTHER.replace("done", "finished"))
    assert [a.status_code for a in (first, again, changed)] == [201, 200, 201]
    assert [a.json()["version"] for a in (first, again, changed)] == [1, 1, 2]
    back = await _send(playhead, OTHER)
    assert (back.status_code, back.json()["version"]) == (201, 3)


@pytest.mark.parametrize("kind", ["application/yaml", "application/x-yaml; charset=utf-8", "text/yaml"])
async def test_yaml_may_be_the_raw_body(playhead: Playhead, kind: str):
    answer = await playhead.http.post("/api/v1/configs", content=OTHER, headers={"Content-Type": kind})
    assert answer.status_code == 201


async def test_yaml_may_be_a_field_of_a_json_body(playhead: Playhead):
    assert (await playhead.post("configs", {"source": OTHER}, 201))["source"] == OTHER
    assert (await playhead.post("configs/validate", {"source": OTHER}))["valid"] is True


async def test_a_config_with_faults_is_400_and_lists_all_of_them(playhead: Playhead):
    answer = await _send(playhead, OTHER.replace("entry: one", "entry: two"))
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (400, "config_invalid")
    [fault] = body["diagnostics"]
    assert set(fault) == {"severity", "code", "path", "line", "column", "message", "suggestion"}
    assert (fault["severity"], fault["code"], fault["path"]) == ("error", "E301", "entry")
    assert fault["message"] in body["detail"]
    await playhead.get("configs/other", 404)


async def test_validating_finds_the_same_faults_and_stores_nothing(playhead: Playhead):
    bad = OTHER.replace("entry: one", "entry: two")
    refused = (await _send(playhead, bad)).json()["diagnostics"]
    answer = await _send(playhead, bad, "configs/validate")
    assert (answer.status_code, answer.json()) == (200, {"valid": False, "diagnostics": refused})
    good = await _send(playhead, OTHER, "configs/validate")
    assert good.json() == {"valid": True, "diagnostics": []}
    await playhead.get("configs/other", 404)


async def test_a_queue_of_another_active_config_is_a_fault(playhead: Playhead):
    taking = OTHER.replace("one:\n", "one:\n    inbound: {queue: words.split}\n")
    for path in ("configs", "configs/validate"):
        faults = (await _send(playhead, taking, path)).json()["diagnostics"]
        assert [f["code"] for f in faults] == ["E307"]
        assert all(name in faults[0]["message"] for name in ("words.split", "'words'"))
    await playhead.post("configs/words/deactivate")
    assert (await _send(playhead, taking)).status_code == 201
    assert (await playhead.post("configs/words/activate", status=409))["error_code"] == "queue_taken"


async def test_a_queue_in_use_is_reported_together_with_the_other_faults(playhead: Playhead):
    source = OTHER.replace("one:\n", "one:\n    inbound: {queue: words.split}\n", 1)
    answer = await _send(playhead, source.replace("entry: one", "entry: two"))
    assert {f["code"] for f in answer.json()["diagnostics"]} == {"E301", "E307"}


async def test_a_version_that_drops_a_route_has_a_warning_in_every_answer(playhead: Playhead):
    await _send(playhead, OTHER)
    answer = await _send(playhead, OTHER.replace("entry: one", "entry: uno").replace("  one:", "  uno:"))
    assert answer.status_code == 201
    assert [w["code"] for w in answer.json()["warnings"]] == ["W104"]
    assert await playhead.get("configs/other") == answer.json()
    assert await playhead.get("configs/other/versions/2") == answer.json()
    assert (await playhead.items("configs/other/versions"))[0] == answer.json()
    assert (await playhead.items("configs"))[0] == answer.json()


async def test_configs_and_versions_are_listed_newest_first_in_pages(playhead: Playhead):
    await _send(playhead, OTHER)
    for stage in ("two", "three"):
        await _send(playhead, OTHER.replace("done", stage))
    shown = await playhead.items("configs", limit=1)
    assert [(c["name"], c["version"]) for c in shown] == [("other", 3), ("words", 1)]
    versions = await playhead.items("configs/other/versions", limit=2)
    assert [v["version"] for v in versions] == [3, 2, 1]
    assert (await playhead.get("configs/other/versions/2"))["stages"] == ["two"]


async def test_deactivating_and_activating_are_idempotent(playhead: Playhead):
    for action in ("deactivate", "deactivate", "activate", "activate"):
        shown = await playhead.post(f"configs/words/{action}")
        assert shown["active"] is (action == "activate")
        assert await playhead.get("configs/words") == shown
