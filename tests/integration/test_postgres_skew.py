"""Races that row locks prevent: two connections at once, each of which alone sees a consistent state.

To stop a transaction at a certain moment, another session holds a row that the transaction has to change. If
the moment does not matter, the race is tried many times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from playhead.backends._postgres import Postgres, PostgresTransactions
from playhead.backends._sql_catalog import SqlCatalog
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.errors import Conflict, catalog_unavailable
from playhead.ids import uuid7
from playhead.liveness import Liveness
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.jobs import Listed
from playhead.ports.catalog.work import Claim, Done, Refusal
from tests.lab import Clock, Lab, Started, Wrapper

if TYPE_CHECKING:
    from tests.integration.postgres_processes import Place

STEP_ROWS = 2


# -- the end of an execution -----------------------------------------------------------------------


async def test_an_execution_ends_once_when_two_workers_complete_its_last_messages_at_once(place: Place):
    processes = [await place.process(), await place.process()]
    runs = [await place.lab.started("a.md", "b.md") for _ in range(40)]

    for run in runs:
        claims = [
            await place.lab.claim(cid, worker) for cid, worker in zip(run.ids, ("w1", "w2"), strict=True)
        ]

        async def complete(catalog: PostgresCatalog, claim: Claim) -> list[UUID]:
            (ended,) = await catalog.finish("w", [Done(claim.correlation_id, claim.attempt)])
            assert ended is not None
            return await catalog.end_executions([claim.execution_id])

        ended = await asyncio.gather(*map(complete, processes, claims))

        assert list(chain(*ended)) == [run.execution]
    assert await place.sql.fetch("SELECT DISTINCT status, revision FROM executions") == [("completed", 1)]


async def test_an_execution_does_not_end_while_a_resend_is_about_to_commit(place: Place):
    run = await place.lab.started("a.md", "b.md")
    for cid in run.ids:
        await place.lab.kill(cid)
    other = await place.process()

    async with place.holding("SELECT 1 FROM messages WHERE id = $1", run.ids[1]) as holder:
        sending = asyncio.create_task(
            place.lab.catalog.resend(where=DeadLetterFilter(execution=run.execution))
        )
        resending = await place.waiter(holder)
        end = asyncio.create_task(other.end_executions([run.execution]))
        await place.waiter(resending)

    assert await sending == run.ids
    assert await end == []
    assert (await place.lab.execution(run.execution)).status == "running"
    assert await place.open_rows(run.execution) == 2


async def test_a_resend_during_the_end_of_an_execution_reopens_it(place: Place):
    other = await place.process()
    for _ in range(40):
        run = await place.lab.started("a.md")
        await place.lab.kill(run.ids[0])

        ended, sent = await asyncio.gather(
            other.end_executions([run.execution]), place.lab.catalog.resend(ids=run.ids)
        )

        assert sent == run.ids
        execution = await place.lab.execution(run.execution)
        assert (execution.status, execution.ended_at) == ("running", None)
        assert await place.open_rows(run.execution) == 1
        revision = await place.value("SELECT revision FROM executions WHERE id = $1", run.execution)
        assert revision == len(ended)


# -- many dead letters -----------------------------------------------------------------------------


@pytest.fixture
async def many(place: Place) -> Started:
    """A run with five dead letters, more than one step resends."""
    assert isinstance(place.lab.catalog, PostgresCatalog)
    place.lab.catalog.sizes.step_rows = STEP_ROWS
    run = await place.lab.started(*(f"{n}.md" for n in range(5)))
    for cid in run.ids:
        await place.lab.kill(cid)
    await place.lab.catalog.end_executions([run.execution])
    return run


class Interrupted(Wrapper):
    """Transactions of a catalog. A function is called after the first one, before the second one."""

    def __init__(self, wrapped: Any, step: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(wrapped)
        self._step: Callable[[], Awaitable[Any]] | None = step

    async def write(self, body: Any, **limits: Any) -> Any:
        done = await self.wrapped.write(body, **limits)
        step, self._step = self._step, None
        if step:
            await step()
        return done


class InterruptedCatalog(SqlCatalog):
    """A catalog that calls a function between two steps of a resend or a cancel."""

    def __init__(self, db: Postgres, step: Callable[[], Awaitable[Any]]) -> None:
        transactions = PostgresTransactions(db, "catalog", catalog_unavailable)
        super().__init__(cast(Any, Interrupted(transactions, step)), Liveness(60))
        self.sizes.step_rows = STEP_ROWS


@pytest.mark.parametrize("which", ["execution", "route"])
async def test_many_dead_letters_are_resent_in_steps(place: Place, many: Started, which: str):
    named = {"execution": DeadLetterFilter(many.execution), "route": DeadLetterFilter(route="convert")}

    async with place.holding("SELECT 1 FROM messages WHERE id = $1", many.ids[0]) as holder:
        sending = asyncio.create_task(place.lab.catalog.resend(where=named[which]))
        await place.waiter(holder)
        assert [await place.lab.state(cid) for cid in many.ids] == ["dead", *["pending"] * 4]

    assert await sending == many.ids
    assert await place.open_rows(many.execution) == 5
    assert (await place.lab.execution(many.execution)).status == "running"


async def test_a_message_that_fails_again_during_a_resend_is_not_resent_twice(place: Place, many: Started):
    async def die() -> None:
        await place.lab.kill(many.ids[4])

    catalog = InterruptedCatalog(await place.connections(), die)

    assert await catalog.resend(where=DeadLetterFilter(execution=many.execution)) == many.ids
    assert [await place.lab.state(cid) for cid in many.ids] == [*["pending"] * 4, "dead"]


async def test_an_execution_that_ends_between_steps_of_a_resend_is_reopened(place: Place, many: Started):
    async def end() -> None:
        for cid in many.ids[3:]:
            await place.lab.work(cid)
        assert await place.lab.catalog.end_executions([many.execution]) == [many.execution]

    catalog = InterruptedCatalog(await place.connections(), end)

    assert await catalog.resend(where=DeadLetterFilter(execution=many.execution)) == many.ids
    assert (await place.lab.execution(many.execution)).status == "running"
    assert await place.open_rows(many.execution) == 3


async def test_a_cancel_between_two_steps_ends_the_resend(place: Place, many: Started):
    async def cancel() -> None:
        await place.lab.catalog.cancel(many.execution)

    catalog = InterruptedCatalog(await place.connections(), cancel)

    with pytest.raises(Conflict, match="is cancelled"):
        await catalog.resend(where=DeadLetterFilter(execution=many.execution))
    assert [await place.lab.state(cid) for cid in many.ids] == [*["dead"] * 3, *["cancelled"] * 2]
    assert await place.open_rows(many.execution) == 0


# -- cancel ----------------------------------------------------------------------------------------


async def test_a_cancel_waits_for_a_parent_that_is_inserting_its_children(place: Place):
    run = await place.lab.started("a.md")
    claim = await place.lab.claim(run.ids[0])
    (bound,) = await place.lab.bind(claim, place.lab.output("1.md"))
    other = await place.process()

    async with place.holding("SELECT 1 FROM outputs WHERE key = $1", bound.key) as holder:
        done = Done(claim.correlation_id, claim.attempt, [bound.key])
        finish = asyncio.create_task(place.lab.catalog.finish("w1", [done]))
        finishing = await place.waiter(holder)
        cancel = asyncio.create_task(other.cancel(run.execution))
        await place.waiter(finishing)

    (finished,) = await finish
    assert finished is not None
    assert len(finished.children) == 1, "to the parent the execution was running still"
    cancelled = await cancel
    assert cancelled is not None
    assert (cancelled.counts.pending, cancelled.counts.cancelled) == (0, 1)
    assert await place.open_rows(run.execution) == 0


async def test_claims_pass_while_a_cancel_waits_for_one_of_many_rows(place: Place):
    assert isinstance(place.lab.catalog, PostgresCatalog)
    place.lab.catalog.sizes.step_rows = STEP_ROWS
    run, other = await place.lab.started(*(f"{n}.md" for n in range(5))), await place.lab.started("a.md")
    worker = await place.process()

    async with place.holding("SELECT 1 FROM messages WHERE id = $1", run.ids[1]) as holder:
        cancelling = asyncio.create_task(place.lab.catalog.cancel(run.execution))
        await place.waiter(holder)
        refused, early, claim = await worker.claim("w1", [run.ids[4], run.ids[0], other.ids[0]])

    assert isinstance(claim, Claim)
    reasons = [one.reason for one in (refused, early) if isinstance(one, Refusal)]
    assert reasons == ["closed", "ended"]
    cancelled = await cancelling
    assert cancelled is not None
    assert (cancelled.counts.pending, cancelled.counts.cancelled) == (0, 5)


async def test_rows_are_marked_as_published_in_the_order_of_their_numbers(place: Place):
    run = await place.lab.started("a.md", "b.md")
    external, second = run.dispatches[0]._replace(external=True), run.dispatches[1]

    async with place.holding("SELECT 1 FROM messages WHERE id = $1", run.ids[0]) as holder:
        marking = asyncio.create_task(place.lab.catalog.mark_published([second, external]))
        await place.waiter(holder)
        # A transaction that waits for the first row holds no later row, for which another one could wait.
        free = "SELECT 1 FROM messages WHERE id = $1 FOR UPDATE NOWAIT"
        assert await place.value(free, run.ids[1])
    await marking


async def test_rows_of_a_cancel_that_was_interrupted_are_cancelled_by_the_reconciler(
    place: Place, many: Started
):
    await place.lab.catalog.resend(where=DeadLetterFilter(execution=many.execution))

    async def break_off() -> None:
        raise ConnectionError

    catalog = InterruptedCatalog(await place.connections(), break_off)
    with pytest.raises(ConnectionError):
        await catalog.cancel(many.execution)
    execution = await place.lab.execution(many.execution)
    assert (execution.status, execution.counts.pending) == ("cancelled", 5)
    assert (await place.lab.refusal(many.ids[4])).reason == "ended"

    assert await place.lab.catalog.cancel_stragglers() == 5

    assert (await place.lab.counts(many.execution)).cancelled == 5
    assert await place.value("SELECT settled FROM executions WHERE id = $1", many.execution)


async def test_a_cancel_under_load_leaves_no_open_row(place: Place):
    outputs, messages, workers = 32, 60, 4
    run = await place.lab.started(*(f"{n}.md" for n in range(messages)))
    todo = list(run.ids)
    half = asyncio.Event()
    inserted = 0

    async def work(catalog: PostgresCatalog, worker: str) -> None:
        nonlocal inserted
        lab = Lab(catalog, Clock())
        while todo:
            cid = todo.pop()
            if len(todo) == messages // 2:
                half.set()
            (claim,) = await catalog.claim(worker, [cid])
            if isinstance(claim, Refusal):
                continue
            inserted += len(await lab.done(claim, *(lab.output(f"{cid}/{n}.md") for n in range(outputs))))

    async def cancel(catalog: PostgresCatalog) -> None:
        await half.wait()
        await catalog.cancel(run.execution)

    names = [f"w{n}" for n in range(workers)]
    await asyncio.gather(
        *[work(await place.process(name), name) for name in names], cancel(await place.process())
    )

    assert await place.open_rows(run.execution) == 0
    counts = await place.lab.counts(run.execution)
    assert counts.completed * outputs >= inserted > 0, "parents had children before it was cancelled"
    assert counts.cancelled >= inserted


# -- jobs ------------------------------------------------------------------------------------------


async def test_two_servers_at_one_replay_record_each_object_once(place: Place):
    source = (await place.lab.catalog.adopt(uuid7())).execution_id
    keys = [f"{source}/in/{n:02d}" for n in range(40)]
    pages = [keys[n : n + 10] for n in range(0, 40, 10)]
    servers = [await place.process(), await place.process()]

    async def listing(catalog: PostgresCatalog, owner: str, job: UUID) -> None:
        # The lease expires at once, so each process takes over the job.
        held = await catalog.acquire(job, owner=owner, lease=0)
        for page in pages:
            if held and page[0] > held.cursor:
                objects = [Listed(key, "in") for key in page]
                if not await catalog.record(held, objects, cursor=page[-1], last=page is pages[-1]):
                    return

    for _ in range(60):
        job = (await place.lab.replayed(source, "in")).execution_id
        while not await place.lab.catalog.is_listed(job):
            await asyncio.gather(*(listing(s, f"s{n}", job) for n, s in enumerate(servers)))
        rows = await place.sql.fetch(
            "SELECT object_key, ordinal FROM messages m JOIN executions e ON e.n = m.execution "
            "WHERE e.id = $1 ORDER BY m.n",
            job,
        )
        assert [tuple(row) for row in rows] == list(zip(keys, range(1, 41), strict=True))


# -- claims ----------------------------------------------------------------------------------------


async def claim_all(
    catalog: PostgresCatalog, worker: str, ids: Sequence[UUID], *, by: int
) -> list[Claim | Refusal]:
    calls = [ids[at : at + by] for at in range(0, len(ids), by)]
    return [answer for some in calls for answer in await catalog.claim(worker, some)]


async def test_one_of_two_workers_that_claim_a_message_at_once_gets_it(place: Place):
    one, other = await place.process(), await place.process()
    shared = 0
    for _ in range(30):
        run = await place.lab.started(*(f"{n}.md" for n in range(20)))

        # Each in its own order, a few messages per claim.
        answers = await asyncio.gather(
            claim_all(one, "w1", run.ids, by=5), claim_all(other, "w2", run.ids[::-1], by=5)
        )

        claims = [[a.correlation_id for a in some if isinstance(a, Claim)] for some in answers]
        assert sorted(chain(*claims)) == sorted(run.ids)
        refused = [a.reason for some in answers for a in some if isinstance(a, Refusal)]
        assert set(refused) == {"held"}
        shared += bool(claims[0] and claims[1])
        by_row = await place.sql.fetch("SELECT worker, attempt FROM messages WHERE id = ANY($1)", run.ids)
        assert sorted(by_row) == sorted([("w1", 1)] * len(claims[0]) + [("w2", 1)] * len(claims[1]))
    assert shared, "they were at work at the same time"


async def test_a_message_does_not_count_as_abandoned_while_its_worker_binds(place: Place):
    run = await place.lab.started("a.htm", "a.html")
    claim, zombie = [await place.lab.claim(cid, w) for cid, w in zip(run.ids, ("w1", "w2"), strict=True)]
    (bound,) = await place.lab.bind(zombie, place.lab.output("z.md", "1"))
    await place.lab.catalog.depart("w2")
    other = await place.process("w3")

    # It binds other content, so its earlier row has to be superseded, and that row is locked.
    async with place.holding("SELECT 1 FROM outputs WHERE key = $1", bound.key) as holder:
        bind = asyncio.create_task(place.lab.try_bind(zombie, place.lab.output("z.md", "2")))
        await place.waiter(holder)
        assert await other.recall_abandoned(limit=10) == 0

    assert await bind, "the token held until its bytes were bound"
    assert await other.recall_abandoned(limit=10) == 1
    assert await place.lab.state(claim.correlation_id) == "running"


async def test_an_attempt_ended_twice_at_once_has_its_children_once(place: Place):
    run = await place.lab.started("a.md")
    claim = await place.lab.claim(run.ids[0])
    (bound,) = await place.lab.bind(claim, place.lab.output("1.md"))
    done = Done(claim.correlation_id, claim.attempt, [bound.key])
    other = await place.process()

    async with place.holding("SELECT 1 FROM outputs WHERE key = $1", bound.key) as holder:
        first = asyncio.create_task(place.lab.catalog.finish("w1", [done]))
        finishing = await place.waiter(holder)
        again = asyncio.create_task(other.finish("w1", [done]))
        await place.waiter(finishing)

    for (ended,) in (await first, await again):
        assert ended is not None
        assert [child.object_key for child in ended.children] == [bound.key]
    assert await place.value("SELECT count(*) FROM messages WHERE parent IS NOT NULL") == 1
