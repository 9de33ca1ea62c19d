"""Processor time: who of those that share the cores took how much of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
OURS = "playhead"
"""What the share of this very process is called."""


def spent(pids: Iterable[int]) -> float:
    """Seconds of processor time of processes, and of their children that have ended.

    Nothing is known of processes where there is no /proc: they count as 0 there.
    """
    seconds = 0.0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name, in brackets, may hold anything; user, system and both of ended children follow.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds += sum(map(int, fields[11:15])) / _TICK
    return seconds


class Spending:
    """What each of several programs spends from the moment that this is made.

    Args:
        programs: tells the ids of each one's processes, by its name; asked again each time, as some come
            later. `OURS` is added, for this process.
    """

    def __init__(self, programs: Callable[[], Mapping[str, Iterable[int]]]) -> None:
        self._programs = programs
        self._began = self._now()

    def _now(self) -> dict[str, float]:
        return {OURS: time.process_time()} | {name: spent(pids) for name, pids in self._programs().items()}

    def so_far(self) -> dict[str, float]:
        """Seconds a program."""
        return {name: seconds - self._began[name] for name, seconds in self._now().items()}
