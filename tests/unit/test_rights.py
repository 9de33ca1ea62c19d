"""The rights of people, from their groups."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from playhead.model.access import ROLES, Role, whole
from playhead.model.rights import GroupRights, Rights, rights_of


def group(name: str, role: Role, config: str | None = None) -> GroupRights:
    return GroupRights(name, whole(ROLES[role]), frozenset({config}) if config else None)


KNOWN = (
    group("admins", "admin"),
    group("sre", "oncall"),
    group("devs", "developer"),
    group("docs", "developer", "docs"),
    group("web", "developer", "web"),
    group("web-sre", "oncall", "web"),
)


def rights(role: Role, *configs: str, also: Role | None = None) -> Rights:
    scopes = whole(ROLES[role] | (ROLES[also] if also else frozenset()))
    return Rights(scopes, frozenset(configs) if configs else None)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], None),
        (["Admins", "others"], None),
        (["others", "sre"], rights("oncall")),
        (["docs"], rights("developer", "docs")),
        # The same limit: the scopes add up.
        (["devs", "sre"], rights("oncall", also="developer")),
        (["web", "web-sre"], rights("developer", "web", also="oncall")),
        # The same scopes: the configs add up.
        (["docs", "web"], rights("developer", "docs", "web")),
        (["devs", "docs"], rights("developer")),
        # Otherwise the first one in the map decides.
        (["admins", "docs"], rights("admin")),
        (["docs", "sre"], rights("oncall")),
        (["docs", "web-sre"], rights("developer", "docs")),
    ],
)
def test_groups_add_up_if_no_right_extends_to_another_config(groups: Sequence[str], expected: Rights | None):
    assert rights_of(groups, KNOWN) == expected
