"""Keys and sessions: create, rotate, revoke and list them, log in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from playhead import acting
from playhead.acting import scope_missing
from playhead.credentials import NewKey, hash_of, key_id, new_key, new_token
from playhead.errors import BadRequest, Conflict, Forbidden, NotFound
from playhead.model.access import (
    DAY_SECONDS,
    ROLES,
    SESSION_IDLE_SECONDS,
    AccessKey,
    AccessSession,
    Caller,
    CreatedKey,
    EndedSession,
    KeyKind,
    KeyRequest,
)
from playhead.ports.catalog import Access
from playhead.ports.catalog.access import KeyRecord, SessionRecord

OF_KEY_SECONDS: Final = 7 * DAY_SECONDS
"""How long the session of a key lasts at most."""
OF_OIDC_SECONDS: Final = 12 * 3600.0
"""How long a session lasts at most whose rights come from a provider: they change with the next login."""
_BROWSER: Final = 200


class AccessService:
    """Keys and sessions. Who may do this is checked at the edge; what a new key may do is checked here.

    Args:
        release: of this process, for the first key.
        listed: is called when somebody lists the keys.
    """

    def __init__(self, catalog: Access, *, release: str, listed: Callable[[], None]) -> None:
        self._catalog = catalog
        self._listed = listed
        self._release = release

    # -- keys --------------------------------------------------------------------------------------

    async def create(self, request: KeyRequest, *, kind: KeyKind = "key") -> CreatedKey:
        """Create a key. The first one lets all servers require a key.

        Raises:
            Conflict: `key_name_taken`, `older_process`.
            Forbidden: `scope_missing`, `outside_limit`; it would allow more than the caller has.
        """
        _check_rights(request)
        key = new_key()
        created = await self._catalog.create_key(_record(key, request, kind), release=self._release)
        assert created, "only the first key may be refused"
        record, was_open = created
        return CreatedKey(key.text, record, was_open)

    async def adopt_first(self, text: str) -> AccessKey | None:
        """Store a key that exists already as the first key, with all scopes. None: there are keys.

        Raises:
            BadRequest: `key_invalid`.
        """
        identity = key_id(text)
        if identity is None:
            raise BadRequest("key_invalid", "the text is not a key; `playhead keys generate` makes one")
        key = NewKey(text, identity, hash_of(text))
        request = KeyRequest("first", sorted(ROLES["admin"]), seconds=None)
        created = await self._catalog.create_key(
            _record(key, request, "key"), release=self._release, first=True
        )
        return created[0] if created else None

    async def rotate(self, name: str, *, overlap: float = DAY_SECONDS, seconds: float | None) -> CreatedKey:
        """Create a key with the name and the rights of another one, which expires after `overlap` seconds.

        Args:
            name: name or id of a valid key.
            seconds: until the new key expires; None: never.

        Raises:
            NotFound: `key_not_found`; no valid key has this name or id.
        """
        valid = [one for one in await self._named(name) if one.state == "valid"]
        if not valid:
            raise _unknown(name)
        if len(valid) > 1:  # during the overlap of a rotation
            raise Conflict(
                "key_ambiguous",
                f"{len(valid)} valid keys have the name {name}: name one by its id, such as {valid[0].id}",
            )
        (old,) = valid
        request = KeyRequest(
            old.name, list(old.scopes), None if old.configs is None else list(old.configs), seconds
        )
        _check_rights(request)
        key = new_key()
        record = _record(key, request, old.kind, replaces=old.id)
        made = await self._catalog.rotate_key(old.id, record, overlap=overlap)
        if made is None:
            raise _unknown(name)
        return CreatedKey(key.text, made, was_open=False)

    async def revoke(self, name: str) -> AccessKey:
        """End a key at once, with its sessions. Idempotent. Returns the newest of the keys that were ended.

        Args:
            name: id of any key; or a name: during the overlap of a rotation, all of its valid keys are ended.

        Raises:
            NotFound: `key_not_found`.
        """
        revoked = [await self._catalog.revoke_key(one.id) for one in await self._named(name)]
        newest = revoked[0] if revoked else None
        if newest is None:
            raise _unknown(name)
        return newest

    async def keys(self) -> list[AccessKey]:
        """Return all keys by name, also expired and revoked ones."""
        self._listed()
        return sorted(await self._catalog.keys(), key=place_of)

    async def open(self) -> bool:
        """Let servers require no key. Returns whether they did require one."""
        return await self._catalog.open_access()

    async def _named(self, name: str) -> list[AccessKey]:
        """Return the key with an id, and the valid keys with a name, the newest first."""
        keys = await self._catalog.keys()
        return [one for one in keys if one.id == name or (one.name == name and one.state == "valid")]

    # -- sessions ----------------------------------------------------------------------------------

    async def log_in(
        self, caller: Caller, *, old: str | None, address: str | None, browser: str | None
    ) -> str:
        """Begin a session, and return its token. A session that the browser had is ended.

        Args:
            caller: the person whom a key or a provider names.
            old: token of the session that the browser had.
        """
        by_key = caller.kind == "key"
        token = new_token()
        record = SessionRecord(
            hash=hash_of(token),
            id=new_key().id,
            key=caller.id if by_key else None,
            subject=caller.id,
            name=caller.name,
            scopes=[] if by_key else sorted(caller.scopes),
            configs=None if by_key or caller.configs is None else sorted(caller.configs),
            seconds=OF_KEY_SECONDS if by_key else OF_OIDC_SECONDS,
            address=address,
            browser=browser and browser[:_BROWSER],
        )
        await self._catalog.create_session(record, replaces=hash_of(old) if old else None)
        return token

    async def log_out(self, token: str) -> None:
        """End a session. Idempotent."""
        await self._catalog.end_session(hash_of(token))

    async def sessions(self) -> list[AccessSession]:
        """Return the sessions that have not ended, by name."""
        return sorted(await self._catalog.sessions(idle=SESSION_IDLE_SECONDS), key=place_of)

    async def revoke_session(self, identity: str) -> EndedSession:
        """End a session by its id.

        Raises:
            NotFound: `session_not_found`.
        """
        if not await self._catalog.revoke_session(identity):
            raise NotFound("session_not_found", f"there is no session {identity[:40]!r}, or it has ended")
        return EndedSession(identity)


def place_of(one: AccessKey | AccessSession) -> str:
    """Return where a key or a session is in a list: by name, and then by its id."""
    return f"{one.name} {one.id}"


def _check_rights(request: KeyRequest) -> None:
    """Check that a key allows no more than who creates it has."""
    caller = acting.current().caller
    for scope in request.scopes:
        if scope not in caller.scopes:
            raise scope_missing(caller, scope)
    if caller.configs is not None and not caller.configs.issuperset(request.configs or ["*"]):
        raise Forbidden(
            "outside_limit",
            f"{caller.name} may only change {', '.join(sorted(caller.configs))}, so its keys "
            "need such a limit, too",
        )


def _record(key: NewKey, request: KeyRequest, kind: KeyKind, *, replaces: str | None = None) -> KeyRecord:
    given = (key.id, request.name, key.hash, request.scopes, request.configs, request.seconds)
    return KeyRecord(*given, kind, replaces)


def _unknown(name: str) -> NotFound:
    return NotFound("key_not_found", f"there is no valid key {name[:70]!r}. Run: playhead keys list")
