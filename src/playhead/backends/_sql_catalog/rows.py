"""The numbers of states, lanes, executions, and counts of rows."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from playhead.ids import moment
from playhead.model import ROW_STATES, Counts, Execution, Problem

# States of messages.
PENDING: Final = ROW_STATES.index("pending")
RUNNING: Final = ROW_STATES.index("running")
RETRY: Final = ROW_STATES.index("retry")
COMPLETED: Final = ROW_STATES.index("completed")
DEAD: Final = ROW_STATES.index("dead")
CANCELLED: Final = ROW_STATES.index("cancelled")

# States of outputs.
WRITING: Final = 0
STORED: Final = 1
SUPERSEDED: Final = 2

ABOVE_ALL: Final = (1 << 63) - 1
"""More than the number of any row."""

CALL: Final = (
    "SELECT m.id, m.generation, p.id, m.object_key, m.ordinal, m.execution, m.lane, e.id, e.batch, "
    "e.traceparent FROM messages m JOIN executions e ON e.n = m.execution "
    "LEFT JOIN messages p ON p.n = m.parent "
)
"""What calls are made from."""

LANE: Final = (
    "SELECT l.id, c.id, c.name, c.version, c.hash, l.route, l.queue, l.stage, l.external, l.max_attempts, "
    "l.feeds FROM lanes l JOIN config_versions c ON c.id = l.config_version"
)

EXECUTION: Final = (
    "SELECT e.n, e.id, e.kind, e.status, c.name, c.version, c.hash, e.parent, e.batch, e.created_at, "
    "e.ended_at, e.counts, coalesce(j.error_code, ''), coalesce(j.error, '') FROM executions e "
    "LEFT JOIN config_versions c ON c.id = e.config_version LEFT JOIN jobs j ON j.execution = e.n"
)

ByLane = Mapping[tuple[int, int], int]
"""Numbers of rows by (lane, state)."""

_FROZEN = ("pending", "completed", "failed", "cancelled", "total")
_FRESH_SECONDS = 1.0
_MOST_KNOWN = 1000


def as_uuid(value: UUID | bytes) -> UUID:
    """An id as a database gives it; SQLite knows no other form than its 16 bytes."""
    return value if isinstance(value, UUID) else UUID(bytes=value)


def as_uuid_or_none(value: UUID | bytes | None) -> UUID | None:
    return as_uuid(value) if value is not None else None


def moment_or_none(seconds: float | None) -> str | None:
    return moment(seconds) if seconds is not None else None


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

    @classmethod
    def of(cls, row: Sequence[Any]) -> Lane:
        """From a row as `LANE` gives it."""
        return cls._make((*row[:8], bool(row[8]), row[9], tuple(json.loads(row[10]))))


def execution_of(row: Sequence[Any], tags: list[str], counts: Counts) -> Execution:
    """From a row as `EXECUTION` gives it."""
    _, uuid, kind, status, config, version, digest, parent, batch, created, ended, _, code, error = row
    return Execution(
        execution_id=as_uuid(uuid),
        kind=kind,
        status=status,
        config=config,
        config_version=version,
        config_hash=digest,
        parent_execution_id=as_uuid_or_none(parent),
        replay_batch_id=as_uuid_or_none(batch),
        tags=tags,
        created_at=moment(created),
        ended_at=moment_or_none(ended),
        error=Problem(code, error) if code else None,
        counts=counts,
    )


# -- counts ----------------------------------------------------------------------------------------


def add_up(by_lane: ByLane) -> Counts:
    by_state: dict[str, int] = {}
    for (_, state), count in by_lane.items():
        by_state[ROW_STATES[state]] = by_state.get(ROW_STATES[state], 0) + count
    return Counts.of(by_state)


def freeze(counts: Counts) -> str:
    """Counts as they stand in the row of an execution that has ended."""
    return json.dumps({f: getattr(counts, f) for f in _FROZEN})


def thaw(frozen: str) -> Counts:
    return Counts(**json.loads(frozen))


class KnownCounts:
    """Counts of executions that take long to count, each for a second.

    Args:
        slow_seconds: what takes longer is kept. The others are counted anew each time: what is shown of them
            is then never behind.
    """

    def __init__(self, slow_seconds: float) -> None:
        self._slow = slow_seconds
        self._known: dict[int, tuple[float, ByLane]] = {}

    def get(self, execution: int) -> ByLane | None:
        known = self._known.get(execution)
        return known[1] if known and time.monotonic() - known[0] < _FRESH_SECONDS else None

    def keep(self, execution: int, counted: ByLane, *, began: float) -> None:
        """Keep what was counted, if that took long since `began` (of the monotonic clock)."""
        now = time.monotonic()
        if len(self._known) > _MOST_KNOWN:
            self.clear()
        if now - began > self._slow:
            self._known[execution] = (now, counted)

    def forget(self, execution: int) -> None:
        self._known.pop(execution, None)

    def clear(self) -> None:
        self._known.clear()
