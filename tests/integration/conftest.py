"""Fixtures that several files share."""

from __future__ import annotations

from collections.abc import AsyncIterator
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


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
async def catalog_setting(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Any]]:
    """The setting of each catalog. The contract suites test the rules of both."""
    if request.param == "sqlite":
        yield {}
    else:
        async with emptied_schema() as url:
            yield {"catalog": url}


@pytest.fixture
async def either(catalog_setting: dict[str, Any], tmp_path: Path) -> AsyncIterator[Playhead]:
    """A Playhead on each catalog."""
    async with opened(tmp_path / "home", **catalog_setting) as playhead:
        yield playhead


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """Processes on one PostgreSQL database."""
    async with open_place() as made:
        yield made
