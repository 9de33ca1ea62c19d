"""A request that fails after its caller was cancelled is not reported as an unretrieved exception."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from playhead.backends._sqlite import Connection, Database
from playhead.backends.broker_rabbitmq.queues import Queues
from playhead.errors import Unavailable, broker_unavailable


async def said_of(
    call: Awaitable[Any], fail: Callable[[], None], after: Callable[[], Awaitable[Any]]
) -> list[str]:
    """Cancel a pending call, let it fail afterwards, and return the reports of the event loop."""
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
    caller = asyncio.ensure_future(call)
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.wait([caller])
    del caller
    fail()
    await after()
    await asyncio.sleep(0.01)
    gc.collect()
    return said


async def test_a_cancelled_request_to_rabbitmq_logs_no_lost_connection():
    is_lost = asyncio.Event()

    class Link:
        address = "127.0.0.1"

        async def channel(self) -> Any:
            await is_lost.wait()
            raise broker_unavailable("no connection")

    queues = Queues(Link(), "")  # type: ignore[arg-type]

    async def after() -> None:
        with pytest.raises(Unavailable):
            await queues.look("some")

    assert await said_of(queues.look("some"), is_lost.set, after) == []


async def test_a_cancelled_write_to_sqlite_logs_no_failure(tmp_path: Path):
    fails = threading.Event()

    def job(_: Connection) -> None:
        fails.wait(60)
        raise sqlite3.OperationalError("database or disk is full")

    async def after() -> None:
        await db.write(lambda con: con.execute("SELECT 1").fetchone())

    db = Database(tmp_path / "some.db")
    await db.open()
    try:
        assert await said_of(db.write(job), fails.set, after) == []
    finally:
        fails.set()
        await db.close()
