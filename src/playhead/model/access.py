"""Who may do what: scopes, roles, keys, sessions, and the record of changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args
from uuid import UUID

from annotated_types import Interval, Len

from playhead.limits import Limited, NoNul, Pattern

Scope = Literal["metrics", "read", "run", "replay", "effects", "operate", "apply", "prune", "take", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
Need = Scope | Literal["any", "public"]
"""What an operation or a page needs: a scope; `any` valid caller; `public`: no caller."""
Role = Literal["viewer", "ci", "oncall", "developer", "operator", "admin"]
ROLES: Final[Mapping[Role, frozenset[Scope]]] = {
    "viewer": frozenset({"read"}),
    "ci": frozenset({"run"}),
    "oncall": frozenset({"replay", "operate"}),
    "developer": frozenset({"run", "replay", "apply"}),
    "operator": frozenset(SCOPES) - {"admin"},
    "admin": frozenset(SCOPES),
}
ROLE_MEANINGS: Final[Mapping[Role, str]] = {
    "viewer": "people who look at objects, lineage and queues",
    "ci": "a job that runs a config and waits for its end",
    "oncall": "people who keep pipelines running, and replay without external effects",
    "developer": "people who change pipelines, run them and replay them",
    "operator": "people who also delete objects and repeat external effects",
    "admin": "people who manage keys and sessions, and read the audit",
}
SCOPE_MEANINGS: Final[Mapping[Scope, str]] = {
    "metrics": "read `/metrics`",
    "read": "read everything that can be seen: objects, configs, lineage, queues",
    "run": "start runs",
    "replay": "plan and start replays",
    "effects": "with `replay`: run routes with external effects again",
    "operate": "pause, resume, pace, retry, cancel, resend, pin, acknowledge, publish, roll back",
    "apply": "validate, apply and activate configs",
    "prune": "delete objects, unpin",
    "take": "receive and remove messages of external routes",
    "admin": "keys, sessions and the audit",
}
_INCLUDES: Final[Mapping[Scope, frozenset[Scope]]] = {
    "read": frozenset({"metrics"}),
    **dict.fromkeys(("replay", "operate", "apply", "prune"), frozenset[Scope]({"read", "metrics"})),
}
"""What a scope includes. `run`, `effects`, `take`, `admin` and `metrics` include nothing."""

AccessMode = Literal["open", "required"]
CallerKind = Literal["key", "session", "oidc", "proxy", "local", "process"]
Via = Literal["http", "web", "cli", "python", "process"]
KeyKind = Literal["key", "cli"]
AuditOutcome = Literal["intended", "done", "refused", "failed"]
ReadAction = Literal["key.list", "audit.export", "object.read", "dead_letter.read"]
"""Reads that the audit has."""
READ_ALWAYS: Final[frozenset[ReadAction]] = frozenset({"key.list", "audit.export"})
"""Those that each server records."""
READ_CONTENT: Final[frozenset[ReadAction]] = frozenset({"object.read", "dead_letter.read"})
"""Those that a server records with `PLAYHEAD_AUDIT_READS=content`."""
AUDIT_OUTCOMES: Final[tuple[AuditOutcome, ...]] = get_args(AuditOutcome)


DAY_SECONDS: Final = 86_400.0
KEY_SECONDS: Final = 90 * DAY_SECONDS
"""How long a key is valid, unless its request says otherwise."""
SOON_SECONDS: Final = 14 * DAY_SECONDS
"""Clients are warned this long before their key ends."""
MOST_KEY_SECONDS: Final = 100 * 365 * DAY_SECONDS
SESSION_IDLE_SECONDS: Final = 12 * 3600.0
"""A session that was not used for this time has ended."""


@dataclass(frozen=True, slots=True)
class KeyRequest(Limited):
    """A key that is to be created.

    Attributes:
        name: name for people, such as `ci-docs` or `ada`. No two valid keys have the same name.
        scopes: what it allows.
        configs: configs to which its changes are limited; None: all.
        seconds: until it expires; None: never.
    """

    name: Annotated[
        str,
        Pattern(
            r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,62}$", "is not a name: use up to 63 letters, digits and ._@+-"
        ),
    ]
    scopes: Annotated[list[Scope], Len(1)]
    configs: Annotated[list[Annotated[str, Len(1, 63), NoNul]], Len(1, 100)] | None = None
    seconds: Annotated[float, Interval(ge=1, le=MOST_KEY_SECONDS)] | None = KEY_SECONDS


def whole(scopes: Collection[Scope]) -> frozenset[Scope]:
    """Return these scopes with those that they include."""
    return frozenset(scopes).union(*(_INCLUDES.get(one, frozenset()) for one in scopes))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        kind: how the caller was recognised. `local` may be anyone who can reach an open server, or use the
            backends; its name is asserted, not proven.
        id: public id of a key or session, subject of a provider, or the name itself.
        name: name for people.
        scopes: what the caller may do, with all included scopes.
        configs: configs to which changes are limited; null: all.
        is_read_only: the server allows no change, so only the scopes for reading are left.
        ends_soon: when its key ends, if that is soon; RFC 3339 in UTC.
    """

    kind: CallerKind
    id: str
    name: str
    scopes: frozenset[Scope]
    configs: frozenset[str] | None = None
    is_read_only: bool = False
    ends_soon: str | None = None


@dataclass(frozen=True, slots=True)
class RequestedBy:
    """The caller that requested a change.

    Attributes:
        kind: how the person or program was recognised; `local` is asserted, not proven.
        id: public id of the key, subject of the provider, or the name itself.
        name: name at that time.
    """

    kind: CallerKind
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key, without its secret.

    Attributes:
        id: public id: the 8 characters after `phk_`.
        name: name for people.
        kind: `key`; or `cli`, made by `playhead login`.
        scopes: what it allows.
        configs: configs to which changes are limited; null: all.
        created_at: RFC 3339 in UTC.
        created_by: name of who made it.
        expires_at: when it ends; RFC 3339 in UTC; null: never.
        revoked_at: when it was revoked; RFC 3339 in UTC.
        revoked_by: name of who revoked it.
        replaces: public id of the key that it replaces.
        last_used_at: last use, at most a minute late; RFC 3339 in UTC; null: never.
        last_used_from: address of the last use.
        state: `valid`, `expired` or `revoked`.
    """

    id: str
    name: str
    kind: KeyKind
    scopes: list[Scope]
    configs: list[str] | None
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    revoked_by: str | None
    replaces: str | None
    last_used_at: str | None
    last_used_from: str | None
    state: Literal["valid", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. Only this answer has the key itself.

    Attributes:
        key: the key. It cannot be shown again.
        record: the key without its secret.
        was_open: access was open until this key was created: from now on, all servers need a key.
    """

    key: str
    record: AccessKey
    was_open: bool


@dataclass(frozen=True, slots=True)
class AccessSession:
    """A session of a browser.

    Attributes:
        id: public id.
        kind: how its person has logged in: `key` or `oidc`.
        name: name of the person or the key.
        scopes: what it allows.
        configs: configs to which changes are limited; null: all.
        created_at: time of the login; RFC 3339 in UTC.
        seen_at: last request, at most a minute late; RFC 3339 in UTC.
        ends_at: latest end; RFC 3339 in UTC.
        address: address of the login.
        browser: what the browser said it is.
    """

    id: str
    kind: Literal["key", "oidc"]
    name: str
    scopes: list[Scope]
    configs: list[str] | None
    created_at: str
    seen_at: str
    ends_at: str
    address: str | None
    browser: str | None


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that was ended.

    Attributes:
        id: its public id.
    """

    id: str


@dataclass(frozen=True, slots=True)
class Me:
    """Who the server takes a caller for.

    Attributes:
        kind: how the caller was recognised.
        id: public id of the key or session; for others, the name.
        name: name for people.
        scopes: what the caller may do, with all included scopes.
        configs: configs to which changes are limited; null: all.
        expires_at: when the key or session ends; RFC 3339 in UTC; null: never.
        access: `open`: no key is needed; `required`.
        read_only: the server allows no change (PLAYHEAD_READ_ONLY).
    """

    kind: CallerKind
    id: str
    name: str
    scopes: list[Scope]
    configs: list[str] | None
    expires_at: str | None
    access: AccessMode
    read_only: bool


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A change, as everyone sees it who may read.

    Attributes:
        at: RFC 3339 in UTC.
        actor_kind: how the actor was recognised; `process`: Playhead itself.
        actor_name: name at that time.
        action: what was asked for, such as `replay.pause`.
        outcome: as in the audit.
        reason: the reason that was given.
    """

    at: str
    actor_kind: CallerKind
    actor_name: str
    action: str
    outcome: AuditOutcome
    reason: str | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change, or a refused request.

    Attributes:
        n: number; later entries have larger numbers.
        at: RFC 3339 in UTC, by the clock of the catalog.
        by_role: role of the database connection, which a process cannot choose; null on SQLite.
        actor_kind: how the actor was recognised; `local` is asserted, not proven.
        actor: public id of a key or session, subject of a provider, or a name.
        actor_name: name at that time.
        via: how the request came: `http`, `web`, `cli`, `python`, or `process` for Playhead itself.
        address: address of the client.
        correlation_id: correlation id of the request.
        action: what was asked for, such as `replay.start`.
        outcome: `done`; `intended` before, and `done` or `failed` after, a change outside the catalog;
            `refused`.
        error_code: why it was refused or has failed.
        object: what it was about, such as the id of a message.
        execution_id: the execution that it was about.
        replay_batch_id: the replay that it was about.
        config: the config that it was about.
        reason: the reason that was given.
        detail: more facts, by name.
    """

    n: int
    at: str
    by_role: str | None
    actor_kind: CallerKind
    actor: str
    actor_name: str
    via: Via
    address: str | None
    correlation_id: str | None
    action: str
    outcome: AuditOutcome
    error_code: str | None
    object: str | None
    execution_id: UUID | None
    replay_batch_id: UUID | None
    config: str | None
    reason: str | None
    detail: Mapping[str, Any] | None
