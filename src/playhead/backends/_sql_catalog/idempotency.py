"""Idempotency keys, and what the first request with each has started."""

from __future__ import annotations

from uuid import UUID

from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict
from playhead.ports.catalog.jobs import Key


async def find_key(db: Session, key: Key) -> UUID | None:
    """Return what a key that has not expired has started. Raises `Conflict` if it belongs to another body."""
    row = await db.row(SQL.find_key, scope=key.scope, key=key.key, seconds=key.seconds)
    if row is None:
        return None
    body, started = row
    if bytes(body) != key.body_sha256:
        raise Conflict(
            "idempotency_key_reused",
            f"the Idempotency-Key {key.key!r} belongs to another request, which started {key.starts} "
            f"{as_uuid(started)}: send a new key with a new request",
        )
    return as_uuid(started)


async def keep_key(db: Session, key: Key, started: UUID) -> UUID:
    """Store a key with what its request starts; return what the first request with this key has started.

    The row is inserted in the transaction that starts it. Another transaction that inserts the same key waits
    for this one, and then finds the row.
    """
    await db.run(SQL.delete_expired_keys, seconds=key.seconds)
    await db.run(SQL.delete_expired_key, scope=key.scope, key=key.key, seconds=key.seconds)
    given = {"scope": key.scope, "key": key.key, "body": key.body_sha256, "batch": started}
    if await db.value(SQL.insert_key, **given) is not None:
        return started
    return await find_key(db, key) or started
