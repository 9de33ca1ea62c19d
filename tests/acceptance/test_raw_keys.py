"""Keys in requests that no usual client sends, at a real server, and refusals that come before the body."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.acceptance.processes import DEADLINE_SECONDS, open_deployment

LIST = b"GET /api/v1/executions HTTP/1.1\r\n"
PRUNE = b"POST /api/v1/prune HTTP/1.1\r\n"
UPLOAD = (
    b"POST /api/v1/configs/docs/run HTTP/1.1\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 4000000\r\n"
)
_STATUS = re.compile(rb"HTTP/1.1 (\d+)")


class Keys(NamedTuple):
    """A server, a key with all scopes, and a key that may only read."""

    url: str
    all: bytes
    read: bytes


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with open_deployment() as deployment:
        made = [
            deployment.cli("keys", "create", role, "--role", role)["key"].encode()
            for role in ("admin", "viewer")
        ]
        yield Keys(deployment.serve().url, *made)


def statuses(url: str, request: bytes) -> list[int]:
    """Return the status of each answer to what was sent. The connection ends when the server closes it."""
    address = urlsplit(url)
    host = f"Host: {address.netloc}\r\n".encode()
    raw = b""
    with (
        socket.create_connection((address.hostname or "", address.port or 0), DEADLINE_SECONDS) as sock,
        suppress(ConnectionResetError, BrokenPipeError),
    ):
        sock.sendall(request.replace(b"HOST\r\n", host))
        while piece := sock.recv(65536):
            raw += piece
    return [int(status) for status in _STATUS.findall(raw)]


END = b"HOST\r\nConnection: close\r\n\r\n"
CASES = {
    "one key": (LIST + b"Authorization: Bearer ALL\r\n" + END, {200}),
    "X-Playhead-Key": (LIST + b"X-Playhead-Key: ALL\r\n" + END, {200}),
    "lower-case scheme": (LIST + b"authorization: bearer ALL\r\n" + END, {200}),
    "two spaces": (LIST + b"Authorization: Bearer  ALL\r\n" + END, {200, 401}),
    "two Authorization": (LIST + b"Authorization: Bearer ALL\r\nAuthorization: Bearer READ\r\n" + END, {401}),
    "one key twice": (LIST + b"Authorization: Bearer ALL\r\nAuthorization: Bearer ALL\r\n" + END, {401}),
    "both headers": (LIST + b"Authorization: Bearer ALL\r\nX-Playhead-Key: ALL\r\n" + END, {401}),
    "two keys in one header": (LIST + b"Authorization: Bearer ALL, Bearer READ\r\n" + END, {401}),
    "underscores": (LIST + b"X_Playhead_Key: ALL\r\n" + END, {400, 401}),
    "a folded line": (LIST + b"Authorization: Bearer\r\n ALL\r\n" + END, {200, 400, 401}),
    "a space before the colon": (LIST + b"Authorization : Bearer ALL\r\n" + END, {400}),
    "NUL": (LIST + b"Authorization: Bearer ALL\x00\r\n" + END, {400, 401}),
    "in the query": (b"GET /api/v1/executions?key=ALL HTTP/1.1\r\n" + END, {401}),
    "a user name": (b"GET http://ALL@HOSTNAME/api/v1/executions HTTP/1.1\r\n" + END, {400, 401, 404}),
    "a public path before": (
        b"GET http://HOSTNAME/healthz/../api/v1/executions HTTP/1.1\r\n" + END,
        {400, 401, 404},
    ),
    "a head above 64 KiB": (LIST + b"Authorization: Bearer " + b"a" * 70_000 + b"\r\n" + END, {400, 431}),
    "length and chunks": (
        PRUNE
        + b"HOST\r\nAuthorization: Bearer READ\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"0\r\n\r\n"
        + LIST
        + END,
        {400},
    ),
    "two lengths": (
        PRUNE + b"HOST\r\nAuthorization: Bearer READ\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        {400},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_only_one_whole_key_in_one_header_is_accepted(keys: Keys, case: str):
    request, expected = CASES[case]
    sent = request.replace(b"ALL", keys.all).replace(b"READ", keys.read)
    found = statuses(keys.url, sent.replace(b"HOSTNAME", urlsplit(keys.url).netloc.encode()))
    assert found, "the server closed the connection without an answer"
    assert found[0] in expected
    # What follows an ambiguous request is not a second request.
    assert len(found) == 1


@pytest.mark.parametrize(("key", "status"), [(b"", 401), (b"Authorization: Bearer READ\r\n", 403)])
def test_a_refused_upload_is_answered_before_its_body(keys: Keys, key: bytes, status: int):
    head = UPLOAD + key.replace(b"READ", keys.read) + b"HOST\r\n\r\n"
    # The body is never sent: an answer shows that the server did not wait for it.
    assert statuses(keys.url, head)[:1] == [status]
