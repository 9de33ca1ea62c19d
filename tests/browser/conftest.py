"""The fixtures of the tests in a browser: one deployment and one browser for all, a visitor per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import Trap, Visitor, open_browser
from tests.browser.demo import Demo, open_demo
from tests.servers import Missing, absent

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Visit = Callable[..., Visitor]
Goto = Callable[..., "Page"]


@pytest.fixture(scope="session")
def trap(after_unit: ExitStack) -> Trap:
    """The host that hostile objects try to contact."""
    opened = Trap()
    after_unit.callback(opened.close)
    return opened


@pytest.fixture(scope="session")
def _opened(trap: Trap, after_unit: ExitStack) -> Browser | Missing:
    try:
        return after_unit.enter_context(open_browser(trap))
    except Missing as missing:
        return missing


@pytest.fixture
def browser(_opened: Browser | Missing) -> Browser:
    """Chromium. Without it, the test is skipped, or fails if `PLAYHEAD_TEST_REQUIRE` names `browser`."""
    if isinstance(_opened, Missing):
        absent(_opened)
    return _opened


@pytest.fixture(scope="session")
def _demo(after_unit: ExitStack) -> Demo:
    return after_unit.enter_context(open_demo(with_extremes=True))


@pytest.fixture
def demo(browser: Browser, request: pytest.FixtureRequest) -> Demo:
    """The deployment with demo data, which all tests share. Tests add data, and change none."""
    found: Demo = request.getfixturevalue("_demo")
    return found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Return a function that opens a browser profile for a server. Its faults fail the test."""
    opened: list[Visitor] = []

    def open_visitor(origin: str, **options: Any) -> Visitor:
        opened.append(Visitor(browser, origin, **options))
        return opened[-1]

    yield open_visitor
    try:
        for visitor in opened:
            visitor.check()
    finally:
        for visitor in opened:
            visitor.close()


@pytest.fixture(scope="session")
def _tabs(_opened: Browser | Missing, after_unit: ExitStack) -> dict[str, tuple[Visitor, Page]]:
    tabs: dict[str, tuple[Visitor, Page]] = {}

    @after_unit.callback
    def close() -> None:
        for visitor, _ in tabs.values():
            visitor.close()

    return tabs


@pytest.fixture
def goto(browser: Browser, demo: Demo, _tabs: dict[str, tuple[Visitor, Page]]) -> Iterator[Goto]:
    """Return a function that opens a page of the demo data in the tab for some options of a profile.

    All tests share these tabs, because a new profile takes four times as long as a page. Nothing moves in
    them: a tab with the icon of a running execution takes 5 % of a processor.
    """

    def open_page(path: str, **options: Any) -> Page:
        options = {"reduced_motion": "reduce"} | options
        key = repr(options)
        if key not in _tabs:
            visitor = Visitor(browser, demo.deployment.url, **options)
            _tabs[key] = visitor, visitor.context.new_page()
        _, page = _tabs[key]
        page.goto(demo.url(path))
        return page

    yield open_page
    for visitor, _ in _tabs.values():
        visitor.check()


@pytest.fixture
def visitor(demo: Demo, visit: Visit) -> Visitor:
    """A visitor of the demo data."""
    return visit(demo.deployment.url)
