"""Fixtures that several files share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.servers.schema import schema


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A new PostgreSQL schema. Files about another server define their own `url`."""
    async with schema() as url:
        yield url
