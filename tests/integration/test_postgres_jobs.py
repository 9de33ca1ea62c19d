"""Jobs and configs in PostgreSQL, changed by several processes at the same moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.backends._postgres import Postgres
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.errors import BadRequest, Conflict
from playhead.ids import uuid7
from playhead.ports.catalog.jobs import Listed
from tests.lab import Clock, Lab
from tests.servers.schema import schema


class Deployment:
    """Two processes on one database, and a session of the test."""

    def __init__(self, one: PostgresCatalog, two: PostgresCatalog, sql: asyncpg.Connection) -> None:
        self.one = one
        self.two = two
        self.sql = sql
        self.lab = Lab(one, Clock())


@pytest.fixture
async def deployment() -> AsyncIterator[Deployment]:
    async with schema() as url:
        sql = await asyncpg.connect(url)
        databases = [Postgres(url), Postgres(url)]
        one, two = (PostgresCatalog(db, heartbeat_seconds=60) for db in databases)
        await one.open()
        await two.open()
        yield Deployment(one, two, sql)
        for db in databases:
            await db.close()
        await sql.close()


async def test_a_page_recorded_while_its_execution_is_cancelled_leaves_no_open_row(
    deployment: Deployment,
):
    source = (await deployment.one.adopt(uuid7())).execution_id
    keys = [f"{source}/in/{n:04d}" for n in range(400)]
    pages = [keys[n : n + 100] for n in range(0, 400, 100)]
    met = 0
    for _ in range(60):
        job = (await deployment.lab.replayed(source, "in")).execution_id
        held = await deployment.lab.hold(job)

        async def cancel() -> None:
            await asyncio.sleep(random.uniform(0, 0.02))
            await deployment.two.cancel(job)  # noqa: B023

        cancelling = asyncio.create_task(cancel())
        for page in pages:
            objects = [Listed(key, "in") for key in page]
            window = await deployment.one.record(held, objects, cursor=page[-1], last=page is pages[-1])
            if window is None:
                met += 1
                break
            if not await deployment.one.mark(held, window.upto, uncertain=window.dispatches[:3]):
                met += 1
                break
        await cancelling

        states = await deployment.sql.fetch(
            "SELECT state, count(*) FROM messages m JOIN executions e ON e.n = m.execution "
            "WHERE e.id = $1 GROUP BY 1",
            job,
        )
        execution = await deployment.two.execution(job)
        assert execution
        assert {state for state, _ in states} <= {6}, "all of them are cancelled"
        assert execution.counts.cancelled == sum(count for _, count in states)
    assert met > 5, "the cancel came into the middle often enough"


async def test_one_of_two_processes_that_acquire_a_job_at_once_gets_it(deployment: Deployment):
    source = (await deployment.one.adopt(uuid7())).execution_id
    for _ in range(40):
        job = (await deployment.lab.replayed(source, "in")).execution_id
        held = await asyncio.gather(
            *(
                catalog.acquire(job, owner=name, lease=15)
                for name in "ab"
                for catalog in (deployment.one, deployment.two)
            )
        )
        assert [h.epoch for h in held if h] == [1]


async def test_one_of_two_configs_that_claim_a_queue_at_once_gets_it(deployment: Deployment):
    for n in range(25):
        first, second = (Lab.config(f"{name}{n}", Lab.route("in", queue=f"queue{n}")) for name in "ab")
        answers = await asyncio.gather(
            deployment.one.save_config(first, source="", digest="1"),
            deployment.two.save_config(second, source="", digest="1"),
            return_exceptions=True,
        )
        refused = [a for a in answers if isinstance(a, Conflict)]
        assert [a.code for a in refused] == ["queue_taken"]
        assert len([a for a in answers if isinstance(a, tuple)]) == 1


async def test_a_config_saved_many_times_at_once_has_each_version_once(deployment: Deployment):
    config = Lab.config("docs", Lab.route("in"))
    answers = await asyncio.gather(
        *(
            c.save_config(config, source="", digest=str(n))
            for n in range(10)
            for c in (deployment.one, deployment.two)
        )
    )
    new = sorted(version.version for version, is_new in answers if is_new)
    assert new == list(range(1, len(new) + 1))
    assert len(new) >= 10


async def test_two_workers_can_bind_the_same_inputs_in_different_orders(deployment: Deployment):
    execution = await deployment.lab.opened()
    inputs = [Lab.input(f"{n:04d}.html", "same") for n in range(500)]
    for _ in range(10):
        await asyncio.gather(
            deployment.one.bind_inputs(execution, inputs), deployment.two.bind_inputs(execution, inputs[::-1])
        )
    assert await deployment.sql.fetchval("SELECT count(*) FROM outputs") == 500

    with pytest.raises(BadRequest, match=r"0007\.html"):
        await deployment.two.bind_inputs(execution, [Lab.input("0007.html", "other")])


async def test_any_unicode_text_is_stored_or_escaped(deployment: Deployment):
    source = (await deployment.one.adopt(uuid7())).execution_id
    job = (await deployment.lab.replayed(source, "in")).execution_id
    held = await deployment.lab.hold(job)
    keys = [f"{source}/in/{name}" for name in ("a'; DROP TABLE x;--", "b\\n%s$1", "ü/😀", "\u202eabc")]
    dispatches = await deployment.lab.list_all(held, *sorted(keys))
    assert {dispatch.object_key for dispatch in dispatches} == set(keys)

    assert await deployment.one.mark(held, 0, refused=[(dispatches[0], "zero \0 and half \ud800")])

    replay = await deployment.two.replay((await deployment.two.replays(source=source))[0][0].replay_batch_id)
    assert replay
    assert replay.errors
    assert replay.errors[0].endswith("publish_refused: zero \ufffd and half ?")


async def test_the_resend_of_a_refused_message_waits_until_its_job_has_ended_or_goes_on(
    deployment: Deployment,
):
    """Otherwise, the resend may leave the message to a job that ends at the same moment."""
    lab = deployment.lab
    run = await lab.sealed("a.md")
    held = await lab.hold(run)
    (dispatch,) = await lab.list_all(held, f"{run}/input/a.md")
    assert await deployment.one.mark(held, 1, refused=[(dispatch, "too large")])
    async with deployment.sql.transaction():
        await deployment.sql.execute("SELECT 1 FROM jobs FOR UPDATE")
        resending = asyncio.create_task(deployment.two.resend(ids=lab.ids([dispatch])))
        await asyncio.sleep(0.3)
        assert not resending.done()
        await deployment.sql.execute("UPDATE jobs SET state = 'partial_failure', owner = NULL")

    assert await resending == lab.ids([dispatch])

    assert len(await deployment.one.orphans("w1", limit=10, without=())) == 1, "the reconciler sends it"
