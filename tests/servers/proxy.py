"""A network that fails when told: a TCP proxy before a server, in threads, so that it works beside any
event loop.

    with Proxy(url) as network:
        ... network.url ...   # the same URL, through the proxy
        network.hold()        # the server gets everything, its answers wait here
        network.cut()         # ... and are lost: sent, and nobody knows whether it was done
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
# Closed by a reset, not in good order: as when a machine goes away.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards to the host and port of a URL (of its `endpoint`, where it has one).

    All methods may be called from any thread, take effect at once, and stay in force until taken back.

    Attributes:
        url: the URL with the proxy's host and port in it.
    """

    def __init__(self, url: str) -> None:
        endpoint = parse_qs(urlsplit(url).query).get("endpoint", [url])[0]
        parts = urlsplit(endpoint)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{url} names no host and port")
        self._target = (parts.hostname, parts.port)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._accepting = True
        self._latency = 0.0
        self._passing = threading.Event()
        self._passing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{self.port}")
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        """How many there are just now."""
        with self._lock:
            return len(self._open) // 2

    def cut(self) -> None:
        """Resets every connection, on both sides. Answers that `hold` kept back are lost."""
        with self._lock:
            doomed, self._open = self._open, set()
        for end in doomed:
            _reset(end)

    def refuse(self) -> None:
        """New connections are reset as soon as they are made; those there are go on."""
        self._accepting = False

    def accept(self) -> None:
        """New connections are forwarded again."""
        self._accepting = True

    def hold(self) -> None:
        """Keeps back what the server says from now on; what it is sent still reaches it."""
        self._passing.clear()

    def release(self) -> None:
        """Passes on what was kept back, and what comes."""
        self._passing.set()

    def latency(self, seconds: float) -> None:
        """Delays everything that the server says."""
        self._latency = seconds

    def close(self) -> None:
        """Ends it and every connection. May be called twice."""
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
            self._ended(source, sink)
        except OSError:
            _reset(source)
            _reset(sink)

    def _ended(self, source: socket.socket, sink: socket.socket) -> None:
        """One side has said all that it had to say; the other may still be talking."""
        with self._lock:
            is_cut = source not in self._open
        # What wakes who reads from a connection that is cut looks like its end in good order.
        if is_cut:
            _reset(sink)
        else:
            sink.shutdown(socket.SHUT_WR)


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # A thread that waits in `recv` holds the socket open through `close`; this wakes it.
        end.shutdown(socket.SHUT_RD)
    end.close()
