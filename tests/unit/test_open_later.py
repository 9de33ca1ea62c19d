"""A backend that is unavailable at the start is opened when it becomes available."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

import pytest

from playhead import events
from playhead.bootstrap.backends import open_or_retry
from playhead.errors import CannotStart, broker_unavailable
from tests.waiting import until


async def test_opening_is_retried_until_the_backend_is_available(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "playhead")
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
        await open_or_retry(stack, open_it, retry_seconds=0.01)
        assert not opened.is_set()  # it does not wait for the backend
        await opened.wait()
        await until(lambda: events.BACKEND_BACK in caplog.messages)

    assert caplog.messages == [
        events.BACKEND_UNAVAILABLE,
        *[events.LOOP_FAILED] * 2,
        events.BACKEND_BACK,
    ]
