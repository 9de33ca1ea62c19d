"""What happened in the last day: messages by time, failures by cause, and marks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from playhead import ids
from playhead.environment import Spawn
from playhead.failures import group_number
from playhead.model import DAY, Cause, Execution, Mark, RouteTime, TimeCounts
from playhead.ports.catalog.activity import Activity
from playhead.reading.background import Background, Counted

MINUTES: Final = 15
"""Length of an interval."""
HOURS: Final = 24
INTERVALS: Final = 60
"""Intervals of a timeline."""
_LEAST_SECONDS: Final = 0.001
_MOST_READ: Final = 50_000


@dataclass(frozen=True, slots=True)
class LastDay:
    """What happened in the last 24 hours.

    Attributes:
        counts: messages that have ended or waited, in intervals of 15 minutes, oldest first.
        marks: what may explain changes, newest first.
    """

    counts: Sequence[TimeCounts]
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the messages of an execution ended.

    Attributes:
        seconds: length of an interval.
        until: end of the last interval; seconds since 1970.
        every: one of this number of messages was read.
        routes: what ended in each route and interval.
    """

    seconds: float
    until: float
    every: int
    routes: Sequence[RouteTime]


class ActivityService:
    """Reads counts of messages by time, and samples how many wait.

    Args:
        spawn: starts to read a timeline.
        now: the time, in seconds since 1970.
    """

    def __init__(
        self, catalog: Activity, spawn: Spawn = asyncio.create_task, now: Callable[[], float] = ids.now
    ) -> None:
        self._catalog = catalog
        self._timelines: Background[Timeline] = Background(spawn)
        self._now = now
        self._sampled = -1

    async def sample(self) -> None:
        """Record how many messages of each route wait, unless this process has done so in this minute."""
        minute = int(self._now() // 60)
        if minute != self._sampled:
            await self._catalog.sample_waiting()
            self._sampled = minute

    async def last_day(self) -> LastDay:
        """Return what happened in the last 24 hours."""
        counts = await self._catalog.counts_by_time(intervals=HOURS * 60 // MINUTES, minutes=MINUTES)
        return LastDay(counts, await self._catalog.marks(since=self._now() - DAY))

    async def timeline(self, of: Execution, *, patience: float | None) -> Counted[Timeline]:
        """Return when the messages of an execution ended, in its routes. Of many, it reads a sample.

        After `patience` seconds (None: never), it returns the timeline before it, if there is one.
        """
        return await self._timelines.get(
            of.execution_id,
            (of.revision, of.counts),
            lambda _: self._timeline(of),
            patience=patience,
            lasts=of.ended_at is None,
        )

    async def _timeline(self, of: Execution) -> Timeline:
        start = ids.seconds(of.created_at)
        end = ids.seconds(of.ended_at) if of.ended_at else self._now()
        width = max((end - start) / INTERVALS, _LEAST_SECONDS)
        every = -(-of.counts.total // _MOST_READ) or 1
        found = await self._catalog.timeline(
            of.execution_id, start=start, width=width, intervals=INTERVALS, every=every
        )
        return Timeline(width, end, every, found)

    async def failures(self, causes: Sequence[Cause]) -> dict[str, list[int]]:
        """Return how many messages have failed for each cause in each of the last 24 hours, oldest first."""
        numbers = {group_number(one.id): one.id for one in causes}
        found = await self._catalog.failures_by_hour(list(numbers), hours=HOURS)
        return {numbers[n]: hours for n, hours in found.items()}
