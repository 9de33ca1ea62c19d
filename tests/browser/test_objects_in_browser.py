"""Pages of objects and of their lineage. The numbers in the names are those of the acceptance list."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.acceptance.processes import client
from tests.browser.chromium import Trap, Visitor, expect
from tests.browser.conftest import Visit
from tests.browser.demo import Demo
from tests.slowness import slowness
from tests.ui.hostile import OBJECTS

TABS = 10


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"])
def test_30_no_script_of_100_hostile_objects_runs_and_no_request_leaves(
    demo: Demo, visit: Visit, trap: Trap, step: int
):
    """The objects try to contact a host, to open a dialog, to leave the page, and to set `owned` in it."""
    assert len(OBJECTS) >= 100
    objects = OBJECTS[::step]
    execution = demo.store(
        {f"hostile/{one.path}": one.data for one in objects},
        {f"hostile/{one.path}": json.dumps({"content_type": one.content_type}).encode() for one in objects},
    )
    visitor = visit(demo.deployment.url, is_hostile=True)
    dialogs: list[str] = []

    def on_dialog(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    visitor.context.on("dialog", on_dialog)
    tabs = [visitor.context.new_page() for _ in range(TABS)]
    for at in range(0, len(objects), TABS):
        shown = list(zip(tabs, objects[at : at + TABS], strict=False))
        for tab, one in shown:
            query = {"key": f"{execution}/hostile/{one.path}", "view": "rendered"}
            tab.goto(f"/objects?{urlencode(query)}", wait_until="commit")
        for tab, one in shown:
            tab.wait_for_load_state("load")
            assert tab.url.startswith(f"{visitor.origin}/objects?"), one.path
            assert tab.locator("h1").count() == 1, one.path
            assert not tab.evaluate("'owned' in window"), one.path
    assert dialogs == []
    assert trap.connections == 0


def test_31_an_object_of_60_mb_previews_in_300_ms(demo: Demo, visitor: Visitor):
    line = b"A line of a large object, with some text that has no end.\n"
    execution = demo.store({"large/log.txt": line * (60_000_000 // len(line))})
    path = f"/objects?key={execution}/large/log.txt"

    assert fastest(demo, path) < 0.3 * slowness()
    page = visitor.open(path)
    expect(page.locator("pre.text")).to_contain_text("A line of a large object")
    expect(page.get_by_role("link", name="Save all 60.0 MB")).to_be_visible()


def test_32_an_adversarial_diff_ends_within_a_second(demo: Demo, visitor: Visitor):
    """`difflib` takes more than a minute for such lines."""
    old = b"".join(b"%d\n" % (n * n % 7) for n in range(2000))
    new = b"".join(b"%d\n" % (n * n * n % 7) for n in range(2000))
    demo.deployment.apply(VERSIONS % "first")
    demo.run("old", "versions", {"lines.txt": old})
    demo.ids["new"] = demo.deployment.run("versions", {"lines.txt": new})
    demo.deployment.ended(demo.ids["new"])
    path = demo.url("/objects?key={new}/kept/lines.txt&view=changes&against={old}/kept/lines.txt")

    assert fastest(demo, path) < slowness()
    expect(visitor.open(path).locator(".diff tr").first).to_be_visible()


VERSIONS = """\
version: "1.0"
name: versions
description: %s
entry: keep
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: kept}
"""


def fastest(demo: Demo, path: str) -> float:
    """Return the time of the fastest of five requests: a busy machine delays some of them."""
    took = []
    with client(demo.deployment.url) as http:
        for _ in range(5):
            began = time.perf_counter()
            assert http.get(path).status_code == 200
            took.append(time.perf_counter() - began)
    return min(took)


def test_28_lineage_crosses_three_replays(demo: Demo, visitor: Visitor):
    page = visitor.open(demo.url("/lineage/{message}"))

    cuts = page.locator(".chain li.cut")
    expect(cuts).to_have_count(3)
    # From the last replay to the input of the run, by links.
    page.locator(".chain a", has_text="input/guide/").click()
    expect(page.locator("h1")).to_contain_text("guide/")
    assert demo.ids["run"] in page.url
    for name in ("replay", "second", "third"):
        expect(page.locator(f".lin .l-who a[href='/executions/{demo.ids[name]}']")).to_have_count(1)


def test_29_a_fan_out_of_5000_makes_at_most_30_nodes(demo: Demo, visitor: Visitor):
    demo.deployment.apply(RECORDS)
    rows = "".join(f"{number},name {number}\n" for number in range(5000))
    demo.run("records", "records", {"table.csv": f"id,name\n{rows}".encode()})
    page = visitor.open(demo.url("/objects?key={records}/input/table.csv"))

    assert 2 <= page.locator(".lin .l-node").count() <= 30
    expect(page.locator(".lin")).to_contain_text("5,000 objects")


RECORDS = """\
version: "1.0"
name: records
entry: split
routes:
  split:
    adapters: [{type: csv_split}]
    outbound: {stage: rows}
"""


def test_23_the_counts_of_a_comparison_are_those_of_the_api(demo: Demo, visitor: Visitor):
    api = demo.deployment.get(f"/executions/{demo.ids['run']}/diff/{demo.ids['replay']}")
    page = visitor.open(demo.url("/executions/{run}/compare?with={replay}"))

    states = ("same", "changed", "added", "missing", "not_produced")
    page.locator("tfoot").wait_for()  # a slow comparison is counted in the background
    total = page.locator("tfoot .n").all_inner_texts()
    assert total[: len(states)] == [f"{api['totals'][state]:,}" for state in states]
    assert api["totals"]["same"] > 0
    assert api["totals"]["added"] > 0
    for row in api["stages"]:
        cells = page.locator("tr", has=page.get_by_role("link", name=row["stage"], exact=True)).first
        assert cells.locator(".n").all_inner_texts()[: len(states)] == [f"{row[state]:,}" for state in states]


def test_24_a_resend_of_a_group_leaves_later_dead_letters_alone(demo: Demo, visitor: Visitor):
    deployment = demo.deployment
    deployment.apply(GONE)
    first = demo.run("first", "gone", {f"{number}.txt": b"x" for number in range(19)})
    group = next(deployment.items("/dead-letters", execution_id=first))["group"]
    page = visitor.open(f"/dead-letters?group={group}")
    button = page.get_by_role("button", name="Resend 19")
    expect(button).to_be_visible()

    later = demo.run("later", "gone", {f"{number}.txt": b"x" for number in range(2)})
    before = failed_at(demo, later)
    failed = failed_at(demo, first)
    button.click()

    expect(page.locator("main")).to_contain_text("19 dead letters were resent.")
    for _ in count():
        if len(again := failed_at(demo, first)) == 19 and not set(again.values()) & set(failed.values()):
            break
        page.wait_for_timeout(50)
    assert failed_at(demo, later) == before


def failed_at(demo: Demo, execution: str) -> dict[str, str]:
    found = demo.deployment.items("/dead-letters", execution_id=execution)
    return {one["correlation_id"]: one["failed_at"] for one in found}


GONE = """\
version: "1.0"
name: gone
entry: send
error_handling: {max_attempts: 1}
routes:
  send:
    adapters: [{type: fail, config: {message: the host is gone}}]
    outbound: {stage: sent}
"""
