"""Servers and workers have different roles in PostgreSQL, each with exactly the rights that it needs.

PostgreSQL itself checks each statement of Playhead under each role: EXPLAIN checks rights, and runs nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, NamedTuple

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.backends._postgres import Postgres
from playhead.backends._postgres.grants import TABLES, rights, statements
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.backends.sql.statements import SQL, Statement
from playhead.ports.catalog.upkeep import Process
from playhead.ports.diagnosis import PROCESS_ROLES, ProcessRole
from tests.servers.roles import as_role, process_roles
from tests.servers.schema import schema

_EXPLAINED: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")

NOT_FOR_WORKERS: Final[Mapping[str, set[str]]] = {
    "configs are applied": {
        *("lock_configs", "insert_config", "insert_version", "insert_lanes", "set_effects", "set_active"),
        *("insert_dataset",),
    },
    "runs begin": {"insert_tags"},
    "plans are made, and used by replays that begin": {"insert_plan", "insert_plan_page", "move_key"},
    "replays begin that are published, or that declare other results valid": {
        *("insert_replay_publications", "insert_declaration", "undo_declarations"),
    },
    "routes are paused": {"pause_route", "resume_route"},
    "causes are acknowledged": {"acknowledge_cause", "end_acknowledgement"},
    "objects are reviewed": {"record_review"},
    "the search index is emptied": {"empty_terms", "empty_term_uses"},
    "keys are created and checked": {
        *("access", "lock_access", "set_access", "keys", "key_named", "valid_keys_named", "note_use"),
        *("insert_key_record", "key_to_check", "expire_key", "revoke_key"),
    },
    "people log in": {
        *("insert_session", "session_to_check", "note_sessions", "open_sessions", "delete_session"),
        *("delete_session_named", "delete_sessions_of_key", "delete_ended_sessions"),
        *("insert_login", "delete_old_logins", "finish_login"),
    },
    "the audit is read": {"newest_audit", "next_audit"},
}
"""What only servers and commands do, with all statements of it that a worker may not send."""

OF_SERVERS: Final = set().union(*NOT_FOR_WORKERS.values())

REFUSED: Final[Mapping[ProcessRole, tuple[str, ...]]] = {
    "server": (
        "UPDATE audit SET reason = 'another'",
        "DELETE FROM audit",
        "INSERT INTO audit (actor_kind, actor, actor_name, via, action, outcome, by_role) "
        "VALUES ('key', 'a', 'a', 'http', 'run.start', 'done', 'another')",
        "INSERT INTO audit (actor_kind, actor, actor_name, via, action, outcome, at) "
        "VALUES ('key', 'a', 'a', 'http', 'run.start', 'done', 0)",
        "DELETE FROM keys",
        "UPDATE config_versions SET source = ''",
        "DELETE FROM executions",
        "DELETE FROM configs",
        "UPDATE schema_version SET runs_from = 0",
        "TRUNCATE messages",
        "CREATE TABLE mine (n int)",
        "DROP TABLE outputs",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    "worker": (
        "SELECT hash FROM keys",
        "SELECT count(*) FROM keys",
        "INSERT INTO keys (id, name, kind, hash, scopes, created_at, created_by) "
        "VALUES ('a', 'a', 'key', '', '[]', 0, 'a')",
        "UPDATE keys SET revoked_at = NULL",
        "SELECT hash FROM sessions",
        "INSERT INTO sessions (hash, id, subject, name, scopes, created_at, seen_at, ends_at) "
        "VALUES ('', 'a', 'a', 'a', '[]', 0, 0, 0)",
        "SELECT verifier FROM logins",
        "SELECT mode FROM access",
        "UPDATE access SET mode = 'open'",
        "SELECT reason FROM audit",
        "UPDATE audit SET reason = 'another'",
        "DELETE FROM audit",
        "INSERT INTO audit (actor_kind, actor, actor_name, via, action, outcome, by_role) "
        "VALUES ('key', 'a', 'a', 'http', 'run.start', 'done', 'another')",
        "INSERT INTO configs (name, active, created_at) VALUES ('a', true, 0)",
        "UPDATE configs SET active = false",
        "INSERT INTO config_versions (name, version, hash, source, document, created_at) "
        "VALUES ('a', 1, '', '', '', 0)",
        "UPDATE config_versions SET document = ''",
        "UPDATE lanes SET on_replay = 'run'",
        "UPDATE causes SET acknowledged_at = 0",
        "INSERT INTO reviews (execution, against, ordinal, is_right, reviewed_by, reviewed_at) "
        "VALUES (1, 1, 1, true, 'a', 0)",
        "DELETE FROM route_pauses",
        "DELETE FROM executions",
        "DELETE FROM queues",
        "TRUNCATE messages",
        "CREATE TABLE mine (n int)",
        "DROP TABLE outputs",
    ),
}


class Migrated(NamedTuple):
    """A schema with roles.

    Attributes:
        con: a connection of the owner.
    """

    url: str
    roles: Mapping[ProcessRole, str]
    con: Any

    async def refused(self, role: str, some: Iterable[Statement]) -> AsyncGenerator[str, None]:
        """Yield the names of the statements that a role may not send."""
        await self.con.execute(f"SET ROLE {role}")
        try:
            for one in some:
                if not await _is_allowed(self.con, one):
                    yield one.name
        finally:
            await self.con.execute("RESET ROLE")


async def _is_allowed(con: Any, statement: Statement) -> bool:
    text, values = statement.postgres(defaultdict(int))
    try:
        if not text.startswith(_EXPLAINED):
            async with con.transaction():
                await con.fetch(text or "SELECT 1")
            return True
        await con.execute(f"PREPARE asked AS {text}")
        try:
            await con.execute(f"EXPLAIN EXECUTE asked{_nulls(len(values))}")
        finally:
            await con.execute("DEALLOCATE asked")
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True


def _nulls(count: int) -> str:
    return f"({', '.join(['NULL'] * count)})" if count else ""


def _of(table: str = ".*") -> Iterator[Statement]:
    """Yield the statements that name a table; by default, all."""
    for statement in SQL:
        if re.search(rf"\b{table}\b", statement.texts.get("postgresql", "")):
            yield statement


@asynccontextmanager
async def migrated() -> AsyncIterator[Migrated]:
    async with schema() as url, process_roles(url) as roles:
        con = await asyncpg.connect(url)
        try:
            yield Migrated(url, roles, con)
        finally:
            await con.close()


async def test_a_server_may_send_every_statement_and_a_worker_all_except_those_of_servers():
    async with migrated() as at:
        assert {one async for one in at.refused(at.roles["server"], _of())} == set()
        assert {one async for one in at.refused(at.roles["worker"], _of())} == OF_SERVERS


@pytest.mark.slow
@pytest.mark.parametrize("role", PROCESS_ROLES)
async def test_no_right_can_be_left_out(role: ProcessRole):
    known = OF_SERVERS if role == "worker" else set[str]()
    async with migrated() as at:
        name = at.roles[role]
        needless = []
        for right in rights(role):
            columns = f" ({', '.join(right.columns)})" if right.columns else ""
            await at.con.execute(f"REVOKE {right.verb}{columns} ON {right.table} FROM {name}")
            some = [one for one in _of(right.table) if one.name not in known]
            async with aclosing(at.refused(name, some)) as refused:
                if await anext(refused, None) is None:
                    needless.append(str(right))
            await at.con.execute(f"GRANT {right.verb}{columns} ON {right.table} TO {name}")
        assert needless == ["SELECT on schema_version"], "the start of a process reads it"


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET actor_name = 'x'", "DELETE FROM audit", "TRUNCATE audit", "TRUNCATE audit CASCADE"],
)
async def test_not_even_the_owner_changes_or_deletes_rows_of_the_audit(statement: str):
    async with schema() as url:
        db = Postgres(url)
        await db.migrate()
        await db.close()
        con = await asyncpg.connect(url)
        try:
            await con.execute(
                "INSERT INTO audit (actor_kind, actor, actor_name, via, action, outcome) "
                "VALUES ('local', 'a', 'a', 'cli', 'run.start', 'done')"
            )
            with pytest.raises(asyncpg.RaiseError, match="rows of the audit are not"):
                await con.execute(statement)
            assert await con.fetchval("SELECT actor_name FROM audit") == "a"
        finally:
            await con.close()


@pytest.mark.parametrize("role", PROCESS_ROLES)
async def test_the_role_cannot_do_what_its_processes_never_do(role: ProcessRole):
    async with migrated() as at:
        con = await asyncpg.connect(as_role(at.url, at.roles[role]))
        done = []
        for statement in REFUSED[role]:
            try:
                async with con.transaction():
                    await con.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                continue
            done.append(statement)
        await con.close()
        assert done == []


async def test_every_table_is_in_the_list_of_rights():
    async with migrated() as at:
        rows = await at.con.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        assert sorted(TABLES) == sorted(row[0] for row in rows)
        assert list(TABLES) == sorted(TABLES)


async def test_the_database_records_which_role_wrote_an_entry_of_the_audit():
    async with migrated() as at:
        db = Postgres(as_role(at.url, at.roles["worker"]))
        catalog = PostgresCatalog(db)
        await catalog.open()
        await catalog.record_audit("prune.begin")
        await db.close()
        assert await at.con.fetchval("SELECT by_role FROM audit") == at.roles["worker"]


async def test_granting_again_takes_away_what_this_release_does_not_need():
    async with migrated() as at:
        worker = at.roles["worker"]
        await at.con.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {await _schema(at.con)} TO {worker}")
        assert await at.con.fetchval("SELECT has_table_privilege($1, 'keys', 'SELECT')", worker)
        for statement in statements(await _schema(at.con), at.roles):
            await at.con.execute(statement)
        assert not await at.con.fetchval("SELECT has_table_privilege($1, 'keys', 'SELECT')", worker)


async def _schema(con: Any) -> str:
    return str(await con.fetchval("SELECT current_schema()"))


# -- doctor ----------------------------------------------------------------------------------------


async def findings(url: str, role: ProcessRole | None = None) -> Mapping[str, Any]:
    db = Postgres(url, role=role)
    catalog = PostgresCatalog(db)
    await catalog.open()
    try:
        return {one.what: one for one in await catalog.diagnose()}
    finally:
        await db.close()


async def test_doctor_finds_no_fault_with_exactly_these_rights():
    async with migrated() as at:
        for role, name in at.roles.items():
            for asked in (None, role):
                found = await findings(as_role(at.url, name), asked)
                assert found["rights"].status == found["round trip"].status == "ok"
                assert found["rights"].detail.startswith(f"this user has all rights of a {role}")


async def test_doctor_names_what_a_role_lacks_and_the_command_that_prints_it():
    async with migrated() as at:
        server, worker = at.roles["server"], at.roles["worker"]
        found = (await findings(as_role(at.url, worker), "server"))["rights"]
        assert found.status == "failed"
        assert found.detail.startswith(
            "this user lacks rights of a server: SELECT on access, UPDATE on access"
        )
        assert f"playhead migrate --grants server={worker}" in found.fix

        await at.con.execute(f"REVOKE UPDATE (row_lock) ON lanes FROM {worker}")
        found = (await findings(as_role(at.url, worker)))["rights"]
        assert found.detail == "this user lacks rights of a worker: UPDATE (row_lock) on lanes"

        await at.con.execute(f"REVOKE INSERT (reason) ON audit FROM {server}")
        found = (await findings(as_role(at.url, server), "server"))["rights"]
        assert found.detail.startswith("this user lacks rights of a server: INSERT (actor_kind, actor")


async def test_doctor_warns_of_workers_that_have_the_rights_of_a_server():
    async with migrated() as at:
        for pid, (role, name) in enumerate(at.roles.items(), 1):
            db = Postgres(as_role(at.url, name))
            catalog = PostgresCatalog(db)
            await catalog.open()
            await catalog.heartbeat(Process(f"{role}-process", "worker", "here", pid))
            await db.close()
        found = (await findings(as_role(at.url, at.roles["server"]), "server"))["rights"]
        assert (found.status, found.detail) == ("warning", "workers have the rights of a server: here:1")
        # A role that may do everything was not separated from others.
        assert (await findings(at.url))["rights"].status == "warning"
        await at.con.execute("DELETE FROM processes WHERE id = 'server-process'")
        assert (await findings(at.url))["rights"].status == "ok"
