"""An embedding service on this machine: `python -m bench.peers.service`. It prints its port.

    POST /embeddings    {"texts": […]}, at most 64 of them; returns {"vectors": […]}
    GET  /counts        calls, texts, and calls with too many texts since the start

A call takes 20 ms, for any number of texts. A vector depends only on its text.
"""

from __future__ import annotations

import json
import threading
import time
from hashlib import shake_256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

MOST_TEXTS: Final = 64
DIMENSIONS: Final = 256
_SECONDS: Final = 0.02


def vector(text: str) -> list[float]:
    """Return numbers that 32-bit floats represent exactly."""
    return [byte / 128 - 1 for byte in shake_256(text.encode()).digest(DIMENSIONS)]


class Service(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.counts = {"calls": 0, "texts": 0, "rejected": 0}
        self.lock = threading.Lock()

    def count(self, **numbers: int) -> None:
        with self.lock:
            for name, number in numbers.items():
                self.counts[name] += number


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self._answer(200, self.server.counts)

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["texts"]
        if len(texts) > MOST_TEXTS:
            self.server.count(calls=1, rejected=1)
            self._answer(413, {"error": f"more than {MOST_TEXTS} texts"})
            return
        self.server.count(calls=1, texts=len(texts))
        time.sleep(_SECONDS)
        self._answer(200, {"vectors": [vector(text) for text in texts]})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: `/counts` reports the calls."""


if __name__ == "__main__":
    service = Service()
    print(service.server_address[1], flush=True)
    service.serve_forever()
