"""How the deliveries of a queue are shared between its levels, unless the server does it."""

from __future__ import annotations

from typing import Final

_EVERY: Final = 5
"""One in this many deliveries is bulk while both levels have ready dispatches."""


class Levels:
    """Counts the deliveries of one queue in this process. Each process keeps the share by itself."""

    def __init__(self) -> None:
        self._normal = 0

    def owed(self, limit: int) -> int:
        """Return the number of bulk dispatches among the next `limit` deliveries, if enough are ready."""
        return (self._normal + limit) // _EVERY

    def received(self, normal: int, bulk: int) -> None:
        """Count deliveries. The share that an empty level did not use is not saved up."""
        self._normal = min(max(self._normal + normal - bulk * (_EVERY - 1), 0), _EVERY - 1)
