"""Executions as people see them, and what was deleted of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from playhead.backends._sql_catalog import counts
from playhead.backends._sql_catalog.counts import RowCounts
from playhead.backends._sql_catalog.lanes import as_retention, as_uuid, as_uuid_or_none, moment_or_none
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import Execution, Problem, PrunedStage, replayable_until


async def prunings_of(db: Session, executions: Sequence[int]) -> dict[int, list[PrunedStage]]:
    """Return what was pruned of executions, by number."""
    found: dict[int, list[PrunedStage]] = {n: [] for n in executions}
    for n, stage, pruned, deleted in await db.rows(SQL.prunings_of, executions=list(executions)):
        found[n].append(PrunedStage(stage or None, moment(pruned), moment_or_none(deleted)))
    return found


async def records_deleted_at(db: Session, executions: Iterable[UUID]) -> dict[UUID, str]:
    """Return when the records of those of these executions were deleted that have none any more."""
    if not (ids := list(executions)):
        return {}
    rows = await db.rows(SQL.records_deleted, executions=ids)
    return {as_uuid(identity): moment(when) for identity, when in rows}


class Executions:
    """Reads executions.

    Args:
        row_counts: of executions that have not settled.
    """

    def __init__(self, row_counts: RowCounts) -> None:
        self._counts = row_counts

    async def of_rows(self, db: Session, rows: Sequence[Row]) -> list[Execution]:
        """From rows with the columns of the fragment `execution`."""
        tags: dict[int, list[str]] = {row[0]: [] for row in rows}
        for n, tag in await db.rows(SQL.tags_of, executions=list(tags)):
            tags[n].append(tag)
        pruned = await prunings_of(db, list(tags))
        by_lane = {row[0]: counts.decode(row[11]) for row in rows if row[11]}
        by_lane |= await self._counts.count(db, [row[0] for row in rows if not row[11]])
        made = []
        for row in rows:
            n, identity, kind, status, config, version, digest, parent, batch = row[:9]
            created, ended, _, code, error, pinned, retention, since, records = row[9:]
            made.append(
                Execution(
                    execution_id=as_uuid(identity),
                    kind=kind,
                    status=status,
                    config=config,
                    config_version=version,
                    config_hash=digest,
                    parent_execution_id=as_uuid_or_none(parent),
                    replay_batch_id=as_uuid_or_none(batch),
                    tags=tags[n],
                    created_at=moment(created),
                    ended_at=moment_or_none(ended),
                    error=Problem(code, error) if code else None,
                    counts=counts.add_up(by_lane[n]),
                    pinned=bool(pinned),
                    pruned=pruned[n],
                    replayable_until=replayable_until(
                        as_retention(retention) if retention else None,
                        ended,
                        pruned[n],
                        pinned=bool(pinned),
                    ),
                    changed_since=as_uuid_or_none(since),
                    records_deleted_at=moment_or_none(records),
                )
            )
        return made

    async def find(self, db: Session, execution: UUID) -> Execution | None:
        rows = await db.rows(SQL.executions_by_id, ids=[execution])
        return (await self.of_rows(db, rows))[0] if rows else None
