"""The steps that send HTTP requests: http_request and embed_text, against a local server."""

from __future__ import annotations

import gzip
import json
import logging
import ssl
import time
import tracemalloc
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from playhead import Context, Item, Output, RateLimited, Reject, Retry
from playhead.adapters._http import fetch, open_client, retry_after
from playhead.adapters._network import Guard
from playhead.adapters.embed_text import EmbedText, EmbedTextConfig
from playhead.adapters.http_request import HttpRequest, HttpRequestConfig
from playhead.ids import uuid7
from playhead.settings import Settings
from playhead.testing import run_adapter
from tests.web import Answer, Asked, Web, self_signed


def echo(asked: Asked) -> Answer:
    told = {
        "method": asked.method,
        "path": asked.path,
        "body": asked.body.decode(),
        "headers": dict(asked.headers),
    }
    return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(echo) as made:
        yield made


def sent(web: Web, item: Item | None = None, **config: Any) -> Item:
    item = item or Item("page.txt", f"{web.url}/a".encode())
    (made,) = run_adapter(HttpRequest, item, config, internal_hosts=[web.host])
    return made


def answered(answer: Answer, **config: Any) -> Item:
    with Web(lambda asked: answer) as web:
        return sent(web, **config)


# -- the request -----------------------------------------------------------------------------------


def test_the_text_of_an_item_is_the_url(web):
    made = sent(web, Item("in/page.txt", f" {web.url}/a?b=c%20d \n".encode(), attributes={"n": 1}))
    assert (made.path, made.content_type) == ("in/page.json", "application/json")
    assert made.attributes == {"n": 1, "url": f"{web.url}/a?b=c%20d", "status": 200}
    assert (made.json()["method"], made.json()["path"]) == ("GET", "/a?b=c%20d")


def test_white_space_around_the_text_is_not_part_of_a_longer_url(web):
    assert (
        sent(web, Item("a.txt", b" green tea\n"), url=web.url + "/teas/{text}").json()["path"]
        == "/teas/green%20tea"
    )


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{json.url}", "/raw?x=1"),
        ("URL/x/{json.a.id}/{attributes.name}", "/x/7/J%C3%B6%20%2F%3F%23"),
        ("URL/?q={path}", "/?q=in%2Fa.json"),
    ],
)
def test_a_url_can_be_made_from_fields_attributes_and_the_path(web, template, path):
    fields = {"url": f"{web.url}/raw?x=1", "a": {"id": 7}}
    item = Item("in/a.json", json.dumps(fields).encode(), attributes={"name": "Jö /?#"})
    assert sent(web, item, url=template.replace("URL", web.url)).json()["path"] == path


def test_the_attribute_with_the_url_contains_no_secret_of_the_config():
    def redirect(asked: Asked) -> Answer:
        return Answer(302, headers={"Location": f"/b{asked.path[2:]}"}) if asked.path[1] == "a" else Answer()

    with Web(redirect) as web:
        (made,) = run_adapter(
            HttpRequest,
            Item("q.txt", b"tea"),
            {"url": f"{web.url}/a/${{env:TOKEN}}?key=${{env:KEY}}&q={{text}}"},
            secrets={"${env:TOKEN}": "t0ken", "${env:KEY}": "p@ss w^rd"},
            internal_hosts=[web.host],
        )
    assert web.asked[1].path == "/b/t0ken?key=p@ss%20w^rd&q=tea"
    assert made.attributes["url"] == f"{web.url}/b/***?key=***&q=tea"


@pytest.mark.parametrize("source", ["json.none", "json.a.b", "json.flag", "attributes.none"])
def test_an_item_without_the_value_for_the_url_is_rejected(web, source):
    with pytest.raises(Reject, match=source):
        sent(web, Item("a.json", b'{"a": 1, "flag": true}'), url=f"{web.url}/{{{source}}}")


@pytest.mark.parametrize("url", ["{id}", "http://x/{json}", "{}", "{text.a}"])
def test_an_unknown_placeholder_is_an_error_of_the_config(url):
    with pytest.raises(ValueError, match="is unknown"):
        HttpRequestConfig(url=url)


@pytest.mark.parametrize("url", ["", "ftp://x/", "/a", "file:///x", "http://", "http://x:y", "http://a..b/"])
def test_an_invalid_url_is_rejected(web, url):
    with pytest.raises(Reject, match="is not a URL"):
        sent(web, Item("a.txt", url.encode()))


def test_method_headers_and_the_bytes_of_the_item_are_sent(web):
    item = Item("a.md", b"# Title")
    made = sent(web, item, url=web.url, method="POST", body="item", headers={"X-Key": "k", "Accept": "a/b"})
    told = made.json()
    assert (told["method"], told["body"]) == ("POST", "# Title")
    assert {name: told["headers"][name] for name in ("x-key", "accept", "content-type")} == {
        "x-key": "k", "accept": "a/b", "content-type": "text/markdown",
    }  # fmt: skip
    assert len(told["headers"]["idempotency-key"]) == 36


def test_a_method_that_is_idempotent_needs_no_key(web):
    assert "idempotency-key" not in sent(web).json()["headers"]


async def test_requests_share_connections_and_send_no_cookies_of_other_items():
    with Web(lambda asked: Answer(200, b"x", {"Set-Cookie": "a=b; Path=/"})) as web:
        step = HttpRequest(HttpRequestConfig())
        ctx = Context(
            uuid7(), uuid7(), "c", 1, "r", 1, None, "", logging.getLogger("x"), internal_hosts=[web.host]
        )
        for _ in range(3):
            await step(Item("a.txt", web.url.encode()), ctx)
        await step.close()
    assert len({asked.client for asked in web.asked}) == 1
    assert [asked.headers.get("cookie") for asked in web.asked] == [None] * 3


@pytest.mark.parametrize("kind", ["http_request", "embed_text"])
def test_the_connections_are_closed_when_the_steps_are_no_longer_needed(kind):
    with Web(embeddings) as web:
        if kind == "http_request":
            body = b'{"input": [], "model": ""}'
            sent(web, Item("a.json", body), url=web.url, method="POST", body="item")
        else:
            embedded(web, Item("a.md", b"x"))
        until = time.monotonic() + 5
        while web.connections and time.monotonic() < until:
            time.sleep(0.01)
        assert (len(web.asked), web.connections) == (1, 0)


# -- the response ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("text/html; charset=latin-1", "text/html; charset=latin-1"),
        ("text/html;", "text/html"),
        ("", "application/octet-stream"),
        ("page", "application/octet-stream"),
        ("text/html, text/plain", "application/octet-stream"),
        ("text/h\xe9", "application/octet-stream"),
    ],
)
def test_the_content_type_is_that_of_the_response(header, kind):
    made = answered(Answer(200, b"\xff", {"Content-Type": header}))
    assert (made.data, made.content_type) == (b"\xff", kind)


@pytest.mark.parametrize("encoding", ["xyz", "gzip, xyz", "gzip, gzip", "br"])
def test_an_encoding_other_than_gzip_is_rejected(encoding):
    body = gzip.compress(gzip.compress(b"x" * 10_000_000))
    with pytest.raises(Reject, match=f"the content encoding '{encoding}'; only 'gzip'"):
        answered(Answer(200, body, {"Content-Encoding": encoding}))


@pytest.mark.parametrize("charset", ["base64", "rot13", "idna", "utf-16"])
def test_an_error_response_with_a_codec_that_is_not_a_charset_is_described(charset):
    with pytest.raises(Retry, match="500 Internal Server Error: sorry"):
        answered(Answer(500, b"sorry", {"Content-Type": f"text/html; charset={charset}"}))


def test_a_compressed_response_is_decompressed():
    body = gzip.compress(b"te") + gzip.compress(b"xt")
    assert answered(Answer(200, body, {"Content-Encoding": "GZIP, identity"})).data == b"text"
    assert answered(Answer(200, b"", {"Content-Encoding": "gzip"})).data == b""


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"text")[:-9], b"text", gzip.compress(b"text") + b"text"],
    ids=["cut", "plain", "followed"],  # a compressed text contains the time
)
def test_a_compressed_response_that_is_damaged_is_retried(body):
    with pytest.raises(Retry, match="the body is not valid gzip"):
        answered(Answer(200, body, {"Content-Encoding": "gzip"}))


async def test_no_response_takes_much_more_memory_than_its_limit():
    """Nested encodings can pack 2 GB into 12 KB."""
    nested = gzip.compress(gzip.compress(gzip.compress(bytes(50_000_000))))
    answers = {
        "/once": Answer(200, gzip.compress(bytes(50_000_000)), {"Content-Encoding": "gzip"}),
        "/nested": Answer(200, nested, {"Content-Encoding": "gzip, gzip, gzip"}),
    }
    with Web(lambda asked: answers[asked.path]) as web:
        client = open_client([web.host])
        for path in answers:
            tracemalloc.start()
            with pytest.raises(Reject):
                await fetch(client, httpx.Request("GET", web.url + path), 1_000_000)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 10_000_000
        await client.aclose()


def test_a_response_above_the_limit_is_rejected_also_if_it_is_compressed():
    assert len(answered(Answer(200, b"x" * 100), max_bytes=100).data) == 100
    for answer in (
        Answer(200, b"x" * 101),
        Answer(200, gzip.compress(b"x" * 10_000_000), {"Content-Encoding": "gzip"}),
    ):
        with pytest.raises(Reject, match="more than 100 bytes"):
            answered(answer, max_bytes=100)


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_other_statuses_reject_the_item_with_the_start_of_the_response(status):
    with pytest.raises(Reject, match=f"/a: {status} .*: no such page"):
        answered(Answer(status, b"no such\n page"))


@pytest.mark.parametrize("step", ["http_request", "embed_text"])
def test_a_secret_in_an_error_response_is_masked_before_the_text_is_shortened(step):
    secret = "s3cret" * 7

    def refuse(asked: Asked) -> Answer:
        return Answer(400, f"{'x' * 257}no key {asked.headers['authorization']}".encode())

    with Web(refuse) as web:
        settings = {"url": f"{web.url}/a", "headers": {"Authorization": "${env:KEY}"}}
        adapter, config = (
            (HttpRequest, settings)
            if step == "http_request"
            else (EmbedText, {"base_url": web.url, "model": "m", "api_key": "${env:KEY}"})
        )
        with pytest.raises(Reject, match="400 Bad Request") as caught:
            run_adapter(
                adapter,
                Item("a.txt", b"a"),
                config,
                secrets={"${env:KEY}": secret},
                internal_hosts=[web.host],
            )
    assert "s3cret" not in str(caught.value)


def test_the_error_for_an_invalid_url_contains_no_part_of_a_secret():
    for secret in ("pw/x", "x" * 180 + "s3cret" * 5):
        with pytest.raises(Reject, match="is not a URL") as caught:
            run_adapter(
                HttpRequest,
                Item("a.txt", b"a"),
                {"url": "https://me:${env:PASSWORD}/x@localhost/a"},
                secrets={"${env:PASSWORD}": secret},
            )
        assert "pw" not in str(caught.value)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [408, 500, 502, 503])
def test_statuses_of_a_temporary_failure_are_retried(status):
    with pytest.raises(Retry, match=str(status)) as caught:
        answered(Answer(status))
    assert caught.value.after is None


def test_statuses_can_be_configured():
    assert answered(Answer(404, b"none"), output_statuses=["2xx", 404]).attributes["status"] == 404
    with pytest.raises(Retry):
        answered(Answer(404), retry_statuses=["4xx"])
    with pytest.raises(Reject):
        answered(Answer(500), retry_statuses=[503])
    with pytest.raises(Reject):
        answered(Answer(429), retry_statuses=[])
    for wrong in (["6xx"], [99], ["ok"]):
        with pytest.raises(ValueError, match="is not a status"):
            HttpRequestConfig(output_statuses=wrong)


@pytest.mark.parametrize(
    ("status", "header", "after"), [(429, "7", 7.0), (503, "0", 0.0), (429, "soon", None), (429, "", None)]
)
def test_a_rate_limit_starts_a_cooldown_for_the_time_that_the_service_names(status, header, after):
    with pytest.raises(RateLimited, match=str(status)) as caught:
        answered(Answer(status, b"", {"Retry-After": header}))
    assert caught.value.after == after


@pytest.mark.parametrize(("then", "after"), [(2_000_000_090, 90.0), (1_000_000_000, 0.0), (9e9, 3600.0)])
def test_a_date_in_retry_after_counts_from_the_date_of_the_response(then, after):
    dates = {"Date": formatdate(2_000_000_000, usegmt=True), "Retry-After": formatdate(then, usegmt=True)}
    assert retry_after(httpx.Response(429, headers=dates)) == after


@pytest.mark.parametrize(("status", "error"), [(429, RateLimited), (500, Retry)])
def test_a_server_delays_a_message_for_at_most_an_hour(status, error):
    with pytest.raises(error) as caught:
        answered(Answer(status, b"", {"Retry-After": "999999999"}))
    assert caught.value.after == 3600


def test_a_slow_response_is_retried():
    def slow(asked: Asked) -> Answer:
        time.sleep(1)
        return Answer()

    with Web(slow) as web, pytest.raises(Retry, match=r"took longer than 0\.2 s"):
        sent(web, timeout_seconds=0.2)


def test_an_unreachable_server_is_retried():
    with Web(echo) as web:
        pass
    with pytest.raises(Retry, match="failed: "):
        sent(web)
    with pytest.raises(Retry, match="failed: "):
        run_adapter(HttpRequest, Item("a.txt", b"http://does-not-exist.invalid/"))


# -- redirects -------------------------------------------------------------------------------------


def redirecting(asked: Asked) -> Answer:
    if asked.path.startswith("/to/"):
        return Answer(302, b"", {"Location": asked.path.removeprefix("/to/")})
    if asked.path == "/loop":
        return Answer(302, b"", {"Location": "/loop"})
    return echo(asked)


def test_redirects_are_followed_up_to_the_limit():
    with Web(redirecting) as web:
        made = sent(web, Item("a.txt", f"{web.url}/to//x".encode()))
        assert (made.json()["path"], made.attributes["url"]) == ("/x", f"{web.url}/x")
        with pytest.raises(Reject, match="more than 3 redirects"):
            sent(web, Item("a.txt", f"{web.url}/loop".encode()), max_redirects=3)
        with pytest.raises(Reject, match="302"):
            sent(web, Item("a.txt", f"{web.url}/to//x".encode()), max_redirects=0)


def test_configured_headers_are_not_sent_to_the_target_of_a_redirect_on_another_host():
    with Web(redirecting) as first, Web(echo) as second:
        item = Item("a.txt", f"{first.url}/to/{second.url}/x".encode())
        config = {"headers": {"X-Key": "secret", "Authorization": "Bearer secret"}}
        (made,) = run_adapter(HttpRequest, item, config, internal_hosts=["127.0.0.0/8"])
        assert not {"x-key", "authorization"} & made.json()["headers"].keys()
        same = sent(first, Item("a.txt", f"{first.url}/to//x".encode()), **config)
        assert same.json()["headers"]["x-key"] == "secret"


def test_a_redirect_to_an_internal_address_is_rejected():
    with Web(redirecting) as first, Web(echo) as second:
        item = Item("a.txt", f"{first.url}/to/{second.url}/x".encode())
        with pytest.raises(Reject, match=f"{second.host} is internal"):
            sent(first, item)
    assert second.asked == []


@pytest.mark.parametrize("target", ["ftp://host/x", "mailto:x", f"http://{'a' * 64}.com/", "http://xn--/"])
def test_a_redirect_to_a_url_that_cannot_be_requested_is_rejected(target):
    with pytest.raises(Reject, match="is not a URL that can be requested, or redirects to one"):
        answered(Answer(302, b"", {"Location": target}))


# -- internal addresses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "127.1", "2130706433", "0x7f000001", "0.0.0.0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    ],
)
def test_no_spelling_of_an_internal_address_is_reached(web, host):
    with pytest.raises(Reject, match="is internal"):
        run_adapter(HttpRequest, Item("a.txt", f"http://{host}:{web.port}/".encode()))
    assert web.asked == []


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ("localhost", True),
        ("localhost:80", True),
        ("127.0.0.1", True),
        ("127.0.0.1:80", True),
        ("127.0.0.0/8", True),
        ("localhost:81", False),
        ("127.0.0.2", False),
        ("10.0.0.0/8", False),
        ("host", False),
    ],
)
async def test_the_operator_allows_hosts_ports_and_networks(entry, allowed):
    (checked,) = Settings(internal_hosts=entry).internal_hosts
    guard = Guard([checked])
    if allowed:
        assert "127.0.0.1" in await guard.resolve("localhost", 80)
    else:
        with pytest.raises(Reject, match="localhost:80 is internal"):
            await guard.resolve("localhost", 80)


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "a b", "http://x", "*", "x/8"])
def test_an_invalid_entry_of_the_setting_is_refused(entry):
    with pytest.raises(ValueError, match="each entry must be a host"):
        Settings(internal_hosts=entry)


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    context, cert = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    return context


def test_the_certificate_is_checked_against_the_name_though_the_connection_uses_an_address(tls):
    with Web(echo, tls) as web:
        item = Item("a.txt", f"https://localhost:{web.port}/".encode())
        (made,) = run_adapter(HttpRequest, item, internal_hosts=["localhost"])
        assert made.json()["headers"]["host"] == f"localhost:{web.port}"
        with pytest.raises(Retry, match="certificate"):
            run_adapter(
                HttpRequest,
                Item("a.txt", f"https://127.0.0.1:{web.port}/".encode()),
                internal_hosts=["127.0.0.1"],
            )


# -- embed_text ------------------------------------------------------------------------------------


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 0.5]


def embeddings(asked: Asked) -> Answer:
    body = json.loads(asked.body)
    data = [{"index": n, "embedding": vector_of(text)} for n, text in enumerate(body["input"])]
    return Answer(200, json.dumps({"data": data[::-1], "model": body["model"]}).encode())


def vectors(*found: object) -> Answer:
    data = [{"index": n, "embedding": vector} for n, vector in enumerate(found)]
    return Answer(200, json.dumps({"data": data}).encode())


def embedded(web: Web, item: Item, **config: Any) -> Item:
    (made,) = run_adapter(
        EmbedText,
        item,
        {"base_url": f"{web.url}/v1/", "model": "small", **config},
        internal_hosts=[web.host],
        secrets={"${env:KEY}": "k-secret"},
    )
    return made


def test_a_text_gets_its_vector():
    with Web(embeddings) as web:
        made = embedded(web, Item("a.md", "héllo".encode(), attributes={"title": "T"}))
    assert (made.path, made.content_type, made.attributes) == ("a.json", "application/json", {"title": "T"})
    assert made.json() == {"text": "héllo", "vector": [5.0, 0.5], "model": "small"}
    (asked,) = web.asked
    assert (asked.method, asked.path) == ("POST", "/v1/embeddings")
    assert json.loads(asked.body) == {"model": "small", "input": ["héllo"], "encoding_format": "float"}
    assert "authorization" not in asked.headers


def test_key_and_dimensions_are_sent():
    with Web(embeddings) as web:
        embedded(web, Item("a.md", b"x"), api_key="${env:KEY}", dimensions=2)
    (asked,) = web.asked
    assert asked.headers["authorization"] == "Bearer k-secret"
    assert json.loads(asked.body)["dimensions"] == 2


def test_the_text_may_be_a_field_and_the_other_fields_are_kept():
    with Web(embeddings) as web:
        made = embedded(web, Item("a.json", b'{"id": 7, "body": "abc"}'), text_field="body")
    assert made.json() == {"id": 7, "text": "abc", "vector": [3.0, 0.5], "model": "small"}


@pytest.mark.parametrize(
    ("item", "config", "why"),
    [
        (Item("a.md", b" \n"), {}, "empty"),
        (Item("a.md", b"\xff"), {}, "UTF-8"),
        (Item("a.json", b'{"id": 7}'), {"text_field": "body"}, "no text in the field 'body'"),
        (Item("a.json", b"[]"), {"text_field": "body"}, "no text in the field 'body'"),
    ],
)
def test_an_item_without_text_is_rejected_without_a_request(item, config, why):
    with Web(embeddings) as web, pytest.raises(Reject, match=why):
        embedded(web, item, **config)
    assert web.asked == []


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (
            Answer(400, b'{"error": {"message": "too many tokens"}}'),
            Reject,
            "400 Bad Request: .*too many tokens",
        ),
        (Answer(429, b"", {"Retry-After": "3"}), RateLimited, "429"),
        (Answer(503), RateLimited, "503"),
        (Answer(401), Retry, "401"),
        (Answer(500), Retry, "500"),
        (Answer(200, b"text"), Retry, "did not return the vectors of 1 texts"),
        (Answer(200, b"[" * 100_000), Retry, "did not return the vectors of 1 texts"),
        (Answer(200, b'{"data": [{"index": 1e400}]}'), Retry, "did not return the vectors of 1 texts"),
        (Answer(200, b'{"data": []}'), ValueError, "returned 0 vectors for 1 texts"),
        (vectors([0], [0]), ValueError, "returned 2 vectors for 1 texts"),
        (vectors([]), Retry, "not a list of finite numbers"),
        (Answer(200, b'{"data": [{"index": 0, "embedding": [NaN]}]}'), Retry, "finite"),
        (vectors(["x", None]), Retry, "values that are not numbers"),
        (vectors([10**400]), Retry, "values that are not numbers"),
        (vectors([1, 2]), Retry, "2 dimensions instead of 3"),
        (Answer(302, b"", {"Location": "/x"}), Retry, "302"),
    ],
)
def test_the_errors_of_the_service_are_distinguished(answer, error, why):
    with Web(lambda asked: answer) as web, pytest.raises(error, match=why) as caught:
        embedded(web, Item("a.md", b"x"), api_key="${env:KEY}", dimensions=3)
    assert "k-secret" not in str(caught.value)
    if answer.headers.get("Retry-After"):
        assert caught.value.after == 3


def test_an_unreachable_service_starts_a_cooldown():
    with Web(embeddings) as web:
        pass
    with pytest.raises(RateLimited, match="failed"):
        embedded(web, Item("a.md", b"x"))


def test_the_service_must_not_be_internal_unless_the_operator_allows_it():
    with Web(embeddings) as web, pytest.raises(Reject, match=f"PLAYHEAD_INTERNAL_HOSTS={web.host}"):
        run_adapter(EmbedText, Item("a.md", b"x"), {"base_url": web.url, "model": "m"})
    assert web.asked == []


async def test_an_item_whose_vector_is_not_usable_fails_alone():
    with Web(lambda asked: vectors([1.0], [None], [2.0])) as web:
        step = EmbedText(EmbedTextConfig(base_url=web.url, model="m", text_field="t"))
        ctx = Context(
            uuid7(), uuid7(), "c", 1, "r", 1, None, "", logging.getLogger("x"), internal_hosts=[web.host]
        )
        texts = [b'{"t": "a"}', b'{"t": "b"}', b'{"t": "c", "d": "\\ud800"}', b'{"t": "\\ud800"}']
        made = await step([Item("a.json", text) for text in texts], [ctx] * 4)
        await step.close()
    assert [type(one) for one in made] == [Output, Retry, Reject, Reject]


async def test_texts_with_which_the_service_fails_are_retried_together_once_and_then_apart():
    with Web(lambda asked: Answer(500, b"boom")) as web:
        step = EmbedText(EmbedTextConfig(base_url=web.url, model="m"))
        items = [Item("a.md", b"a"), Item("b.md", b"b")]
        for attempt, error in ((1, Retry), (2, RuntimeError)):  # not `Retry`: Playhead tries halves
            log = logging.getLogger("x")
            ctx = Context(uuid7(), uuid7(), "c", 1, "r", attempt, None, "", log, internal_hosts=[web.host])
            with pytest.raises(error, match=r"500 .*boom"):
                await step(items, [ctx, ctx])
        with pytest.raises(Retry):
            await step(items[:1], [ctx])
        await step.close()


async def test_a_request_that_is_too_slow_is_split_instead_of_sent_again_forever():
    def slow(asked: Asked) -> Answer:
        time.sleep(0.2 * len(json.loads(asked.body)["input"]))
        return embeddings(asked)

    with Web(slow) as web:
        items = [Item(f"{n}.md", b"text") for n in range(4)]
        made = run_adapter(
            EmbedText,
            items,
            {"base_url": web.url, "model": "small", "timeout_seconds": 0.6},
            internal_hosts=[web.host],
        )
        assert [len(one) for one in made] == [1] * 4
        assert [len(json.loads(asked.body)["input"]) for asked in web.asked] == [4, 2, 2]
        with pytest.raises(Retry, match="failed: TimeoutError"):
            embedded(web, Item("a.md", b"x"), timeout_seconds=0.1)


async def test_many_texts_are_one_request_and_keep_their_order():
    with Web(embeddings) as web:
        step = EmbedText(EmbedTextConfig(base_url=web.url, model="m"))
        ctx = Context(
            uuid7(), uuid7(), "c", 1, "r", 1, None, "", logging.getLogger("x"), internal_hosts=[web.host]
        )
        texts = ["a", "bbb", "cc"]
        assert await step._embed(texts, ctx) == [vector_of(text) for text in texts]
        items = [Item(f"{text}.md", text.encode()) for text in (*texts, " ")]
        *made, rejected = await step(items, [ctx] * 4)
        assert [json.loads(one.data)["text"] for one in made if isinstance(one, Output)] == texts
        assert isinstance(rejected, Reject)
        await step.close()
    assert [len(json.loads(asked.body)["input"]) for asked in web.asked] == [3, 3]
