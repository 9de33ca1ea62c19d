"""`/access`: who may use this server. Keys are created, rotated and revoked, and sessions are ended.

A new key is in the response to the form that has asked for it, and nowhere else: no URL, no `.json` and no
log has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, cast

from playhead.acting import current
from playhead.errors import BadRequest, Conflict, Forbidden, NotFound, PlayheadError
from playhead.limits import InvalidValue
from playhead.model.access import (
    DAY_SECONDS,
    ROLES,
    SCOPE_MEANINGS,
    SCOPES,
    AccessKey,
    AccessMode,
    AccessSession,
    CreatedKey,
    KeyRequest,
    Role,
    Scope,
)
from playhead.web.page import Action, Answer, ApiCall, Ask, Page, Redirect, Shown, status_of

ENDS: Final[Mapping[str, float | None]] = {
    "90d": 90 * DAY_SECONDS,
    "7d": 7 * DAY_SECONDS,
    "30d": 30 * DAY_SECONDS,
    "365d": 365 * DAY_SECONDS,
    "never": None,
}
_KEYS: Final = "/api/v1/keys"


@dataclass(frozen=True, slots=True)
class KeyForm:
    """What was typed into the form of a new key."""

    name: str = ""
    role: str = ""
    scopes: Sequence[str] = ()
    configs: str = ""
    ends: str = "90d"


@dataclass(frozen=True, slots=True)
class AccessView:
    """Who may use this server.

    Attributes:
        mode: whether a key is needed.
        keys: by name, also expired and revoked ones.
        sessions: of browsers, that have not ended.
        scopes: what the caller can allow, each with its meaning.
        roles: abbreviations of scopes that the caller can allow.
        form: of a new key.
        problem: why a request was refused.
    """

    mode: AccessMode
    keys: Sequence[AccessKey]
    sessions: Sequence[AccessSession]
    scopes: Mapping[Scope, str]
    roles: Mapping[Role, Sequence[Scope]]
    form: KeyForm
    problem: PlayheadError | None


@dataclass(frozen=True, slots=True)
class NewKeyView:
    """A new key.

    Attributes:
        created: the key. This page alone has it.
        replaces: when the key that it replaces ends; None: it replaces none.
    """

    created: CreatedKey
    replaces: str | None


async def show(ask: Ask) -> Answer:
    return await _shown(ask)


async def _shown(ask: Ask, form: KeyForm | None = None, problem: PlayheadError | None = None) -> Answer:
    access, mine = ask.services.access, current().caller.scopes
    view = AccessView(
        await ask.services.identity.mode(),
        await access.keys(),
        await access.sessions(),
        {scope: SCOPE_MEANINGS[scope] for scope in SCOPES if scope in mine},
        {role: sorted(scopes) for role, scopes in ROLES.items() if scopes <= mine},
        form or KeyForm(),
        problem,
    )
    calls = [ApiCall(_KEYS), ApiCall("/api/v1/sessions")]
    return Shown("Access", view, calls, status=status_of(problem) if problem else 200)


async def create(ask: Ask) -> Answer:
    form = KeyForm(
        name=str(ask.form.get("name", "")).strip(),
        role=str(ask.form.get("role", "")),
        scopes=[str(one) for one in ask.form.getlist("scope")],
        configs=str(ask.form.get("configs", "")).strip(),
        ends=str(ask.form.get("ends", "90d")),
    )
    of_role = ROLES[cast(Role, form.role)] if form.role in ROLES else frozenset[Scope]()
    scopes = [one for one in SCOPES if one in form.scopes or one in of_role]
    configs = [one.strip() for one in form.configs.split(",") if one.strip()] or None
    try:
        if form.ends not in ENDS:
            raise BadRequest("invalid_body", f"choose one of {', '.join(ENDS)} for the time until it ends")
        if not scopes:
            raise BadRequest("invalid_body", "choose a role or a scope: a key without one allows nothing")
        request = KeyRequest(form.name, scopes, configs, ENDS[form.ends])
        return _new(await ask.services.access.create(request), [ApiCall(_KEYS, "POST", asdict(request))])
    except InvalidValue as exc:
        problem: PlayheadError = BadRequest("invalid_body", str(exc))
    except (BadRequest, Conflict, Forbidden) as exc:
        problem = exc
    return await _shown(ask, form, problem)


async def rotate(ask: Ask) -> Answer:
    identity = str(ask.form.get("id", ""))
    ends = str(ask.form.get("ends", "90d"))
    try:
        created = await ask.services.access.rotate(identity, seconds=ENDS.get(ends, ENDS["90d"]))
    except (Conflict, Forbidden, NotFound) as exc:
        return await _shown(ask, problem=exc)
    call = ApiCall(f"{_KEYS}/{identity}/rotate", "POST", {"seconds": ENDS.get(ends, ENDS["90d"])})
    old = next((one for one in await ask.services.access.keys() if one.id == created.record.replaces), None)
    return _new(created, [call], old.expires_at if old else None)


async def revoke(ask: Ask) -> Answer:
    try:
        await ask.services.access.revoke(str(ask.form.get("id", "")))
    except NotFound as exc:
        return await _shown(ask, problem=exc)
    return Redirect("/access")


async def end_session(ask: Ask) -> Answer:
    try:
        await ask.services.access.revoke_session(str(ask.form.get("id", "")))
    except NotFound as exc:
        return await _shown(ask, problem=exc)
    return Redirect("/access#sessions")


def _new(created: CreatedKey, calls: Sequence[ApiCall], replaces: str | None = None) -> Shown[NewKeyView]:
    return Shown("New key", NewKeyView(created, replaces), calls, template="new_key.html")


PAGES: Final = (Page("/access", "access.html", show, scope="admin"),)
ACTIONS: Final = (
    Action("/access", create, "access.html", scope="admin"),
    Action("/access/rotate", rotate, "access.html", scope="admin"),
    Action("/access/revoke", revoke, "access.html", scope="admin"),
    Action("/access/end", end_session, "access.html", scope="admin"),
)
