"""Messages of other programs in Playhead's queues, malformed in every way that a server accepts.

Each backend has a table of raw messages by name, and a function that puts a message into a queue. The
function uses the protocol of the server, as another program would, and not the backend.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Malformed:
    """The malformed messages of one backend.

    Attributes:
        messages: raw messages, by a description of their fault.
        put: puts a raw message into an existing queue. Takes the address of the test first.
    """

    messages: Mapping[str, Any]
    put: Callable[[str, str, Any], Awaitable[None]]


DEEP: Final = 2_000
"""More levels than Python's recursion limit allows."""

# Bodies that are not the payload of a dispatch.
PAYLOADS: Final[Mapping[str, bytes]] = {
    "empty payload": b"",
    "payload that is not JSON": b"object_key=a",
    "payload that is a list": b"[1, 2]",
    "payload that is null": b"null",
    "payload with NUL": b'{"a": "\0"}\0',
    "payload that is not UTF-8": b'{"a": "\xff\xfe"}',
    "payload with a lone surrogate": b'{"a": "\\ud800"}',
    "payload with NaN": b'{"a": NaN, "b": -Infinity}',
    "payload with a number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "deep payload": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "huge payload": json.dumps({"object_key": "a" * 700_000}).encode(),
}

HEADERS: Final[Mapping[str, str]] = {
    "empty headers": "",
    "headers that are not JSON": "execution_id=1",
    "headers that are a list": '["correlation_id"]',
    "headers that are null": "null",
    "headers that are text": '"correlation_id"',
    "headers with a number": '{"correlation_id": 17, "execution_id": 1.5}',
    "headers with null": '{"correlation_id": null}',
    "headers with a list": '{"correlation_id": ["a", {"b": []}]}',
    "headers with NaN": '{"correlation_id": NaN}',
    "headers with a lone surrogate": '{"correlation_id": "\\ud800", "\\udfff": "a"}',
    "headers with NUL": '{"correlation_id": "\\u0000"}',
    "headers with a number of 5,000 digits": '{"correlation_id": ' + "9" * 5000 + "}",
    "deep headers": '{"correlation_id": ' + "[" * DEEP + "]" * DEEP + "}",
}

IDS: Final[Mapping[str, str]] = {
    "empty id": "",
    "id that is not a UUID": "17",
    "id of dots": "....",
    "huge id": "a" * 100_000,
}


# -- SQLite and PostgreSQL -------------------------------------------------------------------------


def _rows(blob: Callable[[bytes], str]) -> dict[str, tuple[str, str, str]]:
    """Rows as SQL expressions: message id, headers, payload.

    Args:
        blob: returns an SQL expression for text with these bytes.
    """

    def text(value: str) -> str:
        return blob(value.encode())

    good = (text("another program's"), text("{}"), text("{}"))
    return (
        {name: (text(value), *good[1:]) for name, value in IDS.items()}
        | {name: (good[0], text(value), good[2]) for name, value in HEADERS.items()}
        | {name: (*good[:2], blob(value)) for name, value in PAYLOADS.items()}
    )


_SQLITE = _rows(lambda data: f"CAST(x'{data.hex()}' AS TEXT)") | {
    "id that is not UTF-8": ("CAST(x'fffe' AS TEXT)", "'{}'", "'{}'"),
    "id of bytes": ("x'00fffe'", "'{}'", "'{}'"),
    "id that is a number": ("17.5", "'{}'", "'{}'"),
    "headers that are not UTF-8": ("'a'", "CAST(x'7b22ff227d' AS TEXT)", "'{}'"),
    "headers of bytes": ("'a'", "x'5b00ff5d'", "'{}'"),
    "headers that are a number": ("'a'", "17", "'{}'"),
    "payload of bytes": ("'a'", "'{}'", "x'00fffe'"),
    "payload that is a number": ("'a'", "'{}'", "17.5"),
}
# Text in PostgreSQL contains only valid UTF-8, without NUL.
_POSTGRES = {
    name: row
    for name, row in _rows(lambda data: f"convert_from('\\x{data.hex()}', 'UTF8')").items()
    if name not in ("payload with NUL", "payload that is not UTF-8")
}


async def _put_sqlite(place: str, queue: str, row: tuple[str, str, str]) -> None:
    con = sqlite3.connect(Path(place) / "playhead.db", isolation_level=None)
    try:
        con.execute(
            "INSERT INTO dispatches (queue, message_id, headers, payload) "
            f"SELECT id, {', '.join(row)} FROM queues WHERE name = ? AND NOT bulk",
            (queue,),
        )
    finally:
        con.close()


async def _put_postgres(url: str, queue: str, row: tuple[str, str, str]) -> None:
    import asyncpg  # type: ignore[import-untyped]

    con = await asyncpg.connect(url)
    try:
        await con.execute(
            "INSERT INTO dispatches (queue, message_id, headers, payload) "
            f"SELECT id, {', '.join(row)} FROM queues WHERE name = $1 AND NOT bulk",
            queue,
        )
    finally:
        await con.close()


# -- NATS ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wire:
    """A NATS message: raw headers, or None for a message without headers, and a payload."""

    headers: bytes | None
    payload: bytes = b"{}"


_NATS = {name: _Wire(None, payload) for name, payload in PAYLOADS.items()} | {
    "no headers": _Wire(None),
    "empty headers": _Wire(b"NATS/1.0\r\n\r\n"),
    "headers with a status": _Wire(b"NATS/1.0 503\r\n\r\n"),
    "headers with a status and words": _Wire(b"NATS/1.0 408 Request Timeout\r\n\r\n"),
    "id that is not UTF-8": _Wire(b"NATS/1.0\r\nNats-Msg-Id: \xff\xfe\r\n\r\n"),
    "id with NUL": _Wire(b"NATS/1.0\r\nNats-Msg-Id: a\0b\r\n\r\n"),
    "huge id": _Wire(b"NATS/1.0\r\nNats-Msg-Id: " + b"a" * 60_000 + b"\r\n\r\n"),
    "headers that are not UTF-8": _Wire(b"NATS/1.0\r\ncorrelation_id: \xff\r\n\xfe: a\r\n\r\n"),
    "headers with NUL": _Wire(b"NATS/1.0\r\ncorrelation_id: \0\r\na\0: b\r\n\r\n"),
    "headers without a colon": _Wire(b"NATS/1.0\r\ncorrelation_id\r\n\r\n"),
    "headers without a name": _Wire(b"NATS/1.0\r\n: a\r\n\r\n"),
    "headers without an end": _Wire(b"NATS/1.0\r\ncorrelation_id: a"),
    "headers without a version line": _Wire(b"\xff\xfe\r\n\r\n"),
}


async def _put_nats(place: str, queue: str, message: _Wire) -> None:
    url, prefix = place.split(" ")
    server = urlsplit(url.partition(",")[0])
    reader, writer = await asyncio.open_connection(server.hostname, server.port)
    try:
        subject = f"playhead.{prefix}{queue}".encode()
        command = b"PUB %b %d\r\n" % (subject, len(message.payload))
        body = message.payload
        if message.headers is not None:
            body = message.headers + body
            command = b"HPUB %b %d %d\r\n" % (subject, len(message.headers), len(body))
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n%b%b\r\nPING\r\n' % (command, body))
        async with asyncio.timeout(10):
            while not (line := await reader.readline()).startswith(b"PONG"):
                assert line, "the server closed the connection"
                assert not line.startswith(b"-ERR"), line
    finally:
        writer.close()


# -- RabbitMQ --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Amqp:
    """A message of AMQP: raw properties (flags and values), a body, and a routing key.

    A message with a routing key goes through an exchange of its own, to which the queue is bound.
    """

    properties: bytes = b"\0\0"
    body: bytes = b"{}"
    key: bytes | None = None


def _short(value: bytes) -> bytes:
    return bytes((len(value),)) + value


def _table(*fields: tuple[bytes, bytes]) -> bytes:
    """A field table, of names and raw values that begin with their type."""
    content = b"".join(_short(name) + value for name, value in fields)
    return struct.pack(">I", len(content)) + content


def _headers(*fields: tuple[bytes, bytes]) -> _Amqp:
    return _Amqp(b"\x20\0" + _table(*fields))


def _long(kind: bytes, value: bytes) -> bytes:
    return kind + struct.pack(">I", len(value)) + value


def _nested(levels: int) -> bytes:
    value = b"V"
    for _ in range(levels):
        value = b"F" + _table((b"a", value))
    return value


_LATE = struct.pack(">Q", 1_700_000_000_000_000)  # microseconds, where AMQP has seconds
_AMQP = {name: _Amqp(body=body) for name, body in PAYLOADS.items()} | {
    "no properties": _Amqp(),
    "timestamp out of range": _Amqp(b"\0\x40" + _LATE),
    "timestamp in the far future": _Amqp(b"\0\x40" + b"\x7f" * 8),
    "id that is not UTF-8": _Amqp(b"\0\x80" + _short(b"\xff\xfe")),
    "id with NUL": _Amqp(b"\0\x80" + _short(b"a\0b")),
    "empty id": _Amqp(b"\0\x80" + _short(b"")),
    "longest id": _Amqp(b"\0\x80" + _short(b"a" * 255)),
    "all properties not UTF-8": _Amqp(
        b"\xdf\xb8"
        + _short(b"\xff") * 2  # content type and encoding
        + b"\2\0"  # delivery mode and priority
        + _short(b"\xff") * 2  # correlation id, reply to
        + _short(b"600000")  # expiration, which the server reads
        + _short(b"\xff") * 2  # message id and type
        + _short(b"guest")  # user id, which the server compares with the connection's
        + _short(b"\xff")  # application
    ),
    "header that is not UTF-8": _headers((b"correlation_id", _long(b"S", b"\xff\xfe"))),
    "header with a name that is not UTF-8": _headers((b"\xff\xfe", _long(b"S", b"a"))),
    "header without a name": _headers((b"", _long(b"S", b"a"))),
    "header with a timestamp out of range": _headers((b"correlation_id", b"T" + _LATE)),
    "headers of odd types": _headers(
        (b"correlation_id", b"V"),
        (b"execution_id", b"t\1"),
        (b"config", b"D\xff" + b"\x7f" * 4),
        (b"config_version", b"l" + b"\x7f" * 8),
        (b"route", b"d" + struct.pack(">d", 1e300)),
        (b"traceparent", _long(b"x", b"\0\xff")),
        (b"parent_correlation_id", b"f" + struct.pack(">f", -0.0)),
        (b"replay_batch_id", b"b\x80"),
    ),
    "header that is a list": _headers((b"correlation_id", _long(b"A", _long(b"S", b"\xff") + b"V"))),
    "header that is a table": _headers((b"correlation_id", _nested(3))),
    "deep header": _headers((b"correlation_id", _nested(DEEP))),
    "header with the same name twice": _headers((b"route", b"V"), (b"route", b"t\0")),
    "routing key that is not UTF-8": _Amqp(key=b"\xff\xfe"),
}


async def _put_rabbitmq(place: str, queue: str, message: _Amqp) -> None:
    import aiormq
    from aiormq.abc import ChannelFrame
    from aiormq.channel import Channel

    url, prefix = place.split(" ")
    name = f"{prefix}{queue}"
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=False)
        assert isinstance(channel, Channel)
        exchange, key = b"", name.encode()
        if message.key is not None:
            exchange, key = f"{name}.from".encode(), message.key
            await channel.exchange_declare(exchange.decode(), exchange_type="fanout", auto_delete=True)
            await channel.queue_bind(name, exchange.decode())
        content = struct.pack(">HHQ", 60, 0, len(message.body)) + message.properties
        most = channel.connection.connection_tune.frame_max - 8
        pieces = [message.body[at : at + most] for at in range(0, len(message.body), most)]
        frames = [
            (1, struct.pack(">HHH", 60, 40, 0) + _short(exchange) + _short(key) + b"\0"),
            (2, content),
            *((3, piece) for piece in pieces),
        ]
        number = int(str(channel))
        wire = b"".join(
            struct.pack(">BHI", kind, number, len(data)) + data + b"\xce" for kind, data in frames
        )
        await channel.write_queue.put(ChannelFrame(payload=wire, should_close=False))
        await channel.queue_declare(name, passive=True, timeout=10)  # answered after the message was taken
    finally:
        await connection.close()


MALFORMED: Final[Mapping[str, Malformed]] = {
    "sqlite": Malformed(_SQLITE, _put_sqlite),
    "postgresql": Malformed(_POSTGRES, _put_postgres),
    "nats": Malformed(_NATS, _put_nats),
    "rabbitmq": Malformed(_AMQP, _put_rabbitmq),
}
"""By backend. What the brokers of memory and of three NATS servers decode is decoded by the same code."""
