"""Adapters with a known cost."""

from __future__ import annotations

import asyncio
import time

from playhead import Item, Output, adapter

BUSY_MILLISECONDS = 2


@adapter("busy")
def busy(item: Item) -> Output:
    """Return the item unchanged after two milliseconds of processor time of this thread.

    The work is pure Python, so only one thread of a worker runs at a time, as with most adapters.
    """
    until = time.thread_time() + BUSY_MILLISECONDS / 1000
    while time.thread_time() < until:
        sum(range(200))
    return item.derive(item.data)


@adapter("wait_2")
def wait_2(item: Item) -> Output:
    """Return the item unchanged after a wait of 2 ms, which uses no processor time."""
    time.sleep(0.002)
    return item.derive(item.data)


@adapter("async_wait_2")
async def async_wait_2(item: Item) -> Output:
    """Return the item unchanged after 2 ms, during which the event loop is free."""
    await asyncio.sleep(0.002)
    return item.derive(item.data)


@adapter("async_wait_50")
async def async_wait_50(item: Item) -> Output:
    """Return the item unchanged after 50 ms, during which the event loop is free."""
    await asyncio.sleep(0.05)
    return item.derive(item.data)
