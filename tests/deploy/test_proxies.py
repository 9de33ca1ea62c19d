"""The reverse proxies of docs/howto/security.md, with the documented configs, in front of a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

from playhead.event_stream import HEARTBEAT_SECONDS
from tests.acceptance.processes import Deployment, open_deployment
from tests.deploy.proxies import NAME, USER, Caddy, Nginx, Proxy
from tests.servers import Missing, absent

pytestmark = pytest.mark.slow

MIB: Final = 1 << 20
CONFIG: Final = """
version: "1.0"
name: mine
entry: only
routes:
  only:
    adapters: [{type: passthrough}]
    outbound: {stage: passed}
"""


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """A server without a worker: a run is stored but does not end."""
    with open_deployment() as deployment:
        deployment.serve(settings={"ALLOWED_HOSTS": NAME, "MAX_UPLOAD_BYTES": str(4 * MIB)})
        deployment.apply(CONFIG)
        yield deployment


@pytest.fixture(scope="module")
def before(deployment: Deployment) -> Iterator[Callable[[type[Proxy]], Proxy]]:
    """Return the proxy of a kind; the first call starts it."""
    started: dict[type[Proxy], Proxy] = {}
    with ExitStack() as stack:

        def give(kind: type[Proxy]) -> Proxy:
            if kind not in started:
                proxy = kind(deployment.url)
                stack.callback(proxy.close)
                proxy.start()
                started[kind] = proxy
            return started[kind]

        yield give


@pytest.fixture(params=[Nginx, Caddy], ids=lambda kind: kind.name)
def proxy(request: pytest.FixtureRequest, before: Callable[[type[Proxy]], Proxy]) -> Proxy:
    try:
        return before(request.param)
    except Missing as exc:
        absent(exc)


def run(http: httpx.Client, path: str, data: bytes) -> httpx.Response:
    return http.post("/api/v1/configs/mine/run", files=[("files", (path, data))])


def connections(deployment: Deployment) -> int:
    """Return the number of open connections of the server."""
    port = urlsplit(deployment.url).port
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def test_requests_without_credentials_are_refused(proxy):
    for user in (None, (USER[0], "guess")):
        with proxy.client(user) as http:
            assert http.get("/metrics").status_code == 401
            assert http.post("/api/v1/configs/mine/deactivate").status_code == 401
    with proxy.client() as http:
        assert http.get("/api/v1/configs/mine").json()["active"]


def test_requests_and_answers_pass_through_unchanged(proxy):
    path, data = "a%2Fb/50% c%25d+ü&=#.bin", os.urandom(3 * MIB)
    with proxy.client() as http:
        started = run(http, path, data)
        assert started.status_code == 202, started.text
        query = {"key": f"{started.json()['execution_id']}/input/{path}"}
        headers = {"X-Correlation-ID": "mine-1"}
        whole = http.get("/api/v1/storage/objects/content", params=query, headers=headers)
        assert (whole.status_code, whole.content == data) == (200, True)
        assert whole.headers["X-Correlation-ID"] == "mine-1"
        assert whole.headers["Content-Disposition"].startswith("attachment")
        head = http.head("/api/v1/storage/objects/content", params=query)
        assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(data)), b"")


def test_pages_of_its_own_origin_may_write_and_others_may_not(proxy):
    with proxy.client() as http:
        ask = partial(http.post, "/api/v1/configs/mine/activate")
        assert ask(headers={"Origin": f"https://{NAME}"}).status_code == 200
        told = ask(headers={"Origin": "https://evil.example"})
        assert (told.status_code, told.json()["error_code"]) == (403, "cross_origin")


def test_a_body_over_the_servers_limit_gets_the_servers_error(proxy):
    with proxy.client() as http:
        told = run(http, "large.bin", bytes(5 * MIB))
        assert (told.status_code, told.json()["error_code"]) == (413, "body_too_large")


def test_events_arrive_at_once_and_a_client_that_leaves_frees_its_connection(proxy, deployment):
    with proxy.client() as http, ExitStack() as stack:
        url = f"/api/v1/executions/{run(http, 'one.txt', b'one').json()['execution_id']}/events"
        had = connections(deployment)
        told = [stack.enter_context(http.stream("GET", url)).iter_lines() for _ in range(3)]
        assert [next(lines) for lines in told] == ["event: execution"] * 3
        assert connections(deployment) >= 3
        stack.close()
        # At once, and not only when the next keep-alive comment cannot be delivered.
        deployment.until(
            lambda: connections(deployment) <= had,
            "the connections to be closed",
            seconds=1.5 * HEARTBEAT_SECONDS,
        )
