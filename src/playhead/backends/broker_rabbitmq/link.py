"""A connection to RabbitMQ that comes back by itself, and the words for what went wrong with it.

The client's own "robust" connections restore channels and consumers behind one's back; here everything
that a lost connection takes with it is gone for good, and whoever needs it opens it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Coroutine, Iterator
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

from playhead import events
from playhead.backends.broker_rabbitmq.address import Address
from playhead.backends.broker_rabbitmq.frames import MessageReader
from playhead.errors import Unavailable, broker_unavailable

# What it logs, with tracebacks, is said once in our errors.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 10.0
"""How long one question to the server may take, wherever it is asked."""
_OLDEST: Final = [4, 0]
_PING_SECONDS: Final = 3.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 5.0

LOST: Final = (AMQPError, ChannelInvalidStateError, RuntimeError, OSError, TimeoutError)
"""What the client raises, within `as_lost`, when a channel or a connection is gone.

`RuntimeError` is its word for "closed".
"""


@contextlib.contextmanager
def as_lost() -> Iterator[None]:
    """Where the client is waited for: whatever it says of a connection that ended becomes one of `LOST`.

    It fails what was asked over a connection that is given up with `CancelledError`, of which a task would
    end unheard, and what was asked over one whose end it read after many frames with a bare `Exception`.
    """
    try:
        yield
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # somebody wants us to end
            raise
        raise AMQPConnectionError("the connection was closed") from exc
    except Exception as exc:
        if type(exc) is not Exception and not isinstance(exc, StopAsyncIteration):
            raise
        raise AMQPConnectionError("the connection was closed") from exc


class Link:
    """One connection, made again whenever it is lost, until `close`.

    Args:
        purpose: shown beside the connection in RabbitMQ's own tools.
    """

    def __init__(self, address: Address, purpose: str) -> None:
        self._address = address
        self._purpose = purpose
        self.address = address.shown
        self._connection: Connection | None = None
        self._lost: asyncio.Future[str] | None = None
        self._why = "not connected yet"
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Connect. Raises `Unavailable`, and then does not go on trying."""
        self._closed = False
        lost = self._adopt(await connect(self._address, self._purpose))
        self._keeper = asyncio.create_task(self._keep(lost), name=f"rabbitmq {self._purpose}")

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done, with the reason, when the connection that there is now is gone. Raises `Unavailable`."""
        self.connection()
        assert self._lost is not None
        return self._lost

    def connection(self) -> Connection:
        """The connection. Raises `Unavailable` at once while there is none."""
        if self._connection is None or not self._connection.is_opened:
            raise broker_unavailable(f"no connection to RabbitMQ at {self.address}: {self._why}")
        return self._connection

    async def channel(self, *, confirms: bool = False, within: float = ANSWER_SECONDS) -> Channel:
        """A new channel. Raises `Unavailable`."""
        connection = self.connection()
        try:
            with as_lost():
                async with asyncio.timeout(within):
                    channel = await connection.channel(publisher_confirms=confirms, timeout=within)
        except LOST as exc:
            raise self.unavailable(exc) from exc
        assert isinstance(channel, Channel)
        return channel

    async def is_answering(self) -> bool:
        """After a question was not answered: whether that was about the queue alone. A connection that
        answers nothing is given up."""
        asked = self._connection
        try:
            in_background(close_channel(await self.channel(within=_PING_SECONDS)))
        except Unavailable:
            if self._connection is asked:  # and not one that was made since
                self.drop("the server does not answer")
            return False
        return True

    async def is_blocked(self) -> bool:
        """Whether the server said that it takes no messages for now (it says so after the first one)."""
        try:
            async with asyncio.timeout(0):
                await self.connection().ready()
        except TimeoutError:
            return True
        return False

    def unavailable(self, exc: BaseException) -> Unavailable:
        """What `exc` is to the caller of the port."""
        return broker_unavailable(f"RabbitMQ at {self.address}: {told(exc)}")

    def drop(self, why: str) -> None:
        """Give up a connection that does not answer; a new one is made at once."""
        if self._connection is not None:
            in_background(_close(self._connection))
            self._end(self._connection, why)

    async def close(self) -> None:
        """End it. May be called twice."""
        self._closed = True
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if (connection := self._connection) is not None:
            self._end(connection, "closed")
            await _close(connection)

    def _adopt(self, connection: Connection) -> asyncio.Future[str]:
        self._connection = connection
        lost = self._lost = asyncio.get_running_loop().create_future()
        connection.closing.add_done_callback(
            lambda end: self._end(connection, told(None if end.cancelled() else end.exception()))
        )
        return lost

    def _end(self, connection: Connection, why: str) -> None:
        if self._connection is connection and self._lost:
            self._connection, self._why = None, why
            self._lost.set_result(why)

    async def _keep(self, lost: asyncio.Future[str]) -> None:
        # Not by the cancellation alone: one that comes together with an answer may be dropped below.
        while not self._closed:
            await asyncio.wait([lost])
            events.emit(
                events.BACKEND_UNAVAILABLE,
                logging.WARNING,
                backend="rabbitmq",
                link=self._purpose,
                detail=self._why,
            )
            pause = _FIRST_PAUSE_SECONDS
            while True:
                try:
                    lost = self._adopt(await connect(self._address, self._purpose))
                    events.emit(
                        events.BACKEND_BACK,
                        backend="rabbitmq",
                        link=self._purpose,
                        detail=f"at {self.address}",
                    )
                    break
                except Unavailable as exc:
                    self._why = exc.detail
                except Exception as exc:
                    # Told in full, and tried again: without a keeper the connection never came back.
                    self._why = f"{type(exc).__name__}: {told(exc)}"
                    detail = f"rabbitmq {self._purpose}: {self._why}"
                    events.emit(events.LOOP_FAILED, logging.ERROR, exc_info=True, detail=detail)
                if self._closed:
                    return
                # Not all at the same moment: a node that comes up meets every process of the site.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


async def connect(address: Address, purpose: str) -> Connection:
    """Make one connection, to any node that lets us in. Raises `Unavailable` with what an operator can do."""
    urls = list(address.urls)
    random.shuffle(urls)  # so that processes spread over the nodes
    for url in urls[1:]:
        with contextlib.suppress(Unavailable):
            return await _connect(url, address, purpose)
    return await _connect(urls[0], address, purpose)


async def _connect(url: str, address: Address, purpose: str) -> Connection:
    where = address.shown
    try:
        connection = Connection(url, transport_factory=_Transport())
        with as_lost():
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect(client_properties={"connection_name": f"playhead {purpose}"})
                await connection.connected.wait()
    except (ProbableAuthenticationError, AuthenticationError) as exc:
        raise broker_unavailable(
            f"RabbitMQ at {where} refuses the user {address.user} or the password of PLAYHEAD_BROKER "
            f"({told(exc)}); a user `guest` may connect from the same machine only"
        ) from exc
    except TimeoutError as exc:
        raise broker_unavailable(
            f"RabbitMQ at {where} did not answer within {CONNECT_SECONDS:.0f} s; look whether the node is up "
            "and the port is AMQP's (5672, or 5671 with amqps://)"
        ) from exc
    except (FileNotFoundError, PermissionError) as exc:
        raise broker_unavailable(
            f"a file that PLAYHEAD_BROKER names (cafile, certfile or keyfile) can't be read: {exc.strerror}"
        ) from exc
    except (AMQPConnectionError, OSError) as exc:
        if isinstance(exc, ssl.SSLError) or isinstance(exc.__cause__, ssl.SSLError):
            raise broker_unavailable(
                f"no TLS with RabbitMQ at {where} ({told(exc)}); is that its TLS port (5671)? An authority "
                "of your own that signed its certificate is named with ?cafile=/path"
            ) from exc
        raise broker_unavailable(
            f"RabbitMQ at {where} can't be reached ({told(exc)}); start it, or put its address into "
            "PLAYHEAD_BROKER"
        ) from exc
    except Exception as exc:  # what the client makes of bytes that are not AMQP can be anything
        if "Connection.OpenOk" in told(exc):  # the client keeps the server's own words to itself
            raise broker_unavailable(
                f"RabbitMQ at {where} has no such vhost, or the user {address.user} may not use it; look at "
                "`rabbitmqctl list_vhosts` and `rabbitmqctl list_user_permissions`"
            ) from exc
        raise broker_unavailable(f"what answers at {where} is no RabbitMQ ({told(exc)})") from exc
    return connection


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
    """What the server says that it is."""
    version = connection.server_properties.get("version")
    return version if isinstance(version, str) else ""


def is_too_old(connection: Connection) -> bool:
    """Whether it is older than 4.0, the first to have quorum queues without a delivery limit."""
    numbers = version_of(connection).split(".")[:2]
    return all(number.isdecimal() for number in numbers) and [int(n) for n in numbers] < _OLDEST


def told(exc: BaseException | None) -> str:
    """What an exception of the client says, in one line; its own words are often empty or a tuple."""
    if isinstance(exc, TimeoutError):
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    if exc is None or isinstance(exc, asyncio.CancelledError):
        return "the connection was closed"
    said = " ".join(str(arg) for arg in exc.args if arg not in (None, "")) or type(exc).__name__
    return " ".join(said.split())


async def close_channel(channel: Channel) -> None:
    """Close a channel, if that can be done: what is held on it is handed out again."""
    with contextlib.suppress(*LOST), as_lost():
        async with asyncio.timeout(ANSWER_SECONDS):
            await channel.close()


async def _close(connection: Connection) -> None:
    # A server that does not answer any more is not waited for.
    with contextlib.suppress(*LOST, asyncio.CancelledError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()


_closing: set[asyncio.Task[None]] = set()


def in_background(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end what nobody waits for."""
    task = asyncio.create_task(work)
    _closing.add(task)
    task.add_done_callback(_closing.discard)
