"""Claim, bind, finish in SQLite: the transactions of the worker's inner loop."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.bindings import (
    KNOWN,
    NEW_OUTPUT,
    Output,
    Plan,
    Todo,
    all_keys,
    wanted_once,
)
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
from playhead.backends._sqlite import Connection, among, insert
from playhead.backends.catalog_sqlite.rows import Part, raw, uuid_or_none
from playhead.envelope import Dispatch
from playhead.ids import mint, text
from playhead.ports.catalog.work import (
    SUSPECT_LOSSES,
    Binding,
    Bound,
    Claim,
    Done,
    Failed,
    Finished,
    Refusal,
    Released,
    Result,
    Source,
    Unbound,
)

_ROWS = (
    "SELECT m.id, m.n, m.execution, m.lane, m.state, m.attempt, m.uncounted_attempts, m.not_before, m.worker, m.consecutive_crashes, "
    "m.object_key, m.stage, o.content_type, o.attributes, o.size, o.sha256, e.id, e.status, e.batch, e.traceparent "
    "FROM messages m JOIN executions e ON e.n = m.execution LEFT JOIN outputs o ON o.key = m.object_key "
    "WHERE m.id IN "
)
_BOUND = f"outputs ({NEW_OUTPUT}, state, created_at)"


class _Held(NamedTuple):
    """A row that is being worked, and of its execution (from `execution` on) what that needs."""

    n: int
    lane: int
    execution: int
    uuid: bytes
    batch: bytes | None
    traceparent: str | None
    status: str


class WorkPart(Part):
    # -- claim -------------------------------------------------------------------------------------

    async def claim(self, worker: str, ids: Sequence[UUID], *, alone: bool = False) -> list[Claim | Refusal]:
        def job(con: Connection) -> list[Claim | Refusal]:
            now = self._clock()
            alive: set[str] | None = None
            answers: list[Claim | Refusal] = []
            rows = {
                row[0]: row[1:]
                for marks, some in among([cid.bytes for cid in ids])
                for row in con.execute(f"{_ROWS} ({marks})", some)
            }
            # By consecutive_crashes, and attempts that do not count: zero, nearly always.
            updates: dict[tuple[int, int], list[int]] = defaultdict(list)
            taken: set[int] = set()
            buried: set[int] = set()
            for cid in ids:
                row = rows.get(cid.bytes)
                if row is None:
                    answers.append(Refusal(cid, "unknown"))
                    continue
                (
                    n,
                    _,
                    lane_id,
                    state,
                    attempt,
                    uncounted_attempts,
                    not_before,
                    holder,
                    consecutive_crashes,
                    key,
                    stage,
                ) = row[:11]
                content_type, attributes, size, sha256, execution, status, batch, traceparent = row[11:]
                execution_id = UUID(bytes=execution)
                if n in taken:
                    answers.append(Refusal(cid, "held", (), execution_id))
                    continue
                if n in buried:
                    answers.append(Refusal(cid, "closed", (), execution_id))
                    continue
                if state not in (PENDING, RUNNING, RETRY):
                    children = self._unpublished_children(con, n) if state == COMPLETED else ()
                    answers.append(Refusal(cid, "closed", children, execution_id))
                    continue
                if status != "running":
                    if state == RUNNING and holder == worker:  # claimed by an unheard call, worked by nobody
                        con.execute(
                            "UPDATE messages SET state = ?, worker = NULL, ended_at = ? WHERE n = ?",
                            (CANCELLED, now, n),
                        )
                    answers.append(Refusal(cid, "ended", (), execution_id))
                    continue
                again = state == RUNNING and holder == worker
                if state == RUNNING and not again:
                    if alive is None:
                        alive = self._alive(con)
                    if holder in alive:
                        answers.append(Refusal(cid, "held", (), execution_id))
                        continue
                    consecutive_crashes += 1
                elif state == RETRY and not_before is not None and not_before > now:
                    answers.append(Refusal(cid, "early", (), execution_id))
                    continue
                lane = self._lane(con, lane_id)
                spent = attempt + 1 - uncounted_attempts - again
                if spent > lane.max_attempts:
                    self._bury_lost(con, n, lane.max_attempts)
                    buried.add(n)
                    answers.append(Refusal(cid, "lost", (), execution_id, lane.config, lane.route))
                    continue
                if consecutive_crashes >= SUSPECT_LOSSES and not alone:
                    answers.append(Refusal(cid, "suspect", (), execution_id))
                    continue
                taken.add(n)
                updates[consecutive_crashes, int(again)].append(n)
                answers.append(
                    Claim(
                        correlation_id=cid,
                        attempt=attempt + 1,
                        spent=spent,
                        execution_id=execution_id,
                        replay_batch_id=uuid_or_none(batch),
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
                        traceparent=traceparent,
                    )
                )
            # A claim settles an uncertain row as published: somebody was called.
            for (consecutive_crashes, uncounted), claimed in updates.items():
                for marks, some in among(claimed):
                    con.execute(
                        "UPDATE messages SET state = ?, attempt = attempt + 1, uncounted_attempts = uncounted_attempts + ?, worker = ?, started_at = ?, consecutive_crashes = ?, "
                        f"not_before = NULL, published = 1 WHERE n IN ({marks})",
                        (RUNNING, uncounted, worker, now, consecutive_crashes, *some),
                    )
            if taken:  # a sign of life, in the same transaction: nobody sees the claim without it
                con.execute(
                    "UPDATE processes SET heartbeat_at = ? WHERE id = ? AND heartbeat_at < ?",
                    (now, worker, now - self._beat),
                )
            return answers

        return await self._write(job)

    def _unpublished_children(self, con: Connection, n: int) -> tuple[Dispatch, ...]:
        maker = self._call_maker(con)
        rows = con.execute(
            f"{CALL} WHERE m.parent = ? AND m.published = 0 AND m.state = ? ORDER BY m.n",
            (n, PENDING),
        ).fetchall()
        return tuple(maker.calls(rows))

    def _bury_lost(self, con: Connection, n: int, most: int) -> None:
        con.execute(
            "UPDATE messages SET state = ?, worker = NULL, ended_at = ?, error_code = 'worker_lost', error = ?, "
            "traceback = NULL WHERE n = ?",
            (DEAD, self._clock(), lost_in_the_last(most), n),
        )
        self._burn(con, n)

    def _burn(self, con: Connection, n: int) -> None:
        con.execute("UPDATE outputs SET state = ? WHERE message = ?", (SUPERSEDED, n))

    # -- bind --------------------------------------------------------------------------------------

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        encoded = [[json.dumps(o.attributes, ensure_ascii=False) for o in b.outputs] for b in bindings]

        def job(con: Connection) -> list[list[Bound] | Unbound | None]:
            now = self._clock()
            held = self._held(con, [b.correlation_id for b in bindings])
            todo: list[Todo | None] = []
            for binding, attributes in zip(bindings, encoded, strict=True):
                row = held.get((binding.correlation_id.bytes, binding.attempt))
                if row is None:
                    todo.append(None)
                    continue
                stage = self._lane(con, row.lane).stage
                assert stage is not None, "only a route with an outbound stage binds outputs"
                todo.append(Todo(binding, attributes, row.n, f"{text(row.uuid)}/{stage}/"))
            new = self._bind_new(con, [one for one in todo if one], now)
            answers: list[list[Bound] | Unbound | None] = []
            for one in todo:
                if one is None:
                    answers.append(None)
                elif one.n in new:
                    attempt = one.binding.attempt
                    answers.append(
                        [Bound(one.prefix + o.path, o.path, attempt, now) for o in one.binding.outputs]
                    )
                else:
                    answers.append(self._bind_again(con, one, now))
            return answers

        return await self._write(job)

    def _held(self, con: Connection, ids: Sequence[UUID]) -> dict[tuple[bytes, int], _Held]:
        """The rows among these that are being worked, by their tokens."""
        return {
            (cid, attempt): _Held(*row)
            for marks, some in among([cid.bytes for cid in ids])
            for cid, attempt, *row in con.execute(
                "SELECT m.id, m.attempt, m.n, m.lane, m.execution, e.id, e.batch, e.traceparent, e.status "
                "FROM messages m JOIN executions e ON e.n = m.execution "
                f"WHERE m.id IN ({marks}) AND m.state = {RUNNING}",
                some,
            )
        }

    def _bind_new(self, con: Connection, todo: Sequence[Todo], now: float) -> set[int]:
        """Bind those whose every key is new, in a few statements; returns which messages those are.

        Nearly all are. Nothing is left of the others, which want to be looked at one by one.
        """
        alone = wanted_once(todo)
        taken = {
            key
            for marks, some in among([key for one in alone for key in one.keys])
            for (key,) in con.execute(f"SELECT key FROM outputs WHERE key IN ({marks})", some)
        }
        new = [one for one in alone if taken.isdisjoint(one.keys)]
        insert(
            con,
            _BOUND,
            [
                (  # as `Todo.row` has it, without a call for each
                    *(key, one.n, one.binding.attempt, o.size, o.sha256, o.fingerprint),
                    *(o.content_type, attributes, WRITING, now),
                )
                for one in new
                for key, o, attributes in zip(one.keys, one.binding.outputs, one.attributes, strict=True)
            ],
        )
        return {one.n for one in new}

    def _bind_again(self, con: Connection, one: Todo, now: float) -> list[Bound] | Unbound:
        """Bind outputs of which some have a key that is bound already: to this message, or to another."""
        plan = Plan(
            {
                key: Output(*row)
                for marks, some in among(all_keys([one]))
                for key, *row in con.execute(f"{KNOWN} WHERE key IN ({marks})", some)
            },
            now,
        )
        answer = plan.bind(one)
        insert(con, _BOUND, [(*row, WRITING, now) for row in plan.inserts.values()])
        con.executemany(
            "UPDATE outputs SET state = ? WHERE key = ?", [(state, key) for key, state in plan.states.items()]
        )
        return answer

    # -- finish ------------------------------------------------------------------------------------

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        def job(con: Connection) -> list[Finished | None]:
            now = self._clock()
            done = self._done(con, publisher, [r for r in results if isinstance(r, Done)], now)
            return [
                next(done) if isinstance(result, Done) else self._not_done(con, result, now)
                for result in results
            ]

        return await self._write(job)

    def _done(
        self, con: Connection, publisher: str, results: Sequence[Done], now: float
    ) -> Iterator[Finished | None]:
        """End attempts that are done, and yield what came of each."""
        held = self._held(con, [r.correlation_id for r in results])
        # Taken out of `held`: a second result under one token finds that it has ended.
        found = [held.pop((r.correlation_id.bytes, r.attempt), None) for r in results]
        ended = [(r, row) for r, row in zip(results, found, strict=True) if row]
        for marks, some in among([row.n for _, row in ended]):
            con.execute(
                "UPDATE messages SET state = ?, ended_at = ?, worker = NULL, error_code = NULL, error = NULL, "
                f"traceback = NULL WHERE n IN ({marks})",
                (COMPLETED, now, *some),
            )
        for marks, keys in among([key for r, _ in ended for key in r.keys]):
            con.execute(f"UPDATE outputs SET state = ? WHERE key IN ({marks})", (STORED, *keys))
        again = [row.n for r, row in ended if r.attempt > 1]  # a first attempt has made no others
        for marks, some in among(again):
            con.execute(
                f"UPDATE outputs SET state = ? WHERE message IN ({marks}) AND state = ?",
                (SUPERSEDED, *some, WRITING),
            )
        children = self._call_children(con, publisher, ended)
        for result, row in zip(results, found, strict=True):
            yield Finished(children.get(row.n, [])) if row else self._done_before(con, result)

    def _done_before(self, con: Connection, result: Done) -> Finished | None:
        """What is left to do of an attempt that a call before has ended, whose answer was lost."""
        row = con.execute(
            "SELECT n FROM messages WHERE id = ? AND attempt = ? AND state = ?",
            (result.correlation_id.bytes, result.attempt, COMPLETED),
        ).fetchone()
        return Finished(list(self._unpublished_children(con, row[0]))) if row else None

    def _call_children(
        self, con: Connection, publisher: str, ended: Sequence[tuple[Done, _Held]]
    ) -> dict[int, list[Dispatch]]:
        """Insert the children of attempts; returns their calls by parent. Those of a cancelled execution
        are inserted as cancelled, and called by nobody."""
        maker = self._call_maker(con)
        family = [
            (row, str(r.correlation_id), lane, key, feed)
            for r, row in ended
            if (lane := self._lane(con, row.lane)).feeds
            for key in r.keys
            for feed in (self._feed(con, lane.config_version, route) for route in lane.feeds)
        ]
        minted = mint(len(family))
        insert(
            con,
            "messages (id, execution, lane, object_key, stage, state, published, parent, publisher)",
            [
                (
                    *(cid, row.execution, feed, key, lane.stage),
                    *(PENDING if row.status == "running" else CANCELLED, 0, row.n, publisher),
                )
                for cid, (row, _, lane, key, feed) in zip(minted, family, strict=True)
            ],
        )
        calls: dict[int, list[Dispatch]] = defaultdict(list)
        for cid, (row, parent, _, key, feed) in zip(minted, family, strict=True):
            if row.status == "running":
                headers, external = maker.headers(row.execution, feed, row.uuid, row.batch, row.traceparent)
                calls[row.n].append(Dispatch(headers, text(cid), 0, parent, key, external))
        return calls

    def _feed(self, con: Connection, config_version: int, route: str) -> int:
        known = self._feeds.get((config_version, route))
        if known is None:
            (known,) = con.execute(
                "SELECT id FROM lanes WHERE config_version = ? AND route = ?", (config_version, route)
            ).fetchone()
            self._feeds[config_version, route] = known
        return known

    def _not_done(self, con: Connection, result: Failed | Released, now: float) -> Finished | None:
        row = con.execute(
            "SELECT m.n, e.status FROM messages m JOIN executions e ON e.n = m.execution "
            "WHERE m.id = ? AND m.attempt = ? AND m.state = ?",
            (result.correlation_id.bytes, result.attempt, RUNNING),
        ).fetchone()
        if row is None:
            return None
        n, status = row
        change: dict[str, Any] = {"worker": None, "consecutive_crashes": 0}
        if isinstance(result, Failed):
            change |= {"error_code": result.code, "error": result.error, "traceback": result.traceback}
        else:
            (uncounted_attempts,) = con.execute(
                "SELECT uncounted_attempts FROM messages WHERE n = ?", (n,)
            ).fetchone()
            change["uncounted_attempts"] = uncounted_attempts + 1
        if status != "running":
            change |= {"state": CANCELLED, "ended_at": now}
        elif result.delay is None:
            change |= {"state": DEAD, "ended_at": now}
            self._burn(con, n)
        else:
            (generation,) = con.execute("SELECT generation FROM messages WHERE n = ?", (n,)).fetchone()
            change |= {"state": RETRY, "not_before": now + result.delay, "published": 0}
            change |= {"generation": generation + 1, "publisher": None}
        names = ", ".join(f"{name} = ?" for name in change)
        con.execute(f"UPDATE messages SET {names} WHERE n = ?", (*change.values(), n))
        return Finished(cancelled=status != "running")

    # -- published, ended --------------------------------------------------------------------------

    async def mark_published(
        self,
        confirmed: Sequence[Dispatch],
        *,
        refused: Sequence[tuple[Dispatch, str]] = (),
        left: Sequence[Dispatch] = (),
    ) -> None:
        ours: dict[int, list[bytes]] = defaultdict(list)  # by generation: zero, nearly always
        for call in confirmed:
            if not call.external:
                ours[call.generation].append(raw(call.correlation_id))
        others = [(raw(c.correlation_id), c.generation) for c in confirmed if c.external]

        def job(con: Connection) -> None:
            for generation, ids in ours.items():
                for marks, some in among(ids):
                    con.execute(
                        f"UPDATE messages SET published = 1, publisher = NULL WHERE id IN ({marks}) AND generation = ?",
                        (*some, generation),
                    )
            now = self._clock()
            if others:
                con.executemany(
                    "UPDATE messages SET published = 1, publisher = NULL, state = ?, ended_at = ? "
                    "WHERE id = ? AND generation = ? AND state IN (?, ?)",
                    [(COMPLETED, now, *key, PENDING, RETRY) for key in others],
                )
            self._refuse(con, refused)
            con.executemany(
                "UPDATE messages SET publisher = NULL WHERE id = ? AND generation = ? AND published = 0",
                [(raw(call.correlation_id), call.generation) for call in left],
            )

        await self._write(job)

    async def end_executions(self, executions: Sequence[UUID]) -> list[UUID]:
        def look(con: Connection) -> list[UUID]:
            return [e for e in executions if self._may_end(con, e) is not None]

        maybe = await self._read(look)
        if not maybe:
            return []

        def job(con: Connection) -> list[UUID]:
            ended = []
            for execution in maybe:
                n = self._may_end(con, execution)
                if n is None:
                    continue
                (failed,) = con.execute(
                    "SELECT EXISTS (SELECT 1 FROM messages WHERE execution = ?1 AND state = ?2) "
                    "OR EXISTS (SELECT 1 FROM jobs WHERE execution = ?1 AND listing_state = 'dead')",
                    (n, DEAD),
                ).fetchone()
                con.execute(
                    "UPDATE executions SET status = ?, ended_at = ?, revision = revision + 1 WHERE n = ?",
                    ("failed" if failed else "completed", self._clock(), n),
                )
                self._settle_execution(con, n)
                ended.append(execution)
            return ended

        return await self._write(job)

    def _may_end(self, con: Connection, execution: UUID) -> int | None:
        row = con.execute(
            "SELECT n FROM executions WHERE id = ? AND status = 'running'", (execution.bytes,)
        ).fetchone()
        return None if row is None or self._is_open(con, row[0]) else int(row[0])
