"""A lineage map stays small and readable, whatever the number of messages and replays."""

import itertools

from playhead.web.drawing import Drawing, Row
from playhead.web.lineagemap import MOST_NODES, Node, draw

STAGES = ["input", "converted", "segments", "vectors"]


def replays(number: int) -> tuple[list[Row], list[Node], list[tuple[str, str]]]:
    """Return a run of four stages, and replays of its second one."""
    rows = [Row("run", "run", "2026-11-27T02:04:00Z", "handbook v11")]
    nodes = [Node(f"run/{stage}", "run", stage, stage, "step", "?") for stage in STAGES]
    edges = [(f"run/{a}", f"run/{b}") for a, b in itertools.pairwise(STAGES)]
    for n in range(number):
        rows.append(Row(f"r{n}", "replay", f"2026-11-27T02:{n % 60:02}:00Z", "handbook v12"))
        nodes += [Node(f"r{n}/{stage}", f"r{n}", stage, f"{n} {stage}", "step", "?") for stage in STAGES[2:]]
        edges += [("run/converted", f"r{n}/segments"), (f"r{n}/segments", f"r{n}/vectors")]
    return rows, nodes, edges


def drawn(number: int) -> Drawing:
    rows, nodes, edges = replays(number)
    return draw(rows, STAGES, nodes, edges, "?view=list")


def test_a_map_crosses_three_replays() -> None:
    found = drawn(3)
    assert [row.id for row, _ in found.rows] == ["run", "r0", "r1", "r2"]
    assert [name for name, _ in found.columns] == STAGES
    assert len(found.boxes) == 4 + 3 * 2
    assert sum(edge.css == "rp" for edge in found.edges) == 3


def test_a_map_has_at_most_thirty_boxes() -> None:
    found = drawn(400)
    assert len(found.boxes) == MOST_NODES
    assert found.boxes[-1].content.name.whole == f"{804 - (MOST_NODES - 1)} more groups"
    assert found.boxes[-1].content.href == "?view=list"


def test_the_object_of_the_page_and_what_is_above_it_are_always_drawn() -> None:
    rows, nodes, edges = replays(100)
    above = [Node(n.id, n.row, n.column, n.title, n.sub, n.href, side="up") for n in nodes[:2]]
    last = nodes[-1]
    me = Node(last.id, last.row, last.column, last.title, last.sub, last.href, side="self")
    found = draw(rows, STAGES, [*above, *nodes[2:-1], me], edges)
    shown = {box.content.name.whole for box in found.boxes}
    assert {one.title for one in (*above, me)} <= shown


def test_boxes_do_not_overlap_and_are_within_the_map() -> None:
    found = drawn(10)
    places = [box.place for box in found.boxes]
    assert len({(one.x, one.y) for one in places}) == len(places)
    assert all(one.x + one.width <= found.left + found.width for one in places)
    assert all(one.y + one.height <= found.top + found.height for one in places)


def test_long_names_are_shortened_where_they_differ_least() -> None:
    path = "a/very/long/folder/name/of/an/object.md"
    found = draw([Row("x", "run", None, "c")], ["s"], [Node("n", "x", "s", path, "sub", "?")], [])
    assert found.boxes[0].content.name.shown.endswith("/object.md")
    assert found.boxes[0].content.name.whole == path
