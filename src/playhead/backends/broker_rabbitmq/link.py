"""A connection to RabbitMQ that is replaced when it is lost, and the texts of its errors.

The "robust" connections of aio-pika restore channels and consumers without the caller's knowledge. Here a
lost connection ends its channels and consumers for good, and their users open new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any, Final

from aiormq import Connection
from aiormq.channel import Channel
from aiormq.connection import TransportFactory
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ProbableAuthenticationError,
)
from yarl import URL

from playhead.backends._reconnect import cancel, reconnect
from playhead.backends.broker_rabbitmq.address import Address
from playhead.backends.broker_rabbitmq.frames import MessageReader
from playhead.errors import Unavailable, broker_unavailable

# The client logs its errors with tracebacks. Playhead's own errors report them once.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 10.0
"""How long one request to the server may take."""
_MOST_CHANNELS: Final = 65535
_OLDEST: Final = [4, 0]
_PING_SECONDS: Final = 3.0
_CLOSE_SECONDS: Final = 5.0

LOST: Final = (AMQPError, ChannelInvalidStateError, RuntimeError, OSError, TimeoutError)
"""The exceptions of the client for a lost channel or connection, within `as_lost`. `RuntimeError` means that
the connection is closed."""


@contextlib.contextmanager
def as_lost() -> Iterator[None]:
    """Turn every exception that the client raises for a lost connection into one of `LOST`.

    The client raises `CancelledError` for requests on a connection that it closes, which would end a task
    silently. It raises a bare `Exception` if it read the end of the connection after many frames.
    """
    try:
        yield
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # this task itself is cancelled
            raise
        raise AMQPConnectionError("the connection was closed") from exc
    except Exception as exc:
        if type(exc) is not Exception and not isinstance(exc, StopAsyncIteration):
            raise
        raise AMQPConnectionError("the connection was closed") from exc


class Link:
    """One connection, replaced whenever it is lost, until `close`.

    Args:
        purpose: shown with the connection in RabbitMQ's own tools.
    """

    def __init__(self, address: Address, purpose: str) -> None:
        self._address = address
        self._purpose = purpose
        self.address = address.shown
        self._connection: Connection | None = None
        self._lost: asyncio.Future[str] | None = None
        self._why = "not connected yet"
        self._keeper: asyncio.Task[None] | None = None
        self._number = 0

    async def open(self) -> None:
        """Connect. Raises `Unavailable`, and then does not retry. Has no effect after a success."""
        if self._keeper is None:
            lost = self._adopt(await connect(self._address, self._purpose))
            self._keeper = asyncio.create_task(self._keep(lost), name=f"rabbitmq {self._purpose}")

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done, with the reason, when the current connection is lost. Raises `Unavailable` if there is
        none."""
        self.connection()
        assert self._lost is not None
        return self._lost

    def connection(self) -> Connection:
        """Return the connection. Raises `Unavailable` at once while it is lost."""
        if self._connection is None or not self._connection.is_opened:
            raise broker_unavailable(f"no connection to RabbitMQ at {self.address}: {self._why}")
        return self._connection

    async def channel(self, *, confirms: bool = False, within: float = ANSWER_SECONDS) -> Channel:
        """Open a channel. Raises `Unavailable`."""
        connection = self.connection()
        try:
            with as_lost():
                async with asyncio.timeout(within):
                    channel = await connection.channel(
                        self._next_number(connection), publisher_confirms=confirms, timeout=within
                    )
        except LOST as exc:
            raise self.unavailable(exc) from exc
        assert isinstance(channel, Channel)
        return channel

    def _next_number(self, connection: Connection) -> int:
        """Return a free number for a new channel. A number is used again as late as possible.

        The client would reuse the number of a channel that the server has closed before it confirms that. The
        server then closes the connection.
        """
        most = connection.connection_tune.channel_max or _MOST_CHANNELS
        for _ in range(most):
            self._number = self._number % most + 1
            if self._number not in connection.channels:
                return self._number
        raise broker_unavailable(f"RabbitMQ at {self.address} allows {most} channels, and all are in use")

    async def is_answering(self) -> bool:
        """Return whether the connection still answers, after a request was not answered.

        Drop it otherwise.
        """
        asked = self._connection
        try:
            in_background(close_channel(await self.channel(within=_PING_SECONDS)))
        except Unavailable:
            if self._connection is asked:  # and was not replaced meanwhile
                self.drop("the server does not answer")
            return False
        return True

    async def is_blocked(self) -> bool:
        """Return whether the server reported an alarm. It does so after the first message is published."""
        try:
            async with asyncio.timeout(0):
                await self.connection().ready()
        except TimeoutError:
            return True
        return False

    def unavailable(self, exc: BaseException) -> Unavailable:
        """Return the error of the port for an exception of the client."""
        return broker_unavailable(f"RabbitMQ at {self.address}: {described(exc)}")

    def drop(self, why: str) -> None:
        """Close a connection that does not answer, and replace it at once."""
        if self._connection is not None:
            in_background(_close(self._connection))
            self._end(self._connection, why)

    async def close(self) -> None:
        """Close the connection. May be called twice."""
        if self._keeper:
            await cancel(self._keeper)
            self._keeper = None
        if (connection := self._connection) is not None:
            self._end(connection, "closed")
            await _close(connection)

    def _adopt(self, connection: Connection) -> asyncio.Future[str]:
        self._connection = connection
        lost = self._lost = asyncio.get_running_loop().create_future()
        connection.closing.add_done_callback(
            lambda end: self._end(connection, described(None if end.cancelled() else end.exception()))
        )
        return lost

    def _end(self, connection: Connection, why: str) -> None:
        if self._connection is connection and self._lost:
            self._connection, self._why = None, why
            self._lost.set_result(why)

    async def _keep(self, lost: asyncio.Future[str]) -> None:
        while True:
            await asyncio.wait([lost])
            connection = await reconnect(
                lambda: connect(self._address, self._purpose),
                self._why,
                partial(setattr, self, "_why"),
                backend="rabbitmq",
                link=self._purpose,
            )
            lost = self._adopt(connection)


async def connect(address: Address, purpose: str) -> Connection:
    """Connect to any node that accepts. Raises `Unavailable` with advice for the operator."""
    urls = list(address.urls)
    random.shuffle(urls)  # spreads the processes over the nodes
    for url in urls[1:]:
        with contextlib.suppress(Unavailable):
            return await _connect(url, address, purpose)
    return await _connect(urls[0], address, purpose)


async def _connect(url: str, address: Address, purpose: str) -> Connection:
    try:
        connection = _Connection(url, transport_factory=_Transport())
        with as_lost():
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect(client_properties={"connection_name": f"playhead {purpose}"})
                await connection.connected.wait()
    except Exception as exc:
        raise broker_unavailable(_not_connected(exc, address)) from exc
    return connection


def _not_connected(exc: Exception, address: Address) -> str:
    """Return what prevents a connection, and what to do."""
    where, why = address.shown, described(exc)
    if isinstance(exc, ProbableAuthenticationError | AuthenticationError):
        return (
            f"RabbitMQ at {where} refused the user {address.user} or the password in PLAYHEAD_BROKER "
            f"({why}). The user `guest` may connect only from the same machine"
        )
    if isinstance(exc, FileNotFoundError | PermissionError):
        return f"cannot read the cafile, certfile or keyfile that PLAYHEAD_BROKER names: {exc.strerror}"
    if isinstance(exc, ssl.SSLError) or isinstance(exc.__cause__, ssl.SSLError):
        return (
            f"TLS with RabbitMQ at {where} failed ({why}). Check that this is its TLS port (5671). If a "
            "private authority signed its certificate, add ?cafile=/path"
        )
    if isinstance(exc, AMQPConnectionError | OSError):
        return (
            f"cannot reach RabbitMQ at {where} ({why}). Start it, or correct PLAYHEAD_BROKER: its port is "
            "the AMQP port (5672, or 5671 with amqps://)"
        )
    if "Connection.OpenOk" in why:  # the client hides the server's own message
        return (
            f"RabbitMQ at {where} has no such vhost, or the user {address.user} may not use it. Look at "
            "`rabbitmqctl list_vhosts` and `rabbitmqctl list_user_permissions`"
        )
    return f"the server at {where} is not RabbitMQ ({why})"  # such bytes make the client raise anything


class _Connection(Connection):
    """A connection that many channels use at once.

    If the buffer is full, the client drops its confirmation that the server closed a channel. The number of
    the channel then stays in use, and the server closes the connection when it is used again. The buffer is
    emptied whenever the event loop runs.
    """

    FRAME_BUFFER_SIZE = 1000


class _Transport(TransportFactory):
    """Opens sockets as the client does, and reads them by `MessageReader`."""

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = await options["ssl_context_provider"].get_context() if url.scheme == "amqps" else None
        assert url.host
        assert url.port, "the client fills it in"
        loop = asyncio.get_running_loop()
        reader = MessageReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            transport, _ = await loop.create_connection(lambda: protocol, url.host, url.port, ssl=context)
        except OSError as exc:
            raise AMQPConnectionError(*exc.args) from exc
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def version_of(connection: Connection) -> str:
    """Return the version that the server reports."""
    version = connection.server_properties.get("version")
    return version if isinstance(version, str) else ""


def is_too_old(connection: Connection) -> bool:
    """Whether the server is older than 4.0, the first version with quorum queues without a delivery limit."""
    numbers = version_of(connection).split(".")[:2]
    return all(number.isdecimal() for number in numbers) and [int(n) for n in numbers] < _OLDEST


def described(exc: BaseException | None) -> str:
    """Return the message of a client exception in one line. Its own text is often empty or a tuple."""
    if isinstance(exc, TimeoutError):
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    if exc is None or isinstance(exc, asyncio.CancelledError):
        return "the connection was closed"
    said = " ".join(str(arg) for arg in exc.args if arg not in (None, "")) or type(exc).__name__
    return " ".join(said.split())


async def close_channel(channel: Channel) -> None:
    """Close a channel if possible. All that is held on it is delivered again."""
    with contextlib.suppress(*LOST), as_lost():
        async with asyncio.timeout(ANSWER_SECONDS):
            await channel.close()


async def _close(connection: Connection) -> None:
    # Bounded, because the server may no longer answer.
    with contextlib.suppress(*LOST, asyncio.CancelledError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()


_closing: set[asyncio.Task[None]] = set()


def in_background(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end without waiting for it."""
    task = asyncio.create_task(work)
    _closing.add(task)
    task.add_done_callback(_closing.discard)
