"""Each change is recorded in its own transaction, and refused if the caller may not change its config."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from playhead import acting
from playhead.acting import Acting
from playhead.errors import Forbidden
from playhead.ids import uuid7
from playhead.model import Config, RatePace, RoutePause
from playhead.model.access import SCOPES, AuditEntry, Caller, RequestedBy
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.access import AuditFilter
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.causes import CauseFilter, Until
from playhead.ports.catalog.jobs import Key
from playhead.ports.catalog.prune import Candidate
from tests.catalog_memory import database
from tests.contract.publishing import Publisher
from tests.contract.test_catalog_control import ask, listed
from tests.contract.test_catalog_plans import opened
from tests.contract.test_catalog_reports import with_dead_letter
from tests.lab import DOCS, Clock, Lab

Do = Callable[[], Awaitable[Any]]


def key(*configs: str) -> Acting:
    caller = Caller("key", "id-of-ci", "ci", frozenset(SCOPES), frozenset(configs) if configs else None)
    return Acting(caller, "http", "10.0.0.1", "a reason", "c-1")


async def audit(catalog: Catalog, **where: Any) -> list[AuditEntry]:
    return await catalog.audit(AuditFilter(**where))


# -- the changes -----------------------------------------------------------------------------------
# Each function prepares a change, and returns what makes it.


async def pause(lab: Lab) -> Do:
    replay, _ = await listed(lab)
    return lambda: lab.catalog.pause(replay.replay_batch_id)


async def resume(lab: Lab) -> Do:
    replay, _ = await listed(lab)
    await lab.catalog.pause(replay.replay_batch_id)
    return lambda: lab.catalog.resume(replay.replay_batch_id)


async def pace(lab: Lab) -> Do:
    replay, _ = await listed(lab)
    return lambda: lab.catalog.set_pace(replay.replay_batch_id, RatePace(5))


async def cancel_replay(lab: Lab) -> Do:
    replay, _ = await listed(lab)
    return lambda: lab.catalog.cancel_replay(replay.replay_batch_id)


async def retry(lab: Lab) -> Do:
    replay, held = await listed(lab)
    await lab.catalog.fail_listing(held, "the store refuses")
    window = await lab.catalog.unpublished(held, limit=1000)
    assert window
    assert await lab.catalog.mark(held, window.upto, refused=[(window.dispatches[0], "too large")])
    assert await lab.catalog.close_job(held)
    return lambda: lab.catalog.retry_replay(replay.replay_batch_id)


async def withdraw(lab: Lab) -> Do:
    replay, _ = await listed(lab)
    return lambda: lab.catalog.cancel(replay.execution_id, action="replay.withdraw")


async def start_replay(lab: Lab) -> Do:
    source = await lab.sealed("a.md")
    return lambda: lab.replayed(source)


async def plan(lab: Lab) -> Do:
    source, version = await lab.sealed("a.md"), await lab.save()
    given: dict[str, Any] = {"config": "docs", "version": version, "route": "convert", "seconds": 60.0}
    return lambda: lab.catalog.open_plan(uuid7(), owner="w1", request={}, source=source, **given)


async def apply(lab: Lab) -> Do:
    return lambda: lab.catalog.save_config(DOCS, source="name: docs", digest="new")


async def deactivate(lab: Lab) -> Do:
    await lab.save()
    return lambda: lab.catalog.set_active("docs", False)


async def activate(lab: Lab) -> Do:
    await lab.save()
    await lab.catalog.set_active("docs", False)
    return lambda: lab.catalog.set_active("docs", True)


async def cancel(lab: Lab) -> Do:
    run = await lab.started("a.md")
    return lambda: lab.catalog.cancel(run.execution)


async def pin(lab: Lab) -> Do:
    run = await lab.started("a.md")
    return lambda: lab.catalog.pin(run.execution, True)


async def unpin(lab: Lab) -> Do:
    run = await lab.started("a.md")
    await lab.catalog.pin(run.execution, True)
    return lambda: lab.catalog.pin(run.execution, False)


async def prune(lab: Lab) -> Do:
    run = await lab.started("a.md")
    await lab.work(run.ids[0])
    await lab.catalog.end_executions()
    return lambda: lab.catalog.begin_prune([Candidate(run.execution, (), None)])


async def resend(lab: Lab) -> Do:
    run = await lab.started("a.md")
    await lab.kill(run.ids[0])
    return lambda: lab.catalog.resend(ids=run.ids)


async def acknowledge(lab: Lab) -> Do:
    run = await lab.started("a.md")
    await lab.kill(run.ids[0])
    [cause], _ = await lab.catalog.causes(CauseFilter())
    return lambda: lab.catalog.acknowledge(int(cause.id, 16), "a reason", "ada", Until())


async def unacknowledge(lab: Lab) -> Do:
    await (await acknowledge(lab))()
    [cause], _ = await lab.catalog.causes(CauseFilter())
    return lambda: lab.catalog.end_acknowledgement(int(cause.id, 16))


async def pause_route(lab: Lab) -> Do:
    return lambda: lab.catalog.pause_route("docs", "convert", RoutePause("a reason"))


async def resume_route(lab: Lab) -> Do:
    await lab.catalog.pause_route("docs", "convert", RoutePause("broken"))
    return lambda: lab.catalog.resume_route("docs", "convert")


async def write_report(lab: Lab) -> Do:
    replay, _ = await with_dead_letter(lab)
    for _ in range(3):
        await lab.catalog.claim_report(replay.execution_id, owner="w1", lease=0.0, most=2)
        lab.clock.advance(1)
    return lambda: lab.catalog.ask_report_again(replay.replay_batch_id)


async def send(lab: Lab) -> Do:
    replay, _ = await with_dead_letter(lab, managed={"webhook": "https://hooks.example/a"})
    [delivery, *_], _ = await lab.catalog.deliveries(replay.replay_batch_id)
    return lambda: lab.catalog.send_again(replay.replay_batch_id, delivery.delivery_id)


async def review(lab: Lab) -> Do:
    source = await lab.sealed("a.md")
    replay = await lab.replayed(source)
    given: dict[str, Any] = {"is_right": True, "reviewed_by": "ada"}
    return lambda: lab.catalog.record_review(replay.execution_id, source, 1, **given)


async def publish(lab: Lab) -> Do:
    docs = Publisher(lab)
    run = await docs.run(a="x")
    await docs.dataset()
    return lambda: docs.begin(run)


async def cancel_publication(lab: Lab) -> Do:
    docs = Publisher(lab)
    draft = await docs.begin(await docs.run(a="x"))
    return lambda: lab.catalog.abandon_draft(draft.dataset, draft.n)


async def two_publications(lab: Lab) -> int:
    docs = Publisher(lab)
    await docs.publish(await docs.run(a="x"))
    await docs.publish(await docs.run(a="y"))
    return await docs.dataset()


async def pin_publication(lab: Lab) -> Do:
    dataset = await two_publications(lab)
    return lambda: lab.catalog.pin_publication(dataset, 1, True)


async def unpin_publication(lab: Lab) -> Do:
    dataset = await two_publications(lab)
    await lab.catalog.pin_publication(dataset, 1, True)
    return lambda: lab.catalog.pin_publication(dataset, 1, False)


async def roll_back(lab: Lab) -> Do:
    dataset = await two_publications(lab)
    return lambda: lab.catalog.roll_back(dataset, to=1, expect_seq=None, reason=None)


async def release(lab: Lab) -> Do:
    dataset = await two_publications(lab)
    await lab.catalog.roll_back(dataset, to=1, expect_seq=None, reason=None)
    return lambda: lab.catalog.release_dataset(dataset)


async def check_index(lab: Lab) -> Do:
    dataset = await two_publications(lab)
    return lambda: lab.catalog.check_sinks(dataset, route=None, repair=False)


CHANGES: Final[dict[str, Callable[[Lab], Awaitable[Do]]]] = {
    "replay.start": start_replay,
    "replay.plan": plan,
    "replay.pause": pause,
    "replay.resume": resume,
    "replay.pace": pace,
    "replay.retry": retry,
    "replay.cancel": cancel_replay,
    "replay.withdraw": withdraw,
    "replay.review": review,
    "report.write": write_report,
    "webhook.send": send,
    "config.apply": apply,
    "config.activate": activate,
    "config.deactivate": deactivate,
    "execution.cancel": cancel,
    "execution.pin": pin,
    "execution.unpin": unpin,
    "prune.begin": prune,
    "dead_letters.resend": resend,
    "cause.acknowledge": acknowledge,
    "cause.unacknowledge": unacknowledge,
    "route.pause": pause_route,
    "route.resume": resume_route,
    "publication.publish": publish,
    "publication.cancel": cancel_publication,
    "publication.pin": pin_publication,
    "publication.unpin": unpin_publication,
    "dataset.rollback": roll_back,
    "dataset.release": release,
    "dataset.index_check": check_index,
}


@pytest.mark.parametrize("action", CHANGES)
async def test_a_change_is_recorded_once_and_only_inside_the_limit_of_its_caller(
    catalog: Catalog, lab: Lab, action: str
):
    change = await CHANGES[action](lab)
    before = await audit(catalog)

    with acting.acting(key("other")), pytest.raises(Forbidden) as refused:
        await change()

    assert refused.value.code == "outside_limit"
    assert await audit(catalog) == before, "a refused change leaves no row"
    with acting.acting(key("other", "docs")):
        await change()
    [row] = (await audit(catalog))[: -len(before) or None]
    assert (row.action, row.outcome, row.actor_kind, row.actor, row.actor_name) == (
        *(action, "done", "key", "id-of-ci", "ci"),
    )
    assert (row.via, row.address, row.correlation_id, row.reason) == ("http", "10.0.0.1", "c-1", "a reason")
    is_of_causes = action.startswith("cause.")
    assert row.config == (None if is_of_causes else "docs")


@pytest.mark.parametrize("action", ["replay.pause", "execution.pin", "config.deactivate", "dataset.release"])
async def test_a_change_that_changes_nothing_is_not_recorded(catalog: Catalog, lab: Lab, action: str):
    change = await CHANGES[action](lab)
    await change()
    before = await audit(catalog)

    await change()

    assert await audit(catalog) == before


async def test_a_run_is_intended_when_it_is_opened_and_done_when_its_inputs_are_stored(
    catalog: Catalog, lab: Lab
):
    with acting.acting(key()):
        execution = await lab.opened()
        [intended] = await audit(catalog, action="run.start")
        await catalog.bind_inputs(execution, [lab.input("a.md")])
        await catalog.seal(execution)
        await catalog.seal(execution)

    done, first = await audit(catalog, execution=execution)
    assert (first, first.outcome, done.outcome) == (intended, "intended", "done")
    assert (await lab.execution(execution)).requested_by == RequestedBy("key", "id-of-ci", "ci")


async def test_a_run_whose_upload_ends_early_is_recorded_as_failed(catalog: Catalog, lab: Lab):
    with acting.acting(key()):
        given_up = await lab.opened()
        await catalog.cancel(given_up, action="run.start")
        lost = await lab.opened(owner="w2")
    await lab.die("w2")
    assert await catalog.fail_unsealed() == [lost]

    rows = {execution: await audit(catalog, execution=execution) for execution in (given_up, lost)}
    assert [(one.actor, one.outcome) for one in rows[given_up]] == [
        ("id-of-ci", "failed"),
        ("id-of-ci", "intended"),
    ]
    failed = rows[lost][0]
    assert (failed.actor_kind, failed.outcome, failed.error_code) == (
        *("process", "failed", "upload_incomplete"),
    )


async def test_a_replay_needs_the_limit_of_its_source_too(catalog: Catalog, lab: Lab):
    other = Config("other", "convert", {"convert": lab.route("convert", queue="other.convert")})
    source = await lab.sealed("a.md", config=other)
    adopted = (await catalog.adopt(lab.unknown())).execution_id

    for execution in (source, adopted):
        with acting.acting(key("docs")), pytest.raises(Forbidden):
            await lab.replayed(execution)
    with acting.acting(key("docs", "other")):
        replay = await lab.replayed(source)

    [row] = await audit(catalog, batch=replay.replay_batch_id)
    assert (row.action, row.config, row.execution_id) == ("replay.start", "docs", replay.execution_id)
    assert row.detail == {"from": str(source), "stage": "input", "route": "convert", "plan": None}
    assert (await lab.replay(replay.replay_batch_id)).requested_by == RequestedBy("key", "id-of-ci", "ci")


async def test_nothing_is_adopted_for_a_limited_caller(catalog: Catalog, lab: Lab):
    execution = lab.unknown()

    with acting.acting(key("docs")), pytest.raises(Forbidden, match="no config"):
        await catalog.adopt(execution)

    assert await catalog.execution(execution) is None


async def test_the_reason_of_a_request_wins_over_that_of_its_header(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    with acting.acting(key()):
        replay = await lab.replayed(source, managed={"reason": "from the body"})

    [row] = await audit(catalog, batch=replay.replay_batch_id)
    assert row.reason == "from the body"


async def test_a_group_of_dead_letters_is_resent_with_one_row_for_all_of_its_steps(
    catalog: Catalog, lab: Lab
):
    run = await lab.started(*(f"{n}.md" for n in range(5)))
    for identity in run.ids:
        await lab.kill(identity)
    catalog.sizes.step_rows = 2  # type: ignore[attr-defined]

    with acting.acting(key("docs")):
        assert len(await catalog.resend(where=DeadLetterFilter(route="docs/convert"))) == 5

    done, intended = await audit(catalog, action="dead_letters")
    assert (intended.outcome, intended.detail) == ("intended", {"route": "docs/convert", "count": 2})
    assert (done.outcome, done.detail) == ("done", {"route": "docs/convert", "count": 5})
    assert done.execution_id == run.execution


@pytest.mark.parametrize(
    "where", [{"route": "convert"}, {"code": "adapter_error"}, {"route": "other/convert"}]
)
async def test_a_limited_caller_resends_only_what_is_inside_its_limit(
    catalog: Catalog, lab: Lab, where: dict[str, Any]
):
    run = await lab.started("a.md")
    await lab.kill(run.ids[0])

    with acting.acting(key("docs")), pytest.raises(Forbidden):
        await catalog.resend(where=DeadLetterFilter(**where))

    assert await lab.state(run.ids[0]) == "dead"
    with acting.acting(key("docs")):
        assert await catalog.resend(where=DeadLetterFilter(execution=run.execution)) == run.ids


async def test_a_cause_in_several_configs_needs_all_of_them(catalog: Catalog, lab: Lab):
    other = Config("other", "convert", {"convert": lab.route("convert", queue="other.convert")})
    for config in (DOCS, other):
        await lab.kill((await lab.started("a.md", config=config)).ids[0])
    [cause], _ = await catalog.causes(CauseFilter())
    number = int(cause.id, 16)

    with acting.acting(key("docs")), pytest.raises(Forbidden):
        await catalog.acknowledge(number, "known", "ada", Until())
    with acting.acting(key("docs", "other")):
        assert await catalog.acknowledge(number, "known", "ada", Until())


async def test_a_process_records_what_it_does_by_itself(catalog: Catalog, lab: Lab, clock: Clock):
    run = await lab.sealed("a.md")
    await lab.hold(run, "w2")
    await lab.die("w2")
    clock.advance(lab.LEASE)

    with acting.acting(acting.process("serve-1")):
        await lab.hold(run, "w1")

    newest = (await audit(catalog, execution=run))[0]
    assert (newest.action, newest.actor_kind, newest.actor) == ("execution.take_over", "process", "serve-1")
    assert newest.detail == {"from": "w2", "to": "w1"}
    assert (await lab.execution(run)).requested_by is None


async def test_a_plan_of_an_adopted_execution_is_outside_of_every_limit(catalog: Catalog, lab: Lab):
    with acting.acting(key("docs")), pytest.raises(Forbidden, match="no config"):
        await opened(lab)


async def test_a_replay_of_a_repeated_request_is_recorded_once(catalog: Catalog, lab: Lab):
    given = Key("replay", "", "k", b"body", 60.0)
    first = await ask(lab, key=given)
    again = await ask(lab, key=given)

    assert (first.fresh, again.fresh) == (True, False)
    assert len(await audit(catalog, action="replay.start")) == 1


# -- rows are only added ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor_name = 'x'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit (n, actor_kind, actor, actor_name, via, action, outcome, at) "
        "VALUES (1, 'local', 'x', 'x', 'cli', 'x', 'done', 1.0)",
    ],
)
def test_sqlite_keeps_the_rows_of_the_audit(tmp_path: Path, statement: str):
    database(tmp_path, Clock())
    with closing(sqlite3.connect(tmp_path / "playhead.db")) as con:
        con.create_function("playhead_now", 0, lambda: 1.0)
        con.execute(
            "INSERT INTO audit (actor_kind, actor, actor_name, via, action, outcome, at) "
            "VALUES ('local', 'a', 'a', 'cli', 'run.start', 'done', 1.0)"
        )
        with pytest.raises(sqlite3.Error, match="rows of the audit are not"):
            con.execute(statement)
        assert con.execute("SELECT actor FROM audit").fetchall() == [("a",)]
