"""Find over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.api.server import Playhead


async def test_a_text_leads_to_what_it_names(playhead: Playhead):
    run = await playhead.run({"a": b"two words", "b": b"bad"}, tags=("nightly",))
    [letter] = await playhead.items("dead-letters")
    assert await playhead.get("find", text=f" http://127.0.0.1/executions/{run}?x=1 ") == {
        "items": [
            {
                "kind": "execution",
                "id": run,
                "execution_id": run,
                "title": "Run of config words: failed",
                "is_exact": True,
            }
        ],
        "next_cursor": None,
    }
    for text, kind, identity in (
        (letter["correlation_id"], "dead_letter", letter["correlation_id"]),
        (letter["correlation_id"][-8:], "dead_letter", letter["correlation_id"]),
        ("nightly", "execution", run),
        ("latest/input/a", "object", f"{run}/input/a"),
        ("words", "config", "words"),
        ("upper", "route", "words/upper"),
        ("words.upper", "queue", "words.upper"),
        ("shouted", "route", "words/upper"),
    ):
        found = await playhead.items("find", text=text)
        assert (kind, identity, True) in [(one["kind"], one["id"], one["is_exact"]) for one in found]
    plan = await playhead.post(
        "replay/plan", {"from_execution_id": run, "from_stage": "input", "to_route": "upper"}
    )
    [one] = await playhead.items("find", text=plan["plan_id"])
    assert (one["kind"], one["execution_id"]) == ("plan", None)
    assert one["title"].startswith("Plan of a replay into words/upper: ")


async def test_an_unknown_text_finds_nothing_and_an_empty_one_is_refused(playhead: Playhead):
    assert await playhead.get("find", text="nothing") == {"items": [], "next_cursor": None}
    for query in ({}, {"text": ""}, {"text": "a", "limit": 0}, {"text": "a", "cursor": "x"}):
        await playhead.get("find", 422, **query)
