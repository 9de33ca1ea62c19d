"""`/access`: keys are created, rotated and revoked, and sessions are ended."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from playhead.credentials import key_id
from playhead.model.access import SCOPES, Caller, KeyRequest, Scope, whole
from tests.ui.site import Site, text_of

_KEY = re.compile(r"phk_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}")
_OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def site(site: Site) -> Site:
    """A server with an administrator, who sends all requests."""
    await become(site, "root", *SCOPES)
    return site


async def become(site: Site, name: str, *scopes: Scope, configs: list[str] | None = None) -> None:
    made = await site.services.access.create(KeyRequest(name, list(scopes), configs))
    await site.services.identity.beat()
    site.http.headers["Authorization"] = f"Bearer {made.key}"


async def send(site: Site, path: str, **fields: Any) -> httpx.Response:
    return await site.http.post(path, data=fields, headers=_OWN)


async def test_a_new_key_is_shown_once_and_is_in_no_address_and_no_log(site: Site, caplog):
    answer = await send(
        site, "/access", name="ci-docs", role="ci", scope=["read"], configs="words, other", ends="7d"
    )
    [key] = _KEY.findall(answer.text)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert "This is the only time that the key is shown." in answer.text
    [stored] = [one for one in await site.services.access.keys() if one.name == "ci-docs"]
    assert (stored.id, stored.scopes, stored.configs) == (key_id(key), ["read", "run"], ["other", "words"])

    me = await site.http.get("/api/v1/me", headers={"Authorization": f"Bearer {key}"})
    assert (me.json()["name"], me.json()["configs"]) == ("ci-docs", ["other", "words"])
    secret = key.rpartition("_")[2]
    for later in ("/access", "/access.json"):
        assert secret not in (await site.http.get(later)).text
    assert secret not in caplog.text


async def test_a_key_without_a_name_or_a_scope_is_refused_and_the_form_keeps_what_was_typed(site: Site):
    for fields, why in (
        ({"name": "a b", "role": "ci"}, "is not a name"),
        ({"name": "ada"}, "choose a role or a scope"),
        ({"name": "ada", "scope": "everything"}, "choose a role or a scope"),
        ({"name": "ada", "role": "ci", "ends": "tomorrow"}, "choose one of 90d"),
        ({"name": "root", "role": "ci"}, "key_name_taken"),
    ):
        answer = await send(site, "/access", **fields)
        assert answer.status_code in (400, 409), fields
        assert why in answer.text, fields
        assert f'value="{fields["name"]}"' in answer.text
    assert len(await site.services.access.keys()) == 1


async def test_a_key_allows_at_most_what_its_creator_has(site: Site):
    await become(site, "ada", "admin", "read", configs=["words"])
    page = await site.page("/access")
    assert 'value="operate"' not in page
    assert "viewer: read" in page
    assert "oncall" not in page
    for fields, code in (
        ({"name": "x", "scope": "prune"}, "scope_missing"),
        ({"name": "x", "scope": "read"}, "outside_limit"),
    ):
        answer = await send(site, "/access", **fields)
        assert (answer.status_code, code in answer.text) == (403, True)


async def test_a_rotated_key_has_the_same_rights_and_the_old_one_ends_a_day_later(site: Site):
    made = await send(site, "/access", name="ci", role="ci", ends="never")
    [old] = _KEY.findall(made.text)
    answer = await send(site, "/access/rotate", id=key_id(old), ends="never")
    [new] = _KEY.findall(answer.text)
    assert new != old
    assert "Key before it" in text_of(answer.text)
    both = [one for one in await site.services.access.keys() if one.name == "ci"]
    assert [one.scopes for one in both] == [["run"], ["run"]]
    assert sorted(one.expires_at is None for one in both) == [False, True]
    assert (await send(site, "/access/rotate", id="nothing")).status_code == 404


async def test_a_revoked_key_and_an_ended_session_change_nothing_any_more(site: Site):
    await send(site, "/access", name="ci", role="ci")
    [key] = [one for one in await site.services.access.keys() if one.name == "ci"]
    token = await site.services.access.log_in(
        Caller("key", key.id, "ci", whole(["run"])), old=None, address="10.0.0.7", browser="Firefox"
    )
    [session] = await site.services.access.sessions()
    page = text_of(await site.page("/access"))
    assert re.search("10.0.0.7 ?Firefox", page)
    assert f"playhead sessions revoke {session.id}" in page
    assert f"POST /api/v1/keys/{key.id}/revoke" in page

    ended = await send(site, "/access/end", id=session.id)
    assert (ended.status_code, ended.headers["location"]) == (303, "/access#sessions")
    assert (await send(site, "/access/end", id=session.id)).status_code == 404
    assert not await site.services.access.sessions()
    assert token

    assert (await send(site, "/access/revoke", id=key.id)).status_code == 303
    assert "revoked" in text_of(await site.page("/access"))
    assert (await send(site, "/access/revoke", id="nothing")).status_code == 404


async def test_the_page_is_for_administrators(site: Site):
    await become(site, "ada", "read", "operate")
    assert "this needs the scope admin" in await site.page("/access", 403)
    assert 'href="/access"' not in await site.page("/")
    refused = await send(site, "/access", name="x", role="admin")
    assert refused.status_code == 403
    assert not _KEY.findall(refused.text)


async def test_an_open_server_says_how_to_get_the_first_key(site: Site):
    await site.services.access.open()
    await site.services.identity.beat()
    del site.http.headers["Authorization"]
    page = await site.page("/access", 403)
    assert "playhead keys create NAME --role admin" in page
    assert 'href="/access"' not in await site.page("/")
