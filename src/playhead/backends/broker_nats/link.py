"""One connection to NATS, until it is lost. A lost connection is replaced, never repaired.

So all requests in progress fail at once, and no message is sent after its caller gave up. The reconnection of
nats-py is not used: it keeps a buffer, and it stops for good at some errors.

`docs/decisions/0010-nats-transport.md` states why private parts of nats-py are used.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

import nats.errors
from nats.aio.client import Client

from playhead.backends.broker_nats.address import Address
from playhead.backends.broker_nats.confirmations import ConfirmationParser
from playhead.backends.broker_nats.frames import status_of
from playhead.clock import done_within
from playhead.errors import Unavailable, broker_unavailable

ANSWER_SECONDS = 5.0
"""How long to wait for the answer to a request."""

_CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_PING_EVERY_SECONDS = 2.0
_PING_SECONDS = 5.0
_LATELY_SECONDS = 10.0
_MOST_UNSENT_BYTES = 8 * 1024 * 1024
# Above this limit nats-py waits forever and cannot be cancelled, so the limit must never be reached.
_NEVER_BYTES = 64 * 1024 * 1024

_NO_TLS = "it offers no TLS"

Handler = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Called with subject, reply, data and the raw headers of a message."""


class Answer(NamedTuple):
    """A reply. `status` is empty, except in a reply of the server itself, such as `503` for no listener."""

    status: str
    data: bytes


class Waiting(Protocol):
    """Waits for answers."""

    def answered(self, number: int, answer: Answer) -> None: ...

    def lost(self, why: str) -> None: ...


class _Client(Client):
    def __init__(self, *, encrypted: bool) -> None:
        super().__init__()
        self._ps = self.parser = ConfirmationParser(self)
        self.handlers: dict[int, Handler] = {}
        self.closing: Callable[[], None] = lambda: None
        self._encrypted = encrypted

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        # Called first, because closing a broken connection may block or fail before its own callback.
        self.closing()
        with contextlib.suppress(OSError):
            await super()._close(status, do_cbs)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        handler = self.handlers.get(sid)
        if handler:
            handler(subject, reply, data, headers)

    def _connect_command(self) -> bytes:
        # The last moment before user and password are sent.
        if self._encrypted and not self._server_info.get("tls_required"):
            raise nats.errors.Error(_NO_TLS)
        return super()._connect_command()


class Link:
    """One connection.

    Attributes:
        server: the `host:port` of the server.
        version: the version of the server.
        lost_because: None while connected.
        ended: set when the connection is lost or closed.
        most_bytes: the size limit of one message with its headers.
    """

    def __init__(self, server: str, client: _Client) -> None:
        self.server = server
        self.lost_because: str | None = None
        self.ended = asyncio.Event()
        self._client = client
        self._reported: str | None = None
        self._reported_at = 0.0
        self._waiting: dict[int, Waiting] = {}
        self._number = 0
        self._lost: dict[int, Callable[[str], None]] = {}
        self._subscriptions = 0
        self._ends = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self.inbox = ""
        self._skip = 0

    @property
    def version(self) -> str:
        return str(self._client.connected_server_version).strip("<>").removeprefix("nats server v")

    @property
    def is_clustered(self) -> bool:
        """Whether the server is part of a cluster."""
        return bool(self._client.discovered_servers)

    @property
    def most_bytes(self) -> int:
        return self._client.max_payload

    # -- opening and closing -----------------------------------------------------------------------

    @classmethod
    async def connect(cls, address: Address) -> Link:
        """Connect to any of the servers. Raises `Unavailable`, with the failure of each."""
        failures = []
        for server in random.sample(address.servers, len(address.servers)):
            try:
                return await cls._connect(server, address)
            except Unavailable as exc:
                failures.append(exc.detail)
        raise broker_unavailable("; ".join(failures))

    @classmethod
    async def _connect(cls, server: str, address: Address) -> Link:
        client = _Client(encrypted=address.encrypted)
        link = cls(server, client)

        async def said(error: Exception) -> None:
            link._reported, link._reported_at = str(error) or type(error).__name__, time.monotonic()

        def closing() -> None:
            link.lose(str(client.last_error or link._reported or "the server closed the connection"))

        token = address.user if address.password is None else None
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await client.connect(
                    [f"{'tls' if address.encrypted else 'nats'}://{server}"],
                    name="playhead",
                    error_cb=said,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=int(_CONNECT_SECONDS),  # the default is 2
                    ping_interval=3600,  # a failed ping of the client makes its close wait without end
                    pending_size=_NEVER_BYTES,
                    inbox_prefix="_INBOX.playhead",
                    tls=_trusted(address),
                    user=None if token else address.user,
                    password=address.password,
                    token=token,
                    user_credentials=address.credentials,
                )
                link.inbox = f"{client.new_inbox()}."
                link._skip = len(f"{link.inbox}a.")
                client.closing = closing
                answers = link.subscribe(link._on_answer, lambda why: None)
                await link.send(f"SUB {link.inbox}a.* {answers}\r\n".encode())
                client.parser.read_confirmations(f"{link.inbox}a.", link._on_confirmation)
        except BaseException as exc:
            client.closing = lambda: None
            await link._shut()
            if isinstance(exc, Exception):
                raise _not_connected(server, exc, link._reported) from exc
            raise
        link._start(link._watch())
        return link

    def lose(self, why: str) -> None:
        """Drop the connection. All requests in progress fail."""
        if self.lost_because is not None:
            return
        self.lost_because = why
        self.ended.set()
        self._tell(why)
        self._start(self._shut(abruptly=True))

    async def close(self) -> None:
        """Close the connection after its buffer was sent, within two seconds. May be called twice."""
        if self.lost_because is None:
            self.lost_because = "it was closed"
            self.ended.set()
            await self._shut()
            self._tell(self.lost_because)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def unavailable(self, what: str) -> Unavailable:
        """Return the error for a missing answer, with the last error of the server."""
        said = self.lost_because
        if said is None and time.monotonic() - self._reported_at < _LATELY_SECONDS:
            said = self._reported
        return broker_unavailable(f"NATS at {self.server} {what}{f' ({said})' if said else ''}")

    # -- requests ----------------------------------------------------------------------------------

    async def send(self, frames: bytes) -> None:
        """Queue complete commands of the protocol; returns before they are sent.

        Raises `Unavailable`. Then none of them is sent.
        """
        if self.lost_because is not None:
            raise self.unavailable("was lost")
        if self._client.pending_data_size + len(frames) > _MOST_UNSENT_BYTES:
            raise self.unavailable("does not read its input")
        frames, self._ends = self._ends + frames, b""
        await self._client._send_command(frames)
        queue = self._client._flush_queue
        if queue is not None and queue.empty():
            await self._client._flush_pending()

    def expect(self, waiting: Waiting, count: int = 1) -> int:
        """Return the first of `count` numbers; an answer to `{inbox}a.{number}` goes to `waiting`."""
        first = self._number
        self._number += count
        self._waiting.update(dict.fromkeys(range(first, first + count), waiting))
        return first

    def forget(self, first: int, count: int = 1) -> list[int]:
        """Stop waiting; returns the numbers that were not answered."""
        return [n for n in range(first, first + count) if self._waiting.pop(n, None)]

    async def ask(self, subject: str, payload: bytes = b"") -> Answer:
        """Send a request and return its answer. Raises `Unavailable` if it does not arrive in time."""
        question = _Question()
        number = self.expect(question)
        try:
            command = f"PUB {subject} {self.inbox}a.{number} {len(payload)}\r\n".encode()
            await self.send(command + payload + b"\r\n")
            if not await done_within(ANSWER_SECONDS, question.answer):
                raise self.unavailable(f"did not answer {subject} within {ANSWER_SECONDS:g} s")
        finally:
            self.forget(number)
        answer = question.answer.result()
        if answer is None:
            raise self.unavailable(f"was lost before it answered {subject}")
        return answer

    def subscribe(self, handler: Handler, lost: Callable[[str], None]) -> int:
        """Return the number of a new subscription. The caller sends `SUB` with a subject below `inbox`.

        Args:
            handler: called with each message, in order.
            lost: called when the connection is lost.
        """
        self._subscriptions += 1
        self._client.handlers[self._subscriptions] = handler
        self._lost[self._subscriptions] = lost
        return self._subscriptions

    def unsubscribe(self, number: int) -> None:
        """End a subscription. The server is notified together with the next command."""
        self._client.handlers.pop(number, None)
        self._lost.pop(number, None)
        self._ends += b"UNSUB %d\r\n" % number

    def post(self, frames: bytes) -> None:
        """Send in the background. Failures are ignored."""
        self._start(self._post(frames))

    async def _post(self, frames: bytes) -> None:
        with contextlib.suppress(Unavailable):
            await self.send(frames)

    # -- within ------------------------------------------------------------------------------------

    def _tell(self, why: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for one in set(waiting.values()):
            one.lost(why)
        for lost in list(self._lost.values()):
            lost(why)

    def _on_answer(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        token = subject[self._skip :]
        number = int(token) if token.isdigit() else -1
        if waiting := self._waiting.pop(number, None):
            waiting.answered(number, Answer(status_of(headers) if headers else "", data))

    def _on_confirmation(self, number: int, data: bytes) -> None:
        if waiting := self._waiting.pop(number, None):
            waiting.answered(number, Answer("", data))

    async def _watch(self) -> None:
        """Drop the connection when the server does not answer pings. TCP would need a quarter of an hour.

        After an abandoned ping the connection must close, because a late answer stops nats-py from reading.
        """
        while self.lost_because is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PING_EVERY_SECONDS):
                    await self.ended.wait()
                    return
            ping = asyncio.create_task(self._client.rtt(timeout=3600))
            if not await done_within(_PING_SECONDS, ping):
                ping.cancel()
                self.lose(f"it did not answer a ping for {_PING_SECONDS:g} s")
                return
            if ping.exception():
                self.lose(str(ping.exception()))
                return

    async def _shut(self, *, abruptly: bool = False) -> None:
        transport = getattr(self._client._transport, "_io_writer", None)
        if abruptly and transport:
            transport.transport.abort()  # else closing waits for a server that does not read
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()
        if transport:
            transport.transport.abort()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Question:
    """Waits for one answer; None if the connection is lost first."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

    def answered(self, number: int, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def lost(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_result(None)


def _trusted(address: Address) -> ssl.SSLContext | None:
    if address.ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=address.ca)
    except OSError as exc:
        exc.filename = address.ca  # which ssl does not set
        raise


def _not_connected(server: str, exc: Exception, said: str | None) -> Unavailable:
    if isinstance(exc, ImportError):
        return broker_unavailable(
            f"?credentials= needs another package ({exc}): pip install 'nats-py[nkeys]'"
        )
    if isinstance(exc, FileNotFoundError | PermissionError) and exc.filename:
        return broker_unavailable(f"cannot read {exc.filename}, which PLAYHEAD_BROKER names: {exc.strerror}")
    why = said if isinstance(exc, nats.errors.NoServersError) and said else str(exc)
    why = (why or "it did not answer in time").removeprefix("nats: ").strip("'")
    advice = "is it running, and is PLAYHEAD_BROKER right?"
    if "uthorization" in why or "uthentication" in why:
        advice = "check user, password or credentials in PLAYHEAD_BROKER"
    elif why == _NO_TLS:
        advice = "no credentials were sent; enable TLS on the server, or use nats://"
    elif isinstance(exc, ssl.SSLError) or "SSL" in why or "certificate" in why:
        advice = "name the authority that signed its certificate: ?ca=/path"
    return broker_unavailable(f"cannot reach NATS at {server}: {why}; {advice}")
