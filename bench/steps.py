"""Adapters with a known cost."""

from __future__ import annotations

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
