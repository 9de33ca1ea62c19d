"""The schema, and the numbered migrations that create it.

A migration is one transaction under an advisory lock; a new schema is created by all migrations in one
transaction. So a migration is applied completely or not at all, even if its process dies. The previous
release may run meanwhile; see docs/decisions/0007-postgresql.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import asyncpg  # type: ignore[import-untyped]

from playhead.backends._postgres.session import Connection
from playhead.backends.sql import Migration, migrations, other_build
from playhead.errors import CannotStart

_OLDEST: Final = 2
"""The oldest schema on which this release runs. During an upgrade, two releases run on one schema."""


class State(NamedTuple):
    """The newest migration of a schema, the schema number that a release must know to run on it, and the
    SHA-256 of each migration."""

    number: int
    runs_from: int
    applied: Mapping[int, str | None] = MappingProxyType({})


async def state(con: Connection) -> State:
    """Return the state of the schema, or zeros if it has no tables."""
    # Read from pg_class, because functions such as `to_regclass` may use an older snapshot.
    there = await con.fetchval(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'schema_version' "
        "AND relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema()))"
    )
    if not there:
        return State(0, 0)
    # As JSON, because the table of an early build has no SHA-256.
    rows = await con.fetch("SELECT version, runs_from, to_jsonb(s) ->> 'sha256' FROM schema_version s")
    numbers, runs_from, _ = zip(*rows, strict=True)
    return State(max(numbers), max(runs_from), {number: digest for number, _, digest in rows})


def refusal(have: State, where: str, *, oldest: int = _OLDEST) -> CannotStart | None:
    """Return why this release cannot run on a schema, or None."""
    if (error := unsupported(have, where)) or have.number >= oldest:
        return error
    return CannotStart(
        "catalog_older",
        f"{where} has an older schema ({have.number}; this version needs {oldest}). Run: playhead migrate",
    )


def unsupported(have: State, where: str) -> CannotStart | None:
    """Return the error for a schema that this release can neither use nor migrate, or None."""
    known = migrations("postgresql")[-1].number
    if have.runs_from <= known:
        return other_build(have.applied, "postgresql", where)
    return CannotStart(
        "catalog_newer",
        f"a newer Playhead created {where} (schema {have.number}; this version supports {known}). "
        "Install the newer version, or use another database",
    )


async def apply(con: Connection, *steps: Migration) -> list[int]:
    """Apply the missing ones of these migrations within the transaction, and return their numbers."""
    # The lock belongs to the schema, so that two deployments in one database do not wait for each other.
    await con.execute("SELECT pg_advisory_xact_lock(hashtext('playhead ' || current_schema()))")
    have = (await state(con)).number
    missing = [step for step in steps if step.number > have]
    if missing and have == 0:
        await con.execute(
            "CREATE TABLE schema_version (version integer PRIMARY KEY, runs_from integer NOT NULL, "
            "sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    # A migration may take any time. `lock_timeout` stays, because other transactions queue behind a waiting
    # table lock.
    await con.execute("SET LOCAL statement_timeout = 0")
    for step in missing:
        await con.execute(step.sql)
        await con.execute(
            "INSERT INTO schema_version (version, runs_from, sha256) VALUES ($1, $2, $3)",
            step.number,
            step.runs_from,
            step.sha256,
        )
    return [step.number for step in missing]


def unusable(cause: BaseException | None, where: str) -> CannotStart | None:
    """Return the error for a failed migration that the operator has to fix; None for any other cause."""
    if isinstance(cause, asyncpg.InsufficientPrivilegeError):
        fix = "GRANT CREATE on the schema to this user, or use a schema that the user owns (?search_path=…)"
    elif isinstance(cause, asyncpg.DuplicateTableError | asyncpg.DuplicateFunctionError):
        fix = "it has tables of another program; use another database, or a new schema (?search_path=…)"
    else:
        return None
    return CannotStart("catalog_unusable", f"cannot create the schema in {where}: {cause}; {fix}")
