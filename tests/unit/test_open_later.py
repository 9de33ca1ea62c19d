"""A backend that is unavailable at the start is opened when it becomes available."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from playhead.bootstrap import backends
from playhead.errors import CannotStart, broker_unavailable


async def test_opening_is_retried_until_the_backend_is_available(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backends, "_OPEN_AGAIN_SECONDS", 0.01)
    faults: list[Exception] = [
        broker_unavailable("it is unavailable"),
        CannotStart("setup_invalid", "its credentials can't be read"),
        ValueError("a library's own"),
        broker_unavailable("it is unavailable again"),
    ]
    opened = asyncio.Event()

    async def open_it() -> None:
        if faults:
            raise faults.pop(0)
        opened.set()

    async with AsyncExitStack() as stack, asyncio.timeout(30):
        await backends._open_or_retry(stack, open_it)
        await opened.wait()
