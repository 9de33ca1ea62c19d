"""Locks on executions, which hold until the transaction ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL


async def share(db: Session, executions: Iterable[int]) -> dict[int, str]:
    """Lock executions (by number) against cancel, resend and completion; return their statuses, which
    hold until the transaction ends. Call it before reading their rows, and never before `exclude` in the
    same transaction: two transactions that did would wait for each other."""
    rows = await db.rows(SQL.share_executions, numbers=sorted(set(executions)))
    return dict(map(tuple, rows))


async def exclude(db: Session, executions: Iterable[int]) -> dict[int, str]:
    """Lock executions (by number) for this transaction alone; return their statuses. Read their rows in a
    later statement: this one may have begun before another transaction committed."""
    rows = await db.rows(SQL.lock_executions, numbers=sorted(set(executions)))
    return dict(map(tuple, rows))


async def share_of_messages(db: Session, ids: Sequence[Any]) -> set[int] | None:
    """Lock the executions of messages; other workers may share the lock.

    Returns their numbers; None where a transaction that writes is alone anyway.
    """
    if not db.row_locks:
        return None
    return {n for (n,) in await db.rows(SQL.share_executions_of, ids=ids)}
