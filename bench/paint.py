"""Compare the first paint of pages with that of the same pages as static files, in Chromium."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bench.figures import Figure, median, middle_ratio, not_measured
from bench.machine import report
from tests.browser.chromium import WIDE, open_browser
from tests.browser.demo import open_demo
from tests.browser.examples import URLS
from tests.servers import Missing

if TYPE_CHECKING:
    from tests.browser.chromium import Browser, Response

_PAGES: Final = ("home", "execution", "object", "replay", "progress")
_VIEW: Final[Mapping[str, Any]] = {"viewport": WIDE}
_MOST_RATIO: Final = 1.3
_PAINT: Final = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_Files = Mapping[str, tuple[str, bytes]]
"""Content type and body, by path with query."""


def measure(*, inputs: int, rounds: int) -> list[Figure]:
    """Return a figure for each page. A page and its copy are painted in turn, each with an empty cache."""
    try:
        with open_browser() as browser, open_demo(inputs) as demo:
            return [
                _figure(browser, demo.deployment.url, demo.url(URLS[name]), name, rounds) for name in _PAGES
            ]
    except Missing as exc:
        return [not_measured("first paint of pages", str(exc))]


def _figure(browser: Browser, origin: str, path: str, name: str, rounds: int) -> Figure:
    address, files = _fetched(browser, origin + path)
    with _static(files) as static:
        _paint(browser, origin + address)
        pairs = [
            (_paint(browser, origin + address), _paint(browser, static + address)) for _ in range(rounds)
        ]
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ratio = middle_ratio(ours, theirs)
    report(f"  {name}: {median(ours):.0f} ms, as static files {median(theirs):.0f} ms")
    return Figure(
        f"first paint: {name}",
        median(ours),
        "ms",
        ours,
        f"same files, static: {median(theirs):.0f} ms",
        ratio,
        f"at most {_MOST_RATIO}",
        ratio <= _MOST_RATIO,
    )


def _fetched(browser: Browser, url: str) -> tuple[str, _Files]:
    """Return the path to which a URL leads, and all files that its page loads."""
    files: dict[str, tuple[str, bytes]] = {}
    page = browser.new_page(**_VIEW)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(url)
    for answer in answers:
        if answer.ok and "event-stream" not in (kind := answer.headers.get("content-type", "")):
            files[_path(answer.url)] = (kind, answer.body())
    address = _path(page.url)
    page.close()
    return address, files


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _paint(browser: Browser, url: str) -> float:
    """Return the milliseconds until the first paint of a page in a new profile."""
    context = browser.new_context(**_VIEW)
    page = context.new_page()
    page.goto(url)
    taken = page.wait_for_function(_PAINT).json_value()
    context.close()
    return float(taken)


@contextmanager
def _static(files: _Files) -> Iterator[str]:
    """Serve files from memory, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, body = files.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in files else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
