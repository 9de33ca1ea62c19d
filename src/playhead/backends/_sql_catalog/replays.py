"""Replay batches as people see them: numbers and errors are read from rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from playhead.backends._sql_catalog.lanes import Lane, as_uuid, moment_or_none
from playhead.backends._sql_catalog.rows import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import MOST_ERRORS, UNCERTAIN, Replay


class ReplaysPart(Part):
    async def replay(self, batch: UUID) -> Replay | None:
        return await self._db.read(lambda db: self._find_replay(db, batch))

    async def _find_replay(self, db: Session, batch: UUID) -> Replay | None:
        rows = await db.rows(SQL.replay_of_batch, batch=batch)
        return (await self._replays(db, rows))[0] if rows else None

    async def replays(
        self, *, source: UUID | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[list[Replay], int | None]:
        async def find(db: Session) -> tuple[list[Replay], int | None]:
            rows = await db.rows(SQL.newest_replays, source=source, before=before, limit=limit + 1)
            page = await self._replays(db, rows[:limit])
            return page, rows[limit - 1][0] if len(rows) > limit else None

        return await self._db.read(find)

    async def _replays(self, db: Session, rows: Sequence[Row]) -> list[Replay]:
        """From rows with the columns of the fragment `replay`."""
        lanes = await self._learn(db, {row[6] for row in rows})
        return [await self._replay(db, row, lanes[row[6]]) for row in rows]

    async def _replay(self, db: Session, row: Row, lane: Lane) -> Replay:
        # `unconfirmed`: rows that no broker has confirmed, and that are pending or cancelled.
        # `failed`: rows that were refused, or whose key is outside the grammar.
        n, identity, source, stage, path, to_route, _, found, batch, state, listing_state, *rest = row
        created, ended, error, unconfirmed, failed = rest
        given_up = error if listing_state == "dead" else None
        trouble = failed or unconfirmed or listing_state == "dead"
        errors = await self._errors(db, n, state, given_up) if trouble else None
        published = found - failed - unconfirmed
        status: Literal["publishing_complete", "partial_failure"] | None = None
        if state == "cancelled":
            failed = found - published
            status = "partial_failure"
        elif state in ("publishing_complete", "partial_failure"):
            # Read from rows: resending a refused object improves it.
            status = state = "partial_failure" if failed or listing_state == "dead" else "publishing_complete"
        return Replay(
            execution_id=as_uuid(identity),
            from_execution_id=as_uuid(source),
            from_stage=stage,
            from_path=path,
            to_route=to_route,
            to_queue=lane.queue,
            objects_found=found,
            objects_published=published,
            objects_failed=failed,
            status=status,
            replay_batch_id=as_uuid(batch),
            errors=errors,
            state=state,
            to_config=lane.config,
            to_config_version=lane.version,
            created_at=moment(created),
            ended_at=moment_or_none(ended),
        )

    async def _errors(self, db: Session, n: int, state: str, given_up: str | None) -> list[str] | None:
        """Return at most 100 lines; the last line of a longer list counts the remaining ones."""
        lines = []
        if state == "cancelled":
            lines.append("cancelled before all was published; POST /api/v1/replay starts it again")
        if given_up is not None:
            lines.append(f"listing was given up: {given_up}")
        rows = await db.rows(SQL.errors_of_job, execution=n, uncertain=UNCERTAIN, limit=MOST_ERRORS + 1)
        lines += [f"{key}: {why}" for key, why in rows]
        if len(lines) > MOST_ERRORS:
            total = await db.value(SQL.count_errors, execution=n) + len(lines) - len(rows)
            lines[MOST_ERRORS - 1 :] = [f"and {total - MOST_ERRORS + 1} more"]
        return lines or None
