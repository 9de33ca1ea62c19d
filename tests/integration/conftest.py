"""What the tests of several files need."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.ids import uuid7
from tests.servers import need


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A schema of PostgreSQL, the test's own. Files about another server have a `url` of their own."""
    server, name = need("postgres"), f"t{uuid7().hex}"
    con = await asyncpg.connect(server)
    await con.execute(f"CREATE SCHEMA {name}")
    yield f"{server}?search_path={name}"
    await con.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    await con.close()
