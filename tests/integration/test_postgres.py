"""The PostgreSQL database below catalog and broker: its schema, its errors, transactions and reconnection.

Calls fail soon and recover by themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.backends._postgres import Connection, Postgres, Unreachable
from playhead.backends._postgres.schema import State, apply, refusal, state
from playhead.backends._postgres.session import explain
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.backends.sql import migrations
from playhead.errors import CannotStart, Unavailable
from playhead.ids import uuid7
from tests.servers import Server, need_fresh
from tests.servers.proxy import Proxy
from tests.waiting import until_told


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with need_fresh("postgres", "--max_connections=12", "--superuser_reserved_connections=1") as server:
        yield server


@pytest.fixture
def own(own_server: Server) -> Server:
    """A server for this file alone, which tests kill and pause."""
    if not own_server.running:
        own_server.start()
    return own_server


@asynccontextmanager
async def opened(url: str, **fields: Any) -> AsyncIterator[Postgres]:
    db = Postgres(url, **fields)
    await db.open()
    try:
        yield db
    finally:
        await db.close()


async def one(con: Connection) -> int:
    value: int = await con.fetchval("SELECT 1")
    return value


# -- the schema ------------------------------------------------------------------------------------


async def test_the_first_process_creates_the_schema_in_an_empty_database(url: str):
    async with opened(url) as db:
        assert await db.pending() == []
        assert await PostgresCatalog(db).open_executions() == []


async def test_many_processes_can_open_an_empty_database_at_once(url: str):
    openers = [Postgres(url) for _ in range(6)]

    try:
        await asyncio.gather(*(db.open() for db in openers))

        assert [await db.run(one) for db in openers] == [1] * 6
    finally:
        for db in openers:
            await db.close()


async def test_a_database_counts_as_empty_until_its_schema_is_complete(url: str):
    slow, other = Postgres(url), Postgres(url)
    *_, last = migrations("postgresql")

    async def halfway(con: Connection) -> None:
        await apply(con, *migrations("postgresql"))
        assert await other.pending() == [step.number for step in migrations("postgresql")]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # as after a kill before COMMIT
        await slow.run(halfway)

    opening = asyncio.create_task(other.open())
    while not opening.done():
        assert (await slow.run(state)).number in (0, last.number)
    await opening
    made_in = "SELECT count(DISTINCT xmin::text) FROM schema_version"
    assert await other.run(lambda con: con.fetchval(made_in)) == 1, "it was not made in one transaction"
    for db in (slow, other):
        await db.close()


async def test_migrating_reports_its_steps_and_runs_each_once(url: str):
    db = Postgres(url)
    first = await db.pending()

    assert first
    assert await db.migrate() == first
    assert await db.migrate() == await db.pending() == []
    await db.close()


def test_a_schema_older_than_this_release_runs_on_is_refused():
    assert refusal(State(2, 1), "here", oldest=2) is None
    refused = refusal(State(1, 1), "here", oldest=2)
    assert refused is not None
    assert refused.code == "catalog_older"
    assert "playhead migrate" in refused.detail


async def test_an_incompatible_newer_schema_is_refused(url: str):
    async with opened(url) as db:
        await db.run(lambda con: con.execute("INSERT INTO schema_version VALUES (9999, 9999, '')"))

    newer = Postgres(url)
    with pytest.raises(CannotStart) as caught:
        await newer.open()
    assert caught.value.code == "catalog_newer"
    with pytest.raises(CannotStart, match="newer"):
        await Postgres(url).pending()


async def test_a_compatible_newer_schema_is_used(url: str):
    async with opened(url) as db:
        await db.run(lambda con: con.execute("INSERT INTO schema_version VALUES (9999, 1, '')"))

    async with opened(url) as db:
        assert await db.run(one) == 1


async def test_a_schema_with_tables_of_another_program_is_not_changed(url: str):
    con = await asyncpg.connect(url)
    await con.execute("CREATE TABLE messages (theirs text)")

    db = Postgres(url)
    with pytest.raises(CannotStart, match="another program") as caught:
        await db.open()

    assert caught.value.code == "catalog_unusable"
    assert await con.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()") == 1
    await con.close()
    await db.close()


async def test_the_error_names_the_missing_grant_for_creating_tables(url: str):
    con, user = await asyncpg.connect(url), f"u{uuid7().hex}"
    await con.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'hush'")
    schema = await con.fetchval("SELECT current_schema()")
    await con.execute(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
    theirs = url.replace("postgres@", f"{user}:hush@", 1)

    db = Postgres(theirs)
    with pytest.raises(CannotStart, match="GRANT CREATE"):
        await db.open()
    await db.close()

    async with opened(url):
        pass  # created by a user with the right
    with pytest.raises(Unreachable, match="playhead migrate --grants"):
        await Postgres(theirs).open()
    await con.execute(f"GRANT SELECT ON {schema}.schema_version TO {user}")
    async with opened(theirs) as db:
        findings = {f.what: f for f in await PostgresCatalog(db).diagnose()}
        assert findings["rights"].status == "failed"
        assert f"playhead migrate --grants worker={user}" in findings["rights"].fix
        await con.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}")
        findings = {f.what: f for f in await PostgresCatalog(db).diagnose()}
        assert findings["rights"].status == findings["round trip"].status == "ok"
        # As after a migration that created a table without grants.
        await con.execute(f"REVOKE UPDATE ON {schema}.departed FROM {user}")
        findings = {f.what: f for f in await PostgresCatalog(db).diagnose()}
        assert findings["rights"].detail == "this user lacks rights of a server: UPDATE on departed"
    await con.execute(f"DROP OWNED BY {user}")
    await con.execute(f"DROP ROLE {user}")
    await con.close()


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("@127.0.0.1:{port}", ":hush@127.0.0.1:1"), "cannot reach"),
        # A resolver may take long to report an unknown name.
        (("@127.0.0.1:{port}", ":hush@no-such-host.invalid"), "cannot reach|did not answer in time"),
        (("postgres@127.0.0.1:{port}/postgres", "postgres:hush@127.0.0.1:{port}/nowhere"), "create it first"),
        (("postgres@", "unknown:hush@"), "check user, password"),
        (("search_path=", "search_path=no_"), "the schema of search_path does not exist"),
    ],
)
async def test_an_unreachable_address_is_reported_without_its_password(
    url: str, change: tuple[str, str], says: str
):
    port = url.partition("127.0.0.1:")[2].partition("/")[0]
    old, new = (text.replace("{port}", port) for text in change)
    assert old in url

    db = Postgres(url.replace(old, new))
    with pytest.raises(Unreachable, match=says) as caught:
        await db.open()

    assert "hush" not in str(caught.value)
    assert "hush" not in db.address


@pytest.mark.parametrize(
    ("says", "advice"),
    [
        ("unsupported startup parameter: search_path", "ALTER ROLE"),
        ("query_wait_timeout", "PgBouncer"),
    ],
)
def test_an_error_of_pgbouncer_is_not_reported_as_a_lost_connection(says: str, advice: str):
    """PgBouncer 1.24 uses one SQLSTATE, of the class of broken connections, for nearly all errors."""
    error = asyncpg.PostgresError.new({"S": "FATAL", "C": "08P01", "M": says})

    told = explain("db:6432/x", error)

    assert says in told
    assert advice in told
    assert "lost" not in told


@pytest.mark.parametrize(
    "hosts", ["db", "db:5432", "[::1]", "[::1]:5432", "one:1,two", "me%40site:pa%2Fss@db:5432", ""]
)
def test_an_address_may_have_hosts_in_any_format_of_libpq(hosts: str):
    assert Postgres(f"postgresql://{hosts}/x").address.endswith("/x")


# -- transactions ----------------------------------------------------------------------------------


async def test_a_transaction_with_a_swallowed_error_does_not_count_as_committed(url: str):
    async with opened(url) as db:

        async def careless(con: Connection) -> None:
            await con.execute("INSERT INTO queues (name) VALUES ('a')")
            try:
                await con.execute("SELECT 1 / 0")
            except asyncpg.PostgresError:
                pass

        with pytest.raises(Unreachable, match="did not commit"):
            await db.run(careless)

        assert await db.run(lambda con: con.fetchval("SELECT count(*) FROM queues")) == 0


async def test_after_an_exception_the_transaction_is_rolled_back_and_the_connection_usable(url: str):
    async with opened(url, connections=1) as db:

        async def failing(con: Connection) -> None:
            await con.execute("INSERT INTO queues (name) VALUES ('a')")
            raise LookupError("no")

        with pytest.raises(LookupError):
            await db.run(failing)

        assert await db.run(lambda con: con.fetchval("SELECT count(*) FROM queues")) == 0


@pytest.mark.parametrize("within_a_statement", [True, False])
async def test_after_a_cancellation_the_transaction_is_rolled_back_and_the_connection_returned(
    url: str, within_a_statement: bool
):
    async with opened(url, connections=1) as db:

        async def slow(con: Connection) -> None:
            await con.execute("INSERT INTO queues (name) VALUES ('a')")
            if within_a_statement:
                await con.execute("SELECT pg_sleep(30)")
            await asyncio.sleep(30)

        for _ in range(3):
            task = asyncio.create_task(db.run(slow))
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task])

        # Its locks are released, too: the same name can be used now. An open transaction would keep them
        # until
        # the server ends it after `_STOPPED_SECONDS`, which is longer than this limit.
        again = db.run(lambda con: con.execute("INSERT INTO queues (name) VALUES ('a')"))
        await asyncio.wait_for(again, 8)


async def test_a_cancellation_during_the_rollback_leaves_nothing_behind(url: str):
    with Proxy(url) as network:
        async with opened(network.url, connections=1) as db:

            async def failing(con: Connection) -> None:
                await con.execute("INSERT INTO queues (name) VALUES ('a')")
                network.hold()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await con.execute("SELECT pg_sleep(30)")
                raise LookupError("no")

            task = asyncio.create_task(db.run(failing))
            await asyncio.sleep(
                0.5
            )  # ROLLBACK waits until the server has received the cancel request for the last statement
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            network.release()

            assert await db.run(lambda con: con.fetchval("SELECT count(*) FROM queues")) == 0


async def test_the_victim_of_a_deadlock_is_retried(url: str):
    async with opened(url) as db:
        await db.run(lambda con: con.execute("INSERT INTO queues (name) VALUES ('a'), ('b')"))
        runs: list[str] = []
        both_hold_one = asyncio.Barrier(2)
        change = "UPDATE queues SET name = name WHERE name = $1"

        async def both(con: Connection, first: str, second: str) -> None:
            runs.append(first)
            await con.execute(change, first)
            if len(runs) <= 2:
                await both_hold_one.wait()
            await con.execute(change, second)

        await asyncio.gather(
            db.run(lambda con: both(con, "a", "b")),
            db.run(lambda con: both(con, "b", "a")),
        )

        assert len(runs) > 2


async def test_a_read_sees_one_snapshot_and_cannot_write(url: str):
    async with opened(url) as db:
        async with db.read() as con:
            assert await con.fetchval("SELECT count(*) FROM queues") == 0
            await db.run(lambda other: other.execute("INSERT INTO queues (name) VALUES ('a')"))
            assert await con.fetchval("SELECT count(*) FROM queues") == 0

        with pytest.raises(Unreachable, match="read-only"):
            async with db.read() as con:
                await con.execute("INSERT INTO queues (name) VALUES ('b')")


@pytest.mark.slow
async def test_an_idle_transaction_is_terminated_before_waiting_clients_time_out(url: str):
    async with opened(url) as db:
        await db.run(lambda con: con.execute("INSERT INTO queues (name) VALUES ('a')"))
        change = "UPDATE queues SET name = $1"
        stands, goes_on = asyncio.Event(), asyncio.Event()

        async def still(con: Connection) -> None:
            await con.execute(change, "stopped")
            stands.set()
            await goes_on.wait()

        holder = asyncio.create_task(db.run(still))
        await stands.wait()
        await db.run(lambda con: con.execute(change, "waited"))

        goes_on.set()
        with pytest.raises(Unreachable):
            await holder
        assert await db.run(lambda con: con.fetchval("SELECT name FROM queues")) == "waited"


async def test_a_statement_that_takes_too_long_is_cancelled(url: str):
    async with opened(url) as db:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="took too long"):
            await db.run(lambda con: con.execute("SELECT pg_sleep(60)"), seconds=0.2)
        assert time.monotonic() - began < 30


# -- restarts --------------------------------------------------------------------------------------


async def test_calls_fail_at_once_without_a_server_and_work_when_it_is_back(own: Server):
    async with opened(own.url) as db:
        catalog = PostgresCatalog(db)
        await asyncio.gather(*(catalog.open_executions() for _ in range(8)))

        own.kill()
        began = time.monotonic()
        for _ in range(10):
            with pytest.raises(Unavailable) as caught:
                await catalog.open_executions()
            assert caught.value.code == "catalog_unavailable"
        assert time.monotonic() - began < 20  # each call waits five seconds for a connection

        own.start()
        assert await asyncio.gather(*(catalog.open_executions() for _ in range(8))) == [[]] * 8


async def test_a_database_that_was_unavailable_at_opening_is_opened_by_the_first_successful_call(
    own: Server,
):
    own.stop()
    db = Postgres(own.url)
    catalog = PostgresCatalog(db)
    with pytest.raises(Unavailable):
        await catalog.open()
    answers = await asyncio.gather(*(catalog.open_executions() for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}

    own.start()

    assert await asyncio.gather(*(catalog.open_executions() for _ in range(20))) == [[]] * 20
    await db.close()


async def test_connections_from_before_a_restart_fail_no_call(own: Server):
    async with opened(own.url) as db:
        await asyncio.gather(*(db.run(one) for _ in range(8)))

        own.stop()
        own.start()

        assert await asyncio.gather(*(db.run(one) for _ in range(8))) == [1] * 8


@pytest.mark.slow
async def test_a_suspended_server_blocks_no_call_beyond_its_timeout(own: Server):
    async with opened(own.url) as db:
        await db.run(one)
        own.pause()
        try:
            began = time.monotonic()
            for _ in range(2):  # one with a connection, one without
                with pytest.raises(Unreachable, match="did not answer in time"):
                    await db.run(one, seconds=1)
            assert time.monotonic() - began < 30  # by default, 35 each
        finally:
            own.resume()
        assert await db.run(one) == 1


async def test_a_server_without_free_connections_is_reported_and_used_when_one_is_free(own: Server):
    async with opened(own.url) as db:
        await db.close()
        others: list[asyncpg.Connection] = []
        async with asyncio.timeout(
            60
        ):  # the server frees a connection a moment after its client has closed it
            while len(others) < 12:
                with suppress(asyncpg.TooManyConnectionsError):
                    others.append(await asyncpg.connect(own.url))
            with pytest.raises(Unreachable, match="max_connections"):
                await db.open()
            for con in others:
                await con.close()
            await until_told(db.open, Unreachable)
        assert await db.run(one) == 1


async def test_more_calls_than_connections_share_them(url: str):
    async with opened(f"{url}&pool_size=2") as db:
        assert db.connections == 2
        most = 0
        now = 0
        both = asyncio.Event()

        async def counted(con: Connection) -> None:
            nonlocal most, now
            now += 1
            most = max(most, now)
            if now == 2:
                both.set()
            await both.wait()  # opening the second connection may take longer than all the calls
            await con.fetchval("SELECT pg_sleep(0.01)")
            now -= 1

        await asyncio.gather(*(db.run(counted) for _ in range(10)))

        assert most == 2


async def test_a_primary_that_became_read_only_is_reported_and_abandoned(own: Server):
    async with opened(own.url) as db:
        add = "INSERT INTO queues (name) VALUES ('a') ON CONFLICT DO NOTHING"

        async def add_for_ever() -> None:  # the server takes a moment to reload its settings
            while True:
                await db.run(lambda other: other.execute(add))

        await db.run(one)
        con = await asyncpg.connect(own.url)
        await con.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await con.execute("SELECT pg_reload_conf()")
        try:
            with pytest.raises(Unreachable, match="read-only standby"):
                await asyncio.wait_for(add_for_ever(), 60)
        finally:
            await con.execute("SET default_transaction_read_only = off")
            await con.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await con.execute("SELECT pg_reload_conf()")
            await con.close()
