"""Pre-built frames into a stream: the fastest that a NATS server takes messages with ids, each confirmed.

A socket, and no client library: bytes that were made beforehand go out, and confirmations are counted as
they come back, without looking at what else they say. The bytes are those that our broker sends, for a
stream that is declared as ours are.
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
"""Messages in flight. More were never faster."""
_FLYING = 256


def rates(port: int, url: str, queue: str, calls: Sequence[Dispatch]) -> dict[int, float]:
    """Messages a second for each window, each into a new stream of the queue `queue` and a number."""
    found = {}
    for window in WINDOWS:
        name = f"{queue}{window}"
        asyncio.run(_declare(url, name))
        found[window] = len(calls) / _pour(port, _frames(name, calls), len(calls), window)
    return found


def library_rate(url: str, queue: str, calls: Sequence[Dispatch]) -> float:
    """Messages a second of nats-py, as its makers mean it: `js.publish`, 256 in flight. No rows either."""
    return asyncio.run(_library_rate(url, queue, calls))


async def _library_rate(url: str, queue: str, calls: Sequence[Dispatch]) -> float:
    await _declare(url, queue)
    client = await nats.connect(url)
    stream = client.jetstream()
    rest = iter(calls)

    async def lane() -> None:
        for call in rest:
            headers = {**call.headers.shared(), **call.own_headers(), MESSAGE_ID: call.message_id}
            await stream.publish(subject_of(queue), call.payload().encode(), headers=headers, timeout=30.0)

    try:
        began = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(_FLYING)))
        return len(calls) / (time.perf_counter() - began)
    finally:
        await client.close()


async def _declare(url: str, queue: str) -> None:
    link = await Link.connect(parse(url))
    try:
        await streams.declare(link, queue, visibility=30.0, replicas=1)
    finally:
        await link.close()


def _frames(queue: str, calls: Sequence[Dispatch]) -> list[bytes]:
    """The calls as commands, some in a piece; they go to `queue` whatever they say."""
    there = calls[0].headers
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
        frames.encode([call._replace(headers=headers) for call in calls[at : at + _PIECE]], at)[0]
        for at in range(0, len(calls), _PIECE)
    ]


def _pour(port: int, pieces: Sequence[bytes], count: int, window: int) -> float:
    """Seconds from the first byte to the last confirmation."""
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
                raise RuntimeError(f"NATS refused a frame, or left: {came[-300:]!r}")
            confirmed += came.count(_ANSWER)
            # The last one may be cut; a whole one is not counted twice, as its end is cut off here.
            rest = came[came.rfind(b"\n") + 1 :] if not came.endswith(b"\n") else b""
            confirmed -= rest.count(_ANSWER)
        return time.perf_counter() - began
