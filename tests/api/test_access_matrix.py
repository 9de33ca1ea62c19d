"""Each operation and page × each kind of caller."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from playhead import __version__
from playhead.api.app import ROUTERS
from playhead.api.errors import STATUS
from playhead.cookies import LOOPBACK_COOKIE
from playhead.credentials import hash_of, new_key
from playhead.model.access import SCOPES, Need, Scope, whole
from playhead.ports.catalog.access import KeyRecord, SessionRecord
from playhead.web.app import ACTIONS, PAGES, RAW, create_pages
from playhead.web.site import Site
from tests.api.access_table import OPERATIONS, PAGES as PAGE_TABLE, rows
from tests.api.server import new_app
from tests.asgi import client

if TYPE_CHECKING:
    from tests.api.server import Playhead

NOWHERE: Final = "00000000-0000-7000-8000-000000000000"
NAMES: Final = {
    "version": "1",
    "n": "1",
    "cause": "0" * 12,
    "path": "a.md",
    "name": "words",
    "queue": "words.upper",
}
ODD_PATHS: Final = (
    "//api/v1/executions",
    "/API/v1/executions",
    "/api/v1/executions/",
    "/api//v1/executions",
    "/api/v1/%2e/keys",
    "/api/v1/executions;x",
    "/healthz/",
    "/healthz/x",
    "/readyz.json",
    "/login/x",
    "/assetsx/app.css",
    "/x/assets/a.css",
    "/docs/",
    "/openapi.json/",
    "/metrics/",
    "/api/v1/../healthz",
    "/%68ealthz/x",
    "/api/v1/me?x=/healthz",
    "/.json",
    "/x.live",
)
SITES: Final = ("cross-site", "same-site", "none", None)


class Target(NamedTuple):
    """A request that one row of the table allows or refuses."""

    method: str
    path: str
    scope: Need
    is_page: bool = False


class Callers(NamedTuple):
    """Keys and a session of each kind."""

    of_scope: Mapping[Scope, str]
    all: str
    nothing: str
    expired: str
    revoked: str
    session: str


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: NAMES.get(found[1], NOWHERE), path)


def targets() -> Iterator[Target]:
    live = {page.path for page in PAGES if page.live}
    for row, scope in rows(OPERATIONS).items():
        method, path = row.split()
        yield Target(method, filled(path), scope)
    for row, scope in rows(PAGE_TABLE).items():
        method, path = row.split()
        if scope == "public":
            continue  # tests/ui/test_login_page.py
        yield Target(method, filled(path), scope, True)
        if method == "GET" and path in {page.path for page in PAGES}:
            twin = filled(path if path != "/" else "/index")
            yield Target("GET", f"{twin}.json", scope, True)
            if path in live:
                yield Target("GET", f"{twin}.live", scope, True)


async def made(playhead: Playhead, name: str, scopes: list[Scope], seconds: float | None = None) -> str:
    key = new_key()
    record = KeyRecord(key.id, name, key.hash, scopes, None, seconds)
    await playhead.catalog.create_key(record, release=__version__)
    return key.text


@pytest.fixture
async def callers(playhead: Playhead) -> Callers:
    of_scope = {scope: await made(playhead, scope, [scope]) for scope in SCOPES}
    everything = await made(playhead, "all", list(SCOPES))
    expired = await made(playhead, "expired", list(SCOPES), seconds=0)
    revoked = await made(playhead, "revoked", list(SCOPES))
    await playhead.catalog.revoke_key(revoked.split("_")[1])
    session = SessionRecord(
        hash_of("cookie"), "s", everything.split("_")[1], "s", "Ada", [], None, 3600.0, None, None
    )
    await playhead.catalog.create_session(session, replaces=None)
    await playhead.services.identity.beat()
    nothing = await made(playhead, "nothing", [])
    return Callers(of_scope, everything, nothing, expired, revoked, "cookie")


@pytest.fixture
async def http(playhead: Playhead) -> AsyncIterator[httpx.AsyncClient]:
    pages = create_pages(playhead.services, version="1", status=STATUS)
    async with client(new_app(playhead.services, pages=pages.app)) as opened:
        yield opened


async def ask(http: httpx.AsyncClient, target: Target, headers: Mapping[str, str]) -> int:
    """Return the status of a request. A change has a body that no operation accepts."""
    sent: dict[str, Any] = {"headers": dict(headers)}
    if target.method != "GET":
        sent |= {"content": b"{", "headers": {**headers, "Content-Type": "application/json"}}
    return (await http.request(target.method, target.path, **sent)).status_code


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_the_table_has_every_operation_and_page():
    operations = {
        f"{method} {route.path}": route.openapi_extra["x-scope"]  # type: ignore[index]
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert operations == rows(OPERATIONS)
    forms = {f"POST {action.path}": action.scope for action in ACTIONS}
    pages = {f"GET {page.path}": page.scope for page in PAGES}
    pages |= {f"{raw.method} {raw.path}": raw.scope for raw in RAW}
    assert pages | forms == rows(PAGE_TABLE)


def test_only_scopes_of_reading_allow_a_get():
    reads = {scope for row, scope in rows(OPERATIONS).items() if row.startswith("GET")}
    assert reads == {"public", "any", "read", "metrics", "admin"}


async def test_without_a_valid_caller_everything_else_is_401(http, callers: Callers):
    wrong: dict[str, dict[str, str]] = {
        "no key": {},
        "unknown key": bearer(new_key().text),
        "malformed": bearer("phk_x"),
        "another kind": {"Authorization": "Digest x"},
        "basic": {"Authorization": "Basic YTpi"},
        "expired": bearer(callers.expired),
        "revoked": bearer(callers.revoked),
        "two keys": {**bearer(callers.all), "X-Playhead-Key": callers.all},
        "unknown session": {"Cookie": f"{LOOPBACK_COOKIE.name}=x"},
        "two sessions": {"Cookie": f"{LOOPBACK_COOKIE.name}=cookie; {LOOPBACK_COOKIE.name}=cookie"},
    }
    seen: Counter[str] = Counter()
    for target in targets():
        for name, headers in wrong.items():
            got = await ask(http, target, headers)
            seen[name] += 1
            refused = (401, 429)  # too many wrong keys
            assert (got not in refused) == (target.scope == "public"), (name, target, got)
    assert min(seen.values()) == max(seen.values()) > 150


async def test_a_scope_allows_what_the_table_says_and_nothing_else(http, callers: Callers):
    shown: set[str] = set()
    for target in targets():
        for name, key in (*callers.of_scope.items(), (None, callers.nothing)):
            has = whole([name]) if name else frozenset[Scope]()
            is_allowed = target.scope in ("public", "any") or target.scope in has
            if is_allowed and target.is_page and target.path in shown:
                continue  # a page is drawn once: it takes ten times as long as a refusal
            shown.add(target.path if is_allowed else "")
            got = await ask(http, target, bearer(key))
            assert (got not in (401, 403)) if is_allowed else got == 403, (name, target, got)


async def test_a_session_changes_something_only_from_a_page_of_this_server(http, callers: Callers):
    cookie = {"Cookie": f"{LOOPBACK_COOKIE.name}={callers.session}"}
    for target in targets():
        if target.method == "GET":
            continue
        for site in SITES:
            headers = cookie | ({"Sec-Fetch-Site": site} if site else {})
            assert await ask(http, target, headers) == 403, (site, target)
        for foreign in ("http://evil.example", "null", "https://other.playhead"):
            assert await ask(http, target, cookie | {"Origin": foreign}) == 403, (foreign, target)
        for own in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://playhead"}):
            assert await ask(http, target, cookie | own) not in (401, 403), (own, target)


async def test_odd_paths_are_never_public(http, callers: Callers):
    for path in ODD_PATHS:
        assert (await http.get(path)).status_code == 401, path


async def test_head_needs_the_scope_of_get(http, callers: Callers):
    for target in targets():
        if target.method == "GET" and not target.path.endswith((".live", "/events")):
            refused = await http.head(target.path, headers=bearer(callers.nothing))
            is_open = target.scope in ("public", "any")
            assert (refused.status_code == 403) != is_open, (target, refused.status_code)
            assert refused.content == b""


async def test_a_request_without_a_caller_is_answered_before_its_body_is_read(
    playhead: Playhead, callers: Callers
):
    assert await _status_without_a_body(new_app(playhead.services)) == 401


async def _status_without_a_body(app: FastAPI) -> int:
    headers = [(b"host", b"playhead"), (b"content-type", b"application/json"), (b"content-length", b"9")]
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.set_result(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/replay",
        "raw_path": b"/api/v1/replay",
        "query_string": b"",
        "headers": headers,
        "scheme": "http",
        "server": ("playhead", 80),
        "client": ("10.0.0.1", 1),
        "http_version": "1.1",
        "root_path": "",
        "asgi": {"version": "3.0"},
    }
    await app(scope, receive, send)
    return await found


async def test_responses_to_a_caller_are_kept_by_no_cache(http, callers: Callers):
    for path in ("/api/v1/executions", "/", "/api/v1/keys", "/nowhere"):
        answer = await http.get(path, headers=bearer(callers.all))
        assert answer.headers["cache-control"] == "no-store", path
        assert "Authorization" in answer.headers["vary"], path


def test_no_route_of_the_pages_is_unguarded():
    site = Site(None, PAGES, ACTIONS, RAW, "1", {}, None, None)  # type: ignore[arg-type]
    routes = [
        route for route in site.routes() if isinstance(route, Route) and not route.path.startswith("/assets/")
    ]
    assert {route.endpoint.__name__ for route in routes} == {"guarded"}
