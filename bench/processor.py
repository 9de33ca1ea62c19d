"""Processor time of each program that shares the cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
OURS = "playhead"
"""The name under which the time of this process is reported."""


def spent(pids: Iterable[int]) -> float:
    """Return the processor time of processes and of their exited children, in seconds.

    A process that has no entry in /proc counts as 0. So do all processes on systems without /proc.
    """
    seconds = 0.0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            # The process name in parentheses may contain any character, so split after it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds += sum(map(int, fields[11:15])) / _TICK
    return seconds


class Spending:
    """Processor time that several programs use after this object is created.

    Args:
        programs: returns the process ids of each program by its name. Called for each reading, because some
            processes start later. `OURS` is added for this process.
    """

    def __init__(self, programs: Callable[[], Mapping[str, Iterable[int]]]) -> None:
        self._programs = programs
        self._began = self._now()

    def _now(self) -> dict[str, float]:
        return {OURS: time.process_time()} | {name: spent(pids) for name, pids in self._programs().items()}

    def so_far(self) -> dict[str, float]:
        """Return seconds by program."""
        return {name: seconds - self._began[name] for name, seconds in self._now().items()}
