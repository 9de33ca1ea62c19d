"""A fake HTTP API with a rate limit: it counts calls, and answers 429 to calls above its limit."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LimitedApi:
    """Allows `calls` calls in any period of `seconds`.

    Args:
        refuses: the share of the other calls that it refuses as well.
        latency: seconds that an allowed call takes.

    Attributes:
        served: times of the calls that it allowed.
        rejected: number of calls that it answered with 429.
        refused: those of them that it would have allowed by their rate.
        most_at_once: the largest number of calls that were in progress at one moment.
    """

    def __init__(
        self, calls: int, seconds: float, *, refuses: float = 0, latency: float = 0, retry_after: float = 1
    ) -> None:
        self.calls, self.seconds, self.refuses, self.latency = calls, seconds, refuses, latency
        self.retry_after = retry_after
        self.served: list[float] = []
        self.rejected = self.refused = self.most_at_once = self._at_once = 0
        self._recent: deque[float] = deque()
        self._random = random.Random(7)
        self._lock = threading.Lock()
        self.url = ""

    def admits(self) -> bool:
        with self._lock:
            now = time.monotonic()
            while self._recent and self._recent[0] <= now - self.seconds:
                self._recent.popleft()
            if len(self._recent) >= self.calls:
                self.rejected += 1
                return False
            if self._random.random() < self.refuses:
                self.rejected += 1
                self.refused += 1
                return False
            self._recent.append(now)
            self.served.append(now)
            return True

    @contextmanager
    def _in_progress(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        yield
        with self._lock:
            self._at_once -= 1

    @contextmanager
    def running(self) -> Iterator[LimitedApi]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if api.admits():
                    with api._in_progress():
                        time.sleep(api.latency)
                    self._answer(200, body.upper())
                else:
                    self._answer(429, b"slow down")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if status == 429:
                    self.send_header("Retry-After", str(api.retry_after))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
