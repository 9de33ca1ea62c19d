"""Fixtures that several files share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.inprocess import Playhead, opened
from tests.integration.postgres_processes import Place, open_place
from tests.servers.schema import emptied_schema, schema


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A new PostgreSQL schema. Files about another server define their own `url`."""
    async with schema() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Playhead]:
    """A Playhead on each catalog."""
    async with AsyncExitStack() as stack:
        on: dict[str, Any] = {}
        if request.param == "postgres":
            on["catalog"] = await stack.enter_async_context(emptied_schema())
        yield await stack.enter_async_context(opened(tmp_path / "home", **on))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """Processes on one PostgreSQL database."""
    async with open_place() as made:
        yield made
