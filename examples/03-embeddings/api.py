"""A web site and an embeddings service on this machine, with a key, a rate limit and failures.

    python api.py 127.0.0.1:8128 [SEED]

    GET  /teas            the names and URLs of all pages, in JSON Lines
    GET  /teas/NAME       a page; `menu` is a PDF
    POST /v1/embeddings   vectors of texts, as in the API of OpenAI; needs the key `key-of-the-example`
    GET  /calls           the number of calls, by result

Above 5 calls per second, the answer is 429 with `Retry-After`. A quarter of the other calls,
chosen by SEED, get 503.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
import zlib
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALLS_PER_SECOND = 5
FAILURES = 0.25
KEY = "key-of-the-example"
DIMENSIONS = 256

# name: origin, water temperature, steeping time, taste
TEAS = {
    "assam": ("India", 95, 4, "malt and honey"),
    "bancha": ("Japan", 80, 2, "straw and toast"),
    "darjeeling": ("India", 90, 3, "muscat grapes"),
    "genmaicha": ("Japan", 85, 2, "roasted rice"),
    "gyokuro": ("Japan", 55, 2, "seaweed and broth"),
    "keemun": ("China", 95, 3, "cocoa and smoke"),
    "longjing": ("China", 80, 3, "chestnuts"),
    "oolong": ("Taiwan", 90, 4, "lilac and butter"),
    "rooibos": ("South Africa", 100, 6, "vanilla and wood"),
    "sencha": ("Japan", 70, 2, "cut grass"),
}


def page(name: str) -> str:
    """Return a page in HTML: a paragraph, a table and a list."""
    origin, degrees, minutes, taste = TEAS[name]
    title = name.capitalize()
    return f"""<!doctype html><html><head><title>{title}</title></head><body>
        <h1>{title}</h1><p>{title} is a tea from {origin}.</p>
        <h2>Brewing</h2><table>
        <tr><th>water temperature</th><th>time</th></tr>
        <tr><td>{degrees} °C</td><td>{minutes} minutes</td></tr></table>
        <h2>Taste</h2><ul><li>{taste}</li></ul></body></html>"""


def vector(text: str) -> list[float]:
    """Count the words of a text: a simple embedding, without a model."""
    found = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        found[zlib.crc32(word.encode()) % DIMENSIONS] += 1
    return found


class Gate:
    """The rate limit, the failures and the number of calls."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._free, self._since = float(CALLS_PER_SECOND), time.monotonic()
        self._served: Counter[str] = Counter()
        self._statuses = {"pages": Counter[int](), "embeddings": Counter[int]()}
        self._texts = 0

    def status(self, kind: str, path: str) -> int:
        """Count a call, and return its status: 200, 429 or 503."""
        with self._lock:
            status = self._status(path)
            self._statuses[kind][status] += 1
            return status

    def embedded(self, texts: int) -> None:
        with self._lock:
            self._texts += texts

    def report(self) -> str:
        with self._lock:
            lines = [
                f"{kind:11} {found[200]:2} answered, {found[429]} rejected (429), {found[503]} failed (503)\n"
                for kind, found in self._statuses.items()
            ]
            return "".join([*lines, f"{'texts':11} {self._texts:2} embedded\n"])

    def _status(self, path: str) -> int:
        now = time.monotonic()
        self._free = min(CALLS_PER_SECOND, self._free + (now - self._since) * CALLS_PER_SECOND)
        self._since = now
        if self._free < 1:
            return 429
        self._free -= 1
        self._served[path] += 1
        fails = random.Random(f"{self._seed} {path} {self._served[path]}").random() < FAILURES
        return 503 if fails else 200


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: Gate

    def do_GET(self) -> None:
        name = self.path.removeprefix("/teas/")
        if self.path == "/calls":
            self.answer(200, self.gate.report())
        elif self.path == "/teas":
            site = f"http://{self.headers['Host']}/teas"
            pages = [json.dumps({"name": one, "url": f"{site}/{one}"}) for one in ("menu", *TEAS)]
            self.answer(200, "\n".join(pages) + "\n")
        elif name not in TEAS and name != "menu":
            self.answer(404, "no such page\n")
        elif self.may_continue("pages"):
            if name == "menu":
                self.answer(200, "%PDF-1.7\n", "application/pdf")
            else:
                self.answer(200, page(name), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/embeddings":
            self.answer(404, "no such service\n")
        elif self.headers["Authorization"] != f"Bearer {KEY}":
            self.answer(401, "wrong key\n")
        elif self.may_continue("embeddings"):
            texts = json.loads(body)["input"]
            self.gate.embedded(len(texts))
            data = [{"index": number, "embedding": vector(text)} for number, text in enumerate(texts)]
            self.answer(200, json.dumps({"data": data}), "application/json")

    def may_continue(self, kind: str) -> bool:
        status = self.gate.status(kind, self.path)
        if status != 200:
            self.answer(status, "try again\n")
        return status == 200

    def answer(self, status: int, text: str, content_type: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: `/calls` reports the calls."""


if __name__ == "__main__":
    host, port = sys.argv[1].split(":")
    Service.gate = Gate(sys.argv[2] if len(sys.argv) > 2 else "1")
    ThreadingHTTPServer((host, int(port)), Service).serve_forever()
