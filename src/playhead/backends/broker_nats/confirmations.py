"""Reading many confirmations of publishes at once. nats-py takes four microseconds for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from nats.protocol.parser import AWAITING_CONTROL_LINE, AWAITING_MSG_PAYLOAD, CRLF_SIZE, Parser


class ConfirmationParser(Parser):
    """The parser of nats-py, with a faster one for confirmations."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._match: Callable[[bytes, int], re.Match[bytes] | None] | None = None
        self._take: Callable[[int, bytes], None] = lambda number, data: None

    def read_confirmations(self, subject: str, take: Callable[[int, bytes], None]) -> None:
        """Read confirmations faster from now on.

        Args:
            subject: the server sends each confirmation to this prefix followed by a number.
            take: called with the number and the data of each confirmation.
        """
        line = rb'MSG %b(\d+) \d+ (\d+)\r\n(\{"stream":[^\r\n]*)\r\n' % re.escape(subject.encode())
        self._match, self._take = re.compile(line).match, take

    async def parse(self, data: bytes = b"") -> None:
        if self.state == AWAITING_MSG_PAYLOAD:  # nats-py has read the first line of this message
            rest = self.needed + CRLF_SIZE - len(self.buf)
            await super().parse(data[:rest])
            data = data[rest:]
        if self.state == AWAITING_CONTROL_LINE and self._match:
            data = bytes(self.buf) + data
            self.buf.clear()
            match, take, at = self._match, self._take, 0
            while found := match(data, at):
                number, size, answer = found.groups()
                if int(size) != len(answer):
                    break
                take(int(number), answer)
                at = found.end()
            data = data[at:]
        await super().parse(data)
