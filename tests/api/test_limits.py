"""Limits on bodies: how much memory they use, how slowly they may come, and how refusals reach the client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tracemalloc
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from starlette.responses import Response

from playhead.api.answers import answer
from playhead.api.limits import BODIES_AT_ONCE, BYTES_PER_SECOND, UPLOADS_AT_ONCE, BodyLimit
from playhead.errors import NotFound, PlayheadError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tests.api.server import Playhead

MB = 1_000_000
PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n'
CHUNKED = {"Transfer-Encoding": "chunked"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


class Sending:
    """A request that is being sent, and its response.

    Attributes:
        pieces: what `send` hands to the app next; None ends the body.
    """

    def __init__(self, app: ASGIApp, path: str, headers: dict[str, str]) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._asked = asyncio.Event()
        self._started: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "scheme": "http",
            "headers": [(b"host", b"playhead"), *raw],
            "state": {},
        }
        self._task: asyncio.Future[None] = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def send(self, piece: bytes | None) -> None:
        """Hand over a piece, and wait until the app asks for the next one or responds."""
        self._pieces.put_nowait(piece)
        if not self.is_answered():
            self._asked.clear()
        await self._asked.wait()

    async def status(self) -> int:
        return int((await asyncio.wait_for(asyncio.shield(self._started), 30))["status"])

    def is_answered(self) -> bool:
        return self._started.done()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _receive(self) -> Message:
        if self._pieces.empty():
            self._asked.set()
        piece = await self._pieces.get()
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started.set_result(message)
            self._asked.set()


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[str, int]]:
    """Serve an app on a real socket; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        await running


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 1000):
        yield b"a" * 1000


async def test_unfinished_uploads_are_kept_on_disk(playhead: Playhead):
    app = playhead.big_app()
    uploads = [Sending(app, "/api/v1/configs/words/run", FORM | CHUNKED) for _ in range(4)]
    piece = b"x" * 100_000
    # The first request of an app also builds what its later requests share.
    for upload in uploads:
        await upload.send(PART % 0)
    tracemalloc.start()
    try:
        for n in range(1, 50):
            for upload in uploads:
                await upload.send(piece + b"\r\n" + PART % n)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for upload in uploads:
            await upload.stop()
    assert used < 4 * MB, f"20 MB of uploads use {used / MB} MB of memory"


async def test_no_body_is_asked_for_a_config_that_does_not_exist(playhead: Playhead):
    async with serving(playhead.app) as address:
        reader, writer = await asyncio.open_connection(*address)
        head = "POST /api/v1/configs/nowhere/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n"
        writer.write(f"{head}Content-Type: {FORM['Content-Type']}\r\nExpect: 100-continue\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"config_not_found" in answer
    assert b"connection: close" in answer.lower()


def limited(app: ASGIApp, *, body: int = 1000, patience: float = 30.0) -> BodyLimit:
    return BodyLimit(app, body=body, upload=5000, patience=patience, linger=60.0)


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that reads a body to its end before it responds."""
    try:
        while (await receive()).get("more_body"):
            pass
    except PlayheadError as error:
        await answer(scope, error)(scope, receive, send)
    else:
        await Response()(scope, receive, send)


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that responds without reading the body."""
    await answer(scope, NotFound("not_found", "nothing is here"))(scope, receive, send)


async def test_a_body_that_stops_arriving_is_408():
    request = Sending(limited(reads, patience=0.2), "/", CHUNKED)
    await request.send(b"begun")
    assert await request.status() == 408


async def test_a_body_that_drips_is_408():
    request = Sending(limited(reads, patience=1.0), "/", CHUNKED)
    while not request.is_answered():
        await request.send(b" ")
        await asyncio.sleep(0.02)
    assert await request.status() == 408


async def test_a_slow_body_that_keeps_coming_is_read():
    """It takes four times as long as the server waits for a body that has stopped."""
    request = Sending(limited(reads, patience=0.5), "/a/run", FORM | CHUNKED)
    for _ in range(20):
        await request.send(b" " * (BYTES_PER_SECOND // 5))
        await asyncio.sleep(0.1)
    await request.send(None)
    assert await request.status() == 200


@pytest.mark.parametrize("headers", [CHUNKED, CHUNKED | FORM])
async def test_bodies_over_the_total_are_503_until_others_end(headers: dict[str, str]):
    app = limited(reads)
    size, count = (5000, UPLOADS_AT_ONCE) if headers.keys() & FORM.keys() else (1000, BODIES_AT_ONCE)
    held = [Sending(app, "/a/run", headers) for _ in range(count)]
    for request in held:
        await request.send(b" " * size)
    refused = Sending(app, "/a/run", headers)
    await refused.send(None)
    assert await refused.status() == 503
    await held[0].send(None)
    assert await held[0].status() == 200
    taken = Sending(app, "/a/run", headers)
    await taken.send(b" " * size)
    await taken.send(None)
    assert await taken.status() == 200


async def test_a_request_with_content_length_and_transfer_encoding_is_400(playhead: Playhead):
    """Such a request may be an attempt to smuggle a second one past a proxy (RFC 9112, section 6.1)."""
    answer = await playhead.http.post(
        "/api/v1/replay", content=b"{}", headers={"Content-Length": "2", "Transfer-Encoding": "chunked"}
    )
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("app", "status"), [(limited(reads), 413), (limited(refuses, body=10 * MB), 404)], ids=["413", "404"]
)
@pytest.mark.parametrize("hidden", [False, True])
async def test_a_client_that_is_still_sending_reads_the_refusal(app: ASGIApp, status: int, hidden: bool):
    """Closing a connection with unread bytes resets it, and the response with it."""
    async with (
        serving(app) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=60, trust_env=False) as http,
    ):
        for _ in range(2):
            answered = await http.post("/", content=_chunks(5 * MB) if hidden else b"a" * 5 * MB)
            assert answered.status_code == status
