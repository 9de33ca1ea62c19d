"""Logins of browsers at a provider, up to the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from playhead.acting import NOBODY
from playhead.api.errors import STATUS
from playhead.cookies import HTTPS_COOKIE, LOOPBACK_COOKIE, SessionCookie
from playhead.model.access import ROLES, AuditEntry, whole
from playhead.model.rights import GroupRights
from playhead.ports.catalog.access import AuditFilter
from playhead.services.login import LoginService
from playhead.web.app import create_pages
from tests import servers
from tests.api.server import new_app
from tests.asgi import client
from tests.logins import provider_at
from tests.servers.oidc import log_in_at

if TYPE_CHECKING:
    from tests.api.server import Playhead

RIGHTS = (
    GroupRights("playhead-admins", whole(ROLES["admin"]), None),
    GroupRights("sre", whole(ROLES["oncall"]), None),
)
CALLBACK = "/login/oidc/callback"


class Site:
    """A server with logins at a real provider, and browsers."""

    def __init__(self, playhead: Playhead, cookie: SessionCookie | None) -> None:
        playhead.services.identity._closed = True
        pages = create_pages(playhead.services, version="1.2.3", status=STATUS)
        self.playhead = playhead
        self.app = new_app(playhead.services, pages=pages.app, cookie=cookie)

    def browser(self) -> httpx.AsyncClient:
        return client(self.app)

    async def back(self, browser: httpx.AsyncClient, user: str | None, to: str = "/") -> httpx.Response:
        """Log in at the provider, and return the answer to the browser that comes back."""
        begun = await browser.get("/login/oidc", params={"next": to})
        assert begun.status_code == 303, begun.text
        answer = await asyncio.to_thread(log_in_at, begun.headers["location"], user)
        return await browser.get(f"{CALLBACK}?{urlencode(answer)}")


@pytest.fixture
async def site(playhead: Playhead) -> AsyncIterator[Site]:
    async with provider_at(servers.need("oidc")) as provider:
        login = LoginService(playhead.catalog, provider, RIGHTS)
        playhead.rt.services = replace(playhead.services, login=login)
        yield Site(playhead, LOOPBACK_COOKIE)


async def test_a_person_logs_in_and_has_a_session(site: Site):
    browser = site.browser()
    assert (await browser.get("/api/v1/me")).status_code == 401

    back = await site.back(browser, "alice", "/executions?state=failed")

    assert (back.status_code, back.headers["location"]) == (303, "/executions?state=failed")
    assert back.headers["cache-control"] == "no-store"
    session, ended = back.headers.get_list("set-cookie")
    assert session.startswith("playhead_session=")
    assert session.endswith("; Path=/; HttpOnly; SameSite=Lax")
    assert ended.startswith("playhead_session-login=;")
    me = (await browser.get("/api/v1/me")).json()
    assert (me["kind"], me["name"], "admin" in me["scopes"]) == ("oidc", "alice@example.com", True)
    assert (await browser.get("/executions")).status_code == 200
    (found,) = await site.playhead.services.access.sessions()
    assert (found.kind, found.name) == ("oidc", "alice@example.com")
    (entry,) = await site.playhead.catalog.audit(AuditFilter(action="session.create"))
    assert (entry.actor_kind, entry.actor_name, entry.outcome) == ("oidc", "alice@example.com", "done")


async def test_a_session_lasts_for_twelve_hours_at_most(site: Site):
    await site.back(site.browser(), "bob")

    (found,) = await site.playhead.services.access.sessions()
    assert found.ends_at[:16] == _later(found.created_at, 12)


def _later(moment: str, hours: int) -> str:
    return (datetime.fromisoformat(moment) + timedelta(hours=hours)).isoformat()[:16]


async def test_each_login_begins_a_new_session_and_ends_the_one_before(site: Site):
    browser = site.browser()
    browser.cookies.set("playhead_session", "chosen-by-an-attacker", domain="playhead.local")
    await site.back(browser, "bob")
    first = browser.cookies["playhead_session"]
    assert first != "chosen-by-an-attacker"

    await site.back(browser, "alice")

    assert browser.cookies["playhead_session"] != first
    (found,) = await site.playhead.services.access.sessions()
    assert found.name == "alice@example.com"


async def test_behind_https_both_cookies_are_secure(site: Site):
    secure = Site(site.playhead, HTTPS_COOKIE)
    begun = await secure.browser().get("/login/oidc")

    (cookie,) = begun.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-playhead-login=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600")


async def refused(site: Site) -> AuditEntry:
    """Return the entry of the one refused request."""
    await site.playhead.services.audit.flush(last=True)
    (entry,) = await site.playhead.catalog.audit(AuditFilter(outcome="refused"))
    return entry


async def test_a_person_without_rights_gets_the_page_of_the_login_and_no_session(site: Site):
    back = await site.back(site.browser(), "eve", "/queues?state=waiting")

    assert (back.status_code, back.headers["cache-control"]) == (401, "no-store")
    assert "no group of eve has rights here" in back.text
    assert "Log in at the provider" in back.text
    assert back.text.count("/login/oidc?next=%2Fqueues%3Fstate%3Dwaiting") == 1
    assert 'name="next" value="/queues?state=waiting"' in back.text
    assert "set-cookie" not in back.headers
    assert await site.playhead.services.access.sessions() == []
    entry = await refused(site)
    assert (entry.action, entry.object) == ("request", "GET /login/oidc/callback")
    assert (entry.error_code, entry.detail) == ("login_refused", {"count": 1})
    assert (entry.actor_kind, entry.actor_name, entry.via) == ("oidc", "eve", "web")


async def test_a_login_that_the_provider_refuses_shows_the_page_of_the_login(site: Site):
    browser = site.browser()
    begun = await browser.get("/login/oidc", params={"next": "/find"})
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    issuer = begun.headers["location"].partition("/auth?")[0]

    back = await browser.get(CALLBACK, params={"error": "access_denied", "state": state, "iss": issuer})

    assert back.status_code == 401
    assert "access_denied" in back.text
    assert 'name="next" value="/find"' in back.text
    entry = await refused(site)
    assert (entry.actor_name, entry.error_code) == (NOBODY.caller.name, "login_refused")


async def test_the_answer_of_another_browser_logs_nobody_in(site: Site):
    """A login of the attacker, whose last step the victim is sent to."""
    attacker, victim = site.browser(), site.browser()
    begun = await attacker.get("/login/oidc")
    answer = await asyncio.to_thread(log_in_at, begun.headers["location"], "bob")

    assert (await victim.get(f"{CALLBACK}?{urlencode(answer)}")).status_code == 401
    await victim.get("/login/oidc")
    assert (await victim.get(f"{CALLBACK}?{urlencode(answer)}")).status_code == 401
    assert await site.playhead.services.access.sessions() == []


async def test_a_parameter_or_a_cookie_that_is_there_twice_is_refused(site: Site):
    browser = site.browser()
    begun = await browser.get("/login/oidc")
    answer = await asyncio.to_thread(log_in_at, begun.headers["location"], "bob")
    twice = await browser.get(f"{CALLBACK}?{urlencode(answer)}&state={answer['state']}")
    assert twice.status_code == 401

    begun = await browser.get("/login/oidc")
    answer = await asyncio.to_thread(log_in_at, begun.headers["location"], "bob")
    token = browser.cookies["playhead_session-login"]
    two = {"Cookie": f"playhead_session-login={token}; playhead_session-login=x"}
    refused = await site.browser().get(f"{CALLBACK}?{urlencode(answer)}", headers=two)
    assert refused.status_code == 401


@pytest.mark.parametrize("site_of_the_link", ["cross-site", "same-site"])
async def test_a_link_of_another_site_begins_no_login(site: Site, site_of_the_link: str):
    headers = {"Sec-Fetch-Site": site_of_the_link}
    shown = await site.browser().get("/login/oidc", params={"next": "/find"}, headers=headers)

    assert (shown.status_code, shown.headers["location"]) == (303, "/login?next=%2Ffind")
    assert "set-cookie" not in shown.headers


async def test_a_login_leads_only_to_pages_of_this_server(site: Site):
    back = await site.back(site.browser(), "bob", "//evil.example/")

    assert back.headers["location"] == "/"


async def test_logins_that_begin_at_once_are_limited(site: Site):
    browser = site.browser()

    answers = [await browser.get("/login/oidc") for _ in range(200)]

    assert {one.status_code for one in answers} == {303, 429}
    assert all("Log in with the key" in one.text for one in answers if one.status_code == 429)
    assert (await refused(site)).error_code == "too_many_attempts"


async def test_a_server_without_sessions_or_without_a_provider_has_no_login(site: Site, playhead: Playhead):
    assert (await Site(playhead, None).browser().get("/login/oidc")).status_code == 404
    playhead.rt.services = replace(playhead.services, login=LoginService(playhead.catalog, None, ()))
    assert (await Site(playhead, LOOPBACK_COOKIE).browser().get("/login/oidc")).status_code == 404


async def test_no_part_of_the_login_is_in_the_url_of_the_provider_but_its_hash(site: Site):
    browser = site.browser()
    begun = await browser.get("/login/oidc")

    query = urlsplit(begun.headers["location"]).query
    assert browser.cookies["playhead_session-login"] not in query
    assert "code_challenge_method=S256" in query
    assert "code_verifier" not in query
