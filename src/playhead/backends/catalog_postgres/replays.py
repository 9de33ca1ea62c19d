"""Replay batches as people see them: numbers and errors read from rows."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from playhead.backends._postgres import Connection, Row
from playhead.backends._sql_catalog.replays import SHOWN, ended_early, replay_of
from playhead.backends._sql_catalog.rows import CANCELLED, DEAD, PENDING
from playhead.backends.catalog_postgres.rows import Part
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
    f"SELECT {SHOWN}, {_unconfirmed(f'{PENDING}, {CANCELLED}')}, {_FAILED} "
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
            *shown, unconfirmed, failed = row
            n, lane, state, listing_state = row[0], lanes[row[6]], row[9], row[10]
            trouble = failed or unconfirmed or listing_state == "dead"
            errors = await self._errors(con, n, state, listing_state) if trouble else None
            made.append(replay_of(shown, lane, unconfirmed=unconfirmed, failed=failed, errors=errors))
        return made

    async def _errors(self, con: Connection, n: int, state: str, listing_state: str) -> list[str] | None:
        """At most 100 lines; the last of a longer list says how many more there were."""
        given_up = None
        if listing_state == "dead":
            given_up = await con.fetchval("SELECT error FROM jobs WHERE execution = $1", n)
        lines = ended_early(state, given_up)
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
