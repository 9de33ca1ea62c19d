"""The states of an execution, a replay or a dataset, from the event streams of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

from playhead.errors import Unavailable
from playhead.form import read
from playhead.model import Dataset, Replay, WatchedExecution
from playhead.remote.client import Client
from playhead.remote.datasets import place_of
from playhead.services.watch import StateEvent, States

T = TypeVar("T")
_RECONNECT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class RemoteStates(States[T]):
    """One stream. A lost connection is opened again."""

    client: Client
    path: str
    form: type[T]
    query: Mapping[str, object] = field(default_factory=dict)

    async def tell(self, last: str | None) -> AsyncIterator[StateEvent[T] | Unavailable]:
        unavailable = False
        while True:
            try:
                async for event in _events(self.client, self.path, self.query, last):
                    last, unavailable = event.get("id", ""), False
                    is_end = event.get("event") == "end"
                    yield StateEvent(last, read(self.form, json.loads(event["data"])), is_end)
                    if is_end:
                        return
            except Unavailable as exc:
                if not unavailable:
                    yield exc
                unavailable = True
            await asyncio.sleep(_RECONNECT_SECONDS)


async def _events(
    client: Client, path: str, query: Mapping[str, object], last: str | None
) -> AsyncIterator[dict[str, str]]:
    """Yield the fields of each event after the one with the id `last`, until the connection ends."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    _, chunks = await client.stream(path, headers, **query)
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

    async def dataset(self, name: str) -> RemoteStates[Dataset]:
        path, query = place_of(name, "events")
        return RemoteStates(self._client, path, Dataset, query)
