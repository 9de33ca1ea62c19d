"""Causes of failures: lists of them with their figures, and their acknowledgement."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from playhead.backends._sql_catalog.codes import codes_of
from playhead.backends._sql_catalog.lanes import as_uuid, moment_or_none, storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.failures import group_text, parts_of, place_of
from playhead.ids import moment
from playhead.model import (
    DAY,
    MOST_COUNTED,
    Acknowledgement,
    AdapterCode,
    Cause,
    CauseRoute,
    CauseState,
    TextPart,
)
from playhead.model.causes import MOST_ROUTES
from playhead.ports.catalog.causes import EVERY_CAUSE, CauseFilter, CausePlace, Until


class _Figures(NamedTuple):
    """What is counted of the open objects of a cause, or of the others. Times are in microseconds."""

    objects: int
    executions: int
    letters: int | None
    failed_at: int | None
    processed_at: int | None
    routes: list[tuple[str, str, int]] | None


class CausesPart(Part):
    async def causes(
        self, where: CauseFilter = EVERY_CAUSE, *, before: CausePlace | None = None, limit: int = 100
    ) -> tuple[list[Cause], CausePlace | None]:
        given = {"route": where.route, "since": where.since, "until": where.until}
        given |= {
            "is_open": None if where.state is None else where.state != "closed",
            "is_acknowledged": None if where.state in (None, "closed") else where.state == "acknowledged",
        }
        newest, identity = before or (math.inf, 0)

        async def find(db: Session) -> tuple[list[Cause], CausePlace | None]:
            rows = await db.rows(
                SQL.newest_causes, **given, before=newest, before_id=identity, limit=limit + 1
            )
            page = [CausePlace(at, n) for n, at in rows[:limit]]
            found = await self._named(db, [one.id for one in page], since=where.since)
            return found, page[-1] if len(rows) > limit else None

        return await self._db.read(find)

    async def cause(self, cause: int) -> Cause | None:
        found = await self._db.read(lambda db: self._named(db, [cause], since=None))
        return found[0] if found else None

    async def acknowledge(self, cause: int, reason: str, requested_by: str, until: Until) -> bool:
        return bool(
            await self._db.run(
                SQL.acknowledge_cause,
                cause=cause,
                reason=storable(reason),
                requested_by=storable(requested_by),
                until_config=until.config,
                until_version=until.version,
                until_at=until.at,
            )
        )

    async def end_acknowledgement(self, cause: int) -> bool:
        return bool(await self._db.run(SQL.end_acknowledgement, cause=cause))

    async def _named(self, db: Session, causes: Sequence[int], *, since: float | None) -> list[Cause]:
        if not causes:
            return []
        rows = {row[0]: row for row in await db.rows(SQL.causes_named, causes=list(causes))}
        found = [n for n in causes if n in rows]
        figures = await self._figures(db, found)
        is_open = {n: figures[n, True].objects > 0 for n in found}
        newest = await self._newest(db, is_open)
        codes = await codes_of(db, [message[-1] for message in newest.values()])
        return [
            _cause(rows[n], figures[n, is_open[n]], figures[n, False].objects, newest.get(n), codes, since)
            for n in found
        ]

    async def _figures(self, db: Session, causes: Sequence[int]) -> dict[tuple[int, bool], _Figures]:
        both = [(n, is_open) for n in causes for is_open in (True, False)]
        given = {"causes": [n for n, _ in both], "open": [is_open for _, is_open in both]}
        rows = await db.rows(SQL.figures_of_causes, **given, most=MOST_COUNTED)
        return {(n, bool(is_open)): _Figures(*json.loads(figures)) for n, is_open, figures in rows}

    async def _newest(self, db: Session, is_open: Mapping[int, bool]) -> dict[int, Row]:
        """Return the message that has failed last for each cause, unless its records are deleted."""
        given = {"causes": list(is_open), "open": list(is_open.values())}
        newest = await db.rows(SQL.newest_failing_messages, **given) if is_open else []
        numbers: dict[int, int] = {row[0]: row[1] for row in newest}
        rows = {row[0]: row[1:] for row in await db.rows(SQL.failing_messages, rows=list(numbers.values()))}
        return {cause: rows[n] for cause, n in numbers.items() if n in rows}


def _cause(
    row: Row,
    figures: _Figures,
    processed: int,
    newest: Row | None,
    codes: Mapping[int | None, list[AdapterCode]],
    since: float | None,
) -> Cause:
    n, code, first_error, first, is_acknowledged, *acknowledgement, now = row
    message, execution, key, stage, error, traceback, ran = newest or [None] * 7
    path = key.split("/", 1)[1].removeprefix(f"{stage}/") if key else ""
    is_closed = figures.processed_at is not None
    state: CauseState = "closed" if is_closed else "acknowledged" if is_acknowledged else "open"
    routes = figures.routes or []
    return Cause(
        id=group_text(n),
        state=state,
        is_new=acknowledgement[0] is None and first >= (now - DAY if since is None else since),
        error_code=code,
        error=[TextPart(*part) for part in parts_of(error or first_error, path)],
        adapters=codes.get(ran, []),
        place=place_of(traceback),
        objects=figures.objects,
        processed=processed,
        letters=figures.letters or 0,
        executions=figures.executions,
        routes=[CauseRoute(*one) for one in routes[:MOST_ROUTES]],
        route_count=len(routes),
        first_failed_at=moment(first),
        last_failed_at=moment(first if figures.failed_at is None else figures.failed_at / 1e6),
        closed_at=moment((figures.processed_at or 0) / 1e6) if is_closed else None,
        newest=message and as_uuid(message),
        input_key=key,
        input_stage=stage,
        execution_id=execution and as_uuid(execution),
        acknowledgement=_acknowledgement(acknowledgement, ended=not is_acknowledged),
    )


def _acknowledgement(row: Row, *, ended: bool) -> Acknowledgement | None:
    at, reason, requested_by, config, version, until_at = row
    if at is None:
        return None
    until_version = f"{config}@{version}" if config else None
    return Acknowledgement(moment(at), reason, requested_by, moment_or_none(until_at), until_version, ended)
