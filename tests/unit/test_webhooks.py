"""Webhooks over HTTP: what is sent, where, and how it is signed. The receivers are real servers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from playhead.backends.webhook_http import HttpWebhooks
from playhead.environment import Environment
from playhead.errors import BadRequest
from playhead.ids import uuid7
from playhead.outgoing import Resolve
from playhead.ports.webhook import NotDelivered, check_webhook
from playhead.services.webhook import WebhookService
from tests.lab import MemoryDeployment
from tests.web import Answer, Asked, Web, self_signed

KEYS = [b"k" * 24, b"n" * 32]
SECRETS = ["whsec_" + base64.b64encode(key).decode() for key in KEYS]
BODY = '{"type":"replay.completed"}'
PUBLIC = "93.184.215.14"


def accepting(asked: Asked) -> Answer:
    return Answer(204)


@contextlib.asynccontextmanager
async def webhooks(*hosts: str, private: bool = True, **options: Any) -> AsyncIterator[HttpWebhooks]:
    private_hosts = [host.partition(":")[0] for host in hosts] if private else ()
    made = HttpWebhooks(hosts, private_hosts, options.pop("secrets", SECRETS[:1]), **options)
    yield made
    await made.close()


async def sent(web: Web, *, host: str = "localhost", **options: Any) -> int:
    """Send one event to a server, and return the status of the response."""
    async with webhooks(f"{host}:{web.port}", **options) as made:
        return await made.send(web.url.replace("127.0.0.1", host) + "/hook?a=1", uuid7(), BODY)


def resolving(*addresses: str) -> tuple[Resolve, list[str]]:
    """Return a resolver that returns these addresses for each host, and the hosts that it was asked for."""
    asked: list[str] = []

    async def look_up(host: str, port: int) -> list[str]:
        asked.append(host)
        return list(addresses)

    return look_up, asked


# -- the request -----------------------------------------------------------------------------------


async def test_an_event_is_posted_with_the_headers_of_standard_webhooks():
    delivery = uuid7()
    with Web(accepting) as web:
        async with webhooks(f"localhost:{web.port}") as made:
            assert await made.send(f"http://localhost:{web.port}/hook?a=1", delivery, BODY) == 204
    (asked,) = web.asked

    assert (asked.method, asked.path, asked.body) == ("POST", "/hook?a=1", BODY.encode())
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["webhook-id"] == str(delivery)
    assert abs(int(asked.headers["webhook-timestamp"]) - time.time()) < 60
    signed = f"{delivery}.{asked.headers['webhook-timestamp']}.{BODY}".encode()
    expected = base64.b64encode(hmac.new(KEYS[0], signed, hashlib.sha256).digest()).decode()
    assert asked.headers["webhook-signature"] == f"v1,{expected}"
    assert not {"cookie", "authorization"} & asked.headers.keys()


async def test_with_two_secrets_there_are_two_signatures():
    with Web(accepting) as web:
        await sent(web, secrets=SECRETS)
    (asked,) = web.asked

    signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.{BODY}".encode()
    assert asked.headers["webhook-signature"].split(" ") == [
        "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in KEYS
    ]


@pytest.mark.parametrize("status", [200, 301, 400, 410, 500, 503])
async def test_the_status_of_the_response_is_returned(status: int):
    with Web(lambda asked: Answer(status, b"why")) as web:
        assert await sent(web) == status


async def test_no_redirect_is_followed():
    with Web(accepting) as second, Web(lambda asked: Answer(307, b"", {"Location": second.url})) as first:
        assert await sent(first) == 307
    assert second.asked == []


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Web(accepting) as web:
        assert await sent(web) == 204


async def test_cookies_are_not_kept():
    with Web(lambda asked: Answer(204, b"", {"Set-Cookie": "a=b"})) as web:
        async with webhooks(f"localhost:{web.port}") as made:
            for _ in range(2):
                await made.send(f"http://localhost:{web.port}/", uuid7(), BODY)
    assert all("cookie" not in asked.headers for asked in web.asked)


# -- limits ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def raw_server(answer: Callable[[socket.socket], object]):
    """Yield the port of a server that handles one connection at a time."""
    import threading

    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65_536)
                    answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


async def test_a_receiver_that_does_not_answer_in_time_is_given_up():
    def silent(connection: socket.socket) -> None:
        while connection.recv(65_536):  # until the client closes the connection
            pass

    with raw_server(silent) as port:
        async with webhooks(f"localhost:{port}", seconds=0.2) as made:
            with pytest.raises(NotDelivered, match=r"no response within 0\.2 s"):
                await made.send(f"http://localhost:{port}/", uuid7(), BODY)


async def test_the_status_counts_although_the_body_does_not_end():
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na")
        connection.recv(1)  # until the client closes the connection

    statuses = []
    with raw_server(endless) as port:
        for seconds in (0.3, 3, 30):  # longer if the machine was too slow for the status
            async with webhooks(f"localhost:{port}", seconds=seconds) as made:
                with contextlib.suppress(NotDelivered):
                    statuses.append(await made.send(f"http://localhost:{port}/", uuid7(), BODY))
                    break
    assert statuses == [200]


async def test_of_a_large_body_only_the_beginning_is_read():
    sent_bytes = 0

    def large(connection: socket.socket) -> None:
        nonlocal sent_bytes
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(4_000):
            connection.sendall(b"x" * 65_536)
            sent_bytes += 65_536

    with raw_server(large) as port:
        async with webhooks(f"localhost:{port}") as made:
            assert await made.send(f"http://localhost:{port}/", uuid7(), BODY) == 200
    assert sent_bytes < 4_000 * 65_536


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000])
async def test_an_answer_that_is_not_http_is_no_response(answer: bytes):
    with raw_server(lambda connection: connection.sendall(answer)) as port:
        async with webhooks(f"localhost:{port}") as made:
            with pytest.raises(NotDelivered, match="no response"):
                await made.send(f"http://localhost:{port}/", uuid7(), BODY)


async def test_a_receiver_that_is_not_there_is_no_response():
    with raw_server(lambda connection: None) as port:
        pass
    async with webhooks(f"localhost:{port}") as made:
        with pytest.raises(NotDelivered, match="no response"):
            await made.send(f"http://localhost:{port}/", uuid7(), BODY)


async def test_a_host_that_has_no_address_is_no_response():
    async with webhooks("host.invalid") as made:
        with pytest.raises(NotDelivered, match="no response"):
            await made.send("https://host.invalid/", uuid7(), BODY)


# -- TLS -------------------------------------------------------------------------------------------


async def test_the_certificate_is_checked_against_the_name_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tls, cert = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with Web(accepting, tls) as web:
        assert await sent(web) == 204
        with pytest.raises(NotDelivered, match="certificate"):
            await sent(web, host="127.0.0.1")
    (asked,) = web.asked
    assert asked.headers["host"] == f"localhost:{web.port}"


async def test_an_unknown_authority_is_refused(tmp_path: Path):
    tls, _ = self_signed(tmp_path)
    with Web(accepting, tls) as web, pytest.raises(NotDelivered, match="certificate"):
        await sent(web)
    assert web.asked == []


# -- which URLs are allowed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://other.example/", "is not allowed; allowed hosts: hooks.example, local.example"),
        ("https://sub.hooks.example/", "is not allowed"),
        ("https://hooks.example./", "is not allowed"),
        ("https://hooks.example.evil.example/", "is not allowed"),
        ("https://evil.example/hooks.example", "is not allowed"),
        ("https://evil.example#@hooks.example/", "is not allowed"),
        ("https://evil.example\\@hooks.example/", "user name"),
        ("https://user@hooks.example/", "user name or a password"),
        ("https://user:password@hooks.example/", "user name or a password"),
        ("https://hooks.example@evil.example/", "user name or a password"),
        ("http://hooks.example/", "may only be used with https:"),
        ("ftp://hooks.example/", "not a URL of the form"),
        ("//hooks.example/", "not a URL of the form"),
        ("ftp://hooks.example:443/", "not a URL of the form"),
        ("gopher://local.example:443/", "not a URL of the form"),
        ("//hooks.example:443/", "not a URL of the form"),
        ("https:hooks.example/", "not a URL of the form"),
        ("hooks.example", "not a URL of the form"),
        ("https://", "not a URL of the form"),
        ("https://hooks.example:99999/", "not a URL of the form"),
        ("https://hooks.example:x/", "not a valid URL"),
        ("https://hooks.example/\n", "not a valid URL"),
        ("https://[::1/", "not a valid URL"),
        ("", "not a URL of the form"),
        ("https://hooks.example/" + "a" * 2_000, "at most 2000 are allowed"),
    ],
)
async def test_a_url_that_the_operator_does_not_allow_is_refused(url: str, why: str):
    look_up, asked = resolving(PUBLIC)
    made = HttpWebhooks(["hooks.example", "local.example"], ["local.example"], SECRETS, look_up=look_up)

    with pytest.raises(BadRequest) as caught:
        made.check(url)
    assert (caught.value.code, why in caught.value.detail) == ("webhook_not_allowed", True)
    with pytest.raises(NotDelivered) as again:
        await made.send(url, uuid7(), BODY)
    assert why in str(again.value)
    assert asked == []


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        ("hooks.example", "https://hooks.example/a?b=c"),
        ("hooks.example", "HTTPS://HOOKS.EXAMPLE/"),
        ("hooks.example:8443", "https://hooks.example:8443/"),
        ("hooks.example:443", "https://hooks.example/"),
        ("[2606:4700::1111]", "https://[2606:4700::1111]/"),
        ("xn--bcher-kva.example", "https://bücher.example/"),
    ],
)
def test_a_url_whose_host_is_listed_is_allowed(hosts: str, url: str):
    HttpWebhooks([hosts], [], SECRETS).check(url)


def test_a_host_without_a_port_allows_only_the_port_of_the_scheme():
    made = HttpWebhooks(["hooks.example"], ["hooks.example"], SECRETS)
    for url in ("https://hooks.example:8443/", "https://hooks.example:80/", "http://hooks.example:443/"):
        with pytest.raises(BadRequest, match="is not allowed"):
            made.check(url)
    made.check("http://hooks.example/")


def test_a_host_may_be_limited_to_one_port():
    made = HttpWebhooks(["hooks.example:8443"], [], SECRETS)
    with pytest.raises(BadRequest, match=r"hooks\.example:443 is not allowed"):
        made.check("https://hooks.example/")


def test_without_hosts_no_webhook_is_allowed():
    with pytest.raises(BadRequest, match="PLAYHEAD_WEBHOOK_HOSTS"):
        check_webhook(None, "https://hooks.example/")


# -- which addresses are allowed -------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("::1", "::127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "fec0::1"),
        *("fe80::1%lo", "fc00::1", "ff02::1"),
    ],
)
@pytest.mark.parametrize("others", [[], [PUBLIC]])
async def test_a_host_with_any_internal_address_gets_no_connection(address: str, others: list[str]):
    look_up, asked = resolving(*others, address)
    async with webhooks("hooks.example", private=False, look_up=look_up) as made:
        with pytest.raises(NotDelivered, match="has the internal address"):
            await made.send("https://hooks.example/", uuid7(), BODY)
    assert asked == ["hooks.example"]


async def test_the_connection_goes_to_an_address_that_was_checked():
    look_up, asked = resolving("127.0.0.1")
    with Web(accepting) as web:
        async with webhooks(f"hooks.example:{web.port}", look_up=look_up) as made:
            for _ in range(2):
                assert await made.send(f"http://hooks.example:{web.port}/", uuid7(), BODY) == 204
    assert [one.headers["host"] for one in web.asked] == [f"hooks.example:{web.port}"] * 2
    assert asked == ["hooks.example"] * 2, "the name is resolved once for each request"


async def test_an_address_that_does_not_answer_is_followed_by_the_next_one():
    look_up, _ = resolving("127.0.0.2", "127.0.0.1")
    with Web(accepting) as web:
        async with webhooks(f"hooks.example:{web.port}", look_up=look_up) as made:
            assert await made.send(f"http://hooks.example:{web.port}/", uuid7(), BODY) == 204


async def test_a_listed_host_is_not_private_unless_the_operator_says_so():
    with Web(accepting) as web:
        made = HttpWebhooks([f"localhost:{web.port}"], ["localhost:1"], SECRETS)
        with pytest.raises(NotDelivered, match="has the internal address"):
            await made.send(f"https://localhost:{web.port}/", uuid7(), BODY)
        await made.close()
    assert web.asked == []


# -- deliveries ------------------------------------------------------------------------------------


async def broken(host: str, port: int) -> list[str]:
    raise LookupError("no such table")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("gopher://localhost:443/", "not a URL of the form"),
        ("https://localhost/", "LookupError: no such table"),
    ],
)
async def test_a_delivery_that_cannot_be_sent_backs_off(url: str, error: str):
    lab = MemoryDeployment().lab
    await lab.beat("w1")
    replay = await lab.managed(await lab.sealed("a.md"), {"webhook": url})
    async with webhooks("localhost", look_up=broken) as made:
        service = WebhookService(lab.catalog, made, Environment("w1"), lease=30)
        await service.send_due()
        lab.clock.advance(4)
        await service.send_due()
        (first,) = (await service.list(replay.replay_batch_id, None, 10)).items
        lab.clock.advance(1)
        await service.send_due()
        (second,) = (await service.list(replay.replay_batch_id, None, 10)).items
    assert (first.attempts, second.attempts) == (1, 2)
    assert error in (first.last_error or "")
