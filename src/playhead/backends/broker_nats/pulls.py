"""Taking messages from a consumer: one request, one mailbox to which its answer comes.

A request says how many, and how long to wait for the first. The server sends what there is at once and
then says that there is no more; the end of a request is always told: by the last message asked for, or a
status.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import NamedTuple

from playhead.backends.broker_nats.link import ANSWER_SECONDS, Link, came_within, description_of, status_of

_NANOSECONDS = 1_000_000_000
_ALIVE = "100"
# A consumer hears of a message a moment after that was confirmed: who asks without waiting is told "none".
_LEAST_SECONDS = 0.01


class Pulled(NamedTuple):
    """What came: (where to ack it, raw headers) each; `at` is when the first came (monotonic).

    `status` is empty when all that was asked for came; `404` and `408` say that there was no more;
    anything else, with `words`, that it ended otherwise.
    """

    messages: list[tuple[str, bytes]]
    at: float
    status: str
    words: str


class _Request:
    """One request that is under way. `ended` comes with the status that ended it, and its words."""

    def __init__(self, limit: int, free: list[Mailbox]) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.at = 0.0
        self.left = limit
        self.is_wanted = True
        self.free = free
        self.ended: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()


class Mailbox:
    """Where the messages of one request at a time come to.

    One whose caller gave up still gets what was under way: it hands it back, and is free again when the
    request has ended.
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
        """Ask for up to `limit` messages, waiting up to `wait` seconds for the first.

        `free` gets this mailbox when the request has ended. May be cancelled: what came is handed back.

        Raises `Unavailable`.
        """
        wait = max(wait, _LEAST_SECONDS)
        body = json.dumps({"batch": limit, "no_wait": True, "expires": int(wait * _NANOSECONDS)}).encode()
        self._count += 1
        # A status comes to the address of its request; so that of an old one can't end a new one.
        self._address = f"{self.link.inbox}{self._name}.{self._count}".encode()
        request = self._request = _Request(limit, free)
        await self.link.send(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), self._address, len(body), body))
        try:
            await came_within(wait + ANSWER_SECONDS, request.ended)
        except asyncio.CancelledError:
            self._hand_back(request)
            raise
        # From here on the mailbox may be another's: only the request is ours.
        status, words = request.ended.result() if request.ended.done() else ("", "")
        if not request.ended.done():
            await self.link.unsubscribe(self._number)  # its end may never be told: it is not used again
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
        """Give what came to others now, instead of when its visibility runs out."""
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
