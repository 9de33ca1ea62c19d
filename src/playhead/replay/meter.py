"""How fast replays are published: one meter for all clients of a process, so that all see the same rate."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from playhead.clock import Clock
from playhead.model import RatePace, Replay

_WINDOW_SECONDS: Final = 5.0
_APART_SECONDS: Final = 0.1
"""Reads that are closer together add no record, so that a window has few of them."""
_MOST_REPLAYS: Final = 1000


class Meter:
    """Measures the publishing of replays from successive reads.

    Args:
        clock: monotonic seconds.
        wall: seconds since the epoch.
    """

    def __init__(self, clock: Clock = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        # The replays that were read last; of each, when how many objects were published.
        self._seen: OrderedDict[UUID, deque[tuple[float, int]]] = OrderedDict()

    def rate(self, replay: Replay) -> float | None:
        """Return objects per second over the last five seconds; None unless a process publishes the replay.

        If this process has not read the replay for longer, the rate covers the time since its last read. At
        the first read, it is the rate that was asked for, or the average since the replay was created.
        """
        batch, published, now = replay.replay_batch_id, replay.objects_published, self._clock()
        if replay.state != "publishing" or replay.waits_for == "process":
            self._seen.pop(batch, None)
            if replay.status is None:  # queued or paused: publishing begins or continues after this read
                self._remember(batch, now, published)
            return None
        if batch not in self._seen:
            if isinstance(replay.pace, RatePace):  # the replay may have been paused for hours
                self._remember(batch, now, published)
                return replay.pace.rate
            age = self._wall() - datetime.fromisoformat(replay.created_at).timestamp()
            self._remember(batch, now - max(age, 0.0), 0)
        self._seen.move_to_end(batch)
        seen = self._seen[batch]
        if now - seen[-1][0] >= _APART_SECONDS:
            seen.append((now, published))
        # Keep the newest record that is older than the window, so that the rate covers the whole window.
        while len(seen) > 2 and seen[1][0] <= now - _WINDOW_SECONDS:
            seen.popleft()
        then, had = seen[0]
        return round(max(published - had, 0) / (now - then), 1) if now > then else None

    def _remember(self, batch: UUID, at: float, published: int) -> None:
        self._seen[batch] = deque([(at, published)])
        if len(self._seen) > _MOST_REPLAYS:
            self._seen.popitem(last=False)
