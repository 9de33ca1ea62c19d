"""The security floor of a server, attacked over real sockets: who may ask, and how much they may take."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from playhead.api.connection import HEAD_SECONDS, MAX_HEAD_BYTES, TOLD
from playhead.services.submit import MAX_UPLOAD_FILES
from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, open_deployment

pytestmark = pytest.mark.slow

CONNECTIONS = 20
BODY = 2000
UPLOAD = 5000
OBJECT = 3000

CONFIG = """
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
    """A server on loopback, with limits that can be reached quickly."""
    limits = {
        "MAX_CONNECTIONS": CONNECTIONS,
        "MAX_BODY_BYTES": BODY,
        "MAX_UPLOAD_BYTES": UPLOAD,
        "MAX_OBJECT_BYTES": OBJECT,
    }
    with open_deployment() as deployment:
        deployment.serve(settings={name: str(value) for name, value in limits.items()})
        deployment.apply(CONFIG)
        yield deployment


@contextmanager
def connection(deployment: Deployment) -> Iterator[socket.socket]:
    address = urlsplit(deployment.url)
    with socket.create_connection(
        (address.hostname or "", address.port or 0), timeout=DEADLINE_SECONDS
    ) as sock:
        yield sock


def heard(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer: its status, headers and body; 0 where the connection is closed without one."""
    raw = b""
    with suppress(ConnectionResetError):
        while b"\r\n\r\n" not in raw and (piece := sock.recv(65536)):
            raw += piece
    if not raw:
        return 0, {}, b""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers["content-length"]) and (piece := sock.recv(65536)):
        body += piece
    return int(status.split()[1]), headers, body


def ask(deployment: Deployment, raw: bytes) -> tuple[int, dict[str, str], Any]:
    with connection(deployment) as sock:
        sock.sendall(raw)
        status, headers, body = heard(sock)
        return status, headers, json.loads(body) if body else None


# -- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "host_not_allowed"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost.evil.example:8080\r\n\r\n", 403, "host_not_allowed"),
        (b"GET /healthz HTTP/1.1\r\nHost: \xff\r\n\r\n", 403, "host_not_allowed"),
        (b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 403, "host_not_allowed"),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 403, "host_not_allowed"),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "host_not_allowed"),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\n Host: localhost\r\n\r\n", 400, "invalid_request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "invalid_request"),
    ],
)
def test_refused_requests_have_the_common_error_format(
    deployment: Deployment, raw: bytes, status: int, code: str
):
    told, headers, body = ask(deployment, raw)
    assert (told, body["error_code"]) == (status, code)
    assert body["correlation_id"] == headers["x-correlation-id"]
    assert body["detail"]
    assert "bytearray" not in body["detail"]
    assert headers["x-content-type-options"] == "nosniff"


def test_an_upgrade_is_answered_as_what_else_it_is(deployment: Deployment):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://evil.example\r\n"
    assert ask(deployment, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")[0] == 200


def test_beyond_loopback_a_server_starts_only_if_insecure_access_is_allowed():
    with open_deployment() as deployment:
        hosts = ("0.0.0.0", "::")
        for refused in [deployment.start("serve", "--port", "0", "--host", host) for host in hosts]:
            assert refused.popen.wait(DEADLINE_SECONDS) == 2
            assert "--insecure" in refused.said


def test_beyond_loopback_probes_pass_whatever_names_are_allowed():
    with open_deployment() as deployment:
        deployment.serve(
            "--host", "0.0.0.0", "--insecure", settings={"ALLOWED_HOSTS": "playhead.example.com"}
        )
        deployment.url = deployment.url.replace("0.0.0.0", "127.0.0.1")

        def status(host: str, path: str) -> int:
            return ask(deployment, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[0]

        listed = "/api/v1/executions"
        assert [status("10.1.2.3:8080", path) for path in ("/healthz", "/readyz", listed)] == [200, 200, 403]
        assert [status("playhead.example.com", path) for path in ("/healthz", listed)] == [200, 200]
        assert [status("evil.example", path) for path in ("/healthz", "/readyz", listed)] == [403, 403, 403]


# -- what a config may bring in --------------------------------------------------------------------

NAMES = (
    "os:system",
    "os.system",
    "subprocess",
    "./steps.py",
    "../steps.py:only",
    "tests.acceptance.faulty_steps",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_names_adapters_and_never_code(deployment: Deployment, name: str):
    source = CONFIG.replace("passthrough", json.dumps(name))
    answer = _post_config(deployment, source)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "config_invalid")
    assert answer.json()["diagnostics"][0]["code"] == "E201"


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch FILE']",
        "!!python/object/new:os.system ['touch FILE']",
        "!!python/name:os.system",
        "!!python/module:subprocess",
        "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch FILE']",
        "!exec touch FILE",
    ],
)
def test_a_tag_of_yaml_makes_nothing_but_data(deployment: Deployment, value: str):
    trace = deployment.folder / "touched"
    for source in (
        CONFIG.replace("mine", value.replace("FILE", str(trace))),
        CONFIG.replace("passthrough", value.replace("FILE", str(trace))),
        CONFIG + f"description: {value.replace('FILE', str(trace))}\n",
    ):
        answer = _post_config(deployment, source)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "config_invalid")
    assert not trace.exists()


def _post_config(deployment: Deployment, source: str) -> httpx.Response:
    return httpx.post(
        f"{deployment.url}/api/v1/configs",
        content=source.encode(),
        headers={"Content-Type": "application/yaml"},
        timeout=DEADLINE_SECONDS,
        trust_env=False,
    )


# -- how much they may take ------------------------------------------------------------------------


def _chunked(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 700):
        yield body[at : at + 700]


@pytest.mark.parametrize("hidden", [False, True], ids=["said", "hidden"])
@pytest.mark.parametrize(("over", "status"), [(0, 202), (1, 413)])
def test_an_upload_may_have_the_maximum_size_and_not_one_byte_more(
    deployment: Deployment, hidden: bool, over: int, status: int
):
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n'
    first, second, end = head % b"a.txt" + b"a" * 2000 + b"\r\n", head % b"b.txt", b"\r\n--b--\r\n"
    body = first + second + b"b" * (UPLOAD + over - len(first + second + end)) + end
    answer = httpx.post(
        f"{deployment.url}/api/v1/configs/mine/run",
        content=_chunked(body) if hidden else body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=DEADLINE_SECONDS,
        trust_env=False,
    )
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("over", "status"), [(0, 202), (1, 413)])
def test_an_input_may_have_the_maximum_size_and_not_one_byte_more(
    deployment: Deployment, over: int, status: int
):
    files = [("files", ("a.txt", b"a" * (OBJECT + over)))]
    answer = httpx.post(
        f"{deployment.url}/api/v1/configs/mine/run", files=files, timeout=DEADLINE_SECONDS, trust_env=False
    )
    assert answer.status_code == status, answer.text


def test_the_head_of_a_request_is_limited(deployment: Deployment):
    """It is taken at the limit, and refused while it goes on beyond, before its end is there."""
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
    assert ask(deployment, head + b"a" * (MAX_HEAD_BYTES - len(head) - 4) + b"\r\n\r\n")[0] == 200
    status, headers, body = ask(deployment, head + b"a" * (MAX_HEAD_BYTES - len(head) + 1))
    assert (status, body["error_code"]) == (400, "invalid_request")
    assert str(MAX_HEAD_BYTES) in body["detail"]
    assert headers["connection"] == "close"
    whole = head + b"a" * 2 * MAX_HEAD_BYTES + b"\r\n\r\n"
    assert ask(deployment, whole)[0] in (400, 0)  # 0: it was refused before all of it was sent


@pytest.mark.parametrize("body", [b"zz\r\n", b"2\r\n{}zz"])
def test_an_invalid_chunk_has_the_common_error_format(deployment: Deployment, body: bytes):
    head = b"POST /api/v1/replay HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    status, headers, told = ask(deployment, head + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert (status, told["error_code"]) == (400, "invalid_request")
    assert told["correlation_id"] == headers["x-correlation-id"]
    assert headers["connection"] == "close"


def test_connections_over_the_limit_are_refused_and_do_not_affect_others(deployment: Deployment):
    request = b"GET /api/v1/configs HTTP/1.1\r\nHost: localhost\r\n\r\n"
    begun = b"POST /api/v1/configs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n"
    begun += b"Content-Length: 2\r\n\r\na"

    def answered(sock: socket.socket, path: bytes = b"/api/v1/configs") -> tuple[int, bytes]:
        with suppress(OSError):
            sock.sendall(request.replace(b"/api/v1/configs", path))
        with suppress(OSError):
            status, _, body = heard(sock)
            return status, body
        return 0, b""

    with ExitStack() as stack:
        held = [stack.enter_context(connection(deployment)) for _ in range(CONNECTIONS)]
        for sock in held:
            assert answered(sock)[0] == 200
            sock.sendall(begun)  # under way: one that is idle for some seconds is closed
        over = [stack.enter_context(connection(deployment)) for _ in range(TOLD)]
        told = [answered(sock) for sock in over[:10]]
        assert {status for status, _ in told} == {503}
        assert {json.loads(body)["error_code"] for _, body in told} == {"too_many_connections"}
        assert "PLAYHEAD_MAX_CONNECTIONS" in json.loads(told[0][1])["detail"]
        # It is no reason to restart the server, and can be seen.
        assert answered(over[10], b"/healthz")[0] == 200
        assert answered(over[11], b"/readyz")[0] == 503
        status, shown = answered(over[12], b"/metrics")
        refused = b'playhead_http_requests_total{method="GET",route="/api/v1/configs",status="503"} 10.0'
        assert status == 200
        assert refused in shown
        beyond = [stack.enter_context(connection(deployment)) for _ in range(TOLD)]
        assert 0 in {answered(sock)[0] for sock in beyond}
        for sock in held:
            sock.sendall(b"a")
        assert {heard(sock)[0] for sock in held} == {400}  # it is no config
    deployment.until(lambda: ask(deployment, request)[0] == 200, "the connections to be closed")


def test_the_server_closes_connections_that_do_not_complete_a_head(deployment: Deployment):
    """Both new connections and ones that were of use before; whether or not more bytes keep arriving."""
    with ExitStack() as stack:
        silent, dripping = ([stack.enter_context(connection(deployment)) for _ in range(2)] for _ in range(2))
        for sock in (silent[0], dripping[0]):
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert heard(sock)[0] == 200
        began = time.monotonic()
        for sock in dripping:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        closed: dict[socket.socket, float] = {}

        def is_closed(sock: socket.socket) -> bool:
            sock.settimeout(0.2)
            try:
                if sock in dripping:
                    sock.sendall(b"a: b\r\n")
                return not sock.recv(100)
            except TimeoutError:
                return False
            except OSError:
                return True

        while len(closed) < 4 and time.monotonic() - began < HEAD_SECONDS + 20:
            for sock in {*silent, *dripping} - set(closed):
                if is_closed(sock):
                    closed[sock] = time.monotonic() - began
        assert len(closed) == 4
        assert min(closed[sock] for sock in dripping) > HEAD_SECONDS - 2


def test_a_run_may_have_ten_thousand_files_and_not_one_more():
    with open_deployment() as deployment:
        deployment.serve()
        deployment.apply(CONFIG)

        def run(count: int) -> httpx.Response:
            return httpx.post(
                f"{deployment.url}/api/v1/configs/mine/run",
                files=[("files", (f"{n}.txt", b"x")) for n in range(count)],
                timeout=2 * DEADLINE_SECONDS,
                trust_env=False,
            )

        refused = run(MAX_UPLOAD_FILES + 1)
        assert (refused.status_code, refused.json()["error_code"]) == (413, "body_too_large")
        assert str(MAX_UPLOAD_FILES) in refused.json()["detail"]
        assert not list(deployment.items("/executions"))
        assert run(MAX_UPLOAD_FILES).status_code == 202
