"""How RabbitMQ's client reports the end of a connection.

It cancels the tasks of its caller, or raises a bare `Exception` or `StopAsyncIteration`. The broker treats
each as a lost connection, and replaces the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiormq.connection
import pytest
from aiormq.exceptions import ChannelPreconditionFailed
from pamqp import commands, frame, header
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from playhead.backends.broker_rabbitmq import RabbitBroker, link, publishing
from playhead.backends.broker_rabbitmq.link import as_lost, connect
from playhead.backends.broker_rabbitmq.queues import Queues
from playhead.errors import Unavailable
from playhead.ports.broker import CONFIRMED
from tests.lab import dispatches
from tests.waiting import SECONDS, take, until

QUEUE = "docs.convert"
_GREETING = commands.Connection.Start(
    server_properties={"version": "4.1.0", "capabilities": {"publisher_confirms": True}},
    mechanisms="PLAIN",
)
_TUNE = commands.Connection.Tune(channel_max=2047, frame_max=131_072, heartbeat=0)


def bytes_of(channel: int, *parts: Any) -> bytes:
    return b"".join(frame.marshal(part, channel) for part in parts)


def deliveries(channel: int, consumer: str, numbers: Iterable[int]) -> bytes:
    properties = commands.Basic.Properties(message_id="some")
    return b"".join(
        bytes_of(
            channel,
            commands.Basic.Deliver(consumer, number, False, "", QUEUE),
            ContentHeader(body_size=2, properties=properties),
            ContentBody(b"{}"),
        )
        for number in numbers
    )


class Server:
    """Implements the AMQP that one queue with one message needs, and fails as the test requests.

    Attributes:
        leaves: whether the next request about a consumed queue gets many messages and a closed connection
            instead of a reply.
        hangs_up: whether to close each connection after the greeting.
        silent: whether the first connection, which the broker uses for requests, gets no more replies.
        asked: number of unanswered requests.
        unconfirmed: the channel of each published message; the test confirms the first on each.
    """

    def __init__(self) -> None:
        self.leaves = self.hangs_up = self.silent = False
        self.asked = self.greeted = 0
        self.unconfirmed: list[tuple[asyncio.StreamWriter, int]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(header.ProtocolHeader().marshal()))
        writer.write(bytes_of(0, _GREETING))
        self.greeted += 1
        me, consumer = self.greeted, ""
        if self.hangs_up:
            await self._leave(reader, writer)
            return
        while True:
            head = await reader.readexactly(7)
            _, channel, part = frame.unmarshal(
                head + await reader.readexactly(int.from_bytes(head[3:], "big") + 1)
            )
            if self.silent and me == 1:
                self.asked += 1
                continue
            if isinstance(part, commands.Basic.Publish):
                self.unconfirmed.append((writer, channel))
            elif isinstance(part, commands.Basic.Consume) and part.queue == QUEUE:
                consumer = part.consumer_tag
                writer.write(bytes_of(channel, commands.Basic.ConsumeOk(consumer)))
                writer.write(deliveries(channel, consumer, [] if self.leaves else [1]))
            elif isinstance(part, commands.Queue.Declare) and part.passive and consumer and self.leaves:
                self.leaves = False
                writer.write(deliveries(channel, consumer, range(2, 100)))
                await self._leave(reader, writer)
                return
            elif (plain := self._answer(part)) is not None:
                writer.write(bytes_of(channel, plain))

    def confirm(self) -> None:
        """Confirm the first message of the channel of the last one."""
        writer, channel = self.unconfirmed[-1]
        writer.write(bytes_of(channel, commands.Basic.Ack(1)))

    async def _leave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """End without a reset, which would take away what was sent before."""
        writer.write_eof()
        await reader.read()

    def _answer(self, part: Any) -> Any:
        match part:
            case commands.Connection.StartOk():
                return _TUNE
            case commands.Connection.Open():
                return commands.Connection.OpenOk()
            case commands.Connection.Close():
                return commands.Connection.CloseOk()
            case commands.Channel.Open():
                return commands.Channel.OpenOk()
            case commands.Channel.Close():
                return commands.Channel.CloseOk()
            case commands.Confirm.Select():
                return commands.Confirm.SelectOk()
            case commands.Queue.Declare():
                return commands.Queue.DeclareOk(part.queue, 0, 0)
            case commands.Basic.Qos():
                return commands.Basic.QosOk()
            case commands.Basic.Consume():
                return commands.Basic.ConsumeOk(part.consumer_tag)
            case commands.Basic.Cancel():
                return commands.Basic.CancelOk(part.consumer_tag)
        return None


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[RabbitBroker]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    broker = RabbitBroker(f"amqp://u:p@127.0.0.1:{listening.sockets[0].getsockname()[1]}/?heartbeat=600")
    try:
        await broker.open()
        yield broker
    finally:
        await broker.close()
        listening.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not two seconds for each goodbye that a silent server does not return."""
    monkeypatch.setattr(aiormq.connection.Connection, "READER_CLOSE_TIMEOUT", 0.1)


async def _reached(broker: RabbitBroker) -> bool:
    return broker._consuming.connection().is_opened


# -- a connection that is given up -------------------------------------------------------------------


async def test_an_inbox_survives_a_request_that_the_client_library_cancels():
    server = Server()
    async with opened(server) as broker:
        await take(broker, 1)
        server.silent = True
        waits = asyncio.ensure_future(broker.receive(QUEUE, 1, wait=SECONDS))
        await until(lambda: server.asked, "a question")

        broker._consuming.drop("the server does not answer")

        with suppress(Unavailable):  # or it got the dispatch over the next connection
            await waits
        await until(lambda: _reached(broker), "the connection", not_yet=(Unavailable,))
        assert len(await take(broker, 1)) == 1


async def test_a_request_about_a_queue_that_the_client_library_cancels_is_unavailable():
    server = Server()
    async with opened(server) as broker:
        await broker.depth(QUEUE)
        server.silent = True
        asks = asyncio.ensure_future(broker.depth(QUEUE))
        await until(lambda: server.asked, "a question")

        broker._consuming.drop("the server does not answer")

        with pytest.raises(Unavailable):
            await asks


async def test_a_channel_whose_opening_the_client_library_cancels_is_unavailable():
    server = Server()
    async with opened(server) as broker:
        server.silent = True
        asks = asyncio.ensure_future(broker._consuming.channel())
        await until(lambda: server.asked, "a question")

        broker._consuming.drop("the server does not answer")

        with pytest.raises(Unavailable):
            await asks


async def test_a_caller_that_is_cancelled_during_a_request_stays_cancelled():
    begun = asyncio.Event()

    async def ask() -> None:
        with as_lost():
            begun.set()
            await asyncio.Event().wait()

    asked = asyncio.create_task(ask())
    await begun.wait()
    asked.cancel()
    await asyncio.wait([asked])

    assert asked.cancelled()


# -- a queue that confirms nothing -------------------------------------------------------------------


async def test_dispatches_in_flight_stay_confirmable_after_another_queue_confirmed_nothing():
    server = Server()
    async with opened(server) as broker:
        line = await broker._open_line()
        sending = asyncio.create_task(broker.publish(dispatches(1)))
        await until(lambda: server.unconfirmed, "a message")

        assert "no majority" in await broker._why_unanswered(line)  # as after a time-out of another publish

        new = await broker._open_line()
        assert new is not line
        assert "no majority" in await broker._why_unanswered(line)  # a second time-out on the old channel
        assert await broker._open_line() is new
        server.confirm()
        assert await sending == [CONFIRMED]


async def test_a_replaced_channel_is_closed_after_the_time_for_its_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(publishing, "ANSWER_SECONDS", -0.9)  # the channel is closed one second later
    server = Server()
    async with opened(server) as broker:
        line = await broker._open_line()

        await broker._why_unanswered(line)

        await until(lambda: line.ended, "the end of the channel")
        assert "another queue" in str(line.ended)
        await until(lambda: line._channel.is_closed, "the close of the channel")


# -- a server that leaves ----------------------------------------------------------------------------


async def test_a_server_that_delivers_many_messages_and_disconnects_ends_no_inbox():
    """The client reads on for a while, takes the end for a good one, and fails what was asked with a bare
    `Exception`."""
    server = Server()
    async with opened(server) as broker:
        server.leaves = True

        async def received() -> int:
            return len(await broker.receive(QUEUE, 1, wait=1))

        await until(lambda: not server.leaves or received(), "the server to leave", not_yet=(Unavailable,))
        await until(received, "a dispatch", not_yet=(Unavailable,))


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Exception(), "the connection was closed"),
        (
            ChannelPreconditionFailed("PRECONDITION_FAILED - no quorum queues here"),
            "must allow quorum queues",
        ),
        (ChannelPreconditionFailed("PRECONDITION_FAILED - timeout"), "timeout"),
    ],
)
async def test_a_request_for_a_queue_that_fails_with_any_error_of_the_client_is_unavailable(
    failure: Exception, words: str
):
    class Channel:
        async def queue_declare(self, *_: Any, **__: Any) -> None:
            raise failure

        basic_get = queue_declare

        async def close(self) -> None:
            pass

    class Link:
        address = "127.0.0.1"

        async def channel(self) -> Any:
            return Channel()

        def unavailable(self, exc: BaseException) -> Unavailable:
            return Unavailable("broker_unavailable", str(exc))

    broker = RabbitBroker("amqp://u:p@127.0.0.1")
    broker._queues = Queues(Link(), "")  # type: ignore[arg-type]
    for ask in (broker._queues.look(QUEUE), broker.depth(QUEUE), broker.peek(QUEUE, 1)):
        with pytest.raises(Unavailable, match=words):
            await ask


async def test_an_inbox_survives_an_unexpected_error_and_logs_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    server = Server()
    async with opened(server) as broker:
        await take(broker, 1)
        inbox = broker._inboxes[QUEUE]
        real, left = inbox._serve, [None]

        async def serve() -> None:
            if left:
                left.pop()
                raise KeyError("unforeseen")
            await real()

        monkeypatch.setattr(inbox, "_serve", serve)

        assert len(await take(broker, 1)) == 1

    assert any(record.getMessage() == "loop_failed" for record in caplog.records)


# -- a server that greets and leaves -----------------------------------------------------------------


async def _after_the_end(self: Any, url: Any, **_: Any) -> Any:
    """Connect, and let the client begin once the other side has hung up: over TLS it sees no other way."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(header.ProtocolHeader().marshal())
    await until(lambda: reader._eof, "the other side to hang up")  # type: ignore[attr-defined]
    return reader, writer


async def test_the_reconnect_loop_survives_a_server_that_accepts_and_disconnects(
    monkeypatch: pytest.MonkeyPatch,
):
    server = Server()
    async with opened(server) as broker:
        server.hangs_up = True
        greeted = server.greeted
        with monkeypatch.context() as patch:
            patch.setattr(aiormq.connection.TCPTransportFactory, "create", _after_the_end)
            broker._consuming.drop("the server does not answer")
            await until(lambda: server.greeted > greeted + 1, "two tries")
            keeper = broker._consuming._keeper
            assert keeper is not None
            assert not keeper.done()
        server.hangs_up = False

        await until(lambda: _reached(broker), "the connection", not_yet=(Unavailable,))


async def test_a_server_that_accepts_and_disconnects_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    server = Server()
    async with opened(server) as broker:
        server.hangs_up = True
        monkeypatch.setattr(aiormq.connection.TCPTransportFactory, "create", _after_the_end)

        with pytest.raises(Unavailable, match="cannot reach"):
            await connect(broker._address, "test")


async def test_a_server_that_does_not_greet_may_be_on_another_port(monkeypatch: pytest.MonkeyPatch):
    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(link, "CONNECT_SECONDS", 0.1)
    listening = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]

    with pytest.raises(Unavailable, match=r"no answer within .* AMQP port \(5672"):
        await RabbitBroker(f"amqp://u:p@127.0.0.1:{port}/").open()

    listening.close()


async def test_the_reconnect_loop_survives_an_unexpected_error_and_logs_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    module = "playhead.backends.broker_rabbitmq.link.connect"

    async def fails(*_: Any) -> Any:
        raise KeyError("unforeseen")

    def is_told() -> bool:
        return any(record.getMessage() == "loop_failed" for record in caplog.records)

    async with opened(Server()) as broker:
        with monkeypatch.context() as patch:
            patch.setattr(module, fails)
            broker._consuming.drop("the server does not answer")
            await until(is_told, "a line in the log")
            with pytest.raises(Unavailable, match="KeyError"):
                broker._consuming.connection()

        await until(lambda: _reached(broker), "the connection", not_yet=(Unavailable,))
