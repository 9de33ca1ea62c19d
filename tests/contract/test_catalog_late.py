"""What calls change that come late, twice, or when something else has happened: found by random sequences
of them (see `tests/model/test_catalogs_agree.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.errors import Conflict
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.jobs import Listed

if TYPE_CHECKING:
    from tests.lab import Lab


async def test_tags_are_shown_once_each_and_in_order(catalog: Catalog, lab: Lab):
    execution = await lab.opened(tags=["t", "s", "t"])

    assert (await lab.execution(execution)).tags == ["s", "t"]


async def test_sealing_again_confirms_the_seal_of_an_ended_run(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.work(run.ids[0])
    assert await catalog.end_executions([run.execution]) == [run.execution]

    assert await catalog.seal(run.execution)


async def test_sealing_again_confirms_the_seal_of_a_run_whose_listing_failed(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    await catalog.fail_listing(await lab.hold(job), "the store is unavailable")

    assert await catalog.seal(job)


async def test_a_run_that_was_sealed_and_cancelled_is_not_sealed_again(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await catalog.cancel(run.execution)

    assert not await catalog.seal(run.execution)


async def test_a_lease_renewed_after_its_release_is_held_again(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    await catalog.release(held)

    assert await catalog.renew(held, lease=lab.LEASE)

    assert await catalog.acquire(job, owner="w2", lease=lab.LEASE) is None
    assert await catalog.abandoned_jobs() == []


async def test_an_empty_page_that_is_not_the_last_has_to_move_the_cursor(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md", "b.md")
    held = await lab.hold(job)
    await lab.list_all(held, f"{job}/input/a.md", last=False)

    assert await lab.record(held, [], cursor=f"{job}/input/a.md", last=False) is None
    assert await lab.record(held, [], cursor=f"{job}/input/a", last=True) is None
    assert await lab.record(held, [], cursor=f"{job}/input/b.md", last=False) == []


async def test_a_later_refusal_does_not_close_a_row_that_the_broker_has_confirmed(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    (child, *_) = await lab.work(run.ids[0], lab.output("1.md"))
    await catalog.mark_published([child])

    await catalog.mark_published([], refused=[(run.dispatches[0], "full"), (child, "full")])

    assert await lab.state(lab.ids([child])[0]) == "pending"


async def test_a_later_refusal_does_not_close_a_marked_row(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    dispatches = await lab.list_all(held, f"{job}/input/a.md")
    await catalog.mark(held, 1)

    await catalog.mark(held, 1, refused=[(dispatches[0], "full")])
    await catalog.mark(held, 1, uncertain=dispatches)

    assert await lab.state(lab.ids(dispatches)[0]) == "pending"
    assert await catalog.unsettled(held, limit=10) == []
    assert await catalog.close_job(held)


async def test_a_row_processed_before_its_mark_counts_as_published_after_a_cancel(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md", "b.md")
    replay = await lab.replayed(source)
    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, f"{source}/input/a.md", f"{source}/input/b.md")
    claim = await lab.claim(lab.ids(dispatches)[0])
    await catalog.cancel(replay.execution_id)
    await lab.fail(claim)

    after = await lab.replay(replay.replay_batch_id)
    assert (after.objects_found, after.objects_published, after.objects_failed) == (2, 1, 1)


async def test_a_cancelled_message_has_the_error_of_an_attempt_before_the_cancel(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=1.0)
    await catalog.cancel(run.execution)

    row = await lab.row(run.ids[0])
    assert row.status == "cancelled"
    assert row.error
    assert row.error.code == "adapter_error"


async def test_a_message_that_the_broker_refuses_does_not_show_an_earlier_traceback(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=0.0)
    (dispatch,) = await catalog.due("w1", limit=10)
    await catalog.mark_published([], refused=[(dispatch, "over 1 MiB")])

    letter = await catalog.dead_letter(run.ids[0])
    assert letter
    assert (letter.error_code, letter.traceback) == ("publish_refused", None)


async def test_a_claim_counts_as_a_heartbeat(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.die("w1")
    assert [w.worker_id for w in await catalog.workers()] == ["w2"]

    await lab.claim(run.ids[0], "w1")

    assert sorted(w.worker_id for w in await catalog.workers()) == ["w1", "w2"]
    assert await catalog.recall_abandoned(limit=10) == 0
    assert (await lab.refusal(run.ids[0], "w2")).reason == "held"


async def test_a_claim_without_a_result_is_not_a_heartbeat(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.claim(run.ids[0], "w2")
    await lab.die("w1")
    assert (await lab.refusal(run.ids[0], "w1")).reason == "held"
    assert [w.worker_id for w in await catalog.workers()] == ["w2"]


async def test_a_lost_message_does_not_show_an_earlier_traceback(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    for _ in range(2):
        await lab.fail(await lab.claim(run.ids[0]), delay=0.0)
    for worker in ("w1", "w2"):
        await lab.claim(run.ids[0], worker, alone=True)
        await catalog.depart(worker)
    assert (await lab.refusal(run.ids[0], "w3")).reason == "lost"

    letter = await catalog.dead_letter(run.ids[0])
    assert letter
    assert (letter.error_code, letter.traceback) == ("worker_lost", None)


async def test_a_departed_process_that_still_sends_heartbeats_does_not_keep_its_upload(
    catalog: Catalog, lab: Lab
):
    execution = await lab.opened(owner="w1")
    await catalog.depart("w1")
    await lab.beat("w1")

    assert await catalog.fail_unsealed() == [execution]


async def test_a_cancelled_execution_keeps_no_queue_of_an_old_version(catalog: Catalog, lab: Lab):
    old = lab.config("docs", lab.route("convert", queue="docs.old", stage="pages"))
    run = await lab.started("a.md", config=old)
    await lab.claim(run.ids[0])
    await lab.save(lab.config("docs", lab.route("convert", queue="docs.new", stage="pages")))

    await catalog.cancel(run.execution)

    assert [s.queue for s in await catalog.subscriptions()] == ["docs.new"]


async def test_an_object_without_a_producer_has_the_lineage_of_the_messages_that_read_it(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md")
    key = f"{run.execution}/pages/1.md"
    taken = await lab.started_replay(run.execution, key, stage="pages")
    await lab.bind(await lab.claim(run.ids[0]), lab.output("1.md"))

    assert [row.correlation_id for row in await catalog.lineage_of_object(key)] == taken.ids


async def test_a_page_with_valid_and_invalid_keys_keeps_their_order(catalog: Catalog, lab: Lab):
    job = await lab.sealed("a.md")
    held = await lab.hold(job)
    listed = [Listed(f"{job}/input/{n}", "input", "is odd" if n % 2 else None) for n in range(5)]

    dispatches = await lab.record(held, listed, cursor=listed[-1].key, last=True)

    assert dispatches is not None
    assert [dispatch.ordinal for dispatch in dispatches] == [1, 3, 5]


async def test_a_deactivated_config_may_name_a_queue_of_another_until_it_is_activated(
    catalog: Catalog, lab: Lab
):
    await lab.save(lab.config("docs", lab.route("convert")))
    await lab.save(lab.config("more", lab.route("convert", queue="more.convert")))
    await catalog.set_active("more", False)

    assert await lab.save(lab.config("more", lab.route("convert"))) == 2

    with pytest.raises(Conflict) as caught:
        await catalog.set_active("more", True)
    assert caught.value.code == "queue_taken"
