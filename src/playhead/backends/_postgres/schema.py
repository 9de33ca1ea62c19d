"""The schema, and the numbered steps that make it.

A step is one transaction under an advisory lock (all of them, where there is nothing yet), so it is there
whole or not at all, whenever its process ends. It may be run while the release before it works; see
docs/decisions/0007-postgresql.md.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import asyncpg  # type: ignore[import-untyped]

from playhead.backends._postgres.session import Connection
from playhead.backends.sql import scripts
from playhead.errors import CannotStart

_OLDEST: Final = 1
"""The oldest schema on which this release runs: while a new one is rolled out, both releases are up."""


class Migration(NamedTuple):
    """One step of the schema. `runs_from`: the oldest schema that a release must know to run on this one."""

    number: int
    runs_from: int
    sql: str


def migrations() -> list[Migration]:
    """The steps that this release knows, in order."""
    found = []
    for number, sql in scripts("postgres"):
        head = re.match(r"-- runs from: (\d+)\n", sql)
        assert head, f"migration {number} does not name the releases that run on it"
        found.append(Migration(number, int(head[1]), sql))
    return found


class State(NamedTuple):
    """What a schema is: its newest step, and the schema number that a release has to know to run on it."""

    number: int
    runs_from: int


async def state(con: Connection) -> State:
    """What there is; zeros when there is nothing."""
    # Asked of the table of tables: what functions know of names may be older than this statement.
    there = await con.fetchval(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'schema_version' "
        "AND relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema()))"
    )
    if not there:
        return State(0, 0)
    row = await con.fetchrow(
        "SELECT coalesce(max(version), 0), coalesce(max(runs_from), 0) FROM schema_version"
    )
    assert row
    return State(row[0], row[1])


def refusal(have: State, where: str, *, oldest: int = _OLDEST) -> CannotStart | None:
    """Return why this release cannot run on a schema, or None."""
    if (error := newer(have, where)) or have.number >= oldest:
        return error
    return CannotStart(
        "catalog_older",
        f"{where} has an older schema ({have.number}; this Playhead needs {oldest}): run: playhead migrate",
    )


def newer(have: State, where: str) -> CannotStart | None:
    """That a schema is too new for this release, if it is."""
    known = migrations()[-1].number
    if have.runs_from <= known:
        return None
    return CannotStart(
        "catalog_newer",
        f"a newer Playhead created {where} (schema {have.number}; this version supports {known}): "
        "install that version, or name another database",
    )


async def apply(con: Connection, *steps: Migration) -> list[int]:
    """Take within one transaction those of the steps that have not been taken; returns their numbers."""
    # Named for this schema, so that two installations of one database don't wait for each other.
    await con.execute("SELECT pg_advisory_xact_lock(hashtext('playhead ' || current_schema()))")
    have = (await state(con)).number
    missing = [step for step in steps if step.number > have]
    if missing and have == 0:
        await con.execute(
            "CREATE TABLE schema_version (version integer PRIMARY KEY, runs_from integer NOT NULL, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
    # However long it takes; but a lock that it can't have soon it gives up, rather than making all who use
    # that table queue behind it.
    await con.execute("SET LOCAL statement_timeout = 0")
    for step in missing:
        await con.execute(step.sql)
        await con.execute(
            "INSERT INTO schema_version (version, runs_from) VALUES ($1, $2)", step.number, step.runs_from
        )
    return [step.number for step in missing]


def unusable(cause: BaseException | None, where: str) -> CannotStart | None:
    """The error for a migration that only the operator can make possible; None for any other cause."""
    if isinstance(cause, asyncpg.InsufficientPrivilegeError):
        fix = "GRANT CREATE on its schema to this user, or name a schema of its own (?search_path=…)"
    elif isinstance(cause, asyncpg.DuplicateTableError | asyncpg.DuplicateFunctionError):
        fix = "it holds tables of someone else: name another database, or a schema (?search_path=…)"
    else:
        return None
    return CannotStart("catalog_unusable", f"can't make the schema in {where}: {cause}; {fix}")
