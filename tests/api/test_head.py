"""HEAD is answered like GET, without a body; 405 and OPTIONS list the methods of a URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from playhead.api.head import Head

if TYPE_CHECKING:
    from tests.api.server import Playhead

PATHS = (
    *("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"),
    *("/api/v1/executions", "/api/v1/executions?limit=0", "/api/v1/system/health", "/api/v1/nothing"),
    *("/api/v1/executions/RUN", "/api/v1/storage/objects/metadata?key=RUN/input/a"),
    "/api/v1/storage/objects/content?key=RUN/input/a",
)


@pytest.mark.parametrize("path", PATHS)
async def test_head_has_the_status_and_headers_of_get_and_no_body(playhead: Playhead, path: str):
    path = path.replace("RUN", await playhead.run({"a": b"x" * 1000}))
    got = await playhead.http.get(path, headers={"X-Correlation-ID": "one"})
    head = await playhead.http.head(path, headers={"X-Correlation-ID": "one"})
    assert head.content == b""
    assert head.status_code == got.status_code
    same = {"content-type", "content-disposition", "x-correlation-id", "x-content-type-options"}
    assert {k: v for k, v in head.headers.items() if k in same} == {
        k: v for k, v in got.headers.items() if k in same
    }
    assert got.content
    if path != "/metrics":  # which counts the requests
        assert abs(int(head.headers["content-length"]) - len(got.content)) < 5  # the time differs


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/healthz", "GET, HEAD"),
        ("/api/v1/configs", "GET, HEAD, POST"),
        ("/api/v1/replay", "POST"),
        ("/api/v1/dead-letters/resend", "POST"),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "DELETE", "PATCH"])
async def test_405_has_the_allowed_methods_of_the_url(
    playhead: Playhead, method: str, path: str, methods: str
):
    answer = await playhead.http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)
    assert methods in answer.json()["detail"]


async def test_head_of_a_url_with_only_post_is_405(playhead: Playhead):
    answer = await playhead.http.head("/api/v1/replay")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")


async def test_head_reads_only_the_beginning_of_a_long_answer():
    passed = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal passed
        while True:
            passed += 1
            yield b"x" * 10

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(chunks())(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(Head(endless))) as http:
        head = await http.head("http://playhead/")
    assert (head.status_code, head.content) == (200, b"")
    assert passed < 5
