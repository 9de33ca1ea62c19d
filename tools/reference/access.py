"""Generate the tables of roles and scopes in `keys.md`, from the model of access."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from playhead.model.access import ROLE_MEANINGS, ROLES, SCOPE_MEANINGS, SCOPES, Scope, whole
from tools.reference import Parts, code, table


def _list(scopes: Collection[Scope]) -> str:
    return ", ".join(code(scope) for scope in SCOPES if scope in scopes)


def _roles() -> str:
    rows = [
        (
            *(code(role), "all" if scopes == set(SCOPES) else _list(scopes), _list(whole(scopes) - scopes)),
            ROLE_MEANINGS[role],
        )
        for role, scopes in ROLES.items()
    ]
    return table(("role", "scopes", "with these also", "for"), rows)


def _scopes() -> str:
    rows = [(code(one), SCOPE_MEANINGS[one], _list(whole([one]) - {one})) for one in SCOPES]
    return table(("scope", "allows to", "includes"), rows)


PARTS: Final[Parts] = {"roles": _roles, "scopes": _scopes}
