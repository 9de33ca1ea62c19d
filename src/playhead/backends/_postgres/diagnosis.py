"""What `doctor` asks PostgreSQL, for the catalog and for the broker in it."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Final

from playhead.backends._postgres.database import Postgres
from playhead.backends._postgres.schema import migrations
from playhead.backends._postgres.session import FAULTS, Connection, Unreachable
from playhead.ports.diagnosis import Finding

_TABLES: Final = (
    *("configs", "config_versions", "lanes", "executions", "tags", "jobs", "messages", "outputs"),
    *("processes", "departed", "leases", "queues", "calls"),
)

_OLDEST_VERSION = 13
_MOST_OFF_SECONDS = 5.0
_ASKED = 5
_HEARD_SECONDS = 3.0
_MANY_DEAD = 1_000_000


async def examine(db: Postgres) -> list[Finding]:
    """Look at a database as the catalog, or the broker, in it needs it."""
    found: list[Finding] = []
    try:
        async with db.read() as con:
            goes_on = await _server(con, db, found)
            if goes_on:
                goes_on = await _schema(con, found)
            if goes_on:
                await _durability(con, found)
                await _clock(con, found)
                await _connections(con, db, found)
                await _cleaning(con, found)
        if goes_on:
            found.append(await _round_trip(db))
    except Unreachable as exc:
        fix = "fix the reported problem; until then every operation fails and is repeated"
        found.append(Finding("round trip" if found else "reach", "failed", str(exc), fix))
    return found


async def _server(con: Connection, db: Postgres, found: list[Finding]) -> bool:
    (row,) = await con.fetch(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, "
        "current_user::text, pg_is_in_recovery()"
    )
    version, major, user, standby = row
    found.append(Finding("reach", "ok", f"{db.address}, as {user}"))
    if major < _OLDEST_VERSION:
        found.append(
            Finding("version", "failed", f"postgresql {version}", f"use {_OLDEST_VERSION} or a newer one")
        )
        return False
    found.append(Finding("version", "ok", f"postgresql {version}"))
    if standby:
        found.append(
            Finding(
                "role",
                "failed",
                "it is a standby, and takes no writes",
                "name the primary, or all of them: postgresql://one,two/db?target_session_attrs=read-write",
            )
        )
        return False
    return True


async def _schema(con: Connection, found: list[Finding]) -> bool:
    (row,) = await con.fetch(
        "SELECT current_schema(), to_regclass('schema_version') IS NOT NULL, "
        "has_schema_privilege(current_schema(), 'CREATE')"
    )
    schema, made, creates = row
    if not made:
        fix = "run: playhead migrate"
        found.append(Finding("schema", "failed", f"there are no tables in {schema or 'no schema'}", fix))
        return False
    have = await con.fetchval("SELECT max(version) FROM schema_version")
    known = migrations()[-1].number
    if have < known:
        detail = f"{schema} is at {have}, this release brings {known}"
        found.append(Finding("schema", "warning", detail, "run: playhead migrate"))
    else:
        found.append(Finding("schema", "ok", f"{schema} is at {have}"))
    missing = await con.fetch(
        "SELECT t, r FROM unnest($1::text[]) AS t CROSS JOIN unnest($2::text[]) AS r "
        "WHERE to_regclass(t) IS NULL OR NOT has_table_privilege(to_regclass(t), r) ORDER BY t, r",
        *(list(_TABLES), ["DELETE", "INSERT", "SELECT", "UPDATE"]),
    )
    if missing:
        fix = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO this user"
        detail = "no " + ", ".join(f"{right} on {table}" for table, right in missing[:4])
        found.append(Finding("rights", "failed", detail, fix))
        return False
    detail = "reads and writes its tables"
    if not creates:
        detail += "; may not create any, so a user who may has to run: playhead migrate"
    found.append(Finding("rights", "ok", detail))
    return True


async def _durability(con: Connection, found: list[Finding]) -> None:
    rows = await con.fetch(
        "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'"
    )
    if off := [name for (name,) in rows]:
        detail = f"{' and '.join(off)} off: a power cut or a crash of the system can ruin the database"
        found.append(Finding("durability", "warning", detail, "set them to on, unless this is a trial"))
    else:
        found.append(Finding("durability", "ok", "every commit waits for the disk"))


async def _clock(con: Connection, found: list[Finding]) -> None:
    before = time.time()
    theirs = await con.fetchval("SELECT extract(epoch FROM clock_timestamp())::double precision")
    off = (before + time.time()) / 2 - theirs
    detail = f"this machine's clock and the database's differ by {abs(off):.1f} s"
    if abs(off) > _MOST_OFF_SECONDS:
        fix = "set the clocks by NTP; leases and retries go by the database's, new ids by this machine's"
        found.append(Finding("clock", "warning", detail, fix))
    else:
        found.append(Finding("clock", "ok", detail))


async def _connections(con: Connection, db: Postgres, found: list[Finding]) -> None:
    (row,) = await con.fetch(
        "SELECT current_setting('max_connections')::int "
        "- current_setting('superuser_reserved_connections')::int, "
        "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
        "(SELECT count(*) FROM processes WHERE heartbeat_at >= playhead_now() - 60)"
    )
    room, used, processes = row
    most = (db.connections + 2) * max(processes, 1)
    detail = (
        f"{used} of {room} are used; {processes} processes are alive, which open up to {most} "
        f"({db.connections} each, one for its heartbeat and one to listen)"
    )
    if most > room or used > room * 0.9:
        fix = "raise max_connections, lower ?pool_size= in the address, or put PgBouncer before it"
        found.append(Finding("connections", "warning", detail, fix))
    else:
        found.append(Finding("connections", "ok", detail))


async def _cleaning(con: Connection, found: list[Finding]) -> None:
    on = await con.fetchval("SELECT current_setting('autovacuum')::boolean")
    rows = await con.fetch(
        "SELECT relname, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = current_schema() "
        "AND relname = ANY($1::text[]) AND n_dead_tup > $2 AND n_dead_tup > n_live_tup ORDER BY relname",
        *(list(_TABLES), _MANY_DEAD),
    )
    if not on:
        fix = "set autovacuum = on: without it every look becomes slower, and the disk fills"
        found.append(Finding("autovacuum", "warning", "autovacuum is off", fix))
    elif rows:
        detail = ", ".join(f"{table} holds {dead:,} dead rows" for table, dead in rows)
        fix = "end what keeps an old transaction open (pg_stat_activity.backend_xmin), or VACUUM them by hand"
        found.append(Finding("autovacuum", "warning", detail, fix))
    else:
        found.append(Finding("autovacuum", "ok", "dead rows are cleaned up"))


async def _round_trip(db: Postgres) -> Finding:
    async def ask(con: Connection) -> float:
        times = []
        for _ in range(_ASKED):
            began = time.monotonic()
            await con.fetchval("SELECT 1")
            times.append(time.monotonic() - began)
        return median(times) * 1000

    async def write(con: Connection) -> None:
        # Made and gone within one commit, which the disk has to confirm all the same.
        name = "doctor " + str(await con.fetchval("SELECT pg_backend_pid()"))
        await con.execute("INSERT INTO queues (name) VALUES ($1)", name)
        await con.execute("DELETE FROM queues WHERE name = $1", name)

    asked = await db.run(ask)
    began = time.monotonic()
    await db.run(write)
    return Finding(
        "round trip",
        "ok",
        f"a question takes {asked:.1f} ms, a commit {(time.monotonic() - began) * 1000:.1f} ms",
    )


async def hears(db: Postgres, channel: str) -> Finding:
    """Whether what one connection tells is heard by another."""
    heard = asyncio.Event()
    con: Connection | None = None
    try:
        async with asyncio.timeout(_HEARD_SECONDS):
            con = await db.connect()
            await con.add_listener(channel, lambda *_: heard.set())
            began = time.monotonic()
            await db.run(lambda other: other.execute("SELECT pg_notify($1, '')", channel))
            await heard.wait()
    except (*FAULTS, Unreachable) as exc:
        return Finding(
            "wake",
            "warning",
            f"a NOTIFY was not heard ({type(exc).__name__}): receivers look once a second instead",
            "give PLAYHEAD_BROKER PostgreSQL's own address, not one of PgBouncer in transaction mode",
        )
    finally:
        if con is not None:
            con.terminate()
    return Finding("wake", "ok", f"a NOTIFY is heard after {(time.monotonic() - began) * 1000:.1f} ms")
