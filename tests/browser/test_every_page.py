"""What holds for every page. The numbers in the names are those of the acceptance list."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from playhead.web.app import PAGES
from tests.acceptance.processes import client
from tests.browser.accessibility import violations
from tests.browser.chromium import NARROW, PHONE, WIDE, expect
from tests.browser.conftest import Goto
from tests.browser.demo import Demo
from tests.browser.examples import EXAMPLES, EXTREMES, URLS

if TYPE_CHECKING:
    from playwright.sync_api import Page

every_url = pytest.mark.parametrize("path", URLS.values(), ids=URLS)
FIRST = {page: next(iter(urls.values())) for page, urls in EXTREMES.items()} | {
    name: EXTREMES["/replays/{batch}"][name] for name in ("progress-canary", "progress-guard")
}
"""The first URL of each page, and those of replays that wait for a person."""
every_page = pytest.mark.parametrize("path", FIRST.values(), ids=FIRST)
WIDTHS = (WIDE["width"], 1100, 1024, 768, NARROW["width"])

TOO_WIDE = """width => {
  if (document.documentElement.scrollWidth <= width) return [];
  const scrolls = (one) => one && one !== document.body && one !== document.documentElement
    && (getComputedStyle(one).overflowX !== "visible" || scrolls(one.parentElement));
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > width + 1 && !scrolls(one.parentElement))
    .map((one) => one.outerHTML.slice(0, 120)).slice(0, 9)
    .concat(`the page is ${document.documentElement.scrollWidth} pixels wide`);
}"""
"""The elements that make a page wider than a window."""
CUT_ON_A_PHONE = """() => {
  const width = document.documentElement.clientWidth, found = [];
  for (const one of document.querySelectorAll(".t :is(td, tfoot th), .nav a")) {
    const box = one.getBoundingClientRect(), text = one.textContent.trim();
    if (box.right > width || box.left < 0 || (text.length > 9 && box.width < 60)) found.push(one.outerHTML);
  }
  const counts = document.querySelectorAll("main .t:not(.slim) tr > .n:not(thead *, :empty)");
  return found.concat([...counts].filter((one) => !one.dataset.h).map((one) => one.outerHTML));
}"""
"""Entries of the menu and cells that are out of the window or too narrow to be read. Also counts without a
word, because the heads of tables are not shown on a phone."""
UNTIDY_ON_A_PHONE = """() => {
  const found = [];
  for (const text of document.querySelectorAll("main :is(.t, .fam) .st > span")) {
    text.textContent = "all published; 3 messages failed";
    const room = text.closest("td, li").getBoundingClientRect().right;
    if (text.getBoundingClientRect().right > room) found.push(text.closest("td, li").outerHTML);
  }
  for (const what of document.querySelectorAll(".fam .what > *"))
    if (what.scrollWidth > what.clientWidth) found.push(what.outerHTML);
  const groups = document.querySelectorAll("main .t:not(.slim) tbody tr > :not(.n) + .n:has(+ .n + .n)");
  for (const first of groups) {
    const others = [first.nextElementSibling, first.nextElementSibling.nextElementSibling];
    if (others.some((one) => one.offsetTop !== first.offsetTop)) found.push(first.parentElement.outerHTML);
  }
  return found;
}"""
"""Cells that are too narrow for a long state, names of replays that are cut, and rows with counts on several
lines."""


SQUEEZED = """() => {
  const cells = [...document.querySelectorAll("main :is(h1, td, th, dd, .lane > *, .what > *)")];
  return cells.filter((one) => {
    const width = one.getBoundingClientRect().width, words = one.textContent.trim().split(/\\s+/);
    return width > 1 && width < (one.matches("h1") ? 250 : 76) && words.some((word) => word.length > 10);
  }).map((one) => one.outerHTML.slice(0, 200));
}"""
"""Headings and cells with a long word that is broken into pieces of a few letters."""


def test_every_page_has_an_example_and_one_with_data_at_the_limits():
    """Pages for administrators are in `test_login_in_browser.py`: the demo needs no key, so it has none."""
    pages = {page.path for page in PAGES if page.scope != "admin"}
    assert pages == set(EXAMPLES) == set(EXTREMES)


@pytest.mark.parametrize("urls", EXTREMES.values(), ids=EXTREMES)
def test_no_page_is_wider_than_its_window_with_names_of_63_characters(
    demo: Demo, goto: Goto, urls: dict[str, str]
):
    for path in urls.values():
        page = goto(path, viewport=WIDE)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": WIDE["height"]})
            assert page.evaluate(TOO_WIDE, width) == [], (path, width)
            assert page.evaluate(SQUEEZED) == [], (path, width)


@every_page
def test_01_a_page_reads_whole_without_javascript_and_38_axe_finds_no_violation_in_both_themes(
    goto: Goto, path: str
):
    """The same headings, rows and links, and nothing that only a script can fill or open."""
    full = goto(path, color_scheme="light")
    bare = goto(path, java_script_enabled=False)

    def parts(page: Page) -> list[int]:
        return [
            page.locator(what).count() for what in ("h1, h2, h3", "tbody tr", "main a[href]", "main form")
        ]

    for _ in range(5):  # what a page shows may change between the two
        if parts(bare) == parts(full):
            break
        full.reload()
        bare.reload()
    assert parts(bare) == parts(full)
    assert bare.locator("[hx-trigger~=load], [hx-trigger~=revealed]").count() == 0
    expect(bare.locator(".needs-js:visible")).to_have_count(0)
    expect(bare.get_by_text("loading", exact=False).and_(bare.locator(":visible"))).to_have_count(0)

    full.emulate_media(color_scheme="light")
    assert violations(full) == []
    full.emulate_media(color_scheme="dark")
    assert violations(full, only="color-contrast") == []


def test_find_has_room_for_an_id_and_the_word_about_live_numbers_covers_nothing(goto: Goto):
    page = goto("/queues", viewport=WIDE)
    for width in (*WIDTHS, 981, 1101, 1279, 1319, 1320):
        page.set_viewport_size({"width": width, "height": WIDE["height"]})
        least = 90 if width < 400 else 200
        assert page.locator(".find").evaluate("one => one.getBoundingClientRect().width") >= least, width
        bar, live = page.locator(".bar").bounding_box(), page.locator(".bar .live").bounding_box()
        assert bar
        assert live
        assert bar["y"] <= live["y"] < live["y"] + live["height"] <= bar["y"] + bar["height"], width


def numbers(value: Any) -> Iterator[int]:
    """Yield all numbers of a JSON value, and the lengths of its lists."""
    if isinstance(value, dict):
        for one in value.values():
            yield from numbers(one)
    elif isinstance(value, list):
        yield len(value)
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int):
        yield int(value)


@every_url
def test_02_the_twin_of_a_page_has_its_numbers_37_it_violates_no_policy_and_38_it_fits_a_phone(
    demo: Demo, goto: Goto, path: str
):
    """`goto` fails the test on a violation, an error of a script, or a request to another server.

    The calls of the API that the twin names work. A phone shows the whole menu and the whole rows of tables.
    """
    page = goto(path, viewport=NARROW)

    with client(demo.deployment.url) as http:
        href = page.get_by_role("link", name="JSON of this page").get_attribute("href") or ""
        twin = http.get(href).json()
        for call in twin["api"]:
            if call["method"] == "GET":
                assert http.get(call["path"]).status_code in (200, 503), call["path"]
    assert twin["title"] in page.title()
    cells = page.locator("main td.n:not([data-live]):not(:has([data-live]))").all_inner_texts()
    shown = {int(text.replace(",", "")) for text in cells if text.replace(",", "").isdecimal()}
    assert shown - {0} <= set(numbers(twin["view"]))

    page.set_viewport_size(PHONE)
    assert page.evaluate(CUT_ON_A_PHONE) == []
    page.set_viewport_size(NARROW)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.mouse.wheel(0, 10_000)
    assert page.evaluate(TOO_WIDE, NARROW["width"]) == []
    assert page.evaluate("document.getAnimations().filter(one => one.playState === 'running').length") == 0

    for viewport in (NARROW, PHONE):
        page.set_viewport_size(viewport)
        assert page.evaluate(UNTIDY_ON_A_PHONE) == []


@every_page
def test_40_the_html_of_a_page_is_at_most_30_kb(demo: Demo, path: str):
    with client(demo.deployment.url) as http:
        answer = http.get(demo.url(path), headers={"Accept-Encoding": "gzip"}, follow_redirects=True)

    assert answer.headers["content-encoding"] == "gzip" or len(answer.content) < 1000
    assert len(gzip.compress(answer.content, 5)) <= 30_000
