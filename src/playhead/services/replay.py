"""Replay: play a stored stage into a route. This is what Playhead is for.

This is the part that a caller sees: the checks, the record, the wait. What it records is a job, and
`engine.drive` says how a job is worked and why a `kill -9` at any line of it is harmless.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from shlex import join, quote
from typing import Any, Protocol
from uuid import UUID

from playhead import events, faults
from playhead.counters import Counters
from playhead.engine.drive import Begin, Drive
from playhead.engine.listing import PAGE, Listing
from playhead.engine.relay import Sleep
from playhead.errors import BadRequest, Conflict, NotFound, ReplayContinues, Unavailable
from playhead.ids import uuid7
from playhead.keys import check_path
from playhead.model import UNCERTAIN, Execution, Replay
from playhead.ports.broker import Broker
from playhead.ports.catalog import Browse, Configs, Jobs, Work
from playhead.ports.catalog.configs import Loaded
from playhead.ports.store import Store
from playhead.ports.tracer import NO_SPAN, OFF, Span, Tracer

_FIRST_LOOK_SECONDS = 0.002
_LOOK_SECONDS = 0.1
_LOOKS_AGAIN = 5
_LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """The contract's request. `from_path` None or "": the whole stage."""

    from_execution_id: UUID
    from_stage: str
    from_path: str | None
    to_route: str


class ReplayCatalog(Configs, Jobs, Work, Browse, Protocol): ...


class ReplayService:
    """Creates replays, drives jobs, and answers those who wait.

    Args:
        owner: this process, the holder of leases.
        lease: seconds; renewed every third of it.
        settle: seconds without progress after which a waiting caller is answered.
        spawn: starts a coroutine that outlives its caller.
        tracer: begins a span for each replay, from its creation to the end of its publishing.
    """

    def __init__(
        self,
        catalog: ReplayCatalog,
        store: Store,
        broker: Broker,
        *,
        owner: str,
        lease: float,
        settle: float,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        sleep: Sleep = asyncio.sleep,
        begin: Begin = asyncio.create_task,
        page: int = PAGE,
        clock: Callable[[], float] = time.monotonic,
        counters: Counters | None = None,
        tracer: Tracer = OFF,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._broker = broker
        self._owner = owner
        self._lease = lease
        self._settle = settle
        self._spawn = spawn
        self._sleep = sleep
        self._begin = begin
        self._page = page
        self._clock = clock
        self._counters = counters or Counters()
        self._tracer = tracer
        self._begun: dict[UUID, Span] = {}
        self._listing = Listing(catalog, store)
        self._driving: set[Drive] = set()
        self.stopping = False

    # -- creating ----------------------------------------------------------------------------------

    async def create(self, request: ReplayRequest) -> Replay:
        """Check the request in the contract's order and record the replay. Nothing is published yet.

        Raises:
            BadRequest: `invalid_path`, `route_ambiguous`.
            NotFound: `execution_not_found`, `stage_not_found`, `route_not_found`, `no_objects`.
            Conflict: `config_inactive`.
            Unavailable: nothing was recorded; or, as it says then, that can't be known for now.
        """
        about = {
            "playhead.from_execution_id": str(request.from_execution_id),
            "playhead.from_stage": request.from_stage,
            "playhead.to_route": request.to_route,
        }
        span = self._tracer.start("replay", self._tracer.current(), about)
        try:
            made = await self._create(request, span.traceparent)
        except BaseException as exc:
            span.__exit__(type(exc), exc, exc.__traceback__)
            raise
        if self._tracer.on:
            self._begun[made.execution_id] = span  # whoever drives it here goes on with it
        return made

    async def _create(self, request: ReplayRequest, traceparent: str | None) -> Replay:
        stage = check_path(request.from_stage, "from_stage")
        path = (request.from_path or "").removesuffix("/")
        if path or request.from_path not in (None, ""):
            check_path(path, "from_path")
        source = await self._source(request.from_execution_id)
        await self._listing.check_stage(source, stage)
        target, route = await self._resolve(source, request.to_route)
        prefix = f"{request.from_execution_id}/{stage}" + (f"/{path}" if path else "")
        if not await self._listing.any_object(prefix):
            raise _no_objects(request, source, prefix)
        # Where nothing could be published, nothing is recorded either: the caller is told at once.
        await self._broker.check()
        if source.kind == "adopted":
            await self._catalog.adopt(request.from_execution_id)
        batch = uuid7()
        try:
            made = await self._catalog.open_replay(
                batch=batch,
                source=request.from_execution_id,
                stage=request.from_stage,
                path=request.from_path,
                prefix=prefix,
                to_route=request.to_route,
                config=target.version.name,
                version=target.version.version,
                route=route,
                traceparent=traceparent,
            )
        except Unavailable as exc:
            made = await self._unheard(batch, exc)
        faults.reach("replay.created")
        return made

    async def _unheard(self, batch: UUID, away: Unavailable) -> Replay:
        """The replay that was recorded though its answer was lost: told that it failed, a caller would
        send everything a second time."""
        for _ in range(_LOOKS_AGAIN):
            await self._sleep(_LOOK_AGAIN_SECONDS)
            try:
                if found := await self._catalog.replay(batch):
                    return found
            except Unavailable as exc:
                away = exc
            else:
                raise away  # it never happened
        raise Unavailable(
            away.code,
            f"{away.detail}; whether the replay was recorded is not known: once the catalog is back, look "
            f"whether there is a batch {batch} (`playhead replays`) before you send it again",
        )

    async def _source(self, execution_id: UUID) -> Execution:
        """The source execution, from the catalog or, made by others, as the store shows it."""
        found = await self._catalog.execution(execution_id)
        if found is None:
            found = await self._listing.adoptable(execution_id)
        if found is None:
            raise NotFound(
                "execution_not_found",
                f"there is no execution {execution_id}, neither in the catalog nor in the store: "
                "`playhead executions` shows what there is",
            )
        return found

    async def _resolve(self, source: Execution, to_route: str) -> tuple[Loaded, str]:
        """The config version and the route that `to_route` means, once and for all."""
        name, slash, route = to_route.partition("/")
        if slash:
            # No name holds a NUL, and PostgreSQL takes no text with one.
            loaded = None if "\0" in name else await self._catalog.config(name)
            if loaded is None or route not in loaded.config.routes:
                has = (
                    f"its routes: {', '.join(loaded.config.routes)}"
                    if loaded
                    else f"there is no config {name!r}"
                )
                raise NotFound("route_not_found", f"there is no route {to_route!r}: {has}")
            return self._active(loaded), route
        route = to_route
        own = source.config
        if own:
            loaded = await self._catalog.config(own)
            if loaded and route in loaded.config.routes:
                return self._active(loaded), route
            if loaded and await self._once_had(own, loaded.version.version, route):
                raise NotFound(
                    "route_not_found",
                    f"config {own!r} had a route {route!r} in an earlier version, but version "
                    f"{loaded.version.version} has not; its routes: {', '.join(loaded.config.routes)}",
                )
        everywhere = [c for c in await self._catalog.active_configs() if c.version.name != own]
        having = [c for c in everywhere if route in c.config.routes]
        if len(having) == 1:
            return having[0], route
        if having:
            candidates = ", ".join(f"{c.version.name}/{route}" for c in having)
            raise BadRequest(
                "route_ambiguous", f"more than one config has a route {route!r}; name one of: {candidates}"
            )
        known = [r for c in everywhere for r in c.config.routes]
        if own and (loaded := await self._catalog.config(own)):
            known += loaded.config.routes
        near = difflib.get_close_matches(route, known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise NotFound("route_not_found", f"no active config has a route {route!r}.{hint}")

    def _active(self, loaded: Loaded) -> Loaded:
        if not loaded.version.active:
            name = loaded.version.name
            raise Conflict(
                "config_inactive", f"config {name!r} is deactivated: `playhead config activate {name}`"
            )
        return loaded

    async def _once_had(self, config: str, newest: int, route: str) -> bool:
        for version in range(newest - 1, 0, -1):
            loaded = await self._catalog.config(config, version)
            if loaded and route in loaded.config.routes:
                return True
        return False

    # -- waiting -----------------------------------------------------------------------------------

    async def execute(self, request: ReplayRequest) -> Replay:
        """Create a replay, see that it is driven, and answer from its row, whoever ends it.

        Raises what `create` raises, and `ReplayContinues` when the answer can't be waited for.
        """
        made = await self.create(request)
        self._spawn(self.drive(made.execution_id))
        return await self.wait(made)

    async def wait(self, made: Replay) -> Replay:
        """Wait until publishing has ended, or nothing has moved for the settle time."""
        batch, job = made.replay_batch_id, made.execution_id
        seen: tuple[int, ...] = ()
        since = self._clock()
        began = since
        while True:
            overdue = self._clock() - since > self._settle
            try:
                # Asked before the numbers are read: then they are of all that will ever be found.
                listed = overdue and await self._catalog.is_listed(job)
                now = await self._catalog.replay(batch)
            except Unavailable as exc:
                if self._clock() - since > self._settle:
                    raise ReplayContinues(batch, f"{exc.detail}; the replay goes on") from exc
                await self._sleep(_LOOK_SECONDS)
                continue
            if now is None:
                raise NotFound("replay_not_found", f"replay {batch} has vanished from the catalog")
            if now.status is not None:
                return now
            if self.stopping:
                raise ReplayContinues(
                    batch, "this server is stopping; the replay goes on elsewhere or when it is back"
                )
            if now.state == "stalled":
                events.emit(events.JOB_STALLED, logging.ERROR, execution_id=str(job))
                raise ReplayContinues(
                    batch,
                    "its listing ended five processes in a row without progress, so nobody goes on: "
                    f"look at their logs, `playhead cancel {job}`, and replay once more",
                )
            numbers = (now.objects_found, now.objects_published, now.objects_failed)
            if numbers != seen:
                seen, since = numbers, self._clock()
            elif overdue:  # and nothing has moved since, though this process may have stood still
                if not listed:
                    why = f"listing has made no progress for {self._settle:g} s, and goes on"
                    trouble = self._trouble(job)
                    raise ReplayContinues(batch, f"{why} ({trouble})" if trouble else why)
                failed = now.objects_found - now.objects_published
                return replace(
                    now,
                    objects_failed=failed,
                    # None failed: all is published, and only the last word on the job is not written yet.
                    status="partial_failure" if failed else "publishing_complete",
                    errors=self._with_trouble(job, now.errors),
                )
            # So often that nobody is answered more than a twentieth later than need be.
            await self._sleep(min(max(_FIRST_LOOK_SECONDS, (self._clock() - began) / 20), _LOOK_SECONDS))

    def _with_trouble(self, job: UUID, errors: list[str] | None) -> list[str] | None:
        """The errors, with what keeps the replay from getting on, where it is driven here."""
        trouble = self._trouble(job)
        if not trouble or not errors:
            return errors
        return [f"{line}: {trouble}" if line.endswith(UNCERTAIN) else line for line in errors]

    def _trouble(self, job: UUID) -> str:
        """What keeps a replay from getting on, where it is driven here; empty if that is not known."""
        return next((drive.trouble for drive in self._driving if drive.job == job), "")

    @property
    def driving(self) -> set[UUID]:
        """The jobs driven here."""
        return {drive.job for drive in self._driving}

    @property
    def waiting(self) -> set[UUID]:
        """The jobs driven here that just now only wait: for a queue that takes nothing, or a backend."""
        return {drive.job for drive in self._driving if drive.waits}

    # -- driving -----------------------------------------------------------------------------------

    async def drive(self, job: UUID) -> None:
        """Take a job if it is free and work it to its end, or until it is another's. Never raises for a
        backend that is away: it waits for it, as long as the lease is its own."""
        with self._begun.pop(job, NO_SPAN) as begun:
            await self._drive(job, begun)

    async def _drive(self, job: UUID, begun: Span) -> None:
        try:
            held = await self._catalog.acquire(job, owner=self._owner, lease=self._lease)
        except Unavailable as exc:
            events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, execution_id=str(job), detail=exc.detail)
            return
        if held is None:
            return
        events.emit(events.JOB_TAKEN, execution_id=str(job), epoch=held.epoch)
        span, headers = begun, held.headers
        if span is NO_SPAN:  # a run, or a replay that another process began
            span = self._tracer.start("replay" if headers.replay_batch_id else "run", headers.traceparent)
        span.set(
            {
                "playhead.execution_id": str(job),
                "playhead.config": headers.config,
                "playhead.config_version": headers.config_version,
                "playhead.route": headers.route,
            }
        )
        if headers.replay_batch_id:
            span.set({"playhead.replay_batch_id": str(headers.replay_batch_id)})
        drive = Drive(
            self._catalog,
            self._store,
            self._broker,
            held,
            lease=self._lease,
            sleep=self._sleep,
            begin=self._begin,
            page=self._page,
            clock=self._clock,
            counters=self._counters,
            tracer=self._tracer,
            under=span.traceparent,
        )
        self._driving.add(drive)
        try:
            with span, span.current():
                await drive.run()
        finally:
            self._driving.discard(drive)

    async def renew(self) -> None:
        """Renew the leases of all jobs that are driven here; to be called every third of a lease.

        A step may take longer than a lease (a slow page of the store): without this, two processes would
        take the job from each other for ever. A job that is another's stops at its next write.

        Raises `Unavailable`.
        """
        for drive in list(self._driving):
            await drive.renew()


def _no_objects(request: ReplayRequest, source: Execution, prefix: str) -> NotFound:
    detail = f"nothing to replay at {prefix}: it holds no object other than sidecars and folder markers"
    ls = f"playhead ls {request.from_execution_id} {quote(request.from_stage)}"
    if source.kind != "replay" or source.parent_execution_id is None:
        return NotFound("no_objects", f"{detail}. `{ls}` lists the stage")
    # A replay typed again with `latest` as its source: `latest` is then the first replay.
    again = ["playhead", "replay", str(source.parent_execution_id), request.from_stage, request.to_route]
    if request.from_path:
        again += ["--path", request.from_path]
    return NotFound(
        "no_objects",
        f"{detail}. This execution is itself a replay of {source.parent_execution_id}. "
        f"To replay that execution again, run: {join(again)}",
    )
