"""Adapters whose cost is known."""

from __future__ import annotations

import time

from playhead import Item, Output, adapter

BUSY_MILLISECONDS = 2


@adapter("busy")
def busy(item: Item) -> Output:
    """Hand an item on after two milliseconds of processor time, by this thread's own clock.

    All of it is Python's, so the threads of one worker take turns at it, as they do with most adapters.
    """
    until = time.thread_time() + BUSY_MILLISECONDS / 1000
    while time.thread_time() < until:
        sum(range(200))
    return item.derive(item.data)
