"""Frames of RabbitMQ reach the client in a form that it can decode, for any content of a message."""

from __future__ import annotations

import asyncio
import struct

from aiormq.connection import FrameReceiver
from hypothesis import given, strategies as st
from pamqp import commands, frame, header

from playhead.backends.broker_rabbitmq.frames import MessageReader, headers_of


async def decoded(data: bytes, *, piece: int) -> list[object]:
    """Read frames as the client does, from a socket that returns `piece` bytes at a time."""
    reader = MessageReader(loop=asyncio.get_running_loop())
    for at in range(0, len(data), piece):
        reader.feed_data(data[at : at + piece])
    reader.feed_eof()
    receiver = FrameReceiver(reader)
    found: list[object] = []
    while not reader.at_eof():
        _, _, one = await receiver.get_frame()
        found.append(one)
    return found


def raw_header(properties: bytes) -> bytes:
    payload = struct.pack(">HHQ", 60, 0, 5) + properties
    return struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_properties_leave_a_message_that_can_be_read(properties: bytes, piece: int):
    deliver = frame.marshal(commands.Basic.Deliver("playhead-1", 7, False, "", "docs.convert"), 1)

    method, content = asyncio.run(decoded(deliver + raw_header(properties), piece=piece))

    assert isinstance(method, commands.Basic.Deliver)
    assert (method.consumer_tag, method.delivery_tag) == ("playhead-1", 7)
    assert isinstance(content, header.ContentHeader)
    assert content.body_size == 5
    headers = headers_of(content.properties.headers)
    assert all(isinstance(value, str) and value.encode() is not None for value in headers.values())


@given(st.binary(max_size=300))
def test_any_field_table_decodes_to_text_or_to_no_headers(content: bytes):
    table = struct.pack(">I", len(content)) + content

    headers = headers_of({"raw": bytearray(table)})

    assert all(name.encode() is not None and value.encode() is not None for name, value in headers.items())


async def test_id_and_headers_of_a_dispatch_are_read_as_they_were_written():
    properties = commands.Basic.Properties(
        content_type="application/json", headers={"route": "convert"}, delivery_mode=2, message_id="a.0"
    )

    (content,) = await decoded(frame.marshal(header.ContentHeader(0, 5, properties), 1), piece=1000)

    assert isinstance(content, header.ContentHeader)
    assert content.properties.message_id == "a.0"
    assert headers_of(content.properties.headers) == {"route": "convert"}


async def test_frames_without_a_message_are_passed_on_as_they_are():
    frames = [commands.Basic.QosOk(), commands.Queue.DeclareOk("docs.convert", 3, 1)]

    found = await decoded(b"".join(frame.marshal(one, 1) for one in frames), piece=3)

    assert [type(one) for one in found] == [type(one) for one in frames]


async def test_bytes_that_are_not_amqp_are_passed_on_as_they_are():
    reader = MessageReader(loop=asyncio.get_running_loop())

    reader.feed_data(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    reader.feed_eof()

    assert await reader.read() == b"HTTP/1.1 400 Bad Request\r\n\r\n"
