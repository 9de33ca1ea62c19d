"""The proxies of docs/howto/oidc.md, which name the user: no client can name another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import ClassVar, Final

import httpx
import pytest

from tests.acceptance.processes import Deployment, open_deployment
from tests.deploy.proxies import NAME, USER, Caddy, Nginx, Proxy
from tests.servers import Missing, absent

pytestmark = pytest.mark.slow

SECRET: Final = "0123456789abcdef" * 2
SETTINGS: Final = {
    "ALLOWED_HOSTS": NAME,
    "PROXY_SECRET": SECRET,
    "PROXY_USER_HEADER": "X-Forwarded-User",
    "OIDC_MAP": "alice=oncall, root=admin",
}
PIN: Final = "/api/v1/executions/latest/pin"


class NamingNginx(Nginx):
    page: ClassVar[str] = "oidc.md"
    put_in: ClassVar[Mapping[str, str]] = {"THE-SECRET": SECRET}


class NamingCaddy(Caddy):
    page: ClassVar[str] = "oidc.md"
    put_in: ClassVar[Mapping[str, str]] = {"THE-SECRET": SECRET}


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with open_deployment() as deployment:
        deployment.serve(settings=SETTINGS)
        yield deployment


@pytest.fixture(scope="module", params=[NamingNginx, NamingCaddy], ids=lambda kind: kind.name)
def proxy(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[Proxy]:
    with ExitStack() as stack:
        try:
            proxy = request.param(deployment.url)
            stack.callback(proxy.close)
            proxy.start()
        except Missing as exc:
            absent(exc)
        yield proxy


@pytest.fixture
def http(proxy: Proxy) -> Iterator[httpx.Client]:
    with proxy.client() as client:
        yield client


def test_the_user_of_the_proxy_is_that_of_the_server(http: httpx.Client):
    me = http.get("/api/v1/me").json()

    assert (me["kind"], me["name"]) == ("proxy", USER[0])
    assert me["scopes"] == ["metrics", "operate", "read", "replay"]


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-User", "root")],
        [("x-forwarded-user", "root")],
        [("X-Forwarded-User", "root"), ("X-Forwarded-User", "root")],
        [("X_Forwarded_User", "root")],
        [("X-Forwarded.User", "root")],
        [("X-Forwarded-User", "root"), ("Connection", "X-Forwarded-User")],
        [("Connection", "close, X-Playhead-Proxy-Secret")],
        [("X-Playhead-Proxy-Secret", "guess"), ("X-Forwarded-User", "root")],
        [("X-Forwarded-Groups", "root")],
    ],
    ids=lambda headers: "; ".join(": ".join(one) for one in headers),
)
def test_a_client_cannot_name_another_user(http: httpx.Client, headers: list[tuple[str, str]]):
    response = http.get("/api/v1/me", headers=headers)

    # The proxy replaces or drops what the client sends, or the server refuses it.
    assert response.json().get("name", "refused") in (USER[0], "refused")
    assert response.status_code in (200, 400)


def test_pages_of_the_server_change_something_and_programs_and_other_pages_do_not(http: httpx.Client):
    codes = [
        http.post(PIN, headers=headers).json()["error_code"]
        for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": f"https://{NAME}"})
    ]

    assert codes == ["cross_origin", "cross_origin", "execution_not_found"]


def test_the_header_without_the_proxy_has_no_effect(deployment: Deployment):
    headers = {"X-Forwarded-User": "root", "X-Playhead-Proxy-Secret": "guess"}

    assert httpx.get(f"{deployment.url}/api/v1/me", headers=headers).status_code == 401
