"""What the parts of the SQLite catalog share: transactions, lanes, and how rows become model objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

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
from playhead.backends._sqlite import Connection, Database, Error
from playhead.envelope import Dispatch, Headers
from playhead.errors import catalog_unavailable
from playhead.ids import text
from playhead.liveness import Liveness
from playhead.model import Execution

T = TypeVar("T")


def raw(correlation_id: str) -> bytes:
    """The 16 bytes of an id in its text form."""
    return bytes.fromhex(correlation_id.replace("-", ""))


def uuid_or_none(value: bytes | None) -> UUID | None:
    return UUID(bytes=value) if value is not None else None


def of_route(parameter: int) -> str:
    """A condition on the lane `l`: it is of the route that a parameter names, as ROUTE or CONFIG/ROUTE."""
    config = "(SELECT v.name FROM config_versions v WHERE v.id = l.config_version)"
    return f"(?{parameter} IS NULL OR ?{parameter} IN (l.route, {config} || '/' || l.route))"


class CallMaker:
    """Makes calls from rows, one `Headers` for each execution and lane."""

    def __init__(self, lane: Callable[[Connection, int], Lane], con: Connection) -> None:
        self._lane = lane
        self._con = con
        self._headers: dict[tuple[int, int], tuple[Headers, bool]] = {}

    def headers(
        self, execution: int, lane_id: int, uuid: bytes, batch: bytes | None, traceparent: str | None
    ) -> tuple[Headers, bool]:
        known = self._headers.get((execution, lane_id))
        if known is None:
            lane = self._lane(self._con, lane_id)
            made = Headers(
                *(lane.queue, UUID(bytes=uuid), lane.config, lane.version, lane.route),
                *(uuid_or_none(batch), traceparent),
            )
            known = self._headers[execution, lane_id] = (made, lane.external)
        return known

    def calls(self, rows: Iterable[tuple[Any, ...]]) -> list[Dispatch]:
        """Calls from rows as `CALL` gives them."""
        made = []
        for cid, generation, parent, key, ordinal, execution, lane_id, uuid, batch, traceparent in rows:
            headers, external = self.headers(execution, lane_id, uuid, batch, traceparent)
            made.append(
                Dispatch(
                    headers, text(cid), generation, text(parent) if parent else None, key, external, ordinal
                )
            )
        return made


class Part:
    """Base of the parts.

    Args:
        db: an open database; it is not closed with the catalog.
        heartbeat_seconds: how often processes beat; one is dead after five missed.
        clock: seconds since the epoch: the catalog's clock, as SQLite has none of its own to ask.
    """

    def __init__(
        self, db: Database, *, heartbeat_seconds: float = 1.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._beat = heartbeat_seconds
        self._liveness = Liveness(heartbeat_seconds)
        self._clock = clock
        self._lanes: dict[int, Lane] = {}
        self._feeds: dict[tuple[int, str], int] = {}
        self._counts = KnownCounts(slow_seconds=0.005)

    async def _write(self, job: Callable[[Connection], T]) -> T:
        try:
            return await self._db.write(job)
        except Error as exc:
            raise catalog_unavailable(
                f"the catalog {self._db.path} can't be written: {self._db.trouble(exc)}"
            ) from exc

    async def _read(self, job: Callable[[Connection], T]) -> T:
        try:
            return await self._db.read(job)
        except Error as exc:
            raise catalog_unavailable(
                f"the catalog {self._db.path} can't be read: {self._db.trouble(exc)}"
            ) from exc

    # -- lanes and liveness ------------------------------------------------------------------------

    def _lane(self, con: Connection, lane_id: int) -> Lane:
        lane = self._lanes.get(lane_id)
        if lane is None:
            row = con.execute(f"{LANE} WHERE l.id = ?", (lane_id,)).fetchone()
            lane = self._lanes[lane_id] = Lane.of(row)
        return lane

    def _lanes_of(self, con: Connection, config_version: int) -> list[Lane]:
        """The lanes of a config version, in the order of the config."""
        ids = con.execute(
            "SELECT id FROM lanes WHERE config_version = ? ORDER BY id", (config_version,)
        ).fetchall()
        return [self._lane(con, n) for (n,) in ids]

    def _alive(self, con: Connection) -> set[str]:
        """Processes that are not dead, as this one can judge it."""
        since = self._clock() - self._liveness.seconds
        return {p for (p,) in con.execute("SELECT id FROM processes WHERE heartbeat_at >= ?", (since,))}

    def _call_maker(self, con: Connection) -> CallMaker:
        return CallMaker(self._lane, con)

    def _refuse(self, con: Connection, refused: Sequence[tuple[Dispatch, str]]) -> None:
        """Close rows whose message a broker will never take, unless one took it after all."""
        now = self._clock()
        con.executemany(
            "UPDATE messages SET state = ?, error_code = 'publish_refused', error = ?, traceback = NULL, ended_at = ? "
            "WHERE id = ? AND generation = ? AND state IN (?, ?) AND published IS NOT 1 AND NOT (published IS NULL "
            "AND ordinal <= (SELECT watermark FROM jobs j WHERE j.execution = messages.execution))",
            [(DEAD, why, now, raw(c.correlation_id), c.generation, PENDING, RETRY) for c, why in refused],
        )

    # -- executions --------------------------------------------------------------------------------

    def _number(self, con: Connection, execution: UUID) -> int | None:
        row = con.execute("SELECT n FROM executions WHERE id = ?", (execution.bytes,)).fetchone()
        return int(row[0]) if row else None

    def _count_rows(self, con: Connection, n: int, *, fresh: bool = False) -> ByLane:
        """Numbers of rows by (lane, state), at most a second old unless `fresh`."""
        known = None if fresh else self._counts.get(n)
        if known is not None:
            return known
        began = time.monotonic()
        rows = con.execute(
            "SELECT lane, state, count(*) FROM messages INDEXED BY messages_by_state WHERE execution = ? GROUP BY state, lane",
            (n,),
        )
        found = {(lane, state): count for lane, state, count in rows}
        self._counts.keep(n, found, began=began)
        return found

    def _execution(self, con: Connection, row: tuple[Any, ...]) -> Execution:
        """From a row as `EXECUTION` gives it."""
        n, frozen = row[0], row[11]
        tags = con.execute("SELECT tag FROM tags WHERE execution = ? ORDER BY tag", (n,)).fetchall()
        counts = thaw(frozen) if frozen else add_up(self._count_rows(con, n))
        return execution_of(row, [t for (t,) in tags], counts)

    def _find_execution(self, con: Connection, execution: UUID) -> Execution | None:
        row = con.execute(f"{EXECUTION} WHERE e.id = ?", (execution.bytes,)).fetchone()
        return self._execution(con, row) if row else None

    def _settle_execution(self, con: Connection, n: int) -> None:
        """Freeze the counts of an execution that has ended and has no open row."""
        frozen = freeze(add_up(self._count_rows(con, n, fresh=True)))
        con.execute("UPDATE executions SET settled = 1, counts = ? WHERE n = ?", (frozen, n))
        self._counts.forget(n)

    def _is_open(self, con: Connection, n: int) -> bool:
        """Whether any row, or the root, of an execution is open."""
        row = con.execute(
            "SELECT EXISTS (SELECT 1 FROM messages INDEXED BY messages_by_state WHERE execution = ?1 AND state IN (0, 1, 2)) "
            "OR EXISTS (SELECT 1 FROM jobs WHERE execution = ?1 AND listing_state = 'open')",
            (n,),
        ).fetchone()
        return bool(row[0])
