"""Record what has failed for good, by cause, in the transaction that makes the messages dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from playhead.backends._sql_catalog.tally import Tally
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL


async def record_failures(db: Session, tally: Tally, causes: Sequence[tuple[UUID | str, int]]) -> None:
    """Record the objects of messages, given by id and cause. Those that are not dead letters are left out."""
    if causes:
        given = {"ids": [identity for identity, _ in causes], "causes": [cause for _, cause in causes]}
        await db.run(SQL.insert_causes, **given)
        await db.run(SQL.insert_failing, **given)
        await db.run(SQL.count_failures, **given, writer=tally.writer)
