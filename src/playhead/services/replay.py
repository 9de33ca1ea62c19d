"""Replay: play a stored stage into a route. This is what Playhead is for.

A job is two loops over rows. *List*: one page of the store becomes one transaction that inserts the
rows and moves the cursor. *Publish*: rows are called, then marked. Why this order is right after a
`kill -9` at any line:

- before `record` committed: nothing of the page exists; the next owner lists it again from the cursor;
- after `record`: the rows exist, unmarked; the next owner publishes them;
- after `publish`, before `mark`: they are published a second time; a call only says "look at the row",
  and a row that was worked refuses the second call;
- after `mark`, before `close`: the next owner finds nothing to do and closes.

A run is the same thing over its sealed `input` stage.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

from playhead import events, faults
from playhead.engine import relay
from playhead.engine.relay import Rest
from playhead.envelope import Call
from playhead.errors import BadRequest, Conflict, NotFound, PlayheadError, ReplayContinues, Unavailable
from playhead.keys import INPUT_STAGE, check_path, is_marker, is_sidecar, problem, stage_of
from playhead.model import Execution, Replay
from playhead.ports.broker import Broker
from playhead.ports.catalog import Browse, Configs, Jobs, Work
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.jobs import Held, Listed
from playhead.ports.store import Entry, Store

_PAGE = 1000
_LOOK_SECONDS = 0.1
_SETTLE_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


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
        rest: Rest = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._broker = broker
        self._owner = owner
        self._lease = lease
        self._settle = settle
        self._spawn = spawn
        self._rest = rest
        self._clock = clock
        self.stopping = False

    # -- creating ----------------------------------------------------------------------------------

    async def create(self, request: ReplayRequest) -> Replay:
        """Check the request in the contract's order and record the replay. Nothing is published yet.

        Raises:
            BadRequest: `invalid_path`, `route_ambiguous`.
            NotFound: `execution_not_found`, `stage_not_found`, `route_not_found`, `no_objects`.
            Conflict: `config_inactive`.
            Unavailable: nothing was recorded.
        """
        stage = check_path(request.from_stage, "from_stage")
        path = (request.from_path or "").removesuffix("/")
        if path or request.from_path not in (None, ""):
            check_path(path, "from_path")
        source = await self._source(request.from_execution_id)
        stages = await self._check_stage(request.from_execution_id, source, stage)
        target, route = await self._resolve(source, request.to_route)
        prefix = f"{request.from_execution_id}/{stage}" + (f"/{path}" if path else "")
        if not await self._any_object(prefix):
            listed = f" The stages there are: {', '.join(stages)}." if stages else ""
            raise NotFound(
                "no_objects",
                f"there is nothing to replay at {prefix}: no stored object besides sidecars and folder "
                f"markers.{listed} `playhead ls {request.from_execution_id} {stage}` shows what is there",
            )
        # Where nothing could be published, nothing is recorded either: the caller is told at once.
        await self._broker.check()
        if source is None:
            await self._catalog.adopt(request.from_execution_id)
        made = await self._catalog.open_replay(
            source=request.from_execution_id,
            stage=request.from_stage,
            path=request.from_path,
            prefix=prefix,
            to_route=request.to_route,
            config=target.version.name,
            version=target.version.version,
            route=route,
        )
        faults.reach("replay.created")
        return made

    async def _source(self, execution_id: UUID) -> Execution | None:
        """The source execution; None for one that only the store knows."""
        found = await self._catalog.execution(execution_id)
        if found is None and not (execution_id.int and await self._first(str(execution_id))):
            raise NotFound(
                "execution_not_found",
                f"there is no execution {execution_id}, neither in the catalog nor in the store: "
                "`playhead executions` shows what there is",
            )
        return found

    async def _first(self, prefix: str) -> Entry | None:
        async for page in self._store.list(prefix, page=1):
            return page[0]
        return None

    async def _check_stage(self, execution_id: UUID, source: Execution | None, stage: str) -> list[str]:
        """The stages that are declared, if `stage` exists; any folder of the execution will do."""
        declared: list[str] = []
        if source and source.config:
            loaded = await self._catalog.config(source.config, source.config_version)
            declared = [INPUT_STAGE, *(loaded.config.stages if loaded else ())]
        if stage not in declared and not await self._first(f"{execution_id}/{stage}"):
            known = declared or await self._folders(execution_id)
            near = difflib.get_close_matches(stage, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise NotFound(
                "stage_not_found",
                f"execution {execution_id} has no stage {stage!r}.{hint} Its stages: {', '.join(known)}",
            )
        return declared

    async def _folders(self, execution_id: UUID) -> list[str]:
        """The first segments below an execution, by hopping from one to the next."""
        found: list[str] = []
        after = ""
        prefix = f"{execution_id}/"
        while len(found) < 100:
            key = None
            async for page in self._store.list(str(execution_id), after=after, page=1):
                key = page[0].key
                break
            if key is None:
                return found
            folder = key[len(prefix) :].partition("/")[0]
            found.append(folder)
            after = f"{prefix}{folder}/\U0010ffff"
        return found

    async def _resolve(self, source: Execution | None, to_route: str) -> tuple[Loaded, str]:
        """The config version and the route that `to_route` means, once and for all."""
        name, slash, route = to_route.partition("/")
        if slash:
            loaded = await self._catalog.config(name)
            if loaded is None or route not in loaded.config.routes:
                has = (
                    f"its routes: {', '.join(loaded.config.routes)}"
                    if loaded
                    else f"there is no config {name!r}"
                )
                raise NotFound("route_not_found", f"there is no route {to_route!r}: {has}")
            return self._active(loaded), route
        route = to_route
        own = source.config if source else None
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

    async def _any_object(self, prefix: str) -> bool:
        async for page in self._store.list(prefix, page=_PAGE):
            keys = [e.key for e in page if not is_sidecar(e.key) and not is_marker(e.key)]
            if keys and len(await self._catalog.unstored(keys)) < len(keys):
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
        pause = 0.002
        while True:
            try:
                now = await self._catalog.replay(batch)
            except Unavailable as exc:
                if self._clock() - since > self._settle:
                    raise ReplayContinues(batch, exc.detail) from exc
                await self._rest(_LOOK_SECONDS)
                continue
            if now is None:
                raise NotFound("replay_not_found", f"replay {batch} has vanished from the catalog")
            if now.status is not None:
                return now
            if self.stopping:
                raise ReplayContinues(batch, "this server is stopping")
            if now.state == "stalled":
                raise ReplayContinues(batch, "its listing made no progress in five tries and is stalled")
            numbers = (now.objects_found, now.objects_published, now.objects_failed)
            if numbers != seen:
                seen, since = numbers, self._clock()
            elif self._clock() - since > self._settle:
                if not await self._catalog.is_listed(job):
                    raise ReplayContinues(batch, f"listing has made no progress for {self._settle:g} s")
                return replace(
                    now,
                    objects_failed=now.objects_found - now.objects_published,
                    status="partial_failure",
                )
            await self._rest(pause)
            pause = min(pause * 1.5, _LOOK_SECONDS)

    # -- driving -----------------------------------------------------------------------------------

    async def drive(self, job: UUID) -> None:
        """Take a job if it is free and work it to its end, or until it is another's. Never raises for a
        backend that is away: it waits for it, as long as the lease is its own."""
        try:
            held = await self._catalog.acquire(job, owner=self._owner, lease=self._lease)
        except Unavailable as exc:
            events.emit(events.BACKEND_AWAY, logging.WARNING, job=str(job), detail=exc.detail)
            return
        if held is None:
            return
        events.emit(events.JOB_TAKEN, logging.DEBUG, job=str(job), epoch=held.epoch)
        await _Drive(self, held).run()

    def _parts(self) -> tuple[ReplayCatalog, Store, Broker, Rest, Callable[[], float], float]:
        return self._catalog, self._store, self._broker, self._rest, self._clock, self._lease


class _Lost(Exception):
    """The job is another's now, or ended: stop without a word."""


class _Drive:
    """One hold of a job, from acquisition to its end."""

    def __init__(self, service: ReplayService, held: Held) -> None:
        self._catalog, self._store, self._broker, self._rest, self._clock, self._lease = service._parts()
        self._held = held
        self._renewed = self._clock()
        self._pause = _SETTLE_PAUSE_SECONDS

    async def run(self) -> None:
        held = self._held
        try:
            while True:
                try:
                    await self._work()
                    return
                except Unavailable as exc:
                    # Whatever was in hand is read from rows again, so starting over is right.
                    events.emit(events.BACKEND_AWAY, logging.WARNING, job=str(held.job), detail=exc.detail)
                    await self._wait_longer()
        except _Lost:
            events.emit(events.JOB_LOST, logging.INFO, job=str(held.job), epoch=held.epoch)
        except PlayheadError as exc:
            events.emit(events.JOB_ENDED, logging.ERROR, job=str(held.job), detail=exc.detail)
            if await self._catalog.fail_listing(held, exc.detail):
                await self._finish()

    async def _work(self) -> None:
        await self._keep()
        await self._publish_backlog()
        if not await self._catalog.is_listed(self._held.job):
            await self._list()
        await self._finish()

    async def _list(self) -> None:
        held = self._held
        whole = not held.stages or held.default_stage in (INPUT_STAGE, *held.stages)
        skip = held.prefix.find("/") + 1
        # After an outage the cursor has moved on from where this hold began.
        cursor = await self._cursor()
        async for page in self._store.list(held.prefix, after=cursor, page=_PAGE):
            faults.reach("replay.listed")
            found = []
            for key, _, _ in page:
                if is_sidecar(key) or is_marker(key):
                    continue
                stage = (
                    held.default_stage if whole else stage_of(key[skip:], held.stages, held.default_stage)[0]
                )
                found.append(Listed(key, stage, problem(key)))
            cursor = page[-1].key
            calls = await self._catalog.record(held, found, cursor=cursor, last=False)
            if calls is None:
                raise _Lost
            self._at = cursor
            faults.reach("replay.recorded")
            await self._publish(calls)
            await self._keep()
        if await self._catalog.record(held, [], cursor=cursor, last=True) is None:
            raise _Lost

    _at: str | None = None

    async def _cursor(self) -> str:
        return self._held.cursor if self._at is None else self._at

    async def _publish_backlog(self) -> None:
        while calls := await self._catalog.unpublished(self._held, limit=_PAGE):
            await self._publish(calls)
            await self._keep()

    async def _publish(self, calls: Sequence[Call]) -> None:
        if not calls:
            return
        sent = await relay.publish(self._broker, calls)
        if sent.away:
            raise sent.away  # none was sent: they stay unmarked and are read again
        faults.reach("replay.published")
        marked = await self._catalog.mark(
            self._held, calls[-1].ordinal or 0, uncertain=sent.uncertain, refused=sent.refused
        )
        if not marked:
            raise _Lost
        self._pause = _SETTLE_PAUSE_SECONDS
        faults.reach("replay.marked")

    async def _finish(self) -> None:
        """Settle what is uncertain by publishing the same rows again, then close."""
        await self._publish_backlog()
        while calls := await self._catalog.unsettled(self._held, limit=_PAGE):
            sent = await relay.publish(self._broker, calls)
            faults.reach("replay.published")
            if not await self._catalog.settle(self._held, sent.confirmed, sent.refused):
                raise _Lost
            faults.reach("replay.marked")
            if sent.uncertain:
                await self._wait_longer()
        if await self._catalog.close_job(self._held):
            faults.reach("replay.closed")
            events.emit(events.JOB_ENDED, job=str(self._held.job))
        # The workers may have closed every row before the root was closed.
        await self._catalog.end_executions([self._held.job])

    async def _wait_longer(self) -> None:
        await self._rest(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        await self._keep()

    async def _keep(self) -> None:
        """Renew the lease when a third of it has passed."""
        if self._clock() - self._renewed < self._lease / 3:
            return
        try:
            if not await self._catalog.renew(self._held, lease=self._lease):
                raise _Lost
        except Unavailable:
            return  # the epoch fences; the lease is only politeness
        self._renewed = self._clock()
