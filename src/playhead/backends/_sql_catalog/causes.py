"""Causes of failures: lists of them with their figures, and their acknowledgement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from playhead.backends._sql_catalog.codes import codes_of
from playhead.backends._sql_catalog.lanes import as_uuid, moment_or_none, storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.failures import group_text, parts_of, place_of
from playhead.ids import moment
from playhead.model import DAY, MOST_COUNTED, Acknowledgement, Cause, CauseRoute, CauseState, TextPart
from playhead.model.causes import MOST_ROUTES
from playhead.ports.catalog.causes import EVERY_CAUSE, CauseFilter, CausePlace, Until


class _Figures(NamedTuple):
    """What is counted of the open objects of a cause, or of the others."""

    objects: int
    executions: int
    letters: int
    failed_at: float | None
    processed_at: float | None
    routes: list[CauseRoute]


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
        rows = {row[0]: row for row in await db.rows(SQL.causes_named, causes=list(causes))} if causes else {}
        return [await self._cause(db, rows[n], since=since) for n in causes if n in rows]

    async def _cause(self, db: Session, row: Row, *, since: float | None) -> Cause:
        n, code, first_error, first, is_acknowledged, *acknowledgement, is_open, now = row
        figures = await self._figures(db, n, is_open=is_open)
        newest = await db.row(SQL.newest_failing_message, cause=n, open=bool(is_open))
        message, execution, key, stage, error, traceback, ran = newest or [None] * 7
        path = key.split("/", 1)[1].removeprefix(f"{stage}/") if key else ""
        state: CauseState = "closed" if not is_open else "acknowledged" if is_acknowledged else "open"
        others = await self._figures(db, n, is_open=False) if is_open else figures
        return Cause(
            id=group_text(n),
            state=state,
            is_new=acknowledgement[0] is None and first >= (now - DAY if since is None else since),
            error_code=code,
            error=[TextPart(*part) for part in parts_of(error or first_error, path)],
            adapters=(await codes_of(db, [ran])).get(ran, []),
            place=place_of(traceback),
            objects=figures.objects,
            processed=others.objects,
            letters=figures.letters,
            executions=figures.executions,
            routes=figures.routes[:MOST_ROUTES],
            route_count=len(figures.routes),
            first_failed_at=moment(first),
            last_failed_at=moment(figures.failed_at or first),
            closed_at=None if is_open else moment_or_none(figures.processed_at),
            newest=message and as_uuid(message),
            input_key=key,
            input_stage=stage,
            execution_id=execution and as_uuid(execution),
            acknowledgement=_acknowledgement(acknowledgement, ended=not is_acknowledged),
        )

    async def _figures(self, db: Session, cause: int, *, is_open: bool) -> _Figures:
        given = {"cause": cause, "open": bool(is_open), "most": MOST_COUNTED}
        [(objects, executions, letters, failed_at, processed_at)] = await db.rows(SQL.count_failing, **given)
        routes = [CauseRoute(*one) for one in await db.rows(SQL.failing_by_route, **given)]
        return _Figures(objects, executions, int(letters), failed_at, processed_at, routes)


def _acknowledgement(row: Row, *, ended: bool) -> Acknowledgement | None:
    at, reason, requested_by, config, version, until_at = row
    if at is None:
        return None
    until_version = f"{config}@{version}" if config else None
    return Acknowledgement(moment(at), reason, requested_by, moment_or_none(until_at), until_version, ended)
