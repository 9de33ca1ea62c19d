"""Keys, sessions, and who the caller is."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.api.bodies import JsonRoute
from playhead.api.schemas import Word
from playhead.api.schemas.keys import NewKey, RotateKey
from playhead.model import Page
from playhead.model.access import AccessKey, AccessSession, CreatedKey, EndedSession, KeyRequest, Me
from playhead.reading.paging import list_of, page_of
from playhead.services.access import place_of

router = operations(prefix="/api/v1", tags=["access"], route_class=JsonRoute)
KeyName = Annotated[Word, Path(description="Name of a valid key, or id of a key.")]
SessionId = Annotated[Word, Path(description="Id of a session.")]
_BODY: Final = ("invalid_body", "unsupported_media_type", *BODY_CODES)
_ROTATE: Final = RotateKey()


@router.get("/me", scope="any")
async def get_me(asked: Asked) -> Me:
    """Return who the server takes the caller for, and what it may do."""
    return await asked.identity.me()


@router.get("/keys", scope="admin", responses=responses("invalid_cursor"))
async def list_keys(asked: Asked, limit: Limit = 100, cursor: Cursor = None) -> Page[AccessKey]:
    """List all keys by name, also expired and revoked ones. Secrets are stored nowhere."""
    return page_of(await asked.access.keys(), place_of, cursor, limit, list_of("keys"))


@router.post(
    "/keys", scope="admin", status_code=201, responses=responses("key_name_taken", "older_process", *_BODY)
)
async def create_key(body: NewKey, asked: Asked) -> CreatedKey:
    """Create a key, which allows at most what the caller may do. Only the response contains it."""
    return await asked.access.create(KeyRequest(**body.model_dump()))


@router.post(
    "/keys/{name}/rotate",
    scope="admin",
    status_code=201,
    responses=responses("key_not_found", "key_ambiguous", "key_name_taken", *_BODY),
)
async def rotate_key(name: KeyName, asked: Asked, body: RotateKey = _ROTATE) -> CreatedKey:
    """Create a key with the name and the rights of another one, which ends after the overlap."""
    return await asked.access.rotate(name, overlap=body.overlap, seconds=body.seconds)


@router.post("/keys/{name}/revoke", scope="admin", responses=responses("key_not_found"))
async def revoke_key(name: KeyName, asked: Asked) -> AccessKey:
    """End a key at once, with its sessions. Idempotent.

    After the response it changes nothing on any server. It may read for one more heartbeat.
    """
    return await asked.access.revoke(name)


@router.get("/sessions", scope="admin", responses=responses("invalid_cursor"))
async def list_sessions(asked: Asked, limit: Limit = 100, cursor: Cursor = None) -> Page[AccessSession]:
    """List the sessions of browsers that have not ended, by name."""
    return page_of(await asked.access.sessions(), place_of, cursor, limit, list_of("sessions"))


@router.post("/sessions/{session}/revoke", scope="admin", responses=responses("session_not_found"))
async def revoke_session(session: SessionId, asked: Asked) -> EndedSession:
    """End a session. Its event streams end within two seconds."""
    return await asked.access.revoke_session(session)
