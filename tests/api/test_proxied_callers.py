"""Users of an authenticating proxy, and servers on which people log in at a provider or a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from playhead.api.errors import STATUS
from playhead.api.proxied import TrustedProxy
from playhead.cookies import LOOPBACK_COOKIE
from playhead.credentials import hash_of, new_key
from playhead.model.access import ROLES, KeyRequest, whole
from playhead.model.rights import GroupRights
from playhead.ports.catalog.access import AuditFilter, SessionRecord
from playhead.web.app import create_pages
from tests.api.server import new_app
from tests.asgi import client

if TYPE_CHECKING:
    from tests.api.server import Playhead

SECRET = "s" * 32
PROXY = TrustedProxy(
    SECRET,
    "x-forwarded-user",
    "x-forwarded-groups",
    (
        GroupRights("sre", whole(ROLES["oncall"]), None),
        GroupRights("docs", whole(ROLES["developer"]), frozenset({"docs"})),
        GroupRights("root", whole(ROLES["admin"]), None),
    ),
)
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


def through(groups: str = "sre", user: str = "ada", **more: str) -> dict[str, str]:
    """Return the headers of a request that comes through the proxy."""
    named = {"X-Forwarded-User": user, "X-Forwarded-Groups": groups}
    return {"X-Playhead-Proxy-Secret": SECRET, **named, **more}


@pytest.fixture
async def http(playhead: Playhead) -> httpx.AsyncClient:
    """A server behind the proxy, in a catalog without keys."""
    playhead.services.identity._closed = True
    app = new_app(
        playhead.services,
        proxy=PROXY,
        pages=create_pages(playhead.services, version="1.2.3", status=STATUS).app,
    )
    return client(app)


async def me(http: httpx.AsyncClient, headers: Mapping[str, str]) -> dict[str, Any]:
    found = await http.get("/api/v1/me", headers=headers)
    assert found.status_code == 200, found.text
    return dict(found.json())


async def refusal(sending: Any) -> tuple[int, str]:
    found = await sending
    return found.status_code, found.json()["error_code"]


async def test_a_user_of_the_proxy_is_recognised_on_pages_and_in_the_api(http: httpx.AsyncClient):
    found = await me(http, through())

    assert (found["kind"], found["id"], found["name"]) == ("proxy", "ada", "ada")
    assert found["scopes"] == ["metrics", "operate", "read", "replay"]
    assert found["access"] == "required"
    page = await http.get("/executions", headers=through())
    assert page.status_code == 200
    assert "Cookie" in page.headers["vary"]
    assert page.headers["cache-control"] == "no-store"


async def test_a_request_around_the_proxy_is_refused_although_no_key_exists(http: httpx.AsyncClient):
    assert await refusal(http.get("/api/v1/executions")) == (401, "key_missing")
    forged = {"X-Forwarded-User": "root", "X-Forwarded-Groups": "root"}
    assert await refusal(http.get("/api/v1/executions", headers=forged)) == (401, "key_missing")
    assert (await http.get("/healthz")).status_code == 200


async def test_the_secret_without_a_user_is_refused(http: httpx.AsyncClient):
    headers = {"X-Playhead-Proxy-Secret": SECRET}

    assert await refusal(http.get("/api/v1/executions", headers=headers)) == (401, "key_missing")


async def test_a_smuggled_header_is_refused(http: httpx.AsyncClient):
    given = [*through().items(), ("X_Forwarded_User", "root")]

    assert await refusal(http.get("/api/v1/me", headers=given)) == (400, "proxy_header_invalid")


async def test_a_user_without_a_known_group_sees_states_and_nothing_else(http: httpx.AsyncClient):
    assert (await me(http, through("staff")))["scopes"] == []
    assert (await http.get("/api/v1/executions", headers=through("staff"))).status_code == 200
    assert await refusal(http.get("/api/v1/configs", headers=through("staff"))) == (403, "scope_missing")


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://playhead"}, True),
    ],
)
async def test_only_pages_of_this_server_change_something_through_the_proxy(
    http: httpx.AsyncClient, headers: dict[str, str], is_allowed: bool
):
    found = await http.post("/api/v1/executions/latest/pin", headers=through() | headers)

    assert (found.json()["error_code"] != "cross_origin") == is_allowed, found.text


async def test_a_group_may_be_limited_to_a_config(http: httpx.AsyncClient):
    assert (await me(http, through("docs, staff")))["configs"] == ["docs"]


async def test_a_change_is_recorded_with_the_user_of_the_proxy(http: httpx.AsyncClient, playhead: Playhead):
    made = await http.post(
        "/api/v1/keys",
        headers=through("root", "ada@example.com", **OWN_PAGE),
        json={"name": "ci", "scopes": ["run"]},
    )
    assert made.status_code == 201, made.text

    (entry,) = await playhead.catalog.audit(AuditFilter(action="key.create"))
    assert (entry.actor_kind, entry.actor, entry.via) == ("proxy", "ada@example.com", "http")


async def test_a_key_counts_before_the_user_of_the_proxy(http: httpx.AsyncClient, playhead: Playhead):
    key = (await playhead.services.access.create(KeyRequest("ci", ["run"]))).key

    assert (await me(http, through("root") | {"X-Playhead-Key": key}))["name"] == "ci"
    wrong = through("root") | {"X-Playhead-Key": new_key().text}
    assert await refusal(http.get("/api/v1/me", headers=wrong)) == (401, "key_invalid")


async def test_the_user_of_the_proxy_counts_before_a_session(http: httpx.AsyncClient, playhead: Playhead):
    record = SessionRecord(hash_of("t"), "s", None, "iss#bob", "bob", ["read"], None, 60, None, None)
    await playhead.catalog.create_session(record, replaces=None)

    assert (await me(http, {"Cookie": f"{LOOPBACK_COOKIE.name}=t"}))["name"] == "bob"
    assert (await me(http, through() | {"Cookie": f"{LOOPBACK_COOKIE.name}=t"}))["name"] == "ada"
    assert (await me(http, through() | {"Cookie": f"{LOOPBACK_COOKIE.name}=ended"}))["name"] == "ada"


async def test_a_read_only_server_lets_users_of_the_proxy_only_read(
    http: httpx.AsyncClient, playhead: Playhead
):
    playhead.services.identity.read_only = True

    assert (await me(http, through("root")))["scopes"] == ["metrics", "read"]
