"""The states of an execution come from the event stream of a server, also after the connection was lost."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, fields, replace

import pytest

from playhead.errors import NotFound
from playhead.ids import uuid7
from playhead.model import Counts, Status, WatchedExecution
from playhead.remote.client import Client
from playhead.remote.watch import RemoteWatch
from tests.lab import EXECUTION


def state(completed: int, status: Status = "running") -> bytes:
    """Return the data of an event."""
    counts = Counts(pending=2 - completed, completed=completed, total=2)
    of = replace(EXECUTION, status=status, counts=counts)
    shown = WatchedExecution(**{field.name: getattr(of, field.name) for field in fields(of)})
    return json.dumps(asdict(shown), default=str).encode()


def event(number: int, data: bytes, name: str = "execution") -> bytes:
    return b"event: %s\r\ndata: %s\r\nid: %d\r\n\r\n" % (name.encode(), data, number)


class Server:
    """Answers each request with the next of these bodies, and closes the connection."""

    def __init__(self, *bodies: bytes, status: str = "200 OK") -> None:
        self._bodies = list(bodies)
        self._status = status
        self.requests: list[str] = []

    async def __aenter__(self) -> RemoteWatch:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self._client = Client(f"http://127.0.0.1:{port}")
        return RemoteWatch(self._client)

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        kind = "text/event-stream" if self._status.startswith("200") else "application/json"
        head = f"HTTP/1.1 {self._status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + self._bodies.pop(0))
        await writer.drain()
        writer.close()


async def test_the_states_continue_after_a_lost_connection_behind_the_last_event():
    server = Server(
        b": alive\r\n\r\n" + event(1, state(0)) + event(2, state(1)) + b"event: execution\r\ndata: {",
        event(3, state(2, "completed")) + event(4, state(2, "completed"), "end"),
    )
    async with server as watch:
        found = [
            (one.counts.completed, one.status) async for one in (await watch.execution(uuid7())).states()
        ]
    assert found == [(0, "running"), (1, "running"), (2, "completed"), (2, "completed")]
    first, second = server.requests
    assert "last-event-id" not in first.lower()
    assert "last-event-id: 2\r\n" in second.lower()


async def test_an_execution_that_does_not_exist_is_an_error():
    body = json.dumps({"error_code": "execution_not_found", "detail": "there is no execution"}).encode()
    async with Server(body, status="404 Not Found") as watch:
        with pytest.raises(NotFound):
            async for _ in (await watch.execution(uuid7())).states():
                pass
