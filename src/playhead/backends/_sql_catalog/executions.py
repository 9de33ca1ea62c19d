"""What was deleted of executions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from playhead.backends._sql_catalog.lanes import as_uuid, moment_or_none
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import PrunedStage


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
