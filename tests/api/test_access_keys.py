"""Keys over HTTP, and who a server takes a caller for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from playhead.acting import Acting, acting
from playhead.cookies import LOOPBACK_COOKIE
from playhead.credentials import key_id, new_key
from playhead.errors import PlayheadError, Unauthorized, catalog_unavailable
from playhead.ids import now, seconds, uuid7
from playhead.model.access import ROLES, SOON_SECONDS, Caller, KeyRequest
from playhead.services.identity import IdentityService
from tests.lab import Clock

if TYPE_CHECKING:
    from tests.api.server import Playhead

ADMIN = KeyRequest("root", sorted(ROLES["admin"]))


async def first(playhead: Playhead, request: KeyRequest = ADMIN) -> dict[str, str]:
    """Create a key as an operator, and return the headers of a request with it."""
    created = await playhead.services.access.create(request)
    await playhead.services.identity.beat()
    return {"Authorization": f"Bearer {created.key}"}


async def sent(playhead: Playhead, key: dict[str, str], method: str, path: str, **more: Any) -> Any:
    return await playhead.http.request(method, f"/api/v1/{path}", headers=key, **more)


async def test_an_open_server_creates_no_key_over_http(playhead: Playhead):
    refused = await playhead.post("keys", {"name": "x", "scopes": ["read"]}, 403)
    assert refused["error_code"] == "scope_missing"
    me = await playhead.get("me")
    assert (me["kind"], me["name"], me["access"]) == ("local", "local", "open")
    assert "admin" not in me["scopes"]
    assert "effects" in me["scopes"]


async def test_the_first_key_closes_the_server(playhead: Playhead):
    await playhead.get("executions")

    key = await first(playhead)

    assert (await playhead.get("executions", 401))["error_code"] == "key_missing"
    me = (await sent(playhead, key, "GET", "me")).json()
    assert (me["kind"], me["name"], me["access"], me["configs"]) == ("key", "root", "required", None)
    assert me["expires_at"] > "2026"


async def test_a_key_is_created_used_rotated_and_revoked(playhead: Playhead):
    root = await first(playhead)
    made = await sent(
        playhead, root, "POST", "keys", json={"name": "ci", "scopes": ["run"], "configs": ["words"]}
    )
    assert made.status_code == 201
    key = {"X-Playhead-Key": made.json()["key"]}
    assert (await sent(playhead, key, "GET", "executions")).status_code == 200
    assert (await sent(playhead, key, "GET", "configs")).status_code == 403

    rotated = (await sent(playhead, root, "POST", "keys/ci/rotate", json={"overlap": 600})).json()

    assert rotated["record"]["replaces"] == made.json()["record"]["id"]
    assert rotated["record"]["configs"] == ["words"]
    assert (await sent(playhead, key, "GET", "me")).status_code == 200
    taken = await sent(playhead, root, "POST", "keys/ci/rotate", json={"overlap": 600})
    assert taken.json()["error_code"] == "key_ambiguous"
    revoked = await sent(playhead, root, "POST", "keys/ci/revoke")
    assert (revoked.json()["state"], revoked.json()["id"]) == ("revoked", rotated["record"]["id"])
    await playhead.services.identity.beat()
    assert (await sent(playhead, key, "GET", "me")).json()["error_code"] == "key_invalid"
    listed = (await sent(playhead, root, "GET", "keys")).json()["items"]
    assert {one["name"]: one["state"] for one in listed} == {"root": "valid", "ci": "revoked"}
    assert "phk_" not in str(listed)


async def test_a_revoked_key_changes_nothing_from_then_on(playhead: Playhead):
    key = await first(playhead, KeyRequest("op", ["operate"]))
    assert (await sent(playhead, key, "POST", "configs/words/deactivate")).status_code == 200

    await playhead.services.access.revoke("op")  # another server; this one has not noticed yet

    assert (await sent(playhead, key, "GET", "executions")).status_code == 200
    refused = await sent(playhead, key, "POST", "configs/words/deactivate")
    assert (refused.status_code, refused.json()["error_code"]) == (401, "key_invalid")
    await playhead.services.identity.beat()
    assert (await sent(playhead, key, "GET", "executions")).status_code == 401


async def test_a_server_that_only_reads_notices_that_a_key_ends_soon(playhead: Playhead):
    clock = Clock()
    identity = IdentityService(playhead.catalog, beat_seconds=1, clock=clock)
    request = KeyRequest("prometheus", ["metrics"], seconds=SOON_SECONDS + 60)
    key = (await playhead.services.access.create(request)).key
    await identity.beat()
    assert (await identity.of_key(key, changes=False)).ends_soon is None

    clock.advance(120)
    await identity.beat()

    caller = await identity.of_key(key, changes=False)
    assert caller.ends_soon
    with acting(Acting(caller, "http")):
        left = seconds((await identity.me()).expires_at or "") - now()
    assert left == pytest.approx(SOON_SECONDS - 60, abs=30)


async def test_a_limited_key_leaves_no_execution_of_another_program_behind(playhead: Playhead):
    limited = await first(playhead, KeyRequest("docs", ["replay"], ["words"]))
    free = await first(playhead, KeyRequest("free", ["replay"]))
    execution = uuid7()
    await playhead.put(f"{execution}/pages/a.md")
    body = {"from_execution_id": str(execution), "from_stage": "pages", "to_route": "words/upper"}

    refused = await sent(playhead, limited, "POST", "replay", json=body)

    assert (refused.status_code, refused.json()["error_code"]) == (403, "outside_limit")
    assert await playhead.catalog.execution(execution) is None
    assert (await sent(playhead, free, "POST", "replay", json=body)).status_code == 200
    adopted = await playhead.catalog.execution(execution)
    assert adopted
    assert adopted.kind == "adopted"


async def test_a_key_allows_at_most_what_its_creator_may_do(playhead: Playhead):
    key = await first(playhead, KeyRequest("lead", ["admin", "run"], ["words"]))
    for body, code in (
        ({"name": "a", "scopes": ["run", "prune"], "configs": ["words"]}, "scope_missing"),
        ({"name": "a", "scopes": ["run"]}, "outside_limit"),
        ({"name": "a", "scopes": ["run"], "configs": ["words", "docs"]}, "outside_limit"),
    ):
        refused = await sent(playhead, key, "POST", "keys", json=body)
        assert (refused.status_code, refused.json()["error_code"]) == (403, code)
    made = await sent(
        playhead, key, "POST", "keys", json={"name": "a", "scopes": ["run"], "configs": ["words"]}
    )
    assert made.status_code == 201


async def test_a_wrong_key_is_401_with_a_challenge(playhead: Playhead):
    await first(playhead)
    refused = await playhead.http.get("/api/v1/me", headers={"Authorization": f"Bearer {new_key().text}"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["error_code"] == "key_invalid"


async def test_a_session_is_logged_in_and_revoked(playhead: Playhead):
    root = await first(playhead)
    access = playhead.services.access
    token = await access.log_in(
        Caller("key", root["Authorization"].split("_")[1], "root", ROLES["admin"]),
        old=None,
        address="::1",
        browser="x",
    )
    cookie = {"Cookie": f"{LOOPBACK_COOKIE.name}={token}"}
    assert (await sent(playhead, cookie, "GET", "me")).json()["kind"] == "session"
    [session] = (await sent(playhead, root, "GET", "sessions")).json()["items"]
    assert (session["name"], session["kind"], session["address"]) == ("root", "key", "::1")

    ended = await sent(playhead, root, "POST", f"sessions/{session['id']}/revoke")
    assert ended.json() == {"id": session["id"]}

    await playhead.services.identity.beat()
    assert (await sent(playhead, cookie, "GET", "me")).json()["error_code"] == "session_ended"
    assert (await sent(playhead, root, "POST", f"sessions/{session['id']}/revoke")).status_code == 404


async def test_keys_report_an_unavailable_catalog(playhead: Playhead):
    root = await first(playhead)
    await sent(playhead, root, "GET", "me")
    playhead.catalog_outage.error = catalog_unavailable("x")
    for method, path in (("GET", "keys"), ("POST", "keys/x/revoke"), ("GET", "sessions")):
        assert (await sent(playhead, root, method, path)).status_code == 503
    assert (await sent(playhead, root, "GET", "me")).status_code == 200


@pytest.mark.parametrize("sent_reason", ["%ff", "x" * 1001, "a%00b"])
async def test_a_reason_that_cannot_be_stored_is_refused(playhead: Playhead, sent_reason: str):
    refused = await playhead.http.get("/api/v1/me", headers={"X-Playhead-Reason": sent_reason})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "invalid_body")


def identity(playhead: Playhead, clock: Clock, **options: bool) -> IdentityService:
    return IdentityService(playhead.catalog, beat_seconds=1, clock=clock, **options)


async def key_of(playhead: Playhead) -> str:
    return (await playhead.services.access.create(KeyRequest("k", ["replay", "admin"]))).key


async def test_reads_ask_the_catalog_again_after_five_missed_beats(playhead: Playhead):
    clock, key = Clock(), await key_of(playhead)
    who = identity(playhead, clock)
    await who.beat()
    await who.of_key(key, changes=False)
    playhead.catalog_outage.error = catalog_unavailable("x")

    assert (await who.of_key(key, changes=False)).name == "k"
    with pytest.raises(PlayheadError, match="x"):
        await who.of_key(key, changes=True)
    clock.advance(6)
    with pytest.raises(PlayheadError, match="x"):
        await who.of_key(key, changes=False)
    assert await who.mode() == "required"


async def test_a_read_only_server_leaves_only_what_reads(playhead: Playhead):
    who = identity(playhead, Clock(), read_only=True)
    assert (await who.anyone()).scopes == {"read", "metrics"}
    key = await key_of(playhead)
    found = await who.of_key(key, changes=False)
    assert (found.scopes, found.is_read_only) == (frozenset({"read", "metrics"}), True)


async def test_an_address_may_send_ten_wrong_keys_and_then_one_a_second(playhead: Playhead):
    clock, key = Clock(), await key_of(playhead)
    who = identity(playhead, clock)
    await who.beat()
    await who.of_key(key, changes=False, address="10.0.0.1")

    async def codes(count: int) -> list[str]:
        found = []
        for _ in range(count):
            with pytest.raises(PlayheadError) as refused:
                await who.of_key(new_key().text, changes=False, address="10.0.0.1")
            found.append(refused.value.code)
        return found

    assert await codes(12) == ["key_invalid"] * 10 + ["too_many_attempts"] * 2
    clock.advance(1)
    assert await codes(2) == ["key_invalid", "too_many_attempts"]
    for changes in (False, True):
        assert await who.of_key(key, changes=changes, address="10.0.0.1")

    await playhead.services.access.revoke(key_id(key) or "")
    await who.beat()
    for code in ("key_invalid", "too_many_attempts"):
        with pytest.raises(PlayheadError) as refused:
            await who.of_key(key, changes=False, address="10.0.0.1")
        assert refused.value.code == code, "an ended key counts as a wrong one"
    with pytest.raises(Unauthorized):
        await who.of_key(new_key().text, changes=False, address="10.0.0.2")


async def test_wrong_keys_refuse_no_right_key_of_the_same_proxy_after_another_key_has_ended(
    playhead: Playhead,
):
    clock, key = Clock(), await key_of(playhead)
    who = identity(playhead, clock)
    await who.beat()
    await who.of_key(key, changes=False, address="10.0.0.1")
    for _ in range(12):
        with pytest.raises(PlayheadError):
            await who.of_key(new_key().text, changes=False, address="10.0.0.1")
    await playhead.services.access.create(KeyRequest("other", ["read"]))
    await playhead.services.access.revoke("other")
    await who.beat()

    for changes in (False, True):
        assert await who.of_key(key, changes=changes, address="10.0.0.1")

    await playhead.services.access.revoke(key_id(key) or "")
    await who.beat()
    for code in ("key_invalid", "too_many_attempts"):
        with pytest.raises(PlayheadError) as refused:
            await who.of_key(key, changes=False, address="10.0.0.1")
        assert refused.value.code == code, "an ended key counts as a wrong one"


async def test_a_closed_server_needs_a_caller_although_there_is_no_key(playhead: Playhead):
    with pytest.raises(Unauthorized):
        await identity(playhead, Clock(), closed=True).anyone()


async def test_the_last_use_of_a_key_is_written_with_the_beat(playhead: Playhead):
    clock, key = Clock(), await key_of(playhead)
    who = identity(playhead, clock)
    await who.of_key(key, changes=False, address="10.0.0.1")
    assert (await playhead.services.access.keys())[0].last_used_at is None
    await who.beat()
    used = (await playhead.services.access.keys())[0]
    assert (used.last_used_from, used.last_used_at is not None) == ("10.0.0.1", True)
