"""Baseline for NATS: publish prepared frames, the fastest way to get confirmed messages into a stream.

Uses a bare socket without a client library. It sends bytes that were built before the clock starts, and
counts the confirmations without parsing them. The bytes and the stream are those of Playhead's broker.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

import nats

from playhead.backends.broker_nats import streams
from playhead.backends.broker_nats.address import parse
from playhead.backends.broker_nats.frames import MESSAGE_ID, Frames, subject_of
from playhead.backends.broker_nats.link import Link
from playhead.envelope import Dispatch

_HELLO = (
    b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
    b"SUB _INBOX.bench.* 1\r\nPING\r\n"
)
_ANSWER = b'"seq":'
_PIECE = 250
WINDOWS = (1000, 4000)
"""Messages in flight. Larger windows were never faster."""
_FLYING = 256


def rates(port: int, url: str, queue: str, dispatches: Sequence[Dispatch]) -> dict[int, float]:
    """Return messages per second by window. Each window gets its own stream."""
    found = {}
    for window in WINDOWS:
        name = f"{queue}{window}"
        asyncio.run(_declare(url, name))
        found[window] = len(dispatches) / _pour(port, _frames(name, dispatches), len(dispatches), window)
    return found


def client_rate(url: str, queue: str, dispatches: Sequence[Dispatch]) -> float:
    """Return messages per second of nats-py with `js.publish` and 256 messages in flight. Writes no rows."""
    return asyncio.run(_client_rate(url, queue, dispatches))


async def _client_rate(url: str, queue: str, dispatches: Sequence[Dispatch]) -> float:
    await _declare(url, queue)
    client = await nats.connect(url)
    stream = client.jetstream()
    rest = iter(dispatches)

    async def lane() -> None:
        for dispatch in rest:
            headers = {**dispatch.headers.shared(), **dispatch.own_headers(), MESSAGE_ID: dispatch.message_id}
            await stream.publish(
                subject_of(queue), dispatch.payload().encode(), headers=headers, timeout=30.0
            )

    try:
        began = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(_FLYING)))
        return len(dispatches) / (time.perf_counter() - began)
    finally:
        await client.close()


async def _declare(url: str, queue: str) -> None:
    link = await Link.connect(parse(url))
    try:
        await streams.declare(link, queue, visibility=30.0, replicas=1)
    finally:
        await link.close()


def _frames(queue: str, dispatches: Sequence[Dispatch]) -> list[bytes]:
    """Encode messages as NATS commands, several per piece. All of them go to `queue`."""
    there = dispatches[0].headers
    headers = type(there)(
        queue,
        there.execution_id,
        there.config,
        there.config_version,
        there.route,
        there.replay_batch_id,
    )
    frames = Frames("_INBOX.bench.", "", 1 << 20)
    return [
        frames.encode([dispatch._replace(headers=headers) for dispatch in dispatches[at : at + _PIECE]], at)[
            0
        ]
        for at in range(0, len(dispatches), _PIECE)
    ]


def _pour(port: int, pieces: Sequence[bytes], count: int, window: int) -> float:
    """Return the seconds from the first byte to the last confirmation."""
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(_HELLO)
        said = b""
        while b"PONG" not in said:
            said += connection.recv(65_536)
        began = time.perf_counter()
        sent = confirmed = 0
        rest = b""
        left = iter(pieces)
        while confirmed < count:
            while sent < count and sent + _PIECE - confirmed <= window:
                connection.sendall(next(left))
                sent += _PIECE
            came = rest + connection.recv(1 << 18)
            if b'"error"' in came or not came:
                raise RuntimeError(f"NATS rejected a frame or closed the connection: {came[-300:]!r}")
            confirmed += came.count(_ANSWER)
            # The last line may be incomplete: it is counted when the rest of it arrives.
            rest = came[came.rfind(b"\n") + 1 :] if not came.endswith(b"\n") else b""
            confirmed -= rest.count(_ANSWER)
        return time.perf_counter() - began
