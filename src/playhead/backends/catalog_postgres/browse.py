"""What people look at, from PostgreSQL.

Lists are pages of an index: each asks for the newest rows of every (state, lane), or version, that may be
in it, and keeps the newest of those, so a page costs the same in the first and the last million.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from playhead.backends._postgres import Connection, Row
from playhead.backends._sql_catalog.browse import (
    DEAD_LETTER,
    LINEAGE,
    Via,
    counts_by_route,
    letter_of,
    lineage_of,
    sum_by_route,
)
from playhead.backends._sql_catalog.rows import (
    ABOVE_ALL,
    DEAD,
    EXECUTION,
    PENDING,
    RETRY,
    RUNNING,
    STORED,
    add_up,
    thaw,
)
from playhead.backends.catalog_postgres.rows import Part, of_route
from playhead.model import (
    ROW_STATES,
    ChainLink,
    DeadLetter,
    DeadLetterDetail,
    Execution,
    Lineage,
    RouteCounts,
    RowState,
)
from playhead.ports.catalog.browse import ExecutionFilter

_UP = (
    "WITH RECURSIVE up (n, parent, object_key, distance, via) AS ("
    "SELECT n, parent, object_key, 0, 'self' FROM messages WHERE n = $1 "
    "UNION ALL SELECT p.n, p.parent, p.object_key, u.distance - 1, "
    "CASE WHEN u.parent IS NULL THEN 'replay' ELSE 'parent' END FROM up u JOIN messages p "
    "ON p.n = coalesce(u.parent, (SELECT o.message FROM outputs o WHERE o.key = u.object_key)) "
    "WHERE u.distance > 1 - $2::bigint) SELECT n, distance, via FROM up ORDER BY distance DESC"
)
_DOWN = (
    "SELECT c.n, c.via FROM unnest($1::bigint[]) WITH ORDINALITY AS above (n, place) CROSS JOIN LATERAL ("
    "(SELECT m.n, 'parent' AS via FROM messages m WHERE m.parent = above.n ORDER BY m.n LIMIT $2::bigint) "
    "UNION ALL (SELECT m.n, 'replay' FROM outputs o JOIN messages m ON m.object_key = o.key AND m.parent IS NULL "
    f"WHERE o.message = above.n AND o.state = {STORED} ORDER BY m.n LIMIT $2::bigint)) c "
    "ORDER BY above.place, c.n LIMIT $2::bigint"
)


class BrowsePart(Part):
    # -- executions --------------------------------------------------------------------------------

    async def execution(self, execution: UUID) -> Execution | None:
        return await self._read(lambda con: self._find_execution(con, execution))

    async def executions_named(self, executions: Sequence[UUID]) -> list[Execution]:
        async def job(con: Connection) -> list[Execution]:
            return await self._executions(
                con, await con.fetch(f"{EXECUTION} WHERE e.id = ANY($1::uuid[])", list(executions))
            )

        return await self._read(job)

    async def executions(
        self, where: ExecutionFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Execution], int | None]:
        conditions = ["e.n < $1"]
        values: list[Any] = [ABOVE_ALL if before is None else before, limit + 1]
        for condition, value in (
            ("e.status = ${}", where.status),
            ("e.kind = ${}", where.kind),
            ("e.parent = ${}", where.parent),
            ("e.n IN (SELECT t.execution FROM tags t WHERE t.tag = ${})", where.tag),
        ):
            if value is not None:
                values.append(value)
                conditions.append(condition.format(len(values)))
        found = (
            f"SELECT e.n FROM executions e WHERE {{}} {' AND '.join(conditions)} ORDER BY e.n DESC LIMIT $2"
        )
        if where.config is None:
            newest = found.format("")
        else:
            values.append(where.config)
            newest = (
                f"SELECT x.n FROM config_versions v CROSS JOIN LATERAL ({found.format('e.config_version = v.id AND')}) x "
                f"WHERE v.name = ${len(values)} ORDER BY x.n DESC LIMIT $2"
            )

        async def job(con: Connection) -> tuple[list[Execution], int | None]:
            numbers = [n for (n,) in await con.fetch(newest, *values)]
            rows = await con.fetch(
                f"{EXECUTION} WHERE e.n = ANY($1::bigint[]) ORDER BY e.n DESC", numbers[:limit]
            )
            page = await self._executions(con, rows)
            return page, numbers[limit - 1] if len(numbers) > limit else None

        return await self._read(job)

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        async def job(con: Connection) -> list[RouteCounts]:
            row = await con.fetchrow(
                "SELECT n, config_version, counts FROM executions WHERE id = $1", execution
            )
            if row is None or row[1] is None:
                return []
            n, config_version, frozen = row
            rows = await self._count_rows(con, n)
            if frozen and add_up(rows) != thaw(frozen):
                # Another process ended it after we counted; its routes must add up to what it shows.
                rows = await self._count_rows(con, n, fresh=True)
            return counts_by_route(await self._lanes_of(con, config_version), rows)

        return await self._read(job)

    async def unstored(self, keys: Sequence[str]) -> set[str]:
        if not keys:
            return set()
        rows = await self._read(
            lambda con: con.fetch(
                f"SELECT key FROM outputs WHERE state <> {STORED} AND key >= $1 AND key <= $2",
                keys[0],
                keys[-1],
            )
        )
        return {key for (key,) in rows} & set(keys)

    # -- lineage -----------------------------------------------------------------------------------

    async def _lineages(self, con: Connection, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """From rows as `LINEAGE` gives them."""
        lanes = await self._learn(con, {row[5] for row in rows})
        outputs: dict[int, list[str]] = {row[0]: [] for row in rows}
        for message, key in await con.fetch(
            f"SELECT message, key FROM outputs WHERE message = ANY($1::bigint[]) AND state = {STORED} ORDER BY n",
            list(outputs),
        ):
            outputs[message].append(key)
        return [lineage_of(row, lanes[row[5]], outputs[row[0]]) for row in rows]

    async def lineage(self, correlation_id: UUID) -> Lineage | None:
        async def job(con: Connection) -> Lineage | None:
            rows = await con.fetch(f"{LINEAGE} WHERE m.id = $1", correlation_id)
            return Lineage(**(await self._lineages(con, rows))[0]) if rows else None

        return await self._read(job)

    async def lineage_of_object(self, key: str) -> list[Lineage]:
        async def job(con: Connection) -> list[Lineage]:
            made = await con.fetchval(f"SELECT message FROM outputs WHERE key = $1 AND state = {STORED}", key)
            if made is not None:
                rows = await con.fetch(f"{LINEAGE} WHERE m.n = $1", made)
            else:
                rows = await con.fetch(
                    f"{LINEAGE} WHERE m.object_key = $1 AND m.parent IS NULL ORDER BY m.n DESC", key
                )
            return [Lineage(**one) for one in await self._lineages(con, rows)]

        return await self._read(job)

    async def lineage_list(
        self,
        *,
        execution: UUID | None = None,
        batch: UUID | None = None,
        route: str | None = None,
        status: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[Lineage], int | None]:
        async def job(con: Connection) -> tuple[list[Lineage], int | None]:
            # A batch is an execution of its own: its roots and all that descends from them.
            rows = await con.fetch(
                "SELECT x.n FROM executions e JOIN lanes l ON l.config_version = e.config_version "
                "CROSS JOIN unnest($5::smallint[]) AS s (state) CROSS JOIN LATERAL ("
                "SELECT m.n FROM messages m WHERE m.execution = e.n AND m.state = s.state AND m.lane = l.id "
                "AND -m.n > -$1::bigint ORDER BY -m.n LIMIT $2) x "
                "WHERE ($3::uuid IS NULL OR e.id = $3) AND ($4::uuid IS NULL OR e.batch = $4) "
                "AND ($6::text IS NULL OR l.route = $6) ORDER BY x.n DESC LIMIT $2",
                ABOVE_ALL if before is None else before,
                limit + 1,
                execution,
                batch,
                range(len(ROW_STATES)) if status is None else [ROW_STATES.index(status)],
                route,
            )
            found = [n for (n,) in rows]
            page = await con.fetch(
                f"{LINEAGE} WHERE m.n = ANY($1::bigint[]) ORDER BY m.n DESC", found[:limit]
            )
            return (
                [Lineage(**one) for one in await self._lineages(con, page)],
                found[limit - 1] if len(found) > limit else None,
            )

        if status is not None and status not in ROW_STATES:
            return [], None
        return await self._read(job)

    async def chain(
        self,
        correlation_id: UUID,
        *,
        direction: Literal["up", "down", "both"],
        after: UUID | None = None,
        limit: int,
    ) -> tuple[list[ChainLink], UUID | None]:
        async def job(con: Connection) -> tuple[list[ChainLink], UUID | None]:
            start = await con.fetchval("SELECT n FROM messages WHERE id = $1", correlation_id)
            if start is None:
                return [], None
            last = await con.fetchval("SELECT n FROM messages WHERE id = $1", after) if after else None
            room = limit + 1
            while True:
                walked = await self._walk(con, start, direction, room)
                begin = next((at + 1 for at, link in enumerate(walked) if link[0] == last), 0)
                if len(walked) < room or (len(walked) > begin + limit and (begin or last is None)):
                    break
                # The page lies further on; how far, only the walk itself can tell.
                room *= 4
            page = walked[begin : begin + limit]
            rows = {
                row[0]: row
                for row in await con.fetch(
                    f"{LINEAGE} WHERE m.n = ANY($1::bigint[])", [n for n, _, _ in page]
                )
            }
            order = sorted(page, key=lambda link: (link[1], link[0]))
            lines = await self._lineages(con, [rows[n] for n, _, _ in order])
            links = [
                ChainLink(**line, distance=distance, via=via)
                for (_, distance, via), line in zip(order, lines, strict=True)
            ]
            return links, rows[page[-1][0]][1] if len(walked) > begin + limit else None

        return await self._read(job)

    async def _walk(
        self, con: Connection, start: int, direction: Literal["up", "down", "both"], room: int
    ) -> list[tuple[int, int, Via]]:
        """The first `room` rows of a chain with distance and bond, nearest first."""
        walked: list[tuple[int, int, Via]] = [(start, 0, "self")]
        up = {}
        if direction != "down":
            up = {-distance: (n, distance, via) for n, distance, via in await con.fetch(_UP, start, room)}
        level = [start] if direction != "up" else []
        distance = 0
        while len(walked) < room:
            distance += 1
            above = up.get(distance)
            if above is None and not level:
                break
            if above is not None:
                walked.append(above)
            below = await con.fetch(_DOWN, level, room - len(walked)) if level else []
            walked += [(n, distance, via) for n, via in below]
            level = [n for n, _ in below]
        return walked[:room]

    # -- dead letters ------------------------------------------------------------------------------

    async def _letters(self, con: Connection, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """From rows as `DEAD_LETTER` gives them."""
        lanes = await self._learn(con, {row[3] for row in rows})
        return [letter_of(row, lanes[row[3]]) for row in rows]

    async def dead_letters(
        self,
        *,
        execution: UUID | None = None,
        route: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[DeadLetter], int | None]:
        if execution is None:
            lanes = "lanes l"
            which = f"m.state = {DEAD} AND m.lane = l.id"  # by the index `messages_dead`
        else:
            lanes = "executions e JOIN lanes l ON l.config_version = e.config_version AND e.id = $4"
            which = f"m.execution = e.n AND m.state = {DEAD} AND m.lane = l.id"

        async def job(con: Connection) -> tuple[list[DeadLetter], int | None]:
            rows = await con.fetch(
                f"SELECT x.n FROM {lanes} CROSS JOIN LATERAL (SELECT m.n FROM messages m "
                f"WHERE {which} AND -m.n > -$1::bigint ORDER BY -m.n LIMIT $2) x "
                f"WHERE {of_route(3)} ORDER BY x.n DESC LIMIT $2",
                *(ABOVE_ALL if before is None else before, limit + 1, route),
                *(() if execution is None else (execution,)),
            )
            found = [n for (n,) in rows]
            page = await con.fetch(
                f"{DEAD_LETTER} WHERE m.n = ANY($1::bigint[]) ORDER BY m.n DESC", found[:limit]
            )
            letters = [DeadLetter(**one) for one in await self._letters(con, page)]
            return letters, found[limit - 1] if len(found) > limit else None

        return await self._read(job)

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail | None:
        async def job(con: Connection) -> DeadLetterDetail | None:
            rows = await con.fetch(f"{DEAD_LETTER} WHERE m.id = $1 AND m.state = {DEAD}", correlation_id)
            if not rows:
                return None
            (letter,) = await self._letters(con, rows)
            return DeadLetterDetail(**letter, traceback=rows[0][-1])

        return await self._read(job)

    async def open_by_route(self) -> dict[tuple[str, str, RowState], int]:
        async def job(con: Connection) -> dict[tuple[str, str, RowState], int]:
            rows = await con.fetch(
                # Execution by execution: as one join, the planner may walk the index of all there ever were.
                "SELECT c.lane, c.state, sum(c.count)::bigint FROM executions e CROSS JOIN LATERAL "
                "(SELECT m.lane, m.state, count(*) AS count FROM messages m WHERE m.execution = e.n "
                f"AND m.state IN ({PENDING}, {RUNNING}, {RETRY}) GROUP BY 1, 2) c WHERE NOT e.settled GROUP BY 1, 2"
            )
            lanes = await self._learn(con, {row[0] for row in rows})
            return sum_by_route((lanes[lane], state, count) for lane, state, count in rows)

        return await self._read(job)

    async def dead_by_route(self) -> dict[tuple[str, str], int]:
        rows = await self._read(
            lambda con: con.fetch(
                "SELECT v.name, l.route, sum(d.count)::bigint FROM "
                f"(SELECT lane, count(*) AS count FROM messages WHERE state = {DEAD} GROUP BY lane) d "
                "JOIN lanes l ON l.id = d.lane JOIN config_versions v ON v.id = l.config_version GROUP BY 1, 2"
            )
        )
        return {(config, route): count for config, route, count in rows}
