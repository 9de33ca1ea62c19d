"""Health, adapters, error codes and examinations over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from playhead.model import AdapterInfo, Examination, Health, Page, Worker
from playhead.remote.client import HARMLESS, Client

_EXAMINE_SECONDS: Final = 150.0
"""If a backend does not answer, each of the server's two steps takes a minute. The rest is a margin."""


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """An error code of the server; see `playhead.api.errors`."""

    code: str
    status: int
    meaning: str


class RemoteSystem:
    """Remote `SystemService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def adapters(self) -> list[AdapterInfo]:
        return await self._client.get_all("adapters", Page[AdapterInfo])

    async def error_codes(self) -> list[ErrorCode]:
        return await self._client.get_all("errors", Page[ErrorCode])

    async def health(self, version: str) -> Health:
        """Return the health of the server, with the server's version; `version` is ignored."""
        return await self._client.get("system/health", Health)


class RemoteWorkers:
    """Remote `WorkersService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(self, cursor: str | None, limit: int) -> Page[Worker]:
        return await self._client.get("workers", Page[Worker], cursor=cursor, limit=limit)


class RemoteDoctor:
    """Remote `DoctorService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def examine(self) -> Examination:
        """Let the server examine its backends."""
        return await self._client.post("system/doctor", Examination, lost=HARMLESS, seconds=_EXAMINE_SECONDS)
