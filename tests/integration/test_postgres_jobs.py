"""Jobs and configs in PostgreSQL, changed by several processes at the same moment."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from playhead.errors import BadRequest, Conflict
from playhead.ids import uuid7
from playhead.ports.catalog.jobs import Listed
from tests.lab import Lab

if TYPE_CHECKING:
    from tests.integration.postgres_processes import Place


async def test_a_page_recorded_while_its_execution_is_cancelled_leaves_no_open_row(place: Place):
    other = await place.process()
    source = (await place.lab.catalog.adopt(uuid7())).execution_id
    keys = [f"{source}/in/{n:04d}" for n in range(400)]
    pages = [keys[n : n + 100] for n in range(0, 400, 100)]
    met = 0
    for _ in range(60):
        job = (await place.lab.replayed(source, "in")).execution_id
        held = await place.lab.hold(job)

        async def cancel() -> None:
            await asyncio.sleep(random.uniform(0, 0.02))
            await other.cancel(job)  # noqa: B023

        cancelling = asyncio.create_task(cancel())
        for page in pages:
            objects = [Listed(key, "in") for key in page]
            window = await place.lab.catalog.record(held, objects, cursor=page[-1], last=page is pages[-1])
            if window is None:
                met += 1
                break
            if not await place.lab.catalog.mark(held, window.upto, uncertain=window.dispatches[:3]):
                met += 1
                break
        await cancelling

        states = await place.sql.fetch(
            "SELECT state, count(*) FROM messages m JOIN executions e ON e.n = m.execution "
            "WHERE e.id = $1 GROUP BY 1",
            job,
        )
        execution = await other.execution(job)
        assert execution
        assert {state for state, _ in states} <= {6}, "all of them are cancelled"
        assert execution.counts.cancelled == sum(count for _, count in states)
    assert met > 5, "the cancel came into the middle often enough"


async def test_one_of_two_processes_that_acquire_a_job_at_once_gets_it(place: Place):
    other = await place.process()
    source = (await place.lab.catalog.adopt(uuid7())).execution_id
    for _ in range(40):
        job = (await place.lab.replayed(source, "in")).execution_id
        held = await asyncio.gather(
            *(
                catalog.acquire(job, owner=name, lease=15)
                for name in "ab"
                for catalog in (place.lab.catalog, other)
            )
        )
        assert [h.epoch for h in held if h] == [1]


async def test_one_of_two_configs_that_claim_a_queue_at_once_gets_it(place: Place):
    other = await place.process()
    for n in range(25):
        first, second = (Lab.config(f"{name}{n}", Lab.route("in", queue=f"queue{n}")) for name in "ab")
        answers = await asyncio.gather(
            place.lab.catalog.save_config(first, source="", digest="1"),
            other.save_config(second, source="", digest="1"),
            return_exceptions=True,
        )
        refused = [a for a in answers if isinstance(a, Conflict)]
        assert [a.code for a in refused] == ["queue_taken"]
        assert len([a for a in answers if isinstance(a, tuple)]) == 1


async def test_a_config_saved_many_times_at_once_has_each_version_once(place: Place):
    other = await place.process()
    config = Lab.config("docs", Lab.route("in"))
    answers = await asyncio.gather(
        *(
            c.save_config(config, source="", digest=str(n))
            for n in range(10)
            for c in (place.lab.catalog, other)
        )
    )
    new = sorted(version.version for version, is_new in answers if is_new)
    assert new == list(range(1, len(new) + 1))
    assert len(new) >= 10


async def test_two_workers_can_bind_the_same_inputs_in_different_orders(place: Place):
    other = await place.process()
    execution = await place.lab.opened()
    inputs = [Lab.input(f"{n:04d}.html", "same") for n in range(500)]
    for _ in range(10):
        await asyncio.gather(
            place.lab.catalog.bind_inputs(execution, inputs), other.bind_inputs(execution, inputs[::-1])
        )
    assert await place.sql.fetchval("SELECT count(*) FROM outputs") == 500

    with pytest.raises(BadRequest, match=r"0007\.html"):
        await other.bind_inputs(execution, [Lab.input("0007.html", "other")])


async def test_any_unicode_text_is_stored_or_escaped(place: Place):
    other = await place.process()
    source = (await place.lab.catalog.adopt(uuid7())).execution_id
    job = (await place.lab.replayed(source, "in")).execution_id
    held = await place.lab.hold(job)
    keys = [f"{source}/in/{name}" for name in ("a'; DROP TABLE x;--", "b\\n%s$1", "ü/😀", "\u202eabc")]
    dispatches = await place.lab.list_all(held, *sorted(keys))
    assert {dispatch.object_key for dispatch in dispatches} == set(keys)

    assert await place.lab.catalog.mark(held, 0, refused=[(dispatches[0], "zero \0 and half \ud800")])

    replay = await other.replay((await other.replays(source=source))[0][0].replay_batch_id)
    assert replay
    assert replay.errors
    assert replay.errors[0].endswith("publish_refused: zero \ufffd and half ?")


async def test_the_resend_of_a_refused_message_waits_until_its_job_has_ended_or_goes_on(place: Place):
    """Otherwise, the resend may leave the message to a job that ends at the same moment."""
    other = await place.process()
    lab = place.lab
    run = await lab.sealed("a.md")
    held = await lab.hold(run)
    (dispatch,) = await lab.list_all(held, f"{run}/input/a.md")
    assert await place.lab.catalog.mark(held, 1, refused=[(dispatch, "too large")])
    end = "UPDATE jobs SET state = 'partial_failure', owner = NULL"
    async with place.holding("SELECT 1 FROM jobs", then=end) as holder:
        resending = asyncio.create_task(other.resend(ids=lab.ids([dispatch])))
        await place.waiter(holder)

    assert await resending == lab.ids([dispatch])

    assert len(await place.lab.catalog.orphans("w1", limit=10, without=())) == 1, "the reconciler sends it"
