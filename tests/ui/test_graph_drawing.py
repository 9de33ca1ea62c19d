"""Which boxes a drawing shows, and what is written in them."""

from __future__ import annotations

import random
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from playhead.web import folding
from playhead.web.drawing import Drawing
from playhead.web.folding import reading_order
from playhead.web.graph import INPUT, Links, Pipe, PipelineMap, RouteNode, StageSize, Tally
from playhead.web.pipelinemap import Choice, bars_of, draw
from playhead.web.render import environment
from tests.ui.drawings import SVG, names


def handbook(**tallies: Tally) -> PipelineMap:
    routes = (
        RouteNode("convert", "html_to_markdown 3", "markdown_converted", StageSize(1201, 9_800_000)),
        RouteNode("segment", "sections 1", "segments", StageSize(27_340, 21_400_000)),
        RouteNode("summarise", "llm_summary 7", "summaries", StageSize(1201, 1_100_000), has_effects=True),
        RouteNode("index", "sqlite_search 2", readers="in dataset docs, its sink shows publication 8"),
        RouteNode("push", "other programs", is_external=True),
    )
    counted = tuple(
        RouteNode(one.name, one.adapters, one.stage, one.size, tallies.get(one.name, Tally(1201)),
                  one.is_external, one.has_effects, one.readers)
        for one in routes
    )  # fmt: skip
    pipes = (
        Pipe("convert", "segment", "language equals 'en'"),
        Pipe("convert", "summarise"),
        Pipe("segment", "index"),
        Pipe("summarise", "push"),
    )
    return PipelineMap("Pipeline handbook", "convert", counted, pipes, StageSize(1204, 38_000_000))


def crawl(tallies: dict[str, Tally], branches: int = 10, steps: int = 20) -> PipelineMap:
    """Return a pipeline of 202 routes: two, then ten branches of twenty."""
    names, pipes = ["fetch", "sniff"], [Pipe("fetch", "sniff")]
    for branch in range(branches):
        before = "sniff"
        for step in range(steps):
            name = f"b{branch}_{step}"
            names.append(name)
            pipes.append(Pipe(before, name))
            before = name
    routes = tuple(
        RouteNode(name, "adapter 1", f"{name}_done", StageSize(10, 100), tallies.get(name, Tally(10)))
        for name in names
    )
    return PipelineMap("crawl", "fetch", routes, tuple(pipes), StageSize(10, 100))


def shown(drawing: Drawing) -> list[str]:
    return [box.content.name.whole for box in drawing.boxes]


def label(drawing: Drawing, name: str) -> str:
    return next(one for one in names(svg(drawing)) if one.split()[0] == name)


def css(drawing: Drawing, name: str) -> list[str]:
    return next(box.content.css.split() for box in drawing.boxes if box.content.name.whole == name)


def svg(drawing: Drawing) -> str:
    source = '{% from "graph.svg.html" import drawing %}{{ drawing(d) }}'
    return environment("0").from_string(source).render(d=drawing)


def test_a_small_pipeline_is_drawn_whole_in_pipeline_order():
    drawing = draw(handbook(), Links({}), Choice())
    assert sorted(shown(drawing)) == ["convert", "index", "input", "push", "segment", "summarise"]
    assert shown(drawing)[:2] == [INPUT, "convert"]
    layers = [box.place.layer for box in drawing.boxes]
    assert layers == sorted(layers)


def test_the_accessible_name_of_a_box_has_all_its_numbers():
    drawing = draw(handbook(convert=Tally(1201, 3)), Links({}), Choice())
    assert label(drawing, "convert") == "convert html_to_markdown 3 1,201 done 3 failed"
    assert label(drawing, "markdown_converted") == "markdown_converted 1,201 objects · 9.8 MB"
    assert label(drawing, INPUT) == "input 1,204 objects · 38.0 MB"
    assert label(draw(handbook(index=Tally()), Links({}), Choice()), "index") == (
        "index in dataset docs, its sink shows publication 8 sqlite_search 2 not reached"
    )


def test_the_accessible_name_has_what_a_box_has_no_room_for():
    long = "x" * 63
    routes = (RouteNode(long, f"{long} 1", long, StageSize(1, 1), Tally(123_456, 7_890, 12_345)),)
    text = svg(draw(PipelineMap("p", long, routes, (), StageSize(2, 1)), Links({}), Choice()))

    assert f"{long} {long} 1 123,456 done 7,890 failed 12,345 to go" in names(text)
    assert f"{long} 1 object · 1 B" in names(text)
    assert "aria-label" not in text.partition(">")[2]  # it would hide the live numbers


def test_a_config_without_an_execution_has_no_counts():
    of = handbook()
    bare = tuple(RouteNode(one.name, one.adapters, one.stage) for one in of.routes)
    drawing = draw(PipelineMap("config", "convert", bare, of.pipes), Links({}), Choice("segments"))
    assert label(drawing, "convert") == "convert html_to_markdown 3"
    assert not any(box.content.parts or box.content.note for box in drawing.boxes)
    assert drawing.needle


def test_the_playhead_is_at_the_chosen_stage_and_what_it_cannot_reach_recedes():
    drawing = draw(handbook(), Links({}), Choice("segments"))
    segment = next(box for box in drawing.boxes if box.content.name.whole == "segment")
    assert drawing.needle
    assert drawing.needle[0] > segment.place.x + segment.place.width
    assert "g-sel" in css(drawing, "segment")
    assert "g-far" not in [*css(drawing, "segment"), *css(drawing, "index")]
    assert all("g-far" in css(drawing, name) for name in ("convert", "summarise", "push"))
    assert [edge.css for edge in drawing.edges].count("hot") == 1


def test_from_the_inputs_everything_is_reached():
    drawing = draw(handbook(), Links({}), Choice(INPUT))
    assert all("g-far" not in box.content.css for box in drawing.boxes)
    assert all(edge.css == "hot" for edge in drawing.edges)


def test_an_unknown_stage_is_no_playhead():
    assert draw(handbook(), Links({}), Choice("missing")).needle is None


@pytest.mark.parametrize(
    ("tally", "classes", "parts"),
    [
        (Tally(1182, 19), ["g-fail"], [("done", "done"), ("failed", "failed")]),
        (Tally(5, 0, 7), ["g-run"], [("done", "done"), ("open", "to go")]),
        (Tally(1182, 19, 402_000), ["g-fail", "g-run"], [("done", "done"), ("failed", ""), ("open", "")]),
        (Tally(), ["g-dim"], []),
        (Tally(0, 0, 0, 4), [], [("cancelled", "cancelled")]),
    ],
)
def test_a_state_is_a_word_and_a_class(tally: Tally, classes: list[str], parts: list[Any]):
    drawing = draw(handbook(index=tally), Links({}), Choice())
    assert css(drawing, "index") == classes
    box = next(box for box in drawing.boxes if box.content.name.whole == "index")
    assert [(part.state, part.word if part.has_room else "") for part in box.content.parts] == parts
    assert box.content.note == ("" if tally.total else "not reached")


def test_each_count_without_a_word_has_a_sign():
    drawing = draw(handbook(index=Tally(1182, 19, 402_000, 31)), Links({}), Choice())
    macros: Any = environment("1.0.0").get_template("graph.svg.html").module
    signs = re.findall(r'<tspan aria-hidden="true">(.) </tspan> <tspan>([\d,]+)', macros.drawing(drawing))
    assert signs == [("✕", "19"), ("◔", "402,000"), ("⊘", "31")]


def test_one_failure_among_a_million_is_visible_in_the_bar():
    drawing = draw(handbook(index=Tally(1_000_000, 1)), Links({}), Choice())
    bars = next(box.content.bars for box in drawing.boxes if box.content.name.whole == "index")
    widths = {bar.state: bar.width for bar in bars}
    assert widths["failed"] - widths["done"] >= 3
    assert widths["failed"] == widths["open"] == pytest.approx(182)


def test_bars_are_shares_of_all_messages_and_live():
    bars = bars_of(Tally(6, 0, 27), "index")
    assert [(bar.state, round(bar.width, 1)) for bar in bars] == [
        ("open", 182.0),
        ("failed", round(182 * 6 / 33, 1)),
        ("done", round(182 * 6 / 33, 1)),
    ]
    assert bars[2].live == "route:index:bar:done"


def test_200_routes_are_folded_to_what_needs_attention():
    drawing = draw(crawl({"b3_5": Tally(9, 1), "b7_0": Tally(3, 0, 7)}), Links({}), Choice())
    assert len(drawing.boxes) <= 40
    assert {"b3_4", "b3_5", "b3_6", "b7_0", "b7_1", "sniff"} <= set(shown(drawing))
    assert "8 branches: 160 routes" in shown(drawing)
    assert sum(len(box.content.routes) for box in drawing.boxes) == 202


@pytest.mark.parametrize("seed", range(20))
def test_never_more_than_40_boxes_each_route_once_and_no_cycle(seed: int):
    chosen = random.Random(seed)
    names = [f"r{number}" for number in range(200)]
    pipes = tuple(
        Pipe(names[before], names[number])
        for number in range(1, 200)
        for before in {
            chosen.randrange(max(0, number - 30), number) for _ in range(chosen.choice([1, 1, 2, 5]))
        }
    )
    share = chosen.choice([0.0, 0.02, 0.3, 1.0])
    routes = tuple(
        RouteNode(name, tally=Tally(10, 3 if chosen.random() < share else 0, chosen.choice([0, 0, 9])))
        for name in names
    )
    of = PipelineMap("random", "r0", routes, pipes, StageSize(1, 1))
    for choice in (Choice(), Choice(focus="r100"), Choice(focus="r7", depth=9), Choice(focus="missing")):
        drawing = draw(of, Links({}), choice)
        assert len(drawing.boxes) <= 40
        drawn = [route for box in drawing.boxes for route in box.content.routes]
        assert sorted(drawn) == sorted(names)
        total = sum(part.count for box in drawing.boxes for part in box.content.parts)
        assert total == sum(route.tally.total for route in routes if route.tally)


def test_around_a_route_its_neighbours_are_drawn():
    drawing = draw(crawl({}), Links({}), Choice(focus="b4_9", depth=2))
    names = set(shown(drawing))
    assert {"b4_7", "b4_8", "b4_9", "b4_10", "b4_11"} <= names
    assert not {"b4_6", "b4_12"} & names


def test_a_fold_of_branches_leads_to_them_one_by_one():
    first = draw(crawl({}), Links({"stage": "input"}), Choice(focus="sniff", depth=0))
    fold = next(
        box.content
        for box in first.boxes
        if box.content.kind == "fold" and "branches" in box.content.name.whole
    )
    assert fold.href == "?stage=input&view=around&focus=sniff&depth=1"
    second = draw(crawl({}), Links({}), Choice(focus="sniff", depth=1))
    assert {f"b{branch}_0" for branch in range(10)} <= set(shown(second))


def test_without_failures_the_first_routes_are_drawn():
    drawing = draw(crawl({}), Links({}), Choice())
    assert {"fetch", "sniff", "b0_0"} <= set(shown(drawing))
    assert 10 < len(drawing.boxes) <= 40


def test_links_keep_the_rest_of_the_address():
    links = Links({"tab": "objects", "stage": "a"})
    assert links(stage="b") == "?tab=objects&stage=b"
    assert links(stage=None, route="x y") == "?tab=objects&route=x+y"


def test_the_svg_is_well_formed_and_its_arrow_keys_lead_to_boxes():
    text = svg(draw(handbook(), Links({}), Choice("segments")))
    links = {one.get("id"): one for one in ElementTree.fromstring(text).iter(f"{SVG}a")}
    assert "style=" not in text
    for one in links.values():
        for way in ("data-next", "data-prev"):
            assert all(key in links for key in one.get(way, "").split())
        assert one.get("href", "").startswith("?")
    assert all(names(text))
    assert re.search("<title>language equals &#39;en&#39;</title>", text)


def test_hostile_names_are_escaped():
    hostile = "<script>alert(1)</script>\"'&"
    routes = (RouteNode(hostile, hostile, hostile, StageSize(1, 1), Tally(1)), RouteNode("b", tally=Tally(1)))
    of = PipelineMap(hostile, hostile, routes, (Pipe(hostile, "b", hostile),), StageSize(1, 1))
    text = svg(draw(of, Links({"focus": hostile}), Choice(hostile)))
    assert "<script" not in text
    assert any(hostile in one for one in names(text))


def test_live_numbers_are_named_by_route_and_state():
    of = handbook(segment=Tally(1, 2, 3))
    still = svg(draw(of, Links({}), Choice()))
    assert "data-live" not in still
    running = PipelineMap(of.title, of.entry, of.routes, of.pipes, of.inputs, is_open=True)
    text = svg(draw(running, Links({}), Choice()))
    assert 'data-live="route:segment:failed">2<' in text


def test_only_edges_on_which_a_replay_sent_messages_are_drawn_as_used():
    """The replay started with `segment`: nothing came from `convert`, and nothing went to `summarise`."""
    of = handbook(convert=Tally(), summarise=Tally(), push=Tally())

    drawing = draw(of, Links({}), Choice())

    assert sorted(edge.css for edge in drawing.edges) == ["", "cold", "cold", "cold", "cold"]


def test_a_route_of_a_dataset_has_a_mark_with_the_publication_that_its_sink_shows():
    drawing = draw(handbook(), Links({}), Choice())

    shown = "in dataset docs, its sink shows publication 8"
    assert label(drawing, "index") == f"index {shown} sqlite_search 2 1,201 done"
    assert svg(drawing).count(f"<title>{shown}</title></path>") == 1


def test_the_order_of_a_table_has_each_route_after_all_that_feed_it():
    edges = (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e"))
    diamond = folding.shape("a", ("e", "d", "c", "b", "a"), edges)

    order = reading_order(diamond)

    assert list(order) == ["a", "b", "c", "d", "e"]
    assert order == {"a": 0, "b": 1, "c": 1, "d": 1, "e": 1}
