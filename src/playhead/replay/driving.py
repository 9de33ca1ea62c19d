"""Which jobs this process drives, and how many at once.

A replay that a process has no room for is left to all processes: each looks for such jobs twice a second, and
takes the oldest first. So a new replay does not overtake one that waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from playhead import events
from playhead.environment import Backends, Environment
from playhead.errors import Unavailable
from playhead.ports.catalog.jobs import LeasedJob
from playhead.ports.tracer import NO_SPAN, Span
from playhead.reading.listing import PAGE
from playhead.replay.drive import Drive, DriveCatalog

PER_PROCESS: Final = 4
MAX_OBJECTS: Final = 10_000_000
_MOST_HELD: Final = 64


class Drives:
    """The jobs of one process.

    Args:
        lease: seconds; the lease of each job is renewed every third of it.
        page: how many rows are recorded or published in one step, at most.
        most: how many jobs may make progress at once.
        max_objects: how many objects a replay may have.

    Attributes:
        most_held: how many jobs are driven at most, with those that wait, for example for a full queue. Each
            job has a page in memory and renews a lease.
        spans: of replays that were created here and are not driven yet.
        own: the jobs that this process was asked to drive, if it takes over no others; None: it does.
    """

    def __init__(
        self,
        backends: Backends[DriveCatalog],
        env: Environment,
        *,
        lease: float,
        page: int = PAGE,
        most: int = PER_PROCESS,
        max_objects: int = MAX_OBJECTS,
    ) -> None:
        self._backends = backends
        self._catalog = backends.catalog
        self._env = env
        self._lease = lease
        self._page = page
        self._most = most
        self._max_objects = max_objects
        self.most_held = max(_MOST_HELD, most)
        self.spans: dict[UUID, Span] = {}
        self.own: set[UUID] | None = None
        self._begun: set[UUID] = set()
        self._drives: set[Drive] = set()
        self._is_behind = False

    @property
    def driving(self) -> set[UUID]:
        """The jobs driven here."""
        return {drive.job for drive in self._drives}

    @property
    def waiting(self) -> set[UUID]:
        """The jobs driven here that only wait: for a queue, a canary, a backend, or long for their rate."""
        return {drive.job for drive in self._drives if drive.lease.waits}

    def trouble(self, job: UUID) -> str:
        """Return the reason for missing progress if the job is driven here, else an empty text."""
        return next((drive.lease.trouble for drive in self._drives if drive.job == job), "")

    # -- begin -------------------------------------------------------------------------------------

    def begin(self, job: UUID) -> None:
        """Drive a job from now on, however many are driven here."""
        self._keep(job)
        if job not in self._begun:
            self._begun.add(job)
            self._env.spawn(self._run(job))

    def offer(self, job: UUID) -> None:
        """Drive a job if there is room, and no older one waits for it. `take` is called for it later."""
        self._keep(job)
        if self._is_behind or not self._has_room():
            with self.spans.pop(job, NO_SPAN):
                return
        self.begin(job)

    def take(self, jobs: Sequence[UUID]) -> None:
        """Drive as many of these jobs as there is room for.

        Args:
            jobs: all that no process drives, oldest first.
        """
        for job in jobs if self.own is None else [job for job in jobs if job in self.own]:
            self._is_behind = not self._has_room()
            if self._is_behind:
                return
            self.begin(job)
        self._is_behind = False

    def _keep(self, job: UUID) -> None:
        if self.own is not None:
            self.own.add(job)

    def _has_room(self) -> bool:
        # Waiting jobs have a separate limit: a queue may be full for days, and must not block other jobs.
        return len(self._begun) < self.most_held and len(self._begun - self.waiting) < self._most

    async def _run(self, job: UUID) -> None:
        try:
            await self.drive(job)
        finally:
            self._begun.discard(job)

    # -- drive -------------------------------------------------------------------------------------

    async def drive(self, job: UUID) -> None:
        """Acquire a job if it is free, and process it until it ends or another process owns it.

        It does not raise `Unavailable`: while this process has the lease, it waits for unavailable backends.
        """
        with self.spans.pop(job, NO_SPAN) as span:
            try:
                leased = await self._catalog.acquire(job, owner=self._env.process, lease=self._lease)
            except Unavailable as exc:
                events.emit(events.BACKEND_UNAVAILABLE, execution_id=str(job), detail=exc.detail)
                return
            if leased is not None:
                events.emit(events.JOB_TAKEN, execution_id=str(job), epoch=leased.epoch)
                await self._drive(leased, span)

    async def _drive(self, leased: LeasedJob, created: Span) -> None:
        headers = leased.headers
        span = created
        if span is NO_SPAN:  # a run, or a replay that another process created
            name = "replay" if headers.replay_batch_id else "run"
            span = self._env.tracer.start(name, headers.traceparent)
        span.set(
            {
                "playhead.execution_id": str(leased.job),
                "playhead.config": headers.config,
                "playhead.config_version": headers.config_version,
                "playhead.route": headers.route,
            }
        )
        if headers.replay_batch_id:
            span.set({"playhead.replay_batch_id": str(headers.replay_batch_id)})
        drive = Drive(
            self._backends,
            self._env,
            leased,
            lease=self._lease,
            page=self._page,
            max_objects=self._max_objects,
            traceparent=span.traceparent,
        )
        self._drives.add(drive)
        try:
            with span, span.current():
                await drive.run()
        finally:
            self._drives.discard(drive)

    async def renew(self) -> None:
        """Renew the leases of all jobs that are driven here. Call it every third of a lease.

        One step, such as a slow page of the store, may take longer than a lease. Without these renewals, two
        processes would take over the job from each other forever. The former owner of a job stops at its next
        write.

        Raises `Unavailable`.
        """
        for drive in list(self._drives):
            await drive.lease.renew()
