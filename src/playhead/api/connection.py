"""A connection: how long it may take to ask, how much it may ask with, and how many there may be."""

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
"""Of request line and headers."""
HEAD_SECONDS: Final = 10.0
TOLD: Final = 50
"""So many connections beyond the limit are told of it; any more are closed unheard."""
_PIECE: Final = 4096
"""How much of a head is looked at in one go: it is over its limit by less than that when it is refused."""


class Connection(H11Protocol):
    """A connection that has `HEAD_SECONDS` to say a whole head, and is always answered in our words.

    h11 whatever else is installed: it limits the head, and takes none without a `Host` or with two.
    `limit_concurrency` is the number of connections that are served. uvicorn's own meaning of it would refuse
    requests of those that are open already, too.
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
        # h11 minds the limit of a head only while its end is not there.
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
        """Answer what is no request. `msg` is uvicorn's, and does not say what is wrong."""
        if self._is_asked():  # in the middle of a body
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        cause = sys.exception()
        why, _, _ = str(cause or msg).partition(": bytearray")  # what came, as only Python writes it
        detail = f"this is no request of HTTP/1.1: {why}"
        if getattr(cause, "error_status_hint", 400) == 431:
            detail = f"request line and headers are larger than {MAX_HEAD_BYTES} bytes"
        self.transport.write(_raw(PlayheadError("invalid_request", detail)))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """There is nothing to upgrade to. The request is answered as any other; no need to tell of it."""

    def _is_asked(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """Let the time run for a head that has begun; uvicorn's own is for connections that say nothing."""
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
    """The bytes of an answer to what the parser could not take, after which it can say nothing itself."""
    identity = str(uuid7())
    scope: dict[str, Any] = {"type": "http", "state": {"correlation_id": identity}}
    told = answer(scope, error, {HEADER: identity, **dict(GUARDS), **CLOSE})
    head = f"HTTP/1.1 {told.status_code} {HTTPStatus(told.status_code).phrase}\r\n".encode()
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in told.raw_headers)
    return head + lines + b"\r\n" + bytes(told.body)
