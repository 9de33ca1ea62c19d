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
