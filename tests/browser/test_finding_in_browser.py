"""Finding pages, and finding out. The numbers in the names are those of the acceptance list.

What no browser is needed for is tested in `tests/ui`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import PHONE, Visitor, expect, wait_until
from tests.browser.conftest import Goto, Visit
from tests.browser.demo import Demo

if TYPE_CHECKING:
    from playwright.sync_api import Page


class Asker:
    """A person with a question, on the first page. Counts clicks; a text that is pasted into Find is one."""

    def __init__(self, demo: Demo, page: Page) -> None:
        self.demo = demo
        self.page = page
        self.clicks = 0

    def click(self, what: Any) -> None:
        self.clicks += 1
        what.click()
        self.page.wait_for_load_state()

    def find(self, text: str) -> None:
        self.clicks += 1
        self.page.locator("#q").fill(self.demo.url(text))
        self.page.locator("#q").press("Enter")
        self.page.wait_for_url(lambda url: "/find" not in url and not url.endswith("/"))

    def link(self, name: str | re.Pattern[str]) -> Any:
        return self.page.locator("main").get_by_role("link", name=name).first

    def reads(self, *texts: str) -> None:
        for text in texts:
            expect(self.page.locator("main")).to_contain_text(text)


def what_is_wrong(ask: Asker) -> None:
    ask.reads("causes of failures", "KeyError: '", "not UTF-8", "needs transcribe", "is paused")


def did_my_run_finish(ask: Asker) -> None:
    ask.find("{run}")
    ask.reads("messages failed", "ended")


def why_did_this_fail(ask: Asker) -> None:
    cause = ask.page.locator("main tr", has_text="KeyError")
    ask.click(cause.get_by_role("link", name="Look at one").first)
    ask.reads("KeyError", "Traceback", "demo_steps" if "demo_steps" in ask.page.content() else "steps.py")


def where_did_it_come_from(ask: Asker) -> None:
    ask.find("{replay}/segments/guide/replay-000/0001.md")
    ask.reads("Where it came from", "markdown_converted/guide/replay-000.md", "input/guide/replay-000.html")


def why_is_it_missing(ask: Asker) -> None:
    ask.find("{run}/markdown_converted/legacy/1998/queues-007.md")
    ask.click(ask.link(re.compile("Outcome|outcome|Why")))
    ask.reads("links", "dropped")


def what_was_made_of_it(ask: Asker) -> None:
    ask.find("{run}/input/guide/replay-000.html")
    ask.reads("Outputs", "markdown_converted/guide/replay-000.md")


def what_would_a_replay_do(ask: Asker) -> None:
    ask.click(ask.link(re.compile("^handbook$")))
    ask.click(ask.link(re.compile("Replay (this|a) stage")))
    ask.reads("Nothing is published until you press Replay", "Source", "Target")


def how_far_is_it(ask: Asker) -> None:
    ask.click(ask.link("input → convert"))
    ask.reads("published", "to go", "Remaining")
    expect(ask.page.locator("#pause > summary")).to_be_visible()


def what_did_it_change(ask: Asker) -> None:
    ask.find("{replay_batch}")
    ask.click(ask.link("Compare with the source"))
    ask.reads("Same", "Changed", "Added", "Missing")


def which_code_produced_it(ask: Asker) -> None:
    ask.find("{replay}/segments/guide/replay-000/0001.md")
    ask.reads("sections 2", "sha256:", "handbook v")


def shows_again(page: Page, text: str) -> bool:
    """Load a page again, and return whether it shows a text."""
    page.reload()
    return text in page.locator("main").inner_text()


def why_does_nothing_happen(ask: Asker) -> None:
    ask.click(ask.page.get_by_role("link", name="Queues", exact=True))
    # Each pause ends with an attempt, after which the next pause begins.
    wait_until(ask.page, lambda: shows_again(ask.page, "needs transcribe"))
    expect(ask.page.locator("tbody tr").first).to_contain_text("sounds.transcribe")
    expect(ask.page.locator("tr", has_text="sounds.transcribe")).to_contain_text(
        "needs transcribe, which this process has not loaded"
    )


def who_replayed_what(ask: Asker) -> None:
    ask.click(ask.page.get_by_role("link", name="Replays", exact=True))
    ask.reads("sections 2: a heading may have no text", "markdown_converted → segment")
    expect(ask.page.get_by_role("link", name=re.compile("Replay a stage"))).to_be_visible()


QUESTIONS: list[tuple[Callable[[Asker], None], int]] = [
    (what_is_wrong, 0),
    (did_my_run_finish, 1),
    (why_did_this_fail, 2),
    (where_did_it_come_from, 1),
    (why_is_it_missing, 2),
    (what_was_made_of_it, 1),
    (what_would_a_replay_do, 2),
    (how_far_is_it, 1),
    (what_did_it_change, 2),
    (which_code_produced_it, 1),
    (why_does_nothing_happen, 1),
    (who_replayed_what, 1),
]


@pytest.mark.parametrize(("question", "clicks"), QUESTIONS, ids=lambda one: getattr(one, "__name__", ""))
def test_03_twelve_questions_are_answered_within_their_clicks(
    demo: Demo, goto: Goto, question: Callable[[Asker], None], clicks: int
):
    ask = Asker(demo, goto("/"))

    question(ask)

    assert ask.clicks <= clicks


def test_04_filters_survive_back_reload_and_a_pasted_link(demo: Demo, visitor: Visitor, visit: Visit):
    page = visitor.open("/executions")
    everything = page.locator("#rows tbody tr").count()
    page.get_by_label("Status").select_option("failed")
    page.get_by_label("Config", exact=True).fill("handbook")
    page.get_by_role("button", name="Filter").click()

    def is_filtered(page: Page) -> None:
        expect(page.get_by_label("Status")).to_have_value("failed")
        expect(page.get_by_label("Config", exact=True)).to_have_value("handbook")
        rows = page.locator("#rows tbody tr")
        assert 0 < rows.count() < everything
        assert all("handbook" in row and "failed" in row for row in rows.all_inner_texts())

    is_filtered(page)
    url = page.url
    assert "status=failed" in url
    page.locator("#rows a").first.click()
    page.go_back()
    is_filtered(page)
    page.reload()
    is_filtered(page)
    is_filtered(visit(demo.deployment.url).open(url.removeprefix(demo.deployment.url)))
    # Another list has no filter: nothing is kept in the browser.
    page.goto("/executions")
    expect(page.get_by_label("Status")).to_have_value("")


def test_05_back_restores_the_scroll_position(visitor: Visitor):
    page = visitor.open("/queues")
    page.evaluate("scrollTo(0, 3000)")
    link = page.locator("tbody a").nth(80)
    link.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 500
    link.click()
    expect(page.locator("h1")).not_to_have_text("Queues")

    page.go_back()

    expect(page.locator("h1")).to_have_text("Queues")
    page.wait_for_timeout(100)
    assert abs(page.evaluate("scrollY") - before) < 100


def test_08_the_slash_key_finds_the_page_of_a_name(demo: Demo, visitor: Visitor):
    page = visitor.open("/help")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("warehouse")
    page.keyboard.press("Enter")

    page.wait_for_url("**/configs/warehouse")


@pytest.mark.parametrize("page_of", ["/executions", "/dead-letters"])
def test_filters_are_folded_on_a_phone_until_one_is_set(demo: Demo, visit: Visit, page_of: str):
    visitor = visit(demo.deployment.url, viewport=PHONE)
    page = visitor.open(page_of)
    field = page.get_by_label("Config")
    expect(field).to_be_hidden()
    row = page.locator("tbody tr").first.bounding_box()
    assert row
    assert row["y"] < PHONE["height"] / 2

    page.get_by_text("Filter", exact=True).first.click()
    field.fill("handbook")
    field.press("Enter")
    page.wait_for_url("**config=handbook**")

    expect(field).to_have_value("handbook")
    expect(field).to_be_visible()
    wide = visit(demo.deployment.url).open(page_of)
    expect(wide.get_by_label("Config")).to_be_visible()
