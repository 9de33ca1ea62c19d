"""The reverse proxies of docs/howto/security.md, with the documented configs, in front of a server.

The tests fill in ports, paths of files, a password, and for Caddy its own certificate.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx
import pytest

from playhead.event_stream import HEARTBEAT_SECONDS
from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, open_deployment
from tests.deploy.checks import ROOT, program
from tests.servers import Missing, absent
from tests.servers.process import Server

pytestmark = pytest.mark.slow

PAGE: Final = (ROOT / "docs" / "howto" / "security.md").read_text(encoding="utf-8")
NAME: Final = "playhead.example.com"
USER: Final = ("alice", "PASSWORD")
#: The bcrypt hash of that password, with the lowest cost.
BCRYPT: Final = "$2a$04$bGgscU65XGb0l1fL5NYSAOEBbhMN5NQMwDyC8YOOFalCeZ5Bsk2w2"
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


def snippet(language: str, put_in: Mapping[str, str]) -> str:
    """Return the block of a language from the page, with some strings replaced."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for shown, meant in put_in.items():
        assert shown in text, shown
        text = text.replace(shown, meant)
    return str(text)


class ByName(httpx.HTTPTransport):
    """Connects to an address and requests the certificate of another name (SNI)."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = NAME
        return super().handle_request(request)


class Proxy(Server):
    """A running proxy in front of a server."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self.server = server

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def trusted(self) -> Path:
        """The CA certificate that verifies the proxy."""
        raise NotImplementedError

    def client(self, user: tuple[str, str] | None = USER) -> httpx.Client:
        verify = ssl.create_default_context(cafile=str(self.trusted))
        return httpx.Client(
            base_url=self.url,
            headers={"Host": NAME},
            auth=user,
            transport=ByName(verify=verify),
            timeout=DEADLINE_SECONDS,
        )

    def answers(self) -> bool:
        with suppress(httpx.TransportError), self.client() as http:
            return http.get("/healthz").status_code == 200
        return False


class Nginx(Proxy):
    name: ClassVar[str] = "nginx"

    @property
    def trusted(self) -> Path:
        return self.folder / "playhead.pem"

    def prepare(self) -> None:
        self._program, openssl = program("nginx", "nginx-light"), program("openssl", "openssl")
        make = partial(subprocess.run, cwd=self.folder, check=True, capture_output=True, text=True)
        certificate = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2"
        make(
            [
                *(
                    openssl,
                    *certificate.split(),
                    "-subj",
                    f"/CN={NAME}",
                    "-addext",
                    f"subjectAltName=DNS:{NAME}",
                ),
                *("-keyout", "playhead.key", "-out", "playhead.pem"),
            ]
        )
        kept = make([openssl, "passwd", "-6", USER[1]]).stdout
        (self.folder / "playhead.htpasswd").write_text(f"{USER[0]}:{kept}", encoding="ascii")
        deployment = snippet(
            "nginx",
            {
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                "http://127.0.0.1:8080": self.server,
                "/etc/ssl/": f"{self.folder}/",
                "/etc/nginx/": f"{self.folder}/",
            },
        )
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"{'user root;' if os.geteuid() == 0 else ''}\n"
            f"daemon off;\npid {self.folder}/pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}{deployment}}}\n",
            encoding="utf-8",
        )

    def command(self) -> Sequence[str]:
        return [self._program, "-e", "stderr", "-c", str(self.folder / "nginx.conf")]


class Caddy(Proxy):
    name: ClassVar[str] = "caddy"

    @property
    def trusted(self) -> Path:
        return self.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def prepare(self) -> None:
        self._program = program("caddy", "caddy")
        said = subprocess.run([self._program, "version"], check=True, capture_output=True, text=True).stdout
        (version,) = re.findall(r"^v?(\d+)\.(\d+)", said)
        is_old = tuple(map(int, version)) < (2, 8)
        deployment = snippet(
            "caddyfile",
            {
                f"{NAME} {{": f"{NAME}:{self.port} {{\n    bind 127.0.0.1\n    tls internal",
                "127.0.0.1:8080": urlsplit(self.server).netloc,
                "$2a$14$...": BCRYPT,
                **({"basic_auth": "basicauth"} if is_old else {}),
            },
        )
        own = "{\n    admin off\n    skip_install_trust\n    auto_https disable_redirects\n"
        own += "    servers {\n        protocols h1 h2\n    }\n}\n"  # no UDP: the tests reserve the UDP port
        (self.folder / "Caddyfile").write_text(own + deployment, encoding="utf-8")

    def command(self) -> Sequence[str]:
        return [self._program, "run", "--config", "Caddyfile"]

    def options(self) -> dict[str, Any]:
        own = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.folder))
        return {"cwd": self.folder, "env": os.environ | own}


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
