"""The fixture of the tests of the HTTP API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.server import Playhead, open_playhead


@pytest.fixture
async def playhead(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with open_playhead(tmp_path, Playhead) as made:
        await made.apply()
        yield made
