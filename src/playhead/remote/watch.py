"""The states of an execution or a replay, from the event streams of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

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
            async for event in self.client.events(self.path, last):
                last = event.id
                yield read(self.form, json.loads(event.data))
                if event.name == "end":
                    return
            await asyncio.sleep(_RECONNECT_SECONDS)


class RemoteWatch:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def execution(self, execution: UUID) -> RemoteStates[WatchedExecution]:
        return RemoteStates(self._client, f"executions/{execution}/events", WatchedExecution)

    async def replay(self, batch: UUID) -> RemoteStates[Replay]:
        return RemoteStates(self._client, f"replays/{batch}/events", Replay)
