"""What a process has done since it started, by config and route: counters and histograms.

Each process counts for itself and writes its numbers to the catalog with every heartbeat; the catalog adds
up the numbers of all processes. So counting costs the work nothing, the numbers survive the process, and
the catalog shows the work of every machine. When a process is killed, what it has counted since its last
heartbeat is lost. Counters serve rates only; the rows are authoritative.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

Numbers = Mapping[tuple[str, str], Mapping[str, Sequence[float]]]
"""By (config, route), then by name: `[count]`, or for a histogram `[sum, count of the first interval, …]`."""

# Processes of different releases are added up. So a histogram never changes its bounds; it gets a new name.
ATTEMPT_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
AGE_BOUNDS: Final = (0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)


class Histogram:
    """How many values lie in each interval. The last interval has no upper bound.

    Attributes:
        bounds: upper bounds, ascending; each is part of its interval.
        counts: of each interval alone; one more than `bounds`.
        sum: of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(slots=True)
class RouteCounters:
    """The numbers of one route.

    Attributes:
        completed: messages that ended completed.
        retried: attempts that failed and are due again.
        dead: messages that ended as dead letters.
        released: attempts that could not be made for a reason outside the adapter.
        rate_limited: those of them in which a step raised `RateLimited`.
        replay_published: dispatches of replays that the broker has confirmed.
        replay_failed: objects of replays that were refused.
        attempt_seconds: how long the chain of an attempt ran.
        age_seconds: from the recording of a message to its completion.
    """

    completed: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    rate_limited: int = 0
    replay_published: int = 0
    replay_failed: int = 0
    attempt_seconds: Histogram = field(default_factory=lambda: Histogram(ATTEMPT_BOUNDS))
    age_seconds: Histogram = field(default_factory=lambda: Histogram(AGE_BOUNDS))

    def numbers(self) -> dict[str, list[float]]:
        """The numbers that are not zero, by name."""
        found: dict[str, list[float]] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Histogram):
                if any(value.counts):
                    found[one.name] = [value.sum, *value.counts]
            elif value:
                found[one.name] = [value]
        return found


class Counters:
    """The numbers of one process. Only the thread of its event loop may count.

    Attributes:
        on_dead: is called when a message has become a dead letter.
    """

    def __init__(self) -> None:
        self.on_dead: Callable[[], None] = lambda: None
        self._routes: dict[tuple[str, str], RouteCounters] = {}
        self._kept: Numbers = {}

    def of(self, config: str, route: str) -> RouteCounters:
        """Return the numbers of a route, to be changed."""
        found = self._routes.get((config, route))
        if found is None:
            found = self._routes[config, route] = RouteCounters()
        return found

    def count_dead(self, config: str, route: str, count: int = 1) -> None:
        """Count messages that ended as dead letters."""
        self.of(config, route).dead += count
        self.on_dead()

    @property
    def dead(self) -> int:
        """How many messages ended as dead letters, in all routes."""
        return sum(route.dead for route in self._routes.values())

    def numbers(self) -> Numbers:
        """Return a copy in the form that the catalog stores."""
        mine = {of: numbers for of, route in self._routes.items() if (numbers := route.numbers())}
        return total([mine, _negative(self._kept)]) if self._kept else mine

    def kept(self, numbers: Numbers) -> None:
        """Leave these numbers out from now on: the catalog declared this process dead and has kept them."""
        self._kept = total([self._kept, numbers])


def total(parts: Iterable[Numbers]) -> Numbers:
    """Add up numbers, name by name."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for part in parts:
        for of, names in part.items():
            mine = found.setdefault(of, {})
            for name, values in names.items():
                had = mine.get(name)
                mine[name] = (
                    list(values) if had is None else [a + b for a, b in zip(had, values, strict=True)]
                )
    return found


def _negative(numbers: Numbers) -> Numbers:
    return {
        of: {name: [-value for value in values] for name, values in names.items()}
        for of, names in numbers.items()
    }


def encode(numbers: Numbers) -> str:
    """Return numbers as JSON: `[[config, route, {name: values}], …]`."""
    return json.dumps([[*of, names] for of, names in numbers.items()], separators=(",", ":"))


def decode(text: str | None) -> Numbers:
    """Return the numbers that `encode` wrote; no numbers for None."""
    return {(config, route): names for config, route, names in json.loads(text or "[]")}
