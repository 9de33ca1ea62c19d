"""Heartbeats and the reconciler's questions in PostgreSQL.

Most of these questions find nothing, each second: they look without a lock first. A row that somebody
holds is somebody's work: it is passed over (`SKIP LOCKED`), and looked at again in the next second.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from playhead.backends._postgres import Connection
from playhead.backends._sql_catalog.rows import CALL, CANCELLED, PENDING, RETRY, RUNNING
from playhead.backends._sql_catalog.upkeep import (
    COUNTERS,
    FORGET_SECONDS,
    OPEN_JOB,
    UNHURRIED_SECONDS,
    UNSEALED,
    WORKER,
    worker_of,
)
from playhead.backends.catalog_postgres.resend import ResendPart
from playhead.backends.catalog_postgres.rows import LONG_SECONDS
from playhead.counters import Numbers, decode, encode, total
from playhead.envelope import Dispatch
from playhead.liveness import MISSED_BEATS, may_live
from playhead.model import WorkerInfo
from playhead.ports.catalog.upkeep import Process, Subscription

_ALIVE = "(SELECT p.id FROM processes p WHERE p.heartbeat_at >= playhead_now() - $1::float8)"
_ORPHANED = (
    f"m.published = 0 AND m.state = {PENDING} AND (m.publisher IS NULL OR m.publisher NOT IN {_ALIVE} "
    # A UUIDv7 begins with the milliseconds at which it was minted: by the clocks of machines, so this
    # compares it with a machine's clock, whatever time the catalog is told that it is.
    "OR m.id < (lpad(to_hex(floor(1000 * (extract(epoch FROM statement_timestamp()) - $2::float8))::bigint), 12, '0') "
    "|| repeat('0', 20))::uuid)"
)
_DUE = f"m.published = 0 AND m.state = {RETRY} AND m.not_before <= playhead_now()"
_ABANDONED = f"m.state = {RUNNING} AND m.worker NOT IN {_ALIVE}"

_FIRST_UNMARKED = (
    "(SELECT u.n FROM jobs j JOIN messages u ON u.execution = j.execution AND u.ordinal = j.watermark + 1 "
    "WHERE j.execution = e.n AND j.lane = l.id)"
)
"""Where in the lane of a job its unmarked rows begin: `n` grows with the ordinal, and only roots are there."""
_WAITING = " UNION ALL ".join(
    "(SELECT m.n FROM messages m "
    f"WHERE m.execution = e.n AND m.state = {state} AND m.lane = l.id {until} AND (m.published = 1 OR (m.published "
    "IS NULL AND m.ordinal <= (SELECT j.watermark FROM jobs j WHERE j.execution = e.n))) "
    "ORDER BY -m.n DESC LIMIT $1::bigint)"
    for state, until in (
        # Else each second would look at all that a job has still to publish.
        (PENDING, f"AND -m.n > coalesce(-{_FIRST_UNMARKED}, -9223372036854775807)"),
        (RETRY, ""),
    )
)
"""Rows of the execution `e` and the lane `l` that somebody was called for, and nobody has claimed; at most $1."""
_WORKED = "NOT e.settled AND e.status = 'running' AND NOT l.external"


class UpkeepPart(ResendPart):
    # -- processes and leases ----------------------------------------------------------------------

    async def heartbeat(
        self, process: Process, queues: Sequence[str] = (), counters: Numbers | None = None
    ) -> bool:
        consumed = json.dumps(list(queues))

        async def job(con: Connection) -> tuple[bool, float | None]:
            longest = None
            known = await con.fetchval(
                "UPDATE processes SET queues = $2, heartbeat_at = playhead_now(), counters = $3 WHERE id = $1 "
                "RETURNING true",
                process.id,
                consumed,
                encode(counters) if counters else None,
            )
            if not known:
                others = await con.fetch("SELECT host, pid, playhead_now() - heartbeat_at FROM processes")
                ages = [age for host, pid, age in others if may_live(host, pid, here=process.host)]
                longest = max(ages, default=None)
                await con.execute(
                    "INSERT INTO processes (id, kind, host, pid, queues, started_at, heartbeat_at) "
                    "VALUES ($1, $2, $3, $4, $5, playhead_now(), playhead_now())",
                    *process,
                    consumed,
                )
            return bool(known), longest

        # Were it to wait behind those who wait for a lock, this process would be taken for dead, and what
        # it works on for lost with it.
        was_known, longest = await self._write(job, urgent=True)
        self._liveness.heard(longest)
        return was_known

    async def depart(self, process: str, counters: Numbers | None = None) -> None:
        async def job(con: Connection) -> None:
            told = await con.fetch("DELETE FROM processes WHERE id = $1 RETURNING counters", process)
            await self._keep(con, [counters or decode(last) for (last,) in told])
            await con.execute("DELETE FROM leases WHERE owner = $1", process)
            await con.execute(
                "UPDATE jobs j SET owner = NULL, lease_until = 0, idle_takeovers = greatest(idle_takeovers - 1, 0) "
                f"WHERE owner = $1 AND {OPEN_JOB}",
                process,
            )

        await self._write(job)

    async def _keep(self, con: Connection, counters: Sequence[Numbers]) -> None:
        """Add what processes that are gone have counted to what those before them had."""
        if any(counters):
            kept = decode(await con.fetchval("SELECT counters FROM departed FOR UPDATE"))
            await con.execute("UPDATE departed SET counters = $1", encode(total([kept, *counters])))

    async def counters(self) -> Numbers:
        rows = await self._read(lambda con: con.fetch(COUNTERS))
        return total(decode(told) for (told,) in rows)

    async def workers(self) -> list[WorkerInfo]:
        rows = await self._read(
            lambda con: con.fetch(
                f"{WORKER} WHERE heartbeat_at >= playhead_now() - $1::float8 ORDER BY started_at, id",
                MISSED_BEATS * self._beat,
            )
        )
        return [worker_of(row) for row in rows]

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        taken = await self._write(
            lambda con: con.fetchval(
                "INSERT INTO leases (name, owner, until) VALUES ($1, $2, playhead_now() + $3::float8) "
                "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until "
                "WHERE leases.owner = excluded.owner OR leases.until <= playhead_now() RETURNING 1",
                name,
                owner,
                seconds,
            )
        )
        return taken is not None

    async def subscriptions(self) -> list[Subscription]:
        rows = await self._read(
            lambda con: con.fetch(
                "SELECT l.queue, v.name, v.version, l.route FROM lanes l "
                "JOIN config_versions v ON v.id = l.config_version JOIN configs c ON c.name = v.name "
                "WHERE NOT l.external AND ("
                "(c.active AND v.version = (SELECT max(w.version) FROM config_versions w WHERE w.name = v.name)) "
                "OR v.id IN (SELECT config_version FROM executions WHERE NOT settled AND status = 'running')) "
                "ORDER BY l.queue, v.created_at, v.id"
            )
        )
        newest = {queue: Subscription(queue, name, version, route) for queue, name, version, route in rows}
        return list(newest.values())

    # -- the reconciler's questions ----------------------------------------------------------------

    async def orphans(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        return await self._take_if_any(
            owner, _ORPHANED, "m.n", limit, without, self._liveness.seconds, UNHURRIED_SECONDS
        )

    async def due(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        return await self._take_if_any(owner, _DUE, "m.not_before", limit, without)

    async def _take_if_any(
        self, owner: str, which: str, order: str, limit: int, without: Collection[str], *values: Any
    ) -> list[Dispatch]:
        """Make `owner` the publisher of rows; returns their calls."""
        if without:
            values = (*values, list(without))
            which += (
                f" AND m.lane NOT IN (SELECT l.id FROM lanes l WHERE l.queue = ANY(${len(values)}::text[]))"
            )
        place = len(values) + 1

        async def job(con: Connection) -> list[Dispatch]:
            rows = await con.fetch(
                f"SELECT m.n FROM messages m WHERE {which} ORDER BY {order} LIMIT ${place} "
                "FOR NO KEY UPDATE SKIP LOCKED",
                *values,
                limit,
            )
            taken = [n for (n,) in rows]
            # What a queue does not take comes here every second: it is not written each time.
            await con.execute(
                "UPDATE messages SET publisher = $2 WHERE n = ANY($1::bigint[]) AND publisher IS DISTINCT FROM $2",
                taken,
                owner,
            )
            return await self._calls_of(con, taken)

        if not await self._read(
            lambda con: con.fetch(f"SELECT 1 FROM messages m WHERE {which} LIMIT 1", *values)
        ):
            return []
        return await self._write(job)

    async def _calls_of(self, con: Connection, rows: Sequence[int]) -> list[Dispatch]:
        """Calls for rows, in the order given."""
        found = await con.fetch(
            f"{CALL} JOIN unnest($1::bigint[]) WITH ORDINALITY AS g (n, place) ON g.n = m.n ORDER BY g.place",
            rows,
        )
        return await self._calls(con, found)

    async def recall_abandoned(self, *, limit: int) -> int:
        look = f"SELECT m.n, m.execution FROM messages m WHERE {_ABANDONED} LIMIT $2"

        async def job(con: Connection) -> int:
            rows = await con.fetch(look, self._liveness.seconds, limit)
            statuses = await self._share(con, {execution for _, execution in rows})
            held = await con.fetch(
                f"SELECT m.n FROM messages m WHERE m.n = ANY($1::bigint[]) AND m.state = {RUNNING} ORDER BY m.n "
                "FOR NO KEY UPDATE SKIP LOCKED",
                [n for n, _ in rows],
            )
            # Whether its worker is dead is asked of the row that is locked now, in a new statement: another
            # worker may have begun to beat, and claimed it, since the first look. (Its token would make
            # this harmless; but it would cost that worker an attempt.)
            recalled = await con.fetch(
                "UPDATE messages m SET worker = NULL, "
                f"state = CASE WHEN m.execution = ANY($3::bigint[]) THEN {RETRY} ELSE {CANCELLED} END, "
                "ended_at = CASE WHEN m.execution = ANY($3::bigint[]) THEN m.ended_at ELSE playhead_now() END, "
                "not_before = playhead_now(), published = 0, publisher = NULL, generation = m.generation + 1, "
                f"consecutive_crashes = m.consecutive_crashes + 1 WHERE m.n = ANY($2::bigint[]) AND {_ABANDONED} RETURNING m.n",
                self._liveness.seconds,
                [n for (n,) in held],
                [n for n, status in statuses.items() if status == "running"],
            )
            return len(recalled)

        if not await self._read(lambda con: con.fetch(look, self._liveness.seconds, 1)):
            return 0
        return await self._write(job)

    async def waiting_queues(self) -> list[str]:
        rows = await self._read(
            lambda con: con.fetch(
                "SELECT l.queue FROM executions e JOIN lanes l ON l.config_version = e.config_version "
                f"WHERE {_WORKED} AND (SELECT w.n FROM ({_WAITING}) w LIMIT 1) IS NOT NULL ORDER BY e.n, l.id",
                1,
            )
        )
        return list(dict.fromkeys(queue for (queue,) in rows))

    async def redeliver_lost(self, owner: str, queue: str, *, limit: int) -> list[Dispatch]:
        async def job(con: Connection) -> list[Dispatch]:
            running = await con.fetch(
                "SELECT e.n FROM executions e JOIN lanes l ON l.config_version = e.config_version "
                f"WHERE {_WORKED} AND l.queue = $1",
                queue,
            )
            statuses = await self._share(con, [n for (n,) in running])
            found = await con.fetch(
                "SELECT w.n FROM executions e JOIN lanes l ON l.config_version = e.config_version "
                f"CROSS JOIN LATERAL ({_WAITING}) w WHERE {_WORKED} AND e.n = ANY($2::bigint[]) AND l.queue = $3 "
                "LIMIT $1::bigint",
                limit,
                list(statuses),
                queue,
            )
            rows = await con.fetch(
                f"SELECT n FROM messages WHERE n = ANY($1::bigint[]) AND state IN ({PENDING}, {RETRY}) "
                "AND published IS DISTINCT FROM 0 ORDER BY n FOR NO KEY UPDATE SKIP LOCKED",
                [n for (n,) in found],
            )
            taken = [n for (n,) in rows]
            await con.execute(
                "UPDATE messages SET published = 0, publisher = $2, generation = generation + 1 "
                "WHERE n = ANY($1::bigint[])",
                taken,
                owner,
            )
            return await self._calls_of(con, taken)

        return await self._write(job)

    async def open_executions(self) -> list[UUID]:
        rows = await self._read(
            lambda con: con.fetch(
                "SELECT id FROM executions WHERE NOT settled AND status = 'running' ORDER BY n"
            )
        )
        return [uuid for (uuid,) in rows]

    async def cancel_stragglers(self) -> int:
        look = "SELECT n FROM executions WHERE NOT settled AND status = 'cancelled'"

        async def job(con: Connection) -> int:
            # Alone with them, so that the counts which are frozen here are the last.
            statuses = await self._exclude(con, [n for (n,) in await con.fetch(look)])
            count = 0
            for n, status in statuses.items():
                if status != "cancelled":
                    continue
                for which in (f"m.state IN ({PENDING}, {RETRY}) AND $1::float8 IS NOT NULL", _ABANDONED):
                    closed = await con.fetch(
                        f"UPDATE messages m SET state = {CANCELLED}, worker = NULL, ended_at = playhead_now() "
                        f"WHERE m.execution = $2 AND {which} RETURNING m.n",
                        self._liveness.seconds,
                        n,
                    )
                    count += len(closed)
                if not await self._is_open(con, n):
                    await self._settle_execution(con, n)
            return count

        if not await self._read(lambda con: con.fetch(f"{look} LIMIT 1")):
            return 0
        return await self._write(job, seconds=LONG_SECONDS)

    async def fail_unsealed(self) -> list[UUID]:
        look = (
            "SELECT e.n, e.id FROM jobs j JOIN executions e ON e.n = j.execution "
            "LEFT JOIN processes o ON o.id = j.owner "
            f"WHERE {OPEN_JOB} AND j.state = 'uploading' AND j.lease_until <= playhead_now() "
            # As long as the lease that it was opened with, after the last beat of its owner.
            "AND (o.heartbeat_at IS NULL OR o.heartbeat_at + j.lease_until - e.created_at <= playhead_now()) "
            f"AND (j.owner IS NULL OR j.owner NOT IN {_ALIVE}) ORDER BY e.n"
        )

        async def job(con: Connection) -> list[UUID]:
            await self._exclude(con, [n for n, _ in await con.fetch(look, self._liveness.seconds)])
            # Looked at again, alone with them: one may have been sealed or cancelled meanwhile.
            lost = await con.fetch(f"{look} FOR UPDATE OF j", self._liveness.seconds)
            for n, _ in lost:
                await con.execute(
                    "UPDATE jobs SET state = 'partial_failure', listing_state = 'dead', epoch = epoch + 1, "
                    "ended_at = playhead_now(), error_code = 'upload_incomplete', error = $2 WHERE execution = $1",
                    n,
                    UNSEALED,
                )
                await con.execute(
                    "UPDATE executions SET status = 'failed', ended_at = playhead_now(), revision = revision + 1 "
                    "WHERE n = $1",
                    n,
                )
                await self._settle_execution(con, n)
            return [uuid for _, uuid in lost]

        if not await self._read(lambda con: con.fetch(f"{look} LIMIT 1", self._liveness.seconds)):
            return []
        return await self._write(job)

    async def abandoned_jobs(self) -> list[UUID]:
        rows = await self._read(
            lambda con: con.fetch(
                "SELECT e.id FROM jobs j JOIN executions e ON e.n = j.execution WHERE "
                f"{OPEN_JOB} AND j.state = 'publishing' AND (j.owner IS NULL OR j.lease_until <= playhead_now()) "
                "ORDER BY j.execution"
            )
        )
        return [uuid for (uuid,) in rows]

    # -- housekeeping ------------------------------------------------------------------------------

    async def maintain(self) -> None:
        async def job(con: Connection) -> None:
            told = await con.fetch(
                "DELETE FROM processes WHERE heartbeat_at < playhead_now() - $1::float8 RETURNING counters",
                FORGET_SECONDS + self._liveness.seconds,
            )
            await self._keep(con, [decode(last) for (last,) in told])

        await self._write(job)
