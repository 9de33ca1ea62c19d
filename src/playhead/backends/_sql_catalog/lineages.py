"""Lineages of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from playhead.backends._sql_catalog.codes import codes_of
from playhead.backends._sql_catalog.declared import declarations_named
from playhead.backends._sql_catalog.executions import records_deleted_at
from playhead.backends._sql_catalog.lanes import Lane, Lanes, as_uuid, as_uuid_or_none, moment_or_none
from playhead.backends.sql import SKIPPED, TAKEN_OVER
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import created_at, moment
from playhead.keys import owner_of
from playhead.model import MOST_OUTPUT_KEYS, ROW_STATES, Problem


async def lineages(db: Session, lanes: Lanes, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the fields of a `Lineage` for each row with the columns of the fragment `lineage`."""
    known = await lanes.learn(db, {row[5] for row in rows})
    outputs: dict[int, list[str]] = {row[0]: [] for row in rows}
    counted: dict[int, int] = {}
    found = await db.rows(SQL.first_outputs, messages=list(outputs), limit=MOST_OUTPUT_KEYS)
    for message, count, key in found:
        counted[message] = count
        if key is not None:
            outputs[message].append(key)
    codes = await codes_of(db, [row[13] for row in rows])
    declared = await declarations_named(db, [row[17] for row in rows])
    # Only roots received objects of another execution.
    gone = await records_deleted_at(db, {owner_of(row[8]) for row in rows if row[2] is None})
    return [
        _lineage_of(row, known[row[5]], outputs[row[0]], counted[row[0]])
        | {"adapters": codes.get(row[13], []), "declared_valid": declared.get(row[17])}
        | {"input_records_deleted_at": gone.get(owner_of(row[8]))}
        for row in rows
    ]


def _lineage_of(row: Row, lane: Lane, outputs: list[str], output_count: int) -> dict[str, Any]:
    _, cid, parent, execution, batch, _, state, attempt, key, code, error, started, ended = row[:13]
    identity = as_uuid(cid)
    is_skipped = state in (SKIPPED, TAKEN_OVER)
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
        "output_count": output_count,
        "skip_code": code if is_skipped else None,
        "skip_reason": error if is_skipped else None,
        "error": Problem(code, error or "") if code and not is_skipped else None,
        "created_at": moment(created_at(identity)),
        "started_at": moment_or_none(started),
        "ended_at": moment_or_none(ended),
        "duration_ms": round((ended - started) * 1000) if started and ended else None,
        "input_pruned_at": moment_or_none(row[14]),
        "outputs_pruned_at": moment_or_none(row[15]),
        "taken_over_from": as_uuid_or_none(row[16]),
    }
