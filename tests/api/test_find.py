"""Find over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.api.server import Playhead


async def items(playhead: Playhead, text: str, **query: object) -> list[dict[str, Any]]:
    found = await playhead.get("find", text=text, **query)
    return [one for group in found["groups"] for one in group["items"]]


async def test_a_text_leads_to_what_it_names(playhead: Playhead):
    run = await playhead.run({"a": b"two words", "b": b"bad"}, tags=("nightly",))
    [letter] = await playhead.items("dead-letters")
    found = await playhead.get("find", text=f" http://127.0.0.1/executions/{run}?x=1 ")
    nothing = dict.fromkeys(("happened_at", "outcome", "is_current", "executions"))
    execution = {
        "kind": "execution",
        "id": run,
        "execution_id": run,
        "title": "Run of config words: failed",
        "is_exact": True,
        **nothing,
    }
    assert found["groups"] == [{"kind": "execution", "items": [execution], "has_more": False}]
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
        found = await items(playhead, text)
        assert (kind, identity, True) in [(one["kind"], one["id"], one["is_exact"]) for one in found]
    plan = await playhead.post(
        "replay/plan", {"from_execution_id": run, "from_stage": "input", "to_route": "upper"}
    )
    [one] = await items(playhead, plan["plan_id"])
    assert (one["kind"], one["execution_id"]) == ("plan", None)
    assert one["title"].startswith("Plan of a replay into words/upper: ")


async def test_an_unknown_text_finds_nothing_and_an_empty_one_is_refused(playhead: Playhead):
    assert (await playhead.get("find", text="nothing"))["groups"] == []
    for query in ({}, {"text": ""}, {"text": "a", "limit": 0}, {"text": "a", "cursor": "x"}, {"kind": "x"}):
        await playhead.get("find", 422, **query)


async def test_a_part_of_a_text_leads_to_what_contains_it_by_kind(playhead: Playhead):
    first = await playhead.run({"reports/march.md": b"one", "march-bad.md": b"bad"})
    second = await playhead.run({"reports/march.md": b"two"})
    request = {"from_execution_id": second, "from_stage": "input", "to_route": "upper"}
    replay = await playhead.post("replay", {**request, "reason": "march was wrong"})
    await playhead.work()

    found = {group["kind"]: group["items"] for group in (await playhead.get("find", text="march"))["groups"]}
    objects = {one["id"]: one for one in found["object"]}
    assert list(objects)[-1].endswith("/march-bad.md")
    assert objects[f"{first}/input/march-bad.md"]["outcome"] == "dead"
    newest = objects[f"{second}/input/reports/march.md"]
    assert (newest["outcome"], newest["is_current"], newest["executions"]) == ("completed", None, 2)
    assert f"{first}/input/reports/march.md" not in objects
    [one] = found["replay"]
    assert (one["id"], one["title"]) == (
        replay["replay_batch_id"],
        "Replay into words/upper: march was wrong",
    )
    exact = await items(playhead, "input/reports/march.md", kind="object")
    assert [(one["id"][:36], one["is_exact"]) for one in exact] == [(second, True), (first, True)]
    limited = await playhead.get("find", text="march", kind="object", limit=1)
    assert [(group["kind"], len(group["items"]), group["has_more"]) for group in limited["groups"]] == [
        ("object", 1, True)
    ]
    [letter] = await playhead.items("dead-letters")
    [failure] = await items(playhead, letter["error"][2:9], kind="dead_letter")
    assert (failure["id"], failure["outcome"]) == (letter["correlation_id"], "dead")
    [adapter, *_] = await items(playhead, "spli", kind="adapter")
    assert (adapter["id"], adapter["title"]) == ("words/split", "Adapter split in words/split")
