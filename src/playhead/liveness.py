"""Who is dead, as a process can judge it: by heartbeats, and by whether its own were heard."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final

MISSED_BEATS: Final = 5
"""After so many a process is dead."""

_SILENT_BEATS: Final = 2.5
_MOST_IN_A_ROW: Final = 3


class Seconds:
    """A clock that only grows: also while the machine sleeps, and when its wall clock is set forward.
    Heartbeats grow old then, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = self._look()
        self._total = 0.0

    def __call__(self) -> float:
        with self._lock:
            now = self._look()
            self._total += max(0.0, *(new - old for new, old in zip(now, self._seen, strict=True)))
            self._seen = now
            return self._total

    @staticmethod
    def _look() -> tuple[float, float]:
        # On Linux the monotonic clock stands still in sleep; that of macOS by this name does not.
        which = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)
        return time.monotonic() if which is None else time.clock_gettime(which), time.time()


class Liveness:
    """How old a heartbeat may be of a process that lives.

    Whoever could not say itself that it lives (a full disk, a catalog that was away, a machine that slept)
    must not conclude from the silence of others that they are dead: theirs may have the same cause. Were it
    to, the first that comes back would take from all others what they work on: work done twice, and a dead
    letter where one attempt is allowed. So after a silence of its own, everyone who lived when that began
    counts as alive, and has five beats from its end to speak up. The same goes for who has just begun: it
    can't know why others are not heard, unless they ran on this machine and do no more.

    Args:
        beat: seconds between two heartbeats.
        clock: seconds that only grow; the catalog's clock is not asked, as it can't be when it is away.
    """

    def __init__(self, beat: float, clock: Callable[[], float] | None = None) -> None:
        self._beat = beat
        self._clock = clock or Seconds()
        self._heard: float | None = None
        self._silent_since = 0.0
        self._back: float | None = None
        self._in_a_row = 0

    def heard(self, longest: float | None = None) -> None:
        """A heartbeat of this process is in the catalog.

        Args:
            longest: of the first one: seconds for which another process that may live has not been heard, at
                most; None without any.
        """
        now = self._clock()
        if self._heard is not None and self._is_long(now - self._heard):
            self._silent_since = self._silence()
            self._in_a_row = self._in_a_row + 1 if self._silent_since != self._heard else 0
            self._back = now
        elif self._heard is None and longest is not None and self._is_long(longest):
            self._silent_since, self._back = now - longest, now
        self._heard = now

    @property
    def seconds(self) -> float:
        """The greatest age of a heartbeat of a process that is not dead."""
        now = self._clock()
        if self._heard is not None and self._is_long(now - self._heard):
            return self._most + now - self._silence()
        if self._waits_for_others(now):
            return self._most + now - self._silent_since
        return self._most

    @property
    def _most(self) -> float:
        return MISSED_BEATS * self._beat

    def _is_long(self, seconds: float) -> bool:
        return seconds > _SILENT_BEATS * self._beat

    def _waits_for_others(self, now: float) -> bool:
        return self._back is not None and now - self._back <= self._most

    def _silence(self) -> float:
        """When the silence began that ends now. One that follows before all others could speak is the same,
        though not for ever: a process that is always late would take nobody for dead."""
        assert self._heard is not None
        same = self._in_a_row < _MOST_IN_A_ROW and self._waits_for_others(self._heard)
        return self._silent_since if same else self._heard


def may_live(host: str, pid: int, *, here: str) -> bool:
    """Whether a process may be there, as far as this machine (`here`) can tell."""
    if host != here:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # somebody else's, or no number of a process at all
    return True
