"""A lineage map stays small and readable, whatever the number of messages and replays."""

import itertools
import re

from playhead.web.lineagemap import MOST_NODES, Edge, Map, Node, Row, draw, ordered

STAGES = ["input", "converted", "segments", "vectors"]


def replays(number: int) -> tuple[list[Row], list[Node], list[Edge]]:
    """Return a run of four stages, and replays of its second one."""
    rows = [Row("run", "run", "2026-11-27T02:04:00Z", "handbook v11")]
    nodes = [Node(f"run/{stage}", "run", stage, stage, "step") for stage in STAGES]
    edges = [Edge(f"run/{a}", f"run/{b}") for a, b in itertools.pairwise(STAGES)]
    for n in range(number):
        rows.append(Row(f"r{n}", "replay", f"2026-11-27T02:{n % 60:02}:00Z", "handbook v12"))
        nodes += [Node(f"r{n}/{stage}", f"r{n}", stage, f"{n} {stage}", "step") for stage in STAGES[2:]]
        edges += [Edge("run/converted", f"r{n}/segments"), Edge(f"r{n}/segments", f"r{n}/vectors")]
    return rows, nodes, edges


def drawn(number: int) -> Map:
    rows, nodes, edges = replays(number)
    return draw(rows, STAGES, nodes, edges, "?view=list")


def test_a_map_crosses_three_replays() -> None:
    found = drawn(3)
    assert [lane.row.id for lane in found.bands] == ["run", "r0", "r1", "r2"]
    assert [column.name for column in found.columns] == STAGES
    assert len(found.boxes) == 4 + 3 * 2
    assert sum(curve.is_replay for curve in found.curves) == 3
    assert found.hidden == 0


def test_a_map_has_at_most_thirty_boxes() -> None:
    found = drawn(400)
    assert len(found.boxes) == MOST_NODES
    assert found.hidden == 804 - (MOST_NODES - 1)
    assert found.boxes[-1].title == f"{found.hidden} more groups"
    assert found.boxes[-1].node.href == "?view=list"


def test_the_object_of_the_page_and_what_is_above_it_are_always_drawn() -> None:
    rows, nodes, edges = replays(100)
    above = [Node(n.id, n.row, n.column, n.title, n.sub, side="up") for n in nodes[:2]]
    last = nodes[-1]
    me = Node(last.id, last.row, last.column, last.title, last.sub, side="self")
    found = draw(rows, STAGES, [*above, *nodes[2:-1], me], edges)
    shown = {box.node.id for box in found.boxes}
    assert {"run/input", "run/converted", me.id} <= shown


def test_boxes_do_not_overlap_and_are_within_the_map() -> None:
    found = drawn(10)
    places = {(box.x, box.y) for box in found.boxes}
    assert len(places) == len(found.boxes)
    assert all(box.x + box.width <= found.width for box in found.boxes)
    assert all(box.y + box.height <= found.height for box in found.boxes)
    assert all(re.fullmatch(r"M[\d ]+C[\d ]+", curve.path) for curve in found.curves)


def test_long_names_are_shortened_where_they_differ_least() -> None:
    path = "a/very/long/folder/name/of/an/object.md"
    found = draw([Row("x", "run", None, "c")], ["s"], [Node("n", "x", "s", path, "sub")], [])
    assert found.boxes[0].title.endswith("/object.md")
    assert found.boxes[0].node.title == path


def test_stages_are_in_the_order_of_the_steps() -> None:
    assert ordered(["c", "a", "b"], [("a", "b"), ("b", "c")]) == ["a", "b", "c"]


def test_an_order_that_contradicts_itself_ends() -> None:
    assert sorted(ordered(["a", "b"], [("a", "b"), ("b", "a")])) == ["a", "b"]
