"""What only a browser shows of logins, and the pages that the demo data does not have."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from playhead.model.access import SESSION_IDLE_SECONDS
from tests.acceptance.processes import Deployment, open_deployment
from tests.browser.accessibility import violations
from tests.browser.chromium import NARROW, PHONE, WIDE, Visitor, expect
from tests.browser.conftest import Visit
from tests.browser.test_every_page import CUT_ON_A_PHONE, SQUEEZED, TOO_WIDE, UNTIDY_ON_A_PHONE
from tests.browser.tls import TlsProxy
from tests.waiting import eventually
from tests.web import self_signed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CONFIG = """
version: "1.0"
name: docs
entry: out
routes:
  out: {external: true}
"""


@dataclass
class Closed:
    """A deployment that needs keys, behind http on loopback and behind https.

    Attributes:
        root: key of an administrator.
        url, secure: addresses of its two servers.
        read_only: address of a server that allows no change.
    """

    deployment: Deployment
    root: str
    url: str
    secure: str
    read_only: str

    def key(self, name: str, *rights: str) -> str:
        return str(self.deployment.cli("keys", "create", name, *rights)["key"])

    def ask(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.root}"}
        return httpx.request(method, f"{self.url}/api/v1/{path}", headers=headers).raise_for_status()


@pytest.fixture(scope="session")
def _closed(after_unit: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Closed:
    tls = self_signed(tmp_path_factory.mktemp("tls"))[0]
    proxy = TlsProxy(tls)
    after_unit.callback(proxy.close)
    deployment = after_unit.enter_context(open_deployment(HEARTBEAT_SECONDS="0.5"))
    url = deployment.serve().url
    deployment.apply(CONFIG)
    root = str(deployment.cli("keys", "create", "root", "--role", "admin")["key"])
    secure = deployment.serve(settings={"PUBLIC_URL": proxy.origin}).url
    proxy.forward_to(urlsplit(secure).port or 0)
    read_only = deployment.serve(settings={"READ_ONLY": "true"}).url
    eventually(lambda: httpx.get(f"{url}/executions.json").status_code == 401, "the server to need a key")
    return Closed(deployment, root, url, proxy.origin, read_only)


@pytest.fixture
def closed(browser: Browser, request: pytest.FixtureRequest) -> Closed:
    found: Closed = request.getfixturevalue("_closed")
    return found


@pytest.fixture
def keys(closed: Closed) -> Iterator[list[str]]:
    """Names of keys that are revoked after the test."""
    names: list[str] = []
    yield names
    for name in names:
        closed.ask("POST", f"keys/{name}/revoke")


def log_in(page: Page, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Log in").click()
    page.locator("header.bar").wait_for()


def cookie(visitor: Visitor) -> Any:
    [found] = visitor.context.cookies()
    return found


def test_a_login_leads_to_the_page_that_was_asked_for_and_its_cookie_is_hidden_from_scripts(
    closed: Closed, visit: Visit
):
    visitor = visit(closed.url)
    page = visitor.open("/executions?status=failed")
    assert urlsplit(page.url).path == "/login"
    log_in(page, closed.root)

    assert page.url == f"{closed.url}/executions?status=failed"
    found = cookie(visitor)
    assert (found["name"], found["httpOnly"], found["secure"]) == ("playhead_session", True, False)
    assert (found["sameSite"], found["path"], found["expires"]) == ("Lax", "/", -1)
    assert page.evaluate("document.cookie") == ""
    assert closed.root not in page.content()


def test_behind_https_the_cookie_is_secure_and_bound_to_its_host(closed: Closed, visit: Visit):
    visitor = visit(closed.secure, ignore_https_errors=True)
    page = visitor.open("/configs")
    log_in(page, closed.root)

    assert page.url == f"{closed.secure}/configs"
    found = cookie(visitor)
    assert (found["name"], found["httpOnly"], found["secure"]) == ("__Host-playhead", True, True)
    curl = page.locator("#curl").text_content() or ""
    assert f"{closed.secure}/api/v1/configs" in curl
    assert '-H "Authorization: Bearer $PLAYHEAD_KEY"' in curl


def test_a_wrong_key_stays_on_the_login_and_a_cookie_from_before_it_is_replaced(closed: Closed, visit: Visit):
    visitor = visit(closed.url)
    visitor.context.add_cookies([{"name": "playhead_session", "value": "planted", "url": closed.url}])
    page = visitor.open("/configs")
    page.get_by_label("Key").fill("phk_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("key_invalid")
    expect(page.get_by_label("Key")).to_have_value("")
    assert cookie(visitor)["value"] == "planted"

    log_in(page, closed.root)
    first = cookie(visitor)["value"]
    assert first != "planted"

    again = visitor.open("/login?next=/configs")
    log_in(again, closed.root)
    assert cookie(visitor)["value"] not in ("planted", first)
    visitor.context.clear_cookies()
    visitor.context.add_cookies([{"name": "playhead_session", "value": first, "url": closed.url}])
    assert urlsplit(visitor.open("/configs").url).path == "/login"


def test_a_logout_ends_two_tabs_and_the_back_button_shows_no_page(closed: Closed, visit: Visit):
    visitor = visit(closed.url)
    page = visitor.open("/configs")
    log_in(page, closed.root)
    other = visitor.open("/")
    expect(other.locator(".bar .live")).to_have_text("Live")

    page.locator(".who summary").click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Key").wait_for()

    assert visitor.context.cookies() == []
    expect(other.locator(".bar .live")).to_have_text("Signed out")
    page.go_back()
    page.get_by_label("Key").wait_for()
    expect(page.get_by_role("heading", name="Configs")).to_have_count(0)


def test_a_session_that_was_idle_for_twelve_hours_has_ended(closed: Closed, visit: Visit):
    visitor = visit(closed.url)
    page = visitor.open("/configs")
    log_in(page, closed.root)

    def is_ended() -> bool:
        # Repeated, because the server may write the time of the first request meanwhile.
        with closing(sqlite3.connect(closed.deployment.home / "playhead.db", timeout=30)) as db, db:
            db.execute("UPDATE sessions SET seen_at = seen_at - ?", (SESSION_IDLE_SECONDS,))
            db.execute("UPDATE access SET epoch = epoch + 1")  # so that servers drop what they have read
        page.goto("/configs")
        return urlsplit(page.url).path == "/login"

    eventually(is_ended, "the session to end")


def test_a_part_that_htmx_loads_leads_to_the_login_and_back(closed: Closed, visit: Visit):
    visitor = visit(closed.url)
    page = visitor.open("/run?config=docs")
    log_in(page, closed.root)
    visitor.context.clear_cookies()
    page.locator("#how input").first.evaluate(
        "one => one.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    page.get_by_label("Key").wait_for()
    log_in(page, closed.root)
    assert page.url == f"{closed.url}/run?config=docs"


def test_a_viewer_finds_no_button_and_a_read_only_server_has_none(
    closed: Closed, visit: Visit, keys: list[str]
):
    keys.append("viewer")
    viewer = closed.key("viewer", "--role", "viewer")
    page = visit(closed.url).open("/executions")
    log_in(page, viewer)
    expect(page.get_by_text("needs the scope run")).to_be_visible()
    expect(page.get_by_role("link", name="New run…")).to_have_count(0)
    page.goto("/run")
    expect(page.get_by_text("this needs the scope run; viewer has metrics, read")).to_be_visible()

    page = visit(closed.read_only).open("/executions")
    log_in(page, closed.root)
    expect(page.get_by_text("read-only", exact=True)).to_be_visible()
    expect(page.locator(".lacks")).to_have_count(0)
    for path in ("/executions", "/configs/docs", "/queues/docs.out", "/system"):
        page.goto(path)
        forms = page.locator("form[method=post]:not([action='/logout'])")
        expect(forms).to_have_count(0)


def test_a_new_key_is_neither_in_the_address_nor_in_the_history(
    closed: Closed, visit: Visit, keys: list[str]
):
    page = visit(closed.url).open("/access")
    log_in(page, closed.root)
    page.get_by_label("Name").fill("made-here")
    page.get_by_label("Role").select_option("ci")
    page.get_by_role("button", name="Create the key").click()
    key = page.locator("#key").inner_text()
    keys.append("made-here")
    assert key.startswith("phk_")
    assert page.url == f"{closed.url}/access"
    page.get_by_role("link", name="Back to access").click()
    page.get_by_role("heading", name="Access").wait_for()
    assert key not in page.content()


def test_the_pages_of_a_login_and_of_access_pass_axe_and_fit_a_phone(closed: Closed, visit: Visit):
    visitor = visit(closed.url, reduced_motion="reduce")
    page = visitor.open("/login")
    for later in ("/access", "/audit", None):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert violations(page, only=None if scheme == "light" else "color-contrast") == []
        for width in (WIDE["width"], 1100, 768, PHONE["width"], NARROW["width"]):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(TOO_WIDE, width) == [], (page.url, width)
            assert page.evaluate(SQUEEZED) == [], (page.url, width)
        page.set_viewport_size(PHONE)
        assert page.evaluate(CUT_ON_A_PHONE) == []
        assert page.evaluate(UNTIDY_ON_A_PHONE) == []
        if later == "/access":
            log_in(page, closed.root)
        if later:
            page.goto(later)


def test_the_name_of_the_caller_leaves_room_for_find_and_its_menu_is_in_the_window(
    closed: Closed, visit: Visit, keys: list[str]
):
    keys.append("n" * 63)
    page = visit(closed.url).open("/queues")
    log_in(page, closed.key("n" * 63, "--role", "viewer"))
    for width in (WIDE["width"], 1320, 1100, 981, 768, PHONE["width"], NARROW["width"]):
        page.set_viewport_size({"width": width, "height": 700})
        least = 90 if width < 400 else 200
        assert page.locator(".find").evaluate("one => one.getBoundingClientRect().width") >= least, width
        assert page.evaluate(TOO_WIDE, width) == [], width
        page.locator(".who summary").click()
        box = page.locator(".who .sheet").bounding_box()
        assert box
        assert box["x"] >= 0, width
        assert box["x"] + box["width"] <= width, width
        page.locator(".who summary").click()


def test_the_login_works_without_javascript(closed: Closed, visit: Visit):
    page = visit(closed.url, java_script_enabled=False).open("/configs")
    log_in(page, closed.root)
    expect(page.get_by_role("heading", name="Configs").first).to_be_visible()
    page.locator(".who summary").click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Key").wait_for()
