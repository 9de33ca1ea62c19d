"""Who is dead, as a process can judge it: by heartbeats, and by whether its own were heard."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MISSED_BEATS: Final = 5
"""After so many a process is dead."""

_SILENT_BEATS: Final = 2.5


class Liveness:
    """How old a heartbeat may be of a process that lives.

    Whoever could not say itself that it lives (a full disk, a catalog that was away, a machine that stood
    still) must not conclude from the silence of others that they are dead: theirs may have the same cause.
    Were it to, the first that comes back would take from all others what they work on: work done twice, and
    a dead letter where one attempt is allowed. So after a silence of its own, everyone who lived when that
    began counts as alive, and has five beats from its end to speak up.

    Args:
        beat: seconds between two heartbeats.
        clock: seconds that only grow; the catalog's clock is not asked, as it can't be when it is away.
    """

    def __init__(self, beat: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._beat = beat
        self._clock = clock
        self._heard: float | None = None
        self._silent_since = 0.0
        self._back: float | None = None

    def heard(self) -> None:
        """A heartbeat of this process is in the catalog."""
        now = self._clock()
        if self._heard is not None and now - self._heard > _SILENT_BEATS * self._beat:
            self._silent_since, self._back = self._heard, now
        self._heard = now

    @property
    def seconds(self) -> float:
        """The greatest age of a heartbeat of a process that is not dead."""
        now = self._clock()
        most = MISSED_BEATS * self._beat
        if self._heard is not None and now - self._heard > _SILENT_BEATS * self._beat:
            return most + now - self._heard
        if self._back is not None and now - self._back <= most:
            return most + now - self._silent_since
        return most
