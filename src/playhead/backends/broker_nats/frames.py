"""Dispatches as bytes of the NATS protocol, and back."""

from __future__ import annotations

from collections.abc import Sequence

from playhead.envelope import Dispatch, Headers

MESSAGE_ID = "Nats-Msg-Id"
_FIND_ID = b"\r\nNats-Msg-Id:"


class Frames:
    """Encodes the dispatches of one publish. Headers that they share are encoded once.

    Args:
        inbox: answers go to this prefix and a number.
        prefix: prepended to queue names.
        most_bytes: the size limit of a message, headers and payload.
    """

    def __init__(self, inbox: str, prefix: str, most_bytes: int) -> None:
        self._inbox = inbox
        self._prefix = prefix
        self._most = most_bytes
        self._heads: dict[int, tuple[str, str, int]] = {}

    def encode(self, dispatches: Sequence[Dispatch], number: int) -> tuple[bytes, list[int]]:
        """Return the commands to publish, and the positions of dispatches that are too large to be sent.

        Args:
            number: the answer to the first dispatch goes to this number, the next to the following one.
        """
        frames, refused = [], []
        heads, inbox, most = self._heads, self._inbox, self._most
        for at, dispatch in enumerate(dispatches):
            headers = dispatch.headers
            subject, head, size = heads.get(id(headers)) or self._head(headers)
            cid = dispatch.correlation_id
            text = dispatch.payload()
            # Lengths are in bytes. Most keys are ASCII.
            length = len(text) if text.isascii() else len(text.encode())
            tail = f"{cid}\r\n{MESSAGE_ID}: {cid}.{dispatch.generation}\r\n\r\n"
            if dispatch.parent:
                tail = f"{cid}\r\nparent_correlation_id: {dispatch.parent}{tail[len(cid) :]}"
            head_length = size + len(tail)
            if head_length + length > most:
                refused.append(at)
                continue
            sizes = f"{head_length} {head_length + length}"
            frames.append(f"HPUB {subject} {inbox}{number + at} {sizes}\r\n{head}{tail}{text}\r\n")
        return "".join(frames).encode(), refused

    def _head(self, headers: Headers) -> tuple[str, str, int]:
        lines = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in headers.shared().items())
        head = f"NATS/1.0\r\n{lines}correlation_id: "
        subject = subject_of(self._prefix + headers.queue, bulk=headers.bulk)
        found = subject, head, len(head.encode())
        self._heads[id(headers)] = found
        return found


def parse_headers(raw: bytes) -> dict[str, str]:
    """Return the headers of a message, without those of NATS itself."""
    found = {}
    for line in raw.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon and not name.startswith("Nats-"):
            found[name.strip()] = value.strip()
    return found


def message_id(raw: bytes) -> str:
    """Return the message id in raw headers; empty if another program gave none."""
    at = raw.find(_FIND_ID)
    if at < 0:
        return ""
    start = at + len(_FIND_ID)
    return raw[start : raw.find(b"\r\n", start)].decode("utf-8", "replace").strip()


def status_of(headers: bytes) -> str:
    """Return the status in the first line of raw headers (`NATS/1.0 404 No Messages`: `404`); else empty."""
    return headers[9:12].decode("utf-8", "replace") if headers[8:9] == b" " else ""


def description_of(headers: bytes) -> str:
    """Return the text after the status."""
    return headers.partition(b"\r\n")[0][13:].decode("utf-8", "replace").strip()


def subject_of(queue: str, *, bulk: bool = False) -> str:
    """Return the subject of a level of a queue. No config can give a queue a name with a colon."""
    return f"playhead.{queue}:bulk" if bulk else f"playhead.{queue}"


def _one_line(value: str) -> str:
    # Playhead's grammars allow no line break. One would end the header, and start a command.
    return value.replace("\r", " ").replace("\n", " ")
