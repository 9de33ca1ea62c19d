"""What the parts of the SQLite catalog share: transactions, lanes, and how rows become model objects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from playhead.backends._sqlite import Connection, Database, Error
from playhead.envelope import Call, Headers
from playhead.errors import catalog_unavailable
from playhead.ids import moment, text
from playhead.liveness import Liveness
from playhead.model import ROW_STATES, Counts, Execution, Problem

T = TypeVar("T")

PENDING: Final = ROW_STATES.index("pending")
RUNNING: Final = ROW_STATES.index("running")
RETRY: Final = ROW_STATES.index("retry")
COMPLETED: Final = ROW_STATES.index("completed")
SKIPPED: Final = ROW_STATES.index("skipped")
DEAD: Final = ROW_STATES.index("dead")
CANCELLED: Final = ROW_STATES.index("cancelled")

WRITING: Final = 0
STORED: Final = 1
BURNT: Final = 2

EXECUTION = (
    "SELECT e.n, e.id, e.kind, e.status, c.name, c.version, c.hash, e.parent, e.batch, e.created_at, e.ended_at, "
    "e.counts, coalesce(j.error_code, ''), coalesce(j.error, '') FROM executions e "
    "LEFT JOIN config_versions c ON c.id = e.config_version LEFT JOIN jobs j ON j.execution = e.n"
)


class Lane(NamedTuple):
    """A route of a config version; immutable, so it is remembered."""

    id: int
    config_version: int
    config: str
    version: int
    hash: str
    route: str
    queue: str
    stage: str | None
    external: bool
    max_attempts: int
    feeds: tuple[str, ...]


def raw(correlation_id: str) -> bytes:
    """The 16 bytes of an id in its text form."""
    return bytes.fromhex(correlation_id.replace("-", ""))


def uuid_or_none(value: bytes | None) -> UUID | None:
    return UUID(bytes=value) if value is not None else None


def of_route(parameter: int) -> str:
    """A condition on the lane `l`: it is of the route that a parameter names, as ROUTE or CONFIG/ROUTE."""
    config = "(SELECT v.name FROM config_versions v WHERE v.id = l.config_version)"
    return f"(?{parameter} IS NULL OR ?{parameter} IN (l.route, {config} || '/' || l.route))"


def moment_or_none(seconds: float | None) -> str | None:
    return moment(seconds) if seconds is not None else None


class CallMaker:
    """Makes calls from rows, one `Headers` for each execution and lane."""

    SELECT = (
        "SELECT m.id, m.generation, p.id, m.object_key, m.ordinal, m.execution, m.lane, e.id, e.batch, e.traceparent "
        "FROM messages m JOIN executions e ON e.n = m.execution LEFT JOIN messages p ON p.n = m.parent "
    )

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

    def calls(self, rows: Iterable[tuple[Any, ...]]) -> list[Call]:
        """Calls from rows as `SELECT` gives them."""
        made = []
        for cid, generation, parent, key, ordinal, execution, lane_id, uuid, batch, traceparent in rows:
            headers, external = self.headers(execution, lane_id, uuid, batch, traceparent)
            made.append(
                Call(headers, text(cid), generation, text(parent) if parent else None, key, external, ordinal)
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
        self._counts: dict[int, tuple[float, dict[tuple[int, int], int]]] = {}

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
            row = con.execute(
                "SELECT l.id, c.id, c.name, c.version, c.hash, l.route, l.queue, l.stage, l.external, "
                "l.max_attempts, l.feeds FROM lanes l JOIN config_versions c ON c.id = l.config_version "
                "WHERE l.id = ?",
                (lane_id,),
            ).fetchone()
            lane = self._lanes[lane_id] = Lane._make(
                (*row[:8], bool(row[8]), row[9], tuple(json.loads(row[10])))
            )
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

    def _refuse(self, con: Connection, refused: Sequence[tuple[Call, str]]) -> None:
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

    def _count_rows(self, con: Connection, n: int, *, fresh: bool = False) -> dict[tuple[int, int], int]:
        """Numbers of rows by (lane, state), at most a second old unless `fresh`."""
        known = self._counts.get(n)
        now = time.monotonic()
        if known and not fresh and now - known[0] < 1.0:
            return known[1]
        rows = con.execute(
            "SELECT lane, state, count(*) FROM messages INDEXED BY messages_by_state WHERE execution = ? GROUP BY state, lane",
            (n,),
        )
        found = {(lane, state): count for lane, state, count in rows}
        took = time.monotonic() - now
        if len(self._counts) > 1000:
            self._counts.clear()
        if took > 0.005:  # small ones are counted anew each time: what is shown is then never behind
            self._counts[n] = (time.monotonic(), found)
        return found

    def _sum(self, by_lane: dict[tuple[int, int], int]) -> Counts:
        by_state: dict[str, int] = {}
        for (_, state), count in by_lane.items():
            by_state[ROW_STATES[state]] = by_state.get(ROW_STATES[state], 0) + count
        return Counts.of(by_state)

    def _execution(self, con: Connection, row: tuple[Any, ...]) -> Execution:
        """From a row as `EXECUTION` gives it."""
        (
            n,
            uuid,
            kind,
            status,
            config,
            version,
            digest,
            parent,
            batch,
            created,
            ended,
            counts,
            code,
            error,
        ) = row
        tags = con.execute("SELECT tag FROM tags WHERE execution = ? ORDER BY tag", (n,)).fetchall()
        return Execution(
            execution_id=UUID(bytes=uuid),
            kind=kind,
            status=status,
            config=config,
            config_version=version,
            config_hash=digest,
            parent_execution_id=uuid_or_none(parent),
            replay_batch_id=uuid_or_none(batch),
            tags=[t for (t,) in tags],
            created_at=moment(created),
            ended_at=moment_or_none(ended),
            error=Problem(code, error) if code else None,
            counts=Counts(**json.loads(counts)) if counts else self._sum(self._count_rows(con, n)),
        )

    def _find_execution(self, con: Connection, execution: UUID) -> Execution | None:
        row = con.execute(f"{EXECUTION} WHERE e.id = ?", (execution.bytes,)).fetchone()
        return self._execution(con, row) if row else None

    def _settle_execution(self, con: Connection, n: int) -> None:
        """Freeze the counts of an execution that has ended and has no open row."""
        counts = self._sum(self._count_rows(con, n, fresh=True))
        frozen = {f: getattr(counts, f) for f in ("pending", "completed", "failed", "cancelled", "total")}
        con.execute("UPDATE executions SET settled = 1, counts = ? WHERE n = ?", (json.dumps(frozen), n))
        self._counts.pop(n, None)

    def _is_open(self, con: Connection, n: int) -> bool:
        """Whether any row, or the root, of an execution is open."""
        row = con.execute(
            "SELECT EXISTS (SELECT 1 FROM messages INDEXED BY messages_by_state WHERE execution = ?1 AND state IN (0, 1, 2)) "
            "OR EXISTS (SELECT 1 FROM jobs WHERE execution = ?1 AND root = 'open')",
            (n,),
        ).fetchone()
        return bool(row[0])
