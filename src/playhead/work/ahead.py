"""How many deliveries a consumer holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from playhead.model import Route
from playhead.work.completion import MOST_ATTEMPTS

_AHEAD_SECONDS: Final = 0.4
_AHEAD_BYTES: Final = 64 << 20
_GROWTH: Final = 4
_WEIGHT: Final = 1 / 32
"""Of the latest value in an average."""


class Ahead:
    """Decides how many deliveries a consumer holds: what its slots can run in 0.4 s.

    So the messages of a fast step are claimed and finished in large batches, and a slow step holds no more
    messages than it can run. This depends on how long steps run, and not on how many messages were finished
    lately: with a slow catalog or store, small batches would finish fewer messages, and become even smaller.
    The number is at most four times the number of messages that have run, because the first ones may be
    faster than the others.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._bytes = 0.0
        self._count = 0

    def ran(self, seconds: Iterable[float | None]) -> None:
        """Note how long chains ran; None for a chain that did not run."""
        for one in seconds:
            if one is not None:
                self._seconds += (one - self._seconds) * (_WEIGHT if self._count else 1)
                self._count += 1

    def read(self, sizes: Iterable[int]) -> None:
        """Note how large inputs were, in bytes."""
        for size in sizes:
            self._bytes += (size - self._bytes) * _WEIGHT

    def target(self, route: Route, batch: int = 1) -> int:
        """Return how many deliveries to hold; at least as many as can run, and with batches the next ones.

        Args:
            batch: how many messages share a call; `concurrency` counts calls.
        """
        at_once = route.concurrency * batch
        if route.prefetch is not None:
            return max(route.prefetch, at_once)
        most = min(MOST_ATTEMPTS, _GROWTH * self._count)
        if self._seconds * most > at_once * _AHEAD_SECONDS:
            most = int(at_once * _AHEAD_SECONDS / self._seconds)
        if self._bytes * most > _AHEAD_BYTES:
            most = int(_AHEAD_BYTES / self._bytes)
        return max(most, at_once if batch == 1 else 2 * at_once)
