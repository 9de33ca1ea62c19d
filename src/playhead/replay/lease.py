"""The lease of a job: while a process renews it, no other process tries to process the job.

Exactness does not depend on it, but on the epoch: a process that has lost the job stops at its next write.
"""

from __future__ import annotations

import contextlib
from typing import Literal

from playhead.clock import Clock
from playhead.errors import Unavailable
from playhead.ports.catalog import Jobs
from playhead.ports.catalog.jobs import LeasedJob


class Lost(Exception):
    """Another process owns the job now, or it has ended: stop without an error."""


class Lease:
    """The lease of one job.

    Args:
        seconds: the lease is renewed when a third of this time has passed.

    Attributes:
        job: the job, with its epoch; state and cursor change while its plan is checked.
        waits_for: the backend that the job waits for. It is recorded with the next renewal.
    """

    def __init__(self, catalog: Jobs, clock: Clock, job: LeasedJob, seconds: float) -> None:
        self._catalog = catalog
        self._clock = clock
        self._seconds = seconds
        self._renewed = clock()
        self._is_released = False
        self.job = job
        self.waits_for: Literal["broker", "store"] | None = None

    async def keep(self) -> None:
        """Renew the lease when a third of it has passed. Raises `Lost`."""
        if self._clock() - self._renewed < self._seconds / 3:
            return
        try:
            if not await self.renew():
                raise Lost
        except Unavailable:
            return  # the lease only decides which process tries

    async def renew(self) -> bool:
        """Renew the lease, even while a step runs. Return False if another process owns the job or it ended.

        Raises `Unavailable`.
        """
        if self._is_released:
            return False
        is_held = await self._catalog.renew(self.job, lease=self._seconds, waits_for=self.waits_for)
        if is_held:
            self._renewed = self._clock()
        return is_held

    async def release(self) -> None:
        """Release the lease, if this process still has it.

        It is not renewed after that: a renewal would take it again, and no process would work on the job.
        """
        self._is_released = True
        with contextlib.suppress(Unavailable):
            await self._catalog.release(self.job)
