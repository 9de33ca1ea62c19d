"""People whom an authenticating proxy names in a header, and the ways to pretend to be one."""

from __future__ import annotations

import pytest

from playhead.api.proxied import TrustedProxy
from playhead.errors import BadRequest, Unauthorized
from playhead.model.access import ROLES, Caller, whole
from playhead.model.rights import GroupRights

SECRET = "s" * 32
RIGHTS = (
    GroupRights("admins", whole(ROLES["admin"]), None),
    GroupRights("docs", whole(ROLES["developer"]), frozenset({"docs"})),
    GroupRights("ada", whole(ROLES["viewer"]), None),
)
PROXY = TrustedProxy(SECRET, "x-forwarded-user", "x-forwarded-groups", RIGHTS)
OF_USERS = TrustedProxy(SECRET, "x-forwarded-user", None, RIGHTS)
HONEST = (
    ("Host", "playhead.example"),
    ("X-Playhead-Proxy-Secret", SECRET),
    ("X-Forwarded-User", "ada"),
    ("X-Forwarded-Groups", "docs, staff"),
)


def caller(*headers: tuple[str, str], proxy: TrustedProxy = PROXY) -> Caller | None:
    return proxy.caller_of([(name.encode(), value.encode()) for name, value in headers])


def without(name: str) -> list[tuple[str, str]]:
    return [one for one in HONEST if one[0] != name]


def test_a_request_through_the_proxy_has_the_user_and_the_rights_of_the_groups():
    assert caller(*HONEST) == Caller("proxy", "ada", "ada", whole(ROLES["developer"]), frozenset({"docs"}))


def test_without_a_header_of_groups_the_map_names_users():
    assert caller(*without("X-Forwarded-Groups"), proxy=OF_USERS) == Caller(
        "proxy", "ada", "ada", whole(ROLES["viewer"])
    )


def test_a_header_of_groups_that_is_not_configured_has_no_effect():
    found = caller(*without("X-Forwarded-Groups"), ("X-Forwarded-Groups", "admins"), proxy=OF_USERS)

    assert found
    assert found.scopes == whole(ROLES["viewer"])


@pytest.mark.parametrize("groups", [None, "", " , ", "Admins", "admins;docs"])
def test_a_user_without_a_known_group_may_do_nothing(groups: str | None):
    given = without("X-Forwarded-Groups") + ([("X-Forwarded-Groups", groups)] if groups is not None else [])

    found = caller(*given)

    assert found
    assert found.scopes == frozenset()


@pytest.mark.parametrize("secret", [None, "", "s" * 31, "s" * 33, "S" * 32, "ß" * 32])
def test_without_the_secret_the_headers_have_no_effect(secret: str | None):
    given = without("X-Playhead-Proxy-Secret")

    assert caller(*given, *([("X-Playhead-Proxy-Secret", secret)] if secret is not None else [])) is None
    assert caller(*given, ("X-Forwarded-User", "root"), ("Connection", "X-Forwarded-User")) is None


@pytest.mark.parametrize("user", [None, "", " "])
def test_the_secret_without_a_user_is_nobody(user: str | None):
    given = without("X-Forwarded-User") + ([("X-Forwarded-User", user)] if user is not None else [])

    with pytest.raises(Unauthorized) as refused:
        caller(*given)
    assert refused.value.code == "key_missing"


@pytest.mark.parametrize(
    "more",
    [
        ("X-Forwarded-User", "root"),
        ("x-forwarded-user", "ada"),
        ("X_Forwarded_User", "root"),
        ("X-Forwarded.User", "root"),
        ("X-Forwarded-Groups", "admins"),
        ("x_forwarded-groups", "admins"),
        ("X-Playhead-Proxy-Secret", "guessed"),
        ("X_Playhead_Proxy_Secret", SECRET),
        ("Connection", "close, X-Forwarded-User"),
        ("Connection", "x-forwarded-groups"),
        ("Connection", "X-Playhead-Proxy-Secret"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_second_header_or_one_that_a_proxy_may_remove_is_refused(more: tuple[str, str], is_first: bool):
    with pytest.raises(BadRequest) as refused:
        caller(*((more, *HONEST) if is_first else (*HONEST, more)))
    assert refused.value.code == "proxy_header_invalid"


def test_a_similar_name_is_refused_also_without_the_header_itself():
    with pytest.raises(BadRequest):
        caller(*without("X-Forwarded-User"), ("X_Forwarded_User", "root"))


@pytest.mark.parametrize("user", ["ada, root", "a" * 256, "a\x07b", "a\u202eb"])
def test_a_user_must_be_one_printable_name(user: str):
    with pytest.raises(BadRequest):
        caller(*without("X-Forwarded-User"), ("X-Forwarded-User", user))


def test_a_name_is_utf_8():
    found = caller(*without("X-Forwarded-User"), ("X-Forwarded-User", "Zoë"))
    assert found
    assert found.name == "Zoë"
    with pytest.raises(BadRequest, match="UTF-8"):
        PROXY.caller_of([(b"x-playhead-proxy-secret", SECRET.encode()), (b"x-forwarded-user", b"\xff")])


def test_connection_may_name_other_headers():
    assert caller(*HONEST, ("Connection", "keep-alive, Upgrade"))
