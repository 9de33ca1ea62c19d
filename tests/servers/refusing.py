"""A proxy for S3 that refuses requests on demand: 503 SlowDown, 403 AccessDenied.

with Refusing(url) as store:
    store.refuse(503, "SlowDown")
    ... store.url ...
    store.accept()
"""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Refusing:
    """Passes on complete requests, one at a time. A request that it has begun to pass on is completed.

    Attributes:
        url: the URL with the proxy in place of the server.
        refused: the number of requests refused so far.
    """

    def __init__(self, url: str) -> None:
        endpoint = urlsplit(parse_qs(urlsplit(url).query)["endpoint"][0])
        assert endpoint.hostname
        assert endpoint.port
        self._target = (endpoint.hostname, endpoint.port)
        self._refusal: tuple[int, str] | None = None
        self._lock = threading.Lock()
        self.refused = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.front = self
        self.port = self._server.server_port
        self.url = url.replace(f"{endpoint.hostname}:{endpoint.port}", f"127.0.0.1:{self.port}")
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def refuse(self, status: int, code: str) -> None:
        """Answer every request with this error from now on."""
        self._refusal = (status, code)

    def accept(self) -> None:
        """Pass requests on again."""
        self._refusal = None

    def close(self) -> None:
        """Close the proxy. May be called twice."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Refusing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, request: _Handler) -> None:
        """Answer one request."""
        # Read even if it is refused: the next request follows on the same connection.
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        refusal = self._refusal
        if refusal is not None:
            with self._lock:
                self.refused += 1
            status, code = refusal
            words = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>for now</Message></Error>"
            request.give(status, {"Content-Type": "application/xml"}, words.encode())
            return
        server = http.client.HTTPConnection(*self._target, timeout=30.0)
        try:
            # Unchanged, because the signature covers the name of this host.
            server.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                server.putheader(name, value)
            server.endheaders(body)
            answer = server.getresponse()
            request.give(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    front: Refusing

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client or the server has closed its connection, as these tests intend."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.front.answer(self)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def give(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        # An answer to HEAD has a Content-Length but no body.
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
