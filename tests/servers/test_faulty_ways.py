"""The proxies for servers fail on demand: the answer to a COMMIT is lost, an S3 refuses requests."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped]
import pytest
from obstore.exceptions import BaseError, PermissionDeniedError
from obstore.store import S3Store

from tests.servers import need
from tests.servers.commits import Commits
from tests.servers.refusing import Refusing


async def test_a_commit_with_a_lost_answer_is_committed() -> None:
    url = need("postgres")
    direct = await asyncpg.connect(url)
    await direct.execute("CREATE TABLE IF NOT EXISTS lost_answers (n integer)")
    await direct.execute("TRUNCATE lost_answers")
    with Commits(url) as network:
        network.lose("INSERT INTO lost_answers")
        con = await asyncpg.connect(network.url)
        async with con.transaction():
            await con.execute("SELECT 1")  # not one of the chosen transactions: its answer arrives
        await con.execute("BEGIN")
        await con.execute("INSERT INTO lost_answers VALUES ($1)", 1)
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await con.execute("COMMIT")
        assert network.lost == {"INSERT INTO lost_answers": 1}
        until = time.monotonic() + 60
        while not (kept := await direct.fetchval("SELECT n FROM lost_answers")) and time.monotonic() < until:
            continue
        assert kept == 1

        # Only one loss was requested.
        con = await asyncpg.connect(network.url)
        async with con.transaction():
            await con.execute("INSERT INTO lost_answers VALUES ($1)", 2)
        assert await direct.fetchval("SELECT count(*) FROM lost_answers") == 2
        await con.close()
    await direct.close()


def test_a_refusing_store_refuses_requests_until_it_accepts_again() -> None:
    with Refusing(need("s3")) as network:
        where = urlsplit(network.url)
        store = S3Store(
            where.netloc,
            prefix=where.path.strip("/"),
            endpoint=parse_qs(where.query)["endpoint"][0],
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        store.put("refusing/kept", b"x" * 100_000)
        assert store.head("refusing/kept")["size"] == 100_000
        network.refuse(403, "AccessDenied")
        with pytest.raises(PermissionDeniedError, match="AccessDenied"):
            store.get("refusing/kept")
        network.refuse(503, "SlowDown")
        with pytest.raises(BaseError, match="SlowDown"):
            store.put("refusing/kept", b"y")
        network.accept()
        assert store.get("refusing/kept").bytes().to_bytes() == b"x" * 100_000
        assert network.refused > 1
