"""Plans of replays as rows hold them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple, get_type_hints
from uuid import UUID

from playhead.backends._sql_catalog.lanes import Lane, Lanes, as_uuid, as_uuid_or_none
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.form import read
from playhead.ids import moment
from playhead.model import Plan
from playhead.ports.catalog.plans import check_usable

_COLUMNS: Final = frozenset(
    {
        *("plan_id", "state", "digest", "request", "to_config", "to_config_version", "to_queue"),
        *("replay_batch_id", "error", "created_at", "expires_at"),
    }
)
"""Fields of a plan that follow from columns."""
_FOUND: Final = {name: kind for name, kind in get_type_hints(Plan).items() if name not in _COLUMNS}
"""The other fields, which `found` has, with their types."""


class _Row(NamedTuple):
    """The columns of the fragment `plan`. `listed`: objects so far of a plan that is being made."""

    n: int
    identity: UUID
    state: Any
    digest: str | None
    request: str
    lane: int
    found: str
    batch: UUID | None
    error: str | None
    created_at: float
    expires_at: float
    listed: int | None


class Plans:
    """Reads plans, and uses them for replays."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def find(self, db: Session, plan: UUID) -> Plan | None:
        rows = await db.rows(SQL.plan_of_id, id=plan)
        return (await self.of_rows(db, rows))[0] if rows else None

    async def of_rows(self, db: Session, rows: Sequence[Row]) -> list[Plan]:
        """From rows with the columns of the fragment `plan`."""
        found = [_Row._make(row) for row in rows]
        lanes = await self._lanes.learn(db, {row.lane for row in found})
        return [_plan_of(row, lanes[row.lane]) for row in found]

    async def use(self, db: Session, plan: UUID, batch: UUID) -> tuple[int | None, UUID]:
        """Use a plan for a replay, in the transaction that creates the replay.

        Returns the number of the plan, and the batch of the replay that uses it: of the first request for it.
        """
        n = await db.value(SQL.use_plan, id=plan, batch=batch)
        if n is not None:
            return n, batch
        found = await self.find(db, plan)
        check_usable(plan, found)
        assert found
        assert found.replay_batch_id, "a plan that can be used is used by another request"
        return None, found.replay_batch_id


def _plan_of(row: _Row, lane: Lane) -> Plan:
    found = _decode(row.found)
    if row.listed is not None:
        found["objects"] = row.listed
    return Plan(
        plan_id=as_uuid(row.identity),
        state=row.state,
        digest=row.digest,
        request=json.loads(row.request),
        to_config=lane.config,
        to_config_version=lane.version,
        to_queue=lane.queue,
        replay_batch_id=as_uuid_or_none(row.batch),
        error=row.error,
        created_at=moment(row.created_at),
        expires_at=moment(row.expires_at),
        **found,
    )


def encode(plan: Plan) -> str:
    return json.dumps(
        {name: value for name, value in asdict(plan).items() if name not in _COLUMNS}, default=str
    )


def _decode(text: str) -> dict[str, Any]:
    return {name: read(_FOUND[name], value) for name, value in json.loads(text).items() if name in _FOUND}
