"""Counts of message rows by state, and counts that are remembered for a short time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Final, Generic, TypeVar

from playhead.backends._sql_catalog.lanes import Lane
from playhead.backends.sql import DECLARED
from playhead.model import ROW_STATES, Counts, RouteCounts, RowState

K = TypeVar("K")
T = TypeVar("T")

ByLane = Mapping[tuple[int, int], int]
"""Numbers of rows by (lane, state). With `DECLARED` as the state, rows that another state counts too."""

_MANY_ROWS: Final = 20_000
_MAX_KNOWN: Final = 1000


def add_up(by_lane: ByLane) -> Counts:
    by_state: dict[int, int] = {}
    for (_, state), count in by_lane.items():
        by_state[state] = by_state.get(state, 0) + count
    declared = by_state.pop(DECLARED, 0)
    return Counts.of({ROW_STATES[state]: count for state, count in by_state.items()}, declared)


def encode(by_lane: ByLane) -> str:
    """Counts as the row of a settled execution holds them."""
    return json.dumps([[lane, state, count] for (lane, state), count in by_lane.items()])


def decode(stored: str) -> ByLane:
    return {(lane, state): count for lane, state, count in json.loads(stored)}


def counts_by_route(lanes: Iterable[Lane], by_lane: ByLane) -> list[RouteCounts]:
    of: dict[int, dict[tuple[int, int], int]] = {}
    for (lane, state), count in by_lane.items():
        of.setdefault(lane, {})[lane, state] = count
    return [RouteCounts(lane.route, lane.queue, add_up(of.get(lane.id, {}))) for lane in lanes]


def sum_by_route(counted: Iterable[tuple[Lane, int, int]]) -> dict[tuple[str, str, RowState], int]:
    """Numbers of rows by (config, route, state), from those of (lane, state, number)."""
    found: dict[tuple[str, str, RowState], int] = {}
    for lane, state, count in counted:
        of = (lane.config, lane.route, ROW_STATES[state])  # several versions may have the route
        found[of] = found.get(of, 0) + count
    return found


class Known(Generic[K, T]):
    """Counts of many rows, each kept for some seconds.

    Counts of fewer rows are never kept, so what people see of them is never late. The number of rows decides,
    not the time that counting took: on a busy machine, counting an empty execution may take long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[K, tuple[float, T]] = {}

    def get(self, key: K) -> T | None:
        known = self._known.get(key)
        return known[1] if known and time.monotonic() - known[0] < self._seconds else None

    def keep(self, key: K, counted: T, rows: int) -> None:
        """Keep counts if there are many rows."""
        if rows >= _MANY_ROWS:
            if len(self._known) > _MAX_KNOWN:
                self._known.clear()
            self._known[key] = (time.monotonic(), counted)

    def forget(self, key: K) -> None:
        self._known.pop(key, None)
