"""A network that fails on demand: a TCP proxy for a server. It runs in threads, independent of event loops.

with Proxy(url) as network:
    ... network.url ...   # the same URL, through the proxy
    network.hold()        # requests reach the server; its answers wait in the proxy
    network.cut()         # ... and are lost: the client cannot know whether the request was executed
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

CHUNK = 65536
# Closed by a reset instead of a FIN, as when a machine fails.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards to the host and port of a URL, or of its `endpoint` if it has one.

    All methods are thread-safe. Each takes effect at once and lasts until its counterpart is called.

    Args:
        port: where it listens; by default, any free one.

    Attributes:
        url: the URL with the proxy's host and port in it.
        answered: number of bytes of answers that the proxy has passed on.
    """

    def __init__(self, url: str, port: int = 0) -> None:
        self._target = _target(url)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._accepting = True
        self._latency = 0.0
        self._passing = threading.Event()
        self._passing.set()
        self.answered = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self.url = through(url, self.port)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        with self._lock:
            return len(self._open) // 2

    def cut(self) -> None:
        """Reset every connection on both sides. Answers held back by `hold` are lost."""
        with self._lock:
            doomed, self._open = self._open, set()
        for end in doomed:
            _reset(end)

    def refuse(self) -> None:
        """Reset new connections at once; existing connections continue."""
        self._accepting = False

    def accept(self) -> None:
        """Forward new connections again."""
        self._accepting = True

    def hold(self) -> None:
        """Hold back the server's answers from now on. Requests still reach it."""
        self._passing.clear()

    def release(self) -> None:
        """Pass on the answers held back, and all later ones."""
        self._passing.set()

    def latency(self, seconds: float) -> None:
        """Delay every answer of the server."""
        self._latency = seconds

    def close(self) -> None:
        """Close the proxy and every connection. May be called twice."""
        self._accepting = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._passing.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._accepting:
                _reset(client)
                continue
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5.0)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open |= {client, server}
        asks = threading.Thread(target=self._pump, args=(client, server, False), daemon=True)
        asks.start()
        self._pump(server, client, True)
        asks.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(CHUNK):
                if answers:
                    time.sleep(self._latency)
                    self._passing.wait()
                sink.sendall(data)
                if answers:
                    with self._lock:
                        self.answered += len(data)
            self._ended(source, sink)
        except OSError:
            _reset(source)
            _reset(sink)

    def _ended(self, source: socket.socket, sink: socket.socket) -> None:
        """One side has finished sending; the other may still send."""
        with self._lock:
            is_cut = source not in self._open
        # A reader of a cut connection wakes as if the connection had ended cleanly.
        if is_cut:
            _reset(sink)
        else:
            sink.shutdown(socket.SHUT_WR)


def through(url: str, port: int) -> str:
    """Return the URL of a server for a proxy that listens on this port."""
    host, own = _target(url)
    return url.replace(f"{host}:{own}", f"127.0.0.1:{port}")


def _target(url: str) -> tuple[str, int]:
    parts = urlsplit(parse_qs(urlsplit(url).query).get("endpoint", [url])[0])
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{url} names no host and port")
    return parts.hostname, parts.port


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # A thread blocked in `recv` keeps the socket open after `close`. `shutdown` wakes it.
        end.shutdown(socket.SHUT_RD)
    end.close()
