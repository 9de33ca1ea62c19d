"""What the PostgreSQL database under catalog and broker promises beside the two ports: its schema, its words,
and that calls fail soon and recover by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.backends._postgres import Connection, Postgres, Unreachable
from playhead.backends._postgres.schema import State, apply, migrations, state
from playhead.backends._postgres.session import explain
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.errors import CannotStart, Unavailable
from playhead.ids import uuid7
from playhead.ports.catalog.browse import ExecutionFilter
from tests.servers import Server, need_fresh
from tests.servers.proxy import Proxy
from tests.waiting import until_told


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with need_fresh("postgres", "--max_connections=12", "--superuser_reserved_connections=1") as server:
        yield server


@pytest.fixture
def own(own_server: Server) -> Server:
    """A server to do things to."""
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


async def test_an_empty_database_is_given_its_schema_by_whoever_opens_it(url: str):
    async with opened(url) as db:
        assert await db.pending() == []
        assert await PostgresCatalog(db).open_executions() == []


async def test_many_that_open_an_empty_database_at_once_all_can(url: str):
    openers = [Postgres(url) for _ in range(6)]

    try:
        await asyncio.gather(*(db.open() for db in openers))

        assert [await db.run(one) for db in openers] == [1] * 6
    finally:
        for db in openers:
            await db.close()


async def test_an_empty_database_is_seen_to_be_empty_until_its_schema_is_whole(url: str):
    slow, other = Postgres(url), Postgres(url)
    *_, last = migrations()

    async def halfway(con: Connection) -> None:
        await apply(con, *migrations())
        assert await other.pending() == [step.number for step in migrations()]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # as if it had been killed before COMMIT
        await slow.run(halfway)

    opening = asyncio.create_task(other.open())
    while not opening.done():
        assert await slow.run(state) in (State(0, 0), State(last.number, 1))
    await opening
    made_in = "SELECT count(DISTINCT xmin::text) FROM schema_version"
    assert await other.run(lambda con: con.fetchval(made_in)) == 1, "it was not made in one transaction"
    for db in (slow, other):
        await db.close()


async def test_migrating_tells_what_it_did_and_does_it_once(url: str):
    db = Postgres(url)
    first = await db.pending()

    assert first
    assert await db.migrate() == first
    assert await db.migrate() == await db.pending() == []
    await db.close()


async def test_a_schema_of_the_release_before_is_refused_until_it_is_migrated_and_then_both_run(url: str):
    before, *rest = migrations()
    db = Postgres(url)
    await db.run(lambda con: apply(con, before))
    with pytest.raises(CannotStart) as caught:
        await db.open()
    assert caught.value.code == "catalog_older"

    assert await db.migrate() == [step.number for step in rest]

    # As the release before writes it.
    await db.run(
        lambda con: con.execute(
            "INSERT INTO executions (id, kind, status, created_at) VALUES ($1, 'adopted', 'completed', 1)",
            uuid7(),
        )
    )
    async with opened(url) as new:
        executions, _ = await PostgresCatalog(new).executions(ExecutionFilter())
        assert [e.kind for e in executions] == ["adopted"]
        assert await new.run(lambda con: con.fetchval("SELECT traceparent FROM executions")) is None
    await db.close()


async def test_a_schema_of_a_newer_release_is_refused(url: str):
    async with opened(url) as db:
        await db.run(lambda con: con.execute("INSERT INTO schema_version VALUES (9999, 9999)"))

    newer = Postgres(url)
    with pytest.raises(CannotStart) as caught:
        await newer.open()
    assert caught.value.code == "catalog_newer"
    with pytest.raises(CannotStart, match="newer"):
        await Postgres(url).pending()


async def test_a_newer_schema_on_which_this_release_still_runs_is_used(url: str):
    async with opened(url) as db:
        await db.run(lambda con: con.execute("INSERT INTO schema_version VALUES (9999, 1)"))

    async with opened(url) as db:
        assert await db.run(one) == 1


async def test_a_schema_that_holds_tables_of_someone_else_is_left_alone(url: str):
    con = await asyncpg.connect(url)
    await con.execute("CREATE TABLE messages (theirs text)")

    db = Postgres(url)
    with pytest.raises(CannotStart, match="someone else") as caught:
        await db.open()

    assert caught.value.code == "catalog_unusable"
    assert await con.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()") == 1
    await con.close()
    await db.close()


async def test_a_user_who_may_not_create_tables_is_told_which_grant_is_missing(url: str):
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
        pass  # made by one who may
    with pytest.raises(Unreachable, match="SELECT, INSERT, UPDATE, DELETE"):
        await Postgres(theirs).open()
    await con.execute(f"GRANT SELECT ON {schema}.schema_version TO {user}")
    async with opened(theirs) as db:
        findings = {f.what: f for f in await PostgresCatalog(db).diagnose()}
        assert findings["rights"].status == "failed"
        assert "GRANT" in findings["rights"].fix
        await con.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}")
        findings = {f.what: f for f in await PostgresCatalog(db).diagnose()}
        assert findings["rights"].status == findings["round trip"].status == "ok"
        # As where a later step made a table, and nobody granted anything on it.
        await con.execute(f"REVOKE UPDATE ON {schema}.departed FROM {user}")
        findings = {f.what: f for f in await PostgresCatalog(db).diagnose()}
        assert findings["rights"].detail == "no UPDATE on departed"
    await con.execute(f"DROP OWNED BY {user}")
    await con.execute(f"DROP ROLE {user}")
    await con.close()


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("@127.0.0.1:{port}", ":hush@127.0.0.1:1"), "can't be reached"),
        # Who knows no names may take long to say so.
        (("@127.0.0.1:{port}", ":hush@no-such-host.invalid"), "can't be reached|did not answer in time"),
        (("postgres@127.0.0.1:{port}/postgres", "postgres:hush@127.0.0.1:{port}/nowhere"), "create it first"),
        (("postgres@", "nobody:hush@"), "check user, password"),
        (("search_path=", "search_path=no_"), "the schema of search_path does not exist"),
    ],
)
async def test_an_address_that_leads_nowhere_is_told_without_its_password(
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
def test_what_pgbouncer_refuses_is_not_said_to_be_a_lost_connection(says: str, advice: str):
    """It gives one SQLSTATE, of the class of broken connections, to nearly all that it says (1.24)."""
    error = asyncpg.PostgresError.new({"S": "FATAL", "C": "08P01", "M": says})

    told = explain("db:6432/x", error)

    assert says in told
    assert advice in told
    assert "lost" not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush@[::1/db",
        "postgresql://me:hush@db/x?pool_size=many",
        "postgresql://me:a/hush@db/x",
        "postgresql://me:1/hush@db/x",
        "postgresql://me:hush?@db/x",
        "postgresql://me:hush#@db/x",
        "postgresql://me:hush\u2100@db/x",
    ],
)
def test_an_address_that_cant_be_read_is_told_without_its_password(url: str):
    with pytest.raises(CannotStart) as caught:
        Postgres(url)
    assert caught.value.code == "setup_invalid"
    assert "hush" not in caught.value.detail


@pytest.mark.parametrize(
    "hosts", ["db", "db:5432", "[::1]", "[::1]:5432", "one:1,two", "me%40site:pa%2Fss@db:5432", ""]
)
def test_an_address_may_name_hosts_in_any_way_that_libpq_knows(hosts: str):
    assert Postgres(f"postgresql://{hosts}/x").address.endswith("/x")


# -- transactions ----------------------------------------------------------------------------------


async def test_a_transaction_whose_error_was_swallowed_is_not_called_committed(url: str):
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


async def test_what_a_job_raises_leaves_nothing_behind_and_the_connection_usable(url: str):
    async with opened(url, connections=1) as db:

        async def failing(con: Connection) -> None:
            await con.execute("INSERT INTO queues (name) VALUES ('a')")
            raise LookupError("no")

        with pytest.raises(LookupError):
            await db.run(failing)

        assert await db.run(lambda con: con.fetchval("SELECT count(*) FROM queues")) == 0


@pytest.mark.parametrize("within_a_statement", [True, False])
async def test_a_job_that_is_cancelled_leaves_nothing_behind_and_no_connection_missing(
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

        # Its locks are gone, too: the same name can be had now. One that was left open would keep them until
        # the server ends it, after `_STOPPED_SECONDS`: this is less.
        again = db.run(lambda con: con.execute("INSERT INTO queues (name) VALUES ('a')"))
        await asyncio.wait_for(again, 8)


async def test_a_job_that_is_cancelled_while_it_is_rolled_back_leaves_nothing_behind(url: str):
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
            await asyncio.sleep(0.5)  # ROLLBACK waits until the server has heard that the last is given up
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            network.release()

            assert await db.run(lambda con: con.fetchval("SELECT count(*) FROM queues")) == 0


async def test_the_loser_of_a_deadlock_is_run_again(url: str):
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


async def test_a_read_sees_one_moment_and_cant_write(url: str):
    async with opened(url) as db:
        async with db.read() as con:
            assert await con.fetchval("SELECT count(*) FROM queues") == 0
            await db.run(lambda other: other.execute("INSERT INTO queues (name) VALUES ('a')"))
            assert await con.fetchval("SELECT count(*) FROM queues") == 0

        with pytest.raises(Unreachable, match="read-only"):
            async with db.read() as con:
                await con.execute("INSERT INTO queues (name) VALUES ('b')")


@pytest.mark.slow
async def test_who_stands_still_within_a_transaction_is_thrown_out_before_those_who_wait_give_up(url: str):
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


async def test_a_statement_that_takes_too_long_is_stopped(url: str):
    async with opened(url) as db:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="took too long"):
            await db.run(lambda con: con.execute("SELECT pg_sleep(60)"), seconds=0.2)
        assert time.monotonic() - began < 30


# -- a server that comes and goes ------------------------------------------------------------------


async def test_calls_fail_at_once_while_the_server_is_away_and_work_when_it_is_back(own: Server):
    async with opened(own.url) as db:
        catalog = PostgresCatalog(db)
        await asyncio.gather(*(catalog.open_executions() for _ in range(8)))

        own.kill()
        began = time.monotonic()
        for _ in range(10):
            with pytest.raises(Unavailable) as caught:
                await catalog.open_executions()
            assert caught.value.code == "catalog_unavailable"
        assert time.monotonic() - began < 20  # a connection is waited for five seconds each time

        own.start()
        assert await asyncio.gather(*(catalog.open_executions() for _ in range(8))) == [[]] * 8


async def test_a_database_that_was_away_when_it_was_opened_is_opened_by_the_first_call_that_reaches_it(
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
async def test_a_server_that_stands_still_holds_nobody_for_longer_than_was_said(own: Server):
    async with opened(own.url) as db:
        await db.run(one)
        own.pause()
        try:
            began = time.monotonic()
            for _ in range(2):  # one with a connection, one without
                with pytest.raises(Unreachable, match="did not answer in time"):
                    await db.run(one, seconds=1)
            assert time.monotonic() - began < 30  # unless told otherwise, 35 each
        finally:
            own.resume()
        assert await db.run(one) == 1


async def test_a_server_without_a_connection_left_is_told_and_used_again_when_there_is_one(own: Server):
    async with opened(own.url) as db:
        await db.close()
        others: list[asyncpg.Connection] = []
        async with asyncio.timeout(60):  # the server lets go of a connection a moment after its client
            while len(others) < 12:
                with suppress(asyncpg.TooManyConnectionsError):
                    others.append(await asyncpg.connect(own.url))
            with pytest.raises(Unreachable, match="max_connections"):
                await db.open()
            for con in others:
                await con.close()
            await until_told(db.open, Unreachable)
        assert await db.run(one) == 1


async def test_more_callers_than_connections_take_turns(url: str):
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
            await both.wait()  # the second connection may take longer to make than all of them to work
            await con.fetchval("SELECT pg_sleep(0.01)")
            now -= 1

        await asyncio.gather(*(db.run(counted) for _ in range(10)))

        assert most == 2


async def test_a_primary_that_became_read_only_is_told_and_left(own: Server):
    async with opened(own.url) as db:
        add = "INSERT INTO queues (name) VALUES ('a') ON CONFLICT DO NOTHING"

        async def add_for_ever() -> None:  # the server takes a moment to read its settings
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
