"""Claim and finish in PostgreSQL: the transactions of the worker's inner loop.

Each is a few statements, whatever the size of its batch. A transaction first holds the executions of
its rows with `FOR SHARE` (so cancel, resend and the end of an execution come before or after it, never
in between), then its rows in ascending `n`, and only then looks: a statement sees what was committed
before it began, so what was read before a lock was waited for may be old.

Nothing here is half done after a crash: what a transaction did not commit did not happen, and what it
committed under a token is found by that token when the same is asked for again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from playhead.backends._postgres import Connection
from playhead.backends._sql_catalog.rows import (
    CALL,
    CANCELLED,
    COMPLETED,
    DEAD,
    PENDING,
    RETRY,
    RUNNING,
    STORED,
    SUPERSEDED,
    WRITING,
)
from playhead.backends._sql_catalog.work import lost_in_the_last, path_of
from playhead.backends.catalog_postgres.bindings import BindPart
from playhead.backends.catalog_postgres.rows import LONG_SECONDS, CallMaker, storable
from playhead.envelope import Dispatch
from playhead.ids import mint, text
from playhead.ports.catalog.work import (
    SUSPECT_LOSSES,
    Claim,
    Done,
    Failed,
    Finished,
    Refusal,
    Released,
    Result,
    Source,
)

# Rows are found by their ids and nothing else, and sorted out here: with a second condition that an index
# knows too, the planner, whose statistics lag behind, may read a whole execution to find a batch.
_TO_CLAIM = (
    "SELECT m.id, m.n, m.execution, m.lane, m.state, m.attempt, m.uncounted_attempts, m.worker, m.consecutive_crashes, "
    "coalesce(m.not_before > playhead_now(), false) AS early, m.object_key, m.stage, "
    "o.content_type, o.attributes, o.size, o.sha256 "
    "FROM messages m LEFT JOIN outputs o ON o.key = m.object_key "
    "WHERE m.id = ANY($1::uuid[]) ORDER BY m.n FOR NO KEY UPDATE OF m"
)
_CLAIM = (
    # A sign of life, in the same transaction: nobody sees the claim without it.
    "WITH living AS (UPDATE processes SET heartbeat_at = playhead_now() "
    "WHERE id = $4 AND heartbeat_at < playhead_now() - $5::double precision) "
    f"UPDATE messages SET state = {RUNNING}, attempt = attempt + 1, uncounted_attempts = uncounted_attempts + $2, consecutive_crashes = $3, worker = $4, "
    "started_at = playhead_now(), not_before = NULL, "
    # A claim settles an uncertain row as published: somebody was called.
    "published = 1 WHERE n = ANY($1)"
)
_HELD = (
    "SELECT m.id, m.attempt, m.state, m.n, m.lane, m.execution FROM messages m "
    "WHERE m.id = ANY($1::uuid[]) ORDER BY m.n FOR NO KEY UPDATE"
)
_DONE = (
    f"UPDATE messages SET state = {COMPLETED}, ended_at = playhead_now(), worker = NULL, error_code = NULL, "
    "error = NULL, traceback = NULL WHERE n = ANY($1)"
)
_NOT_DONE = (
    "UPDATE messages m SET state = r.state, worker = NULL, consecutive_crashes = 0, uncounted_attempts = m.uncounted_attempts + r.back::int, "
    "error_code = CASE WHEN r.back THEN m.error_code ELSE r.code END, "
    "error = CASE WHEN r.back THEN m.error ELSE r.error END, "
    "traceback = CASE WHEN r.back THEN m.traceback ELSE r.traceback END, "
    f"ended_at = CASE WHEN r.state = {RETRY} THEN m.ended_at ELSE playhead_now() END, "
    f"not_before = CASE WHEN r.state = {RETRY} THEN playhead_now() + r.delay ELSE m.not_before END, "
    f"published = CASE WHEN r.state = {RETRY} THEN 0 ELSE m.published END, "
    f"publisher = CASE WHEN r.state = {RETRY} THEN NULL ELSE m.publisher END, "
    f"generation = m.generation + (r.state = {RETRY})::int "
    "FROM unnest($1::bigint[], $2::smallint[], $3::boolean[], $4::float8[], $5::text[], $6::text[], $7::text[]) "
    "AS r (n, state, back, delay, code, error, traceback) WHERE m.n = r.n"
)
_CHILDREN = (
    "INSERT INTO messages (id, execution, lane, object_key, stage, state, published, parent, publisher) "
    "SELECT c.id, c.execution, c.lane, c.object_key, c.stage, c.state, 0, c.parent, $8 "
    "FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::smallint[], $7::bigint[]) "
    "AS c (id, execution, lane, object_key, stage, state, parent)"
)
_MARK = (
    "UPDATE messages m SET published = 1, publisher = NULL "
    "FROM unnest($1::uuid[], $2::int[]) AS c (id, generation) WHERE m.id = c.id AND m.generation = c.generation"
)
_LEAVE = (
    "UPDATE messages m SET publisher = NULL FROM unnest($1::uuid[], $2::int[]) AS c (id, generation) "
    "WHERE m.id = c.id AND m.generation = c.generation AND m.published = 0"
)
_MARK_EXTERNAL = (
    f"UPDATE messages m SET published = 1, publisher = NULL, state = {COMPLETED}, ended_at = playhead_now() "
    "FROM unnest($1::uuid[], $2::int[]) AS c (id, generation) "
    f"WHERE m.id = c.id AND m.generation = c.generation AND m.state IN ({PENDING}, {RETRY})"
)


class _Of(NamedTuple):
    """An execution that this transaction holds."""

    id: UUID
    batch: UUID | None
    traceparent: str | None
    status: str


class _Held(NamedTuple):
    """A row that is being worked, and is locked."""

    n: int
    lane: int
    execution: int


class WorkPart(BindPart):
    async def _hold_executions(self, con: Connection, ids: Sequence[UUID]) -> dict[int, _Of]:
        """Hold the executions of these messages until the end of the transaction, beside others that do."""
        rows = await con.fetch(
            "SELECT e.n, e.id, e.batch, e.traceparent, e.status FROM executions e "
            "WHERE e.n IN (SELECT m.execution FROM messages m WHERE m.id = ANY($1)) "
            "ORDER BY e.n FOR SHARE OF e",
            ids,
        )
        return {n: _Of(*rest) for n, *rest in rows}

    # -- claim -------------------------------------------------------------------------------------

    async def claim(self, worker: str, ids: Sequence[UUID], *, alone: bool = False) -> list[Claim | Refusal]:
        async def job(con: Connection) -> list[Claim | Refusal]:
            executions = await self._hold_executions(con, ids)
            # One whose execution is not held was committed just now: nobody was called for it yet.
            rows = {row[0]: row for row in await con.fetch(_TO_CLAIM, ids) if row[2] in executions}
            children = await self._unpublished_children(
                con, [row[1] for row in rows.values() if row[4] == COMPLETED]
            )
            alive: set[str] | None = None
            answers: list[Claim | Refusal] = []
            # By consecutive_crashes, and attempts that do not count: zero, nearly always.
            updates: dict[tuple[int, int], list[int]] = defaultdict(list)
            taken: set[int] = set()
            buried: dict[int, int] = {}
            unheard: list[int] = []  # claimed by a call whose answer was lost, so worked by nobody
            for cid in ids:
                row = rows.get(cid)
                if row is None:
                    answers.append(Refusal(cid, "unknown"))
                    continue
                (
                    _,
                    n,
                    execution_n,
                    lane_id,
                    state,
                    attempt,
                    uncounted_attempts,
                    holder,
                    consecutive_crashes,
                    early,
                    key,
                    stage,
                ) = row[:12]
                content_type, attributes, size, sha256 = row[12:]
                execution = executions[execution_n]
                if n in taken:
                    answers.append(Refusal(cid, "held", (), execution.id))
                    continue
                if n in buried:
                    answers.append(Refusal(cid, "closed", (), execution.id))
                    continue
                if state not in (PENDING, RUNNING, RETRY):
                    answers.append(Refusal(cid, "closed", tuple(children.get(str(cid), ())), execution.id))
                    continue
                if execution.status != "running":
                    if state == RUNNING and holder == worker:
                        unheard.append(n)
                    answers.append(Refusal(cid, "ended", (), execution.id))
                    continue
                again = state == RUNNING and holder == worker
                if state == RUNNING and not again:
                    if alive is None:
                        alive = await self._alive(con)
                    if holder in alive:
                        answers.append(Refusal(cid, "held", (), execution.id))
                        continue
                    consecutive_crashes += 1
                elif state == RETRY and early:
                    answers.append(Refusal(cid, "early", (), execution.id))
                    continue
                lane = await self._lane(con, lane_id)
                spent = attempt + 1 - uncounted_attempts - again
                if spent > lane.max_attempts:
                    buried[n] = lane.max_attempts
                    answers.append(Refusal(cid, "lost", (), execution.id, lane.config, lane.route))
                    continue
                if consecutive_crashes >= SUSPECT_LOSSES and not alone:
                    answers.append(Refusal(cid, "suspect", (), execution.id))
                    continue
                taken.add(n)
                updates[consecutive_crashes, int(again)].append(n)
                answers.append(
                    Claim(
                        correlation_id=cid,
                        attempt=attempt + 1,
                        spent=spent,
                        execution_id=execution.id,
                        replay_batch_id=execution.batch,
                        config=lane.config,
                        config_version=lane.version,
                        config_hash=lane.hash,
                        route=lane.route,
                        object_key=key,
                        stage=stage,
                        path=path_of(key, stage),
                        source=Source(content_type, json.loads(attributes), size, sha256)
                        if content_type is not None
                        else None,
                        traceparent=execution.traceparent,
                    )
                )
            for (consecutive_crashes, uncounted), claimed in updates.items():
                await con.execute(_CLAIM, claimed, uncounted, consecutive_crashes, worker, self._beat)
            if buried:
                await self._bury_lost(con, buried)
            if unheard:
                await con.execute(
                    f"UPDATE messages SET state = {CANCELLED}, worker = NULL, ended_at = playhead_now() "
                    "WHERE n = ANY($1::bigint[])",
                    unheard,
                )
            return answers

        return await self._write(job)

    async def _unpublished_children(
        self, con: Connection, parents: Sequence[int]
    ) -> dict[str, list[Dispatch]]:
        """Calls of children that nobody published yet, by the id of their parent."""
        calls: dict[str, list[Dispatch]] = defaultdict(list)
        if parents:
            rows = await con.fetch(
                f"{CALL} WHERE m.parent = ANY($1::bigint[]) AND m.published = 0 AND m.state = {PENDING} "
                "ORDER BY m.n",
                parents,
            )
            for call in await self._calls(con, rows):
                calls[call.parent or ""].append(call)
        return calls

    async def _bury_lost(self, con: Connection, most: Mapping[int, int]) -> None:
        """Close rows whose last attempt was lost with its worker; `most` attempts each."""
        await con.execute(
            f"UPDATE messages m SET state = {DEAD}, worker = NULL, ended_at = playhead_now(), "
            "error_code = 'worker_lost', error = r.why, traceback = NULL "
            "FROM unnest($1::bigint[], $2::text[]) AS r (n, why) WHERE m.n = r.n",
            list(most),
            [lost_in_the_last(attempts) for attempts in most.values()],
        )
        await self._burn(con, list(most))

    async def _burn(self, con: Connection, rows: Sequence[int]) -> None:
        await con.execute(
            f"UPDATE outputs SET state = {SUPERSEDED} WHERE message = ANY($1) AND state <> {SUPERSEDED}", rows
        )

    # -- finish ------------------------------------------------------------------------------------

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        async def job(con: Connection) -> list[Finished | None]:
            ids = [r.correlation_id for r in results]
            executions = await self._hold_executions(con, ids)
            held = {
                (cid, attempt): _Held(*row)
                for cid, attempt, state, *row in await con.fetch(_HELD, ids)
                if state == RUNNING
            }
            # Taken out of `held`: a second result under one token finds that it has ended. Done comes first.
            order = sorted(range(len(results)), key=lambda at: not isinstance(results[at], Done))
            rows = {
                at: row
                for at in order
                if (row := held.pop((results[at].correlation_id, results[at].attempt), None))
            }
            done: list[tuple[Done, _Held]] = []
            not_done: list[tuple[Failed | Released, _Held]] = []
            before: list[Done] = []
            for at, result in enumerate(results):
                if not isinstance(result, Done):
                    not_done += [(result, rows[at])] if at in rows else []
                elif at in rows:
                    done.append((result, rows[at]))
                else:
                    before.append(result)
            await self._end_done(con, done)
            children = await self._call_children(con, publisher, done, executions)
            await self._end_not_done(con, not_done, executions)
            left = await self._done_before(con, before)
            answers: list[Finished | None] = []
            for at, result in enumerate(results):
                if at in rows:
                    row = rows[at]
                    ended = executions[row.execution].status != "running"
                    answers.append(Finished(children.get(row.n, []), ended and not isinstance(result, Done)))
                elif isinstance(result, Done):
                    answers.append(left.get((result.correlation_id, result.attempt)))
                else:
                    answers.append(None)
            return answers

        return await self._write(job)

    async def _end_done(self, con: Connection, done: Sequence[tuple[Done, _Held]]) -> None:
        if not done:
            return
        await con.execute(_DONE, [row.n for _, row in done])
        if keys := [key for result, _ in done for key in result.keys]:
            await con.execute(f"UPDATE outputs SET state = {STORED} WHERE key = ANY($1)", keys)
        # A first attempt has made no others.
        if again := [row.n for result, row in done if result.attempt > 1]:
            await con.execute(
                f"UPDATE outputs SET state = {SUPERSEDED} WHERE message = ANY($1) AND state = {WRITING}",
                again,
            )

    async def _done_before(
        self, con: Connection, results: Sequence[Done]
    ) -> dict[tuple[UUID, int], Finished]:
        """What is left to do of attempts that a call before has ended, whose answer was lost; by token."""
        if not results:
            return {}
        rows = await con.fetch(
            "SELECT m.id, m.attempt, m.n FROM messages m JOIN unnest($1::uuid[], $2::int[]) AS r (id, attempt) "
            f"USING (id, attempt) WHERE m.state = {COMPLETED}",
            [r.correlation_id for r in results],
            [r.attempt for r in results],
        )
        children = await self._unpublished_children(con, [n for _, _, n in rows])
        return {(cid, attempt): Finished(children.get(str(cid), [])) for cid, attempt, _ in rows}

    async def _call_children(
        self,
        con: Connection,
        publisher: str,
        done: Sequence[tuple[Done, _Held]],
        executions: Mapping[int, _Of],
    ) -> dict[int, list[Dispatch]]:
        """Insert the children of attempts; returns their calls by parent. Those of a cancelled execution
        are inserted as cancelled, and called by nobody.

        The execution is held since before it was looked at, so what it was then it is until the commit:
        a cancel finds these rows, or they find the cancel.
        """
        family: list[tuple[_Held, str, str, str, int]] = []
        for result, row in done:
            lane = await self._lane(con, row.lane)
            feeds = [await self._feed(con, lane.config_version, route) for route in lane.feeds]
            parent, stage = str(result.correlation_id), lane.stage or ""
            family += [(row, parent, key, stage, feed) for key in result.keys for feed in feeds]
        if not family:
            return {}
        minted = [text(cid) for cid in mint(len(family))]
        await con.execute(
            _CHILDREN,
            minted,
            [row.execution for row, *_ in family],
            [feed for *_, feed in family],
            [key for _, _, key, _, _ in family],
            [stage for _, _, _, stage, _ in family],
            [PENDING if executions[row.execution].status == "running" else CANCELLED for row, *_ in family],
            [row.n for row, *_ in family],
            publisher,
        )
        maker = CallMaker(await self._learn(con, {feed for *_, feed in family}))
        calls: dict[int, list[Dispatch]] = defaultdict(list)
        for cid, (row, parent, key, _, feed) in zip(minted, family, strict=True):
            execution = executions[row.execution]
            if execution.status == "running":
                headers, external = maker.headers(
                    row.execution, feed, execution.id, execution.batch, execution.traceparent
                )
                calls[row.n].append(Dispatch(headers, cid, 0, parent, key, external))
        return calls

    async def _end_not_done(
        self,
        con: Connection,
        not_done: Sequence[tuple[Failed | Released, _Held]],
        executions: Mapping[int, _Of],
    ) -> None:
        if not not_done:
            return
        ends = []
        for result, row in not_done:
            state = DEAD if result.delay is None else RETRY
            if executions[row.execution].status != "running":
                state = CANCELLED
            if isinstance(result, Failed):
                said = (storable(result.code), storable(result.error), storable(result.traceback))
            else:
                said = (None, None, None)
            ends.append((row.n, state, isinstance(result, Released), result.delay, *said))
        await con.execute(_NOT_DONE, *map(list, zip(*ends, strict=True)))
        if dead := [n for n, state, *_ in ends if state == DEAD]:
            await self._burn(con, dead)

    # -- published, ended --------------------------------------------------------------------------

    async def mark_published(
        self,
        confirmed: Sequence[Dispatch],
        *,
        refused: Sequence[tuple[Dispatch, str]] = (),
        left: Sequence[Dispatch] = (),
    ) -> None:
        executions = {c.headers.execution_id for c in confirmed} | {
            c.headers.execution_id for c in (*left, *(c for c, _ in refused))
        }
        if not executions:
            return

        async def job(con: Connection) -> None:
            # No look depends on it; but a cancel locks these rows in another order than this does.
            await con.execute(
                "SELECT FROM executions WHERE id = ANY($1) ORDER BY n FOR SHARE", list(executions)
            )
            for external, statement in ((False, _MARK), (True, _MARK_EXTERNAL)):
                calls = [c for c in confirmed if c.external == external]
                if calls:
                    await con.execute(
                        statement, [c.correlation_id for c in calls], [c.generation for c in calls]
                    )
            if left:
                await con.execute(_LEAVE, [c.correlation_id for c in left], [c.generation for c in left])
            await self._refuse(con, refused)

        await self._write(job)

    async def end_executions(self, executions: Sequence[UUID]) -> list[UUID]:
        if not executions:
            return []
        # A look that locks nothing: most find an open row, and many workers ask at once.
        maybe = await self._read(lambda con: self._may_end(con, executions))
        if not maybe:
            return []

        async def job(con: Connection) -> list[UUID]:
            # The lock waits for those who are making rows of these executions or waking them. What they
            # committed meanwhile only a new statement sees.
            await con.execute(
                "SELECT FROM executions WHERE id = ANY($1) ORDER BY n FOR UPDATE", list(maybe.values())
            )
            ended = await self._may_end(con, list(maybe.values()))
            for n in ended:
                await con.execute(
                    "UPDATE executions SET ended_at = playhead_now(), revision = revision + 1, status = CASE "
                    f"WHEN EXISTS (SELECT FROM messages WHERE execution = $1 AND state = {DEAD}) "
                    "OR EXISTS (SELECT FROM jobs WHERE execution = $1 AND listing_state = 'dead') "
                    "THEN 'failed' ELSE 'completed' END WHERE n = $1",
                    n,
                )
                await self._settle_execution(con, n)
            return list(ended.values())

        return await self._write(job, seconds=LONG_SECONDS)

    async def _may_end(self, con: Connection, executions: Sequence[UUID]) -> dict[int, UUID]:
        """Those that run and have neither an open row nor an open listing_state; their ids by number."""
        # LIMIT keeps each look a look into the index: without it they would be joined as a whole.
        rows = await con.fetch(
            "SELECT e.n, e.id FROM executions e WHERE e.id = ANY($1) AND e.status = 'running' "
            "AND (SELECT 1 FROM jobs j WHERE j.execution = e.n AND j.listing_state = 'open' LIMIT 1) IS NULL "
            + " ".join(
                f"AND (SELECT 1 FROM messages m WHERE m.execution = e.n AND m.state = {state} LIMIT 1) IS NULL"
                for state in (PENDING, RUNNING, RETRY)
            )
            + " ORDER BY e.n",
            list(executions),
        )
        return dict(map(tuple, rows))
