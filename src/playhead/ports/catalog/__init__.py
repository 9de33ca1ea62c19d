"""The catalog: the database of configs, executions, replays, messages and outputs.

It is where exactness lives. Every method is one transaction: when it returns, all of it is durable;
when it raises, none of it happened (`Unavailable` with code `catalog_unavailable` when the database
can't be reached or the outcome is not known; calling again is then right, as every method is
conditional). Times are by the catalog's own clock. Methods may be called from several tasks at once.

The port is split by who asks: a service takes the narrowest part it needs.
"""

from __future__ import annotations

from typing import Protocol

from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.jobs import Jobs
from playhead.ports.catalog.upkeep import Upkeep
from playhead.ports.catalog.work import Work


class Catalog(Configs, Jobs, Work, Upkeep, Browse, Protocol):
    """All parts, as a backend implements them."""

    name: str
    """What health calls this backend."""

    async def check(self) -> str:
        """Say in a few words what this catalog is; raises `Unavailable` when it can't be reached."""
        ...

    async def close(self) -> None:
        """Let go of what is held. May be called twice."""
        ...


__all__ = ["Browse", "Catalog", "Configs", "Jobs", "Upkeep", "Work"]
