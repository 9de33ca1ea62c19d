"""Executions and their jobs in SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

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
from playhead.backends._sqlite import Connection, insert
from playhead.backends.catalog_sqlite.replays import REPLAY, ReplaysPart
from playhead.backends.catalog_sqlite.rows import raw
from playhead.envelope import Dispatch
from playhead.ids import mint, text
from playhead.keys import INPUT_STAGE, object_key
from playhead.model import Execution, Replay
from playhead.ports.catalog.jobs import Input, LeasedJob, Listed


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
        def job(con: Connection) -> Execution:
            version_id, entry = self._entry(con, config, version)
            uuid = execution.bytes
            now = self._clock()
            (n,) = con.execute(
                "INSERT INTO executions (id, kind, status, config_version, created_at, traceparent) "
                "VALUES (?, 'run', 'running', ?, ?, ?) RETURNING n",
                (uuid, version_id, now, traceparent),
            ).fetchone()
            con.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", [(tag, n) for tag in tags])
            con.execute(
                "INSERT INTO jobs (execution, source, stage, prefix, to_route, lane, state, owner, lease_until) "
                "VALUES (?, ?, ?, ?, ?, ?, 'uploading', ?, ?)",
                (
                    n,
                    uuid,
                    INPUT_STAGE,
                    f"{execution}/{INPUT_STAGE}",
                    entry.route,
                    entry.id,
                    owner,
                    now + lease,
                ),
            )
            found = self._find_execution(con, UUID(bytes=uuid))
            assert found
            return found

        return await self._write(job)

    def _entry(self, con: Connection, config: str, version: int) -> tuple[int, Lane]:
        version_id, document_entry = con.execute(
            "SELECT id, json_extract(document, '$.entry') FROM config_versions WHERE name = ? AND version = ?",
            (config, version),
        ).fetchone()
        return version_id, self._lane_named(con, version_id, document_entry)

    def _lane_named(self, con: Connection, version_id: int, route: str) -> Lane:
        (lane,) = con.execute(
            "SELECT id FROM lanes WHERE config_version = ? AND route = ?", (version_id, route)
        ).fetchone()
        return self._lane(con, lane)

    async def bind_inputs(self, execution: UUID, inputs: Sequence[Input]) -> None:
        def job(con: Connection) -> None:
            now = self._clock()
            for path, size, sha256, content_type in inputs:
                key = object_key(execution, INPUT_STAGE, path)
                done = con.execute(
                    "INSERT INTO outputs (key, state, size, sha256, fingerprint, content_type, attributes, created_at) "
                    "VALUES (?, ?, ?, ?, ?, ?, '{}', ?) ON CONFLICT DO NOTHING",
                    (key, WRITING, size, sha256, sha256, content_type, now),
                )
                if not done.rowcount:
                    row = con.execute("SELECT size, sha256 FROM outputs WHERE key = ?", (key,)).fetchone()
                    if row != (size, sha256):
                        raise path_taken(path)

        await self._write(job)

    async def seal(self, execution: UUID) -> bool:
        def job(con: Connection) -> bool:
            n = self._number(con, execution)
            done = con.execute(
                "UPDATE jobs SET state = 'publishing', owner = NULL, lease_until = 0 "
                "WHERE execution = ? AND state = 'uploading' AND listing_state = 'open'",
                (n,),
            )
            if not done.rowcount:  # sealed already (an answer was lost), or not waiting for it any more
                sealed = (
                    "SELECT 1 FROM jobs j JOIN executions e ON e.n = j.execution WHERE e.n = ? "
                    "AND e.status <> 'cancelled' AND j.error_code IS NOT 'upload_incomplete'"
                )
                return con.execute(sealed, (n,)).fetchone() is not None
            # Byte order makes `{prefix}/` … `{prefix}0` exactly what lies below the prefix.
            con.execute(
                "UPDATE outputs SET state = ? WHERE state = ? AND key > ? AND key < ?",
                (STORED, WRITING, f"{execution}/{INPUT_STAGE}/", f"{execution}/{INPUT_STAGE}0"),
            )
            return True

        return await self._write(job)

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
        def job(con: Connection) -> Replay:
            version_id, _ = self._entry(con, config, version)
            lane = self._lane_named(con, version_id, route)
            (execution,) = mint(1)
            (n,) = con.execute(
                "INSERT INTO executions (id, kind, status, config_version, parent, batch, created_at, traceparent) "
                "VALUES (?, 'replay', 'running', ?, ?, ?, ?, ?) RETURNING n",
                (execution, version_id, source.bytes, batch.bytes, self._clock(), traceparent),
            ).fetchone()
            con.execute(
                "INSERT INTO jobs (execution, source, stage, path, prefix, to_route, lane, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 'publishing')",
                (n, source.bytes, stage, path, prefix, to_route, lane.id),
            )
            return self._replay(con, con.execute(f"{REPLAY} WHERE e.n = ?", (n,)).fetchone())

        return await self._write(job)

    async def adopt(self, execution: UUID) -> Execution:
        def job(con: Connection) -> Execution:
            now = self._clock()
            done = con.execute(
                "INSERT INTO executions (id, kind, status, settled, created_at, ended_at) "
                "VALUES (?, 'adopted', 'completed', 1, ?, ?) ON CONFLICT DO NOTHING",
                (execution.bytes, now, now),
            )
            if done.rowcount:
                self._settle_execution(con, int(done.lastrowid or 0))
            found = self._find_execution(con, execution)
            assert found
            return found

        return await self._write(job)

    # -- the lease and the fence -------------------------------------------------------------------

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        def take(con: Connection) -> LeasedJob | None:
            now = self._clock()
            row = con.execute(
                "SELECT e.n, e.batch, e.traceparent, j.source, j.stage, j.prefix, j.lane, j.epoch, j.cursor, "
                "j.listing_state, j.idle_takeovers FROM jobs j JOIN executions e ON e.n = j.execution "
                "WHERE e.id = ? AND j.state = 'publishing' AND (j.owner IS NULL OR j.lease_until <= ?)",
                (job.bytes, now),
            ).fetchone()
            if row is None:
                return None
            n, batch, traceparent, source, stage, prefix, lane_id, epoch, cursor, listing_state, idle = row
            if listing_state == "open" and idle + 1 >= MOST_IDLE_TAKEOVERS:
                con.execute(
                    "UPDATE jobs SET state = 'stalled', epoch = epoch + 1, owner = NULL WHERE execution = ?",
                    (n,),
                )
                return None
            con.execute(
                "UPDATE jobs SET epoch = epoch + 1, owner = ?, lease_until = ?, idle_takeovers = idle_takeovers + 1 "
                "WHERE execution = ?",
                (owner, now + lease, n),
            )
            headers, external = self._call_maker(con).headers(n, lane_id, job.bytes, batch, traceparent)
            return LeasedJob(
                job=job,
                epoch=epoch + 1,
                owner=owner,
                headers=headers,
                external=external,
                prefix=prefix,
                stages=self._declared_stages(con, source),
                default_stage=stage,
                cursor=cursor,
                listed=listing_state != "open",
            )

        return await self._write(take)

    def _declared_stages(self, con: Connection, source: bytes) -> tuple[str, ...]:
        """The stages that an execution's config declares (and `input`), longest first."""
        rows = con.execute(
            "SELECT l.stage FROM lanes l JOIN executions e ON e.config_version = l.config_version "
            "WHERE e.id = ? AND l.stage IS NOT NULL",
            (source,),
        ).fetchall()
        return tuple(sorted((s for (s,) in rows), key=len, reverse=True))

    async def renew(self, held: LeasedJob, *, lease: float) -> bool:
        return await self._update(
            *(held, "owner = ?, lease_until = ?", (held.owner, self._clock() + lease)),
            "AND state = 'publishing'",
        )

    async def release(self, held: LeasedJob) -> None:
        await self._update(
            held, "owner = NULL, lease_until = 0, idle_takeovers = max(idle_takeovers - 1, 0)", (), ""
        )

    async def _update(self, held: LeasedJob, change: str, values: tuple[Any, ...], condition: str) -> bool:
        def job(con: Connection) -> bool:
            done = con.execute(
                f"UPDATE jobs SET {change} WHERE execution = (SELECT n FROM executions WHERE id = ?) "
                f"AND epoch = ? {condition}",
                (*values, held.job.bytes, held.epoch),
            )
            return bool(done.rowcount)

        return await self._write(job)

    def _fenced(self, con: Connection, held: LeasedJob) -> tuple[int, int, str, int, int] | None:
        """(execution, lane, cursor, ordinals, watermark) if `held` still holds its job."""
        row = con.execute(
            "SELECT j.execution, j.lane, j.cursor, j.ordinals, j.watermark FROM executions e "
            "JOIN jobs j ON j.execution = e.n WHERE e.id = ? AND j.epoch = ? AND j.state = 'publishing'",
            (held.job.bytes, held.epoch),
        ).fetchone()
        return row and tuple(row)

    # -- listing -----------------------------------------------------------------------------------

    async def record(
        self, held: LeasedJob, objects: Sequence[Listed], *, cursor: str, last: bool
    ) -> list[Dispatch] | None:
        # Ids are minted in order here, outside the lock; another process's rows may come between.
        minted = mint(len(objects))

        def job(con: Connection) -> list[Dispatch] | None:
            fenced = self._fenced(con, held)
            if fenced is None:
                return None
            n, lane, seen, ordinals, _ = fenced
            (listing_state,) = con.execute(
                "SELECT listing_state FROM jobs WHERE execution = ?", (n,)
            ).fetchone()
            # An empty last page only says that there is nothing behind the cursor.
            if listing_state != "open" or (seen >= cursor and not (last and not objects and seen == cursor)):
                return None
            kept = objects
            if objects:
                unstored = con.execute(
                    "SELECT key FROM outputs WHERE state <> 1 AND key >= ? AND key <= ?",
                    (objects[0].key, objects[-1].key),
                ).fetchall()
                if unstored:
                    hidden = {k for (k,) in unstored}
                    kept = [o for o in objects if o.key not in hidden]
            keys = [o.key for o in kept]
            first = ordinals + 1
            insert(
                con,
                "messages (id, execution, lane, object_key, stage, ordinal)",
                [
                    (cid, n, lane, o.key, o.stage, ordinal)
                    for ordinal, cid, o in zip(range(first, first + len(kept)), minted, kept, strict=False)
                ],
            )
            bad = [(o.problem, cid) for o, cid in zip(kept, minted, strict=False) if o.problem]
            if bad:
                now = self._clock()
                con.executemany(
                    "UPDATE messages SET state = ?, error_code = 'invalid_key', error = ?, ended_at = ? WHERE id = ?",
                    [(DEAD, f"the key {problem}", now, cid) for problem, cid in bad],
                )
            con.execute(
                "UPDATE jobs SET cursor = ?, ordinals = ?, idle_takeovers = 0, listing_state = ? WHERE execution = ?",
                (cursor, ordinals + len(kept), "completed" if last else "open", n),
            )
            headers, external = held.headers, held.external
            return [
                Dispatch(headers, text(cid), 0, None, key, external, ordinal)
                for ordinal, cid, key, o in zip(
                    range(first, first + len(kept)), minted, keys, kept, strict=False
                )
                if not o.problem
            ]

        return await self._write(job)

    async def is_listed(self, job: UUID) -> bool:
        row = await self._read(
            lambda con: con.execute(
                "SELECT 1 FROM jobs j JOIN executions e ON e.n = j.execution WHERE e.id = ? AND j.listing_state <> 'open'",
                (job.bytes,),
            ).fetchone()
        )
        return row is not None

    async def fail_listing(self, held: LeasedJob, why: str) -> bool:
        def job(con: Connection) -> bool:
            if self._fenced(con, held) is None:
                return False
            done = con.execute(
                "UPDATE jobs SET listing_state = 'dead', error_code = 'listing_failed', error = ? "
                "WHERE execution = (SELECT n FROM executions WHERE id = ?) AND listing_state = 'open'",
                (why, held.job.bytes),
            )
            return bool(done.rowcount)

        return await self._write(job)

    # -- publishing --------------------------------------------------------------------------------

    async def unpublished(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        def job(con: Connection) -> list[Dispatch]:
            fenced = self._fenced(con, held)
            if fenced is None:
                return []
            n, _, _, _, watermark = fenced
            maker = self._call_maker(con)
            rows = con.execute(
                f"{CALL} WHERE m.execution = ? AND m.ordinal > ? AND m.state = ? "
                "AND m.published IS NULL ORDER BY m.ordinal LIMIT ?",
                (n, watermark, PENDING, limit),
            ).fetchall()
            return maker.calls(rows)

        return await self._read(job)

    async def mark(
        self,
        held: LeasedJob,
        upto: int,
        *,
        uncertain: Sequence[Dispatch] = (),
        refused: Sequence[tuple[Dispatch, str]] = (),
    ) -> bool:
        def job(con: Connection) -> bool:
            fenced = self._fenced(con, held)
            if fenced is None:
                return False
            n, _, _, _, watermark = fenced
            if uncertain:
                con.executemany(
                    "UPDATE messages SET published = -1 "
                    "WHERE id = ? AND published IS NULL AND ordinal > ? AND state = ?",
                    [(raw(c.correlation_id), watermark, PENDING) for c in uncertain],
                )
            self._refuse(con, refused)
            if held.external and upto > watermark:
                con.execute(
                    "UPDATE messages INDEXED BY messages_by_ordinal SET state = ?, published = 1, ended_at = ? "
                    "WHERE execution = ? AND ordinal > ? AND ordinal <= ? AND state = ? AND published IS NULL",
                    (COMPLETED, self._clock(), n, watermark, upto, PENDING),
                )
            con.execute(
                "UPDATE jobs SET watermark = max(watermark, ?), idle_takeovers = 0 WHERE execution = ?",
                (upto, n),
            )
            return True

        return await self._write(job)

    async def unsettled(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        def job(con: Connection) -> list[Dispatch]:
            fenced = self._fenced(con, held)
            if fenced is None:
                return []
            maker = self._call_maker(con)
            rows = con.execute(
                f"{CALL} WHERE m.published = -1 AND m.state = ? AND m.execution = ? ORDER BY m.n LIMIT ?",
                (PENDING, fenced[0], limit),
            ).fetchall()
            return maker.calls(rows)

        return await self._read(job)

    async def settle(
        self, held: LeasedJob, confirmed: Sequence[Dispatch], refused: Sequence[tuple[Dispatch, str]]
    ) -> bool:
        def job(con: Connection) -> bool:
            if self._fenced(con, held) is None:
                return False
            now = self._clock()
            state, ended = (COMPLETED, now) if held.external else (PENDING, None)
            con.executemany(
                "UPDATE messages SET published = 1, state = ?, ended_at = ? "
                "WHERE id = ? AND published = -1 AND state = ?",
                [(state, ended, raw(c.correlation_id), PENDING) for c in confirmed],
            )
            self._refuse(con, refused)
            if confirmed or refused:
                con.execute(
                    "UPDATE jobs SET idle_takeovers = 0 "
                    "WHERE execution = (SELECT n FROM executions WHERE id = ?)",
                    (held.job.bytes,),
                )
            return True

        return await self._write(job)

    async def close_job(self, held: LeasedJob) -> bool:
        def job(con: Connection) -> bool:
            fenced = self._fenced(con, held)
            if fenced is None:
                return False
            n, _, _, ordinals, watermark = fenced
            (listing_state,) = con.execute(
                "SELECT listing_state FROM jobs WHERE execution = ?", (n,)
            ).fetchone()
            if listing_state == "open" or self._unconfirmed(con, n, watermark, (PENDING,)):
                return False
            failed = self._failed(con, n) or listing_state == "dead"
            con.execute(
                "UPDATE jobs SET state = ?, watermark = ?, owner = NULL, ended_at = ? WHERE execution = ?",
                ("partial_failure" if failed else "publishing_complete", ordinals, self._clock(), n),
            )
            return True

        return await self._write(job)

    # -- cancelling --------------------------------------------------------------------------------

    async def cancel(self, execution: UUID) -> Execution | None:
        def job(con: Connection) -> Execution | None:
            row = con.execute("SELECT n, status FROM executions WHERE id = ?", (execution.bytes,)).fetchone()
            if row is None:
                return None
            n, status = row
            if status in ("completed", "failed"):
                raise has_ended(execution, status)
            if status == "running":
                now = self._clock()
                con.execute(
                    "UPDATE executions SET status = 'cancelled', ended_at = ?, revision = revision + 1 WHERE n = ?",
                    (now, n),
                )
                con.execute(
                    "UPDATE messages SET state = ?, ended_at = ? WHERE execution = ? AND state IN (?, ?)",
                    (CANCELLED, now, n, PENDING, RETRY),
                )
                con.execute(
                    "UPDATE jobs SET epoch = epoch + 1, owner = NULL, "
                    "listing_state = iif(listing_state = 'open', 'cancelled', listing_state), ended_at = coalesce(ended_at, ?), "
                    "state = iif(state IN ('publishing', 'uploading', 'stalled'), 'cancelled', state) "
                    "WHERE execution = ?",
                    (now, n),
                )
                self._counts.forget(n)
                if not self._is_open(con, n):
                    self._settle_execution(con, n)
            return self._find_execution(con, execution)

        return await self._write(job)
