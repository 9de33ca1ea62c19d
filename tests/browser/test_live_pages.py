"""Pages while their numbers change. The numbers in the names are those of the acceptance list.

What no browser is needed for is tested in `tests/ui`.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import PHONE, WIDE, Streams, Visitor, expect, hide, wait_until
from tests.browser.conftest import Goto, Visit
from tests.browser.demo import Demo

if TYPE_CHECKING:
    from playwright.sync_api import Page

LIVE = "/queues"
WATCH_SHIFTS = """() => {
  window.shifts = [];
  const name = (one) => (one.node?.outerHTML ?? "?").slice(0, 100);
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) shifts.push(`${entry.value}: ${entry.sources.map(name)}`);
  }).observe({ type: "layout-shift" });
}"""
CHANGE_STATES = """async ([word, sentence]) => {
  for (const one of document.querySelectorAll("td [data-part^='state.'] .st > span")) one.textContent = word;
  for (const cell of document.querySelectorAll("[data-live^='say.']")) cell.textContent = sentence;
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
}"""
GROW = """async () => {
  const counts = document.querySelectorAll(":is(.tabs, .tally, .t .n) [data-live], .t .n[data-live]");
  for (const count of counts) count.textContent = "1,234";
  for (const link of document.querySelectorAll(".newer [data-show]")) link.hidden = false;
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
  return counts.length;
}"""
STATES = [
    ("idle", "The queue is empty. Its workers wait for messages."),
    ("working", "12,345 messages wait, and 256 are being processed."),
    ("no worker", "1,234,567 messages wait, and no worker consumes the queue. Run: playhead worker"),
]
TABS, SLOTS = 12, 4


def state(page: Page):
    """Return the word that says whether the numbers of a page are live."""
    return page.locator(".bar .live")


def test_33_twelve_tabs_load_with_at_most_four_streams(visitor: Visitor):
    streams = Streams(visitor.context)
    tabs = [visitor.open(LIVE) for _ in range(TABS)]

    for tab in tabs:
        expect(state(tab)).to_have_text("Live" if tabs.index(tab) < SLOTS else "Every 5 s")
        expect(tab.locator("h1")).to_be_visible()
    assert len(streams.open) == streams.most == SLOTS

    # Another tab takes the slot of a closed tab.
    tabs.pop(0).close()
    wait_until(tabs[0], lambda: sum(state(tab).inner_text() == "Live" for tab in tabs) == SLOTS)
    assert streams.most == SLOTS


def test_34_a_hidden_tab_closes_its_stream_within_5_seconds(visitor: Visitor):
    streams = Streams(visitor.context)
    page = visitor.open(LIVE)
    expect(state(page)).to_have_text("Live")
    assert len(streams.open) == 1

    began = time.monotonic()
    hide(page)
    wait_until(page, lambda: not streams.open)
    took = time.monotonic() - began

    assert took < 5
    hide(page, False)
    # The text says "Live" while the tab is hidden, too: only the stream shows that it is open again.
    wait_until(page, lambda: len(streams.open) == 1)
    expect(state(page)).to_have_text("Live")


def test_the_streams_of_a_browser_leave_it_connections_for_pages(visitor: Visitor):
    """Chromium has six connections to a server. The slots are shared by all pages with live numbers."""
    streams = Streams(visitor.context)
    for path in (LIVE, "/", "/queues/handbook.segment", LIVE, "/", LIVE, "/"):
        page = visitor.open(path)

    page.goto("/help")

    expect(page.locator("h1")).to_be_visible()
    assert streams.most <= SLOTS


def _hour(text: str) -> int:
    """Return the hour of a time: `2026-01-31 18:00:00`, or `18:00`."""
    return int(text.partition(":")[0][-2:])


def test_39_the_switch_changes_every_time_on_the_page_and_also_new_ones(visitor: Visitor):
    """The visitor is in Tokyo, nine hours before UTC."""
    page = visitor.open("/")
    times = page.locator("main time[datetime]")
    assert times.count() > 0
    utc = times.all_text_contents()
    for text, moment in zip(utc, times.evaluate_all("all => all.map(one => one.dateTime)"), strict=True):
        assert all(part in moment for part in text.split())  # some have no date, or no seconds

    page.get_by_role("button", name="Local").click()
    local = times.all_text_contents()
    for before, after, moment in zip(
        utc, local, times.evaluate_all("all => all.map(one => one.dateTime)"), strict=True
    ):
        assert (_hour(before) + 9) % 24 == _hour(after), moment

    added = "<p><time datetime='2026-01-31T18:00:00.000Z' data-form='full'>2026-01-31 18:00:00</time></p>"
    page.evaluate("html => document.querySelector('main').insertAdjacentHTML('beforeend', html)", added)
    expect(times.last).to_have_text("2026-02-01 03:00:00")

    # The choice is kept, and applies to the next page.
    page.goto("/system")
    expect(page.get_by_role("button", name="Local")).to_have_attribute("aria-pressed", "true")


def test_35_live_numbers_move_nothing_and_reset_nothing(demo: Demo, visitor: Visitor):
    page = visitor.open(LIVE)
    expect(state(page)).to_have_text("Live")
    page.evaluate(WATCH_SHIFTS)
    page.locator("details.curl > summary").click()
    page.locator("#q").fill("half a wor")
    page.locator("#q").focus()
    waiting = page.locator("tr", has_text="search.vectors").locator("[data-live]").first
    before = waiting.inner_text()

    demo.run("more", "handbook", {"guide/new.html": b"<h1>New</h1><p>Text.</p>"})

    expect(waiting).not_to_have_text(before)
    assert page.evaluate("shifts") == []
    # States that lasted only a moment may not have been shown. There would have been room for them.
    for state_and_sentence in STATES:
        page.evaluate(CHANGE_STATES, state_and_sentence)
        assert page.evaluate("shifts") == [], state_and_sentence
    expect(page.locator("#q")).to_have_value("half a wor")
    expect(page.locator("#q")).to_be_focused()
    expect(page.locator("details.curl")).to_have_attribute("open", "")


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("path", ["/", "/executions", "/executions/{paced}", "/replays", LIVE])
def test_35_counts_that_grow_move_nothing(goto: Goto, path: str, viewport: dict[str, int]):
    page = goto(path, viewport=viewport)
    expect(state(page)).to_have_text("Live")
    page.evaluate(WATCH_SHIFTS)

    assert page.evaluate(GROW) > 0

    assert page.evaluate("shifts") == []


def test_35_states_and_sentences_that_change_move_nothing(goto: Goto):
    """The sentence of a queue that waits for an adapter has several lines. Its own page shows all of them."""
    page = goto(LIVE, viewport=WIDE)
    page.evaluate(WATCH_SHIFTS)

    for state_and_sentence in STATES:
        page.evaluate(CHANGE_STATES, state_and_sentence)
        assert page.evaluate("shifts") == [], state_and_sentence


@pytest.mark.parametrize("path", ["/", "/executions"])
def test_a_link_that_appears_gets_its_text(goto: Goto, path: str):
    """A live value either shows an element or is its text. So the text is in an element within the link."""
    page = goto(path)

    assert page.locator("main a[data-show]").count() > 0
    assert page.locator("main a[data-show]:not(:has([data-live]))").count() == 0


def test_35_a_panel_and_an_input_survive_a_change_of_the_state(demo: Demo, visitor: Visitor):
    demo.ids["typing_source"] = demo.store({f"pages/{n}.txt": b"text" for n in range(9)})
    demo.replay("typing", "typing_source", "pages", "library/keep", pace={"rate": 0.2}, wait=False)
    page = visitor.open(demo.url("/replays/{typing_batch}"))
    expect(state(page)).to_have_text("Live")
    page.locator("#pace > summary").click()
    page.locator("#f-pace_value").fill("12")
    page.locator("#f-pace_value").focus()

    demo.deployment.post(demo.url("/replays/{typing_batch}/pause"))

    expect(page.locator("#resume > summary")).to_be_visible()
    expect(page.locator("#f-pace_value")).to_have_value("12")
    expect(page.locator("#f-pace_value")).to_be_focused()
    expect(page.locator("#pace")).to_have_attribute("open", "")


def test_a_drawing_hides_a_count_that_becomes_zero(demo: Demo, visitor: Visitor):
    cells = 'event: cells\ndata: {"cells": {"route:transcribe:open": "0"}, "shape": "done"}\n\n'
    visitor.context.route(
        re.compile(r"\.live\b"), lambda route: route.fulfill(content_type="text/event-stream", body=cells)
    )
    page = visitor.open(demo.url("/executions/{sounds}"))

    expect(page.locator(".g-num", has=page.locator("[data-live='route:transcribe:open']"))).to_be_hidden()


def test_40_scripts_and_styles_stay_within_their_budgets(demo: Demo, visit: Visit):
    """CSS at most 10 kB, JavaScript at most 22 kB, both gzipped, on the page with the most of them."""
    sizes: dict[str, int] = {}
    visitor = visit(demo.deployment.url)
    visitor.context.on(
        "response",
        lambda answer: (
            sizes.update({answer.url: answer.request.sizes()["responseBodySize"]})
            if "/assets/" in answer.url
            else None
        ),
    )
    page = visitor.open(demo.url("/replay?from_execution_id={run}"))
    expect(page.locator("#replay-form")).to_be_visible()
    wait_until(page, lambda: {url.rpartition("/")[2] for url in sizes} >= {"app.css", "app.js", "replay.js"})

    assert sum(size for url, size in sizes.items() if url.endswith(".css")) <= 10_000
    assert sum(size for url, size in sizes.items() if url.endswith(".js")) <= 22_000
