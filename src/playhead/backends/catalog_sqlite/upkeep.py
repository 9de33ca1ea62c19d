"""Heartbeats, the reconciler's questions and resend in SQLite."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from playhead.backends._sql_catalog.rows import CALL, CANCELLED, PENDING, RETRY, RUNNING
from playhead.backends._sql_catalog.upkeep import (
    COUNTERS,
    FORGET_SECONDS,
    OPEN_JOB,
    UNHURRIED_SECONDS,
    UNSEALED,
    WORKER,
    has_bad_key,
    is_cancelled,
    worker_of,
)
from playhead.backends._sqlite import Connection, Error
from playhead.backends.catalog_sqlite.rows import Part, of_route
from playhead.counters import Numbers, decode, encode, total
from playhead.envelope import Dispatch
from playhead.errors import catalog_unavailable
from playhead.liveness import MISSED_BEATS, may_live
from playhead.model import WorkerInfo
from playhead.ports.catalog.upkeep import Process, Subscription

_CALLED = "(m.published = 1 OR (m.published IS NULL AND m.ordinal <= coalesce(j.watermark, 0)))"
"""A row that somebody was called for; needs `LEFT JOIN jobs j ON j.execution = m.execution`."""


def _not_on(queues: Collection[str]) -> str:
    """A condition: a message of none of so many queues. Without any, it looks at no row."""
    marks = ",".join("?" * len(queues))
    return f"AND lane NOT IN (SELECT id FROM lanes WHERE queue IN ({marks}))" if queues else ""


class UpkeepPart(Part):
    # -- processes and leases ----------------------------------------------------------------------

    async def heartbeat(
        self, process: Process, queues: Sequence[str] = (), counters: Numbers | None = None
    ) -> bool:
        now = self._clock()
        consumed = json.dumps(list(queues))

        def job(con: Connection) -> tuple[bool, float | None]:
            longest = None
            known = con.execute(
                "UPDATE processes SET queues = ?, heartbeat_at = ?, counters = ? WHERE id = ?",
                (consumed, now, encode(counters) if counters else None, process.id),
            )
            if not known.rowcount:
                others = con.execute("SELECT host, pid, heartbeat_at FROM processes").fetchall()
                beats = [beat for host, pid, beat in others if may_live(host, pid, here=process.host)]
                longest = now - min(beats) if beats else None
                con.execute(
                    "INSERT INTO processes (id, kind, host, pid, queues, started_at, heartbeat_at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*process, consumed, now, now),
                )
            return bool(known.rowcount), longest

        was_known, longest = await self._write(job)
        self._liveness.heard(longest)
        return was_known

    async def depart(self, process: str, counters: Numbers | None = None) -> None:
        def job(con: Connection) -> None:
            told = con.execute("DELETE FROM processes WHERE id = ? RETURNING counters", (process,)).fetchall()
            self._keep(con, [counters or decode(last) for (last,) in told])
            con.execute("DELETE FROM leases WHERE owner = ?", (process,))
            con.execute(
                "UPDATE jobs SET owner = NULL, lease_until = 0, idle_takeovers = max(idle_takeovers - 1, 0) WHERE owner = ? AND state IN ('publishing', 'uploading')",
                (process,),
            )

        await self._write(job)

    def _keep(self, con: Connection, counters: Sequence[Numbers]) -> None:
        """Add what processes that are gone have counted to what those before them had."""
        if any(counters):
            (kept,) = con.execute("SELECT counters FROM departed").fetchone()
            con.execute("UPDATE departed SET counters = ?", (encode(total([decode(kept), *counters])),))

    async def counters(self) -> Numbers:
        rows = await self._read(lambda con: con.execute(COUNTERS).fetchall())
        return total(decode(told) for (told,) in rows)

    async def workers(self) -> list[WorkerInfo]:
        def job(con: Connection) -> list[WorkerInfo]:
            since = self._clock() - MISSED_BEATS * self._beat
            rows = con.execute(f"{WORKER} WHERE heartbeat_at >= ? ORDER BY started_at, id", (since,))
            return [worker_of(row) for row in rows]

        return await self._read(job)

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        def job(con: Connection) -> bool:
            now = self._clock()
            done = con.execute(
                "INSERT INTO leases (name, owner, until) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE "
                "SET owner = ?2, until = ?3 WHERE owner = ?2 OR until <= ?4",
                (name, owner, now + seconds, now),
            )
            return bool(done.rowcount)

        return await self._write(job)

    async def subscriptions(self) -> list[Subscription]:
        def job(con: Connection) -> list[Subscription]:
            rows = con.execute(
                "SELECT l.queue, v.name, v.version, l.route FROM lanes l "
                "JOIN config_versions v ON v.id = l.config_version JOIN configs c ON c.name = v.name "
                "WHERE NOT l.external AND ("
                "(c.active AND v.version = (SELECT max(version) FROM config_versions WHERE name = v.name)) "
                "OR v.id IN (SELECT config_version FROM executions WHERE settled = 0 AND status = 'running')) "
                "ORDER BY l.queue, v.created_at, v.id",
            ).fetchall()
            newest = {
                queue: Subscription(queue, name, version, route) for queue, name, version, route in rows
            }
            return list(newest.values())

        return await self._read(job)

    # -- the reconciler's questions ----------------------------------------------------------------

    async def orphans(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        elsewhere = _not_on(without)

        def job(con: Connection) -> list[Dispatch]:
            alive = sorted(self._alive(con))
            marks = ",".join("?" * len(alive))
            # Ids are minted by the clock of this machine, whatever clock the catalog was given.
            stale = int((time.time() - UNHURRIED_SECONDS) * 1000).to_bytes(6, "big") + bytes(10)
            rows = con.execute(
                "SELECT n FROM messages INDEXED BY messages_unpublished WHERE published = 0 AND state = 0 "
                f"AND (publisher IS NULL OR publisher NOT IN ({marks}) OR id < ?) {elsewhere} LIMIT ?",
                (*alive, stale, *without, limit),
            ).fetchall()
            return self._take(con, owner, [n for (n,) in rows])

        return await self._claim_if_any(
            "SELECT 1 FROM messages INDEXED BY messages_unpublished "
            f"WHERE published = 0 AND state = 0 {elsewhere} LIMIT 1",
            tuple(without),
            job,
        )

    async def due(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        now = self._clock()
        elsewhere = _not_on(without)

        def job(con: Connection) -> list[Dispatch]:
            rows = con.execute(
                "SELECT n FROM messages INDEXED BY messages_due WHERE published = 0 AND state = 2 "
                f"AND not_before <= ? {elsewhere} ORDER BY not_before LIMIT ?",
                (now, *without, limit),
            ).fetchall()
            return self._take(con, owner, [n for (n,) in rows])

        return await self._claim_if_any(
            "SELECT 1 FROM messages INDEXED BY messages_due "
            f"WHERE published = 0 AND state = 2 AND not_before <= ? {elsewhere} LIMIT 1",
            (now, *without),
            job,
        )

    async def _claim_if_any(self, look: str, values: tuple[Any, ...], job: Any) -> list[Dispatch]:
        """Take the write lock only when a look without it found something: most seconds find nothing."""
        if not await self._read(lambda con: con.execute(look, values).fetchone()):
            return []
        found: list[Dispatch] = await self._write(job)
        return found

    def _take(self, con: Connection, owner: str, rows: list[int]) -> list[Dispatch]:
        # What a queue does not take comes here every second: it is not written each time.
        con.executemany(
            "UPDATE messages SET publisher = ?1 WHERE n = ?2 AND publisher IS NOT ?1",
            [(owner, n) for n in rows],
        )
        return self._calls_of(con, rows)

    def _calls_of(self, con: Connection, rows: list[int]) -> list[Dispatch]:
        maker = self._call_maker(con)
        return maker.calls([con.execute(f"{CALL} WHERE m.n = ?", (n,)).fetchone() for n in rows])

    async def recall_abandoned(self, *, limit: int) -> int:
        def abandoned(con: Connection) -> list[tuple[int, str]]:
            alive = sorted(self._alive(con))
            marks = ",".join("?" * len(alive))
            return con.execute(
                "SELECT m.n, e.status FROM messages m INDEXED BY messages_running "
                "JOIN executions e ON e.n = m.execution "
                f"WHERE m.state = 1 AND m.worker NOT IN ({marks}) LIMIT ?",
                (*alive, limit),
            ).fetchall()

        def job(con: Connection) -> int:
            rows = abandoned(con)
            now = self._clock()
            for n, status in rows:
                if status == "running":
                    con.execute(
                        "UPDATE messages SET state = ?, worker = NULL, not_before = ?, published = 0, "
                        "publisher = NULL, generation = generation + 1, consecutive_crashes = consecutive_crashes + 1 WHERE n = ?",
                        (RETRY, now, n),
                    )
                else:
                    con.execute(
                        "UPDATE messages SET state = ?, worker = NULL, ended_at = ? WHERE n = ?",
                        (CANCELLED, now, n),
                    )
            return len(rows)

        if not await self._read(abandoned):
            return 0
        return await self._write(job)

    async def waiting_queues(self) -> list[str]:
        def job(con: Connection) -> list[str]:
            found: dict[str, None] = {}
            running = con.execute(
                "SELECT n, config_version FROM executions WHERE settled = 0 AND status = 'running'"
            ).fetchall()
            for n, version in running:
                for lane in self._lanes_of(con, version):
                    if lane.external or lane.queue in found:
                        continue
                    if any(self._unheard(con, n, lane.id, state, 1) for state in (PENDING, RETRY)):
                        found[lane.queue] = None
            return list(found)

        return await self._read(job)

    def _unheard(self, con: Connection, execution: int, lane: int, state: int, limit: int) -> list[int]:
        rows = con.execute(
            "SELECT m.n FROM messages m INDEXED BY messages_by_state LEFT JOIN jobs j ON j.execution = m.execution "
            f"WHERE m.execution = ? AND m.lane = ? AND m.state = ? AND {_CALLED} LIMIT ?",
            (execution, lane, state, limit),
        ).fetchall()
        return [n for (n,) in rows]

    async def redeliver_lost(self, owner: str, queue: str, *, limit: int) -> list[Dispatch]:
        def job(con: Connection) -> list[Dispatch]:
            lanes = con.execute(
                "SELECT e.n, l.id FROM executions e JOIN lanes l ON l.config_version = e.config_version "
                "WHERE e.settled = 0 AND e.status = 'running' AND l.queue = ? AND NOT l.external",
                (queue,),
            ).fetchall()
            rows: list[int] = []
            for execution, lane in lanes:
                for state in (PENDING, RETRY):
                    if len(rows) < limit:
                        rows += self._unheard(con, execution, lane, state, limit - len(rows))
            con.executemany(
                "UPDATE messages SET published = 0, publisher = ?, generation = generation + 1 WHERE n = ?",
                [(owner, n) for n in rows],
            )
            return self._calls_of(con, rows)

        return await self._write(job)

    async def open_executions(self) -> list[UUID]:
        rows = await self._read(
            lambda con: con.execute(
                "SELECT id FROM executions WHERE settled = 0 AND status = 'running' ORDER BY n"
            ).fetchall()
        )
        return [UUID(bytes=uuid) for (uuid,) in rows]

    async def cancel_stragglers(self) -> int:
        look = "SELECT n FROM executions WHERE settled = 0 AND status = 'cancelled'"

        def job(con: Connection) -> int:
            alive = sorted(self._alive(con))
            marks = ",".join("?" * len(alive))
            count = 0
            for (n,) in con.execute(look).fetchall():
                count += con.execute(
                    "UPDATE messages SET state = ?, worker = NULL, ended_at = ? WHERE execution = ? "
                    f"AND (state IN (?, ?) OR (state = ? AND worker NOT IN ({marks})))",
                    (CANCELLED, self._clock(), n, PENDING, RETRY, RUNNING, *alive),
                ).rowcount
                if not self._is_open(con, n):
                    self._settle_execution(con, n)
            return count

        if not await self._read(lambda con: con.execute(f"{look} LIMIT 1").fetchone()):
            return 0
        return await self._write(job)

    async def fail_unsealed(self) -> list[UUID]:
        look = (
            "SELECT e.n, e.id, j.owner FROM jobs j JOIN executions e ON e.n = j.execution "
            "LEFT JOIN processes p ON p.id = j.owner "
            f"WHERE {OPEN_JOB} AND j.state = 'uploading' AND j.lease_until <= ?1 "
            # As long as the lease that it was opened with, after the last beat of its owner.
            "AND (p.heartbeat_at IS NULL OR p.heartbeat_at + j.lease_until - e.created_at <= ?1)"
        )

        def job(con: Connection) -> list[UUID]:
            now = self._clock()
            alive = self._alive(con)
            failed = []
            for n, uuid, owner in con.execute(look, (now,)).fetchall():
                if owner in alive:
                    continue
                con.execute(
                    "UPDATE jobs SET state = 'partial_failure', listing_state = 'dead', epoch = epoch + 1, ended_at = ?, "
                    "error_code = 'upload_incomplete', error = ? WHERE execution = ?",
                    (now, UNSEALED, n),
                )
                con.execute(
                    "UPDATE executions SET status = 'failed', ended_at = ?, revision = revision + 1 WHERE n = ?",
                    (now, n),
                )
                self._settle_execution(con, n)
                failed.append(UUID(bytes=uuid))
            return failed

        if not await self._read(lambda con: con.execute(look, (self._clock(),)).fetchone()):
            return []
        return await self._write(job)

    async def abandoned_jobs(self) -> list[UUID]:
        rows = await self._read(
            lambda con: con.execute(
                "SELECT e.id FROM jobs j JOIN executions e ON e.n = j.execution "
                f"WHERE {OPEN_JOB} AND j.state = 'publishing' AND (j.owner IS NULL OR j.lease_until <= ?) "
                "ORDER BY j.execution",
                (self._clock(),),
            ).fetchall()
        )
        return [UUID(bytes=uuid) for (uuid,) in rows]

    # -- resend ------------------------------------------------------------------------------------

    async def resend(
        self, *, ids: Sequence[UUID] = (), execution: UUID | None = None, route: str | None = None
    ) -> list[UUID]:
        def job(con: Connection) -> list[UUID]:
            query = (
                "SELECT m.n, m.id, m.execution, e.id, e.status, m.error_code FROM messages m "
                "JOIN executions e ON e.n = m.execution JOIN lanes l ON l.id = m.lane WHERE m.state = 5 AND "
            )
            rows: list[tuple[Any, ...]] = []
            for cid in dict.fromkeys(ids):
                rows += con.execute(query + "m.id = ?", (cid.bytes,)).fetchall()
            if execution or route:
                rows += con.execute(
                    query + f"(?1 IS NULL OR e.id = ?1) AND {of_route(2)} ORDER BY m.n",
                    (execution.bytes if execution else None, route),
                ).fetchall()
            sent = []
            for n, cid, execution_n, execution_id, status, code in rows:
                if status == "cancelled":
                    if ids or execution:
                        raise is_cancelled(UUID(bytes=execution_id))
                    continue
                if code == "invalid_key":
                    if ids:
                        raise has_bad_key(UUID(bytes=cid))
                    continue
                con.execute(
                    "UPDATE messages SET state = ?, generation = generation + 1, uncounted_attempts = attempt, consecutive_crashes = 0, published = 0, "
                    "publisher = NULL, not_before = NULL, ended_at = NULL, error_code = NULL, error = NULL, "
                    "traceback = NULL WHERE n = ?",
                    (PENDING, n),
                )
                con.execute(
                    "UPDATE executions SET status = 'running', settled = 0, ended_at = NULL, counts = NULL WHERE n = ?",
                    (execution_n,),
                )
                self._counts.forget(execution_n)
                sent.append(UUID(bytes=cid))
            return sent

        return await self._write(job)

    async def maintain(self) -> None:
        long_ago = self._clock() - FORGET_SECONDS - self._liveness.seconds

        def job(con: Connection) -> None:
            told = con.execute(
                "DELETE FROM processes WHERE heartbeat_at < ? RETURNING counters", (long_ago,)
            ).fetchall()
            self._keep(con, [decode(last) for (last,) in told])

        await self._write(job)
        try:
            await self._db.checkpoint()
        except Error as exc:
            raise catalog_unavailable(
                f"the catalog {self._db.path} can't be checkpointed: {self._db.trouble(exc)}"
            ) from exc
