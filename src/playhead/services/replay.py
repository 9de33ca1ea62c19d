"""Replay: send the objects of a stored stage into a route.

This module has the part that a caller sees: the checks, the record, and the wait for the answer. The record
is a job.
`engine.drive` describes how a job is processed, and why a `kill -9` at any line of it is harmless.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from playhead import events, faults
from playhead.engine import request as request_checks
from playhead.engine.codecheck import CodeCheck, Warn, no_warning
from playhead.engine.drive import Drive
from playhead.engine.environment import Backends, Environment
from playhead.engine.listing import PAGE, Listing
from playhead.errors import NotFound, ReplayContinues, Unavailable
from playhead.ids import follow, uuid7
from playhead.model import UNCERTAIN, Replay, ReplayRequest
from playhead.ports.catalog import Browse, Configs, Jobs, Work
from playhead.ports.catalog.jobs import LeasedJob
from playhead.ports.tracer import NO_SPAN, Span

_FIRST_CHECK_SECONDS = 0.002
_CHECK_SECONDS = 0.1
_CHECKS_AFTER_LOST_ANSWER = 5
_CHECK_LOST_ANSWER_SECONDS = 1.0


class ReplayCatalog(Configs, Jobs, Work, Browse, Protocol): ...


class ReplayService:
    """Creates replays, drives jobs, and answers waiting callers.

    Args:
        lease: seconds; the lease of each job is renewed every third of it.
        settle: seconds without progress after which a waiting caller is answered.
        page: how many rows are recorded or published in one step, at most.
        code: compares the code of the workers; None: it is not compared.

    Attributes:
        stopping: the process shuts down; waiting callers are answered at once.
    """

    def __init__(
        self,
        backends: Backends[ReplayCatalog],
        env: Environment,
        *,
        lease: float,
        settle: float,
        page: int = PAGE,
        code: CodeCheck | None = None,
    ) -> None:
        self._backends = backends
        self._catalog, self._broker, store = backends
        self._env = env
        self._lease = lease
        self._settle = settle
        self._page = page
        self._code = code
        self._spans: dict[UUID, Span] = {}
        self._listing = Listing(backends.catalog, store)
        self._drives: set[Drive] = set()
        self.stopping = False

    # -- create ------------------------------------------------------------------------------------

    async def create(self, request: ReplayRequest, warn: Warn = no_warning) -> Replay:
        """Check the request in the contract's order and record the replay. Nothing is published yet.

        `warn` is called with warnings about the code of the workers.

        Raises:
            BadRequest: `invalid_path`, `route_ambiguous`.
            NotFound: `execution_not_found`, `stage_not_found`, `route_not_found`, `no_objects`.
            Conflict: `config_inactive`, `stage_pruned`, `code_differs`.
            Unavailable: nothing was recorded; or the detail says that this is not known.
        """
        about: dict[str, str | int] = {
            "playhead.from_execution_id": str(request.from_execution_id),
            "playhead.from_stage": request.from_stage,
            "playhead.to_route": request.to_route,
        }
        tracer = self._env.tracer
        span = tracer.start("replay", tracer.current(), about)
        try:
            created = await self._create(request, span.traceparent, warn)
        except BaseException as exc:
            span.__exit__(type(exc), exc, exc.__traceback__)
            raise
        if tracer.on:
            self._spans[created.execution_id] = span  # `drive` continues it if this process gets the job
        return created

    async def _create(self, request: ReplayRequest, traceparent: str | None, warn: Warn) -> Replay:
        found = await request_checks.resolve(self._catalog, self._listing, request)
        source, loaded, route = found.source, found.loaded, found.route
        await request_checks.check_objects(self._listing, request, found)
        if self._code:
            for warning in await self._code.check(loaded.config, route, required=request.require_code):
                warn(warning)
        # If the broker is unavailable, record nothing, so that the caller gets the error at once.
        await self._broker.check()
        if source.kind == "adopted":
            await self._catalog.adopt(request.from_execution_id)
        follow(await self._catalog.newest_execution())
        batch = uuid7()
        try:
            created, _ = await self._catalog.open_replay(
                batch=batch,
                source=request.from_execution_id,
                stage=request.from_stage,
                path=request.from_path,
                prefix=found.prefix,
                to_route=request.to_route,
                config=loaded.version.name,
                version=loaded.version.version,
                route=route,
                traceparent=traceparent,
            )
        except Unavailable as exc:
            created = await self._find_recorded(batch, exc)
        faults.reach("replay.created")
        return created

    async def _find_recorded(self, batch: UUID, exc: Unavailable) -> Replay:
        """Return the replay if it was recorded although the answer was lost.

        A caller that gets an error would send the request again, and everything would be published twice.
        """
        for _ in range(_CHECKS_AFTER_LOST_ANSWER):
            await self._env.sleep(_CHECK_LOST_ANSWER_SECONDS)
            try:
                if found := await self._catalog.replay(batch):
                    return found
            except Unavailable as again:
                exc = again
            else:
                raise exc  # it was not recorded
        raise Unavailable(
            exc.code,
            f"{exc.detail}; it is not known whether the replay was recorded. When the catalog is available "
            f"again, check whether `playhead replays` lists batch {batch} before you repeat the request",
        )

    # -- wait --------------------------------------------------------------------------------------

    async def execute(self, request: ReplayRequest, warn: Warn = no_warning) -> Replay:
        """Create a replay, drive it, and answer from its row, whichever process ends it.

        Raises what `create` raises, and `ReplayContinues` if the answer cannot be waited for.
        """
        created = await self.create(request, warn)
        self._env.spawn(self.drive(created.execution_id))
        return await self.wait(created)

    async def wait(self, created: Replay) -> Replay:
        """Wait until publishing has ended, or nothing has progressed for the settle time."""
        batch, job = created.replay_batch_id, created.execution_id
        clock = self._env.clock
        seen: tuple[int, ...] = ()
        began = since = clock()
        while True:
            overdue = clock() - since > self._settle
            try:
                # Read before the numbers: if the listing has ended, the numbers include every object.
                is_listed = overdue and await self._catalog.is_listed(job)
                now = await self._catalog.replay(batch)
            except Unavailable as exc:
                if clock() - since > self._settle:
                    raise ReplayContinues(batch, f"{exc.detail}; the replay continues") from exc
                await self._env.sleep(_CHECK_SECONDS)
                continue
            if now is None:
                raise NotFound("replay_not_found", f"replay {batch} is no longer in the catalog")
            if now.status is not None:
                return now
            self._check_progresses(now)
            numbers = (now.objects_found, now.objects_published, now.objects_failed)
            if numbers != seen:
                seen, since = numbers, clock()
            elif overdue:  # compared after the read: this process may have been suspended
                return self._unsettled(now, is_listed=is_listed)
            read_at = clock()
            while True:
                # The answer comes at most a twentieth of the total time after the end of publishing.
                await self._env.sleep(min(max(_FIRST_CHECK_SECONDS, (clock() - began) / 20), _CHECK_SECONDS))
                # While this process drives the job, it has not ended.
                if job not in self.driving or clock() - read_at >= _CHECK_SECONDS:
                    break

    def _check_progresses(self, replay: Replay) -> None:
        """Raise `ReplayContinues` if this process cannot wait for the end of a replay."""
        batch, job = replay.replay_batch_id, replay.execution_id
        if self.stopping:
            raise ReplayContinues(
                batch, "this server shuts down; the replay continues in another process, or after a restart"
            )
        if replay.state == "stalled":
            events.emit(events.JOB_STALLED, logging.ERROR, execution_id=str(job))
            raise ReplayContinues(
                batch,
                "five processes in a row ended while they listed it, without progress, so no process "
                f"continues it. Read their logs, run `playhead cancel {job}`, and replay again",
            )

    def _unsettled(self, now: Replay, *, is_listed: bool) -> Replay:
        """Return the answer for a replay that has made no progress for the settle time.

        Rows that are not settled count as failed. Raises `ReplayContinues` while listing goes on, because
        then the number of objects is not known.
        """
        if not is_listed:
            why = f"listing has made no progress for {self._settle:g} s, and continues"
            trouble = self._trouble(now.execution_id)
            raise ReplayContinues(now.replay_batch_id, f"{why} ({trouble})" if trouble else why)
        failed = now.objects_found - now.objects_published
        return replace(
            now,
            objects_failed=failed,
            # If none failed, everything is published; only the job's own end is not recorded yet.
            status="partial_failure" if failed else "publishing_complete",
            errors=self._with_trouble(now),
        )

    def _with_trouble(self, replay: Replay) -> list[str] | None:
        """Return the errors, with the reason for the missing progress if the job is driven here."""
        trouble, errors = self._trouble(replay.execution_id), replay.errors
        if not trouble or not errors:
            return errors
        return [f"{line}: {trouble}" if line.endswith(UNCERTAIN) else line for line in errors]

    def _trouble(self, job: UUID) -> str:
        """Return the reason for missing progress if the job is driven here, else an empty text."""
        return next((drive.trouble for drive in self._drives if drive.job == job), "")

    # -- drive -------------------------------------------------------------------------------------

    @property
    def driving(self) -> set[UUID]:
        """The jobs driven here."""
        return {drive.job for drive in self._drives}

    @property
    def waiting(self) -> set[UUID]:
        """The jobs driven here that only wait at the moment: for a full queue, or for a backend."""
        return {drive.job for drive in self._drives if drive.waits}

    async def drive(self, job: UUID) -> None:
        """Acquire a job if it is free, and process it until it ends or another process owns it.

        It does not raise `Unavailable`: while this process has the lease, it waits for unavailable backends.
        """
        with self._spans.pop(job, NO_SPAN) as span:
            try:
                leased = await self._catalog.acquire(job, owner=self._env.process, lease=self._lease)
            except Unavailable as exc:
                events.emit(
                    events.BACKEND_UNAVAILABLE, logging.WARNING, execution_id=str(job), detail=exc.detail
                )
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
            await drive.renew()
