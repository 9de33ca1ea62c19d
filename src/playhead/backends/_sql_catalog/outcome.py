"""What follows from the end of a replay, and from other events of it: completion reports and webhooks."""

from __future__ import annotations

import json
from dataclasses import asdict

from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.options import Options
from playhead.backends._sql_catalog.replays import ReplaysPart
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment, uuid7
from playhead.model import ReplayEvent


class OutcomePart(ReplaysPart):
    # -- webhooks ----------------------------------------------------------------------------------

    async def _record_event(self, db: Session, execution_n: int, event: ReplayEvent) -> None:
        """Record an event for the webhook of a replay, if it has one, in the transaction of the change.

        So the webhook receives each event that was committed, and no other. Call it after the change: the
        body shows the replay as this transaction leaves it.
        """
        row = await db.row(SQL.replay_with_webhook, execution=execution_n)
        if row is None:
            return
        batch, revision, options, now = row
        replay = await self._find_replay(db, as_uuid(batch))
        assert replay, "an execution with a webhook is a replay"
        body = {"type": event, "timestamp": moment(now), "data": asdict(replay)}
        await db.run(
            SQL.insert_delivery,
            id=uuid7(),
            execution=execution_n,
            revision=revision,
            event=event,
            url=Options.decode(options).webhook,
            body=json.dumps(body, default=str),
        )

    async def _record_end(self, db: Session, execution_n: int) -> None:
        """Record the end of an execution for the webhook of its replay, in the transaction that ends it."""
        row = await db.row(SQL.record_end, execution=execution_n)
        if row is None:
            return
        state, status = row
        await self._record_event(db, execution_n, "replay.refused" if state == "refused" else _EVENTS[status])


_EVENTS: dict[str, ReplayEvent] = {
    "completed": "replay.completed",
    "failed": "replay.failed",
    "cancelled": "replay.cancelled",
}
