"""Messages as bytes of AMQP, and back.

The client builds three frame objects, a header table and a future for each message. Here the part that the
dispatches of one batch share is encoded once, and the frames of many messages are sent in one piece.

The client also decodes every property of a message that it receives, and drops the connection when another
program wrote one that it cannot decode. `MessageReader` keeps all but the message id from it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final, SupportsIndex

import pamqp.decode
import pamqp.encode
import pamqp.frame
from pamqp.commands import Basic

from playhead.envelope import Dispatch, Headers

# Frame: type, channel, size, payload, end. Content header: class 60, weight 0, size of the body, flags of
# the properties that follow in their fixed order.
_FRAME: Final = struct.Struct(">BHI")
_CONTENT: Final = struct.Struct(">HHQH")
_SIZE: Final = struct.Struct(">I")
_METHOD, _HEADER, _BODY, _HEARTBEAT, _END = 1, 2, 3, 8, b"\xce"
_BASIC: Final = 60
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _MESSAGE_ID = 0x8000, 0x2000, 0x1000, 0x0080
_FLAGS: Final = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _MESSAGE_ID
_JSON: Final = b"\x10application/json"
_PERSISTENT: Final = b"\x02"


def queue_of(headers: Headers) -> str:
    """Return the queue of the level that dispatches belong to, without the prefix."""
    return bulk(headers.queue) if headers.bulk else headers.queue


def bulk(queue: str) -> str:
    """Return the queue of the bulk level of a queue. No config can give a queue such a name."""
    return f"{queue}:bulk"


class Encoder:
    """Encodes the messages of one channel.

    Args:
        channel: the number of the channel.
        prefix: prepended to queue names.
    """

    def __init__(self, channel: int, prefix: str) -> None:
        self._channel = channel
        self._prefix = prefix
        self._known: tuple[Headers, bytes, bytes] | None = None

    def message(self, dispatch: Dispatch, payload: bytes) -> bytes:
        """Return the three frames of one message: its queue, its properties, its payload.

        The message is mandatory: the server returns it if its queue does not exist.
        """
        headers = dispatch.headers
        if self._known is None or self._known[0] is not headers:
            self._known = (headers, self._publish(queue_of(headers)), _table(headers.shared()))
        _, publish, shared = self._known
        table = shared + _table(dispatch.own_headers())
        message_id = _short_string(dispatch.message_id.encode())
        properties = b"".join((_JSON, _SIZE.pack(len(table)), table, _PERSISTENT, message_id))
        return b"".join(
            (
                publish,
                _FRAME.pack(_HEADER, self._channel, _CONTENT.size + len(properties)),
                _CONTENT.pack(_BASIC, 0, len(payload), _FLAGS),
                properties,
                _END,
                _FRAME.pack(_BODY, self._channel, len(payload)),
                payload,
                _END,
            )
        )

    def _publish(self, queue: str) -> bytes:
        frame = Basic.Publish(exchange="", routing_key=f"{self._prefix}{queue}", mandatory=True)
        return pamqp.frame.marshal(frame, self._channel)


def acks(channel: int, tags: list[tuple[int, bool]]) -> bytes:
    """Return frames that acknowledge deliveries: each a tag, and whether all before it are included."""
    return b"".join(pamqp.frame.marshal(Basic.Ack(tag, multiple), channel) for tag, multiple in tags)


def requeues(channel: int, tags: list[int]) -> bytes:
    """Return frames that return deliveries to their queue."""
    return b"".join(pamqp.frame.marshal(Basic.Nack(tag, False, True), channel) for tag in tags)


def _short_string(text: bytes) -> bytes:
    return len(text).to_bytes(1, "big") + text


def _table(headers: dict[str, str]) -> bytes:
    return pamqp.encode.field_table(dict(headers))[_SIZE.size :]


# Beginnings of method frames: class and method.
_DELIVER, _GET_OK = b"\0\x3c\0\x3c", b"\0\x3c\0\x47"
_SHORT, _TABLE, _OCTET = "short", "table", "octet"
_UP_TO_THE_ID: Final = (
    (_CONTENT_TYPE, _SHORT),
    (0x4000, _SHORT),  # content encoding
    (_HEADERS, _TABLE),
    (_DELIVERY_MODE, _OCTET),
    (0x0800, _OCTET),  # priority
    (0x0400, _SHORT),  # correlation id
    (0x0200, _SHORT),  # reply to
    (0x0100, _SHORT),  # expiration
    (_MESSAGE_ID, _SHORT),
)
_RAW: Final = "raw"
_RAW_ENTRY: Final = b"\3rawx"
_OF_THE_SERVER: Final = ("x-delivery-count", "x-acquired-count")


class MessageReader(asyncio.StreamReader):
    """What a server sends, with each message in a form that the client can decode.

    The client gets a message id that is UTF-8, an empty exchange and routing key, and the undecoded field
    table as a single header, which `headers_of` decodes. It gets no other property.
    """

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._rest = bytearray()
        self._is_amqp = True

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        rest = self._rest
        rest.extend(data)
        at = 0
        found: list[bytes] = []
        while self._is_amqp and len(rest) - at >= _FRAME.size:
            kind, channel, size = _FRAME.unpack_from(rest, at)
            end = at + _FRAME.size + size + len(_END)
            # The header of another version of the protocol, or something else: the client reports it.
            self._is_amqp = kind in (_METHOD, _HEADER, _BODY, _HEARTBEAT)
            if end > len(rest):
                break
            payload = _decodable(kind, bytes(rest[at + _FRAME.size : end - len(_END)]))
            found += (_FRAME.pack(kind, channel, len(payload)), payload, bytes(rest[end - len(_END) : end]))
            at = end
        if not self._is_amqp:
            found.append(bytes(rest[at:]))
            at = len(rest)
        del rest[:at]
        if found:
            super().feed_data(b"".join(found))

    def feed_eof(self) -> None:
        if self._rest:
            super().feed_data(bytes(self._rest))
            self._rest.clear()
        super().feed_eof()


def _decodable(kind: int, payload: bytes) -> bytes:
    """The payload of a frame without what a client might not decode."""
    if kind == _HEADER:
        table, message_id = _split(payload[12:])
        raw = b"".join((_RAW_ENTRY, _SIZE.pack(len(table)), table))
        return b"".join(
            (
                payload[:12],
                (_HEADERS | _MESSAGE_ID).to_bytes(2, "big"),
                _SIZE.pack(len(raw)),
                raw,
                _short_string(message_id.decode("utf-8", "ignore").encode()),
            )
        )
    if kind == _METHOD and payload.startswith(_DELIVER):
        end = 4 + 1 + payload[4] + 8 + 1  # consumer tag, delivery tag, redelivered; exchange and routing key
        return payload[:end] + b"\0\0"
    if kind == _METHOD and payload.startswith(_GET_OK):
        end = 4 + 8 + 1  # delivery tag, redelivered; exchange, routing key and count
        return payload[:end] + b"\0\0" + payload[-4:]
    return payload


def _split(properties: bytes) -> tuple[bytes, bytes]:
    """The field table and the message id among raw properties; empty where they cannot be found."""
    table = message_id = b""
    try:
        flags = int.from_bytes(properties[:2], "big")
        at = 2
        for flag, kind in _UP_TO_THE_ID:
            if not flags & flag:
                continue
            if kind is _TABLE:
                end = at + _SIZE.size + int(_SIZE.unpack_from(properties, at)[0])
                table = properties[at:end]
            else:
                end = at + 1 + (properties[at] if kind is _SHORT else 0)
                if flag == _MESSAGE_ID:
                    message_id = properties[at + 1 : end]
            at = end
    except (IndexError, struct.error):
        pass
    return table, message_id


def headers_of(headers: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the headers of a message that `MessageReader` read, without those that the server adds.

    Names and values are text. The result is empty if any of the headers cannot be decoded.
    """
    try:
        _, found = pamqp.decode.field_table(bytes((headers or {})[_RAW]))
        return {name: _text(value) for name, value in found.items() if name not in _OF_THE_SERVER}
    except Exception:  # a table of another program may make the client raise anything
        return {}


def _text(value: object) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
