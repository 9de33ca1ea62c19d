"""The lease of a job: while a process renews it, no other process tries to process the job.

Exactness does not depend on it, but on the epoch: a process that has lost the job stops at its next write.
"""

from __future__ import annotations

import contextlib
from typing import Literal

from playhead.environment import Environment
from playhead.errors import Unavailable
from playhead.ports.catalog import Jobs
from playhead.ports.catalog.jobs import LeasedJob

_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 5.0


class Lost(Exception):
    """Another process owns the job now, or it has ended: stop without an error."""


class Lease:
    """The lease of one job, and why the job makes no progress.

    Args:
        seconds: the lease is renewed when a third of this time has passed.

    Attributes:
        job: the job, with its epoch; its state and `checked` change while its plan is checked.
        trouble: why the job makes no progress now; empty while it does.
        waits: whether the job only waits: for a queue, a canary, a backend, or long for its rate.
    """

    def __init__(self, catalog: Jobs, env: Environment, job: LeasedJob, seconds: float) -> None:
        self._catalog = catalog
        self._env = env
        self._seconds = seconds
        self._renewed = env.clock()
        self._is_released = False
        self._delay = _FIRST_DELAY_SECONDS
        self._waits_for: Literal["broker", "store"] | None = None
        self.job = job
        self.trouble = ""
        self.waits = False

    async def keep(self) -> None:
        """Renew the lease when a third of it has passed. Raises `Lost`."""
        if self._env.clock() - self._renewed < self._seconds / 3:
            return
        try:
            if not await self.renew():
                raise Lost
        except Unavailable:
            return  # the lease only decides which process tries

    def report(self, trouble: str = "", waits_for: Literal["broker", "store"] | None = None) -> None:
        """Show why the job makes no progress. The next renewal records the backend."""
        self.trouble, self._waits_for = trouble, waits_for

    def made_progress(self) -> None:
        """Let the next wait be short."""
        self._delay = _FIRST_DELAY_SECONDS

    async def wait_longer(self) -> None:
        """Wait, each time twice as long as before, and keep the lease. Raises `Lost`."""
        self.waits = True
        try:
            await self._env.sleep(self._delay)
        finally:
            self.waits = False
        self._delay = min(self._delay * 2, _LONGEST_DELAY_SECONDS)
        await self.keep()

    async def renew(self) -> bool:
        """Renew the lease, even while a step runs. Return False if another process owns the job or it ended.

        Raises `Unavailable`.
        """
        if self._is_released:
            return False
        is_held = await self._catalog.renew(self.job, lease=self._seconds, waits_for=self._waits_for)
        if is_held:
            self._renewed = self._env.clock()
        return is_held

    async def release(self) -> None:
        """Release the lease, if this process still has it.

        It is not renewed after that: a renewal would take it again, and no process would work on the job.
        """
        self._is_released = True
        with contextlib.suppress(Unavailable):
            await self._catalog.release(self.job)
