"""Messages as bytes of AMQP.

The client builds three frame objects, a header table and a future for each message; here what the calls
of one batch share is encoded once, and the frames of many messages go out in one piece.
"""

from __future__ import annotations

import struct
from typing import Final

import pamqp.encode
import pamqp.frame
from pamqp.commands import Basic

from playhead.envelope import Dispatch, Headers

# Frame: type, channel, size, payload, end. Content header: class 60, weight 0, size of the body, flags of
# the properties that follow in their fixed order.
_FRAME: Final = struct.Struct(">BHI")
_CONTENT: Final = struct.Struct(">HHQH")
_SIZE: Final = struct.Struct(">I")
_HEADER, _BODY, _END = 2, 3, b"\xce"
_BASIC: Final = 60
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _MESSAGE_ID = 0x8000, 0x2000, 0x1000, 0x0080
_FLAGS: Final = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _MESSAGE_ID
_JSON: Final = b"\x10application/json"
_PERSISTENT: Final = b"\x02"


class Encoder:
    """Encodes the messages of one channel.

    Args:
        channel: its number.
        prefix: goes before queue names.
    """

    def __init__(self, channel: int, prefix: str) -> None:
        self._channel = channel
        self._prefix = prefix
        self._known: tuple[Headers, bytes, bytes] | None = None

    def message(self, call: Dispatch, payload: bytes) -> bytes:
        """The three frames of one message: where it goes, its properties, its payload.

        Mandatory: a message for a queue that is gone comes back, and is no silence.
        """
        headers = call.headers
        if self._known is None or self._known[0] is not headers:
            self._known = (headers, self._publish(headers.queue), _table(headers.shared()))
        _, publish, shared = self._known
        table = shared + _table(call.own_headers())
        message_id = call.message_id.encode()
        properties = b"".join(
            (
                _JSON,
                _SIZE.pack(len(table)),
                table,
                _PERSISTENT,
                len(message_id).to_bytes(1, "big"),
                message_id,
            )
        )
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
    """Frames that ack deliveries: each a tag, and whether all before it are meant, too."""
    return b"".join(pamqp.frame.marshal(Basic.Ack(tag, multiple), channel) for tag, multiple in tags)


def requeues(channel: int, tags: list[int]) -> bytes:
    """Frames that give deliveries back to their queue."""
    return b"".join(pamqp.frame.marshal(Basic.Nack(tag, False, True), channel) for tag in tags)


def _table(headers: dict[str, str]) -> bytes:
    return pamqp.encode.field_table(dict(headers))[_SIZE.size :]
