"""Logins with OpenID Connect at a real provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from playhead.backends.login_oidc import OidcProvider
from playhead.credentials import new_token
from playhead.errors import NotFound, Unauthorized, Unavailable
from playhead.model.access import ROLES, whole
from playhead.model.rights import GroupRights
from playhead.ports.catalog.access import LoginRecord
from playhead.ports.login import LoginRefused, Person
from playhead.services.login import LoginService
from tests import servers
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock
from tests.logins import LOGIN, provider_at
from tests.servers.oidc import log_in_at

RIGHTS: Final = (
    GroupRights("playhead-admins", whole(ROLES["admin"]), None),
    GroupRights("sre", whole(ROLES["oncall"]), frozenset({"docs"})),
)


async def answer_to(url: str, user: str | None) -> dict[str, str]:
    return dict(await asyncio.to_thread(log_in_at, url, user))


# -- the flow at a real provider -------------------------------------------------------------------


@pytest.fixture
async def real() -> AsyncIterator[OidcProvider]:
    async with provider_at(servers.need("oidc")) as made:
        yield made


@pytest.mark.parametrize(
    ("user", "name", "groups"),
    [
        ("alice", "alice@example.com", {"playhead-admins"}),
        # The mail address is not verified: anyone may have typed it.
        ("bob", "bob", {"sre"}),
        ("eve", "eve", set()),
    ],
)
async def test_a_person_logs_in(real: OidcProvider, user: str, name: str, groups: set[str]):
    answer = await answer_to(await real.address(LOGIN), user)

    assert await real.finish(LOGIN, answer) == Person(
        f"{servers.need('oidc')}#{user}", name, frozenset(groups)
    )


async def test_a_person_who_goes_back_is_not_logged_in(real: OidcProvider):
    answer = await answer_to(await real.address(LOGIN), None)

    with pytest.raises(LoginRefused, match="access_denied"):
        await real.finish(LOGIN, answer)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": "another"}, "another login"),
        ({"state": None}, "another login"),
        ({"iss": "https://evil.example"}, "another provider"),
        ({"iss": None}, "another provider"),
        ({"iss": "https://evil.example", "error": "access_denied"}, "another provider"),
        ({"code": None}, "no code"),
        ({"code": "guessed"}, "invalid_grant"),
    ],
)
async def test_an_answer_that_is_not_that_of_the_login_is_refused(
    real: OidcProvider, change: dict[str, str | None], why: str
):
    answer = await answer_to(await real.address(LOGIN), "alice")
    changed = {name: value for name, value in (answer | change).items() if value is not None}

    with pytest.raises(LoginRefused, match=why):
        await real.finish(LOGIN, changed)


@pytest.mark.parametrize(
    ("login", "why"),
    [
        (LOGIN._replace(verifier="w" * 64), "invalid_grant"),
        (LOGIN._replace(nonce="another"), "the ID token belongs to another login"),
    ],
)
async def test_a_stolen_code_is_of_no_use_in_another_login(real: OidcProvider, login: LoginRecord, why: str):
    answer = await answer_to(await real.address(LOGIN), "alice")

    with pytest.raises(LoginRefused, match=why):
        await real.finish(login, answer)


async def test_a_code_is_redeemed_once(real: OidcProvider):
    answer = await answer_to(await real.address(LOGIN), "alice")
    await real.finish(LOGIN, answer)

    with pytest.raises(LoginRefused, match="invalid_grant"):
        await real.finish(LOGIN, answer)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"secret": "wrong"}, "invalid_client"),
        ({"secret": None}, "invalid_client"),
        ({"callback": "http://127.0.0.1:1/login/oidc/callback"}, "invalid_grant"),
    ],
)
async def test_the_provider_refuses_another_client(real: OidcProvider, options: dict[str, Any], why: str):
    answer = await answer_to(await real.address(LOGIN), "alice")

    async with provider_at(servers.need("oidc"), **options) as other:
        with pytest.raises(LoginRefused, match=why):
            await other.finish(LOGIN, answer)


async def test_logins_continue_when_the_provider_has_new_keys_and_fail_while_it_is_down():
    clock = Clock()
    with servers.need_fresh("oidc") as own:
        async with provider_at(own.url, clock=clock) as made:
            await made.finish(LOGIN, await answer_to(await made.address(LOGIN), "alice"))
            own.kill()
            with pytest.raises(Unavailable) as down:
                await made.finish(LOGIN, {"state": LOGIN.state, "iss": own.url, "code": "any"})
            assert down.value.code == "login_unavailable"
            async with provider_at(own.url) as new:
                with pytest.raises(Unavailable):
                    await new.address(LOGIN)
            own.start()
            answer = await answer_to(await made.address(LOGIN), "alice")
            clock.advance(10)
            assert (await made.finish(LOGIN, answer)).name == "alice@example.com"


# -- the login of a server -------------------------------------------------------------------------


@pytest.fixture
async def logins(real: OidcProvider) -> LoginService:
    return LoginService(MemoryCatalog(), real, RIGHTS)


async def test_a_person_gets_the_rights_of_the_groups(logins: LoginService):
    begun = await logins.begin("/executions?state=failed")

    caller, path = await logins.finish(begun.cookie, await answer_to(begun.url, "bob"))

    assert (caller.kind, caller.id, caller.name) == ("oidc", f"{servers.need('oidc')}#bob", "bob")
    assert (caller.scopes, caller.configs) == (whole(ROLES["oncall"]), frozenset({"docs"}))
    assert path == "/executions?state=failed"


async def test_a_person_without_a_known_group_is_refused(logins: LoginService):
    begun = await logins.begin("/")

    with pytest.raises(Unauthorized, match="the provider names no group") as refused:
        await logins.finish(begun.cookie, await answer_to(begun.url, "eve"))

    assert refused.value.code == "login_refused"


@pytest.mark.parametrize("case", ["no cookie", "another browser", "used", "too late"])
async def test_a_login_ends_only_once_in_time_and_in_its_browser(real: OidcProvider, case: str):
    clock = Clock()
    logins = LoginService(MemoryCatalog(clock=clock), real, RIGHTS)
    begun = await logins.begin("/")
    answer = await answer_to(begun.url, "alice")
    cookie: str | None = begun.cookie
    if case == "no cookie":
        cookie = None
    elif case == "another browser":
        cookie = (await logins.begin("/")).cookie
    elif case == "used":
        await logins.finish(cookie, answer)
    else:
        clock.advance(601)

    with pytest.raises(Unauthorized, match="another login" if case == "another browser" else "no login"):
        await logins.finish(cookie, answer)


async def test_a_server_without_a_provider_offers_no_login():
    logins = LoginService(MemoryCatalog(), None, ())

    assert not logins.is_offered
    with pytest.raises(NotFound):
        await logins.begin("/")
    with pytest.raises(NotFound):
        await logins.finish(new_token(), {})
