"""Declarations as rows have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from playhead.backends._sql_catalog.codes import codes_of
from playhead.backends._sql_catalog.lanes import as_uuid, moment_or_none
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import Declaration


async def declarations_named(db: Session, numbers: Iterable[int | None]) -> dict[int | None, Declaration]:
    """Return declarations by the numbers of the executions of their replays."""
    wanted = [number for number in set(numbers) if number is not None]
    rows = await db.rows(SQL.declarations_named, numbers=wanted) if wanted else []
    return {row[0]: one for row, one in zip(rows, await declarations_of(db, rows), strict=True)}


async def declarations_of(db: Session, rows: Sequence[Row]) -> list[Declaration]:
    """Return declarations from rows with the columns of the fragment `declaration`."""
    codes = await codes_of(db, [row[8] for row in rows])
    found = []
    for _, dataset, route, stage, publication, *rest in rows:
        execution, batch, version, code, reason, created, undone = rest
        one = Declaration(
            dataset=dataset,
            route=route,
            from_stage=stage,
            publication=publication,
            execution_id=as_uuid(execution),
            replay_batch_id=as_uuid(batch),
            config_version=version,
            adapters=codes[code],
            reason=reason,
            declared_at=moment(created),
            undone_at=moment_or_none(undone),
        )
        found.append(one)
    return found
