"""An S3 server whose objects are computed: a bucket of 1,000,000 keys costs nothing.

It supports ListObjectsV2, HEAD and GET, and refuses requests on demand. In the event loop of a test:

    async with standing_in(StandIn(["run/s/a.md", "run/s/b/"])) as url:
        store = ObjectStore(url, …)

or as a separate process, with computed keys (`--layout flat|folders|pages`):

    python -m tests.servers.s3_arithmetic --port 9000 --keys 1000000 --layout flat --latency 0.03
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.servers.process import Server

BUCKET: Final = "playhead"
PAGE: Final = 1000

Refusal = Callable[[str, str], tuple[int, str, str] | None]
"""Maps method and target of a request to a status, S3's code and a message; None lets it through."""


class Computed(Sequence[str]):
    """Computed keys in byte order: the n-th is `key(n)`."""

    def __init__(self, count: int, key: Callable[[int], str]) -> None:
        self._count = count
        self._key = key

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, n):
        if n >= self._count:
            raise IndexError(n)
        return self._key(n)


def flat(prefix: str) -> Callable[[int], str]:
    """Objects and their sidecars in one folder."""
    return lambda n: f"{prefix}/{n // 2:07}.md{'.meta.json' if n % 2 else ''}"


def folders(prefix: str, each: int) -> Callable[[int], str]:
    """The same with `each` keys in a folder, like the outputs of a step that splits."""
    return lambda n: f"{prefix}/page-{n // each:07}/{n % each // 2:04}.md{'.meta.json' if n % 2 else ''}"


class StandIn:
    """The content and the behaviour of the server, and the requests it received.

    Attributes:
        latency: seconds before each answer.
        size: of each object, in bytes.
        stored: uploaded objects. They are separate from `keys` and do not appear in listings.
        refuse: decides which requests are refused, and how.
        is_full: whether only empty objects are accepted.
        requests: the number of requests by kind: `LIST`, `HEAD`, `GET` …
        most_at_once: the maximum number of concurrent requests.
    """

    def __init__(
        self, keys: Sequence[str], *, latency: float = 0.0, size: int | Callable[[str], int] = 0
    ) -> None:
        self.keys = keys
        self.latency = latency
        self.size = size if callable(size) else lambda key: size
        self.stored: dict[str, bytes] = {}
        self.refuse: Refusal = lambda method, target: None
        self.is_full = False
        self.requests: Counter[str] = Counter()
        self.most_at_once = 0
        self._at_once = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                method, target, length = head
                sent = await reader.readexactly(length)
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                try:
                    status, body = await self._answer(method, target, sent)
                finally:
                    self._at_once -= 1
                writer.write(
                    (
                        f'HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nETag: "e"\r\n'
                        "Last-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n\r\n"
                    ).encode()
                    + (b"" if method == "HEAD" else body)
                )
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, target: str, sent: bytes) -> tuple[int, bytes]:
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True)
        key = unquote(parts.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        self.requests["LIST" if "list-type" in query else method] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        refused = self.refuse(method, target)
        if refused is None and self.is_full and method == "PUT" and sent:
            refused = (507, "QuotaExceeded", "The quota of the bucket is used up")
        if refused:
            status, code, words = refused
            return status, f"<Error><Code>{code}</Code><Message>{words}</Message></Error>".encode()
        if "list-type" in query:
            return 200, self._list({name: values[0] for name, values in query.items()})
        if method == "PUT":
            self.stored[key] = sent
            return 200, b""
        if key in self.stored:
            return 200, self.stored[key]
        at = bisect_left(self.keys, key)
        if at < len(self.keys) and self.keys[at] == key:
            return 200, b"x" * self.size(key)
        return 404, b"<Error><Code>NoSuchKey</Code><Message>None.</Message></Error>"

    def _list(self, query: dict[str, str]) -> bytes:
        prefix = query.get("prefix", "")
        if token := query.get("continuation-token"):
            start = int(token)
        else:
            start = max(bisect_left(self.keys, prefix), bisect_right(self.keys, query.get("start-after", "")))
        page: list[str] = []
        while len(page) < PAGE and start < len(self.keys) and (key := self.keys[start]).startswith(prefix):
            page.append(key)
            start += 1
        more = start < len(self.keys) and self.keys[start].startswith(prefix)
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            f'<ETag>"e"</ETag><Size>{self.size(key)}</Size></Contents>'
            for key in page
        )
        end = f"<NextContinuationToken>{start}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{end}{rows}</ListBucketResult>"
        ).encode()


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, int] | None:
    """Method, target and length of the body of the next request; None at the end."""
    if not (line := await reader.readline()):
        return None
    method, target, _ = line.decode().split(" ", 2)
    length = 0
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return method, target, length


@asynccontextmanager
async def standing_in(stand_in: StandIn, *, prefix: str = "") -> AsyncIterator[str]:
    """Serve in the current event loop during the block; yield the URL in the form of Playhead's settings."""
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield address(port, prefix)
    finally:
        server.close()


def address(port: int, prefix: str = "") -> str:
    return f"s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{port}&region=us-east-1"


class Arithmetic(Server):
    """The same as a separate process, so that it uses no processor time of the measured process."""

    name: ClassVar[str] = "s3-arithmetic"

    @property
    def url(self) -> str:
        return address(self.port)

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", __name__, "--port", str(self.port)]

    def options(self) -> dict[str, object]:
        return {}

    def answers(self) -> bool:
        import socket

        socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        return True


def main() -> None:
    parse = argparse.ArgumentParser()
    parse.add_argument("--port", type=int, required=True)
    parse.add_argument("--keys", type=int, default=1_000_000)
    parse.add_argument("--layout", choices=("flat", "folders", "pages"), default="flat")
    parse.add_argument("--prefix", default="run/stage")
    parse.add_argument("--latency", type=float, default=0.0)
    asked = parse.parse_args()
    layouts = {
        "flat": flat(asked.prefix),
        "folders": folders(asked.prefix, 10_000),
        "pages": folders(asked.prefix, 20),
    }
    stand_in = StandIn(Computed(asked.keys, layouts[asked.layout]), latency=asked.latency, size=1)

    async def serve() -> None:
        server = await asyncio.start_server(stand_in.serve, "127.0.0.1", asked.port)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
