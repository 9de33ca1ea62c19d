"""A proxy that ends TLS in front of a server, as in production."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress


class TlsProxy:
    """Forwards connections on a free port of localhost to a port of 127.0.0.1. A context manager."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._to = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.origin = f"https://localhost:{self._server.getsockname()[1]}"

    def forward_to(self, port: int) -> None:
        """Accept connections from now on."""
        self._to = port
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                threading.Thread(target=self._serve, args=self._server.accept()[:1], daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with (
            suppress(OSError),
            self._tls.wrap_socket(raw, server_side=True) as outer,
            socket.create_connection(("127.0.0.1", self._to)) as inner,
        ):
            threading.Thread(target=_copy, args=(inner, outer), daemon=True).start()
            _copy(outer, inner)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
