"""Keys, sessions, and who the caller is, over HTTP."""

from __future__ import annotations

from dataclasses import asdict

from playhead.model import Page
from playhead.model.access import DAY_SECONDS, AccessKey, AccessSession, CreatedKey, KeyRequest
from playhead.remote.client import segment
from playhead.remote.derived import Remote, derived
from playhead.services.access import AccessService
from playhead.services.identity import IdentityService

_LOST = "if the key was created, `playhead keys list` shows it; revoke it, and create another one"


class RemoteIdentity(Remote):
    """Remote `IdentityService`."""

    me = derived(IdentityService.me, "me")


class RemoteAccess(Remote):
    """Remote `AccessService`."""

    revoke = derived(AccessService.revoke, "keys/{name}/revoke", verb="POST")

    revoke_session = derived(AccessService.revoke_session, "sessions/{identity}/revoke", verb="POST")

    async def create(self, request: KeyRequest) -> CreatedKey:
        return await self._client.post("keys", CreatedKey, lost=_LOST, json=asdict(request))

    async def rotate(self, name: str, *, overlap: float = DAY_SECONDS, seconds: float | None) -> CreatedKey:
        sent = {"overlap": overlap, "seconds": seconds}
        return await self._client.post(f"keys/{segment(name)}/rotate", CreatedKey, lost=_LOST, json=sent)

    async def keys(self) -> list[AccessKey]:
        return await self._client.get_all("keys", Page[AccessKey])

    async def sessions(self) -> list[AccessSession]:
        return await self._client.get_all("sessions", Page[AccessSession])
