"""What messages of an execution carry with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.lanes import as_uuid, as_uuid_or_none
from playhead.backends._sql_catalog.requests import decode_effects
from playhead.backends.sql.session import Session, Transactions
from playhead.backends.sql.statements import SQL
from playhead.model import OnReplay

_MOST: Final = 10_000


class Origin(NamedTuple):
    """What messages of an execution carry with them.

    Attributes:
        is_bulk: the level of messages that have none of their own. It is decided before the first message is
            published, so it never changes afterwards.
        effects: what a replay does in its routes; empty: all of them run. Of this, another process may add
            routes (`skip_route`). Then this process closes their messages when it finds their effects too.
    """

    id: UUID
    batch: UUID | None
    traceparent: str | None
    is_bulk: bool
    effects: Mapping[str, OnReplay]


class Origins:
    """The origins that this process has read.

    Args:
        transactions: if one of their connections is lost, the origins are read again, as the lanes are.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._db = transactions
        self._losses = 0
        self._known: dict[int, Origin] = {}

    async def learn(self, db: Session, executions: set[int]) -> dict[int, Origin]:
        """Make sure that the origins of these executions are known; return all that are."""
        if self._losses != self._db.losses or len(self._known) > _MOST:
            self._losses, self._known = self._db.losses, {}  # another task may still read the old ones
        known = self._known
        if not executions <= known.keys():
            rows = await db.rows(SQL.executions_named, numbers=list(executions - known.keys()))
            for n, cid, batch, trace, is_bulk, effects in rows:
                known[n] = Origin(
                    as_uuid(cid), as_uuid_or_none(batch), trace, bool(is_bulk), decode_effects(effects)
                )
        return known

    def forget(self, execution: int) -> None:
        self._known.pop(execution, None)
