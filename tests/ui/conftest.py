"""The fixture of the tests of the web UI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.ui.site import Site


@pytest.fixture
async def site(tmp_path: Any) -> AsyncIterator[Site]:
    made = Site(str(tmp_path))
    await made.beat()
    await made.apply()
    yield made
    await made.close()
