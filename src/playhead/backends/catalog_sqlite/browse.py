"""What people look at, from SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal
from uuid import UUID

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
    STORED,
    add_up,
    thaw,
)
from playhead.backends._sqlite import Connection
from playhead.backends.catalog_sqlite.rows import Part, of_route
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

_DEAD = f"{DEAD_LETTER} JOIN lanes l ON l.id = m.lane "


class BrowsePart(Part):
    async def execution(self, execution: UUID) -> Execution | None:
        return await self._read(lambda con: self._find_execution(con, execution))

    async def executions_named(self, executions: Sequence[UUID]) -> list[Execution]:
        def job(con: Connection) -> list[Execution]:
            return [found for e in set(executions) if (found := self._find_execution(con, e))]

        return await self._read(job)

    async def executions(
        self, where: ExecutionFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Execution], int | None]:
        conditions, values = ["1"], list[Any]()
        for column, value in (
            ("e.status", where.status),
            ("c.name", where.config),
            ("e.kind", where.kind),
            ("e.parent", where.parent.bytes if where.parent else None),
        ):
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        if where.tag is not None:
            conditions.append("e.n IN (SELECT execution FROM tags WHERE tag = ?)")
            values.append(where.tag)
        if before is not None:
            conditions.append("e.n < ?")
            values.append(before)

        def job(con: Connection) -> tuple[list[Execution], int | None]:
            rows = con.execute(
                f"{EXECUTION} WHERE {' AND '.join(conditions)} ORDER BY e.n DESC LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
            page = [self._execution(con, r) for r in rows[:limit]]
            return page, rows[limit - 1][0] if len(rows) > limit else None

        return await self._read(job)

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        def job(con: Connection) -> list[RouteCounts]:
            row = con.execute(
                "SELECT n, config_version, counts FROM executions WHERE id = ?", (execution.bytes,)
            ).fetchone()
            if row is None or row[1] is None:
                return []
            n, config_version, frozen = row
            rows = self._count_rows(con, n)
            if frozen and add_up(rows) != thaw(frozen):
                # Another process ended it after we counted; its routes must add up to what it shows.
                rows = self._count_rows(con, n, fresh=True)
            return counts_by_route(self._lanes_of(con, config_version), rows)

        return await self._read(job)

    async def unstored(self, keys: Sequence[str]) -> set[str]:
        if not keys:
            return set()

        def job(con: Connection) -> set[str]:
            rows = con.execute(
                "SELECT key FROM outputs WHERE state <> 1 AND key >= ? AND key <= ?", (keys[0], keys[-1])
            )
            return {key for (key,) in rows} & set(keys)

        return await self._read(job)

    # -- lineage -----------------------------------------------------------------------------------

    def _lineage(self, con: Connection, row: tuple[Any, ...]) -> dict[str, Any]:
        """From a row as `LINEAGE` gives it."""
        outputs = con.execute(
            "SELECT key FROM outputs WHERE message = ? AND state = ? ORDER BY n", (row[0], STORED)
        )
        return lineage_of(row, self._lane(con, row[5]), [key for (key,) in outputs])

    async def lineage(self, correlation_id: UUID) -> Lineage | None:
        def job(con: Connection) -> Lineage | None:
            row = con.execute(f"{LINEAGE} WHERE m.id = ?", (correlation_id.bytes,)).fetchone()
            return Lineage(**self._lineage(con, row)) if row else None

        return await self._read(job)

    async def lineage_of_object(self, key: str) -> list[Lineage]:
        def job(con: Connection) -> list[Lineage]:
            made = con.execute(
                "SELECT message FROM outputs WHERE key = ? AND state = ?", (key, STORED)
            ).fetchone()
            if made and made[0] is not None:
                rows = con.execute(f"{LINEAGE} WHERE m.n = ?", made).fetchall()
            else:
                rows = con.execute(
                    f"{LINEAGE} WHERE m.object_key = ? AND m.parent IS NULL ORDER BY m.n DESC", (key,)
                ).fetchall()
            return [Lineage(**self._lineage(con, r)) for r in rows]

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
        def job(con: Connection) -> tuple[list[Lineage], int | None]:
            # A batch is an execution of its own: its roots and all that descends from them.
            named = [("id", execution), ("batch", batch)]
            columns = [(f"{column} = ?", value.bytes) for column, value in named if value is not None]
            states = range(len(ROW_STATES)) if status is None else [ROW_STATES.index(status)]
            found: list[int] = []
            for n, version in con.execute(
                f"SELECT n, config_version FROM executions WHERE {' AND '.join(c for c, _ in columns) or '1'}",
                [value for _, value in columns],
            ).fetchall():
                lanes = [lane.id for lane in self._lanes_of(con, version) if route in (None, lane.route)]
                found += self._newest(con, n, states, lanes, before, limit + 1)
            found = sorted(found, reverse=True)[: limit + 1]
            rows = [con.execute(f"{LINEAGE} WHERE m.n = ?", (n,)).fetchone() for n in found[:limit]]
            page = [Lineage(**self._lineage(con, r)) for r in rows]
            return page, found[limit - 1] if len(found) > limit else None

        if status is not None and status not in ROW_STATES:
            return [], None
        return await self._read(job)

    def _newest(
        self,
        con: Connection,
        execution: int,
        states: Iterable[int],
        lanes: Sequence[int],
        before: int | None,
        limit: int,
    ) -> list[int]:
        """The newest rows of an execution in each state and lane, not in order.

        Within one of each the index `messages_by_state` has the rows in their order; asked for several at
        once, SQLite would sort the whole execution for every page.
        """
        found: list[int] = []
        for state in states:
            for lane in lanes:
                rows = con.execute(
                    "SELECT n FROM messages INDEXED BY messages_by_state "
                    "WHERE execution = ? AND state = ? AND lane = ? AND n < ? ORDER BY n DESC LIMIT ?",
                    (execution, state, lane, ABOVE_ALL if before is None else before, limit),
                )
                found += [n for (n,) in rows]
        return found

    async def chain(
        self,
        correlation_id: UUID,
        *,
        direction: Literal["up", "down", "both"],
        after: UUID | None = None,
        limit: int,
    ) -> tuple[list[ChainLink], UUID | None]:
        def job(con: Connection) -> tuple[list[ChainLink], UUID | None]:
            start, last = (
                con.execute("SELECT n FROM messages WHERE id = ?", (identity.bytes,)).fetchone()
                if identity
                else None
                for identity in (correlation_id, after)
            )
            if start is None:
                return [], None
            walk = self._walk(con, start[0], direction)
            if last is not None:
                next((n for n, _, _ in walk if n == last[0]), None)
            page = list(islice(walk, limit))
            more = next(walk, None) is not None
            links = {}
            for n, distance, via in sorted(page, key=lambda link: (link[1], link[0])):
                row = con.execute(f"{LINEAGE} WHERE m.n = ?", (n,)).fetchone()
                links[n] = ChainLink(**self._lineage(con, row), distance=distance, via=via)
            return list(links.values()), links[page[-1][0]].correlation_id if more else None

        return await self._read(job)

    def _walk(
        self, con: Connection, start: int, direction: Literal["up", "down", "both"]
    ) -> Iterator[tuple[int, int, Via]]:
        """The rows of a chain with distance and bond, nearest first, read as they are asked for."""
        yield start, 0, "self"
        up = start if direction != "down" else None
        down = [start] if direction != "up" else []
        distance = 0
        while up is not None or down:
            distance += 1
            if up is not None:
                parent, key = con.execute(
                    "SELECT parent, object_key FROM messages WHERE n = ?", (up,)
                ).fetchone()
                via: Via = "parent"
                if parent is None:
                    via = "replay"
                    made = con.execute("SELECT message FROM outputs WHERE key = ?", (key,)).fetchone()
                    parent = made[0] if made else None
                up = parent
                if up is not None:
                    yield up, -distance, via
            below: list[int] = []
            for above in down:
                children = con.execute(
                    "SELECT n, 'parent' FROM messages WHERE parent = ?1 UNION ALL "
                    "SELECT m.n, 'replay' FROM outputs o JOIN messages m ON m.object_key = o.key AND m.parent IS NULL "
                    "WHERE o.message = ?1 AND o.state = ?2 ORDER BY 1",
                    (above, STORED),
                )
                for child, bond in children:
                    below.append(child)
                    yield child, distance, bond
            down = below

    # -- dead letters ------------------------------------------------------------------------------

    def _letter(self, con: Connection, row: tuple[Any, ...]) -> dict[str, Any]:
        """From a row as `_DEAD` gives it."""
        return letter_of(row, self._lane(con, row[3]))

    async def dead_letters(
        self,
        *,
        execution: UUID | None = None,
        route: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[DeadLetter], int | None]:
        def job(con: Connection) -> tuple[list[DeadLetter], int | None]:
            rows = con.execute(
                f"{_DEAD} WHERE m.state = 5 AND (?1 IS NULL OR e.id = ?1) AND {of_route(2)} "
                "AND (?3 IS NULL OR m.n < ?3) ORDER BY m.n DESC LIMIT ?4",
                (execution.bytes if execution else None, route, before, limit + 1),
            ).fetchall()
            page = [DeadLetter(**self._letter(con, r)) for r in rows[:limit]]
            return page, rows[limit - 1][0] if len(rows) > limit else None

        return await self._read(job)

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail | None:
        def job(con: Connection) -> DeadLetterDetail | None:
            row = con.execute(
                f"{_DEAD} WHERE m.id = ? AND m.state = ?", (correlation_id.bytes, DEAD)
            ).fetchone()
            return DeadLetterDetail(**self._letter(con, row), traceback=row[-1]) if row else None

        return await self._read(job)

    async def open_by_route(self) -> dict[tuple[str, str, RowState], int]:
        def job(con: Connection) -> dict[tuple[str, str, RowState], int]:
            rows = con.execute(
                "SELECT m.lane, m.state, count(*) FROM executions e "
                "CROSS JOIN messages m INDEXED BY messages_by_state ON m.execution = e.n AND m.state IN (0, 1, 2) "
                "WHERE e.settled = 0 GROUP BY m.lane, m.state"
            )
            return sum_by_route((self._lane(con, lane), state, count) for lane, state, count in rows)

        return await self._read(job)

    async def dead_by_route(self) -> dict[tuple[str, str], int]:
        rows = await self._read(
            lambda con: con.execute(
                "SELECT v.name, l.route, sum(d.count) FROM "
                "(SELECT lane, count(*) AS count FROM messages INDEXED BY messages_dead_by_lane WHERE state = 5 GROUP BY lane) d "
                "JOIN lanes l ON l.id = d.lane JOIN config_versions v ON v.id = l.config_version GROUP BY 1, 2"
            ).fetchall()
        )
        return {(config, route): count for config, route, count in rows}
