"""Positions of boxes, without a browser."""

from __future__ import annotations

import random
import time
from itertools import combinations

import pytest

from playhead.web.layout import Edges, Layout, Point, Sizes, curve, place
from tests.slowness import slowness


def boxes(names: str, height: float = 100.0) -> Sizes:
    return tuple((name, 200.0, height) for name in names.split())


def edges(text: str) -> Edges:
    return tuple((one.split(">")[0], one.split(">")[1]) for one in text.split())


def pipeline(routes: int, seed: int) -> tuple[Sizes, Edges]:
    """Return a random pipeline, wide and deep."""
    chosen = random.Random(seed)
    names = [f"r{number}" for number in range(routes)]
    found = [
        (names[before], names[number])
        for number in range(1, routes)
        for before in {
            chosen.randrange(max(0, number - 8), number) for _ in range(chosen.choice([1, 1, 1, 2]))
        }
    ]
    return tuple((name, 200.0, chosen.choice([66.0, 108.0])) for name in names), tuple(found)


def overlaps(layout: Layout) -> list[tuple[str, str]]:
    return [
        (one, other)
        for (one, a), (other, b) in combinations(layout.boxes.items(), 2)
        if a.x < b.x + b.width - 0.01
        and b.x < a.x + a.width - 0.01
        and a.y < b.y + b.height - 0.01
        and b.y < a.y + a.height - 0.01
    ]


def test_each_box_is_to_the_right_of_the_boxes_that_feed_it():
    layout = place(*pipeline(60, 3))
    for start, end in layout.edges:
        assert layout.boxes[start].x + layout.boxes[start].width < layout.boxes[end].x


@pytest.mark.parametrize("seed", range(5))
def test_boxes_do_not_overlap_and_are_inside_of_the_drawing(seed: int):
    layout = place(*pipeline(60, seed))
    assert overlaps(layout) == []
    assert min(box.y for box in layout.boxes.values()) == pytest.approx(0)
    assert all(box.x >= 0 and box.x + box.width <= layout.width + 0.01 for box in layout.boxes.values())
    assert all(box.y + box.height <= layout.height + 0.01 for box in layout.boxes.values())


def test_the_order_of_a_tree_has_no_crossings():
    layout = place(boxes("a b c d e f g"), edges("a>b a>c b>d c>e b>f c>g"))
    assert layout.crossings == 0


def test_a_chain_is_a_straight_line():
    layout = place(boxes("a b c d"), edges("a>b b>c c>d"))
    assert {round(box.y, 3) for box in layout.boxes.values()} == {0}


def test_an_edge_runs_between_the_boxes_of_the_layers_that_it_passes():
    layout = place(boxes("a b c d"), edges("a>b b>c c>d a>d"))
    passed = layout.edges["a", "d"]
    for point, name in zip(passed, "bbcc", strict=True):
        box = layout.boxes[name]
        assert not box.y < point.y < box.y + box.height


def test_an_edge_of_a_grid_runs_below_the_boxes_of_the_columns_that_it_passes():
    layout = place(boxes("a b c below", 50.0), edges("a>b b>c a>c b>below"), ((0, 0), (1, 0), (2, 0), (0, 1)))
    begin, end = layout.edges["a", "c"]
    above, below = layout.boxes["b"], layout.boxes["below"]
    assert above.y == layout.boxes["a"].y == layout.boxes["c"].y
    assert (begin.x, end.x) == (above.x, above.x + above.width)
    assert above.y + above.height < begin.y == end.y < below.y
    assert below.x == layout.boxes["a"].x


def test_a_second_source_is_next_to_the_box_that_it_feeds():
    layout = place(boxes("a b c extra"), edges("a>b b>c extra>c"))
    assert layout.boxes["extra"].layer == layout.boxes["b"].layer == 1


def test_boxes_without_edges_are_one_column_and_no_boxes_are_an_empty_drawing():
    layout = place(boxes("a b"), ())
    assert {box.x for box in layout.boxes.values()} == {0}
    assert overlaps(layout) == []
    assert place((), ()) == Layout({}, {}, 0.0, 0.0, 0)


def test_a_cycle_is_refused():
    with pytest.raises(ValueError, match="cycle"):
        place(boxes("a b c"), edges("a>b b>c c>b"))


def test_a_curve_leaves_and_arrives_horizontally():
    assert curve([Point(0, 0), Point(10, 20)]) == "M0.0 0.0C5.0 0.0 5.0 20.0 10.0 20.0"


@pytest.mark.parametrize(("routes", "seconds"), [(8, 0.002), (200, 0.25)])
def test_a_layout_is_fast_once_and_free_afterwards(routes: int, seconds: float):
    given = pipeline(routes, 1)
    times = []
    for attempt in range(5):  # other processes use the same caches
        place.cache_clear()
        start = time.thread_time()
        place(*given)
        times.append(time.thread_time() - start)
        if times[attempt] < seconds * slowness():
            break
    assert min(times) < seconds * slowness()
    assert place(*given) is place(*given)
