"""Login, logout, and what a browser without a session gets."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx
import pytest

from playhead.cookies import HTTPS_COOKIE, LOOPBACK_COOKIE, SessionCookie, session_cookie
from playhead.credentials import key_id, new_key, new_token
from playhead.errors import catalog_unavailable
from playhead.model.access import SCOPES, KeyRequest, Scope
from playhead.ports.catalog.access import AuditFilter
from tests.api.server import new_app
from tests.ui.site import Site, joined

OWN = {"Sec-Fetch-Site": "same-origin"}
HTMX = {"HX-Request": "true"}


def browser(site: Site, origin: str = "http://127.0.0.1", cookie: SessionCookie | None = LOOPBACK_COOKIE):
    app = site.app
    if cookie is not LOOPBACK_COOKIE:
        pages = site.app.state.pages
        app = new_app(site.services, pages=pages.app, signed_out=pages.signed_out, cookie=cookie)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=origin)


@pytest.fixture
async def http(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(site) as opened:
        yield opened


@dataclass
class Key:
    """A key with these scopes. The first one lets the server require keys."""

    text: str
    id: str


async def key(site: Site, name: str = "ada", *scopes: Scope, configs: list[str] | None = None) -> Key:
    made = await site.services.access.create(KeyRequest(name, list(scopes or SCOPES), configs))
    await site.services.identity.beat()
    return Key(made.key, made.record.id)


async def log_in(http: httpx.AsyncClient, text: str, to: str = "/", **headers: str) -> httpx.Response:
    return await http.post("/login", data={"key": text, "next": to}, headers=OWN | headers)


def flags(answer: httpx.Response) -> tuple[str, str, set[str]]:
    """Return name, value and flags of the cookie that an answer sets."""
    [sent] = answer.headers.get_list("set-cookie")
    pair, *rest = (part.strip() for part in sent.split(";"))
    name, _, value = pair.partition("=")
    return name, value, set(rest)


# -- login -----------------------------------------------------------------------------------------


async def test_a_login_sets_a_cookie_that_no_script_reads_and_shows_who_is_logged_in(site: Site, http):
    made = await key(site)

    answer = await log_in(http, made.text, "/executions?status=failed")

    assert (answer.status_code, answer.headers["location"]) == (303, "/executions?status=failed")
    name, value, rest = flags(answer)
    assert (name, len(value)) == ("playhead_session", 43)
    assert rest == {"Path=/", "HttpOnly", "SameSite=Lax"}
    page = joined((await http.get("/")).text)
    assert '<form method="post" action="/logout"><button class="b">Log out</button>' in page
    [session] = await site.services.access.sessions()
    assert (session.name, session.address) == ("ada", "127.0.0.1")


async def test_behind_https_no_other_site_can_set_the_cookie_and_it_is_never_sent_over_http(site: Site):
    made = await key(site)
    async with browser(site, "https://playhead", HTTPS_COOKIE) as http:
        name, value, rest = flags(await log_in(http, made.text))
        assert (name, rest) == ("__Host-playhead", {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"})
        assert (await http.get("/executions")).status_code == 200
        planted = {"Cookie": f"playhead_session={new_token()}; {name}={value}"}
        assert (await http.get("/executions", headers=planted)).status_code == 200
        assert (await http.get("/", headers={"Cookie": f"playhead_session={value}"})).status_code == 303


@pytest.mark.parametrize(
    ("url", "is_loopback", "expected"),
    [
        (None, True, LOOPBACK_COOKIE),
        (None, False, None),
        ("https://playhead.example", False, HTTPS_COOKIE),
        ("https://playhead.example", True, HTTPS_COOKIE),
        ("http://localhost:8000", True, LOOPBACK_COOKIE),
    ],
)
def test_the_cookie_depends_on_the_settings_alone(url, is_loopback, expected):
    assert session_cookie(url, is_loopback=is_loopback) is expected


@pytest.mark.parametrize(
    ("origin", "cookie"), [("http://playhead", None), ("http://playhead", LOOPBACK_COOKIE)]
)
async def test_there_is_no_login_over_http_on_another_address(site: Site, origin: str, cookie):
    made = await key(site)
    async with browser(site, origin, cookie) as http:
        page = await http.get("/login")
        assert (page.status_code, "PLAYHEAD_PUBLIC_URL" in page.text, "<form" in page.text) == (
            403,
            True,
            False,
        )
        refused = await log_in(http, made.text)
        assert (refused.status_code, "login_needs_https" in refused.text) == (403, True)
        assert not await site.services.access.sessions()


async def test_a_login_ends_the_session_that_the_browser_had(site: Site, http):
    made = await key(site)
    first = flags(await log_in(http, made.text))[1]
    second = flags(await log_in(http, made.text))[1]

    assert first != second
    assert len(await site.services.access.sessions()) == 1
    old = await http.get("/executions", headers={"Cookie": f"playhead_session={first}"})
    assert old.status_code == 303
    assert (await http.get("/executions")).status_code == 200


async def test_a_cookie_that_the_server_has_not_created_never_counts(site: Site, http):
    made, planted = await key(site), new_token()
    http.cookies.set("playhead_session", planted)
    assert (await http.get("/executions")).status_code == 303

    value = flags(await log_in(http, made.text))[1]

    assert value != planted
    assert (await http.get("/", headers={"Cookie": f"playhead_session={planted}"})).status_code == 303


async def test_two_session_cookies_are_none(site: Site, http):
    value = flags(await log_in(http, (await key(site)).text))[1]
    for second in (value, new_token()):
        two = {"Cookie": f"playhead_session={value}; playhead_session={second}"}
        assert (await http.get("/executions", headers=two)).status_code == 303


async def test_a_wrong_key_shows_the_form_again_without_the_key(site: Site, http, caplog):
    await key(site)
    wrong = new_key().text
    answer = await log_in(http, wrong, "/queues")
    assert answer.status_code == 401
    assert "key_invalid" in answer.text
    assert 'name="next" value="/queues"' in answer.text
    assert "set-cookie" not in answer.headers
    assert wrong not in answer.text + caplog.text
    await site.services.audit.flush(last=True)
    [entry] = await site.catalog.audit(AuditFilter(outcome="refused"))
    assert (entry.object, entry.error_code, entry.actor) == ("POST /login", "key_invalid", key_id(wrong))
    assert (await http.get(f"/login?key={wrong}&next=/x")).text.count(wrong) == 0


@pytest.mark.parametrize("text", ["", "x", "phk_", "phk_" + "ä" * 47])
async def test_what_is_no_key_is_refused(site: Site, http, text: str):
    await key(site)
    assert (await log_in(http, text)).status_code == 401


async def test_an_address_may_try_ten_wrong_keys_and_a_valid_key_is_not_affected(site: Site, http):
    made = await key(site)
    tried = [(await log_in(http, new_key().text)).status_code for _ in range(12)]
    assert tried[:10] == [401] * 10
    assert tried[11] == 429
    assert (await log_in(http, made.text)).status_code in (303, 429)


@pytest.mark.parametrize(
    "to",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/a\nb",
        "/a\r\nSet-Cookie: x=1",
        "/\t/evil.example",
        " /executions",
        "evil.example",
        "/login?next=/login",
        "/logout",
    ],
)
async def test_after_a_login_only_a_path_of_this_server_is_shown(site: Site, http, to: str):
    made = await key(site)
    assert (await log_in(http, made.text, to)).headers["location"] == "/"
    assert 'name="next" value="/"' in (await http.get("/login", params={"next": to})).text


async def test_the_login_has_no_script_and_a_field_for_password_managers(site: Site, http):
    await key(site)
    page = await http.get("/login")
    assert "<script" not in page.text
    assert 'type="password"' in page.text
    assert 'autocomplete="current-password"' in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


async def test_while_no_key_is_needed_there_is_no_login_and_an_old_cookie_is_removed(site: Site, http):
    assert (await http.get("/")).status_code == 200
    assert "Log out" not in (await http.get("/")).text
    http.cookies.set("playhead_session", new_token())
    ended = await http.get("/executions")
    assert ended.headers["location"] == "/login?next=%2Fexecutions"
    back = await http.get(ended.headers["location"])
    assert (back.status_code, back.headers["location"]) == (303, "/executions")
    assert "Max-Age=0" in back.headers["set-cookie"]


# -- logout ----------------------------------------------------------------------------------------


async def test_a_logout_ends_the_session_and_leaves_nothing_in_the_browser(site: Site, http):
    value = flags(await log_in(http, (await key(site)).text))[1]
    assert (await http.get("/executions")).status_code == 200

    answer = await http.post("/logout", headers=OWN)

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert answer.headers["clear-site-data"] == '"cache"'
    assert flags(answer)[:2] == ("playhead_session", "")
    assert not await site.services.access.sessions()
    kept = await http.get("/executions", headers={"Cookie": f"playhead_session={value}"})
    assert kept.status_code == 303
    assert (await http.post("/logout", headers=OWN)).status_code == 303, "idempotent"


# -- without a session -----------------------------------------------------------------------------


async def test_without_a_session_a_page_leads_to_the_login_and_back(site: Site, http):
    await key(site)
    answer = await http.get("/find?q=a%20b&kind=stage")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/login?next=%2Ffind%3Fq%3Da%2520b%26kind%3Dstage",
    )
    assert (await http.get("/")).headers["location"] == "/login"
    assert (await http.head("/executions")).status_code == 303
    assert (await http.get("/nowhere")).status_code == 303
    docs = await http.get("/docs")
    assert docs.headers["location"] == "/login?next=%2Fdocs"


@pytest.mark.parametrize("path", ["/executions.json", "/index.live", "/api/v1/executions", "/metrics"])
async def test_without_a_session_what_programs_read_is_401(site: Site, http, path: str):
    await key(site)
    answer = await http.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error_code"] == "key_missing"


async def test_without_a_session_a_part_of_a_page_lets_htmx_load_the_login(site: Site, http):
    await key(site)
    headers = HTMX | {"HX-Current-URL": "http://127.0.0.1/replay?from_stage=a"}
    answer = await http.get("/replay?count=1", headers=headers)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (
        401,
        "/login?next=%2Freplay%3Ffrom_stage%3Da",
    )
    foreign = await http.get("/", headers=HTMX | {"HX-Current-URL": "http://evil.example//evil"})
    assert foreign.headers["hx-redirect"] == "/login"


async def test_without_a_session_a_form_leads_to_the_login_and_back_to_its_page(site: Site, http):
    await key(site)
    sent = {"Origin": "http://127.0.0.1", "Referer": "http://127.0.0.1/dead-letters?group=a"}
    answer = await http.post("/dead-letters/resend", headers=sent)
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/login?next=%2Fdead-letters%3Fgroup%3Da",
    )


async def test_a_missing_scope_is_a_page_that_names_it(site: Site, http):
    await log_in(http, (await key(site, "ci", "read")).text)
    page = await http.get("/run")
    assert page.status_code == 403
    assert "this needs the scope run; ci has metrics, read" in page.text
    await log_in(http, (await key(site, "prometheus", "metrics")).text)
    page = await http.get("/executions")
    assert page.status_code == 403
    assert 'href="/executions"' not in page.text, "the navigation has no page that is refused"


async def test_an_unavailable_catalog_before_the_page_is_a_page(site: Site, http):
    await key(site)
    site.services.identity._epoch = -1
    site.services.identity._fresh_until = 0
    site.catalog_outage.error = catalog_unavailable("the catalog does not answer")
    page = await http.get("/executions")
    assert page.status_code == 503
    assert page.headers["content-type"].startswith("text/html")
    assert "the catalog does not answer" in page.text
    assert (await http.get("/executions.json")).json()["error_code"] == "catalog_unavailable"


async def test_a_curl_command_names_the_variable_with_the_key_and_never_the_key(site: Site, http):
    assert "Authorization" not in (await http.get("/executions")).text
    made = await key(site)
    await log_in(http, made.text)
    page = html.unescape((await http.get("/executions")).text)
    assert 'curl -s -H "Authorization: Bearer $PLAYHEAD_KEY" \'http://127.0.0.1/api/v1/' in page
    assert made.text not in page


# -- requests of other pages -----------------------------------------------------------------------

CROSS: list[Mapping[str, str]] = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "null"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://evil.127.0.0.1"},
    {"Origin": "https://127.0.0.1"},
    {"Origin": "http://127.0.0.1:8001"},
]


@pytest.mark.parametrize("headers", CROSS)
@pytest.mark.parametrize("path", ["/login", "/logout"])
async def test_no_other_page_logs_anyone_in_or_out(site: Site, http, path: str, headers: Mapping[str, str]):
    made = await key(site)
    await log_in(http, made.text)
    answer = await http.post(path, data={"key": made.text}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert len(await site.services.access.sessions()) == 1


async def test_an_old_browser_that_sends_its_origin_alone_can_log_in(site: Site, http):
    made = await key(site)
    answer = await http.post("/login", data={"key": made.text}, headers={"Origin": "http://127.0.0.1"})
    assert answer.status_code == 303
