"""Which host names and which web pages may send requests. Programs, which send only `Host`, always may."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import FastAPI

from playhead.api.callers import Hosts
from playhead.api.middleware import GUARDS
from tests.api.server import new_app
from tests.asgi import client

if TYPE_CHECKING:
    from tests.api.server import Playhead

X = "0198f6f0-0000-7000-8000-000000000000"
LOOPBACK = Hosts(loopback=True)
ANYWHERE = Hosts(loopback=False)
NAMED = Hosts(loopback=False, named=frozenset({"playhead.example.com", "[fd00::1]", "one.example:8443"}))

Sent = list[tuple[str, str]]


async def _ask(
    playhead: Playhead, hosts: Hosts, sent: Sent, method: str = "GET", path: str = "/healthz"
) -> httpx.Response:
    """Return the answer to a request that has exactly these headers."""
    app = _app(hosts)
    app.state.services = playhead.services
    async with client(app) as http:
        request = http.build_request(method, path)
        request.headers = httpx.Headers([(name.encode(), value.encode()) for name, value in sent])
        return await http.send(request)


@cache
def _app(hosts: Hosts) -> FastAPI:
    return new_app(hosts=hosts)


OWN = [
    *("localhost", "localhost:8080", "LocalHost:1", "127.0.0.1", "127.0.0.1:65535", "127.8.9.10:80"),
    *("[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]:80", "localhost:"),
]
OTHERS = [
    *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8080", "localhosts"),
    *(
        "localhost.",
        "127.0.0.1.",
        "playhead",
        "0.0.0.0",
        "[::]",
        "[::2]",
        "[::1",
        "::1",
        "10.0.0.1",
        "8.8.8.8",
    ),
    *("user@localhost", "localhost@evil.example", "evil.example#localhost", "localhost/evil", "localhost\\x"),
    *(
        "",
        " ",
        ":8080",
        "localhost:80:80",
        "localhost:http",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "127.0.0.01",
    ),
    *("localhost,evil.example", "localhost evil.example", "http://localhost", "%6cocalhost", "lôcalhost"),
]


@pytest.mark.parametrize("host", OWN)
async def test_on_loopback_the_names_of_loopback_are_accepted(playhead: Playhead, host: str):
    for path in ("/healthz", "/api/v1/executions", "/docs", "/openapi.json"):
        assert (await _ask(playhead, LOOPBACK, [("Host", host)], path=path)).status_code == 200


@pytest.mark.parametrize("host", OTHERS)
async def test_on_loopback_any_other_name_is_403_on_every_path(playhead: Playhead, host: str):
    others = ("/readyz", "/metrics", "/docs", "/nowhere") if host == "evil.example" else ()
    for path in ("/healthz", "/api/v1/executions", *others):
        answer = await _ask(playhead, LOOPBACK, [("Host", host)], path=path)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "host_not_allowed")
        assert answer.json()["correlation_id"] == answer.headers["X-Correlation-ID"]
        assert "PLAYHEAD_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("sent", [[], [("Host", "localhost"), ("Host", "localhost")]], ids=["none", "two"])
async def test_a_request_must_have_exactly_one_host(playhead: Playhead, sent: Sent):
    answer = await _ask(playhead, LOOPBACK, sent)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "host_not_allowed")


async def test_the_error_names_the_host_to_allow(playhead: Playhead):
    answer = await _ask(playhead, LOOPBACK, [("Host", "Proxy.Example:8443")])
    assert "PLAYHEAD_ALLOWED_HOSTS=proxy.example. " in answer.json()["detail"]
    answer = await _ask(playhead, LOOPBACK, [("Host", "x" * 5000)])
    assert len(answer.json()["detail"]) < 6000


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("playhead.example.com", 200), ("PLAYHEAD.example.com:9", 200), ("[fd00:0::1]:80", 200)),
        *(("one.example:8443", 200), ("one.example", 403), ("one.example:80", 403)),
        *(("localhost", 403), ("127.0.0.1", 403), ("sub.playhead.example.com", 403), ("10.1.2.3:8080", 403)),
    ],
)
async def test_beyond_loopback_only_the_allowed_hosts_are_accepted(
    playhead: Playhead, host: str, status: int
):
    answer = await _ask(playhead, NAMED, [("Host", host)], path="/api/v1/executions")
    assert answer.status_code == status


def test_a_host_allowed_with_the_default_port_may_omit_it():
    hosts = Hosts(loopback=False, named=frozenset({"one.example:443"}))
    assert hosts.allow("one.example", "/", "https")
    assert hosts.allow("one.example:443", "/", "http")
    assert not hosts.allow("one.example", "/", "http")


async def test_beyond_loopback_any_host_is_accepted_if_none_is_configured(playhead: Playhead):
    for sent in ([("Host", "evil.example")], [("Host", "10.1.2.3:8080")], [("Host", "?")], []):
        assert (await _ask(playhead, ANYWHERE, sent, path="/api/v1/executions")).status_code == 200


async def test_probes_may_use_the_address_of_a_pod_for_any_allowed_hosts(playhead: Playhead):
    for path in ("/healthz", "/readyz"):
        for sent in ([("Host", "10.1.2.3:8080")], [("Host", "[fd00::7]:8080")], [("Host", "127.0.0.1")], []):
            assert (await _ask(playhead, NAMED, sent, path=path)).status_code == 200
        assert (await _ask(playhead, NAMED, [("Host", "evil.example")], path=path)).status_code == 403


async def test_on_loopback_additional_names_may_be_allowed(playhead: Playhead):
    hosts = Hosts(loopback=True, named=frozenset({"proxy.example"}))
    for host, status in (("proxy.example", 200), ("localhost", 200), ("evil.example", 403)):
        assert (await _ask(playhead, hosts, [("Host", host)])).status_code == status


# -- pages of other sites --------------------------------------------------------------------------

WRITES = [
    ("POST", f"/api/v1/executions/{X}/cancel"),
    ("POST", f"/api/v1/dead-letters/{X}/resend"),
    ("POST", "/api/v1/dead-letters/resend"),
    ("POST", "/api/v1/prune"),
    ("POST", f"/api/v1/executions/{X}/pin"),
    ("POST", f"/api/v1/executions/{X}/unpin"),
    ("POST", "/api/v1/configs/words/deactivate"),
    ("POST", "/api/v1/configs/words/activate"),
    ("POST", "/api/v1/configs/words/run"),
    ("POST", "/api/v1/configs"),
    ("POST", "/api/v1/replay"),
    ("POST", "/nowhere"),
    ("PUT", "/api/v1/configs"),
    ("DELETE", "/healthz"),
]
OWN_ORIGINS = ["http://localhost:8080", "HTTP://LOCALHOST:8080"]
OTHER_ORIGINS = [
    *(
        "https://evil.example",
        "http://localhost",
        "http://localhost:3000",
        "https://localhost:8080",
        "null",
        "",
    ),
    *("http://127.0.0.1:8080", "http://localhost:8080.evil.example", "http://evil.example:8080", "file://"),
    *(
        "http://localhost:8080@evil.example",
        "http://localhost:8080/",
        "http://localhost:8080 null",
        "localhost:8080",
    ),
]


async def test_a_page_on_another_port_of_an_allowed_name_changes_nothing(playhead: Playhead):
    # To a browser it is the same site, so the browser sends the session to it.
    headers = [
        ("Host", "localhost:8080"),
        ("Origin", "http://localhost:9000"),
        ("Sec-Fetch-Site", "same-site"),
    ]
    method, path = WRITES[0]
    answer = await _ask(playhead, Hosts(True, frozenset({"localhost"})), headers, method, path)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "cross_origin")


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_no_page_of_another_site_changes_anything(playhead: Playhead, method: str, path: str):
    host = ("Host", "localhost:8080")
    for headers in (
        *([("Origin", origin)] for origin in OTHER_ORIGINS),
        *([("Sec-Fetch-Site", site)] for site in ("cross-site", "same-site", "Cross-Site", "new-word", "")),
        [("Origin", "http://localhost:8080"), ("Origin", "https://evil.example")],
        [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")],
    ):
        answer = await _ask(playhead, LOOPBACK, [host, *headers], method, path)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "cross_origin"), headers
        assert answer.json()["correlation_id"] == answer.headers["X-Correlation-ID"]
    assert (await playhead.get("configs/words"))["active"]


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_programs_and_pages_of_the_server_itself_are_accepted(
    playhead: Playhead, method: str, path: str
):
    host = ("Host", "localhost:8080")
    for headers in (
        [],
        *([("Origin", origin)] for origin in OWN_ORIGINS),
        *([("Sec-Fetch-Site", site)] for site in ("same-origin", "none")),
        [("Origin", "http://localhost:8080"), ("Sec-Fetch-Site", "same-origin")],
    ):
        assert (await _ask(playhead, LOOPBACK, [host, *headers], method, path)).status_code != 403


async def test_an_origin_with_the_default_port_equals_a_host_without_a_port(playhead: Playhead):
    path = "/api/v1/configs/words/deactivate"
    for origin, status in (
        ("http://localhost", 200),
        ("http://localhost:80", 200),
        ("https://localhost", 403),
    ):
        answer = await _ask(playhead, LOOPBACK, [("Host", "localhost"), ("Origin", origin)], "POST", path)
        assert answer.status_code == status


async def test_a_page_under_an_allowed_host_is_same_origin(playhead: Playhead):
    """A proxy that terminates TLS may send http and its own Host."""
    hosts = Hosts(loopback=True, named=frozenset({"playhead.example.com"}))
    path = "/api/v1/configs/words/deactivate"
    for host in ("playhead.example.com", "127.0.0.1:8080"):
        for origin, status in (("https://playhead.example.com", 200), ("https://evil.example", 403)):
            answer = await _ask(playhead, hosts, [("Host", host), ("Origin", origin)], "POST", path)
            assert answer.status_code == status


async def test_reads_from_another_site_are_answered_without_cors_headers(playhead: Playhead):
    sent = [("Host", "localhost"), ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")]
    for path in ("/api/v1/executions", "/nowhere", "/openapi.json"):
        answer = await _ask(playhead, LOOPBACK, sent, path=path)
        assert answer.status_code in (200, 404)
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_preflight_gets_no_cors_headers(playhead: Playhead):
    sent = [
        ("Host", "localhost"),
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "POST"),
    ]
    answer = await _ask(playhead, LOOPBACK, sent, "OPTIONS", "/api/v1/configs")
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "text/plain; application/json"]
)
async def test_bodies_that_a_form_can_send_without_a_preflight_are_refused(playhead: Playhead, kind: str):
    """Old browsers do not send `Sec-Fetch-Site`. Files in a form do start a run, as from a program."""
    for path in (
        "replay",
        "configs",
        "configs/validate",
        "configs/words/run",
        "dead-letters/resend",
        "prune",
    ):
        answer = await playhead.http.post(f"/api/v1/{path}", content=b"{}=", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error_code"]) == (415, "unsupported_media_type")


# -- every answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/healthz"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/nowhere")),
        *(("DELETE", "/healthz"), ("POST", "/api/v1/replay"), ("GET", "/docs/assets/swagger-ui.css")),
    ],
)
async def test_every_answer_has_the_headers_that_restrict_browsers(
    playhead: Playhead, method: str, path: str
):
    answer = await _ask(playhead, LOOPBACK, [("Host", "localhost")], method, path)
    for name, value in GUARDS:
        if path != "/docs" or name != "Content-Security-Policy":
            assert answer.headers.get_list(name) == [value]


@pytest.mark.parametrize("path", ["/docs", "/nowhere"])
async def test_browsers_send_the_origin_of_the_servers_own_forms(playhead: Playhead, path: str):
    """Under `no-referrer` a browser sends `Origin: null` with a form, which is refused (Fetch, 3.2)."""
    answer = await _ask(playhead, LOOPBACK, [("Host", "localhost")], path=path)
    assert answer.headers["Referrer-Policy"] == "same-origin"


async def test_the_docs_page_runs_only_its_own_scripts(playhead: Playhead):
    answer = await _ask(playhead, LOOPBACK, [("Host", "localhost")], path="/docs")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    [script] = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    assert not re.findall(r'(?:src|href)="(?!/docs/assets/|data:)', answer.text)
