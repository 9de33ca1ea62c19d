"""Limits on connections: time and size of a request head, and the number of open connections."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from playhead.api.answers import answer
from playhead.api.callers import CLOSE, CROWDED
from playhead.api.middleware import GUARDS, HEADER
from playhead.errors import PlayheadError
from playhead.ids import uuid7

MAX_HEAD_BYTES: Final = 65_536
"""Limit of request line and headers together."""
HEAD_SECONDS: Final = 10.0
TOLD: Final = 50
"""This many connections beyond the limit get a 503; further ones are closed at once."""
_PIECE: Final = 4096
"""A head is parsed in pieces of this size, so it exceeds its limit by less than that when it is refused."""


class Connection(H11Protocol):
    """A connection that must send a whole head within `HEAD_SECONDS`, and gets Playhead's errors.

    It uses h11 even if a faster parser is installed: h11 limits the head, and refuses a request without
        `Host`
    or with two. `limit_concurrency` is the number of served connections. With uvicorn's own meaning,
    requests on connections that are already open could be refused, too.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        most = self.config.limit_concurrency or sys.maxsize
        self.limit_concurrency = None
        over = len(self.connections) - most
        if over > TOLD:
            transport.abort()
            return
        if over > 0:
            self.app_state = {**self.app_state, CROWDED: most}
        self._watch()

    def data_received(self, data: bytes) -> None:
        # h11 checks the limit of a head only until it has received the end of the head.
        while data and not self._is_asked() and not self.transport.is_closing():
            super().data_received(data[:_PIECE])
            data = data[_PIECE:]
        if data and not self.transport.is_closing():
            super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer an invalid request. `msg` is uvicorn's text, which does not name the fault."""
        if self._is_asked():  # within a body
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        cause = sys.exception()
        why, _, _ = str(cause or msg).partition(": bytearray")  # h11 appends the received bytes
        detail = f"the request is not valid HTTP/1.1: {why}"
        if getattr(cause, "error_status_hint", 400) == 431:
            detail = f"request line and headers are larger than {MAX_HEAD_BYTES} bytes"
        self.transport.write(_raw(PlayheadError("invalid_request", detail)))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore the upgrade: the request is answered like any other, without a warning in the log."""

    def _is_asked(self) -> bool:
        """Whether a request is being processed."""
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """Start or stop the deadline for a head. uvicorn's own time-out is only for idle connections."""
        if self._is_asked() or self.transport.is_closing():
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._out_of_time)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _out_of_time(self) -> None:
        self._deadline = None
        if not self._is_asked():
            self.transport.close()


def _raw(error: PlayheadError) -> bytes:
    """Return the bytes of an error response. After a parser error, h11 cannot write one."""
    identity = str(uuid7())
    scope: dict[str, Any] = {"type": "http", "state": {"correlation_id": identity}}
    response = answer(scope, error, {HEADER: identity, **dict(GUARDS), **CLOSE})
    head = f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}\r\n".encode()
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return head + lines + b"\r\n" + bytes(response.body)
