"""The contract of `ports.catalog.reports`, for every catalog: reports and webhooks of replays."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.ids import created_at
from playhead.model import PlanDifference, PruneFilter, ReportCount
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.jobs import Listed
from playhead.ports.catalog.reports import ClaimedDelivery, ClaimedReport, WrittenPart
from playhead.ports.catalog.work import Released
from tests.contract.test_catalog_plans import page, ready
from tests.lab import Given

if TYPE_CHECKING:
    from playhead.envelope import Dispatch
    from playhead.model import Replay, Report, ReportLine
    from tests.lab import Lab

URL = "https://hooks.example/playhead"
REPORT = {"report": True, "reason": "a fix"}
WEBHOOK = {"webhook": URL}
MOST = 3


async def published(
    lab: Lab, *paths: str, managed: Given = REPORT, close: bool = True
) -> tuple[Replay, list[Dispatch]]:
    """Return a managed replay of these inputs, and the dispatches of all its objects, which are published."""
    source = await lab.sealed(*paths)
    replay = await lab.managed(source, managed)
    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, *(f"{source}/input/{path}" for path in paths))
    await lab.publish_all(held, dispatches)
    return replay, dispatches


async def ended(lab: Lab, *paths: str, managed: Given = REPORT) -> tuple[Replay, list[UUID]]:
    """Return a managed replay all of whose messages are completed, and their ids."""
    replay, dispatches = await published(lab, *paths, managed=managed)
    ids = lab.ids(dispatches)
    for identity in ids:
        await lab.work(identity)
    assert await lab.catalog.end_executions() == [replay.execution_id]
    return replay, ids


async def with_dead_letter(lab: Lab, *, managed: Given = REPORT) -> tuple[Replay, UUID]:
    """Return a managed replay that has ended with a dead letter, and the id of that."""
    replay, (dispatch,) = await published(lab, "a.md", managed=managed)
    (identity,) = lab.ids([dispatch])
    await lab.kill(identity)
    await lab.catalog.end_executions()
    return replay, identity


async def claim(lab: Lab, replay: Replay, owner: str = "w1") -> ClaimedReport | None:
    return await lab.catalog.claim_report(replay.execution_id, owner=owner, lease=lab.LEASE, most=MOST)


async def claimed(lab: Lab, replay: Replay, owner: str = "w1") -> ClaimedReport:
    held = await claim(lab, replay, owner)
    assert held is not None, "the report is due"
    return held


async def due(lab: Lab) -> list[UUID]:
    return await lab.catalog.reports_due(lease=lab.LEASE, limit=10)


def part(held: ClaimedReport, number: int = 1, text: bytes = b"{}\n") -> WrittenPart:
    return WrittenPart(f"{held.prefix}/{number:06}.jsonl", 1, len(text), sha256(text).digest())


async def reported(lab: Lab, replay: Replay, revision: int | None = None) -> Report:
    found = await lab.catalog.report(replay.replay_batch_id, revision)
    assert found is not None, "there is a report"
    return found


async def lines_of(lab: Lab, replay: Replay) -> list[ReportLine]:
    return await lab.catalog.report_lines(await claimed(lab, replay), after=0, limit=100)


# -- reports: when they are due --------------------------------------------------------------------


async def test_a_report_is_due_when_the_execution_has_ended(catalog: Catalog, lab: Lab):
    replay, (dispatch,) = await published(lab, "a.md")
    running = await reported(lab, replay)
    assert (await due(lab), await claim(lab, replay)) == ([], None)

    await lab.work(lab.ids([dispatch])[0])
    await catalog.end_executions()

    assert (running.state, running.revision, running.reason) == ("due", 1, "a fix")
    assert await due(lab) == [replay.execution_id]
    assert (await reported(lab, replay)).state == "due"


async def test_a_replay_without_a_report_has_none(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md", managed={"reason": "only this"})

    assert (await due(lab), await claim(lab, replay)) == ([], None)
    assert await catalog.report(replay.replay_batch_id) is None
    assert await catalog.report(lab.unknown()) is None


async def test_the_report_of_a_cancelled_execution_is_due_when_no_message_runs(catalog: Catalog, lab: Lab):
    replay, dispatches = await published(lab, "a.md", "b.md")
    first, _ = lab.ids(dispatches)
    running = await lab.claim(first)

    await catalog.cancel(replay.execution_id)
    assert await due(lab) == []
    await lab.done(running)
    await catalog.cancel_stragglers()

    assert await due(lab) == [replay.execution_id]
    assert [row.work for row in await lines_of(lab, replay)] == ["completed", "cancelled"]


# -- reports: one writer ---------------------------------------------------------------------------


async def test_one_process_at_a_time_writes_a_report(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")

    held = await claimed(lab, replay, "w1")
    assert (await claim(lab, replay, "w2"), await due(lab)) == (None, [])
    assert (await reported(lab, replay)).state == "writing"

    lab.clock.advance(lab.LEASE)
    assert await due(lab) == [replay.execution_id]
    again = await claimed(lab, replay, "w2")

    assert (held.revision, held.epoch, again.revision, again.epoch) == (1, 1, 1, 2)
    assert held.prefix != again.prefix
    assert not await catalog.renew_report(held, lease=lab.LEASE)


async def test_of_two_processes_that_claim_at_once_one_gets_the_report(catalog_factory, clock):
    from tests.lab import Lab

    catalogs = [await catalog_factory() for _ in range(2)]
    labs = [Lab(one, clock) for one in catalogs]
    replay, _ = await ended(labs[0], "a.md")

    found = await asyncio.gather(*(claim(lab, replay, f"w{n}") for n, lab in enumerate(labs)))

    assert sorted(held is None for held in found) == [False, True]


async def test_a_renewed_lease_is_kept(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")
    held = await claimed(lab, replay)

    lab.clock.advance(lab.LEASE - 1)
    assert await catalog.renew_report(held, lease=lab.LEASE)
    lab.clock.advance(lab.LEASE - 1)

    assert await due(lab) == []


async def test_a_lease_from_before_the_clock_was_set_back_is_free(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")
    await claimed(lab, replay)

    lab.clock.advance(-10 * lab.LEASE)

    assert await due(lab) == [replay.execution_id]
    assert (await claimed(lab, replay)).epoch == 2


async def test_a_delayed_report_is_due_later_and_shows_why(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")

    await catalog.delay_report(await claimed(lab, replay), seconds=5, error="disk full")
    assert await due(lab) == []
    assert (await reported(lab, replay)).error == "disk full"
    lab.clock.advance(5)

    assert await due(lab) == [replay.execution_id]


async def test_a_report_that_was_claimed_too_often_is_given_up(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")
    for _ in range(MOST):
        await catalog.delay_report(await claimed(lab, replay), seconds=0, error="disk full")

    assert await claim(lab, replay) is None

    report = await reported(lab, replay)
    assert (report.state, report.error, await due(lab)) == ("failed", "disk full", [])


async def test_an_abandoned_report_is_due_again_when_a_person_asks_for_it(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")
    batch = replay.replay_batch_id
    assert not await catalog.ask_report_again(batch)
    for _ in range(MOST):
        await catalog.delay_report(await claimed(lab, replay), seconds=0, error="disk full")
    await claim(lab, replay)

    assert await catalog.ask_report_again(batch)

    assert await due(lab) == [replay.execution_id]
    for _ in range(MOST):
        await catalog.delay_report(await claimed(lab, replay), seconds=0, error="disk full")
    assert await claim(lab, replay) is None, "it has as many attempts as before"
    assert await catalog.ask_report_again(batch)
    held = await claimed(lab, replay)
    assert await catalog.bind_report(held, part(held))
    assert await catalog.store_report(held, [part(held)])
    assert (await reported(lab, replay)).state == "stored"
    assert not await catalog.ask_report_again(batch)
    assert not await catalog.ask_report_again(lab.unknown())


# -- reports: their lines --------------------------------------------------------------------------


async def test_the_rows_of_a_report_are_read_by_pages_in_the_order_of_the_listing(catalog: Catalog, lab: Lab):
    replay, ids = await ended(lab, "a.md", "b.md", "c.md")
    held = await claimed(lab, replay)

    first = await catalog.report_lines(held, after=0, limit=2)
    rest = await catalog.report_lines(held, after=2, limit=2)

    assert [row.correlation_id for row in (*first, *rest)] == ids
    assert [row.key.rpartition("/")[2] for row in (*first, *rest)] == ["a.md", "b.md", "c.md"]
    assert await catalog.report_lines(held, after=3, limit=2) == []
    assert {(r.outcome, r.work, r.failed_below, r.skipped_below, r.error) for r in first} == {
        ("published", "completed", 0, 0, None)
    }


async def test_a_line_has_the_outcome_of_publishing_and_of_the_work(catalog: Catalog, lab: Lab):
    paths = ("done.md", "failed.md", "refused.md", "skipped.md")
    source = await lab.sealed(*paths)
    replay = await lab.managed(source, REPORT)
    held = await lab.hold(replay.execution_id)
    names = [f"{source}/input/{path}" for path in paths]
    listed = [*(Listed(name, "input") for name in names), Listed(f"{source}/input/~", "input", "is wrong")]
    recorded = await catalog.record(held, listed, cursor=listed[-1].key, last=True)
    assert recorded is not None
    dispatches = recorded.dispatches
    assert await catalog.mark(held, 5, refused=[(dispatches[2], "too large")])
    assert await catalog.close_job(held)
    done, failed, _, skipped = lab.ids(dispatches)
    await lab.work(done)
    await lab.kill(failed)
    await lab.skip(await lab.claim(skipped), "dropped")
    await catalog.end_executions()

    lines = await lines_of(lab, replay)

    assert [(row.outcome, row.work) for row in lines] == [
        ("published", "completed"),
        ("published", "failed"),
        ("failed", "failed"),
        ("published", "skipped"),
        ("failed", "failed"),
    ]
    assert [row.error and row.error.code for row in lines] == [
        *(None, "adapter_error", "publish_refused", None, "invalid_key")
    ]


async def test_a_message_that_was_claimed_and_refused_later_was_published(catalog: Catalog, lab: Lab):
    replay, (dispatch,) = await published(lab, "a.md")
    claim = await lab.claim(lab.ids([dispatch])[0])
    await catalog.finish("w1", [Released(claim.correlation_id, claim.attempt, 0)])
    (again,) = await catalog.due("w1", limit=1)
    await catalog.mark_published([], refused=[(again, "too large")])
    await catalog.end_executions()

    (line,) = await lines_of(lab, replay)

    assert (line.outcome, line.work) == ("published", "failed")
    assert (await lab.replay(replay.replay_batch_id)).objects_published == 1


async def test_objects_that_a_cancelled_replay_did_not_publish_are_cancelled(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md", "b.md", "c.md", "d.md")
    replay = await lab.managed(source, REPORT)
    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, *(f"{source}/input/{name}.md" for name in "abcd"))
    assert await catalog.mark(held, 3, uncertain=[dispatches[2]])
    await lab.work(lab.ids(dispatches)[0])

    await catalog.cancel(replay.execution_id)

    assert [(row.outcome, row.work) for row in await lines_of(lab, replay)] == [
        ("published", "completed"),
        ("published", "cancelled"),
        ("cancelled", "cancelled"),
        ("cancelled", "cancelled"),
    ]


async def test_failures_below_an_object_are_counted(catalog: Catalog, lab: Lab):
    replay, dispatches = await published(lab, "a.md", "b.md")
    first, second = lab.ids(dispatches)
    children = await lab.work(first, lab.output("1.md"), lab.output("2.md"))
    await lab.work(second, lab.output("3.md"))
    one, two = lab.ids(children)
    await lab.kill(one)
    (below,) = await lab.work(two, lab.output("x.md"))
    await lab.skip(await lab.claim(lab.ids([below])[0]), "dropped")
    for identity in await open_messages(lab, replay):
        await lab.kill(identity)
    await catalog.end_executions()

    held = await claimed(lab, replay)
    for limit in (1, 100):
        pages = [page async for page in catalog.failures_below(held, limit=limit)]
        assert sorted(one for page in pages for one in page) == [(1, 0, 1), (1, 1, 0), (2, 1, 0)]


async def open_messages(lab: Lab, replay: Replay) -> list[UUID]:
    found, _ = await lab.catalog.lineage_list(execution=replay.execution_id, status="pending")
    return [one.correlation_id for one in found]


# -- reports: their parts --------------------------------------------------------------------------


async def test_parts_are_shown_once_all_of_them_are_stored(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")
    held = await claimed(lab, replay)
    parts = [part(held, 1), part(held, 2, b"{}\n{}\n")._replace(lines=2)]
    keys = [one.key for one in parts]
    for one in parts:
        assert await catalog.bind_report(held, one)
        assert await catalog.bind_report(held, one), "a repeated request has no effect"
    assert await catalog.unstored(keys) == set(keys)

    counts = [
        ReportCount("published", "completed", None, False, 2),
        ReportCount("failed", "failed", "publish_refused", False, 1),
    ]
    assert await catalog.store_report(held, parts, counts)

    report = await reported(lab, replay)
    assert report.counts == counts
    assert await catalog.unstored(keys) == set()
    assert (report.state, report.lines, report.bytes, report.error) == ("stored", 3, 9, None)
    assert [(p.key, p.lines, p.sha256) for p in report.parts] == [
        (one.key, one.lines, one.sha256.hex()) for one in parts
    ]
    assert (await due(lab), await claim(lab, replay)) == ([], None)
    assert keys[0].startswith(f"{replay.execution_id}/_replay/report/1.1/")


async def test_a_process_that_was_overtaken_stores_nothing(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")
    slow = await claimed(lab, replay, "w1")
    early = part(slow)
    assert await catalog.bind_report(slow, early)
    lab.clock.advance(lab.LEASE)
    fast = await claimed(lab, replay, "w2")

    assert not await catalog.bind_report(slow, part(slow, 2))
    assert not await catalog.store_report(slow, [early])
    assert await catalog.bind_report(fast, part(fast))
    assert await catalog.store_report(fast, [part(fast)])
    assert not await catalog.store_report(slow, [early])

    report = await reported(lab, replay)
    assert [one.key for one in report.parts] == [part(fast).key]
    assert await catalog.unstored([early.key, part(fast).key]) == {early.key}


async def test_an_execution_that_was_resumed_gets_no_report_of_its_earlier_end(catalog: Catalog, lab: Lab):
    replay, dead = await with_dead_letter(lab)
    held = await claimed(lab, replay)
    assert await catalog.bind_report(held, part(held))

    await catalog.resend(ids=[dead])
    assert not await catalog.bind_report(held, part(held, 2))
    assert not await catalog.store_report(held, [part(held)])
    assert (await reported(lab, replay)).revision == 2
    await lab.work(dead)
    await catalog.end_executions()

    again = await claimed(lab, replay)
    assert again.revision == 2
    assert await catalog.bind_report(again, part(again))
    assert await catalog.store_report(again, [part(again)])
    assert (await reported(lab, replay)).revision == 2
    assert await catalog.report(replay.replay_batch_id, 1) is None
    assert await catalog.unstored([part(held).key, part(again).key]) == {part(held).key}


async def test_a_report_that_was_abandoned_before_a_resend_is_superseded(catalog: Catalog, lab: Lab):
    replay, dead = await with_dead_letter(lab)
    held = await claimed(lab, replay)
    assert await catalog.bind_report(held, part(held))
    await catalog.resend(ids=[dead])
    await lab.work(dead)
    await catalog.end_executions()

    again = await claimed(lab, replay, "w2")

    assert again.revision == 2
    assert not await catalog.store_report(held, [part(held)])
    assert await catalog.report(replay.replay_batch_id, 1) is None


async def test_each_end_has_a_report_of_its_own(catalog: Catalog, lab: Lab):
    replay, dead = await with_dead_letter(lab)
    first = await claimed(lab, replay)
    assert await catalog.bind_report(first, part(first))
    assert await catalog.store_report(first, [part(first)])

    await catalog.resend(ids=[dead])
    assert [(await reported(lab, replay)).state, (await reported(lab, replay, 1)).state] == ["due", "stored"]
    await lab.work(dead)
    await catalog.end_executions()
    second = await claimed(lab, replay)
    assert await catalog.store_report(second, [])

    assert (await reported(lab, replay)).lines == 0
    assert (await reported(lab, replay, 1)).lines == 1
    assert await catalog.report(replay.replay_batch_id, 3) is None


async def test_no_report_is_written_into_a_pruned_execution(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")
    held = await claimed(lab, replay)
    assert await catalog.bind_report(held, part(held))
    found, _ = await catalog.prune_candidates(PruneFilter(execution_ids=[replay.execution_id]))
    assert await catalog.begin_prune(found)

    assert not await catalog.bind_report(held, part(held, 2))
    assert not await catalog.store_report(held, [part(held)])
    lab.clock.advance(lab.LEASE)

    assert await claim(lab, replay) is None
    report = await reported(lab, replay)
    assert report.state == "failed"
    assert "were pruned" in str(report.error)


async def test_a_prune_of_another_stage_does_not_concern_the_report(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")
    where = PruneFilter(execution_ids=[replay.execution_id], stages=["pages"])
    found, _ = await catalog.prune_candidates(where)
    assert await catalog.begin_prune(found)

    held = await claimed(lab, replay)
    assert await catalog.bind_report(held, part(held))
    assert await catalog.store_report(held, [part(held)])


# -- webhooks: events ------------------------------------------------------------------------------


async def send_all(catalog: Catalog, *, limit: int = 10) -> list[ClaimedDelivery]:
    return await catalog.claim_deliveries(limit=limit, lease=30, most=MOST)


@pytest.mark.parametrize("event", ["completed", "failed", "cancelled"])
async def test_the_end_of_a_replay_is_an_event(catalog: Catalog, lab: Lab, event: str):
    replay, (dispatch,) = await published(lab, "a.md", managed=WEBHOOK)
    (identity,) = lab.ids([dispatch])
    before = await send_all(catalog)
    if event == "cancelled":
        await catalog.cancel(replay.execution_id)
    else:
        await (lab.work if event == "completed" else lab.kill)(identity)
        await catalog.end_executions()

    (sent,) = await send_all(catalog)

    body = json.loads(sent.body)
    assert [json.loads(one.body)["type"] for one in before] == ["replay.started"]
    assert (sent.url, body["type"]) == (URL, f"replay.{event}")
    assert body["timestamp"].endswith("Z")
    now = json.loads(json.dumps(asdict(await lab.replay(replay.replay_batch_id)), default=str))
    if event != "cancelled":  # its rows are cancelled in later steps
        assert body["data"] == now
    assert body["data"]["replay_batch_id"] == str(replay.replay_batch_id)


async def events_of(lab: Lab, replay: Replay) -> list[tuple[str, int]]:
    found, _ = await lab.catalog.deliveries(replay.replay_batch_id)
    return [(one.event.removeprefix("replay."), one.revision) for one in reversed(found)]


async def test_each_control_of_a_replay_is_an_event_once(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    replay = await lab.managed(source, WEBHOOK)
    batch = replay.replay_batch_id
    for _ in range(2):
        await catalog.pause(batch)
    for _ in range(2):
        await catalog.resume(batch)
    await catalog.admit(per_queue=0)
    for _ in range(2):
        await catalog.cancel_replay(batch)
    await catalog.end_executions()

    assert await events_of(lab, replay) == [
        *[("started", 0), ("paused", 0), ("resumed", 0), ("cancelled", 0), ("completed", 1)]
    ]


async def test_a_replay_that_is_withdrawn_is_cancelled_once(catalog: Catalog, lab: Lab):
    replay, _ = await published(lab, "a.md", managed=WEBHOOK)
    for _ in range(2):
        await catalog.cancel(replay.execution_id)
    assert await events_of(lab, replay) == [("started", 0), ("cancelled", 1)]


async def test_a_refused_plan_is_an_event_and_has_an_empty_report(catalog: Catalog, lab: Lab):
    plan = await ready(lab, page(1, "a", "b"))
    source = await lab.sealed("a.md")
    managed = {"plan_id": plan.plan_id, "webhook": URL, "report": True}
    replay = await lab.managed(source, managed)
    held = await lab.hold(replay.execution_id)
    assert await catalog.refuse_plan(held, PlanDifference(1, 0))
    await catalog.end_executions()

    assert await events_of(lab, replay) == [("started", 0), ("refused", 1)]
    assert await lines_of(lab, replay) == []


async def test_a_replay_without_a_webhook_has_no_events(catalog: Catalog, lab: Lab):
    replay, _ = await ended(lab, "a.md")

    assert await send_all(catalog) == []
    assert await catalog.deliveries(replay.replay_batch_id) == ([], None)


async def test_each_end_is_an_event_of_its_own(catalog: Catalog, lab: Lab):
    replay, dead = await with_dead_letter(lab, managed=WEBHOOK)
    await catalog.resend(ids=[dead])
    await lab.work(dead)
    await catalog.end_executions()
    await catalog.end_executions()

    found, _ = await catalog.deliveries(replay.replay_batch_id)

    ends = [(one.event, one.revision) for one in found if one.revision]
    assert ends == [("replay.completed", 2), ("replay.failed", 1)]
    assert len({one.delivery_id for one in found}) == len(found)


# -- webhooks: deliveries --------------------------------------------------------------------------


async def one_event(lab: Lab) -> Replay:
    """Return a replay whose end is its only event that is not sent."""
    replay, (dispatch,) = await published(lab, "a.md", managed=WEBHOOK)
    for one in await send_all(lab.catalog):
        await lab.catalog.delivered(one, status=200, error=None, retry=None)
    await lab.work(lab.ids([dispatch])[0])
    await lab.catalog.end_executions()
    return replay


async def test_a_claimed_delivery_is_claimed_again_when_its_process_has_died(catalog: Catalog, lab: Lab):
    await one_event(lab)
    (first,) = await send_all(catalog)

    assert await send_all(catalog) == []
    lab.clock.advance(30)
    (again,) = await send_all(catalog)

    assert (first.attempt, again.attempt) == (1, 2)
    assert (first.delivery, first.body) == (again.delivery, again.body)
    assert created_at(first.delivery) > 0


async def test_a_delivery_that_was_accepted_is_not_sent_again(catalog: Catalog, lab: Lab):
    replay = await one_event(lab)
    (claimed_one,) = await send_all(catalog)

    await catalog.delivered(claimed_one, status=204, error=None, retry=None)
    lab.clock.advance(1000)

    assert await send_all(catalog) == []
    (shown, *_), _ = await catalog.deliveries(replay.replay_batch_id)
    assert (shown.state, shown.attempts, shown.last_status, shown.last_error) == ("sent", 1, 204, None)
    assert shown.next_at is None
    assert shown.sent_at is not None


async def test_a_failed_attempt_is_repeated_after_its_delay_and_the_last_one_is_not(
    catalog: Catalog, lab: Lab
):
    replay = await one_event(lab)
    (first,) = await send_all(catalog)

    await catalog.delivered(first, status=500, error="the receiver answered 500", retry=60)
    lab.clock.advance(59)
    assert await send_all(catalog) == []
    lab.clock.advance(1)
    (second,) = await send_all(catalog)
    await catalog.delivered(second, status=None, error="no connection", retry=None)
    lab.clock.advance(1000)

    assert await send_all(catalog) == []
    (shown, *_), _ = await catalog.deliveries(replay.replay_batch_id)
    assert (shown.state, shown.attempts, shown.last_status, shown.last_error) == (
        *("failed", 2, None, "no connection"),
    )


async def test_an_outdated_failure_has_no_effect_and_an_outdated_success_has(catalog: Catalog, lab: Lab):
    replay = await one_event(lab)
    (slow,) = await send_all(catalog)
    lab.clock.advance(30)
    (fast,) = await send_all(catalog)

    await catalog.delivered(slow, status=500, error="late", retry=None)
    (shown, *_), _ = await catalog.deliveries(replay.replay_batch_id)
    assert (shown.state, shown.last_error) == ("due", None)
    await catalog.delivered(slow, status=200, error=None, retry=None)
    await catalog.delivered(fast, status=500, error="late", retry=5)

    (shown, *_), _ = await catalog.deliveries(replay.replay_batch_id)
    assert shown.state == "sent"


async def test_a_delivery_at_which_processes_die_is_given_up(catalog: Catalog, lab: Lab):
    replay = await one_event(lab)
    for attempt in range(1, MOST + 1):
        (one,) = await send_all(catalog)
        assert one.attempt == attempt
        lab.clock.advance(30)

    assert await send_all(catalog) == []
    (shown, *_), _ = await catalog.deliveries(replay.replay_batch_id)
    assert (shown.state, shown.attempts) == ("failed", MOST)
    assert "ended before they had an answer" in str(shown.last_error)


async def test_two_processes_never_claim_the_same_delivery(catalog_factory, clock):
    from tests.lab import Lab

    catalogs = [await catalog_factory() for _ in range(2)]
    labs = [Lab(one, clock) for one in catalogs]
    for _ in range(5):
        await ended(labs[0], "a.md", managed=WEBHOOK)

    found = await asyncio.gather(*(send_all(one, limit=100) for one in catalogs))

    ids = [one.delivery for some in found for one in some]
    assert len(ids) == len(set(ids)) >= 5


async def test_a_delivery_can_be_sent_again_under_the_same_id(catalog: Catalog, lab: Lab):
    replay = await one_event(lab)
    (first,) = await send_all(catalog)
    await catalog.delivered(first, status=410, error="the receiver answered 410", retry=None)

    shown = await catalog.send_again(replay.replay_batch_id, first.delivery)
    (again,) = await send_all(catalog)

    assert shown is not None
    assert (shown.state, shown.attempts) == ("due", 0)
    assert (again.delivery, again.attempt) == (first.delivery, 1)
    assert await catalog.send_again(replay.replay_batch_id, lab.unknown()) is None
    assert await catalog.send_again(lab.unknown(), first.delivery) is None


async def test_deliveries_are_listed_by_pages_newest_first(catalog: Catalog, lab: Lab):
    replay, dead = await with_dead_letter(lab, managed=WEBHOOK)
    for _ in range(2):
        await catalog.resend(ids=[dead])
        await lab.kill(dead)
        await catalog.end_executions()

    pages = await lab.pages(lambda before: catalog.deliveries(replay.replay_batch_id, before=before, limit=2))

    found = [one.revision for page in pages for one in page]
    assert found[:3] == [3, 2, 1]
    assert len(pages[0]) == 2


async def test_retries_planned_before_the_clock_was_set_back_are_due(catalog: Catalog, lab: Lab):
    await one_event(lab)
    (first,) = await send_all(catalog)
    await catalog.delivered(first, status=500, error="busy", retry=3600)

    lab.clock.advance(-30 * 86_400)
    await catalog.maintain()

    assert len(await send_all(catalog)) == 1
