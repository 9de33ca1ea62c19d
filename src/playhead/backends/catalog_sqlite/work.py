"""Claim, bind, finish in SQLite: the transactions of the worker's inner loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from playhead.backends._sqlite import Connection
from playhead.backends.catalog_sqlite.rows import (
    BURNT,
    CANCELLED,
    COMPLETED,
    DEAD,
    PENDING,
    RETRY,
    RUNNING,
    STORED,
    WRITING,
    CallMaker,
    Part,
    raw,
    uuid_or_none,
)
from playhead.envelope import Call
from playhead.ids import mint, text
from playhead.keys import renamed
from playhead.ports.catalog.work import (
    SUSPECT_LOSSES,
    Binding,
    Bound,
    Claim,
    Done,
    Failed,
    Finished,
    GivenBack,
    NewOutput,
    Refusal,
    Result,
    Source,
    Unbound,
)

_ROW = (
    "SELECT m.n, m.execution, m.lane, m.state, m.attempt, m.base, m.not_before, m.worker, m.losses, "
    "m.object_key, m.stage, o.content_type, o.attributes, o.size, o.sha256, e.id, e.status, e.batch "
    "FROM messages m JOIN executions e ON e.n = m.execution LEFT JOIN outputs o ON o.key = m.object_key "
    "WHERE m.id = ?"
)


class WorkPart(Part):
    # -- claim -------------------------------------------------------------------------------------

    async def claim(self, worker: str, ids: Sequence[UUID]) -> list[Claim | Refusal]:
        def job(con: Connection) -> list[Claim | Refusal]:
            now = self._clock()
            alive: set[str] | None = None
            answers: list[Claim | Refusal] = []
            updates = []
            taken = set()
            for cid in ids:
                row = con.execute(_ROW, (cid.bytes,)).fetchone()
                if row is None:
                    answers.append(Refusal(cid, "unknown"))
                    continue
                (n, _, lane_id, state, attempt, base, not_before, holder, losses, key, stage) = row[:11]
                content_type, attributes, size, sha256, execution, status, batch = row[11:]
                execution_id = UUID(bytes=execution)
                if n in taken:
                    answers.append(Refusal(cid, "held", (), execution_id))
                    continue
                if state not in (PENDING, RUNNING, RETRY):
                    children = self._unpublished_children(con, n) if state == COMPLETED else ()
                    answers.append(Refusal(cid, "closed", children, execution_id))
                    continue
                if status != "running":
                    answers.append(Refusal(cid, "ended", (), execution_id))
                    continue
                if state == RUNNING:
                    if alive is None:
                        alive = self._alive(con)
                    if holder in alive:
                        answers.append(Refusal(cid, "held", (), execution_id))
                        continue
                    losses += 1
                elif state == RETRY and not_before is not None and not_before > now:
                    answers.append(Refusal(cid, "early", (), execution_id))
                    continue
                lane = self._lane(con, lane_id)
                spent = attempt + 1 - base
                if spent > lane.max_attempts:
                    self._bury_lost(con, n, lane.max_attempts)
                    answers.append(Refusal(cid, "lost", (), execution_id))
                    continue
                if losses >= SUSPECT_LOSSES and len(ids) > 1:
                    answers.append(Refusal(cid, "suspect", (), execution_id))
                    continue
                taken.add(n)
                updates.append((RUNNING, worker, now, losses, n))
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
                        path=_path(key, stage),
                        source=Source(content_type, json.loads(attributes), size, sha256)
                        if content_type is not None
                        else None,
                    )
                )
            # A claim settles an uncertain row as published: somebody was called.
            con.executemany(
                "UPDATE messages SET state = ?, attempt = attempt + 1, worker = ?, started_at = ?, losses = ?, not_before = NULL, "
                "published = iif(published IS NULL, NULL, 1) WHERE n = ?",
                updates,
            )
            return answers

        return await self._write(job)

    def _unpublished_children(self, con: Connection, n: int) -> tuple[Call, ...]:
        maker = self._call_maker(con)
        rows = con.execute(
            f"{maker.SELECT} WHERE m.parent = ? AND m.published = 0 AND m.state = ? ORDER BY m.n",
            (n, PENDING),
        ).fetchall()
        return tuple(maker.calls(rows))

    def _bury_lost(self, con: Connection, n: int, most: int) -> None:
        con.execute(
            "UPDATE messages SET state = ?, worker = NULL, ended_at = ?, error_code = 'worker_lost', error = ?, "
            "traceback = NULL WHERE n = ?",
            (DEAD, self._clock(), f"its worker died or was lost in each of {most} attempts", n),
        )
        self._burn(con, n)

    def _burn(self, con: Connection, n: int) -> None:
        con.execute("UPDATE outputs SET state = ? WHERE message = ?", (BURNT, n))

    # -- bind --------------------------------------------------------------------------------------

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        encoded = [[json.dumps(o.attributes, ensure_ascii=False) for o in b.outputs] for b in bindings]

        def job(con: Connection) -> list[list[Bound] | Unbound | None]:
            answers: list[list[Bound] | Unbound | None] = []
            now = self._clock()
            for binding, attributes in zip(bindings, encoded, strict=True):
                row = con.execute(
                    "SELECT m.n, m.lane, e.id FROM messages m JOIN executions e ON e.n = m.execution "
                    "WHERE m.id = ? AND m.attempt = ? AND m.state = ?",
                    (binding.correlation_id.bytes, binding.attempt, RUNNING),
                ).fetchone()
                if row is None:
                    answers.append(None)
                    continue
                n, lane_id, execution = row
                stage = self._lane(con, lane_id).stage
                assert stage is not None, "only a route with an outbound stage binds outputs"
                prefix = f"{text(execution)}/{stage}/"
                con.execute("SAVEPOINT binding")
                bound: list[Bound] = []
                fault: Unbound | None = None
                mine: set[str] = set()
                for output, encoded_attributes in zip(binding.outputs, attributes, strict=True):
                    one = self._bind_one(
                        con, n, binding.attempt, prefix, output, encoded_attributes, now, mine
                    )
                    if isinstance(one, Unbound):
                        con.execute("ROLLBACK TO binding")
                        fault = one
                        break
                    mine.add(one.key)
                    bound.append(one)
                con.execute("RELEASE binding")
                answers.append(fault or bound)
            return answers

        return await self._write(job)

    def _bind_one(
        self,
        con: Connection,
        n: int,
        attempt: int,
        prefix: str,
        output: NewOutput,
        attributes: str,
        now: float,
        mine: set[str],
    ) -> Bound | Unbound:
        path = output.path
        for _ in range(2):
            key = prefix + path
            inserted = con.execute(
                "INSERT INTO outputs "
                "(key, message, attempt, state, size, sha256, fingerprint, content_type, attributes, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    *(key, n, attempt, WRITING, output.size, output.sha256, output.fingerprint),
                    *(output.content_type, attributes, now),
                ),
            ).rowcount
            if inserted:
                return Bound(key, path, attempt, now)
            holder, bound_attempt, state, fingerprint, created = con.execute(
                "SELECT message, attempt, state, fingerprint, created_at FROM outputs WHERE key = ?", (key,)
            ).fetchone()
            if holder != n:
                return Unbound(
                    "output_conflict",
                    f"{key} was made by another message of this execution; give the outputs names that differ, "
                    "for instance with the input's path in them",
                )
            if key in mine:
                return Unbound(
                    "output_conflict", f"this attempt gives two outputs that would be stored as {key}"
                )
            if fingerprint == output.fingerprint:
                if state == BURNT:
                    con.execute("UPDATE outputs SET state = ? WHERE key = ?", (WRITING, key))
                return Bound(key, path, bound_attempt, created)
            if state != BURNT:
                con.execute("UPDATE outputs SET state = ? WHERE key = ?", (BURNT, key))
            path = renamed(output.path, attempt, room=len(prefix.encode()))
        return Unbound(
            "output_conflict", f"{prefix}{output.path} and {prefix}{path} both hold other bytes already"
        )

    # -- finish ------------------------------------------------------------------------------------

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        def job(con: Connection) -> list[Finished | None]:
            maker = self._call_maker(con)
            now = self._clock()
            status: dict[int, str] = {}
            answers: list[Finished | None] = []
            for result in results:
                if isinstance(result, Done):
                    answers.append(self._done(con, maker, publisher, result, now, status))
                else:
                    answers.append(self._not_done(con, result, now))
            return answers

        return await self._write(job)

    def _done(
        self,
        con: Connection,
        maker: CallMaker,
        publisher: str,
        result: Done,
        now: float,
        status: dict[int, str],
    ) -> Finished | None:
        row = con.execute(
            "UPDATE messages SET state = ?, ended_at = ?, worker = NULL, error_code = NULL, error = NULL, "
            "traceback = NULL WHERE id = ? AND attempt = ? AND state = ? RETURNING n, execution, lane",
            (COMPLETED, now, result.correlation_id.bytes, result.attempt, RUNNING),
        ).fetchone()
        if row is None:
            return None
        n, execution, lane_id = row
        con.executemany("UPDATE outputs SET state = ? WHERE key = ?", [(STORED, key) for key in result.keys])
        if result.attempt > 1:  # the first attempt has no others
            con.execute("UPDATE outputs SET state = ? WHERE message = ? AND state = ?", (BURNT, n, WRITING))
        lane = self._lane(con, lane_id)
        if not result.keys or not lane.feeds:
            return Finished()
        if execution not in status:
            (status[execution],) = con.execute(
                "SELECT status FROM executions WHERE n = ?", (execution,)
            ).fetchone()
        uuid, batch = con.execute("SELECT id, batch FROM executions WHERE n = ?", (execution,)).fetchone()
        feeds = [self._feed(con, lane.config_version, route) for route in lane.feeds]
        pairs = [(key, feed) for key in result.keys for feed in feeds]
        minted = mint(len(pairs))
        alive = status[execution] == "running"
        con.executemany(
            "INSERT INTO messages (id, execution, lane, object_key, stage, state, published, parent, publisher) "
            "VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
            [
                (cid, execution, feed, key, lane.stage, PENDING if alive else CANCELLED, n, publisher)
                for cid, (key, feed) in zip(minted, pairs, strict=True)
            ],
        )
        if not alive:
            return Finished()
        parent = str(result.correlation_id)
        children = []
        for cid, (key, feed) in zip(minted, pairs, strict=True):
            headers, external = maker.headers(execution, feed, uuid, batch)
            children.append(Call(headers, text(cid), 0, parent, key, external))
        return Finished(children)

    def _feed(self, con: Connection, config_version: int, route: str) -> int:
        known = self._feeds.get((config_version, route))
        if known is None:
            (known,) = con.execute(
                "SELECT id FROM lanes WHERE config_version = ? AND route = ?", (config_version, route)
            ).fetchone()
            self._feeds[config_version, route] = known
        return known

    def _not_done(self, con: Connection, result: Failed | GivenBack, now: float) -> Finished | None:
        row = con.execute(
            "SELECT m.n, e.status FROM messages m JOIN executions e ON e.n = m.execution "
            "WHERE m.id = ? AND m.attempt = ? AND m.state = ?",
            (result.correlation_id.bytes, result.attempt, RUNNING),
        ).fetchone()
        if row is None:
            return None
        n, status = row
        change: dict[str, Any] = {"worker": None, "losses": 0}
        if isinstance(result, Failed):
            change |= {"error_code": result.code, "error": result.error, "traceback": result.traceback}
        else:
            (base,) = con.execute("SELECT base FROM messages WHERE n = ?", (n,)).fetchone()
            change["base"] = base + 1
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
        return Finished()

    # -- published, ended --------------------------------------------------------------------------

    async def mark_published(
        self, confirmed: Sequence[Call], *, refused: Sequence[tuple[Call, str]] = ()
    ) -> None:
        ours = [(raw(c.correlation_id), c.generation) for c in confirmed if not c.external]
        others = [(raw(c.correlation_id), c.generation) for c in confirmed if c.external]

        def job(con: Connection) -> None:
            con.executemany(
                "UPDATE messages SET published = 1, publisher = NULL WHERE id = ? AND generation = ?", ours
            )
            now = self._clock()
            if others:
                con.executemany(
                    "UPDATE messages SET published = 1, publisher = NULL, state = ?, ended_at = ? "
                    "WHERE id = ? AND generation = ? AND state IN (?, ?)",
                    [(COMPLETED, now, *key, PENDING, RETRY) for key in others],
                )
            self._refuse(con, refused)

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
                    "OR EXISTS (SELECT 1 FROM jobs WHERE execution = ?1 AND root = 'dead')",
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


def _path(key: str, stage: str) -> str:
    """The path of an object: what follows its execution and its stage in the key."""
    head = key.find("/") + 1
    return key[head + len(stage) + 1 :] if key.startswith(stage + "/", head) else key[head:]
