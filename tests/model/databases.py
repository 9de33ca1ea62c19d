"""Databases for one try of a machine: empty, and gone with its stack."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playhead.backends._sqlite import Database
from tests.catalog_memory import database
from tests.servers.schema import emptied_schema

if TYPE_CHECKING:
    from playhead.backends._postgres import Postgres

IN_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None


async def open_sqlite(stack: AsyncExitStack, clock: Callable[[], float]) -> Database:
    home = stack.enter_context(tempfile.TemporaryDirectory(dir=IN_MEMORY))
    db = database(Path(home), clock)
    await db.open()
    stack.push_async_callback(db.close)
    return db


async def open_postgres(stack: AsyncExitStack, clock: Callable[[], float]) -> Postgres:
    """In a schema for itself; reads the time from `clock`."""
    from playhead.backends._postgres import Postgres

    db = Postgres(await stack.enter_async_context(emptied_schema()), clock=clock)
    await db.open()
    stack.push_async_callback(db.close)
    return db
