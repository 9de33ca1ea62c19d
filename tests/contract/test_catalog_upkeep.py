"""How every catalog keeps the promise that open rows are called: the sentences of `ports.catalog.upkeep`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pytest

from playhead.errors import Conflict
from playhead.ids import moment
from playhead.model import Config, PruneFilter
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.jobs import Listed
from playhead.ports.catalog.upkeep import Process, Subscription
from playhead.ports.catalog.work import Claim

if TYPE_CHECKING:
    from playhead.ports.diagnosis import Diagnosed
    from tests.contract.backends import Factory
    from tests.lab import Lab


def outlet(lab: Lab) -> Config:
    """convert feeds a route that others consume."""
    return lab.config(
        "outlet",
        lab.route("convert", queue="outlet.convert", stage="pages", to=("out",)),
        lab.route("out", queue="outlet.out", external=True),
    )


# -- processes -------------------------------------------------------------------------------------


async def test_a_process_with_heartbeats_is_alive(catalog: Catalog, lab: Lab):
    started = lab.clock.now
    await catalog.heartbeat(Process("w9", "serve", "here", 42), ["a", "b"])
    lab.clock.advance(3)
    await catalog.heartbeat(Process("w9", "serve", "here", 42), ["b", "c"])

    (worker,) = [w for w in await catalog.workers() if w.worker_id == "w9"]

    assert (worker.kind, worker.host, worker.pid, worker.queues) == ("serve", "here", 42, ["b", "c"])
    assert (worker.started_at, worker.heartbeat_at) == (moment(started), moment(lab.clock.now))


async def test_processes_are_listed_oldest_first(catalog: Catalog, lab: Lab):
    for name in ("z", "m", "a"):
        lab.clock.advance(1)
        await lab.beat(name)
    await lab.beat("z")

    names = [worker.worker_id for worker in await catalog.workers()]

    assert names[-3:] == ["z", "m", "a"]


async def test_a_process_is_dead_after_five_missed_beats(catalog: Catalog, lab: Lab):
    lab.clock.advance(lab.DEAD_AFTER - 1)
    await lab.beat("w2")
    assert {w.worker_id for w in await catalog.workers()} == {"w1", "w2"}

    lab.clock.advance(2)
    assert {w.worker_id for w in await catalog.workers()} == {"w2"}


async def test_a_suspended_process_is_alive_again_after_its_next_heartbeat(catalog: Catalog, lab: Lab):
    await lab.die("w1")
    assert {w.worker_id for w in await catalog.workers()} == {"w2"}

    await lab.beat("w1")

    assert {w.worker_id for w in await catalog.workers()} == {"w1", "w2"}


async def test_a_departed_process_is_removed_at_once(catalog: Catalog, lab: Lab):
    await catalog.depart("w1")
    await catalog.depart("w1")

    assert {w.worker_id for w in await catalog.workers()} == {"w2"}


# -- what processes have counted --------------------------------------------------------------------

CONVERT = ("docs", "convert")


def process(name: str) -> Process:
    return Process(name, "worker", "host", 1)


async def test_the_counters_of_processes_are_added_up(catalog: Catalog, lab: Lab):
    assert await catalog.counters() == {}
    await catalog.heartbeat(process("w1"), (), {CONVERT: {"completed": [2], "age_seconds": [0.5, 1, 0]}})
    await catalog.heartbeat(process("w1"), (), {CONVERT: {"completed": [3], "age_seconds": [0.75, 2, 0]}})
    await catalog.heartbeat(
        process("w2"), (), {CONVERT: {"completed": [4]}, ("docs", "split"): {"dead": [1]}}
    )

    assert await catalog.counters() == {
        CONVERT: {"completed": [7], "age_seconds": [0.75, 2, 0]},
        ("docs", "split"): {"dead": [1]},
    }


async def test_the_counters_of_a_departed_process_are_kept_once(catalog: Catalog, lab: Lab):
    await catalog.heartbeat(process("w1"), (), {CONVERT: {"completed": [3]}})
    await catalog.heartbeat(process("w2"), (), {CONVERT: {"completed": [4]}})

    await catalog.depart("w1", {CONVERT: {"completed": [5]}})
    await catalog.depart("w1", {CONVERT: {"completed": [5]}})
    assert await catalog.counters() == {CONVERT: {"completed": [9]}}

    await catalog.depart("w2")
    assert await catalog.counters() == {CONVERT: {"completed": [9]}}


async def test_the_counters_of_a_dead_process_are_kept_when_its_row_is_removed(catalog: Catalog, lab: Lab):
    await catalog.heartbeat(process("w1"), (), {CONVERT: {"completed": [3]}})
    lab.clock.advance(1_000_000)
    assert await catalog.counters() == {CONVERT: {"completed": [3]}}

    await catalog.maintain()
    await catalog.maintain()

    assert await catalog.counters() == {CONVERT: {"completed": [3]}}


async def test_a_process_whose_row_was_removed_is_informed_and_not_counted_twice(catalog: Catalog, lab: Lab):
    assert not await catalog.heartbeat(process("w9"))
    assert await catalog.heartbeat(process("w9"), (), {CONVERT: {"completed": [3]}})
    lab.clock.advance(1_000_000)
    await catalog.maintain()

    assert not await catalog.heartbeat(process("w9"), (), {CONVERT: {"completed": [4]}})
    assert await catalog.counters() == {CONVERT: {"completed": [3]}}

    assert await catalog.heartbeat(process("w9"), (), {CONVERT: {"completed": [1]}})
    assert await catalog.counters() == {CONVERT: {"completed": [4]}}


async def test_housekeeping_keeps_live_processes(catalog: Catalog, lab: Lab):
    await lab.beat("old")
    lab.clock.advance(1_000_000)
    await lab.beat("w1")

    await catalog.maintain()

    assert {w.worker_id for w in await catalog.workers()} == {"w1"}


async def test_a_lease_has_one_owner_at_a_time(catalog: Catalog, lab: Lab):
    assert await catalog.lease("reconciler", "w1", seconds=10)
    assert not await catalog.lease("reconciler", "w2", seconds=10)
    assert await catalog.lease("other", "w2", seconds=10)

    lab.clock.advance(9)
    assert await catalog.lease("reconciler", "w1", seconds=10)
    lab.clock.advance(9)
    assert not await catalog.lease("reconciler", "w2", seconds=10)
    lab.clock.advance(2)
    assert await catalog.lease("reconciler", "w2", seconds=10)
    assert not await catalog.lease("reconciler", "w1", seconds=10)


async def test_the_lease_of_a_departed_process_is_free_at_once(catalog: Catalog, lab: Lab):
    await catalog.lease("reconciler", "w1", seconds=1000)

    await catalog.depart("w1")

    assert await catalog.lease("reconciler", "w2", seconds=10)


# -- subscriptions ---------------------------------------------------------------------------------


async def test_workers_consume_the_queues_of_active_configs(catalog: Catalog, lab: Lab):
    await lab.save(lab.DOCS)
    await lab.save(lab.config("other", lab.route("only", queue="other.only")))

    assert set(await catalog.subscriptions()) == {
        Subscription("docs.convert", "docs", 1, "convert"),
        Subscription("docs.split", "docs", 1, "split"),
        Subscription("docs.index", "docs", 1, "index"),
        Subscription("other.only", "other", 1, "only"),
    }


async def test_workers_never_consume_an_external_queue(catalog: Catalog, lab: Lab):
    await lab.started("a.md", config=outlet(lab))

    assert [s.queue for s in await catalog.subscriptions()] == ["outlet.convert"]


async def test_queues_of_older_versions_are_consumed_while_a_running_execution_holds_them(
    catalog: Catalog, lab: Lab
):
    old = lab.config("docs", lab.route("convert"), lab.route("gone", queue="docs.gone"))
    new = lab.config("docs", lab.route("convert"), lab.route("fresh", queue="docs.fresh"))
    run = await lab.started("a.md", config=old)
    await lab.save(new)

    found = await catalog.subscriptions()

    assert set(found) == {
        Subscription("docs.convert", "docs", 2, "convert"),
        Subscription("docs.gone", "docs", 1, "gone"),
        Subscription("docs.fresh", "docs", 2, "fresh"),
    }
    await lab.work(run.ids[0])
    await catalog.end_executions([run.execution])
    assert {s.queue for s in await catalog.subscriptions()} == {"docs.convert", "docs.fresh"}


async def test_queues_of_older_versions_are_consumed_again_after_a_resend(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", config=lab.config("docs", lab.route("convert", queue="docs.old")))
    await lab.save(lab.config("docs", lab.route("convert", queue="docs.new")))
    await lab.kill(run.ids[0])
    await catalog.end_executions([run.execution])
    assert {s.queue for s in await catalog.subscriptions()} == {"docs.new"}

    await catalog.resend(ids=run.ids)

    assert {s.queue for s in await catalog.subscriptions()} == {"docs.old", "docs.new"}


async def test_queues_of_a_deactivated_config_are_drained_and_then_not_consumed(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await catalog.set_active("docs", False)
    assert {s.queue for s in await catalog.subscriptions()} == {"docs.convert", "docs.split", "docs.index"}

    await lab.work(run.ids[0])
    await catalog.end_executions([run.execution])

    assert await catalog.subscriptions() == []


# -- (a) orphans -----------------------------------------------------------------------------------


async def test_children_whose_publisher_is_dead_are_orphans(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    children = await lab.work(run.ids[0], lab.output("1.md"), lab.output("2.md"), worker="w1")
    assert await catalog.orphans("w2", limit=10) == []

    await lab.die("w1")
    found = await catalog.orphans("w2", limit=10)

    assert [c.message_id for c in found] == [c.message_id for c in children]
    assert [c.object_key for c in found] == [c.object_key for c in children]
    assert [c.parent for c in found] == [str(run.ids[0])] * 2
    assert {c.headers.queue for c in found} == {"docs.split"}


async def test_orphans_belong_to_the_process_that_requested_them_while_it_lives(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.work(run.ids[0], lab.output("1.md"), worker="gone")
    assert len(await catalog.orphans("w1", limit=10)) == 1

    assert await catalog.orphans("w2", limit=10) == []
    await catalog.depart("w1")
    assert len(await catalog.orphans("w2", limit=10)) == 1


async def test_orphans_are_returned_oldest_first_up_to_a_limit(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    children = await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(5)), worker="gone")

    first = await catalog.orphans("w1", limit=3)
    rest = await catalog.orphans("w1", limit=3)

    assert [c.message_id for c in [*first, *rest]] == [c.message_id for c in children]


async def test_orphans_of_an_excluded_queue_do_not_change(catalog: Catalog, lab: Lab):
    older = await lab.started("a.md")
    children = await lab.work(older.ids[0], lab.output("1.md"), lab.output("2.md"), worker="gone")
    newer = await lab.started("b.md", config=lab.config("docs", lab.route("convert"), lab.route("split")))
    await lab.kill(newer.ids[0])
    await catalog.resend(ids=newer.ids)

    (dispatch,) = await catalog.orphans("w1", limit=1, without=["docs.split"])

    assert dispatch.message_id == f"{newer.ids[0]}.1"
    assert await catalog.orphans("w1", limit=10, without=["docs.index", "docs.split", "docs.convert"]) == []
    await catalog.mark_published([dispatch])
    assert await catalog.orphans("w1", limit=10, without=["docs.split"]) == []
    found = await catalog.orphans("w2", limit=10, without=["docs.convert", "no.such"])
    assert [c.message_id for c in found] == [c.message_id for c in children]


async def test_a_queue_is_excluded_for_all_versions_of_a_config(catalog: Catalog, lab: Lab):
    versions = [lab.config("docs", lab.route("convert"), lab.route(f"more{n}")) for n in range(3)]
    runs = [await lab.started("a.md", config=config) for config in versions]
    for run in runs:
        await lab.kill(run.ids[0])
        await catalog.resend(ids=run.ids)

    assert await catalog.orphans("w1", limit=10, without=["docs.convert"]) == []
    assert len(await catalog.orphans("w1", limit=10, without=["docs.more1"])) == 3


async def test_published_children_are_not_orphans(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    children = await lab.work(run.ids[0], lab.output("1.md"), worker="gone")

    await catalog.mark_published(children)

    assert await catalog.orphans("w1", limit=10) == []


async def test_rows_that_their_job_will_publish_are_not_orphans(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    await lab.list_all(await lab.hold(job, "gone"), f"{job}/input/a.md")

    assert await catalog.orphans("w1", limit=10) == []
    lab.clock.advance(lab.LEASE + 1)
    assert await catalog.abandoned_jobs() == [job]


# -- (b) due ---------------------------------------------------------------------------------------


async def test_retries_are_dispatched_when_they_are_due(catalog: Catalog, lab: Lab):
    run = await lab.started("soon.md", "later.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=10)
    await lab.fail(await lab.claim(run.ids[1]), delay=20)
    lab.clock.advance(11)

    (dispatch,) = await catalog.due("w1", limit=10)

    assert (dispatch.message_id, dispatch.object_key) == (f"{run.ids[0]}.1", f"{run.execution}/input/soon.md")
    await catalog.mark_published([dispatch])
    assert await catalog.due("w1", limit=10) == []
    assert await lab.state(run.ids[0]) == "retry"


async def test_due_retries_are_returned_up_to_a_limit(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    for identity in run.ids:
        await lab.fail(await lab.claim(identity), delay=0)

    first = await catalog.due("w1", limit=2)
    await catalog.mark_published(first)
    rest = await catalog.due("w1", limit=2)

    assert len(first) == 2
    assert {UUID(c.correlation_id) for c in [*first, *rest]} == set(run.ids)


async def test_due_retries_of_an_excluded_queue_do_not_change(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    (child,) = await lab.work(run.ids[0], lab.output("1.md"))
    await catalog.mark_published([child])
    await lab.fail(await lab.claim(run.ids[1]), delay=0)
    lab.clock.advance(1)
    await lab.fail(await lab.claim(lab.ids([child])[0]), delay=0)

    (dispatch,) = await catalog.due("w1", limit=1, without=["docs.convert"])

    assert dispatch.message_id == f"{child.correlation_id}.1"
    assert await catalog.due("w1", limit=10, without=["docs.convert", "docs.split"]) == []
    (other,) = await catalog.due("w1", limit=10, without=["docs.split"])
    assert other.message_id == f"{run.ids[1]}.1"
    assert len(await catalog.due("w1", limit=10)) == 2


# -- (c) abandoned ---------------------------------------------------------------------------------


async def test_rows_of_a_dead_worker_are_due_again_with_a_new_generation(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.claim(run.ids[0], "w1")
    await lab.claim(run.ids[1], "w2")
    assert await catalog.recall_abandoned(limit=10) == 0

    await lab.die("w1")
    assert await catalog.recall_abandoned(limit=10) == 1

    assert [await lab.state(i) for i in run.ids] == ["retry", "running"]
    (dispatch,) = await catalog.due("w2", limit=10)
    assert dispatch.message_id == f"{run.ids[0]}.1"
    claim = await lab.claim(run.ids[0], "w2")
    assert (claim.attempt, claim.spent) == (2, 2)


async def test_abandoned_rows_are_released_up_to_a_limit(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    for identity in run.ids:
        await lab.claim(identity, "w1")
    await catalog.depart("w1")

    assert [await catalog.recall_abandoned(limit=2) for _ in range(3)] == [2, 1, 0]


async def test_an_abandoned_row_of_a_cancelled_execution_is_cancelled(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")
    await catalog.cancel(run.execution)
    await catalog.depart("w1")

    assert await catalog.recall_abandoned(limit=10) == 1

    assert await lab.state(run.ids[0]) == "cancelled"
    assert (await lab.counts(run.execution)).pending == 0


# -- (d) unheard -----------------------------------------------------------------------------------


async def test_a_queue_is_waiting_while_a_published_row_is_not_claimed(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    held = await lab.hold(job)
    dispatches = await lab.list_all(held, *(f"{job}/input/{path}" for path in ("a.md", "b.md")))
    assert await catalog.waiting_queues() == []

    await catalog.mark(held, dispatches[0].ordinal or 0)
    assert await catalog.waiting_queues() == ["docs.convert"]

    await lab.claim(lab.ids(dispatches)[0])
    assert await catalog.waiting_queues() == []


async def test_doctor_shows_the_size_of_the_catalog_and_its_growth(catalog: Catalog, lab: Lab):
    examined = cast("Diagnosed", catalog)

    async def size() -> str:
        return next(one.detail for one in await examined.diagnose() if one.what == "size")

    assert re.fullmatch(r"\d+\.\d MB", await size())
    await lab.started("a.md")
    lab.clock.advance(2 * 86_400)
    assert re.fullmatch(r"\d+\.\d MB; \d+\.\d MB a day since 2027-01-15, on average", await size())


async def test_running_executions_are_listed_in_turn(catalog: Catalog, lab: Lab):
    first, ended, last = [await lab.started("a.md") for _ in range(3)]
    await lab.work(ended.ids[0])
    await catalog.end_executions([ended.execution])

    some, after = await catalog.some_running(after=0, limit=1)
    rest, again = await catalog.some_running(after=after, limit=10)

    assert (some, rest, again) == ([first.execution], [last.execution], 0)
    assert await catalog.waiting_queues([first.execution]) == ["docs.convert"]
    assert await catalog.waiting_queues([ended.execution]) == []
    assert await catalog.waiting_queues([]) == []


async def test_the_waiting_queues_of_all_routes_and_executions_are_found(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await catalog.mark_published(await lab.work(run.ids[0], lab.output("1.md")))
    other = await lab.started("a.md", "b.md", config=outlet(lab))
    await lab.claim(other.ids[0])
    await lab.fail(await lab.claim(other.ids[1]), delay=0)
    await catalog.mark_published(await catalog.due("w1", limit=10))

    assert set(await catalog.waiting_queues()) == {"docs.convert", "docs.split", "outlet.convert"}


async def test_a_published_retry_is_waited_for(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=0)
    assert await catalog.waiting_queues() == []

    await catalog.mark_published(await catalog.due("w1", limit=10))

    assert await catalog.waiting_queues() == ["docs.convert"]
    (dispatch,) = await catalog.redeliver_lost("w1", "docs.convert", limit=10)
    assert dispatch.generation == 2


async def test_an_uncertain_row_is_settled_only_by_its_job(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    dispatches = await lab.list_all(held, f"{job}/input/a.md")
    await catalog.mark(held, dispatches[0].ordinal or 0, uncertain=dispatches)

    assert await catalog.waiting_queues() == []
    assert await catalog.redeliver_lost("w1", "docs.convert", limit=10) == []


async def test_messages_in_an_external_queue_never_count_as_waiting_or_lost(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", config=outlet(lab))
    await catalog.mark_published(await lab.work(run.ids[0], lab.output("1.md")))

    assert await catalog.waiting_queues() == []
    assert await catalog.redeliver_lost("w1", "outlet.out", limit=10) == []


async def test_lost_dispatches_get_a_new_generation_and_the_requesting_publisher(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.claim(run.ids[1])

    (dispatch,) = await catalog.redeliver_lost("w1", "docs.convert", limit=10)

    assert (dispatch.message_id, dispatch.headers.queue) == (f"{run.ids[0]}.1", "docs.convert")
    assert await catalog.waiting_queues() == []
    assert await catalog.redeliver_lost("w1", "docs.convert", limit=10) == []
    assert await catalog.orphans("w2", limit=10) == []
    await catalog.depart("w1")
    assert [c.message_id for c in await catalog.orphans("w2", limit=10)] == [dispatch.message_id]
    await catalog.mark_published([dispatch])
    assert await catalog.waiting_queues() == ["docs.convert"]


async def test_lost_dispatches_of_another_queue_do_not_change(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await catalog.mark_published(await lab.work(run.ids[0], lab.output("1.md")))

    assert await catalog.redeliver_lost("w1", "docs.convert", limit=10) == []
    assert len(await catalog.redeliver_lost("w1", "docs.split", limit=10)) == 1


async def test_lost_dispatches_are_returned_up_to_a_limit(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")

    first = await catalog.redeliver_lost("w1", "docs.convert", limit=2)
    rest = await catalog.redeliver_lost("w1", "docs.convert", limit=2)

    assert len(first) == 2
    assert {UUID(c.correlation_id) for c in [*first, *rest]} == set(run.ids)


async def test_a_dispatch_of_the_lost_generation_is_still_valid_when_it_arrives(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await catalog.redeliver_lost("w1", "docs.convert", limit=10)

    assert (await lab.claim(run.ids[0])).attempt == 1
    assert await catalog.orphans("w1", limit=10) == []


# -- executions and jobs ---------------------------------------------------------------------------


async def test_open_executions_are_the_running_ones_oldest_first(catalog: Catalog, lab: Lab):
    first, uploading, done, last = (
        (await lab.started("a.md")).execution,
        await lab.opened(),
        await lab.started("b.md"),
        (await lab.started("c.md")).execution,
    )
    await lab.work(done.ids[0])
    await catalog.end_executions([done.execution])
    await catalog.adopt(lab.unknown())
    await catalog.cancel((await lab.started("d.md")).execution)

    assert await catalog.open_executions() == [first, uploading, last]


async def test_rows_that_a_worker_runs_are_no_stragglers(catalog: Catalog, lab: Lab):
    cancelled, other = await lab.started("a.md", "b.md"), await lab.started("c.md")
    await lab.claim(cancelled.ids[0], "w1")
    await lab.claim(cancelled.ids[1], "w2")
    await lab.claim(other.ids[0], "w1")
    await catalog.cancel(cancelled.execution)
    assert await catalog.cancel_stragglers() == 0

    await catalog.depart("w1")

    assert await catalog.recall_abandoned(limit=10) == 2
    assert await catalog.cancel_stragglers() == 0
    states = [await lab.state(i) for i in (*cancelled.ids, *other.ids)]
    assert states == ["cancelled", "running", "retry"]


async def test_a_run_whose_owner_died_before_the_seal_fails(catalog: Catalog, lab: Lab):
    run = await lab.opened(owner="w1")
    await catalog.bind_inputs(run, [lab.input("a.md")])
    await lab.die("w1")

    assert await catalog.fail_unsealed() == [run]

    failed = await lab.execution(run)
    assert failed.status == "failed"
    assert failed.ended_at is not None
    assert failed.error is not None
    assert failed.error.code == "upload_incomplete"
    assert failed.counts.total == 0
    assert await catalog.unstored([f"{run}/input/a.md"])
    assert await catalog.fail_unsealed() == []
    assert await catalog.acquire(run, owner="w2", lease=lab.LEASE) is None


async def test_a_run_whose_owner_is_alive_may_upload_for_any_time(catalog: Catalog, lab: Lab):
    run = await lab.opened(owner="w1")
    for _ in range(5):
        lab.clock.advance(lab.DEAD_AFTER - 1)
        await lab.beat("w1", "w2")

    assert await catalog.fail_unsealed() == []
    assert await catalog.seal(run)


async def test_an_upload_may_continue_for_its_lease_after_the_last_heartbeat_of_its_owner(
    catalog: Catalog, lab: Lab
):
    lost, sealed = lab.unknown(), lab.unknown()
    version = await lab.save()
    for run, owner in ((lost, "w1"), (sealed, "v1")):
        await catalog.open_run(run, "docs", version, tags=(), owner=owner, lease=lab.DEAD_AFTER + 20)
    for _ in range(3):  # longer than the lease that both were opened with
        await lab.beat("w1", "v1", "w2")
        lab.clock.advance(lab.DEAD_AFTER - 1)
    await lab.beat("w1", "v1")

    lab.clock.advance(lab.DEAD_AFTER + 19)
    await lab.beat("w2")
    assert await catalog.fail_unsealed() == []
    assert await catalog.seal(sealed)

    lab.clock.advance(2)
    assert await catalog.fail_unsealed() == [lost]


async def test_an_upload_of_a_departed_process_fails_at_once(catalog: Catalog, lab: Lab):
    run = lab.unknown()
    await catalog.open_run(run, "docs", await lab.save(), tags=(), owner="w1", lease=1000.0)

    await catalog.depart("w1")

    assert await catalog.fail_unsealed() == [run]


async def test_a_sealed_run_continues_without_its_owner(catalog: Catalog, lab: Lab):
    run = await lab.sealed("a.md")
    await lab.die("w1")

    assert await catalog.fail_unsealed() == []
    assert await catalog.abandoned_jobs() == [run]


async def test_abandoned_jobs_are_the_free_ones_oldest_first(catalog: Catalog, lab: Lab):
    source = await lab.started("a.md")
    first = (await lab.replayed(source.execution)).execution_id
    held = (await lab.replayed(source.execution)).execution_id
    last = (await lab.replayed(source.execution)).execution_id
    await lab.hold(held)
    await lab.opened()

    assert await catalog.abandoned_jobs() == [first, last]

    lab.clock.advance(lab.LEASE + 1)
    assert await catalog.abandoned_jobs() == [first, held, last]


# -- resend ----------------------------------------------------------------------------------------


async def test_a_resent_dead_letter_is_pending_again_in_a_running_execution(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    for _ in range(2):
        await lab.fail(await lab.claim(run.ids[0]), delay=0)
    await lab.kill(run.ids[0])
    await catalog.end_executions([run.execution])

    assert await catalog.resend(ids=run.ids) == run.ids

    row = await lab.row(run.ids[0])
    assert (row.status, row.attempts, row.error, row.ended_at) == ("pending", 3, None, None)
    execution = await lab.execution(run.execution)
    assert (execution.status, execution.ended_at) == ("running", None)
    assert await catalog.dead_letter(run.ids[0]) is None
    (dispatch,) = await catalog.orphans("w1", limit=10)
    assert dispatch.message_id == f"{run.ids[0]}.3"
    claim = await lab.claim(run.ids[0])
    assert (claim.attempt, claim.spent) == (4, 1)


async def test_a_resend_changes_neither_the_end_nor_the_retention_of_an_execution(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.kill(run.ids[0])
    await catalog.end_executions([run.execution])
    first = await lab.execution(run.execution)
    lab.clock.advance(50)
    for _ in range(2):
        await catalog.resend(ids=run.ids)
        assert (await lab.execution(run.execution)).ended_at is None
        await lab.kill(run.ids[0])
        lab.clock.advance(1)
        await catalog.end_executions([run.execution])

    last = await lab.execution(run.execution)

    assert first.ended_at
    assert (last.status, last.ended_at) == ("failed", first.ended_at)
    assert (first.revision, last.revision) == (1, 3)
    assert last.replayable_until == first.replayable_until
    candidates, _ = await catalog.prune_candidates(PruneFilter(older_than_seconds=51), limit=10)
    assert [one.execution for one in candidates] == [run.execution], "it ended 52 seconds ago"


async def test_a_row_that_is_not_dead_is_not_sent_again(catalog: Catalog, lab: Lab):
    run = await lab.started("pending.md", "retry.md", "running.md", "done.md")
    await lab.fail(await lab.claim(run.ids[1]), delay=10)
    await lab.claim(run.ids[2])
    await lab.work(run.ids[3])

    assert await catalog.resend(ids=run.ids) == []

    assert [await lab.state(i) for i in run.ids] == ["pending", "retry", "running", "completed"]
    assert await catalog.orphans("w1", limit=10) == []


async def test_a_resend_without_dead_letters_does_not_reopen_the_execution(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.work(run.ids[0])
    await catalog.end_executions([run.execution])

    assert await catalog.resend(ids=run.ids) == []
    assert await catalog.resend(where=DeadLetterFilter(execution=run.execution)) == []

    assert (await lab.execution(run.execution)).status == "completed"


async def test_a_second_resend_an_unknown_id_and_no_selection_send_nothing(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.kill(run.ids[0])

    assert await catalog.resend(ids=[]) == []
    assert await catalog.resend(ids=[lab.unknown(), *run.ids, *run.ids]) == run.ids
    assert await catalog.resend(ids=run.ids) == []
    assert len(await catalog.orphans("w1", limit=10)) == 1


async def test_all_dead_letters_of_an_execution_or_a_route_can_be_sent_again(catalog: Catalog, lab: Lab):
    one, two = await lab.started("a.md", "b.md"), await lab.started("c.md")
    (child,) = lab.ids(await lab.work(one.ids[0], lab.output("a.md")))
    for identity in (one.ids[1], two.ids[0], child):
        await lab.kill(identity)

    config = (await lab.execution(one.execution)).config
    assert await catalog.resend(where=DeadLetterFilter(route="other/split")) == []
    assert (
        await catalog.resend(where=DeadLetterFilter(route=f"{config}/convert", execution=lab.unknown())) == []
    )
    assert await catalog.resend(where=DeadLetterFilter(route=f"{config}/split")) == [child]
    await lab.kill(child)
    assert await catalog.resend(where=DeadLetterFilter(route="split")) == [child]
    assert (
        await catalog.resend(where=DeadLetterFilter(execution=one.execution, route=f"{config}/split")) == []
    )
    assert await catalog.resend(where=DeadLetterFilter(execution=one.execution)) == [one.ids[1]]
    assert await catalog.resend(where=DeadLetterFilter(execution=lab.unknown())) == []
    assert await lab.state(two.ids[0]) == "dead"


async def test_a_dead_letter_of_a_cancelled_execution_cannot_be_resent(catalog: Catalog, lab: Lab):
    cancelled, fine = await lab.started("a.md"), await lab.started("b.md")
    await lab.kill(cancelled.ids[0])
    await lab.kill(fine.ids[0])
    await catalog.cancel(cancelled.execution)

    for asked in ([*fine.ids, *cancelled.ids], cancelled.ids):
        with pytest.raises(Conflict) as caught:
            await catalog.resend(ids=asked)
        assert caught.value.code == "execution_ended"
    with pytest.raises(Conflict):
        await catalog.resend(where=DeadLetterFilter(execution=cancelled.execution))

    assert [await lab.state(i) for i in (*cancelled.ids, *fine.ids)] == ["dead", "dead"]
    assert (await lab.execution(cancelled.execution)).status == "cancelled"


async def test_a_dead_letter_with_an_invalid_key_cannot_be_resent(catalog: Catalog, lab: Lab):
    source = (await catalog.adopt(lab.unknown())).execution_id
    replay = await lab.replayed(source, "scans")
    held = await lab.hold(replay.execution_id)
    good, bad_key = f"{source}/scans/a", f"{source}/scans/b\\"
    objects = [Listed(good, "scans"), Listed(bad_key, "scans", "holds a backslash")]
    dispatches = await lab.record(held, objects, cursor=bad_key, last=True)
    assert dispatches is not None
    await lab.publish_all(held, dispatches)
    await lab.kill(lab.ids(dispatches)[0])
    letters, _ = await catalog.dead_letters(DeadLetterFilter(execution=replay.execution_id))
    (bad,) = [letter.correlation_id for letter in letters if letter.error_code == "invalid_key"]

    with pytest.raises(Conflict):
        await catalog.resend(ids=[bad])

    assert await catalog.resend(where=DeadLetterFilter(execution=replay.execution_id)) == lab.ids(dispatches)
    assert await lab.state(bad) == "dead"


async def test_a_refused_row_can_be_resent_to_an_external_queue(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", config=outlet(lab))
    (child,) = await lab.work(run.ids[0], lab.output("1.md"))
    await catalog.mark_published([], refused=[(child, "full")])
    await catalog.end_executions([run.execution])

    await catalog.resend(ids=lab.ids([child]))
    (dispatch,) = await catalog.orphans("w1", limit=10)
    await catalog.mark_published([dispatch])

    assert dispatch.external
    assert await catalog.end_executions([run.execution]) == [run.execution]
    assert (await lab.execution(run.execution)).status == "completed"


# -- a clock that is set back ----------------------------------------------------------------------

TWO_HOURS = 7200.0


async def test_a_process_that_died_before_the_clock_was_set_back_is_dead_after_five_missed_beats(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")
    lab.clock.advance(-TWO_HOURS)
    await lab.beat("w2")
    await catalog.maintain()
    assert await catalog.recall_abandoned(limit=10) == 0, "it may be alive, and about to record a heartbeat"

    lab.clock.advance(lab.DEAD_AFTER + 1)
    await lab.beat("w2")
    await catalog.maintain()

    assert {worker.worker_id for worker in await catalog.workers()} == {"w2"}
    assert await catalog.recall_abandoned(limit=10) == 1


async def test_a_live_process_stays_alive_when_the_clock_is_set_back(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")
    lab.clock.advance(-TWO_HOURS)
    for _ in range(12):
        await catalog.maintain()
        assert await catalog.recall_abandoned(limit=10) == 0
        await lab.beat("w1", "w2")
        lab.clock.advance(lab.HEARTBEAT)


async def test_a_named_lease_that_was_taken_before_the_clock_was_set_back_has_expired(
    catalog: Catalog, lab: Lab
):
    assert await catalog.lease("reconciler", "w1", seconds=10)
    lab.clock.advance(-TWO_HOURS)

    assert await catalog.lease("reconciler", "w2", seconds=10)
    assert not await catalog.lease("reconciler", "w1", seconds=10)


async def test_the_jobs_of_a_dead_process_are_free_after_their_lease_though_the_clock_was_set_back(
    catalog: Catalog, lab: Lab
):
    job = await lab.sealed("a.md")
    await lab.hold(job, "w1")
    lab.clock.advance(-TWO_HOURS)
    await catalog.maintain()
    assert await catalog.abandoned_jobs() == []

    lab.clock.advance(lab.LEASE + 1)

    assert await catalog.abandoned_jobs() == [job]
    await lab.hold(job, "w2")


async def test_an_upload_fails_after_its_owner_died_though_the_clock_was_set_back(catalog: Catalog, lab: Lab):
    run = await lab.opened(owner="w1")
    lab.clock.advance(-TWO_HOURS)
    await catalog.maintain()
    assert await catalog.fail_unsealed() == []

    lab.clock.advance(lab.DEAD_AFTER + 1)

    assert await catalog.fail_unsealed() == [run]


async def test_retries_from_before_the_clock_was_set_back_are_due(catalog: Catalog, lab: Lab):
    run = await lab.started("before.md", "after.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=30)
    lab.clock.advance(-TWO_HOURS)
    await lab.fail(await lab.claim(run.ids[1]), delay=30)
    for process in ("w1", "w2"):
        await catalog.depart(process)

    await catalog.maintain()

    assert [dispatch.correlation_id for dispatch in await catalog.due("w3", limit=10)] == [str(run.ids[0])]


# -- the catalog as a whole ------------------------------------------------------------------------


async def test_written_rows_outlive_the_process_that_wrote_them(catalog_factory: Factory[Catalog], lab: Lab):
    run = await lab.started("a.md")
    children = await lab.work(run.ids[0], lab.output("1.md"))
    before = await lab.execution(run.execution)
    await catalog_factory.close()

    again = await catalog_factory()

    assert await again.execution(run.execution) == before
    assert isinstance((await again.claim("w3", lab.ids(children)))[0], Claim)


async def test_a_message_claimed_by_one_process_cannot_be_claimed_by_another(
    catalog_factory: Factory[Catalog], lab: Lab
):
    other = await catalog_factory()
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w1")

    (answer,) = await other.claim("w2", run.ids)

    assert not isinstance(answer, Claim)
    assert answer.reason == "held"


async def test_a_catalog_has_a_name(catalog: Catalog):
    assert await catalog.check()


async def test_a_catalog_may_be_closed_twice(catalog: Catalog):
    await catalog.close()
    await catalog.close()
