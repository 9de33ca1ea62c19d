"""Replay batches as people see them: numbers and errors read from rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from playhead.backends._sql_catalog.replays import SHOWN, ended_early, replay_of
from playhead.backends._sql_catalog.rows import CANCELLED, DEAD, PENDING
from playhead.backends._sqlite import Connection
from playhead.backends.catalog_sqlite.rows import Part
from playhead.model import MOST_ERRORS, UNCERTAIN, Replay

REPLAY = f"SELECT {SHOWN}, j.watermark FROM jobs j JOIN executions e ON e.n = j.execution "


class ReplaysPart(Part):
    def _unconfirmed(self, con: Connection, n: int, watermark: int, states: tuple[int, ...]) -> int:
        marks = ",".join("?" * len(states))
        (count,) = con.execute(
            f"SELECT (SELECT count(*) FROM messages INDEXED BY messages_by_ordinal WHERE execution = ? AND ordinal > ? AND published IS NULL "
            f"AND state IN ({marks})) + "
            f"(SELECT count(*) FROM messages INDEXED BY messages_uncertain WHERE execution = ? AND published = -1 AND state IN ({marks}))",
            (n, watermark, *states, n, *states),
        ).fetchone()
        return int(count)

    def _failed(self, con: Connection, n: int) -> int:
        (count,) = con.execute(
            "SELECT count(*) FROM messages INDEXED BY messages_by_state "
            "WHERE execution = ? AND state = ? AND ordinal IS NOT NULL "
            "AND error_code IN ('publish_refused', 'invalid_key')",
            (n, DEAD),
        ).fetchone()
        return int(count)

    # -- what became of it -------------------------------------------------------------------------

    def _replay(self, con: Connection, row: tuple[Any, ...]) -> Replay:
        """From a row as `REPLAY` gives it."""
        *shown, watermark = row
        n, lane, state, listing_state = row[0], self._lane(con, row[6]), row[9], row[10]
        unconfirmed = self._unconfirmed(con, n, watermark, (PENDING, CANCELLED))
        failed = self._failed(con, n)
        trouble = failed or unconfirmed or listing_state == "dead"
        errors = self._errors(con, n, state, listing_state) if trouble else None
        return replay_of(shown, lane, unconfirmed=unconfirmed, failed=failed, errors=errors)

    def _errors(self, con: Connection, n: int, state: str, listing_state: str) -> list[str] | None:
        """At most 100 lines; the last of a longer list says how many more there were."""
        given_up = None
        if listing_state == "dead":
            (given_up,) = con.execute("SELECT error FROM jobs WHERE execution = ?", (n,)).fetchone()
        lines = ended_early(state, given_up)
        rows = con.execute(
            "SELECT object_key, error_code || ': ' || error FROM messages INDEXED BY messages_by_state "
            "WHERE execution = ?1 AND state = ?2 AND ordinal IS NOT NULL "
            "AND error_code IN ('publish_refused', 'invalid_key') "
            f"UNION ALL SELECT object_key, '{UNCERTAIN}' FROM messages INDEXED BY messages_uncertain "
            "WHERE execution = ?1 AND published = -1 AND state = ?3 LIMIT ?4",
            (n, DEAD, PENDING, MOST_ERRORS + 1),
        ).fetchall()
        lines += [f"{key}: {why}" for key, why in rows]
        if len(lines) > MOST_ERRORS:
            total = (
                self._failed(con, n) + self._unconfirmed(con, n, 1 << 62, (PENDING,)) + len(lines) - len(rows)
            )
            lines[MOST_ERRORS - 1 :] = [f"and {total - MOST_ERRORS + 1} more"]
        return lines or None

    async def replay(self, batch: UUID) -> Replay | None:
        def job(con: Connection) -> Replay | None:
            row = con.execute(f"{REPLAY} WHERE e.batch = ?", (batch.bytes,)).fetchone()
            return self._replay(con, row) if row else None

        return await self._read(job)

    async def replays(
        self, *, source: UUID | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[list[Replay], int | None]:
        def job(con: Connection) -> tuple[list[Replay], int | None]:
            rows = con.execute(
                f"{REPLAY} WHERE e.batch IS NOT NULL AND (?1 IS NULL OR j.source = ?1) "
                "AND (?2 IS NULL OR e.n < ?2) ORDER BY e.n DESC LIMIT ?3",
                (source.bytes if source else None, before, limit + 1),
            ).fetchall()
            page = [self._replay(con, r) for r in rows[:limit]]
            return page, rows[limit - 1][0] if len(rows) > limit else None

        return await self._read(job)
