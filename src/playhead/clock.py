"""Two clocks that define what happens to time while the process is suspended.

A process is suspended by SIGSTOP or `docker pause`, or because its machine sleeps. Time that other
processes measure goes on meanwhile, such as the age of a heartbeat or the visibility of a delivery:
`ElapsedClock`. Time that only this process can use does not, such as the time-out of a step: `ActiveClock`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final

Clock = Callable[[], float]
"""Seconds since an arbitrary moment; never goes back."""

LONGEST_GAP_SECONDS: Final = 0.5
"""`ActiveClock` counts at most this much between two readings."""


class ElapsedClock:
    """Seconds that pass, including those in which the process is suspended or the machine sleeps.

    A wall clock that is set forward moves it too, because recorded heartbeats then look older as well.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = self._read()
        self._total = 0.0

    def __call__(self) -> float:
        with self._lock:
            now = self._read()
            self._total += max(0.0, *(new - old for new, old in zip(now, self._seen, strict=True)))
            self._seen = now
            return self._total

    @staticmethod
    def _read() -> tuple[float, float]:
        # On Linux the monotonic clock stops while the machine sleeps; on macOS it goes on.
        which = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)
        return time.monotonic() if which is None else time.clock_gettime(which), time.time()


class ActiveClock:
    """Seconds in which the process was able to run.

    A longer gap between two readings counts as half a second: the process was suspended, or was kept from
    reading. Read it at least twice a second while something is measured. Any thread may read it.

    Args:
        source: the clock that suspension does not stop.
    """

    def __init__(self, source: Clock = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._source = source
        self._seen = source()
        self._total = 0.0

    def __call__(self) -> float:
        with self._lock:
            now = self._source()
            self._total += min(max(now - self._seen, 0.0), LONGEST_GAP_SECONDS)
            self._seen = now
            return self._total


async def done_within(seconds: float, future: asyncio.Future[Any]) -> bool:
    """Wait until a future is done, for at most `seconds` in which the process can run; return whether it is.

    When a suspended process continues, its timers are due before its sockets are read. So the last half
    second always begins after the deadline was checked: an answer that has arrived is still received.
    """
    clock = ActiveClock()
    last = min(seconds, LONGEST_GAP_SECONDS)
    until = clock() + seconds - last
    while not future.done() and (left := until - clock()) > 0:
        await asyncio.wait({future}, timeout=min(left, LONGEST_GAP_SECONDS))
    if not future.done():
        await asyncio.wait({future}, timeout=last)
    return future.done()
