"""The drawing of a pipeline and its table. The numbers in the names are those of the acceptance list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import NARROW, PHONE, Visitor, expect
from tests.browser.conftest import Visit
from tests.browser.demo import Demo
from tests.browser.examples import URLS

if TYPE_CHECKING:
    from playwright.sync_api import Page

MOST_BOXES = 40


def boxes(page: Page) -> list[str]:
    """Return the ids of the boxes of a drawing. A box may have two links: its route, and its stage."""
    found: list[str] = page.locator("[data-graph] > g > a:first-child[id]").evaluate_all(
        "all => all.map(one => one.id)"
    )
    return found


@pytest.mark.parametrize(
    "path",
    [
        "/executions/{wide}",
        "/executions/{wide}?view=around&focus=shop_05_03",
        "/executions/{wide}?view=around&focus=take&depth=9",
        "/configs/warehouse",
    ],
)
def test_25_a_pipeline_of_200_routes_has_at_most_40_boxes(demo: Demo, visitor: Visitor, path: str):
    page = visitor.open(demo.url(path))

    assert 1 < len(boxes(page)) <= MOST_BOXES


def test_25_the_failing_route_and_a_route_that_is_searched_for_are_drawn(demo: Demo, visitor: Visitor):
    page = visitor.open(demo.url("/executions/{wide}"))
    expect(page.locator("[data-graph]")).to_contain_text("shop_03_07")

    page.get_by_label("Find a route").fill("shop_09_11")
    page.get_by_label("Find a route").press("Enter")

    expect(page.locator("[data-graph]")).to_contain_text("shop_09_11")
    assert len(boxes(page)) <= MOST_BOXES
    page.get_by_role("link", name="Table", exact=True).click()
    expect(page.locator("#pipeline tbody tr")).to_have_count(200)


@pytest.mark.parametrize("execution", ["run", "replay", "wide"])
def test_26_the_drawing_and_the_table_have_the_same_counts(demo: Demo, visitor: Visitor, execution: str):
    page = visitor.open(demo.url(f"/executions/{{{execution}}}"))
    drawn = page.locator("[data-graph] a[id]").evaluate_all("""all => all.map((box) => ({
      name: box.querySelector(".g-name")?.textContent,
      done: [...box.querySelectorAll(".g-num")].map((one) => one.textContent),
      label: box.getAttribute("aria-label"),
    })).filter((box) => box.name)""")

    found = demo.deployment.items(f"/executions/{demo.ids[execution]}/routes")
    api = {one["route"]: one["counts"] for one in found}
    page.goto(f"/executions/{demo.ids[execution]}?view=table")
    table = dict(
        page.locator("#pipeline tbody tr").evaluate_all("""all => all.map((row) =>
          [row.querySelector("a b").textContent,
           [...row.querySelectorAll("td.n")].map((one) => one.textContent)])""")
    )

    routes = [box for box in drawn if box["name"] in api]
    assert routes
    assert all("routes" in box["name"] for box in drawn if box not in routes)
    for box in routes:
        done, failed = table[box["name"]][:2]
        assert done == f"{api[box['name']]['completed']:,}"
        assert failed == f"{api[box['name']]['failed']:,}"
        shown = " ".join(box["done"])
        assert failed == "0" or f"{failed} failed" in shown.replace("✕ ", "") or f"✕ {failed}" in shown, box
        assert done == "0" or done in shown, box


def test_27_the_drawing_is_usable_by_keyboard_alone(demo: Demo, visitor: Visitor):
    page = visitor.open(demo.url("/executions/{run}"))
    focused = "document.activeElement.getAttribute('aria-label') ?? ''"

    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.layer !== undefined"):
            break
    assert "input" in page.evaluate(focused)
    for route in ("convert", "segment", "index"):
        page.keyboard.press("ArrowRight")
        assert page.evaluate(focused).startswith(route), page.evaluate(focused)
    page.keyboard.press("ArrowDown")
    assert not page.evaluate(focused).startswith("index")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused).startswith("index")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused).startswith("segment")
    # A box shows that it has the focus, and Enter opens it.
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**route=segment**")


@pytest.mark.parametrize(
    "path",
    [
        "/executions/{run}?stage=vectors",
        "/objects?key={second}/vectors/guide/replay-000/0001.json",
        "/executions/{run}?tab=config",
    ],
)
def test_what_is_wider_than_the_window_begins_at_what_is_chosen(demo: Demo, visit: Visit, path: str):
    page = visit(demo.deployment.url, viewport=PHONE).open(demo.url(path))

    for one in page.locator(".graph [aria-current], .lin rect.here, .tabs [aria-current]").all():
        box = one.bounding_box()
        assert box
        assert 0 <= box["x"] < box["x"] + box["width"] <= PHONE["width"]


@pytest.mark.parametrize("viewport", [NARROW, PHONE], ids=["narrow", "phone"])
def test_a_lineage_map_keeps_the_names_of_its_rows_beside_what_is_chosen(
    demo: Demo, visit: Visit, viewport: dict[str, int]
):
    page = visit(demo.deployment.url, viewport=viewport).open(demo.url(URLS["object"]))

    title, name = page.locator(".lin .l-t.here").bounding_box(), page.locator(".l-names").bounding_box()

    assert title
    assert name
    assert page.locator(".lin").evaluate("lin => lin.scrollLeft") > 0
    assert 0 <= name["x"] < name["x"] + name["width"] <= title["x"] < viewport["width"]
