"""Finish attempts, mark what was published, and end executions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.executions import exclude, share_of_messages
from playhead.backends._sql_catalog.failing import record_failures
from playhead.backends._sql_catalog.lanes import DispatchMaker, Origin, as_uuid, storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.requests import decode_effects
from playhead.backends._sql_catalog.reusing import Source, Wanted
from playhead.backends._sql_catalog.rows import LONG_SECONDS, refuse_dispatches
from playhead.backends.sql import CANCELLED, DEAD, PENDING, RETRY, RUNNING, STORED, TAKEN_OVER
from playhead.backends.sql.session import Session, natives
from playhead.backends.sql.statements import SQL, Statement
from playhead.envelope import Dispatch
from playhead.failures import cause_of, group_of
from playhead.ids import mint, text
from playhead.model import EFFECTS_SKIPPED, is_skipped
from playhead.ports.catalog.work import Done, Failed, Finished, Released, Result


class _Held(NamedTuple):
    """A running row that this transaction has locked, and the status of its execution. `has_failed`: its
    object, or that of another route with the same path, is recorded as failing."""

    n: int
    lane: int
    execution: int
    status: str
    is_bulk: bool | None
    has_failed: bool
    path: str


_Child = tuple[_Held, str, str, str, int]
"""Parent, id of the parent, key, stage and lane."""


class WorkPart(Part):
    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        async def end(db: Session) -> list[Finished | None]:
            keys = natives(db, [r.correlation_id for r in results])
            await share_of_messages(db, keys)
            held = {
                (row[0], row[1]): _Held._make(row[3:])
                for row in await db.rows(SQL.lock_running, ids=keys)
                if row[2] == RUNNING
            }
            # A token is removed when it is used: a second result with this token finds an ended attempt.
            # `Done` results come first.
            rows: dict[int, _Held] = {}
            for is_done in (True, False):
                for at, result in enumerate(results):
                    if isinstance(result, Done) is is_done:
                        row = held.pop((keys[at], result.attempt), None)
                        if row:
                            rows[at] = row
            held_results = [(results[at], row) for at, row in sorted(rows.items())]
            done = [(result, row) for result, row in held_results if isinstance(result, Done)]
            await self._end_done(db, done)
            children = await self._insert_children(db, publisher, done)
            await self._end_not_done(
                db, [(result, row) for result, row in held_results if not isinstance(result, Done)]
            )
            if processed := [result.correlation_id for result, row in done if row.has_failed]:
                await db.run(SQL.close_failing, ids=processed)
            earlier = await self._done_before(
                db, [r for at, r in enumerate(results) if isinstance(r, Done) and at not in rows]
            )
            answers: list[Finished | None] = []
            for at, result in enumerate(results):
                if at in rows:
                    row = rows[at]
                    cancelled = row.status != "running" and not isinstance(result, Done)
                    answers.append(Finished(children.get(row.n, []), cancelled))
                elif isinstance(result, Done):
                    answers.append(earlier.get((result.correlation_id, result.attempt)))
                else:
                    answers.append(None)
            ended[:] = [row.lane for _, row in done]
            return answers

        ended: list[int] = []
        answers = await self._db.write(end)
        self._tally.add(ended)
        return answers

    async def _end_done(self, db: Session, done: Sequence[tuple[Done, _Held]]) -> None:
        if not done:
            return
        if skipped := [(row.n, *r.skip, r.ran, r.reads) for r, row in done if r.skip]:
            rows, codes, reasons, ran, reads = map(list, zip(*skipped, strict=True))
            texts = [storable(reason) for reason in reasons]
            await db.run(SQL.skip, rows=rows, codes=codes, reasons=texts, ran=ran, reads=reads)
        completed: dict[tuple[int | None, int | None], list[int]] = defaultdict(list)
        for result, row in done:
            if not result.skip:
                completed[result.ran, result.reads].append(row.n)
        for (code, read), numbers in completed.items():
            await db.run(SQL.complete, rows=numbers, ran=code, reads=read)
        if keys := [key for result, _ in done for key in result.keys]:
            await db.run(SQL.set_output_state, keys=keys, state=STORED)
        # A first attempt has no other outputs.
        if again := [row.n for result, row in done if result.attempt > 1]:
            await db.run(SQL.supersede_unstored, messages=again)

    async def _done_before(self, db: Session, results: Sequence[Done]) -> dict[tuple[UUID, int], Finished]:
        """Return, by token, the remaining children of attempts that an earlier call has ended."""
        if not results:
            return {}
        rows = await db.rows(
            SQL.done_before, ids=[r.correlation_id for r in results], attempts=[r.attempt for r in results]
        )
        answers = {}
        for cid, attempt, n in rows:
            children: list[Dispatch] = []
            parents = [n]
            while parents:  # the row, then those below it whose results were taken over
                found = await self._lanes.unpublished_children(db, parents)
                children += [one for some in found.values() for one in some]
                below = map(Source._make, await db.rows(SQL.children_of, parents=parents))
                parents = [one.n for one in below if one.state == TAKEN_OVER]
            answers[as_uuid(cid), attempt] = Finished(children)
        return answers

    async def _insert_children(
        self, db: Session, publisher: str, done: Sequence[tuple[Done, _Held]]
    ) -> dict[int, list[Dispatch]]:
        """Insert the children of attempts; return their dispatches by parent. Children of a cancelled
        execution are inserted as cancelled, and those in routes that a replay skips as skipped, without a
        dispatch.

        The execution is locked since before its status was read, so the status holds until the commit: a
        cancel finds these rows, or these rows find the cancel.
        """
        family: list[_Child] = []
        lanes = await self._lanes.learn(db, {row.lane for _, row in done})
        feeds: dict[int, list[int]] = {}
        for result, row in done:
            lane = lanes[row.lane]
            if lane.feeds and result.keys:
                if row.lane not in feeds:
                    feeds[row.lane] = [
                        await self._lanes.feed(db, lane.config_version, to) for to in lane.feeds
                    ]
                parent, stage = str(result.correlation_id), lane.stage or ""
                family += [(row, parent, key, stage, feed) for key in result.keys for feed in feeds[row.lane]]
        if not family:
            return {}
        executions = {row.execution for _, row in done}
        origins = await self._origins.learn(db, executions)
        if any(origins[n].effects for n in executions):
            family = await self._insert_skipped(db, family, origins)
        raw = mint(len(family))
        ids = [text(cid) for cid in raw]
        states = {True: PENDING, False: CANCELLED}
        await db.insert(
            SQL.insert_children,
            [
                (
                    *(cid, row.execution, feed, key, stage, states[row.status == "running"], row.n),
                    *(publisher, row.is_bulk),
                )
                for cid, (row, _, key, stage, feed) in zip(raw if db.raw_ids else ids, family, strict=True)
            ],
        )
        maker = DispatchMaker(await self._lanes.learn(db, {feed for *_, feed in family}))
        found: dict[int, list[Dispatch]] = defaultdict(list)
        taken = set[str]()
        for n in (n for n in executions if origins[n].reuses):
            taken |= await self._reuse(
                db, n, origins[n].id, publisher, dict(zip(ids, family, strict=True)), found
            )
        for cid, (row, parent, key, _, feed) in zip(ids, family, strict=True):
            if row.status == "running" and cid not in taken:
                identity, batch, trace, is_bulk, *_ = origins[row.execution]
                is_bulk = is_bulk if row.is_bulk is None else bool(row.is_bulk)
                headers, external = maker.headers(row.execution, feed, identity, batch, trace, is_bulk)
                found[row.n].append(Dispatch(headers, cid, 0, parent, key, external))
        return found

    async def _reuse(
        self,
        db: Session,
        execution: int,
        identity: UUID,
        publisher: str,
        family: Mapping[str, _Child],
        found: dict[int, list[Dispatch]],
    ) -> set[str]:
        """Take over results for children of an execution, by their ids; return those that need no attempt.

        Adds to `found` the dispatches of what follows them and has no result.
        """
        wanted = [
            Wanted(cid, feed, key, stage)
            for cid, (row, _, key, stage, feed) in family.items()
            if row.execution == execution and row.status == "running"
        ]
        taken, rows = await self._take_over.take_results(db, execution, identity, wanted, publisher)
        if rows:
            following = await self._lanes.unpublished_children(db, rows)
            parent = family[next(iter(taken))][0]
            found[parent.n] += [one for some in following.values() for one in some]
        return taken

    async def _insert_skipped(
        self, db: Session, family: Sequence[_Child], origins: Mapping[int, Origin]
    ) -> list[_Child]:
        """Insert the children in routes that their replays skip; return the others.

        Their parent is completed in the same transaction, and no later one makes them pending: whichever
        process dies, there is nothing that could be published.
        """
        lanes = await self._lanes.learn(db, {feed for *_, feed in family})
        kept: list[_Child] = []
        skipped: list[_Child] = []
        for child in family:
            row, *_, feed = child
            effects = origins[row.execution].effects
            is_kept = row.status != "running" or not is_skipped(effects, lanes[feed].route)
            (kept if is_kept else skipped).append(child)
        raw = mint(len(skipped))
        await db.insert(
            SQL.insert_skipped_children,
            [
                (cid, row.execution, feed, key, stage, row.n, *EFFECTS_SKIPPED)
                for cid, (row, _, key, stage, feed) in zip(
                    raw if db.raw_ids else map(text, raw), skipped, strict=True
                )
            ],
        )
        return kept

    async def skip_route(self, execution: UUID, route: str) -> None:
        async def skip(db: Session) -> int:
            # It locks the job alone, so no transaction that has locked messages waits for it.
            row = await db.row(SQL.lock_effects, execution=execution)
            assert row, "only replays skip routes"
            n: int = row[0]
            effects = {**decode_effects(row[1]), route: "skip"}
            await db.run(SQL.set_effects_of_job, effects=json.dumps(effects), execution=n)
            return n

        n = await self._db.write(skip)
        self._origins.forget(n)

    async def _end_not_done(self, db: Session, not_done: Sequence[tuple[Failed | Released, _Held]]) -> None:
        if not not_done:
            return
        ends = []
        causes: list[tuple[UUID | str, int]] = []
        lanes = await self._lanes.learn(db, {row.lane for _, row in not_done})
        for result, row in not_done:
            released = isinstance(result, Released)
            held = released and result.delay is None
            state = DEAD if result.delay is None and not released else RETRY
            if row.status != "running":
                state = CANCELLED
            error: tuple[str | int | None, ...] = (None, None, None, None, None)
            if isinstance(result, Failed):
                texts = storable(result.code), storable(result.error), storable(result.traceback)
                group = None
                if state == DEAD:
                    lane = lanes[row.lane]
                    failed = result.code, result.error, result.traceback
                    group = group_of(lane.config, lane.route, *failed)
                    causes.append((result.correlation_id, cause_of(*failed, row.path)))
                error = (*texts, result.ran, group)
            called = result.called if isinstance(result, Released) else True
            ends.append((row.n, state, released, called, held, result.delay or 0.0, *error))
        names = (
            *("rows", "states", "released", "called", "held", "delays"),
            *("codes", "errors", "tracebacks", "ran", "groups"),
        )
        columns = dict(zip(names, map(list, zip(*ends, strict=True)), strict=True))
        await db.run(SQL.end_failed, **columns)
        if dead := [end[0] for end in ends if end[1] == DEAD]:
            await db.run(SQL.supersede_outputs, messages=dead)
        await record_failures(db, self._tally, causes)

    # -- published, ended --------------------------------------------------------------------------

    async def mark_published(
        self,
        confirmed: Sequence[Dispatch],
        *,
        refused: Sequence[tuple[Dispatch, str]] = (),
        left: Sequence[Dispatch] = (),
    ) -> None:
        changes: dict[tuple[Statement, int], list[str]] = defaultdict(list)
        for dispatch in confirmed:
            statement = SQL.mark_external if dispatch.external else SQL.mark_published
            changes[statement, dispatch.generation].append(dispatch.correlation_id)
        for dispatch in left:
            changes[SQL.leave_unpublished, dispatch.generation].append(dispatch.correlation_id)
        if not (changes or refused):
            return

        async def mark(db: Session) -> None:
            if db.row_locks:
                dispatches = (*confirmed, *left, *(dispatch for dispatch, _ in refused))
                executions = {dispatch.headers.execution_id for dispatch in dispatches}
                await db.rows(SQL.share_executions_by_id, ids=list(executions))
                await db.rows(SQL.lock_messages, ids=[d.correlation_id for d in dispatches])
            for (statement, generation), ids in changes.items():
                await db.run(statement, ids=ids, generation=generation)
            await refuse_dispatches(db, self._tally, refused)

        await self._db.write(mark)

    async def end_executions(self, executions: Sequence[UUID] | None = None) -> list[UUID]:
        if executions is not None and not executions:
            return []
        # Without a lock first: most executions have an open row, and many workers ask.
        maybe = await self._db.read(lambda db: self._completable(db, executions))
        if not maybe:
            return []

        async def end(db: Session) -> list[UUID]:
            held = await self._completable(db, list(maybe.values()))
            await exclude(db, held)
            # A new statement: the lock may have waited for transactions that inserted or woke rows.
            ended = await self._completable(db, list(held.values()))
            for n in ended:
                await db.run(SQL.end_execution, n=n)
                await db.run(SQL.close_ended_job, execution=n)
                await self._executions.settle(db, n)
                await self._replays.record_end(db, n)
            return list(ended.values())

        return await self._db.write(end, seconds=LONG_SECONDS)

    async def _completable(self, db: Session, executions: Sequence[UUID] | None) -> dict[int, UUID]:
        """Return those that run and have no open row and no open listing; their ids by number."""
        rows = await db.rows(SQL.completable, ids=None if executions is None else list(executions))
        return {n: as_uuid(identity) for n, identity in rows}
