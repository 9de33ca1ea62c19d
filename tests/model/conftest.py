from __future__ import annotations

from collections.abc import Iterator

import pytest

from playhead.events import LOG


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    LOG.disabled = True
    yield
    LOG.disabled = False
