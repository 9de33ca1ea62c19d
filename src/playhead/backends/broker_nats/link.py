"""One connection to NATS, until it is lost. A lost one is never mended; another takes its place.

So whatever was in flight on it is known to be unanswered at once, and nothing is sent later than its caller
believes. nats-py's own reconnection keeps a buffer, and stops for good at some errors; it is not used.

nats-py also makes an object, parses the headers and wakes a task for each message, and encodes headers one
by one. That is two thirds of the cost of a publish, so two seams of it are used that are not public:
`Client._process_msg`, which it calls with each message, and `Client._send_command`, which takes bytes.
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
from playhead.errors import Unavailable, broker_unavailable

ANSWER_SECONDS = 5.0
"""How long anything that was sent is waited for."""

LAST_SECONDS = 0.5
"""The last part of any such time, which begins when this process looks whether the time is over."""

_CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_PING_EVERY_SECONDS = 2.0
_PING_SECONDS = 5.0
_LATELY_SECONDS = 10.0
_MOST_UNSENT_BYTES = 8 * 1024 * 1024
# nats-py waits for room without end, and not to be cancelled, when more than this is unsent: never get there.
_NEVER_BYTES = 64 * 1024 * 1024

_NO_TLS = "it offers no TLS"

Handler = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Takes subject, reply, data and the raw headers of a message."""


class Answer(NamedTuple):
    """What came back. `status` is that of the server itself, `503` when nobody listens; else empty."""

    status: str
    data: bytes


class Waiting(Protocol):
    """Who waits for what was sent."""

    def answered(self, number: int, answer: Answer) -> None: ...

    def lost(self, why: str) -> None: ...


class _Client(Client):
    def __init__(self, *, encrypted: bool) -> None:
        super().__init__()
        self.handlers: dict[int, Handler] = {}
        self.closing: Callable[[], None] = lambda: None
        self._encrypted = encrypted

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        # Told first: closing a broken connection may wait, or fail half-way; then its callback never comes.
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
        # The last moment before user and password are said.
        if self._encrypted and not self._server_info.get("tls_required"):
            raise nats.errors.Error(_NO_TLS)
        return super()._connect_command()


class Link:
    """One connection.

    Attributes:
        server: the `host:port` that it leads to.
        version: of the server.
        lost_because: None while it holds.
        ended: set when it is lost or closed.
        most_bytes: the most that one message, with its headers, may have.
    """

    def __init__(self, server: str, client: _Client) -> None:
        self.server = server
        self.lost_because: str | None = None
        self.ended = asyncio.Event()
        self._client = client
        self._said: str | None = None
        self._said_at = 0.0
        self._waiting: dict[int, Waiting] = {}
        self._number = 0
        self._handlers: dict[int, Callable[[str], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.inbox = ""
        self._skip = 0

    @property
    def version(self) -> str:
        return str(self._client.connected_server_version).strip("<>").removeprefix("nats server v")

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of several that keep JetStream together."""
        return bool(self._client._server_info.get("cluster"))

    @property
    def most_bytes(self) -> int:
        return self._client.max_payload

    # -- coming and going --------------------------------------------------------------------------

    @classmethod
    async def connect(cls, address: Address) -> Link:
        """Connect to any of the servers.

        Raises `Unavailable`, with what each of them did.
        """
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
            link._said, link._said_at = str(error) or type(error).__name__, time.monotonic()

        def closing() -> None:
            link.lose(str(client.last_error or link._said or "the server closed the connection"))

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
                    connect_timeout=int(_CONNECT_SECONDS),  # by itself it waits for two
                    ping_interval=3600,  # a ping of its own that fails waits without end when it closes
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
                await link.subscribe("a.*", link._on_answer, lambda why: None)
        except BaseException as exc:
            client.closing = lambda: None
            await link._shut()
            if isinstance(exc, Exception):
                raise _not_connected(server, exc, link._said) from exc
            raise
        link._start(link._watch())
        return link

    def lose(self, why: str) -> None:
        """Give it up: all that waits for an answer learns that there will be none."""
        if self.lost_because is not None:
            return
        self.lost_because = why
        self.ended.set()
        self._tell(why)
        self._start(self._shut(abruptly=True))

    async def close(self) -> None:
        """End it in good order: what was sent goes out, within two seconds. May be called twice."""
        if self.lost_because is None:
            self.lost_because = "it was closed"
            self.ended.set()
            await self._shut()
            self._tell(self.lost_because)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def unavailable(self, what: str) -> Unavailable:
        """The error for an answer that did not come, with what the server said last."""
        said = self.lost_because
        if said is None and time.monotonic() - self._said_at < _LATELY_SECONDS:
            said = self._said
        return broker_unavailable(f"NATS at {self.server} {what}{f' ({said})' if said else ''}")

    # -- talking -----------------------------------------------------------------------------------

    async def send(self, frames: bytes) -> None:
        """Hand over bytes of the protocol, whole commands; returns before they are sent.

        Raises `Unavailable`, and then none of them will be.
        """
        if self.lost_because is not None:
            raise self.unavailable("was lost")
        if self._client.pending_data_size + len(frames) > _MOST_UNSENT_BYTES:
            raise self.unavailable("does not read what it is sent")
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
        """Wait no more; returns the numbers that were not answered."""
        return [n for n in range(first, first + count) if self._waiting.pop(n, None)]

    async def ask(self, subject: str, payload: bytes = b"", *, seconds: float = ANSWER_SECONDS) -> Answer:
        """Send a request and return its answer.

        Raises `Unavailable` when there is none in time.
        """
        question = _Question()
        number = self.expect(question)
        try:
            command = f"PUB {subject} {self.inbox}a.{number} {len(payload)}\r\n".encode()
            await self.send(command + payload + b"\r\n")
            if not await came_within(seconds, question.answer):
                raise self.unavailable(f"did not answer {subject} within {seconds:g} s")
        finally:
            self.forget(number)
        answer = question.answer.result()
        if answer is None:
            raise self.unavailable(f"was lost before it answered {subject}")
        return answer

    async def subscribe(self, subject: str, handler: Handler, lost: Callable[[str], None]) -> int:
        """Hand what comes to `{inbox}{subject}` to `handler`, at once and in order; returns its number.

        Raises `Unavailable`.
        """
        if self.lost_because is not None:
            raise self.unavailable("was lost")
        try:
            subscription = await self._client.subscribe(self.inbox + subject)
        except nats.errors.Error as exc:
            raise self.unavailable(f"takes no subscription: {exc}") from exc
        self._client.handlers[subscription._id] = handler
        self._handlers[subscription._id] = lost
        return subscription._id

    def new_name(self) -> str:
        """A name for a subscription of this connection that no other has."""
        self._number += 1
        return f"m.{self._number}"

    def post(self, frames: bytes) -> None:
        """Send without waiting, and without caring whether it can be sent."""
        self._start(self._post(frames))

    async def _post(self, frames: bytes) -> None:
        with contextlib.suppress(Unavailable):
            await self.send(frames)

    async def unsubscribe(self, number: int) -> None:
        self._client.handlers.pop(number, None)
        self._handlers.pop(number, None)
        self._client._remove_sub(number)
        with contextlib.suppress(Unavailable):
            await self.send(f"UNSUB {number}\r\n".encode())

    # -- within ------------------------------------------------------------------------------------

    def _tell(self, why: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for one in set(waiting.values()):
            one.lost(why)
        for tell in self._handlers.values():
            tell(why)

    def _on_answer(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        token = subject[self._skip :]
        number = int(token) if token.isdigit() else -1
        waiting = self._waiting.pop(number, None)
        if waiting:
            waiting.answered(number, Answer(status_of(headers) if headers else "", data))

    async def _watch(self) -> None:
        """Lose the connection when the other end stands still: it would look alive for a quarter of an hour.

        A ping that is given up must not be answered later: nats-py stops reading then.
        """
        while self.lost_because is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PING_EVERY_SECONDS):
                    await self.ended.wait()
                    return
            ping = asyncio.create_task(self._client.rtt(timeout=3600))
            if not await came_within(_PING_SECONDS, ping):
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
        transport = getattr(self._client._transport, "_io_writer", None)
        if transport:
            transport.transport.abort()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Question:
    """Waits for one answer; None when the connection is lost before."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

    def answered(self, number: int, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def lost(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_result(None)


async def came_within(seconds: float, answer: asyncio.Future[Any]) -> bool:
    """Wait for what the server is to answer; returns whether it did.

    Its time may be over because this process stood still. Then the answer is there, only not read yet.
    """
    for part in (seconds - LAST_SECONDS, LAST_SECONDS):
        done, _ = await asyncio.wait({answer}, timeout=part)
        if done:
            return True
    return False


def status_of(headers: bytes) -> str:
    """The status in the first line of raw headers, `404` in `NATS/1.0 404 No Messages`; else empty."""
    return headers[9:12].decode("utf-8", "replace") if headers[8:9] == b" " else ""


def description_of(headers: bytes) -> str:
    """The words after the status."""
    return headers.partition(b"\r\n")[0][13:].decode("utf-8", "replace").strip()


def _trusted(address: Address) -> ssl.SSLContext | None:
    if address.ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=address.ca)
    except OSError as exc:
        exc.filename = address.ca  # which ssl does not tell
        raise


def _not_connected(server: str, exc: Exception, said: str | None) -> Unavailable:
    if isinstance(exc, ImportError):
        return broker_unavailable(
            f"?credentials= needs one more package ({exc}): pip install 'nats-py[nkeys]'"
        )
    if isinstance(exc, FileNotFoundError | PermissionError) and exc.filename:
        return broker_unavailable(
            f"{exc.filename}, which PLAYHEAD_BROKER names, can't be read: {exc.strerror}"
        )
    why = said if isinstance(exc, nats.errors.NoServersError) and said else str(exc)
    why = (why or "it did not answer in time").removeprefix("nats: ").strip("'")
    advice = "is it running, and is PLAYHEAD_BROKER right?"
    if "uthorization" in why or "uthentication" in why:
        advice = "check user, password or credentials in PLAYHEAD_BROKER"
    elif why == _NO_TLS:
        advice = "nothing was said to it; set it up for TLS, or name it with nats://"
    elif isinstance(exc, ssl.SSLError) or "SSL" in why or "certificate" in why:
        advice = "name the authority that signed its certificate with ?ca=/path"
    return broker_unavailable(f"NATS at {server} can't be reached: {why}; {advice}")
