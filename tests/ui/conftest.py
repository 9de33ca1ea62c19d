"""The fixture of the tests of the web UI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.server import open_playhead
from tests.ui.site import Site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_playhead(tmp_path, Site) as made:
        await made.apply()
        yield made
