"""The fixture of the tests of the HTTP API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.server import Playhead


@pytest.fixture
async def playhead(tmp_path: Any) -> AsyncIterator[Playhead]:
    made = Playhead(str(tmp_path))
    await made.beat()
    await made.apply()
    yield made
    await made.close()
