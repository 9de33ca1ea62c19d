"""Which processes are dead, as one process can decide it: by their heartbeats, and by its own."""

from __future__ import annotations

import os
from typing import Final

from playhead.clock import Clock, ElapsedClock

MISSED_BEATS: Final = 5
"""A process is dead after this number of missed heartbeats."""

_SILENT_BEATS: Final = 2.5
_MOST_IN_A_ROW: Final = 3


class Liveness:
    """How old a heartbeat may be before its process counts as dead.

    A process may fail to record its own heartbeats: its disk is full, the catalog is unavailable, or the
    machine slept. Then it must not conclude from missing heartbeats that other processes are dead, because
    they may have failed for the same reason. Otherwise the first process that recovers would take over the
    work of all others. That work would run twice, and a message with one attempt would become a dead letter.

    So after it was silent itself, a process treats every process that was alive when the silence began as
    alive. Those processes have five beats, counted from the end of the silence, to record a heartbeat. The
    same holds for a process that has just started: it cannot tell why others are silent, unless they ran
    on its own machine and are gone.

    Args:
        beat: seconds between two heartbeats.
        clock: elapsed seconds. It is not the catalog's clock, which cannot be read while the catalog is
            unavailable.

    Attributes:
        beat: as given.
    """

    def __init__(self, beat: float, clock: Clock | None = None) -> None:
        self.beat = beat
        self._clock = clock or ElapsedClock()
        self._last_beat: float | None = None
        self._silent_since = 0.0
        self._back: float | None = None
        self._in_a_row = 0

    def record_beat(self, longest: float | None = None) -> None:
        """Note that a heartbeat of this process is in the catalog.

        Args:
            longest: for the first heartbeat: the greatest age, in seconds, of the heartbeat of another
                process that may be alive. None if there is no other process.
        """
        now = self._clock()
        if self._last_beat is not None and self._is_long(now - self._last_beat):
            self._silent_since = self._silence_began()
            self._in_a_row = self._in_a_row + 1 if self._silent_since != self._last_beat else 0
            self._back = now
        elif self._last_beat is None and longest is not None and self._is_long(longest):
            self._silent_since, self._back = now - longest, now
        self._last_beat = now

    @property
    def seconds(self) -> float:
        """The greatest age of the heartbeat of a process that counts as alive."""
        now = self._clock()
        if self._last_beat is not None and self._is_long(now - self._last_beat):
            return self.five_beats + now - self._silence_began()
        if self._waits_for_others(now):
            return self.five_beats + now - self._silent_since
        return self.five_beats

    @property
    def five_beats(self) -> float:
        """What `seconds` is, in a process that was never silent."""
        return MISSED_BEATS * self.beat

    def _is_long(self, seconds: float) -> bool:
        return seconds > _SILENT_BEATS * self.beat

    def _waits_for_others(self, now: float) -> bool:
        return self._back is not None and now - self._back <= self.five_beats

    def _silence_began(self) -> float:
        """When the silence that ends now began.

        A silence that follows before all others had time to beat continues the one before. This is limited,
        because a process that always beats late would otherwise never declare another process dead.
        """
        assert self._last_beat is not None
        same = self._in_a_row < _MOST_IN_A_ROW and self._waits_for_others(self._last_beat)
        return self._silent_since if same else self._last_beat


def may_live(host: str, pid: int, *, here: str) -> bool:
    """Return whether a process may exist, as far as this machine (`here`) can tell."""
    if host != here:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it belongs to another user, or the number is not a process id
    return True
