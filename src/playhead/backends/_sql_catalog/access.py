"""Keys, sessions and logins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.lanes import moment_or_none
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict
from playhead.ids import moment
from playhead.model.access import (
    SESSION_IDLE_SECONDS,
    AccessKey,
    AccessSession,
    Caller,
    CallerKind,
    Scope,
    whole,
)
from playhead.ports.catalog.access import (
    AccessState,
    Credential,
    KeyRecord,
    LoginRecord,
    SessionRecord,
)

_LOGIN_SECONDS: Final = 600.0
_LIVE_SECONDS: Final = 30.0


class AccessPart(Part):
    async def access(self) -> AccessState:
        return _state(await self._db.row(SQL.access))

    # -- keys --------------------------------------------------------------------------------------

    async def create_key(
        self, key: KeyRecord, *, release: str, first: bool = False
    ) -> tuple[AccessKey, bool] | None:
        change = Change("key.create")

        async def create(db: Session) -> tuple[AccessKey, bool] | None:
            was = _state(await db.row(SQL.lock_access))
            if first and was.has_keys:
                return None
            await self._check_name(db, key)
            if was.mode == "open":
                await _check_servers(db, release)
                await db.run(SQL.set_access, mode="required")
            created = await self._insert_key(db, key, change)
            return created, was.mode == "open"

        return await change.write(self._db, create)

    async def keys(self) -> list[AccessKey]:
        return [_key(row) for row in await self._db.rows(SQL.keys)]

    async def key(self, hashed: bytes) -> Credential | None:
        row = await self._db.row(SQL.key_to_check, hash=hashed)
        if row is None:
            return None
        identity, name, scopes, configs, seconds, is_endless = row
        caller = Caller("key", identity, name, *_rights(scopes, configs))
        return Credential(caller, None if is_endless else seconds, identity, identity)

    async def rotate_key(self, old: str, key: KeyRecord, *, overlap: float) -> AccessKey | None:
        change = Change("key.rotate")

        async def rotate(db: Session) -> AccessKey | None:
            await db.row(SQL.lock_access)
            await self._check_name(db, key)
            if not await db.run(SQL.expire_key, id=old, overlap=overlap):
                return None
            await db.run(SQL.set_access, mode="required")
            return await self._insert_key(db, key, change)

        return await change.write(self._db, rotate)

    async def revoke_key(self, identity: str) -> AccessKey | None:
        change = Change("key.revoke")

        async def revoke(db: Session) -> AccessKey | None:
            was = _state(await db.row(SQL.lock_access))
            if await db.run(SQL.revoke_key, id=identity, by=change.who.caller.name):
                await db.run(SQL.delete_sessions_of_key, key=identity)
                await db.run(SQL.set_access, mode=was.mode)
                await change.record(db, object=identity, checks=False)
            row = await db.row(SQL.key_named, id=identity)
            return _key(row) if row else None

        return await change.write(self._db, revoke)

    async def open_access(self) -> bool:
        change = Change("access.open")

        async def open_it(db: Session) -> bool:
            was = _state(await db.row(SQL.lock_access))
            if was.mode == "open":
                return False
            await db.run(SQL.set_access, mode="open")
            await change.record(db, checks=False)
            return True

        return await change.write(self._db, open_it)

    async def note_uses(self, uses: Mapping[str, str | None]) -> None:
        async def note(db: Session) -> None:
            for identity, address in sorted(uses.items()):
                await db.run(SQL.note_use, id=identity, address=address)

        await self._db.write(note)

    async def _check_name(self, db: Session, key: KeyRecord) -> None:
        if await db.row(SQL.valid_keys_named, name=key.name, replaces=key.replaces):
            raise Conflict(
                "key_name_taken",
                f"a valid key has the name {key.name}: choose another name, or replace its secret with "
                f"`playhead keys rotate {key.name}`",
            )

    async def _insert_key(self, db: Session, key: KeyRecord, change: Change) -> AccessKey:
        await db.run(
            SQL.insert_key_record,
            id=key.id,
            name=key.name,
            kind=key.kind,
            hash=key.hash,
            scopes=json.dumps(sorted(key.scopes)),
            configs=None if key.configs is None else json.dumps(sorted(key.configs)),
            by=change.who.caller.name,
            seconds=key.seconds,
            replaces=key.replaces,
        )
        rights = {"name": key.name, "scopes": sorted(key.scopes), "configs": key.configs}
        await change.record(db, object=key.id, detail=rights, checks=False)
        row = await db.row(SQL.key_named, id=key.id)
        assert row
        return _key(row)

    # -- sessions ----------------------------------------------------------------------------------

    async def create_session(self, session: SessionRecord, *, replaces: bytes | None) -> None:
        change = Change("session.create")

        async def create(db: Session) -> None:
            await db.run(SQL.delete_ended_sessions, idle=SESSION_IDLE_SECONDS)
            if replaces is not None:
                await db.run(SQL.delete_session, hash=replaces)
            await db.run(
                SQL.insert_session,
                **session._asdict()
                | {
                    "scopes": json.dumps(sorted(session.scopes)),
                    "configs": None if session.configs is None else json.dumps(sorted(session.configs)),
                },
            )
            await change.record(db, object=session.id, checks=False)

        await change.write(self._db, create)

    async def session(self, hashed: bytes, *, idle: float) -> Credential | None:
        row = await self._db.row(SQL.session_to_check, hash=hashed, idle=idle)
        if row is None:
            return None
        identity, key, subject, name, scopes, configs, *ends = row
        kind: CallerKind = "session" if key else "oidc"
        caller = Caller(kind, key or subject, name, *_rights(scopes, configs))
        seconds = min(end for end in ends if end is not None)
        return Credential(caller, seconds, key, identity)

    async def note_sessions(self, hashes: Sequence[bytes]) -> None:
        await self._db.run(SQL.note_sessions, hashes=list(hashes))

    async def end_session(self, hashed: bytes) -> None:
        change = Change("session.end")

        async def end(db: Session) -> None:
            if await db.run(SQL.delete_session, hash=hashed):
                await self._raise_epoch(db)
                await change.record(db, checks=False)

        await change.write(self._db, end)

    async def sessions(self, *, idle: float) -> list[AccessSession]:
        return [_session(row) for row in await self._db.rows(SQL.open_sessions, idle=idle)]

    async def revoke_session(self, identity: str) -> bool:
        change = Change("session.revoke")

        async def revoke(db: Session) -> bool:
            ended = await db.run(SQL.delete_session_named, id=identity)
            if ended:
                await self._raise_epoch(db)
                await change.record(db, object=identity, checks=False)
            return ended > 0

        return await change.write(self._db, revoke)

    async def _raise_epoch(self, db: Session) -> None:
        was = _state(await db.row(SQL.lock_access))
        await db.run(SQL.set_access, mode=was.mode)

    # -- logins with OIDC --------------------------------------------------------------------------

    async def begin_login(self, hashed: bytes, login: LoginRecord) -> None:
        async def begin(db: Session) -> None:
            await db.run(SQL.delete_old_logins, seconds=_LOGIN_SECONDS)
            await db.run(SQL.insert_login, hash=hashed, **login._asdict())

        await self._db.write(begin)

    async def finish_login(self, hashed: bytes) -> LoginRecord | None:
        rows = await self._db.write(lambda db: db.rows(SQL.finish_login, hash=hashed, seconds=_LOGIN_SECONDS))
        return LoginRecord(*rows[0]) if rows else None


async def _check_servers(db: Session, release: str) -> None:
    """Check that no live server of another release would stay open."""
    others = await db.rows(SQL.other_servers, version=release, seconds=_LIVE_SECONDS)
    if others:
        host, pid, version = others[0]
        raise Conflict(
            "older_process",
            f"the server {host}:{pid} runs release {version or 'unknown'} and may not ask for keys: stop it, "
            "or update it first",
        )


def _state(row: Row | None) -> AccessState:
    assert row, "the row of `access` exists from the migration on"
    return AccessState(row[0], int(row[1]), bool(row[2]))


def _rights(scopes: str, configs: str | None) -> tuple[frozenset[Scope], frozenset[str] | None]:
    return whole(json.loads(scopes)), None if configs is None else frozenset(json.loads(configs))


def _key(row: Row) -> AccessKey:
    identity, name, kind, scopes, configs, created_at, created_by, expires_at, *rest = row
    revoked_at, revoked_by, replaces, used_at, used_from, now = rest
    is_expired = expires_at is not None and expires_at <= now
    return AccessKey(
        id=identity,
        name=name,
        kind=kind,
        scopes=json.loads(scopes),
        configs=None if configs is None else json.loads(configs),
        created_at=moment(created_at),
        created_by=created_by,
        expires_at=moment_or_none(expires_at),
        revoked_at=moment_or_none(revoked_at),
        revoked_by=revoked_by,
        replaces=replaces,
        last_used_at=moment_or_none(used_at),
        last_used_from=used_from,
        state="revoked" if revoked_at is not None else "expired" if is_expired else "valid",
    )


def _session(row: Row) -> AccessSession:
    identity, key, name, scopes, configs, created_at, seen_at, ends_at, address, browser = row
    return AccessSession(
        id=identity,
        kind="key" if key else "oidc",
        name=name,
        scopes=json.loads(scopes),
        configs=None if configs is None else json.loads(configs),
        created_at=moment(created_at),
        seen_at=moment(seen_at),
        ends_at=moment(ends_at),
        address=address,
        browser=browser,
    )
