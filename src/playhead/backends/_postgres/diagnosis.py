"""The checks of `doctor` for PostgreSQL, as the catalog and as the broker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Final

from playhead.backends._postgres.database import Postgres
from playhead.backends._postgres.grants import TABLES, Right, missing
from playhead.backends._postgres.schema import state
from playhead.backends._postgres.session import Connection, Unreachable
from playhead.backends.sql import migrations
from playhead.ports.diagnosis import PROCESS_ROLES, Finding, ProcessRole

OLDEST_VERSION: Final = 15
"""The oldest major version that the tests have run on."""
_MOST_OFF_SECONDS = 5.0
_ASKED = 5
_MANY_DEAD = 1_000_000
_NAMED = 4
_WORKERS_OF_SERVERS: Final = (
    # Who may change the audit has all rights, so no roles were separated.
    "SELECT p.host, p.pid FROM processes p JOIN pg_catalog.pg_roles r ON r.rolname = p.by_role "
    "WHERE p.kind = 'worker' AND p.heartbeat_at >= playhead_now() - 60 "
    "AND has_table_privilege(r.oid, 'keys', 'SELECT') AND NOT has_table_privilege(r.oid, 'audit', 'UPDATE') "
    "ORDER BY p.host, p.pid LIMIT 4"
)


async def examine(db: Postgres) -> list[Finding]:
    """Check the requirements of the catalog and of the broker. They use the same database settings."""
    found: list[Finding] = []
    try:
        async with db.read() as con:
            for check in _CHECKS:
                found.append(await check(con, db))
                if found[-1].status == "failed":
                    return found
        found.append(await _round_trip(db))
    except Unreachable as exc:
        fix = "fix the reported problem; until then every operation fails and is retried"
        found.append(Finding("round trip" if found else "reach", "failed", str(exc), fix))
    return found


async def _reach(con: Connection, db: Postgres) -> Finding:
    return Finding("reach", "ok", f"{db.address}, as {await con.fetchval('SELECT current_user::text')}")


async def _version(con: Connection, _: Postgres) -> Finding:
    ((version, major),) = await con.fetch(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000"
    )
    if major >= OLDEST_VERSION:
        return Finding("version", "ok", f"postgresql {version}")
    fix = f"upgrade to PostgreSQL {OLDEST_VERSION} or newer"
    return Finding("version", "failed", f"postgresql {version}", fix)


async def _role(con: Connection, _: Postgres) -> Finding:
    if not await con.fetchval("SELECT pg_is_in_recovery()"):
        return Finding("role", "ok", "this server is the primary")
    fix = "use the address of the primary, or list all hosts: postgresql://one,two/db?target_session_attrs=read-write"
    return Finding("role", "failed", "this server is a standby and rejects writes", fix)


async def _schema(con: Connection, _: Postgres) -> Finding:
    schema = await con.fetchval("SELECT current_schema()")
    have = (await state(con)).number
    known = migrations("postgresql")[-1].number
    if not have:
        detail = f"schema {schema} has no tables" if schema else "no schema of the search_path exists"
        return Finding("schema", "failed", detail, "run: playhead migrate")
    if have < known:
        detail = f"{schema} is at version {have}; this release needs version {known}"
        return Finding("schema", "warning", detail, "run: playhead migrate")
    return Finding("schema", "ok", f"{schema} is at version {have}")


async def _rights(con: Connection, db: Postgres) -> Finding:
    lacks = {role: await missing(con, role) for role in PROCESS_ROLES}
    ((user, creates),) = await con.fetch(
        "SELECT current_user::text, has_schema_privilege(current_schema(), 'CREATE')"
    )
    closest: ProcessRole = min(PROCESS_ROLES, key=lambda one: len(lacks[one]))
    role = db.role or closest
    if lacks[role]:
        fix = f"as the owner of the tables, run what this prints: playhead migrate --grants {role}={user}"
        return Finding("rights", "failed", f"this user lacks rights of a {role}: {_some(lacks[role])}", fix)
    detail = f"this user has all rights of a {role}"
    if lacks["server"]:
        detail += f"; a server also needs {_some(lacks['server'])}"
    elif found := await con.fetch(_WORKERS_OF_SERVERS):
        who = ", ".join(f"{host}:{pid}" for host, pid in found)
        fix = "start workers with their own role, and without `serve --workers`"
        return Finding("rights", "warning", f"workers have the rights of a server: {who}", fix)
    if not creates:
        detail += "; it cannot create tables, so run playhead migrate as their owner"
    return Finding("rights", "ok", detail)


def _some(lacking: Sequence[Right]) -> str:
    more = len(lacking) - _NAMED
    return ", ".join(map(str, lacking[:_NAMED])) + (f" and {more} more" if more > 0 else "")


async def _durability(con: Connection, _: Postgres) -> Finding:
    rows = await con.fetch(
        "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'"
    )
    if not rows:
        return Finding("durability", "ok", "fsync and full_page_writes are on")
    off = " and ".join(name for (name,) in rows)
    detail = f"{off} off: a power failure or a system crash can damage the database"
    return Finding("durability", "warning", detail, "turn on, except on a test server")


async def _clock(con: Connection, _: Postgres) -> Finding:
    before = time.time()
    theirs = await con.fetchval("SELECT extract(epoch FROM clock_timestamp())::double precision")
    off = abs((before + time.time()) / 2 - theirs)
    detail = f"the clocks of this machine and of the database differ by {off:.1f} s"
    if off <= _MOST_OFF_SECONDS:
        return Finding("clock", "ok", detail)
    fix = "synchronize the clocks (NTP): leases and retries use the database clock, new ids this machine's"
    return Finding("clock", "warning", detail, fix)


async def _connections(con: Connection, db: Postgres) -> Finding:
    (row,) = await con.fetch(
        "SELECT current_setting('max_connections')::int "
        "- current_setting('superuser_reserved_connections')::int, "
        "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
        "(SELECT count(*) FROM processes WHERE heartbeat_at >= playhead_now() - 60)"
    )
    room, used, processes = row
    most = (db.connections + 2) * max(processes, 1)
    detail = (
        f"{used} of {room} connections are in use; the {processes} live processes may open {most} "
        f"(each {db.connections}, one for its heartbeat and one for LISTEN)"
    )
    if most <= room and used <= room * 0.9:
        return Finding("connections", "ok", detail)
    fix = "raise max_connections, lower ?pool_size= in the address, or use PgBouncer"
    return Finding("connections", "warning", detail, fix)


async def _cleaning(con: Connection, _: Postgres) -> Finding:
    if not await con.fetchval("SELECT current_setting('autovacuum')::boolean"):
        fix = "set autovacuum = on: without it queries become slower, and the disk fills up"
        return Finding("autovacuum", "warning", "autovacuum is off", fix)
    rows = await con.fetch(
        "SELECT relname, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = current_schema() "
        "AND relname = ANY($1::text[]) AND n_dead_tup > $2 AND n_dead_tup > n_live_tup ORDER BY relname",
        *(list(TABLES), _MANY_DEAD),
    )
    if not rows:
        return Finding("autovacuum", "ok", "autovacuum removes dead rows")
    detail = ", ".join(f"{table} has {dead:,} dead rows" for table, dead in rows)
    fix = "end old transactions (see backend_xmin in pg_stat_activity), or run VACUUM"
    return Finding("autovacuum", "warning", detail, fix)


_CHECKS: Final = (_reach, _version, _role, _schema, _rights, _durability, _clock, _connections, _cleaning)


async def _round_trip(db: Postgres) -> Finding:
    async def ask(con: Connection) -> float:
        times = []
        for _ in range(_ASKED):
            began = time.monotonic()
            await con.fetchval("SELECT 1")
            times.append(time.monotonic() - began)
        return median(times) * 1000

    async def write(con: Connection) -> None:
        # The transaction leaves no row behind, but its commit still waits for the disk.
        name = "doctor " + str(await con.fetchval("SELECT pg_backend_pid()"))
        await con.execute("INSERT INTO leases (name, owner, until) VALUES ($1, $1, 0)", name)
        await con.execute("DELETE FROM leases WHERE name = $1", name)

    asked = await db.run(ask)
    began = time.monotonic()
    await db.run(write)
    return Finding(
        "round trip",
        "ok",
        f"a query takes {asked:.1f} ms, a commit {(time.monotonic() - began) * 1000:.1f} ms",
    )
