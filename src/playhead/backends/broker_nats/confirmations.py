"""Reading many confirmations of publishes at once. nats-py takes four microseconds for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from nats.protocol.parser import AWAITING_CONTROL_LINE, AWAITING_MSG_PAYLOAD, CRLF_SIZE, Parser

Take = Callable[[int, bytes], None]


class Confirmations:
    """Finds confirmations at the start of bytes from the server.

    Args:
        subject: the server sends each confirmation to this prefix followed by a number.
        take: called with the number and the data of each confirmation.
    """

    def __init__(self, subject: str, take: Take) -> None:
        line = rb'MSG %b(\d+) \d+ (\d+)\r\n(\{"stream":[^\r\n]*)\r\n' % re.escape(subject.encode())
        self._match = re.compile(line).match
        self._take = take

    def read(self, data: bytes) -> int:
        """Take all confirmations that `data` starts with; return how many bytes they are."""
        match, take, at = self._match, self._take, 0
        while found := match(data, at):
            number, size, answer = found.groups()
            if int(size) != len(answer):
                break
            take(int(number), answer)
            at = found.end()
        return at


class ConfirmationParser(Parser):
    """The parser of nats-py, with a faster one for confirmations.

    Attributes:
        confirmations: the faster parser; None until the connection is open.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.confirmations: Confirmations | None = None

    async def parse(self, data: bytes = b"") -> None:
        if self.state == AWAITING_MSG_PAYLOAD:  # nats-py has read the first line of this message
            rest = self.needed + CRLF_SIZE - len(self.buf)
            await super().parse(data[:rest])
            data = data[rest:]
        if self.state == AWAITING_CONTROL_LINE and self.confirmations:
            data = bytes(self.buf) + data
            self.buf.clear()
            data = data[self.confirmations.read(data) :]
        await super().parse(data)
