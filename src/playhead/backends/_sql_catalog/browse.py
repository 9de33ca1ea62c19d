"""What people look at: executions, lineage, dead letters, and counts by route."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from playhead.backends._sql_catalog import counts
from playhead.backends._sql_catalog.codes import Makers, makers_of
from playhead.backends._sql_catalog.executions import records_deleted_at
from playhead.backends._sql_catalog.lanes import Lane, as_uuid, as_uuid_or_none, lanes_of
from playhead.backends._sql_catalog.lineages import lineages
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.rows import ABOVE_ALL, newest_messages, page_of
from playhead.backends.sql import COMPLETED, DEAD, TAKEN_OVER
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.failures import group_number, group_text, pattern_of
from playhead.ids import moment, parse_uuid, seconds
from playhead.model import (
    MOST_COUNTED,
    ROW_STATES,
    DeadLetter,
    DeadLetterDetail,
    DeadLetterGroup,
    Execution,
    Lineage,
    MadeByCondition,
    Replay,
    RouteCounts,
    RowState,
)
from playhead.ports.catalog.browse import (
    EVERY_DEAD_LETTER,
    DeadLetterFilter,
    ExecutionFilter,
    IdKind,
    Retries,
)

_NEWEST: Final = 1000
"""Executions that are looked through before the bounds of a period are read."""


class BrowsePart(Part):
    # -- executions --------------------------------------------------------------------------------

    async def execution(self, execution: UUID) -> Execution | None:
        return await self._db.read(lambda db: self._executions.find(db, execution))

    async def executions_named(self, executions: Sequence[UUID]) -> list[Execution]:
        async def find(db: Session) -> list[Execution]:
            rows = await db.rows(SQL.executions_by_id, ids=list(executions))
            return await self._executions.of_rows(db, rows)

        return await self._db.read(find)

    async def replays_named(self, batches: Sequence[UUID]) -> list[Replay]:
        async def find(db: Session) -> list[Replay]:
            rows = await db.rows(SQL.replays_named, window=self.sizes.window, batches=list(batches))
            return await self._replays.of_rows(db, rows, work=False)

        return await self._db.read(find)

    async def records_deleted(self, executions: Sequence[UUID]) -> dict[UUID, str]:
        return await self._db.read(lambda db: records_deleted_at(db, executions))

    async def executions(
        self, where: ExecutionFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Execution], int | None]:
        async def find(db: Session) -> tuple[list[Execution], int | None]:
            given = where._asdict() | {
                "since": None if where.since is None else seconds(where.since),
                "until": None if where.until is None else seconds(where.until),
                "first": None,
                "running": True if where.status == "running" else None,
                "before": before or ABOVE_ALL,
                "limit": limit + 1,
            }
            # Most executions are completed: of the others, few are read until a page is full.
            by_tag = where.tag is not None and where.status in (None, "completed")
            select = SQL.newest_tagged_executions if by_tag else SQL.newest_executions
            # The index of running executions is short, so they need no bounds.
            is_limited = where.status != "running" and (where.since is not None or where.until is not None)
            newest = await _in_period(db, select, given) if is_limited else await db.rows(select, **given)
            numbers, then = page_of(newest, limit)
            rows = await db.rows(SQL.executions_by_number, numbers=numbers)
            return await self._executions.of_rows(db, rows), then

        return await self._db.read(find)

    async def newest_execution(self) -> UUID | None:
        return as_uuid_or_none(await self._db.value(SQL.newest_execution))

    async def ids_ending(self, kind: IdKind, digits: str, *, execution: UUID | None = None) -> list[UUID]:
        tail = bytes.fromhex(digits[-4:])

        async def find(db: Session) -> list[UUID]:
            if kind == "execution":
                rows = await db.rows(SQL.executions_ending, tail=tail)
            elif kind == "batch":
                rows = await db.rows(SQL.batches_ending, tail=tail)
            elif execution is None:
                rows = await db.rows(SQL.dead_ending, tail=tail)
            else:
                rows = await db.rows(SQL.messages_ending, execution=execution, tail=tail)
            return [found for (one,) in rows if (found := as_uuid(one)).hex.endswith(digits)]

        return await self._db.read(find)

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        async def count(db: Session) -> list[RouteCounts]:
            row = await db.row(SQL.execution_counts, id=execution)
            if row is None or row[1] is None:
                return []
            n, version, stored = row
            by_lane = counts.decode(stored) if stored else (await self._executions.count(db, [n]))[n]
            return counts.counts_by_route(await lanes_of(db, version), by_lane)

        return await self._db.read(count)

    async def unstored(self, keys: Sequence[str]) -> set[str]:
        if not keys:
            return set()

        async def find(db: Session) -> set[str]:
            rows = await db.rows(SQL.unstored_between, first=keys[0], last=keys[-1])
            owners = {key.partition("/")[0] for key in keys}
            executions = [identity for owner in owners if (identity := parse_uuid(owner))]
            if await db.value(SQL.has_prunings, executions=executions):
                rows = [*rows, *await db.rows(SQL.pruned_among, keys=list(keys))]
            return {key for (key,) in rows} & set(keys)

        return await self._db.read(find)

    # -- replays ----------------------------------------------------------------------------------

    async def replay(self, batch: UUID, *, work: bool = True, trouble: str = "") -> Replay | None:
        return await self._db.read(lambda db: self._replays.find(db, batch, work=work, trouble=trouble))

    async def replays(
        self,
        *,
        source: UUID | None = None,
        is_open: bool = False,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[Replay], int | None]:
        async def find(db: Session) -> tuple[list[Replay], int | None]:
            rows = await db.rows(
                SQL.newest_replays,
                window=self.sizes.window,
                source=source,
                open=is_open or None,
                before=before,
                limit=limit + 1,
            )
            page = await self._replays.of_rows(db, rows[:limit], work=False)
            return page, rows[limit - 1][0] if len(rows) > limit else None

        return await self._db.read(find)

    # -- lineage -----------------------------------------------------------------------------------

    async def lineage(self, correlation_id: UUID) -> Lineage | None:
        async def find(db: Session) -> Lineage | None:
            rows = await db.rows(SQL.lineage_of_message, id=correlation_id)
            return Lineage(**(await lineages(db, self._lanes, rows))[0]) if rows else None

        return await self._db.read(find)

    async def keys_of_messages(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        rows = await self._db.rows(SQL.keys_of_messages, ids=list(ids))
        return {as_uuid(identity): key for identity, key in rows}

    async def lineage_of_object(self, key: str) -> list[Lineage]:
        async def find(db: Session) -> list[Lineage]:
            stored = (await self._aliases.real(db, [key]))[key]
            producer = await db.value(SQL.producer, key=stored)
            if producer is not None:
                rows = await db.rows(SQL.lineages, rows=[producer])
            else:
                rows = await db.rows(SQL.lineage_of_consumers, key=stored)
            return [Lineage(**one) for one in await lineages(db, self._lanes, rows)]

        return await self._db.read(find)

    async def lineage_list(
        self,
        *,
        execution: UUID | None = None,
        batch: UUID | None = None,
        route: str | None = None,
        status: str | None = None,
        made_by: MadeByCondition | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[Lineage], int | None]:
        async def find(db: Session) -> tuple[list[Lineage], int | None]:
            makers = await makers_of(db, made_by) if made_by else Makers(None, None)
            states = enumerate(ROW_STATES)
            numbers, then = await newest_messages(
                db,
                [
                    n
                    for n, state in states
                    if status in (None, state) and (made_by is None or n in (COMPLETED, TAKEN_OVER))
                ],
                execution=execution,
                batch=batch,  # a separate execution: its roots, and all that descends from them
                route=route,
                ran=makers.ran,
                worker=makers.worker,
                before=before,
                limit=limit,
            )
            rows = await db.rows(SQL.lineages, rows=numbers)
            return [Lineage(**one) for one in await lineages(db, self._lanes, rows)], then

        return await self._db.read(find)

    # -- dead letters ------------------------------------------------------------------------------

    async def _letters(self, db: Session, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the fields of a `DeadLetter` for each row with the columns of the fragment `dead_letter`."""
        lanes = await self._lanes.learn(db, {row[3] for row in rows})
        return [_letter_of(row, lanes[row[3]]) for row in rows]

    async def dead_letters(
        self, where: DeadLetterFilter = EVERY_DEAD_LETTER, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[DeadLetter], int | None]:
        async def find(db: Session) -> tuple[list[DeadLetter], int | None]:
            numbers, then = await newest_messages(db, [DEAD], **where._asdict(), before=before, limit=limit)
            rows = await db.rows(SQL.dead_letters, rows=numbers)
            return [DeadLetter(**one) for one in await self._letters(db, rows)], then

        return await self._db.read(find)

    async def dead_letter_groups(
        self,
        *,
        execution: UUID | None = None,
        config: str | None = None,
        route: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[DeadLetterGroup], int | None]:
        async def find(db: Session) -> tuple[list[DeadLetterGroup], int | None]:
            n = None
            if execution is not None:
                n = await db.value(SQL.execution_number, id=execution)
                if n is None:
                    return [], None
            bounds = {"before": before or ABOVE_ALL, "limit": limit + 1}
            newest = await db.rows(SQL.newest_groups, execution=n, config=config, route=route, **bounds)
            numbers, then = page_of(newest, limit)
            letters = await self._letters(db, await db.rows(SQL.dead_letters, rows=numbers))
            of = {
                "groups": [group_number(letter["group"]) for letter in letters],
                "configs": [letter["config"] for letter in letters],
                "routes": [letter["route"] for letter in letters],
            }
            counted = await db.rows(SQL.count_groups, **of, execution=n, most=MOST_COUNTED)
            by_group = {row[0]: _counted(row) for row in counted}
            return [_group_of(one, by_group[group_number(one["group"])]) for one in letters], then

        return await self._db.read(find)

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail | None:
        async def find(db: Session) -> DeadLetterDetail | None:
            row = await db.row(SQL.dead_letter, id=correlation_id)
            if row is None:
                return None
            (letter,) = await self._letters(db, [row])
            return DeadLetterDetail(**letter, traceback=row[-1])

        return await self._db.read(find)

    async def open_by_route(self) -> dict[tuple[str, str, RowState], int]:
        async def count(db: Session) -> dict[tuple[str, str, RowState], int]:
            rows = await db.rows(SQL.open_by_lane)
            lanes = await self._lanes.learn(db, {row[0] for row in rows})
            return counts.sum_by_route((lanes[lane], state, number) for lane, state, number in rows)

        return await self._db.read(count)

    async def retries_by_route(self) -> dict[tuple[str, str], Retries]:
        rows = await self._db.rows(SQL.retries_by_route, limit=MOST_COUNTED)
        return {(config, route): Retries(count, max(due, 0.0)) for config, route, count, due in rows}

    async def dead_by_route(self) -> dict[tuple[str, str], int]:
        rows = await self._db.rows(SQL.dead_by_route)
        return {(config, route): count for config, route, count in rows}


def _letter_of(row: Row, lane: Lane) -> dict[str, Any]:
    _, cid, execution, _, key, attempts, code, error, failed, group, _ = row
    return {
        "correlation_id": as_uuid(cid),
        "execution_id": as_uuid(execution),
        "config": lane.config,
        "config_version": lane.version,
        "route": lane.route,
        "queue": lane.queue,
        "input_key": key,
        "attempts": attempts,
        "error_code": code,
        "error": error or "",
        "failed_at": moment(failed),
        "group": group_text(group),
    }


def _counted(row: Row) -> tuple[int, int, float, float, bool]:
    """Return the figures of a row of `count_groups`, whose times are in microseconds in SQLite."""
    if len(row) > 3:
        return row[1], row[2], row[3], row[4], row[5]
    count, executions, first, last = json.loads(row[1])
    return count, executions, first / 1e6, last / 1e6, bool(row[2])


def _group_of(newest: dict[str, Any], figures: tuple[int, int, float, float, bool]) -> DeadLetterGroup:
    count, executions, first, last, is_open = figures
    shared = {name: newest[name] for name in ("group", "config", "route", "queue", "error_code", "error")}
    return DeadLetterGroup(
        **shared,
        pattern=pattern_of(newest["error"]),
        count=count,
        executions=executions,
        first_failed_at=moment(first),
        last_failed_at=moment(last),
        newest=newest["correlation_id"],
        input_key=newest["input_key"],
        open=is_open,
    )


async def _in_period(db: Session, select: Statement, given: dict[str, Any]) -> list[Row]:
    """Return the numbers of the newest executions that began in a period.

    Its bounds cost as much as it has executions. If it reaches to the present, the newest executions fill the
    page without them.
    """
    last = await db.value(SQL.last_execution) or 0
    first = min(given["before"], last + 1) - _NEWEST
    newest = await db.rows(select, **given | {"first": first})
    if len(newest) == given["limit"]:
        return newest
    [(first, last)] = await db.rows(SQL.execution_bounds, **given)
    if first is None:
        return []
    return await db.rows(select, **given | {"first": first, "before": min(given["before"], last + 1)})
