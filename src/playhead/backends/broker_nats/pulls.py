"""Pulling messages from a consumer: each request has a mailbox, which receives its messages.

A request names the number of messages and the time to wait for the first. The server sends the ready messages
at once, and then a status. A request always ends with the last requested message or with a status.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import NamedTuple

from playhead.backends.broker_nats.frames import description_of, status_of
from playhead.backends.broker_nats.link import ANSWER_SECONDS, Link
from playhead.clock import done_within

_NANOSECONDS = 1_000_000_000
_ALIVE = "100"
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


class _Request:
    """One request in progress. `ended` is set to its final status and text."""

    def __init__(self, limit: int, free: list[Mailbox]) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.at = 0.0
        self.left = limit
        self.is_wanted = True
        self.free = free
        self.ended: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()


class Mailbox:
    """Receives the messages of one request at a time.

    After its caller was cancelled, it still receives the messages that were sent, and returns them to the
    queue. It is free again when the request has ended.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._name = link.new_name()
        self._number = 0
        self._count = 0
        self._address = b""
        self._request: _Request | None = None

    @classmethod
    async def on(cls, link: Link) -> Mailbox:
        mailbox = cls(link)
        mailbox._number = await link.subscribe(f"{mailbox._name}.*", mailbox._on_message, mailbox._lost)
        return mailbox

    async def pull(self, subject: str, limit: int, wait: float, free: list[Mailbox]) -> Pulled:
        """Request up to `limit` messages, and wait up to `wait` seconds for the first.

        The mailbox is appended to `free` when the request has ended. If the call is cancelled, the messages
        that arrived return to the queue.

        Raises `Unavailable`.
        """
        wait = max(wait, _LEAST_SECONDS)
        body = json.dumps({"batch": limit, "no_wait": True, "expires": int(wait * _NANOSECONDS)}).encode()
        self._count += 1
        # Each request has its own address, so a late status of an old request cannot end a new one.
        self._address = f"{self.link.inbox}{self._name}.{self._count}".encode()
        request = self._request = _Request(limit, free)
        await self.link.send(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), self._address, len(body), body))
        try:
            await done_within(wait + ANSWER_SECONDS, request.ended)
        except asyncio.CancelledError:
            self._hand_back(request)
            raise
        # From here on another request may use the mailbox.
        status, words = request.ended.result() if request.ended.done() else ("", "")
        if not request.ended.done():
            await self.link.unsubscribe(self._number)  # its end may never arrive, so it is not used again
        if not request.messages:
            if self.link.lost_because is not None:
                raise self.link.unavailable(f"was lost before it answered {subject}")
            if not request.ended.done():
                raise self.link.unavailable(f"did not answer {subject} within {wait + ANSWER_SECONDS:g} s")
        return Pulled(request.messages, request.at, status, words)

    def _on_message(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        request = self._request
        if request is None or request.ended.done():
            if reply:
                self._nak([reply])
            return
        if reply:
            if not request.messages:
                request.at = time.monotonic()
            request.messages.append((reply.decode("utf-8", "replace"), headers or b""))
            if not request.is_wanted:
                self._hand_back(request)
            request.left -= 1
            if request.left == 0:
                self._end(request, "", "")
        elif headers and subject == self._address and (status := status_of(headers)) != _ALIVE:
            self._end(request, status, description_of(headers))

    def _hand_back(self, request: _Request) -> None:
        """Return messages to the queue now, instead of when their visibility ends."""
        request.is_wanted = False
        messages, request.messages = request.messages, []
        if messages:
            self._nak([ack.encode() for ack, _ in messages])

    def _nak(self, acks: list[bytes]) -> None:
        self.link.post(b"".join(b"PUB %b 4\r\n-NAK\r\n" % ack for ack in acks))

    def _end(self, request: _Request, status: str, words: str) -> None:
        request.ended.set_result((status, words))
        request.free.append(self)

    def _lost(self, why: str) -> None:
        request = self._request
        if request is not None and not request.ended.done():
            request.ended.set_result(("", why))
