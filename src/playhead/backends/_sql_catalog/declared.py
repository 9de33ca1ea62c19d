"""Declarations as rows have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from playhead.backends._sql_catalog.codes import codes_of
from playhead.backends._sql_catalog.lanes import as_uuid, moment_or_none
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import Declaration
from playhead.ports.catalog.declarations import MOST_DECLARATIONS
from playhead.ports.catalog.publications import Place


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


async def applied(db: Session, dataset: int, n: int, replays: Sequence[UUID]) -> dict[str, Any]:
    """Return what the statements need to know of declarations about one route; nothing if none counts.

    Args:
        n: the publication whose results are looked at.
    """
    rows = await db.rows(SQL.declarations_of, ids=list(replays))
    if not rows or any(row[3] == "open" for row in rows):
        return {}
    numbers = [row[0] for row in rows if row[3] == "completed"]
    lanes = [lane for (lane,) in await db.rows(SQL.lanes_of_declaration, execution=rows[0][0])]
    return {"dataset": dataset, "n": n, "numbers": numbers, "since": rows[-1][0], "lanes": lanes}


async def declared_at(db: Session, dataset: int, n: int, places: Iterable[Place]) -> dict[Place, Declaration]:
    """Return the newest declaration about each result of a publication that has one of these places."""
    by_route: dict[str, list[Declaration]] = {}
    for one in await declarations_of(
        db, await db.rows(SQL.open_declarations_of, dataset=dataset, limit=MOST_DECLARATIONS)
    ):
        by_route.setdefault(one.route, []).append(one)
    by_stage: dict[str, list[str]] = {}
    for place in places if by_route else ():
        by_stage.setdefault(place.stage, []).append(place.path)
    found: dict[Place, Declaration] = {}
    for some in by_route.values():
        given = await applied(db, dataset, n, [one.execution_id for one in some])
        for stage, paths in by_stage.items() if given else ():
            rows = await db.rows(SQL.declared_at, **given, stage=stage, paths=paths)
            found |= {Place(stage, path): some[0] for (path,) in rows}
    return found
