"""Confirmations are read by a faster parser than the rest, with the same result however the bytes arrive."""

from __future__ import annotations

import random
import re

import pytest
from nats.protocol.parser import Parser

from playhead.backends.broker_nats.confirmations import ConfirmationParser

INBOX = "_INBOX.playhead.x+y.a."


class Client:
    """Notes what its parser reads."""

    def __init__(self) -> None:
        self.read: list[object] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        number = re.fullmatch(re.escape(INBOX) + r"(\d+)", subject.decode())
        self.read.append(
            (int(number[1]), data) if number and not headers else (subject, reply, data, headers)
        )

    async def _process_ping(self) -> None:
        self.read.append("ping")


def message(subject: str, data: bytes) -> bytes:
    return b"MSG %b 1 %d\r\n%b\r\n" % (subject.encode(), len(data), data)


def confirmation(number: int) -> bytes:
    return message(f"{INBOX}{number}", b'{"stream":"playhead-docs-convert","seq":%d}' % number)


OTHERS = [
    b"PING\r\n",
    message(f"{INBOX}7", b'{"error":1}'),
    message(f"{INBOX}8", b'{"stream":1,\r\n2}'),
    message("_INBOX.other.1", b"hello"),
    message("pushed.1", confirmation(9)),
    b"MSG pushed.1 3 $JS.ACK.1 5\r\nhello\r\n",
    b"HMSG %b9 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n" % INBOX.encode(),
]


@pytest.mark.parametrize("seed", range(40))
async def test_confirmations_and_other_messages_are_read_in_their_order(seed: int):
    chance = random.Random(seed)
    sent = [
        confirmation(n) if chance.random() < 0.8 else chance.choice(OTHERS)
        for n in range(chance.randrange(60))
    ]
    data = b"".join(sent)
    plain, fast = Client(), Client()
    parser = ConfirmationParser(fast)
    parser.read_confirmations(INBOX, lambda number, answer: fast.read.append((number, answer)))

    await Parser(plain).parse(data)
    most = chance.choice([3, 40, 1000])
    while data:
        size = chance.randint(1, most)
        await parser.parse(data[:size])
        data = data[size:]

    assert fast.read == plain.read
    assert len(plain.read) == len(sent)
