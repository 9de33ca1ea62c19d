"""After a time without any heartbeats, the first process that returns takes no messages of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from playhead.backends._postgres import Postgres
from playhead.backends._sqlite import Database
from playhead.backends.catalog_postgres import PostgresCatalog
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.upkeep import Process
from playhead.ports.catalog.work import Claim, Refusal
from tests.lab import Clock, Lab
from tests.servers.schema import schema

BEAT = 0.2
SILENCE = 12 * BEAT


@asynccontextmanager
async def _processes(kind: str, folder: Path, count: int) -> AsyncIterator[list[Catalog]]:
    """Yield one catalog, opened by `count` processes."""
    async with AsyncExitStack() as stack:
        catalogs: list[Catalog] = []
        url = await stack.enter_async_context(schema()) if kind == "postgres" else ""
        for _ in range(count):
            if url:
                postgres = Postgres(url)
                await postgres.open()
                stack.push_async_callback(postgres.close)
                catalogs.append(PostgresCatalog(postgres, heartbeat_seconds=BEAT))
            else:
                sqlite = Database(folder / "playhead.db")
                await sqlite.open()
                stack.push_async_callback(sqlite.close)
                catalogs.append(SqliteCatalog(sqlite, heartbeat_seconds=BEAT))
        yield catalogs


def _process(name: str) -> Process:
    return Process(name, "worker", "host", 1)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_process_that_missed_its_own_heartbeats_gives_all_others_time_to_send_theirs(
    kind: str, tmp_path: Path
):
    async with _processes(kind, tmp_path, 3) as (theirs, mine, newcomer):
        lab = Lab(mine, Clock())
        await theirs.heartbeat(_process("theirs"))
        await mine.heartbeat(_process("mine"))
        run = await lab.started("a.md", "b.md")
        (held, other) = run.ids
        await theirs.claim("theirs", [held, other])

        await asyncio.sleep(SILENCE)

        assert (await lab.refusal(held, "mine")).reason == "held"
        assert await mine.recall_abandoned(limit=10) == 0
        await mine.heartbeat(_process("mine"))
        assert (await lab.refusal(held, "mine")).reason == "held"
        assert await mine.recall_abandoned(limit=10) == 0

        # A new process cannot know why the others are silent either.
        await newcomer.heartbeat(_process("newcomer"))
        (answer,) = await newcomer.claim("newcomer", [other])
        assert isinstance(answer, Refusal)
        assert answer.reason == "held"
        assert await newcomer.recall_abandoned(limit=10) == 0

        # But dead processes are recognised in the end, also on a slow machine.
        left = {held: (mine, "mine"), other: (newcomer, "newcomer")}
        async with asyncio.timeout(60):
            while left:
                await asyncio.sleep(BEAT)
                for identity, (catalog, name) in list(left.items()):
                    await mine.heartbeat(_process("mine"))
                    await newcomer.heartbeat(_process("newcomer"))
                    (answer,) = await catalog.claim(name, [identity])
                    if isinstance(answer, Claim):
                        assert answer.attempt == 2
                        del left[identity]
                    else:
                        assert answer.reason == "held"
