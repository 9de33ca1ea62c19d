"""Each operation and each form that changes something is recorded, and so are refused requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx
import pytest

from playhead.acting import NOBODY, Acting, acting
from playhead.credentials import new_key
from playhead.ids import uuid7
from playhead.model import PublishRequest, ReplayRequest
from playhead.model.access import READ_CONTENT, ROLES, Caller, KeyRequest
from playhead.ports.catalog.access import AuditFilter
from playhead.services.audit import AuditService
from playhead.web.app import ACTIONS
from tests.api.access_table import OPERATIONS, rows
from tests.contract.test_catalog_audit import CHANGES
from tests.lab import Clock
from tests.waiting import until

if TYPE_CHECKING:
    from tests.api.server import Playhead

API: Final = {
    "POST /api/v1/causes/{cause}/acknowledge": "cause.acknowledge",
    "POST /api/v1/causes/{cause}/plan": "replay.plan",
    "POST /api/v1/causes/{cause}/unacknowledge": "cause.unacknowledge",
    "POST /api/v1/configs": "config.apply",
    "POST /api/v1/configs/validate": None,
    "POST /api/v1/configs/{name}/activate": "config.activate",
    "POST /api/v1/configs/{name}/deactivate": "config.deactivate",
    "POST /api/v1/configs/{name}/run": "run.start",
    "POST /api/v1/datasets/{name}/deliveries/{delivery_id}/send": "webhook.send",
    "POST /api/v1/datasets/{name}/forget": "dataset.forget",
    "POST /api/v1/datasets/{name}/index/check": "dataset.index_check",
    "POST /api/v1/datasets/{name}/publications": "publication.publish",
    "POST /api/v1/datasets/{name}/publications/{n}/cancel": "publication.cancel",
    "POST /api/v1/datasets/{name}/publications/{n}/pin": "publication.pin",
    "POST /api/v1/datasets/{name}/publications/{n}/unpin": "publication.unpin",
    "POST /api/v1/datasets/{name}/release": "dataset.release",
    "POST /api/v1/datasets/{name}/rollback": "dataset.rollback",
    "POST /api/v1/dead-letters/resend": "dead_letters.resend",
    "POST /api/v1/dead-letters/resend/plan": None,
    "POST /api/v1/dead-letters/{correlation_id}/resend": "dead_letters.resend",
    "POST /api/v1/executions/{execution_id}/cancel": "execution.cancel",
    "POST /api/v1/executions/{execution_id}/pin": "execution.pin",
    "POST /api/v1/executions/{execution_id}/unpin": "execution.unpin",
    "POST /api/v1/keys": "key.create",
    "POST /api/v1/keys/{name}/revoke": "key.revoke",
    "POST /api/v1/keys/{name}/rotate": "key.rotate",
    "POST /api/v1/prune": "prune.begin",
    "POST /api/v1/queues/{queue}/remove": "queue.remove",
    "POST /api/v1/queues/{queue}/take": "queue.take",
    "POST /api/v1/replay": "replay.start",
    "POST /api/v1/replay/plan": "replay.plan",
    "POST /api/v1/replays/{replay_batch_id}/cancel": "replay.cancel",
    "POST /api/v1/replays/{replay_batch_id}/deliveries/{delivery_id}/send": "webhook.send",
    "PUT /api/v1/replays/{replay_batch_id}/pace": "replay.pace",
    "POST /api/v1/replays/{replay_batch_id}/pause": "replay.pause",
    "POST /api/v1/replays/{replay_batch_id}/report/write": "report.write",
    "POST /api/v1/replays/{replay_batch_id}/resume": "replay.resume",
    "POST /api/v1/replays/{replay_batch_id}/retry": "replay.retry",
    "POST /api/v1/routes/{config}/{route}/pause": "route.pause",
    "POST /api/v1/routes/{config}/{route}/resume": "route.resume",
    "POST /api/v1/sessions/{session}/revoke": "session.revoke",
    "POST /api/v1/system/doctor": "doctor",
}
"""What the audit records of each operation; None: it changes nothing."""

FORMS: Final = {
    "/access": "key.create",
    "/access/end": "session.revoke",
    "/access/revoke": "key.revoke",
    "/access/rotate": "key.rotate",
    "/datasets/{name}/cancel": "publication.cancel",
    "/datasets/{name}/check": "dataset.index_check",
    "/datasets/{name}/forget": "dataset.forget",
    "/datasets/{name}/release": "dataset.release",
    "/datasets/{name}/send": "webhook.send",
    "/datasets/{name}/{n}/pin": "publication.pin",
    "/datasets/{name}/{n}/unpin": "publication.unpin",
    "/executions/{execution_id}/pin": "execution.pin",
    "/executions/{execution_id}/unpin": "execution.unpin",
    "/queues/{queue}/pause": "route.pause",
    "/queues/{queue}/resume": "route.resume",
    "/replays/{batch}/report": "report.write",
    "/apply": "config.apply",
    "/causes/{id}/acknowledge": "cause.acknowledge",
    "/causes/{id}/plan": "replay.plan",
    "/causes/{id}/replay": "replay.start",
    "/causes/{id}/unacknowledge": "cause.unacknowledge",
    "/datasets/{name}/publish": "publication.publish",
    "/datasets/{name}/rollback": "dataset.rollback",
    "/dead-letters/resend": "dead_letters.resend",
    "/dead-letters/resend/plan": None,
    "/dead-letters/{id}/resend": "dead_letters.resend",
    "/executions/{execution_id}/cancel": "execution.cancel",
    "/executions/{execution_id}/result/review": "replay.review",
    "/prune": "prune.begin",
    "/replay": "replay.start",
    "/replays/{batch}/cancel": "replay.cancel",
    "/replays/{batch}/pace": "replay.pace",
    "/replays/{batch}/pause": "replay.pause",
    "/replays/{batch}/resume": "replay.resume",
    "/replays/{batch}/retry": "replay.retry",
    "/replays/{batch}/send": "webhook.send",
    "/replays/{batch}/withdraw": "replay.withdraw",
    "/run": "run.start",
    "/system": "doctor",
}
SERVICES: Final = {"doctor", "queue.take", "queue.remove"}
"""Recorded by a service, because the change is outside the catalog."""
ACCESS: Final = {"key.create", "key.rotate", "key.revoke", "session.revoke"}
"""Tested in `contract/test_catalog_access.py`."""
ELSEWHERE: Final = {"run.start", "dataset.forget"}
"""Tested in their own tests of the contract."""


def test_each_operation_and_each_form_that_changes_something_is_in_the_table():
    changing = {one for one in rows(OPERATIONS) if not one.startswith("GET ")}
    assert set(API) == changing
    assert set(FORMS) == {action.path for action in ACTIONS}
    recorded = {*API.values(), *FORMS.values()} - {None}
    assert recorded == (CHANGES.keys() | SERVICES | ACCESS | ELSEWHERE) & recorded


class Admin:
    """A person with a key for everything, whose requests are checked against the table."""

    def __init__(self, playhead: Playhead, key: str) -> None:
        self._playhead = playhead
        self._headers = {"Authorization": f"Bearer {key}", "X-Playhead-Reason": "gr%C3%BCnde"}
        self.done = set[str]()

    async def sends(self, operation: str, body: Any = None, /, *, more: Any = None, **names: Any) -> Any:
        """Send a request, and check that the audit has exactly its row."""
        method, path = operation.split(" ")
        identity = str(uuid7())
        sent = dict(more or {}) if body is None else {"json": body, **(more or {})}
        headers = {**self._headers, "X-Correlation-ID": identity, **sent.pop("headers", {})}
        answer = await self._playhead.http.request(method, path.format(**names), headers=headers, **sent)
        assert answer.status_code < 300, answer.text
        found = [one for one in await self._playhead.catalog.audit() if one.correlation_id == identity]
        actions = {(one.action, one.actor_name, one.via) for one in found}
        assert actions == {(API[operation], "root", "http")}
        assert {one.reason for one in found} <= {"gründe", "own"}
        self.done.add(operation)
        return answer.json()


@pytest.fixture
async def admin(playhead: Playhead) -> Admin:
    created = await playhead.services.access.create(KeyRequest("root", sorted(ROLES["admin"])))
    await playhead.services.identity.beat()
    playhead.http.headers["Authorization"] = f"Bearer {created.key}"
    return Admin(playhead, created.key)


async def test_each_operation_writes_its_row(playhead: Playhead, admin: Admin):
    from tests.api.server import WORDS

    sends = admin.sends
    source = {"content": WORDS + "datasets: {docs: {}}\n", "headers": {"Content-Type": "application/yaml"}}
    await sends("POST /api/v1/configs", more=source)
    await sends("POST /api/v1/configs/{name}/deactivate", name="words")
    await sends("POST /api/v1/configs/{name}/activate", name="words")
    files = {"files": [("files", ("bad", b"bad")), ("files", ("a", b"x y"))]}
    run = (await sends("POST /api/v1/configs/{name}/run", more=files, name="words"))["execution_id"]
    await playhead.work()

    [letter] = await playhead.items("dead-letters")
    [cause] = await playhead.items("causes")
    given = {"reason": "own", "requested_by": "somebody else"}
    known = await sends("POST /api/v1/causes/{cause}/acknowledge", given, cause=cause["id"])
    assert known["acknowledgement"]["requested_by"] == "root", "a known caller has no other name"
    await sends("POST /api/v1/causes/{cause}/unacknowledge", cause=cause["id"])
    await sends("POST /api/v1/causes/{cause}/plan", cause=cause["id"])
    message = letter["correlation_id"]
    await sends("POST /api/v1/dead-letters/{correlation_id}/resend", correlation_id=message)
    await playhead.work()
    await sends("POST /api/v1/dead-letters/resend", {"execution_id": run})
    await playhead.work()

    for verb in ("pin", "unpin"):
        await sends(f"POST /api/v1/executions/{{execution_id}}/{verb}", execution_id=run)
    replay = {"from_execution_id": run, "from_stage": "input", "to_route": "upper"}
    await sends("POST /api/v1/replay/plan", replay)
    slow = {**replay, "pace": {"rate": 0.1}, "reason": "own", "from_path": "a"}
    batch = await sends("POST /api/v1/replay", slow, more={"headers": {"Prefer": "respond-async"}})
    of = {"replay_batch_id": batch["replay_batch_id"]}
    await sends("POST /api/v1/replays/{replay_batch_id}/pause", **of)
    await sends("PUT /api/v1/replays/{replay_batch_id}/pace", {"rate": 5}, **of)
    await sends("POST /api/v1/replays/{replay_batch_id}/resume", **of)
    await sends("POST /api/v1/replays/{replay_batch_id}/cancel", **of)

    out = {**replay, "from_stage": "shouted", "to_route": "aside"}
    await sends("POST /api/v1/replay", out)
    taken = await sends("POST /api/v1/queues/{queue}/take", {}, queue="elsewhere")
    await sends("POST /api/v1/queues/{queue}/remove", {"receipt": taken["receipt"]}, queue="elsewhere")
    at = {"config": "words", "route": "upper"}
    await sends("POST /api/v1/routes/{config}/{route}/pause", {"reason": "own"}, **at)
    await sends("POST /api/v1/routes/{config}/{route}/resume", **at)

    good = [await playhead.run({"a": b"x y"}), await playhead.run({"a": b"z"})]
    for n, one in enumerate(good, 1):
        await sends("POST /api/v1/datasets/{name}/publications", {"executions": [one]}, name="docs")
        await until(lambda n=n: _is_current(playhead, n))  # type: ignore[misc]
    for verb in ("pin", "unpin"):
        await sends(f"POST /api/v1/datasets/{{name}}/publications/{{n}}/{verb}", name="docs", n=1)
    await sends("POST /api/v1/datasets/{name}/rollback", {"to": 1, "reason": "own"}, name="docs")
    await sends("POST /api/v1/datasets/{name}/release", name="docs")

    waits = {"files": [("files", ("a", b"x"))]}
    open_run = (await sends("POST /api/v1/configs/{name}/run", more=waits, name="words"))["execution_id"]
    await sends("POST /api/v1/executions/{execution_id}/cancel", execution_id=open_run)
    await sends("POST /api/v1/prune", {"execution_ids": [run]})
    await sends("POST /api/v1/system/doctor")
    await sends("POST /api/v1/keys", {"name": "ci", "scopes": ["run"]})
    await sends("POST /api/v1/keys/{name}/rotate", name="ci")
    [newest, *_] = [one for one in await playhead.items("keys") if one["name"] == "ci"]
    await sends("POST /api/v1/keys/{name}/revoke", name=newest["id"])
    root = next(one for one in await playhead.items("keys") if one["name"] == "root")
    caller = Caller("key", root["id"], "root", ROLES["admin"])
    await playhead.services.access.log_in(caller, old=None, address=None, browser=None)
    [session] = await playhead.items("sessions")
    await sends("POST /api/v1/sessions/{session}/revoke", session=session["id"])

    await _replays_that_failed(playhead, admin)
    await _datasets_with_an_index(playhead, admin)
    assert admin.done == {operation for operation, action in API.items() if action}


async def _replays_that_failed(playhead: Playhead, admin: Admin) -> None:
    """Publish refused objects again, write a failed report again, and send an event again."""
    run = await playhead.run({"a": b"x"})
    playhead.broker.refusal = "too large"
    answer = await playhead.replay(run, "input", "upper")
    playhead.broker.refusal = None
    of = {"replay_batch_id": answer["replay_batch_id"]}
    await admin.sends("POST /api/v1/replays/{replay_batch_id}/retry", **of)

    request = ReplayRequest(UUID(run), "input", None, "upper", report=True, webhook="https://hooks.example/")
    replay = await playhead.services.replay.execute(request)
    await playhead.work()
    of = {"replay_batch_id": str(replay.replay_batch_id)}
    for _ in range(3):
        await playhead.catalog.claim_report(replay.execution_id, owner="w1", lease=0.0, most=2)
    await admin.sends("POST /api/v1/replays/{replay_batch_id}/report/write", **of)
    [event, *_] = await playhead.items(f"replays/{of['replay_batch_id']}/deliveries")
    send = "POST /api/v1/replays/{replay_batch_id}/deliveries/{delivery_id}/send"
    await admin.sends(send, **of, delivery_id=event["delivery_id"])


async def _datasets_with_an_index(playhead: Playhead, admin: Admin) -> None:
    """Check an index, cancel a publication, send an event again, and undo a declaration."""
    from tests.api.server import WORDS

    index = "  index:\n    adapters: [{type: keep}]\n"
    words = WORDS.replace("{stage: split/words}", "{stage: split/words, to: [index]}")
    await playhead.apply(f"{words}{index}datasets: {{docs: {{webhook: https://hooks.example/}}}}\n")
    run = await playhead.run({"a": b"x y", "b": b"z"})
    published = await playhead.services.publish.publish("docs", PublishRequest([UUID(run)]))
    await admin.sends("POST /api/v1/datasets/{name}/index/check", {}, name="docs")

    playhead.load("split", code="sha256:bb")
    one = {"from_execution_id": str(published.execution_id), "from_stage": "shouted", "from_path": "a.md"}
    await playhead.post(
        "replay", {**one, "to_route": "split", "others_valid": True, "reason": "one is wrong"}
    )
    await playhead.work()
    await admin.sends("POST /api/v1/datasets/{name}/forget", {"route": "split"}, name="docs")

    request = PublishRequest([UUID(await playhead.run({"a": b"x", "b": b"y"}))])
    draft = await playhead.catalog.begin_publication("words", "docs", request, owner="w2", lease=60.0)
    await admin.sends("POST /api/v1/datasets/{name}/publications/{n}/cancel", name="docs", n=draft.n)
    [event, *_] = await playhead.items("datasets/docs/deliveries")
    send = "POST /api/v1/datasets/{name}/deliveries/{delivery_id}/send"
    await admin.sends(send, name="docs", delivery_id=event["delivery_id"])


async def _is_current(playhead: Playhead, n: int) -> bool:
    return bool((await playhead.get("datasets/docs"))["current"] == n)


async def test_entries_are_listed_by_their_numbers_and_with_filters(playhead: Playhead, admin: Admin):
    await playhead.run({"a": b"x"})
    await admin.sends("POST /api/v1/configs/{name}/deactivate", name="words")

    newest = await playhead.items("audit", limit=2)
    assert newest[0]["action"] == "config.deactivate"
    assert [one["n"] for one in newest] == sorted((one["n"] for one in newest), reverse=True)
    after = await playhead.items("audit", after=0, limit=2)
    assert after == newest[::-1]
    assert await playhead.items("audit", after=newest[0]["n"]) == []
    assert {one["actor_name"] for one in await playhead.items("audit", actor="root")} == {"root"}
    assert {one["action"] for one in await playhead.items("audit", action="run")} == {"run.start"}
    assert await playhead.items("audit", since="2126-01-01T00:00:00Z") == []
    wrong = await playhead.get("audit", 400, cursor="x")
    assert wrong["error_code"] == "invalid_cursor"


# -- refused requests ------------------------------------------------------------------------------


async def test_refused_requests_are_counted_by_caller_operation_and_code(playhead: Playhead):
    made = await playhead.services.access.create(KeyRequest("ci", ["run"], ["docs"]))
    await playhead.services.identity.beat()
    key = {"X-Playhead-Key": made.key}
    unknown = new_key()
    for _ in range(3):
        await playhead.http.get("/api/v1/configs", headers=key)
    await playhead.http.post("/api/v1/configs/words/run", headers=key, files=[("files", ("a", b"x"))])
    await playhead.http.get("/api/v1/me", headers={"X-Playhead-Key": unknown.text})
    await playhead.http.get("/api/v1/me")

    await playhead.services.audit.flush(last=True)

    found = await playhead.catalog.audit(AuditFilter(outcome="refused"))
    assert {(one.actor, one.object, one.error_code, (one.detail or {})["count"]) for one in found} == {
        (made.record.id, "GET /api/v1/configs", "scope_missing", 3),
        (made.record.id, "POST /api/v1/configs/{name}/run", "outside_limit", 1),
        (unknown.id, "GET /api/v1/me", "key_invalid", 1),
        ("nobody", "GET /api/v1/me", "key_missing", 1),
    }
    assert {one.action for one in found} == {"request"}
    assert unknown.text not in repr(found)


async def test_a_flood_of_refused_requests_costs_600_rows_a_minute(playhead: Playhead):
    clock = Clock()
    audit = AuditService(playhead.catalog, clock=clock)
    for n in range(700):
        who = Acting(Caller("local", "nobody", "nobody", frozenset()), "http", f"10.0.{n // 256}.{n % 256}")
        audit.refused(who, "GET /", "key_missing")
    await audit.flush()
    assert await playhead.catalog.audit(AuditFilter(action="request")) == [], "the minute has not passed"

    clock.advance(60)
    await audit.flush()
    await audit.flush()

    found = await playhead.catalog.audit(AuditFilter(action="request"), limit=1000)
    assert len(found) == 601
    assert (found[0].actor, found[0].detail) == ("others", {"count": 100})


async def test_a_key_that_ends_soon_is_counted_in_one_row(playhead: Playhead):
    made = await playhead.services.access.create(KeyRequest("ci", ["run"], seconds=3600))
    await playhead.services.identity.beat()
    for _ in range(3):
        await playhead.http.get("/api/v1/configs", headers={"X-Playhead-Key": made.key})

    await playhead.services.audit.flush(last=True)

    [row] = await playhead.catalog.audit(AuditFilter(outcome="refused"))
    assert row.detail == {"count": 3}


# -- reads -----------------------------------------------------------------------------------------


def content(key: str) -> str:
    return str(httpx.URL("/api/v1/storage/objects/content", params={"key": key}))


async def test_reads_of_content_are_recorded_by_caller_and_object_if_they_are_wanted(tmp_path: Path):
    from tests.api.server import Playhead, open_playhead

    async with open_playhead(tmp_path, Playhead, audit_reads="content") as playhead:
        await playhead.apply()
        execution = await playhead.run({"bad": b"bad", "a": b"x y"})
        [letter] = await playhead.items("dead-letters")
        message = letter["correlation_id"]
        made = await playhead.services.access.create(KeyRequest("ada", ["read"]))
        await playhead.services.identity.beat()
        key = {"X-Playhead-Key": made.key}
        for path, status in (
            (content(f"{execution}/shouted/a.md"), 200),
            (content(f"{execution}/shouted/a.md"), 200),
            (content(f"{execution}/input/a"), 200),
            (content(f"{execution}/input/missing"), 404),
            (f"/api/v1/dead-letters/{message}", 200),
            (f"/api/v1/executions/{execution}", 200),
        ):
            assert (await playhead.http.get(path, headers=key)).status_code == status
        before = await playhead.catalog.audit()

        await playhead.services.audit.flush(last=True)

        found = (await playhead.catalog.audit())[: -len(before)]
        assert {(one.action, one.object, (one.detail or {})["count"]) for one in found} == {
            ("object.read", f"{execution}/shouted/a.md", 2),
            ("object.read", f"{execution}/input/a", 1),
            ("dead_letter.read", message, 1),
        }
        assert {(one.actor, one.via, one.outcome) for one in found} == {(made.record.id, "http", "done")}


async def test_lists_of_keys_and_exports_of_the_audit_are_always_recorded(playhead: Playhead):
    made = await playhead.services.access.create(KeyRequest("ada", ["admin"]))
    await playhead.services.identity.beat()
    for path in ("keys", "keys", "audit", "audit?after=0", "sessions"):
        answer = await playhead.http.get(f"/api/v1/{path}", headers={"X-Playhead-Key": made.key})
        assert answer.status_code == 200

    await playhead.services.audit.flush(last=True)

    found = [one for one in await playhead.catalog.audit() if one.actor == made.record.id]
    assert [(one.action, one.object, one.detail) for one in found] == [
        ("audit.export", None, {"count": 1}),
        ("key.list", None, {"count": 2}),
    ]


async def test_reads_are_not_recorded_by_default(playhead: Playhead):
    execution = await playhead.run({"a": b"x"})
    assert (await playhead.http.get(content(f"{execution}/input/a"))).status_code == 200
    await playhead.services.audit.flush(last=True)
    assert await playhead.catalog.audit(AuditFilter(action="object")) == []


async def test_a_caller_who_reads_very_many_objects_is_still_named(playhead: Playhead):
    audit = AuditService(playhead.catalog, reads=READ_CONTENT, clock=Clock())
    audit.refused(NOBODY, "GET /", "key_missing")
    for name in ("ada", "bob"):
        with acting(Acting(Caller("key", name, name, frozenset()), "http")):
            for n in range(700):
                audit.read("object.read", f"objects/{n}")

    await audit.flush(last=True)

    found = await playhead.catalog.audit(AuditFilter(action="object.read"), limit=2000)
    assert len(found) == 2 * 601, "a caller leaves their rows to others"
    rest = {one.actor: one.detail for one in found if one.object is None}
    assert rest == {"ada": {"count": 100}, "bob": {"count": 100}}
