"""Chromium, driven by Playwright, and one visitor of the pages per test.

Playwright is imported only here, because a system may have no wheel of it. Its event loop runs in the thread
of the tests until the browser is closed. Other tests run their own loops, so it is closed before those.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tests.servers import Missing
from tests.ui.hostile import EVIL

if TYPE_CHECKING:
    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Page,
        Request,
        Response,
        ViewportSize,
    )

    __all__ = ["Browser", "BrowserContext", "Page", "Request", "Response"]

PROGRAMS: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first one that is installed is used. The headless shell takes half of Chromium's processor time."""
PATIENCE_MS: Final = 30_000
"""For anything that is waited for. Far above what it takes: a busy machine must not fail a test."""
WIDE: Final[ViewportSize] = {"width": 1440, "height": 900}
NARROW: Final[ViewportSize] = {"width": 320, "height": 700}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}

# Reports violations of the policy of a page. The browser does not write all of them to the console.
_WATCH: Final = """
addEventListener("securitypolicyviolation", (event) => console.error(
  `policy: ${event.effectiveDirective} ${event.blockedURI} in ${event.sourceFile}:${event.lineNumber}`));
"""


class Trap:
    """A server that counts connections. Chromium finds it under the name of the host of hostile objects."""

    def __init__(self) -> None:
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                self._server.accept()[0].close()
                self.connections += 1

    def close(self) -> None:
        self._server.close()


@contextmanager
def open_browser(trap: Trap | None = None) -> Iterator[Browser]:
    """Yield a headless Chromium.

    Args:
        trap: receives the connections to the host of hostile objects.

    Raises:
        Missing: Chromium or Playwright is not installed.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise Missing("browser", "Chromium is not installed", "apt-get install chromium")
    try:
        from playwright.sync_api import expect, sync_playwright
    except ModuleNotFoundError:
        raise Missing("browser", "Playwright is not installed", "pip install playwright") from None
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Root cannot have a sandbox of Chromium.
        args = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        if trap is not None:
            args.append(f"--host-resolver-rules=MAP {urlsplit(EVIL).hostname} 127.0.0.1:{trap.port}")
        browser = playwright.chromium.launch(executable_path=program, args=args)
        try:
            yield browser
        finally:
            browser.close()


def expect(subject: Any) -> Any:
    """Return Playwright's assertions about a page or a locator. They wait."""
    from playwright.sync_api import expect as assertions

    return assertions(subject)


def hide(page: Page, hidden: bool = True) -> None:
    """Tell a page that its tab is hidden, or visible again.

    Under Playwright, all tabs of a headless Chromium count as visible, also those in the background. So the
    page gets the property and the event that a browser sets and fires.
    """
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
          Object.defineProperty(document, "visibilityState",
            { get: () => hidden ? "hidden" : "visible", configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def wait_until(page: Page, look: Callable[[], bool]) -> None:
    """Wait until a condition holds that concerns several pages. Meanwhile, events are handled."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        page.wait_for_timeout(20)


class Streams:
    """The event streams that the tabs of a visitor have open.

    Attributes:
        most: the largest number that were open at once.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.most = 0
        self._open: dict[Request, str] = {}
        context.on("request", self._on_request)
        context.on("requestfinished", self._on_end)
        context.on("requestfailed", self._on_end)

    @property
    def open(self) -> list[str]:
        """URLs of the open streams. Closing a tab closes its streams, without an event."""
        return [url for request, url in self._open.items() if not request.frame.page.is_closed()]

    def _on_request(self, request: Request) -> None:
        if request.resource_type == "eventsource":
            self._open[request] = request.url
            self.most = max(self.most, len(self.open))

    def _on_end(self, request: Request) -> None:
        self._open.pop(request, None)


class Visitor:
    """A person with one browser profile. `check` reports all that went wrong in its pages.

    Args:
        is_hostile: whether the pages show hostile objects. The browser then reports what it has refused, and
            `Trap` counts what it has not.
        options: options of the browser's context.

    Attributes:
        origin: address of the server.
        faults: violations of the policy, errors of scripts, and requests to other servers.
    """

    def __init__(self, browser: Browser, origin: str, *, is_hostile: bool = False, **options: Any) -> None:
        self.origin = origin
        self.faults: list[str] = []
        self._is_hostile = is_hostile
        self._context: BrowserContext = browser.new_context(
            **{
                "base_url": origin,
                "viewport": WIDE,
                "locale": "en-GB",
                "timezone_id": "Asia/Tokyo",
                **options,
            }
        )
        self._context.set_default_timeout(PATIENCE_MS)
        self._context.add_init_script(_WATCH)
        if not is_hostile:
            self._context.on("request", self._on_request)
        self._context.on("weberror", lambda error: self.faults.append(f"error of a script: {error.error}"))
        self._context.on("console", self._on_console)

    @property
    def context(self) -> BrowserContext:
        return self._context

    def open(self, path: str = "/") -> Page:
        """Open a page in a new tab."""
        page = self._context.new_page()
        page.goto(path)
        return page

    def check(self) -> None:
        """Fail if anything went wrong in a page since the last check."""
        self._context.cookies()  # the answer comes after all events until now
        faults, self.faults = self.faults, []
        assert not faults, "\n".join(faults)

    def close(self) -> None:
        self._context.close()

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        # The browser itself shows PDF with an extension.
        is_own = parts.scheme in ("data", "blob", "about", "chrome", "chrome-extension")
        if not is_own and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"request to another server: {request.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        # A page with status 404 or 503 is logged as well. Content of objects has a stricter policy, and
        # what it tries is refused.
        is_content = urlsplit(message.location["url"]).path == "/objects/raw"
        is_status = message.text.startswith("Failed to load resource")
        if message.type == "error" and not self._is_hostile and not is_content and not is_status:
            self.faults.append(f"console: {message.text} at {message.location['url']}")
