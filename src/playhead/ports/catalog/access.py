"""Keys, sessions, logins, and the record of changes.

Changes of keys and sessions raise `epoch`, so that each process drops what it has
read with its next heartbeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from playhead.model.access import (
    AccessKey,
    AccessMode,
    AccessSession,
    AuditEntry,
    AuditOutcome,
    Caller,
    KeyKind,
    Scope,
)


class AccessState(NamedTuple):
    """Whether servers need a key.

    Attributes:
        mode: `open` until the first key exists.
        epoch: grows with each revocation.
        has_keys: a key was created at some time.
    """

    mode: AccessMode
    epoch: int
    has_keys: bool


class KeyRecord(NamedTuple):
    """The stored fields of a new key.

    Attributes:
        hash: SHA-256 of the key.
        configs: configs to which changes are limited; None: all.
        seconds: until it expires; None: never.
        replaces: public id of the key that it replaces.
    """

    id: str
    name: str
    hash: bytes
    scopes: Sequence[Scope]
    configs: Sequence[str] | None
    seconds: float | None
    kind: KeyKind = "key"
    replaces: str | None = None


class Credential(NamedTuple):
    """A key or a session.

    Attributes:
        caller: who it stands for.
        seconds: until it ends; None: never; 0 or less: it has ended, or was revoked.
        key: public id of the key; of a session, of the key that it was made with.
        id: public id.
    """

    caller: Caller
    seconds: float | None
    key: str | None
    id: str


class SessionRecord(NamedTuple):
    """The stored fields of a new session.

    Attributes:
        hash: SHA-256 of its cookie.
        key: public id of the key of the login; None: OIDC.
        subject: issuer and subject of OIDC, else the id of the key.
        scopes, configs: of a login with OIDC. A session of a key has those of its key.
        seconds: until it ends at the latest.
    """

    hash: bytes
    id: str
    key: str | None
    subject: str
    name: str
    scopes: Sequence[Scope]
    configs: Sequence[str] | None
    seconds: float
    address: str | None
    browser: str | None


class LoginRecord(NamedTuple):
    """A login with OIDC that has begun: what the answer of the provider is compared with."""

    state: str
    nonce: str
    verifier: str
    next: str


class AuditFilter(NamedTuple):
    """Entries that meet all given conditions.

    Attributes:
        actor: public id or name of who acted.
        action: the action, or its beginning up to a dot: `replay` for `replay.start`.
        outcome: its outcome.
        execution: the execution that it was about.
        batch: the replay that it was about.
        config: the config that it was about.
        object: what it was about.
        since, until: seconds since the epoch.
    """

    actor: str | None = None
    action: str | None = None
    outcome: AuditOutcome | None = None
    execution: UUID | None = None
    batch: UUID | None = None
    config: str | None = None
    object: str | None = None
    since: float | None = None
    until: float | None = None


EVERY_ENTRY = AuditFilter()


class Audits(Protocol):
    """The record of changes."""

    async def record_audit(
        self,
        action: str,
        *,
        outcome: AuditOutcome = "done",
        error_code: str | None = None,
        object: str | None = None,
        config: str | None = None,
        execution: UUID | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a change outside the catalog, or a refusal. Its actor is the current one (`acting`).

        Raises:
            Forbidden: `outside_limit`; the outcome is `intended`, and the actor may not change this config.
        """
        ...

    async def audit(
        self,
        where: AuditFilter = EVERY_ENTRY,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Return entries, the newest first; with `after`, those with larger numbers, the oldest first."""
        ...


class Access(Audits, Protocol):
    async def access(self) -> AccessState:
        """Return whether servers need a key."""
        ...

    async def create_key(
        self, key: KeyRecord, *, release: str, first: bool = False
    ) -> tuple[AccessKey, bool] | None:
        """Store a key, and let all servers require one.

        Args:
            release: of this process. Live servers of other releases may not ask for keys.
            first: only if no key exists.

        Returns:
            The key, and whether access was open; None: `first`, and a key exists.

        Raises:
            Conflict: `key_name_taken`, another valid key has this name; `older_process`, a live server of
                another release would stay open.
        """
        ...

    async def keys(self) -> list[AccessKey]:
        """Return all keys, the newest first."""
        ...

    async def key(self, hashed: bytes) -> Credential | None:
        """Return the key with this SHA-256, also an expired or revoked one."""
        ...

    async def rotate_key(self, old: str, key: KeyRecord, *, overlap: float) -> AccessKey | None:
        """Store a key that replaces `old`, which expires after `overlap` seconds.

        None: `old` is not valid.
        """
        ...

    async def revoke_key(self, identity: str) -> AccessKey | None:
        """Revoke a key and end its sessions. Idempotent. None: there is no such key."""
        ...

    async def open_access(self) -> bool:
        """Let servers require no key. Returns whether they did require one."""
        ...

    async def note_uses(self, uses: Mapping[str, str | None]) -> None:
        """Record that keys were used now, each with the address of its client."""
        ...

    async def create_session(self, session: SessionRecord, *, replaces: bytes | None) -> None:
        """Store a session, and end the one with the hash `replaces`."""
        ...

    async def session(self, hashed: bytes, *, idle: float) -> Credential | None:
        """Return a session by the hash of its cookie.

        None: there is none, or it was idle for `idle` seconds.
        """
        ...

    async def note_sessions(self, hashes: Sequence[bytes]) -> None:
        """Record that sessions were used now."""
        ...

    async def end_session(self, hashed: bytes) -> None:
        """End a session: the logout. Idempotent."""
        ...

    async def sessions(self, *, idle: float) -> list[AccessSession]:
        """Return the sessions that have not ended, the newest first."""
        ...

    async def revoke_session(self, identity: str) -> bool:
        """End a session by its public id. Returns whether there was one."""
        ...

    async def begin_login(self, hashed: bytes, login: LoginRecord) -> None:
        """Store a login under the hash of a cookie. Logins of more than 10 minutes ago are deleted."""
        ...

    async def finish_login(self, hashed: bytes) -> LoginRecord | None:
        """Return a login, once; None if there is none, or it began more than 10 minutes ago."""
        ...
