"""Causes of failures: lists of them with their figures, and their acknowledgement."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from playhead.backends._sql_catalog.changes import Change
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
    CauseObject,
    CauseRoute,
    CauseState,
    TextPart,
)
from playhead.model.causes import MOST_ROUTES
from playhead.ports.catalog.causes import (
    EVERY_CAUSE,
    CauseFilter,
    CauseObjectPlace,
    CausePlace,
    FailingObject,
    FailingPlace,
    Until,
)

_NEWEST_OPEN: Final = -3
"""Column of `causes_named`; after it, the number of processed objects."""
_KEPT_FROM: Final = 20
"""Figures of more than 1,000 objects are kept: `Known` keeps what has read 20 times as many rows."""


class _Figures(NamedTuple):
    """What is counted of the open objects of a cause, or of the others. Times are in microseconds."""

    objects: int
    executions: int
    letters: int
    failed_at: int
    processed_at: int | None
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

    async def objects(
        self, cause: int, *, is_open: bool, after: CauseObjectPlace | None = None, limit: int
    ) -> tuple[list[CauseObject], CauseObjectPlace | None]:
        place = after._asdict() if after else dict.fromkeys(CauseObjectPlace._fields)
        given = {"cause": cause, "open": is_open, "until": after.at if after else math.inf, **place}
        rows = await self._db.rows(SQL.objects_of_cause, **given, limit=limit + 1)
        found = [
            CauseObject(
                *(config, route, path, letters, error, moment(at), moment_or_none(processed)),
                message and as_uuid(message),
                key,
            )
            for at, path, config, route, letters, error, processed, message, key in rows[:limit]
        ]
        return found, CauseObjectPlace(*rows[limit - 1][:4]) if len(rows) > limit else None

    async def failing(
        self, cause: int, *, after: FailingPlace | None = None, limit: int
    ) -> list[FailingObject]:
        rows = await self._db.rows(SQL.failing_objects, cause=cause, **_behind(after), limit=limit)
        return [FailingObject(FailingPlace(*place), stage) for *place, stage in rows]

    async def count_failing(self, cause: int, *, after: FailingPlace | None = None) -> int:
        found: int = await self._db.value(SQL.count_failing_objects, cause=cause, **_behind(after))
        return found

    async def acknowledge(self, cause: int, reason: str, requested_by: str, until: Until) -> bool:
        change = Change("cause.acknowledge")

        async def acknowledge_it(db: Session) -> bool:
            await self._check(db, cause, change)
            count = await db.run(
                SQL.acknowledge_cause,
                cause=cause,
                reason=storable(reason),
                requested_by=storable(requested_by),
                until_config=until.config,
                until_version=until.version,
                until_at=until.at,
            )
            if count:
                ends = {name: value for name, value in until._asdict().items() if value is not None}
                await change.record(
                    db, object=group_text(cause), reason=reason, detail={"until": ends or None}, checks=False
                )
            return bool(count)

        return await change.write(self._db, acknowledge_it)

    async def end_acknowledgement(self, cause: int) -> bool:
        change = Change("cause.unacknowledge")

        async def end(db: Session) -> bool:
            await self._check(db, cause, change)
            count = await db.run(SQL.end_acknowledgement, cause=cause)
            if count:
                await change.record(db, object=group_text(cause), checks=False)
            return bool(count)

        return await change.write(self._db, end)

    async def _check(self, db: Session, cause: int, change: Change) -> None:
        """Check that who acts may change all configs in which a cause occurs."""
        if change.is_limited:
            change.check_configs([config for (config,) in await db.rows(SQL.configs_of_cause, cause=cause)])

    async def _named(self, db: Session, causes: Sequence[int], *, since: float | None) -> list[Cause]:
        if not causes:
            return []
        named = await db.rows(SQL.causes_named, causes=list(causes), most=MOST_COUNTED)
        rows = {row[0]: row for row in named}
        found = [n for n in causes if n in rows]
        is_open = {n: rows[n][_NEWEST_OPEN] is not None for n in found}
        figures = await self._figures(db, rows, is_open)
        newest = await self._newest(db, is_open)
        codes = await codes_of(db, [message[-1] for message in newest.values()])
        return [_cause(rows[n], figures[n], newest.get(n), codes, since) for n in found if n in figures]

    async def _figures(
        self, db: Session, rows: Mapping[int, Row], is_open: Mapping[int, bool]
    ) -> dict[int, _Figures]:
        """Return the figures of causes. Those of many objects are kept for seconds, until they change."""
        keys = {n: (n, *rows[n][_NEWEST_OPEN:-1]) for n in is_open}
        known = {n: figures for n, key in keys.items() if (figures := self._failing.get(key)) is not None}
        wanted = [n for n in is_open if n not in known]
        given = {"causes": wanted, "open": [is_open[n] for n in wanted], "most": MOST_COUNTED}
        by_route = {n: json.loads(text) for n, text in await db.rows(SQL.figures_of_causes, **given) if text}
        several = [n for n, groups in by_route.items() if _may_repeat(groups)]
        given |= {"causes": several, "open": [is_open[n] for n in several]}
        counted = await db.rows(SQL.objects_of_causes, **given) if several else []
        objects: dict[int, int] = {row[0]: row[1] for row in counted}
        for n, groups in by_route.items():
            if groups:
                known[n] = _figures_of(groups, objects.get(n))
                self._failing.keep(keys[n], known[n], known[n].objects * _KEPT_FROM)
        return known

    async def _newest(self, db: Session, is_open: Mapping[int, bool]) -> dict[int, Row]:
        """Return the message that has failed last for each cause, unless its records are deleted."""
        given = {"causes": list(is_open), "open": list(is_open.values())}
        newest = await db.rows(SQL.newest_failing_messages, **given) if is_open else []
        numbers: dict[int, int] = {row[0]: row[1] for row in newest}
        rows = {row[0]: row[1:] for row in await db.rows(SQL.failing_messages, rows=list(numbers.values()))}
        return {cause: rows[n] for cause, n in numbers.items() if n in rows}


def _behind(place: FailingPlace | None) -> dict[str, str | None]:
    return place._asdict() if place else dict.fromkeys(FailingPlace._fields)


def _may_repeat(groups: Sequence[Sequence[Any]]) -> bool:
    """Whether an object may have failed in several routes: the paths of routes are in no separate ranges.

    Routes that receive different stages have separate ones. If only some objects were read, it is not known.
    """
    ranges: dict[tuple[str, str], tuple[str, str]] = {}
    for config, route, *_, first, last in groups:
        known = ranges.get((config, route), (first, last))
        ranges[config, route] = min(first, known[0]), max(last, known[1])
    if len(ranges) > 1 and sum(one[3] for one in groups) >= MOST_COUNTED:
        return True
    ordered = sorted((config, *paths) for (config, _), paths in ranges.items())
    return any(one[0] == other[0] and other[1] <= one[2] for one, other in pairwise(ordered))


def _figures_of(groups: Sequence[Sequence[Any]], objects: int | None) -> _Figures:
    """Return the figures of a cause.

    Args:
        groups: figures by route and execution.
        objects: number of distinct objects; None: each of them has failed in one route.
    """
    routes: Counter[tuple[str, str]] = Counter()
    for config, route, _, count, *_ in groups:
        routes[config, route] += count
    return _Figures(
        objects=routes.total() if objects is None else objects,
        executions=len({execution for _, _, execution, *_ in groups}),
        letters=sum(one[4] for one in groups),
        failed_at=max(one[5] for one in groups),
        processed_at=max((one[6] for one in groups if one[6]), default=None),
        routes=[
            CauseRoute(config, route, count)
            for (config, route), count in sorted(routes.items(), key=lambda one: (-one[1], one[0]))
        ],
    )


def _cause(
    row: Row,
    figures: _Figures,
    newest: Row | None,
    codes: Mapping[int | None, list[AdapterCode]],
    since: float | None,
) -> Cause:
    n, code, first_error, first, is_acknowledged, *acknowledgement, newest_open, processed, now = row
    message, execution, key, stage, error, traceback, ran = newest or [None] * 7
    path = key.split("/", 1)[1].removeprefix(f"{stage}/") if key else ""
    is_closed = newest_open is None
    state: CauseState = "closed" if is_closed else "acknowledged" if is_acknowledged else "open"
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
        letters=figures.letters,
        executions=figures.executions,
        routes=figures.routes[:MOST_ROUTES],
        route_count=len(figures.routes),
        first_failed_at=moment(first),
        last_failed_at=moment(figures.failed_at / 1e6),
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
