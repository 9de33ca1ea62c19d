"""The process is suspended for longer than the time-out of NATS requests. Received replies still count.

As with nats-py, a task reads the socket: it has its turns only after the timers that are due.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

from playhead.backends.broker_nats.link import Link
from playhead.backends.broker_nats.publishing import Window
from playhead.backends.broker_nats.pulls import pull
from tests.lab import dispatches

BEGINS = 0.01
STANDSTILL = 100.0
"""Seconds: longer than anything is waited for."""


class Client:
    """The parts of nats-py that `Link` needs, with a server that answers during a suspension.

    Attributes:
        sent: the addresses for answers to what was sent.
        answer: what a message has as its answer: the address that an ack of it would go to, and data.
    """

    pending_data_size = 0
    max_payload = 1 << 20
    connected_server_version = ""
    _flush_queue = None

    def __init__(self, reply: str = "", data: str = "") -> None:
        self.sent: list[str] = []
        self.handlers: dict[int, Any] = {}
        self.answer = [reply, data]
        self.stood_still = False
        self._ours, self._servers = socket.socketpair()

    async def _send_command(self, frames: bytes) -> None:
        self.sent += re.findall(r"inbox\.[am]\.\d+(?= )", frames.decode())
        if self.stood_still:
            self._answer()

    def stand_still(self) -> None:
        """Let all timers expire, as after a suspension of the process."""
        self._answer()
        self.stood_still = True
        loop = asyncio.get_running_loop()
        clock = loop.time
        loop.time = lambda: clock() + STANDSTILL  # type: ignore[method-assign]

    def _answer(self) -> None:
        # At once: each write of its own would take as much of the socket's room as a thousand answers in one.
        lines = (json.dumps([address, *self.answer]) + "\n" for address in self.sent)
        self._servers.sendall("".join(lines).encode())
        self.sent.clear()

    async def read(self, link: Link) -> None:
        reader, writer = await asyncio.open_connection(sock=self._ours)
        with contextlib.closing(writer):
            while line := await reader.readline():
                # There is more than is read in one turn.
                await asyncio.sleep(0)
                handler = self.handlers.get(1, link._on_answer)
                handler(*(part.encode() for part in json.loads(line)), None)


@contextlib.asynccontextmanager
async def stands_still(client: Client) -> AsyncIterator[Link]:
    """A connection. A moment after the start of the block, this process is suspended."""
    link = Link("127.0.0.1:4222", client)  # type: ignore[arg-type]
    link.inbox, link._skip = "inbox.", len("inbox.a.")
    reading = asyncio.create_task(client.read(link))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(BEGINS, client.stand_still)
    try:
        yield link
        assert client.stood_still
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        client._servers.close()


async def test_the_reply_to_a_request_arrives_after_a_suspension():
    async with stands_still(Client(data="yes")) as link:
        assert (await link.ask("what")).data == b"yes"


async def test_confirmations_and_the_publishes_behind_them_arrive_after_a_suspension():
    window = Window()
    async with stands_still(Client(data='{"stream":"playhead-docs"}')) as link:
        outcomes = await asyncio.gather(
            *(window.publish(link, dispatches(count), "playhead.") for count in (1000, 250))
        )
    assert [{outcome.result for outcome in some} for some, _ in outcomes] == [{"confirmed"}, {"confirmed"}]


async def test_messages_requested_from_a_queue_arrive_after_a_suspension():
    async with stands_still(Client(reply="ack", data="a dispatch")) as link:
        pulled = await pull(link, "next", 1, 0.0)
    assert [ack for ack, _ in pulled.messages] == ["ack"]
