"""What the parts of the PostgreSQL catalog share: transactions, lanes, and how rows become model objects."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

from playhead.backends._postgres import Connection, Job, Postgres, Row, Unreachable
from playhead.backends._sql_catalog.rows import (
    DEAD,
    EXECUTION,
    LANE,
    PENDING,
    RETRY,
    ByLane,
    KnownCounts,
    Lane,
    add_up,
    execution_of,
    freeze,
    thaw,
)
from playhead.envelope import Dispatch, Headers
from playhead.errors import catalog_unavailable
from playhead.liveness import Liveness
from playhead.model import Execution

T = TypeVar("T")

LONG_SECONDS: Final = 600.0
"""For a transaction over all rows of an execution, of which there may be millions."""


def storable(text: str | None) -> str | None:
    """Text as PostgreSQL can hold it: what an adapter says may have zero bytes and lone surrogates in it."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def of_route(parameter: int) -> str:
    """A condition on the lane `l`: it is of the route that a parameter names, as ROUTE or CONFIG/ROUTE."""
    config = "(SELECT v.name FROM config_versions v WHERE v.id = l.config_version)"
    return f"(${parameter}::text IS NULL OR ${parameter}::text IN (l.route, {config} || '/' || l.route))"


class CallMaker:
    """Makes calls from rows, one `Headers` for each execution and lane."""

    def __init__(self, lanes: dict[int, Lane]) -> None:
        self._lanes = lanes
        self._headers: dict[tuple[int, int], tuple[Headers, bool]] = {}

    def headers(
        self, execution: int, lane_id: int, uuid: UUID, batch: UUID | None, traceparent: str | None
    ) -> tuple[Headers, bool]:
        """What calls of this execution on this lane share, and whether the lane is external."""
        known = self._headers.get((execution, lane_id))
        if known is None:
            lane = self._lanes[lane_id]
            made = Headers(lane.queue, uuid, lane.config, lane.version, lane.route, batch, traceparent)
            known = self._headers[execution, lane_id] = (made, lane.external)
        return known

    def calls(self, rows: Iterable[Row]) -> list[Dispatch]:
        """Calls from rows as `CALL` gives them. Their lanes must be known."""
        made = []
        for cid, generation, parent, key, ordinal, execution, lane_id, uuid, batch, traceparent in rows:
            headers, external = self.headers(execution, lane_id, uuid, batch, traceparent)
            made.append(
                Dispatch(
                    headers, str(cid), generation, str(parent) if parent else None, key, external, ordinal
                )
            )
        return made


class Part:
    """Base of the parts.

    Ids are given to statements as text (`$1::uuid[]` takes it) and come back as `UUID`.

    Args:
        db: a database; it is not closed with the catalog.
        heartbeat_seconds: how often processes beat; one is dead after five missed.
    """

    def __init__(self, db: Postgres, *, heartbeat_seconds: float = 1.0) -> None:
        self._db = db
        self._beat = heartbeat_seconds
        self._liveness = Liveness(heartbeat_seconds)
        self._losses = 0
        self._lanes: dict[int, Lane] = {}
        self._feeds: dict[tuple[int, str], int] = {}
        self._counts = KnownCounts(slow_seconds=0.02)

    async def _write(self, job: Job[T], *, seconds: float = 30.0, urgent: bool = False) -> T:
        """Run `job` in one write transaction. It may be run again from its start, so it changes nothing of
        this process that it would not change twice."""
        try:
            return await self._db.run(job, seconds=seconds, urgent=urgent)
        except Unreachable as exc:
            what = "was lost in a commit, which may have happened" if exc.in_doubt else "can't be written"
            raise catalog_unavailable(f"the catalog {what}: {exc}") from exc

    async def _read(self, job: Job[T], *, seconds: float = 30.0) -> T:
        """Run `job` in one transaction that sees one moment and can't write."""
        try:
            async with self._db.read(seconds=seconds) as con:
                return await job(con)
        except Unreachable as exc:
            raise catalog_unavailable(f"the catalog can't be read: {exc}") from exc

    # -- lanes and liveness ------------------------------------------------------------------------

    async def _learn(self, con: Connection, lane_ids: Iterable[int]) -> dict[int, Lane]:
        """Make sure that these lanes are known; returns all that are. They never change, so nearly always
        this asks nothing."""
        self._forget_if_lost()
        known = self._lanes
        missing = set(lane_ids) - known.keys()
        if missing:
            found = await self._fetch_lanes(con, "l.id = ANY($1::bigint[])", list(missing))
            known |= {lane.id: lane for lane in found}
        return known

    def _forget_if_lost(self) -> None:
        """Forget lanes when a connection was lost: a standby that took over may have others by their ids."""
        if self._losses != self._db.losses:
            self._losses = self._db.losses
            self._lanes, self._feeds = {}, {}  # new ones: a task that looks into the old ones goes on

    async def _fetch_lanes(self, con: Connection, where: str, *values: Any) -> list[Lane]:
        return [Lane.of(row) for row in await con.fetch(f"{LANE} WHERE {where} ORDER BY l.id", *values)]

    async def _lane(self, con: Connection, lane_id: int) -> Lane:
        return (await self._learn(con, (lane_id,)))[lane_id]

    async def _feed(self, con: Connection, config_version: int, route: str) -> int:
        """The lane of a route of a config version."""
        self._forget_if_lost()
        known = self._feeds
        if (config_version, route) not in known:
            lanes = await self._lanes_of(con, config_version)
            known |= {(config_version, lane.route): lane.id for lane in lanes}
        return known[config_version, route]

    async def _lanes_of(self, con: Connection, config_version: int) -> list[Lane]:
        """The lanes of a config version, in the order of the config."""
        return await self._fetch_lanes(con, "l.config_version = $1", config_version)

    async def _alive(self, con: Connection) -> set[str]:
        """Processes that are not dead, as this one can judge it."""
        rows = await con.fetch(
            "SELECT id FROM processes WHERE heartbeat_at >= playhead_now() - $1::double precision",
            self._liveness.seconds,
        )
        return {p for (p,) in rows}

    async def _calls(self, con: Connection, rows: Sequence[Row]) -> list[Dispatch]:
        """Calls from rows as `CALL` gives them."""
        return CallMaker(await self._learn(con, {row[6] for row in rows})).calls(rows)

    async def _refuse(self, con: Connection, refused: Sequence[tuple[Dispatch, str]]) -> None:
        """Close rows whose message a broker will never take, unless one took it after all."""
        if not refused:
            return
        # Locked in the order of n, like everywhere, so that two transactions never wait for each other.
        await con.execute(
            "WITH given AS (SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[]) AS g (id, generation, why)), "
            "held AS MATERIALIZED (SELECT m.n, g.why FROM messages m JOIN given g USING (id, generation) "
            f"WHERE m.state IN ({PENDING}, {RETRY}) AND m.published IS DISTINCT FROM 1 AND NOT (m.published IS NULL "
            "AND m.ordinal <= (SELECT j.watermark FROM jobs j WHERE j.execution = m.execution)) "
            "ORDER BY m.n FOR NO KEY UPDATE OF m) "
            f"UPDATE messages m SET state = {DEAD}, error_code = 'publish_refused', error = held.why, traceback = NULL, "
            "ended_at = playhead_now() FROM held WHERE m.n = held.n",
            [c.correlation_id for c, _ in refused],
            [c.generation for c, _ in refused],
            [storable(why) for _, why in refused],
        )

    # -- executions --------------------------------------------------------------------------------

    async def _number(self, con: Connection, execution: UUID) -> int | None:
        found: int | None = await con.fetchval("SELECT n FROM executions WHERE id = $1", execution)
        return found

    async def _share(self, con: Connection, executions: Iterable[int]) -> dict[int, str]:
        """Lock executions (by n) against cancel, resend and their end, not against each other; returns their
        statuses, which hold until this transaction ends. Before any look at their rows, and never followed
        by `_exclude` in one transaction: two that did that would wait for each other."""
        rows = await con.fetch(
            "SELECT n, status FROM executions WHERE n = ANY($1::bigint[]) ORDER BY n FOR SHARE",
            sorted(set(executions)),
        )
        return {row[0]: row[1] for row in rows}

    async def _exclude(self, con: Connection, executions: Iterable[int]) -> dict[int, str]:
        """Lock executions (by n) for this transaction alone; returns their statuses. What their rows are is
        to be looked at in a statement after this one: an earlier one, or this, may have an old view."""
        rows = await con.fetch(
            "SELECT n, status FROM executions WHERE n = ANY($1::bigint[]) ORDER BY n FOR UPDATE",
            sorted(set(executions)),
        )
        return {row[0]: row[1] for row in rows}

    async def _count_rows(self, con: Connection, n: int, *, fresh: bool = False) -> ByLane:
        """Numbers of rows by (lane, state), at most a second old unless `fresh`."""
        known = None if fresh else self._counts.get(n)
        if known is not None:
            return known
        began = time.monotonic()
        rows = await con.fetch(
            "SELECT lane, state, count(*) FROM messages WHERE execution = $1 GROUP BY state, lane", n
        )
        found = {(lane, state): count for lane, state, count in rows}
        self._counts.keep(n, found, began=began)
        return found

    async def _executions(self, con: Connection, rows: Sequence[Row]) -> list[Execution]:
        """From rows as `EXECUTION` gives them."""
        tags: dict[int, list[str]] = {row[0]: [] for row in rows}
        for n, tag in await con.fetch(
            "SELECT execution, tag FROM tags WHERE execution = ANY($1::bigint[]) ORDER BY execution, tag",
            list(tags),
        ):
            tags[n].append(tag)
        made = []
        for row in rows:
            n, frozen = row[0], row[11]
            counts = thaw(frozen) if frozen else add_up(await self._count_rows(con, n))
            made.append(execution_of(row, tags[n], counts))
        return made

    async def _find_execution(self, con: Connection, execution: UUID) -> Execution | None:
        rows = await con.fetch(f"{EXECUTION} WHERE e.id = $1", execution)
        return (await self._executions(con, rows))[0] if rows else None

    async def _settle_execution(self, con: Connection, n: int) -> None:
        """Freeze the counts of an execution that has ended and has no open row."""
        frozen = freeze(add_up(await self._count_rows(con, n, fresh=True)))
        await con.execute("UPDATE executions SET settled = true, counts = $1 WHERE n = $2", frozen, n)
        self._counts.forget(n)

    async def _is_open(self, con: Connection, n: int) -> bool:
        """Whether any row, or the root, of an execution is open."""
        found: bool = await con.fetchval(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE execution = $1 AND state IN (0, 1, 2)) "
            "OR EXISTS (SELECT 1 FROM jobs WHERE execution = $1 AND listing_state = 'open')",
            n,
        )
        return found
