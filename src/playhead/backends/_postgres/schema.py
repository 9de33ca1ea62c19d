"""The schema, and the numbered migrations that create it.

A migration is one transaction under an advisory lock; a new schema is created by all migrations in one
transaction. So a migration is applied completely or not at all, even if its process dies. The previous
release may run meanwhile; see docs/decisions/0007-postgresql.md.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import asyncpg  # type: ignore[import-untyped]

from playhead.backends._postgres.session import Connection
from playhead.backends.sql import scripts
from playhead.errors import CannotStart

_OLDEST: Final = 1
"""The oldest schema on which this release runs. During an upgrade, two releases run on one schema."""


class Migration(NamedTuple):
    """One migration. A release can run on this schema if it knows the schema number `runs_from`."""

    number: int
    runs_from: int
    sql: str


def migrations() -> list[Migration]:
    """Return the migrations that this release knows, in order."""
    found = []
    for number, sql in scripts("postgresql"):
        head = re.match(r"-- runs from: (\d+)\n", sql)
        assert head, f"migration {number} does not name the releases that run on it"
        found.append(Migration(number, int(head[1]), sql))
    return found


class State(NamedTuple):
    """The newest migration of a schema, and the schema number that a release must know to run on it."""

    number: int
    runs_from: int


async def state(con: Connection) -> State:
    """Return the state of the schema, or zeros if it has no tables."""
    # Read from pg_class, because functions such as `to_regclass` may use an older snapshot.
    there = await con.fetchval(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'schema_version' "
        "AND relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema()))"
    )
    if not there:
        return State(0, 0)
    ((number, runs_from),) = await con.fetch(
        "SELECT coalesce(max(version), 0), coalesce(max(runs_from), 0) FROM schema_version"
    )
    return State(number, runs_from)


def refusal(have: State, where: str, *, oldest: int = _OLDEST) -> CannotStart | None:
    """Return why this release cannot run on a schema, or None."""
    if (error := newer(have, where)) or have.number >= oldest:
        return error
    return CannotStart(
        "catalog_older",
        f"{where} has an older schema ({have.number}; this version needs {oldest}). Run: playhead migrate",
    )


def newer(have: State, where: str) -> CannotStart | None:
    """Return the error for a schema that is too new for this release, or None."""
    known = migrations()[-1].number
    if have.runs_from <= known:
        return None
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
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
    # A migration may take any time. `lock_timeout` stays, because other transactions queue behind a waiting
    # table lock.
    await con.execute("SET LOCAL statement_timeout = 0")
    for step in missing:
        await con.execute(step.sql)
        await con.execute(
            "INSERT INTO schema_version (version, runs_from) VALUES ($1, $2)", step.number, step.runs_from
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
