"""What happened when: counts of messages by time, and marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from playhead.model import Mark, RouteTime, TimeCounts


class Activity(Protocol):
    """Counts and samples of messages by minute, kept for 30 days.

    A failure is counted in the transaction that records it. Other messages are counted with the next
    heartbeat of their process: a process that is killed loses those of its last seconds. Messages that wait
    are counted by one process, once a minute (`sample_waiting`).
    """

    async def counts_by_time(self, *, intervals: int, minutes: int) -> list[TimeCounts]:
        """Return how many messages have ended, and how many waited, in the last intervals, oldest first.

        The last one is the present interval.

        Args:
            intervals: number of intervals.
            minutes: length of one.
        """
        ...

    async def sample_waiting(self) -> None:
        """Record how many messages of each route wait now: a sample of the present minute.

        These are the pending messages of running executions, and those to be tried again. A second sample of
        the same minute replaces the numbers of the routes that it finds. Counting costs in proportion to the
        messages: a million take about 0.2 seconds.
        """
        ...

    async def failures_by_hour(self, causes: Sequence[int], *, hours: int) -> dict[int, list[int]]:
        """Return how many messages have failed for each cause in each of the last hours, oldest first."""
        ...

    async def timeline(
        self, execution: UUID, *, start: float, width: float, intervals: int, every: int = 1
    ) -> list[RouteTime]:
        """Return what workers have ended in the routes of an execution, by interval.

        Reads one of `every` messages of the execution.

        Args:
            start: beginning of the first interval, in seconds since 1970.
            width: seconds of an interval.
            intervals: their number. What has ended later counts in the last one.
        """
        ...

    async def marks(self, *, since: float) -> list[Mark]:
        """Return what happened since a time (seconds since the epoch), newest first, at most 20."""
        ...
