"""What the tests of several files need."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.servers.schema import schema


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A schema of PostgreSQL, the test's own. Files about another server have a `url` of their own."""
    async with schema() as url:
        yield url
