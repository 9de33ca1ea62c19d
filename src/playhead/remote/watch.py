"""The states of an execution or a replay, from the event streams of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from playhead.errors import Unavailable
from playhead.form import read
from playhead.model import Replay, WatchedExecution
from playhead.remote.client import Client

T = TypeVar("T")
_RECONNECT_SECONDS: Final = 0.5


class RemoteStates(NamedTuple, Generic[T]):
    """One stream. `states` as in `services.watch.Watch`; a lost connection is opened again."""

    client: Client
    path: str
    form: type[T]

    async def states(self) -> AsyncIterator[T]:
        last: str | None = None
        while True:
            async for event in _events(self.client, self.path, last):
                last = event.get("id", "")
                yield read(self.form, json.loads(event["data"]))
                if event.get("event") == "end":
                    return
            await asyncio.sleep(_RECONNECT_SECONDS)


async def _events(client: Client, path: str, last: str | None) -> AsyncIterator[dict[str, str]]:
    """Yield the fields of each event after the one with the id `last`, until the connection ends."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    _, chunks = await client.stream(path, headers)
    rest = b""
    fields: dict[str, str] = {}
    with suppress(Unavailable):
        async for chunk in chunks:
            *lines, rest = (rest + chunk.replace(b"\r", b"")).split(b"\n")
            for line in lines:
                name, _, value = line.decode().partition(": ")
                if line:
                    fields[name] = value
                else:
                    if "data" in fields:
                        yield fields
                    fields = {}


class RemoteWatch:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def execution(self, execution: UUID) -> RemoteStates[WatchedExecution]:
        return RemoteStates(self._client, f"executions/{execution}/events", WatchedExecution)

    async def replay(self, batch: UUID) -> RemoteStates[Replay]:
        return RemoteStates(self._client, f"replays/{batch}/events", Replay)
