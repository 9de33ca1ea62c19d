"""The structure of pipelines over HTTP: routes, edges, and the part around one route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playhead.ids import uuid7

if TYPE_CHECKING:
    from tests.api.server import Playhead

TREE = """\
version: "1.0"
name: tree
entry: start
routes:
  start:
    adapters:
      - {type: upper, condition: {field: content_type, operator: equals, value: text/plain, otherwise: drop}}
      - {type: split, condition: {field: size, operator: gt, value: 1, otherwise: pass}}
    outbound: {stage: first, to: [left, right]}
  left:
    adapters: [{type: upper}]
    outbound: {stage: left, to: [send]}
  right:
    adapters: [{type: upper}]
    outbound: {stage: right}
  send:
    inbound: {queue: their.queue}
    external: true
    on_replay: refuse
"""


def _names(pipeline: Any) -> list[str]:
    return [route["route"] for route in pipeline["routes"]]


def _edges(pipeline: Any) -> list[tuple[str, str]]:
    return [(edge["from_route"], edge["to_route"]) for edge in pipeline["edges"]]


async def test_the_structure_of_a_config_has_its_routes_and_edges(playhead: Playhead):
    await playhead.apply(TREE)
    shown = await playhead.get("configs/tree/dag")
    assert _edges(shown) == [("start", "left"), ("start", "right"), ("left", "send")]
    assert [edge["condition"] for edge in shown["edges"]] == [
        'content_type equals "text/plain"',
        'content_type equals "text/plain"',
        None,
    ]
    routes = {route["route"]: route for route in shown["routes"]}
    assert routes["start"] == {
        "route": "start",
        "queue": "tree.start",
        "adapters": [{"type": "upper", "version": "1"}, {"type": "split", "version": "1"}],
        "stage": "first",
        "is_external": False,
        "has_effects": False,
        "on_replay": None,
        "counts": None,
    }
    send = routes["send"]
    assert (send["is_external"], send["has_effects"], send["on_replay"]) == (True, True, "refuse")
    assert (send["queue"], send["adapters"], send["stage"]) == ("their.queue", [], None)
    config = await playhead.get("configs/tree")
    assert (shown["config"], shown["version"], shown["hash"]) == ("tree", 1, config["hash"])
    assert (shown["entry"], shown["hidden"]) == ("start", 0)


async def test_a_version_keeps_its_structure_and_takes_over_a_stricter_on_replay(playhead: Playhead):
    await playhead.apply(TREE.replace("    on_replay: refuse\n", ""))
    await playhead.apply(TREE.replace("[left, right]", "[left]"))
    first = await playhead.get("configs/tree/dag", version=1)
    assert _edges(first) == [("start", "left"), ("start", "right"), ("left", "send")]
    assert first["routes"][-1]["on_replay"] == "refuse"
    assert _edges(await playhead.get("configs/tree/dag")) == [("start", "left"), ("left", "send")]
    answer = await playhead.get("configs/tree/dag", 404, version=3)
    assert answer["error_code"] == "config_not_found"


async def test_the_focus_leaves_out_routes_that_are_further_away(playhead: Playhead):
    await playhead.apply(TREE)

    async def around(**query: Any) -> tuple[list[str], int]:
        shown = await playhead.get("configs/tree/dag", **query)
        assert {name for edge in _edges(shown) for name in edge} <= set(_names(shown))
        return _names(shown), shown["hidden"]

    assert await around(focus="send") == (["left", "send"], 2)
    assert await around(focus="send", depth=0) == (["send"], 3)
    assert await around(focus="send", depth=2) == (["start", "left", "send"], 1)
    assert await around(focus="send", depth=9) == (["start", "left", "right", "send"], 0)
    assert await around(depth=1) == (["start", "left", "right"], 1)
    answer = await playhead.get("configs/tree/dag", 404, focus="sent")
    assert answer["error_code"] == "route_not_found"
    assert "Did you mean 'send'?" in answer["detail"]
    await playhead.get("configs/tree/dag", 422, depth=-1)


async def test_the_structure_of_an_execution_has_the_counts_of_its_routes(playhead: Playhead):
    execution = await playhead.run({"a": b"bad", "b": b"x"})
    shown = await playhead.get(f"executions/{execution}/dag")
    routes = await playhead.items(f"executions/{execution}/routes")
    assert {r["route"]: r["counts"] for r in shown["routes"]} == {r["route"]: r["counts"] for r in routes}
    assert _names(shown) == ["upper", "split", "aside"]
    nearest = await playhead.get("executions/latest/dag", focus="split", depth=0)
    assert [r["counts"]["total"] for r in nearest["routes"]] == [1]


async def test_an_adopted_execution_has_no_pipeline(playhead: Playhead):
    other = uuid7()
    await playhead.put(f"{other}/pages/a.md")
    assert await playhead.get(f"executions/{other}/dag") == {
        "config": None,
        "version": None,
        "hash": None,
        "entry": None,
        "routes": [],
        "edges": [],
        "hidden": 0,
    }
    await playhead.get(f"executions/{other}/dag", 404, focus="upper")
    await playhead.get(f"executions/{uuid7()}/dag", 404)
