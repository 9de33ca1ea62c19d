"""What NATS requests do if the server does not answer or does not read."""

from __future__ import annotations

import asyncio

import pytest

from playhead.backends.broker_nats import publishing
from playhead.backends.broker_nats.link import Link
from playhead.backends.broker_nats.publishing import Window
from playhead.backends.broker_nats.pulls import pull
from playhead.errors import Unavailable
from tests.lab import dispatches, results


class Client:
    """The parts of nats-py that `Link` needs. No answer ever arrives.

    Attributes:
        sent: the number of messages that were sent.
        pending_data_size: bytes that the server has not read.
    """

    max_payload = 1 << 20
    connected_server_version = ""
    _flush_queue = None

    def __init__(self) -> None:
        self.sent = self.pending_data_size = 0
        self.handlers: dict[int, object] = {}

    async def _send_command(self, frames: bytes) -> None:
        self.sent += frames.count(b"PUB ")


def linked(client: Client) -> Link:
    link = Link("127.0.0.1:4222", client)  # type: ignore[arg-type]
    link.inbox = "inbox."
    return link


async def test_a_publish_to_a_silent_jetstream_stops_at_the_first_time_limit_however_long_it_is(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(publishing, "ANSWER_SECONDS", 0.6)
    client, window = Client(), Window()
    link = linked(client)

    long, behind = await asyncio.gather(
        window.publish(link, dispatches(5000), ""),
        window.publish(link, dispatches(3000), ""),
        return_exceptions=True,
    )

    assert not isinstance(long, BaseException)
    assert results(long[0]) == {"uncertain"}
    assert len(long[0]) == 5000
    assert long[0][-1].reason.endswith("does not answer, so this was not sent")
    assert isinstance(behind, Unavailable) or results(behind[0]) == {"uncertain"}  # type: ignore[index]
    assert client.sent == 1000  # one window, with one time limit


async def test_the_window_is_free_again_after_a_silence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(publishing, "ANSWER_SECONDS", 0.6)
    client, window = Client(), Window()
    link = linked(client)
    await window.publish(link, dispatches(2000), "")

    await window.publish(link, dispatches(2000), "")

    assert client.sent == 2000


async def test_a_request_that_cannot_be_sent_leaves_no_subscription():
    client = Client()
    client.pending_data_size = 1 << 30
    link = linked(client)

    with pytest.raises(Unavailable, match="does not read its input"):
        await pull(link, "next", 1, 0.0)

    assert client.handlers == {}
    assert link._lost == {}
