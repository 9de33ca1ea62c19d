"""Health, adapters, error codes and examinations over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from playhead.model import Health, Page
from playhead.remote.derived import Remote, derived
from playhead.services.doctor import DoctorService
from playhead.services.system import SystemService
from playhead.services.workers import WorkersService

_EXAMINE_SECONDS: Final = 150.0
"""If a backend does not answer, each of the server's two steps takes a minute. The rest is a margin."""


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """An error code of the server; see `playhead.api.errors`."""

    code: str
    status: int
    meaning: str


class RemoteSystem(Remote):
    """Remote `SystemService`."""

    adapters = derived(SystemService.adapters, "adapters")

    async def error_codes(self) -> list[ErrorCode]:
        return await self._client.get_all("errors", Page[ErrorCode])

    async def health(self, version: str) -> Health:
        """Return the health of the server, with the server's version; `version` is ignored."""
        return await self._client.get("system/health", Health)


class RemoteWorkers(Remote):
    """Remote `WorkersService`."""

    list = derived(WorkersService.list, "workers")


class RemoteDoctor(Remote):
    """Remote `DoctorService`."""

    examine = derived(DoctorService.examine, "system/doctor", verb="POST", seconds=_EXAMINE_SECONDS)
