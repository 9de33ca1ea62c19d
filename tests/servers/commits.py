"""A proxy for PostgreSQL that drops the answer to a COMMIT: the commit happens, but the client gets no
answer.

with Commits(url) as network:
    network.lose("INSERT INTO outputs", 2)   # of the next two transactions with such a statement
    ... network.url ...
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final

from tests.servers.proxy import CHUNK, Proxy, _reset

_SIMPLE, _PARSE, _BIND = b"Q", b"P", b"B"
# The first message has no type: the protocol version, or a request for TLS.
_UNTYPED: Final = 4


class Commits(Proxy):
    """A `Proxy` that also reads the clients' messages, to find the statements of each transaction."""

    def __init__(self, url: str) -> None:
        self._wanted: dict[str, int] = {}
        #: The number of answers lost so far, by the words of the statement.
        self.lost: dict[str, int] = {}
        super().__init__(url)

    def lose(self, words: str, times: int = 1) -> None:
        """Drop the answers to the next COMMITs of transactions with a statement that contains these words.

        The connection is cut as soon as the server has committed.
        """
        with self._lock:
            self._wanted[words] = times
            self.lost.setdefault(words, 0)

    def _is_wanted(self, statements: list[str]) -> str | None:
        """Return the words because of which this transaction's answer is dropped, and count it."""
        with self._lock:
            for words, left in self._wanted.items():
                if left > 0 and any(words in statement for statement in statements):
                    self._wanted[words] -= 1
                    return words
        return None

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        if answers:
            super()._pump(source, sink, answers)
            return
        talk = _Talk()
        try:
            while data := source.recv(CHUNK):
                for message, ends in talk.messages(data):
                    words = self._is_wanted(talk.statements) if ends else None
                    if words is None:
                        sink.sendall(message)
                        continue
                    self._lose(words, message, client=source, server=sink)
                    return
            self._ended(source, sink)
        except OSError:
            _reset(source)
            _reset(sink)

    def _lose(self, words: str, commit: bytes, *, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self.lost[words] += 1  # before the client notices the loss
        # Only the way back ends here. The server's connection stays open, so it executes the COMMIT.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.shutdown(socket.SHUT_RDWR)
        client.close()
        server.sendall(commit)
        # The server reads in order, so it sees the end of the connection after the COMMIT.
        server.shutdown(socket.SHUT_WR)


class _Talk:
    """The messages of a client on one connection.

    Attributes:
        statements: of the transaction that is open, or ended last.
    """

    def __init__(self) -> None:
        self.statements: list[str] = []
        self._sleep = b""
        self._begun = False
        self._prepared: dict[bytes, str] = {}

    def messages(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Yield each complete message received so far, and whether it is a COMMIT."""
        self._sleep += data
        while True:
            head = 1 if self._begun else 0
            if len(self._sleep) < head + _UNTYPED:
                return
            length = head + int.from_bytes(self._sleep[head : head + _UNTYPED], "big")
            if len(self._sleep) < length:
                return
            message, self._sleep = self._sleep[:length], self._sleep[length:]
            if not self._begun:
                # A request for TLS is answered with one byte; then the client sends the real first message.
                self._begun = int.from_bytes(message[4:8], "big") >> 16 == 3
                yield message, False
            else:
                yield message, self._ends(message)

    def _ends(self, message: bytes) -> bool:
        kind, body = message[:1], message[5:]
        if kind == _PARSE:
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text.decode()
        elif kind == _BIND:
            _, name, _ = body.split(b"\0", 2)
            self.statements.append(self._prepared.get(name, ""))
        elif kind == _SIMPLE:
            sql = body.rstrip(b"\0").decode()
            if sql == "COMMIT":
                return True
            if sql.startswith("BEGIN"):
                self.statements.clear()
            self.statements.append(sql)
        return False
