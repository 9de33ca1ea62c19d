"""A catalog in this process's memory: the port's prose as plain code, independent of SQL.

Tests run services on it, and the other catalogs are held against it. It keeps nothing when the process
ends. Its methods never touch an event loop, and each takes effect in one step after its pause, so a
test may drive coroutines over it by hand.
"""

from __future__ import annotations

from tests.catalog_memory.code import CodePart
from tests.catalog_memory.configs import ConfigsPart
from tests.catalog_memory.jobs import JobsPart
from tests.catalog_memory.limits import LimitsPart
from tests.catalog_memory.prune import PrunePart
from tests.catalog_memory.trace import TracePart
from tests.catalog_memory.upkeep import UpkeepPart
from tests.catalog_memory.work import WorkPart


class MemoryCatalog(ConfigsPart, JobsPart, WorkPart, LimitsPart, UpkeepPart, TracePart, CodePart, PrunePart):
    """All parts of the port, over one set of tables.

    Args:
        clock: seconds since the epoch.
        heartbeat_seconds: between two beats of a process; it is dead after five missed.
        pause: awaited once at the start of every method; what follows it happens in one step.
    """

    name: str = "memory"

    async def check(self) -> str:
        await self._begin()
        return "memory of this process"

    async def close(self) -> None:
        await self._begin()


__all__ = ["MemoryCatalog"]
