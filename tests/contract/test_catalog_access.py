"""Keys, sessions, and the record of changes."""

from __future__ import annotations

import pytest

from playhead import acting
from playhead.acting import Acting
from playhead.credentials import NewKey, hash_of, new_key
from playhead.errors import Conflict, Forbidden
from playhead.model import LoadedCode
from playhead.model.access import Caller
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.access import AuditFilter, KeyRecord, LoginRecord, SessionRecord
from playhead.ports.catalog.upkeep import Process
from tests.lab import Lab

DAY = 86_400.0


def record(key: NewKey, name: str = "ci", **fields: object) -> KeyRecord:
    given = {"scopes": ["run"], "configs": None, "seconds": 90 * DAY, **fields}
    return KeyRecord(key.id, name, key.hash, **given)  # type: ignore[arg-type]


def session(key: str | None, token: str, identity: str = "s1") -> SessionRecord:
    return SessionRecord(
        hash_of(token), identity, key, key or "iss#sub", "Ada", ["read"], None, 7 * DAY, "10.0.0.1", "curl"
    )


async def test_the_first_key_closes_access(catalog: Catalog, lab: Lab):
    assert (await catalog.access()).mode == "open"
    key = new_key()

    created = await catalog.create_key(record(key), release="1", first=True)

    assert created
    stored, was_open = created
    assert (stored.id, stored.name, stored.state, was_open) == (key.id, "ci", "valid", True)
    state = await catalog.access()
    assert (state.mode, state.has_keys) == ("required", True)
    assert await catalog.create_key(record(new_key(), "b"), release="1", first=True) is None
    lab.clock.advance(1)
    again = await catalog.create_key(record(new_key(), "b"), release="1")
    assert again
    assert not again[1]
    assert [one.name for one in await catalog.keys()] == ["b", "ci"]


async def test_a_key_is_found_by_its_hash_and_ends(catalog: Catalog, lab: Lab):
    key = new_key()
    await catalog.create_key(record(key, configs=["docs"]), release="1")

    found = await catalog.key(key.hash)

    assert found
    assert found.id == key.id
    assert found.caller.configs == frozenset({"docs"})
    assert found.seconds == pytest.approx(90 * DAY, abs=5)
    assert await catalog.key(new_key().hash) is None
    endless = new_key()
    await catalog.create_key(record(endless, "for ever", seconds=None), release="1")
    assert (await catalog.key(endless.hash) or found).seconds is None


async def test_a_revoked_key_ends_with_its_sessions(catalog: Catalog, lab: Lab):
    key = new_key()
    await catalog.create_key(record(key), release="1")
    await catalog.create_session(session(key.id, "cookie"), replaces=None)
    before = (await catalog.access()).epoch

    revoked = await catalog.revoke_key(key.id)

    assert revoked
    assert (revoked.state, revoked.revoked_by) == ("revoked", "playhead")
    ended = await catalog.key(key.hash)
    assert ended
    assert ended.seconds == 0
    assert await catalog.session(hash_of("cookie"), idle=DAY) is None
    assert (await catalog.access()).epoch > before
    assert await catalog.revoke_key(key.id) == revoked
    assert await catalog.revoke_key("00000000") is None


async def test_a_rotated_key_ends_after_the_overlap(catalog: Catalog, lab: Lab):
    old, new = new_key(), new_key()
    await catalog.create_key(record(old), release="1")

    rotated = await catalog.rotate_key(old.id, record(new, replaces=old.id), overlap=3600)

    assert rotated
    assert rotated.replaces == old.id
    left = await catalog.key(old.hash)
    assert left
    assert left.seconds == pytest.approx(3600, abs=5)
    with pytest.raises(Conflict, match="ci") as taken:
        await catalog.create_key(record(new_key()), release="1")
    assert taken.value.code == "key_name_taken"
    lab.clock.advance(3601)
    assert await catalog.rotate_key(old.id, record(new_key(), "c", replaces=old.id), overlap=1) is None
    assert {one.id: one.state for one in await catalog.keys()} == {old.id: "expired", new.id: "valid"}


async def test_a_session_has_the_rights_of_its_key_and_ends_when_idle(catalog: Catalog, lab: Lab):
    key = new_key()
    await catalog.create_key(record(key, scopes=["replay"], configs=["docs"]), release="1")
    await catalog.create_session(session(key.id, "one", "s1"), replaces=None)

    await catalog.create_session(session(key.id, "two", "s2"), replaces=hash_of("one"))

    assert await catalog.session(hash_of("one"), idle=DAY) is None
    found = await catalog.session(hash_of("two"), idle=DAY)
    assert found
    assert (found.caller.kind, found.caller.scopes) == ("session", frozenset({"replay", "read", "metrics"}))
    assert (found.caller.configs, found.key, found.id) == (frozenset({"docs"}), key.id, "s2")
    assert [one.id for one in await catalog.sessions(idle=DAY)] == ["s2"]
    lab.clock.advance(DAY - 10)
    await catalog.note_sessions([hash_of("two")])
    lab.clock.advance(DAY - 10)
    assert await catalog.session(hash_of("two"), idle=DAY)
    lab.clock.advance(20)
    assert await catalog.session(hash_of("two"), idle=DAY) is None
    assert await catalog.sessions(idle=DAY) == []


async def test_sessions_of_oidc_have_their_own_rights_and_are_revoked(catalog: Catalog, lab: Lab):
    await catalog.create_session(session(None, "one"), replaces=None)
    found = await catalog.session(hash_of("one"), idle=DAY)
    assert found
    assert (found.caller.kind, found.caller.id, found.caller.scopes) == (
        "oidc",
        "iss#sub",
        frozenset({"read", "metrics"}),
    )

    assert await catalog.revoke_session("s1")

    assert await catalog.session(hash_of("one"), idle=DAY) is None
    assert not await catalog.revoke_session("s1")
    await catalog.create_session(session(None, "two", "s2"), replaces=None)
    await catalog.end_session(hash_of("two"))
    await catalog.end_session(hash_of("two"))
    assert await catalog.sessions(idle=DAY) == []


async def test_a_login_is_finished_once_and_in_time(catalog: Catalog, lab: Lab):
    login = LoginRecord("state", "nonce", "verifier", "/")
    await catalog.begin_login(hash_of("a"), login)
    await catalog.begin_login(hash_of("b"), login)

    assert await catalog.finish_login(hash_of("a")) == login
    assert await catalog.finish_login(hash_of("a")) is None
    lab.clock.advance(601)
    assert await catalog.finish_login(hash_of("b")) is None


async def test_each_change_of_access_is_recorded(catalog: Catalog, lab: Lab):
    key = new_key()
    ada = Acting(Caller("local", "ada@host", "ada@host", frozenset()), "cli", reason="a new job")

    with acting.acting(ada):
        await catalog.create_key(record(key), release="1")
        await catalog.revoke_key(key.id)
        await catalog.open_access()

    entries = await catalog.audit()
    assert [one.action for one in entries] == ["access.open", "key.revoke", "key.create"]
    first = entries[-1]
    assert (first.actor_kind, first.actor, first.via, first.reason) == (
        "local",
        "ada@host",
        "cli",
        "a new job",
    )
    assert (first.object, first.outcome) == (key.id, "done")
    assert first.detail == {"name": "ci", "scopes": ["run"], "configs": None}
    assert key.text not in repr(entries)
    assert (await catalog.access()).mode == "open"


async def test_entries_are_found_by_what_they_are_about(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    lab.clock.advance(10)
    await catalog.record_audit("queue.take", outcome="intended", config="docs", object="q")
    await catalog.record_audit(
        "replay.start", outcome="refused", error_code="scope_missing", execution=run.execution
    )

    async def found(**where: object) -> list[str]:
        return [one.action for one in await catalog.audit(AuditFilter(**where))]  # type: ignore[arg-type]

    assert await found(action="queue") == await found(action="queue.take") == ["queue.take"]
    assert await found(action="que") == []
    assert await found(outcome="refused") == await found(execution=run.execution, outcome="refused")
    assert "queue.take" in await found(config="docs")
    assert await found(actor="nobody") == []
    newest, before, *_ = await catalog.audit()
    assert (newest.error_code, newest.execution_id, newest.config) == ("scope_missing", run.execution, "docs")
    assert [one.n for one in await catalog.audit(after=before.n)] == [newest.n]
    assert [one.n for one in await catalog.audit(before=newest.n, limit=1)] == [before.n]


async def test_a_limited_caller_records_no_intention_outside_its_limit(catalog: Catalog, lab: Lab):
    limited = Acting(Caller("key", "k", "ci", frozenset({"take"}), frozenset({"other"})), "http")

    with acting.acting(limited):
        await catalog.record_audit("queue.take", outcome="intended", config="other")
        for config in ("docs", None):
            with pytest.raises(Forbidden) as refused:
                await catalog.record_audit("queue.take", outcome="intended", config=config)
            assert refused.value.code == "outside_limit"

    assert [one.config for one in await catalog.audit(AuditFilter(action="queue"))] == ["other"]


async def test_the_first_key_waits_for_servers_of_another_release(catalog: Catalog, lab: Lab):
    code = LoadedCode("0.0.2")
    await catalog.heartbeat(Process("w1", "worker", "there", 1), loaded=code)
    assert await catalog.create_key(record(new_key(), "of-workers"), release="0.0.1")
    await catalog.open_access()
    await catalog.heartbeat(Process("s1", "serve", "there", 2), loaded=code)

    with pytest.raises(Conflict, match="there:2") as refused:
        await catalog.create_key(record(new_key()), release="0.0.1")

    assert refused.value.code == "older_process"
    assert (await catalog.access()).mode == "open"
    assert await catalog.create_key(record(new_key()), release="0.0.2")
