"""Which groups of a provider or a proxy have which rights."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from playhead.model.access import Scope, whole


class GroupRights(NamedTuple):
    """What the members of a group may do.

    Attributes:
        group: name of the group, as the provider or the proxy sends it.
        scopes: with all included scopes.
        configs: configs to which changes are limited; None: all.
    """

    group: str
    scopes: frozenset[Scope]
    configs: frozenset[str] | None


class Rights(NamedTuple):
    """What a person may do.

    Attributes:
        scopes: with all included scopes.
        configs: configs to which changes are limited; None: all.
    """

    scopes: frozenset[Scope]
    configs: frozenset[str] | None


def rights_of(groups: Collection[str], known: Iterable[GroupRights]) -> Rights | None:
    """Return what a member of these groups may do; None if no group is known.

    A caller has one list of scopes and one limit. So the first known group decides, and each further one adds
    its scopes if its limit is the same, or its configs if its scopes are the same. Otherwise it adds nothing:
    the member would get its scopes for configs of another group.
    """
    found: Rights | None = None
    for one in known:
        if one.group not in groups:
            continue
        if found is None:
            found = Rights(one.scopes, one.configs)
        elif one.configs == found.configs:
            found = Rights(whole(found.scopes | one.scopes), found.configs)
        elif one.scopes == found.scopes:
            is_limited = one.configs is not None and found.configs is not None
            found = Rights(found.scopes, one.configs | found.configs if is_limited else None)  # type: ignore[operator]
    return found
