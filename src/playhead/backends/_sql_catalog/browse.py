"""Messages and dead letters as people see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from playhead.backends._sql_catalog.rows import ByLane, Lane, as_uuid, as_uuid_or_none, moment_or_none
from playhead.ids import created_at, moment
from playhead.model import ROW_STATES, Counts, Problem, RouteCounts, RowState

LINEAGE: Final = (
    "SELECT m.n, m.id, p.id, e.id, e.batch, m.lane, m.state, m.attempt, m.object_key, m.error_code, m.error, "
    "m.started_at, m.ended_at FROM messages m JOIN executions e ON e.n = m.execution "
    "LEFT JOIN messages p ON p.n = m.parent "
)
DEAD_LETTER: Final = (
    "SELECT m.n, m.id, e.id, m.lane, m.object_key, m.attempt, m.error_code, m.error, m.ended_at, m.traceback "
    "FROM messages m JOIN executions e ON e.n = m.execution "
)

Via = Literal["self", "parent", "replay"]
"""See `ChainLink.via`."""


def lineage_of(row: Sequence[Any], lane: Lane, outputs: list[str]) -> dict[str, Any]:
    """What a `Lineage` has, from a row as `LINEAGE` gives it."""
    _, cid, parent, execution, batch, _, state, attempt, key, code, error, started, ended = row
    identity = as_uuid(cid)
    return {
        "correlation_id": identity,
        "parent_correlation_id": as_uuid_or_none(parent),
        "execution_id": as_uuid(execution),
        "replay_batch_id": as_uuid_or_none(batch),
        "config": lane.config,
        "config_version": lane.version,
        "route": lane.route,
        "status": ROW_STATES[state],
        "attempts": attempt,
        "input_key": key,
        "output_keys": outputs,
        "error": Problem(code, error or "") if code else None,
        "created_at": moment(created_at(identity)),
        "started_at": moment_or_none(started),
        "ended_at": moment_or_none(ended),
        "duration_ms": round((ended - started) * 1000) if started and ended else None,
    }


def letter_of(row: Sequence[Any], lane: Lane) -> dict[str, Any]:
    """What a `DeadLetter` has, from a row as `DEAD_LETTER` gives it."""
    _, cid, execution, _, key, attempts, code, error, failed, _ = row
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
    }


def counts_by_route(lanes: Iterable[Lane], by_lane: ByLane) -> list[RouteCounts]:
    found = []
    for lane in lanes:
        mine: dict[str, int] = {
            ROW_STATES[state]: count for (of, state), count in by_lane.items() if of == lane.id
        }
        found.append(RouteCounts(lane.route, lane.queue, Counts.of(mine)))
    return found


def sum_by_route(counted: Iterable[tuple[Lane, int, int]]) -> dict[tuple[str, str, RowState], int]:
    """Numbers of rows by (config, route, state), from those of (lane, state, number)."""
    found: dict[tuple[str, str, RowState], int] = {}
    for lane, state, count in counted:
        of = (lane.config, lane.route, ROW_STATES[state])  # in several versions perhaps
        found[of] = found.get(of, 0) + count
    return found
