"""The server's socket."""

from __future__ import annotations

import asyncio
import socket

from playhead.server import listener


async def test_a_response_in_two_writes_does_not_wait_for_the_clients_ack():
    sock = listener("127.0.0.1", 0)
    delays: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = writer.get_extra_info("socket")
        delays.set_result(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(connected, sock=sock):
        _, writer = await asyncio.open_connection(*sock.getsockname()[:2])
        async with asyncio.timeout(10):
            nodelay = await delays
        writer.close()
    assert nodelay
