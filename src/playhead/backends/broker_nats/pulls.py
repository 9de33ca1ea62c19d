"""Pulling messages from a consumer.

A request names the number of messages and the time to wait for the first. The server sends the ready messages
at once, and then a status. A request always ends with the last requested message or with a status.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final, NamedTuple

from playhead.backends.broker_nats.frames import description_of, status_of
from playhead.backends.broker_nats.link import ANSWER_SECONDS, Link
from playhead.clock import done_within
from playhead.errors import Unavailable

_NANOSECONDS = 1_000_000_000
# A consumer learns of a message a moment after its confirmation. A request without any wait would miss it.
_LEAST_SECONDS = 0.01


class Pulled(NamedTuple):
    """The result of a request.

    Attributes:
        messages: the address to acknowledge each message at, and its raw headers.
        at: when the first message arrived (monotonic).
        status: empty when all requested messages arrived; `404` and `408` mean that there are no more. Any
            other status is a failure, which `words` describes.
    """

    messages: list[tuple[str, bytes]]
    at: float
    status: str
    words: str


NOTHING: Final = Pulled([], 0.0, "404", "")


async def pull(link: Link, subject: str, limit: int, wait: float | None) -> Pulled:
    """Request up to `limit` messages, and wait up to `wait` seconds for the first; None: do not wait at all.

    If the call is cancelled, the messages that arrive return to the queue.

    Raises `Unavailable`.
    """
    if limit <= 0:
        return NOTHING
    asked: dict[str, Any] = {"batch": limit, "no_wait": True}
    if wait is not None:
        wait = max(wait, _LEAST_SECONDS)
        asked["expires"] = int(wait * _NANOSECONDS)
    wait = wait or 0.0
    request = _Request(link, limit)
    inbox = f"{link.inbox}m.{request.number}"
    body = json.dumps(asked)
    command = f"SUB {inbox} {request.number}\r\nPUB {subject} {inbox} {len(body)}\r\n{body}\r\n"
    try:
        await link.send(command.encode())
        await done_within(wait + ANSWER_SECONDS, request.ended)
    except asyncio.CancelledError:
        request.hand_back()
        raise
    except Unavailable:
        link.unsubscribe(request.number)  # nothing was sent
        raise
    if not request.ended.done():
        link.unsubscribe(request.number)  # its end may never arrive
        if not request.messages:
            raise link.unavailable(f"did not answer {subject} within {wait + ANSWER_SECONDS:g} s")
        return Pulled(request.messages, request.at, "", "")
    if not request.messages and link.lost_because is not None:
        raise link.unavailable(f"was lost before it answered {subject}")
    return Pulled(request.messages, request.at, *request.ended.result())


def hand_back(link: Link, pulled: Pulled) -> None:
    """Return messages to the queue now, instead of when their visibility ends."""
    if pulled.messages:
        link.post(returning(pulled))


def returning(pulled: Pulled) -> bytes:
    """The commands that return messages to the queue."""
    return b"".join(b"PUB %b 4\r\n-NAK\r\n" % ack.encode() for ack, _ in pulled.messages)


class _Request:
    """One request in progress, with its own subscription.

    After its caller was cancelled, it still receives the messages that were sent, and returns them to the
    queue.

    Attributes:
        number: of the subscription.
        messages, at: see `Pulled`.
        ended: set to the final status and its text.
    """

    def __init__(self, link: Link, limit: int) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.at = 0.0
        self.ended: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        self.number = link.subscribe(self._on_message, self._lost)
        self._link = link
        self._left = limit
        self._is_wanted = True

    def hand_back(self) -> None:
        """Return the messages to the queue, and those that still arrive."""
        self._is_wanted = False
        hand_back(self._link, Pulled(self.messages, self.at, "", ""))
        self.messages = []

    def _on_message(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        if reply:
            if not self.messages:
                self.at = time.monotonic()
            self.messages.append((reply.decode("utf-8", "replace"), headers or b""))
            if not self._is_wanted:
                self.hand_back()
            self._left -= 1
            if self._left == 0:
                self._end("", "")
        elif headers:
            self._end(status_of(headers), description_of(headers))

    def _end(self, status: str, words: str) -> None:
        self._link.unsubscribe(self.number)
        self.ended.set_result((status, words))

    def _lost(self, why: str) -> None:
        self._end("", why)
