"""Replay batches as people see them: numbers and errors read from rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from playhead.backends._postgres import Connection, Row
from playhead.backends._sql_catalog.rows import CANCELLED, DEAD, PENDING, moment_or_none
from playhead.backends.catalog_postgres.rows import Part
from playhead.ids import moment
from playhead.model import MOST_ERRORS, UNCERTAIN, Replay

_FAILED_ROWS = (
    f"FROM messages m WHERE m.execution = j.execution AND m.state = {DEAD} AND m.ordinal IS NOT NULL "
    "AND m.error_code IN ('publish_refused', 'invalid_key')"
)
_FAILED = f"(SELECT count(*) {_FAILED_ROWS})"


def _unconfirmed(states: str) -> str:
    """Counts the rows of job `j` in these states that no broker has confirmed."""
    return (
        "((SELECT count(*) FROM messages m WHERE m.execution = j.execution AND m.ordinal > j.watermark "
        f"AND m.published IS NULL AND m.state IN ({states})) + "
        "(SELECT count(*) FROM messages m WHERE m.execution = j.execution AND m.published = -1 "
        f"AND m.state IN ({states})))"
    )


REPLAY = (
    "SELECT e.n, e.id, j.source, j.stage, j.path, j.to_route, j.lane, j.ordinals, e.batch, j.state, j.root, "
    f"e.created_at, j.ended_at, {_unconfirmed(f'{PENDING}, {CANCELLED}')}, {_FAILED} "
    "FROM jobs j JOIN executions e ON e.n = j.execution"
)


class ReplaysPart(Part):
    async def _outcome(self, con: Connection, n: int) -> tuple[int, int]:
        """(rows of a job that still wait to be confirmed, rows that failed)."""
        (row,) = await con.fetch(
            f"SELECT {_unconfirmed(str(PENDING))}, {_FAILED} FROM jobs j WHERE j.execution = $1", n
        )
        return row[0], row[1]

    async def _replays(self, con: Connection, rows: Sequence[Row]) -> list[Replay]:
        """From rows as `REPLAY` gives them."""
        lanes = await self._learn(con, {row[6] for row in rows})
        made = []
        for row in rows:
            n, uuid, source, stage, path, to_route, lane_id, found, batch, state, root = row[:11]
            created, ended, unconfirmed, failed = row[11:]
            lane = lanes[lane_id]
            published = found - failed - unconfirmed
            trouble = bool(failed or unconfirmed or root == "dead")
            status: Literal["publishing_complete", "partial_failure"] | None = None
            if state == "cancelled":
                failed = found - published
                status = "partial_failure"
            elif state in ("publishing_complete", "partial_failure"):
                # Read from rows: a refused object that was sent again makes it better.
                status = state = "partial_failure" if failed or root == "dead" else "publishing_complete"
            made.append(
                Replay(
                    execution_id=uuid,
                    from_execution_id=source,
                    from_stage=stage,
                    from_path=path,
                    to_route=to_route,
                    to_queue=lane.queue,
                    objects_found=found,
                    objects_published=published,
                    objects_failed=failed,
                    status=status,
                    replay_batch_id=batch,
                    errors=await self._errors(con, n, state, root) if trouble else None,
                    state=state,
                    to_config=lane.config,
                    to_config_version=lane.version,
                    created_at=moment(created),
                    ended_at=moment_or_none(ended),
                )
            )
        return made

    async def _errors(self, con: Connection, n: int, state: str, root: str) -> list[str] | None:
        """At most 100 lines; the last of a longer list says how many more there were."""
        lines = []
        if state == "cancelled":
            lines.append("cancelled before all was published; POST /api/v1/replay starts it anew")
        if root == "dead":
            why = await con.fetchval("SELECT error FROM jobs WHERE execution = $1", n)
            lines.append(f"listing was given up: {why}")
        uncertain = (
            f"FROM messages m WHERE m.execution = j.execution AND m.published = -1 AND m.state = {PENDING}"
        )
        rows = await con.fetch(
            "SELECT x.key, x.why FROM jobs j CROSS JOIN LATERAL ("
            f"(SELECT m.object_key, m.error_code || ': ' || m.error {_FAILED_ROWS} ORDER BY m.n LIMIT $2) UNION ALL "
            f"(SELECT m.object_key, '{UNCERTAIN}' {uncertain} ORDER BY m.n LIMIT $2)"
            ") AS x (key, why) WHERE j.execution = $1 LIMIT $2",
            *(n, MOST_ERRORS + 1),
        )
        lines += [f"{key}: {why}" for key, why in rows]
        if len(lines) > MOST_ERRORS:
            total = await con.fetchval(
                f"SELECT {_FAILED} + (SELECT count(*) {uncertain}) FROM jobs j WHERE j.execution = $1", n
            )
            more = total + len(lines) - len(rows) - MOST_ERRORS + 1
            lines[MOST_ERRORS - 1 :] = [f"and {more} more"]
        return lines or None

    async def replay(self, batch: UUID) -> Replay | None:
        async def job(con: Connection) -> Replay | None:
            rows = await con.fetch(f"{REPLAY} WHERE e.batch = $1", batch)
            return (await self._replays(con, rows))[0] if rows else None

        return await self._read(job)

    async def replays(
        self, *, source: UUID | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[list[Replay], int | None]:
        conditions, values = ["e.batch IS NOT NULL"], list[UUID | int]()
        for condition, value in (("j.source =", source), ("e.n <", before)):
            if value is not None:
                values.append(value)
                conditions.append(f"{condition} ${len(values)}")

        async def job(con: Connection) -> tuple[list[Replay], int | None]:
            rows = await con.fetch(
                f"{REPLAY} WHERE {' AND '.join(conditions)} ORDER BY e.n DESC LIMIT ${len(values) + 1}",
                *(*values, limit + 1),
            )
            page = await self._replays(con, rows[:limit])
            return page, rows[limit - 1][0] if len(rows) > limit else None

        return await self._read(job)
