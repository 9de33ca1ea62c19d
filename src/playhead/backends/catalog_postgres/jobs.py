"""Executions and their jobs in PostgreSQL.

Whatever a job writes, it holds the job's row first (`_fenced`), so that it and whoever moves the epoch come
one after the other: what was found under an epoch holds until the transaction ends. Who also needs the
execution's row (cancel) takes that one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from playhead.backends._postgres import Connection
from playhead.backends._sql_catalog.jobs import MOST_IDLE_TAKEOVERS, has_ended, path_taken
from playhead.backends._sql_catalog.rows import (
    CALL,
    CANCELLED,
    COMPLETED,
    DEAD,
    PENDING,
    RETRY,
    STORED,
    WRITING,
    Lane,
)
from playhead.backends.catalog_postgres.replays import REPLAY, ReplaysPart
from playhead.backends.catalog_postgres.rows import LONG_SECONDS, CallMaker, storable
from playhead.envelope import Dispatch
from playhead.ids import mint, text
from playhead.keys import INPUT_STAGE, object_key
from playhead.model import Execution, Replay
from playhead.ports.catalog.jobs import Input, LeasedJob, Listed


class _Job(NamedTuple):
    """The row of a job that is held; `n` is its execution's."""

    n: int
    lane: int
    cursor: str
    ordinals: int
    watermark: int
    listing_state: str


class JobsPart(ReplaysPart):
    # -- runs --------------------------------------------------------------------------------------

    async def open_run(
        self,
        execution: UUID,
        config: str,
        version: int,
        *,
        tags: Sequence[str],
        owner: str,
        lease: float,
        traceparent: str | None = None,
    ) -> Execution:
        async def job(con: Connection) -> Execution:
            version_id, entry = await self._version(con, config, version)
            lane = await self._lane_named(con, version_id, entry)
            n = await con.fetchval(
                "INSERT INTO executions (id, kind, status, config_version, created_at, traceparent) "
                "VALUES ($1, 'run', 'running', $2, playhead_now(), $3) RETURNING n",
                *(execution, version_id, traceparent),
            )
            await con.execute(
                "INSERT INTO tags SELECT DISTINCT unnest($1::text[]), $2::bigint", list(tags), n
            )
            await con.execute(
                "INSERT INTO jobs (execution, source, stage, prefix, to_route, lane, state, owner, lease_until) "
                "VALUES ($1, $2, $3, $4, $5, $6, 'uploading', $7, playhead_now() + $8::double precision)",
                *(n, execution, INPUT_STAGE, f"{execution}/{INPUT_STAGE}", lane.route, lane.id, owner, lease),
            )
            found = await self._find_execution(con, execution)
            assert found
            return found

        return await self._write(job)

    async def _version(self, con: Connection, config: str, version: int) -> tuple[int, str]:
        """The id of a config version, and the name of its entry route."""
        (row,) = await con.fetch(
            "SELECT id, document::json ->> 'entry' FROM config_versions WHERE name = $1 AND version = $2",
            *(config, version),
        )
        return row[0], row[1]

    async def _lane_named(self, con: Connection, version_id: int, route: str) -> Lane:
        return await self._lane(con, await self._feed(con, version_id, route))

    async def bind_inputs(self, execution: UUID, inputs: Sequence[Input]) -> None:
        # In the order of their keys: two that bind the same ones never wait for each other in a circle.
        rows = sorted((object_key(execution, INPUT_STAGE, i.path), i) for i in inputs)
        keys = [key for key, _ in rows]

        async def job(con: Connection) -> None:
            done = await con.execute(
                "INSERT INTO outputs (key, state, size, sha256, fingerprint, content_type, attributes, created_at) "
                f"SELECT key, {WRITING}, size, sha256, sha256, kind, '{{}}', playhead_now() "
                "FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[]) AS i (key, size, sha256, kind) "
                "ON CONFLICT DO NOTHING",
                keys,
                [i.size for _, i in rows],
                [i.sha256 for _, i in rows],
                [i.content_type for _, i in rows],
            )
            if done == f"INSERT 0 {len(rows)}":
                return
            bound = {
                key: (size, sha256)
                for key, size, sha256 in await con.fetch(
                    "SELECT key, size, sha256 FROM outputs WHERE key = ANY($1::text[])", keys
                )
            }
            for key, i in rows:
                if bound[key] != (i.size, i.sha256):
                    raise path_taken(i.path)

        await self._write(job)

    async def seal(self, execution: UUID) -> bool:
        async def job(con: Connection) -> bool:
            done = await con.execute(
                "UPDATE jobs SET state = 'publishing', owner = NULL, lease_until = 0 "
                "WHERE execution = (SELECT n FROM executions WHERE id = $1) "
                "AND state = 'uploading' AND listing_state = 'open'",
                execution,
            )
            if done == "UPDATE 0":  # sealed already (an answer was lost), or not waiting for it any more
                sealed: bool = await con.fetchval(
                    "SELECT EXISTS (SELECT 1 FROM jobs j JOIN executions e ON e.n = j.execution WHERE e.id = $1 "
                    "AND e.status <> 'cancelled' AND j.error_code IS DISTINCT FROM 'upload_incomplete')",
                    execution,
                )
                return sealed
            # Byte order makes `{prefix}/` … `{prefix}0` exactly what lies below the prefix.
            await con.execute(
                f"UPDATE outputs SET state = {STORED} WHERE state = {WRITING} AND key > $1 AND key < $2",
                *(f"{execution}/{INPUT_STAGE}/", f"{execution}/{INPUT_STAGE}0"),
            )
            return True

        return await self._write(job, seconds=LONG_SECONDS)

    # -- replays -----------------------------------------------------------------------------------

    async def open_replay(
        self,
        *,
        batch: UUID,
        source: UUID,
        stage: str,
        path: str | None,
        prefix: str,
        to_route: str,
        config: str,
        version: int,
        route: str,
        traceparent: str | None = None,
    ) -> Replay:
        async def job(con: Connection) -> Replay:
            version_id, _ = await self._version(con, config, version)
            lane = await self._lane_named(con, version_id, route)
            execution = text(mint(1)[0])
            n = await con.fetchval(
                "INSERT INTO executions (id, kind, status, config_version, parent, batch, created_at, traceparent) "
                "VALUES ($1, 'replay', 'running', $2, $3, $4, playhead_now(), $5) RETURNING n",
                *(execution, version_id, source, batch, traceparent),
            )
            await con.execute(
                "INSERT INTO jobs (execution, source, stage, path, prefix, to_route, lane, state) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7, 'publishing')",
                *(n, source, stage, path, prefix, to_route, lane.id),
            )
            (made,) = await self._replays(con, await con.fetch(f"{REPLAY} WHERE e.n = $1", n))
            return made

        return await self._write(job)

    async def adopt(self, execution: UUID) -> Execution:
        async def job(con: Connection) -> Execution:
            n = await con.fetchval(
                "INSERT INTO executions (id, kind, status, settled, created_at, ended_at) "
                "VALUES ($1, 'adopted', 'completed', true, playhead_now(), playhead_now()) "
                "ON CONFLICT DO NOTHING RETURNING n",
                execution,
            )
            if n is not None:
                await self._settle_execution(con, n)
            found = await self._find_execution(con, execution)
            assert found
            return found

        return await self._write(job)

    # -- the lease and the fence -------------------------------------------------------------------

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        async def take(con: Connection) -> LeasedJob | None:
            row = await con.fetchrow(
                "SELECT e.n, e.batch, e.traceparent, j.source, j.stage, j.prefix, j.lane, j.epoch, j.cursor, j.listing_state, "
                "j.idle_takeovers FROM jobs j JOIN executions e ON e.n = j.execution "
                "WHERE e.id = $1 AND j.state = 'publishing' "
                "AND (j.owner IS NULL OR j.lease_until <= playhead_now()) FOR UPDATE OF j",
                job,
            )
            if row is None:
                return None
            n, batch, traceparent, source, stage, prefix, lane_id, epoch, cursor, listing_state, idle = row
            if listing_state == "open" and idle + 1 >= MOST_IDLE_TAKEOVERS:
                await con.execute(
                    "UPDATE jobs SET state = 'stalled', epoch = epoch + 1, owner = NULL WHERE execution = $1",
                    n,
                )
                return None
            await con.execute(
                "UPDATE jobs SET epoch = epoch + 1, owner = $1, lease_until = playhead_now() + $2::double precision, "
                "idle_takeovers = idle_takeovers + 1 WHERE execution = $3",
                *(owner, lease, n),
            )
            maker = CallMaker(await self._learn(con, (lane_id,)))
            headers, external = maker.headers(n, lane_id, job, batch, traceparent)
            return LeasedJob(
                job=job,
                epoch=epoch + 1,
                owner=owner,
                headers=headers,
                external=external,
                prefix=prefix,
                stages=await self._declared_stages(con, source),
                default_stage=stage,
                cursor=cursor,
                listed=listing_state != "open",
            )

        return await self._write(take)

    async def _declared_stages(self, con: Connection, source: UUID) -> tuple[str, ...]:
        """The stages that an execution's config declares, longest first."""
        rows = await con.fetch(
            "SELECT l.stage FROM lanes l JOIN executions e ON e.config_version = l.config_version "
            "WHERE e.id = $1 AND l.stage IS NOT NULL ORDER BY l.id",
            source,
        )
        return tuple(sorted((s for (s,) in rows), key=len, reverse=True))

    async def renew(self, held: LeasedJob, *, lease: float) -> bool:
        change = "owner = $3, lease_until = playhead_now() + $4::double precision"
        return await self._update(held, change, "AND state = 'publishing'", held.owner, lease)

    async def release(self, held: LeasedJob) -> None:
        await self._update(
            held, "owner = NULL, lease_until = 0, idle_takeovers = greatest(idle_takeovers - 1, 0)", ""
        )

    async def _update(self, held: LeasedJob, change: str, condition: str, *values: Any) -> bool:
        async def job(con: Connection) -> bool:
            done = await con.execute(
                f"UPDATE jobs SET {change} WHERE execution = (SELECT n FROM executions WHERE id = $1) "
                f"AND epoch = $2 {condition}",
                *(held.job, held.epoch, *values),
            )
            return done != "UPDATE 0"

        return await self._write(job)

    async def _fenced(self, con: Connection, held: LeasedJob, *, lock: bool = True) -> _Job | None:
        """The job's row if `held` still holds it; locked, so that this stays true."""
        row = await con.fetchrow(
            "SELECT j.execution, j.lane, j.cursor, j.ordinals, j.watermark, j.listing_state FROM executions e "
            "JOIN jobs j ON j.execution = e.n WHERE e.id = $1 AND j.epoch = $2 AND j.state = 'publishing' "
            f"{'FOR UPDATE OF j' if lock else ''}",
            *(held.job, held.epoch),
        )
        return _Job(*row) if row else None

    # -- listing -----------------------------------------------------------------------------------

    async def record(
        self, held: LeasedJob, objects: Sequence[Listed], *, cursor: str, last: bool
    ) -> list[Dispatch] | None:
        # Ids are minted in order here, outside the lock; another process's rows may come between.
        minted = [text(cid) for cid in mint(len(objects))]

        async def job(con: Connection) -> list[Dispatch] | None:
            fenced = await self._fenced(con, held)
            if fenced is None or fenced.listing_state != "open":
                return None
            # An empty last page only says that there is nothing behind the cursor.
            nothing_more = last and not objects and fenced.cursor == cursor
            if fenced.cursor >= cursor and not nothing_more:
                return None
            kept = await self._without_unstored(con, objects)
            keys = [o.key for o in kept]
            first = fenced.ordinals + 1
            if kept:
                await con.execute(
                    "INSERT INTO messages (id, execution, lane, object_key, stage, ordinal) "
                    "SELECT o.id, $1::bigint, $2::bigint, o.key, o.stage, $3::bigint + o.place - 1 "
                    "FROM unnest($4::uuid[], $5::text[], $6::text[]) "
                    "WITH ORDINALITY AS o (id, key, stage, place) ORDER BY o.place",
                    *(fenced.n, fenced.lane, first, minted[: len(kept)], keys),
                    [o.stage for o in kept],
                )
            bad = [(cid, o.problem) for o, cid in zip(kept, minted, strict=False) if o.problem]
            if bad:
                await con.execute(
                    f"UPDATE messages m SET state = {DEAD}, error_code = 'invalid_key', error = 'the key ' || b.problem, "
                    "ended_at = playhead_now() FROM unnest($1::uuid[], $2::text[]) AS b (id, problem) WHERE m.id = b.id",
                    [cid for cid, _ in bad],
                    [storable(problem) for _, problem in bad],
                )
            await con.execute(
                "UPDATE jobs SET cursor = $2, ordinals = $3, idle_takeovers = 0, listing_state = $4 WHERE execution = $1",
                *(fenced.n, cursor, fenced.ordinals + len(kept)),
                "completed" if last else "open",
            )
            headers, external = held.headers, held.external
            return [
                Dispatch(headers, cid, 0, None, key, external, ordinal)
                for ordinal, cid, key, o in zip(
                    range(first, first + len(kept)), minted, keys, kept, strict=False
                )
                if not o.problem
            ]

        return await self._write(job)

    async def _without_unstored(self, con: Connection, objects: Sequence[Listed]) -> Sequence[Listed]:
        if not objects:
            return objects
        rows = await con.fetch(
            "SELECT key FROM outputs WHERE state <> 1 AND key >= $1 AND key <= $2",
            *(objects[0].key, objects[-1].key),
        )
        if not rows:
            return objects
        hidden = {key for (key,) in rows}
        return [o for o in objects if o.key not in hidden]

    async def is_listed(self, job: UUID) -> bool:
        async def look(con: Connection) -> bool:
            found: bool = await con.fetchval(
                "SELECT EXISTS (SELECT 1 FROM jobs j JOIN executions e ON e.n = j.execution "
                "WHERE e.id = $1 AND j.listing_state <> 'open')",
                job,
            )
            return found

        return await self._read(look)

    async def fail_listing(self, held: LeasedJob, why: str) -> bool:
        async def job(con: Connection) -> bool:
            fenced = await self._fenced(con, held)
            if fenced is None or fenced.listing_state != "open":
                return False
            await con.execute(
                "UPDATE jobs SET listing_state = 'dead', error_code = 'listing_failed', error = $1 WHERE execution = $2",
                *(storable(why), fenced.n),
            )
            return True

        return await self._write(job)

    # -- publishing --------------------------------------------------------------------------------

    async def unpublished(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        async def job(con: Connection) -> list[Dispatch]:
            fenced = await self._fenced(con, held, lock=False)
            if fenced is None:
                return []
            rows = await con.fetch(
                f"{CALL} WHERE m.execution = $1 AND m.ordinal > $2 AND m.state = {PENDING} "
                "AND m.published IS NULL ORDER BY m.ordinal LIMIT $3",
                *(fenced.n, fenced.watermark, limit),
            )
            return await self._calls(con, rows)

        return await self._read(job)

    async def mark(
        self,
        held: LeasedJob,
        upto: int,
        *,
        uncertain: Sequence[Dispatch] = (),
        refused: Sequence[tuple[Dispatch, str]] = (),
    ) -> bool:
        async def job(con: Connection) -> bool:
            fenced = await self._fenced(con, held)
            if fenced is None:
                return False
            if uncertain:
                await con.execute(
                    "WITH held AS MATERIALIZED (SELECT n FROM messages WHERE id = ANY($1::uuid[]) "
                    f"AND published IS NULL AND ordinal > $2 AND state = {PENDING} ORDER BY n FOR NO KEY UPDATE) "
                    "UPDATE messages m SET published = -1 FROM held WHERE m.n = held.n",
                    *([c.correlation_id for c in uncertain], fenced.watermark),
                )
            await self._refuse(con, refused)
            if held.external and upto > fenced.watermark:
                await con.execute(
                    f"UPDATE messages SET state = {COMPLETED}, published = 1, ended_at = playhead_now() "
                    f"WHERE execution = $1 AND ordinal > $2 AND ordinal <= $3 AND state = {PENDING} "
                    "AND published IS NULL",
                    *(fenced.n, fenced.watermark, upto),
                )
            await con.execute(
                "UPDATE jobs SET watermark = greatest(watermark, $1), idle_takeovers = 0 WHERE execution = $2",
                *(upto, fenced.n),
            )
            return True

        return await self._write(job)

    async def unsettled(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        async def job(con: Connection) -> list[Dispatch]:
            fenced = await self._fenced(con, held, lock=False)
            if fenced is None:
                return []
            rows = await con.fetch(
                f"{CALL} WHERE m.published = -1 AND m.state = {PENDING} "
                "AND m.execution = $1 ORDER BY m.n LIMIT $2",
                *(fenced.n, limit),
            )
            return await self._calls(con, rows)

        return await self._read(job)

    async def settle(
        self, held: LeasedJob, confirmed: Sequence[Dispatch], refused: Sequence[tuple[Dispatch, str]]
    ) -> bool:
        ended = f"state = {COMPLETED}, ended_at = playhead_now()" if held.external else f"state = {PENDING}"

        async def job(con: Connection) -> bool:
            fenced = await self._fenced(con, held)
            if fenced is None:
                return False
            if confirmed:
                await con.execute(
                    "WITH held AS MATERIALIZED (SELECT n FROM messages WHERE id = ANY($1::uuid[]) "
                    f"AND published = -1 AND state = {PENDING} ORDER BY n FOR NO KEY UPDATE) "
                    f"UPDATE messages m SET published = 1, {ended} FROM held WHERE m.n = held.n",
                    [c.correlation_id for c in confirmed],
                )
            await self._refuse(con, refused)
            if confirmed or refused:
                await con.execute("UPDATE jobs SET idle_takeovers = 0 WHERE execution = $1", fenced.n)
            return True

        return await self._write(job)

    async def close_job(self, held: LeasedJob) -> bool:
        async def job(con: Connection) -> bool:
            fenced = await self._fenced(con, held)
            if fenced is None or fenced.listing_state == "open":
                return False
            unconfirmed, failed = await self._outcome(con, fenced.n)
            if unconfirmed:
                return False
            await con.execute(
                "UPDATE jobs SET state = $1, watermark = ordinals, owner = NULL, ended_at = playhead_now() "
                "WHERE execution = $2",
                "partial_failure" if failed or fenced.listing_state == "dead" else "publishing_complete",
                fenced.n,
            )
            return True

        return await self._write(job)

    # -- cancelling --------------------------------------------------------------------------------

    async def cancel(self, execution: UUID) -> Execution | None:
        async def job(con: Connection) -> Execution | None:
            n = await self._number(con, execution)
            if n is None:
                return None
            status = (await self._exclude(con, [n]))[n]
            if status in ("completed", "failed"):
                raise has_ended(execution, status)
            if status == "running":
                # The job first: a page that is being recorded ends before, and its rows are seen below; one
                # that comes later finds another epoch. Workers are kept off by the execution's lock.
                await con.execute(
                    "UPDATE jobs SET epoch = epoch + 1, owner = NULL, "
                    "listing_state = CASE listing_state WHEN 'open' THEN 'cancelled' ELSE listing_state END, "
                    "ended_at = coalesce(ended_at, playhead_now()), state = CASE "
                    "WHEN state IN ('publishing', 'uploading', 'stalled') THEN 'cancelled' ELSE state END "
                    "WHERE execution = $1",
                    n,
                )
                await con.execute(
                    f"UPDATE messages SET state = {CANCELLED}, ended_at = playhead_now() "
                    f"WHERE execution = $1 AND state IN ({PENDING}, {RETRY})",
                    n,
                )
                await con.execute(
                    "UPDATE executions SET status = 'cancelled', ended_at = playhead_now(), revision = revision + 1 "
                    "WHERE n = $1",
                    n,
                )
                self._counts.forget(n)
                if not await self._is_open(con, n):
                    await self._settle_execution(con, n)
            return await self._find_execution(con, execution)

        return await self._write(job, seconds=LONG_SECONDS)
