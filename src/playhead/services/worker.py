"""The worker: consumes the queues of active routes, each in a lane of its own.

It knows which queues there are (`_subscribe`, twice a second), when to stop, and what runs in this
process; `engine.lane` says how a queue is consumed, `engine.attempts` how one message is worked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from playhead import events
from playhead.counters import Counters
from playhead.engine.attempts import Attempts
from playhead.engine.chain import Chain, UnknownAdapter
from playhead.engine.lane import Backends, Checked, Lane, RouteRuntime
from playhead.engine.relay import Sleep
from playhead.errors import Unavailable
from playhead.model import Execution, Route
from playhead.ports.adapter import AdapterSpec
from playhead.ports.broker import Broker, Delivery
from playhead.ports.catalog import Browse, Configs, Jobs, Upkeep, Work
from playhead.ports.catalog.upkeep import Subscription
from playhead.ports.catalog.work import Claim
from playhead.ports.store import Store
from playhead.ports.tracer import OFF, Tracer

_SUBSCRIBE_SECONDS = 0.5
_EXPIRE_SECONDS = 0.05
_QUIET_SECONDS = 3.0
_LONGEST_LOOK_SECONDS = 0.2
"""What one look for work counts towards the quiet, at most: a process that stood still has seen nothing."""


class WorkerCatalog(Configs, Jobs, Work, Upkeep, Browse, Checked, Protocol): ...


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is told by the operator.

    Attributes:
        worker: id of this process.
        visibility: seconds; what is held is extended every third of it.
        data_dir: where adapters keep their files.
        max_object_bytes: inputs and outputs above it are dead letters.
    """

    worker: str
    visibility: float
    data_dir: str
    max_object_bytes: int


class WorkerService:
    """Consumes queues until told to stop. One a process.

    Args:
        driving: the jobs that this process drives just now.
        waiting: those of them that only wait, as for a queue that takes nothing.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        catalog: WorkerCatalog,
        broker: Broker,
        store: Store,
        adapters: Mapping[str, AdapterSpec],
        settings: WorkerSettings,
        *,
        sleep: Sleep = asyncio.sleep,
        driving: Callable[[], Collection[UUID]] = tuple,
        waiting: Callable[[], Collection[UUID]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        counters: Counters | None = None,
        tracer: Tracer = OFF,
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._store = store
        self._adapters = adapters
        self._settings = settings
        self._sleep = sleep
        self._driving = driving
        self._waiting = waiting
        self._clock = clock
        self._counters = counters or Counters()
        self._tracer = tracer
        self._lanes: dict[str, Lane] = {}
        self._retired: list[Lane] = []
        self._runtimes: dict[tuple[str, int, str], RouteRuntime] = {}
        self._stop = asyncio.Event()
        self._working: dict[UUID, str] = {}
        self._only: frozenset[str] = frozenset()
        self._suspect: int | None = None
        self.hung: str | None = None
        self.completed = 0

    @property
    def queues(self) -> list[str]:
        """The queues that this worker consumes now."""
        return sorted(self._lanes)

    async def run(
        self,
        *,
        routes: Sequence[str] = (),
        until_idle: bool = False,
        until: UUID | None = None,
        stop: asyncio.Event | None = None,
    ) -> int:
        """Consume until `stop` is set, or there is nothing left to do, or execution `until` has ended.

        `routes` (names, or `config/route`) limits what is consumed. What runs is finished first; what
        waits for a slot is given back.
        Returns 0, or 1 when adapters hang in half of a route's slots, or nothing is left to do but what
        needs adapters that this process has not got.
        """
        self._only = frozenset(routes)
        self._stop = stop or asyncio.Event()
        quiet, looked = 0.0, self._clock()
        left: dict[str, str] = {}
        expire = asyncio.create_task(self._expire_loop(), name="the loop that sees to time-outs")
        try:
            while not self._stop.is_set() and self.hung is None:
                raise_task_failure([expire, *(lane.task for lane in self._all_lanes())])
                self._retired = [lane for lane in self._retired if not lane.task.done()]
                await self._subscribe()
                if until is not None and await self._has_ended(until):
                    break
                if until_idle:
                    enough = await self._is_quiet()
                    now = self._clock()
                    quiet = 0.0 if enough is None else quiet + min(now - looked, _LONGEST_LOOK_SECONDS)
                    looked = now
                    if enough is not None and quiet >= enough:
                        left = self._lacking()
                        break
                await self._nap(0.05 if until or until_idle else _SUBSCRIBE_SECONDS)
        finally:
            lanes = self._all_lanes()
            for lane in lanes:
                lane.stop(departing=True)
            await self._end_of(lanes, expire)
            expire.cancel()
            self._lanes.clear()
            for runtime in self._runtimes.values():
                runtime.chain.close()
            self._runtimes.clear()
        raise_task_failure([expire, *(lane.task for lane in lanes)])
        if any(lane.slots.is_late for lane in lanes):
            await asyncio.sleep(_EXPIRE_SECONDS)  # it may be about to come back
            self._expire(lanes)
        if self.hung:
            events.emit(events.ADAPTER_HANGS, logging.ERROR, adapter=self.hung)
            return 1
        for queue, why in left.items():
            events.emit(events.WORK_LEFT, logging.ERROR, queue=queue, detail=why)
        return 1 if left else 0

    async def _end_of(self, lanes: Sequence[Lane], expire: asyncio.Task[None]) -> None:
        """Wait until lanes that were stopped have ended."""
        ends = asyncio.gather(*(lane.task for lane in lanes), return_exceptions=True)
        # Without time-outs, what hangs would be waited for, for ever.
        expire.add_done_callback(lambda _: ends.cancel())
        try:
            await ends
        except asyncio.CancelledError:
            if not expire.done():
                raise

    async def _nap(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    # -- which queues ------------------------------------------------------------------------------

    async def _subscribe(self) -> None:
        try:
            wanted = {s.queue: s for s in await self._catalog.subscriptions() if self._is_wanted(s)}
            for queue, subscription in wanted.items():
                lane = self._lanes.get(queue)
                if lane is None:
                    loaded = await self._catalog.config(subscription.config, subscription.version)
                    if loaded:
                        self._lanes[queue] = self._lane(
                            subscription, loaded.config.routes[subscription.route]
                        )
                elif lane.subscription != subscription:
                    loaded = await self._catalog.config(subscription.config, subscription.version)
                    if loaded:
                        lane.change(subscription, loaded.config.routes[subscription.route])
        except Unavailable as exc:
            events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, detail=exc.detail)
            return
        for queue in set(self._lanes) - set(wanted):
            lane = self._lanes.pop(queue)
            lane.stop()
            self._retired.append(lane)

    def _all_lanes(self) -> list[Lane]:
        return [*self._lanes.values(), *self._retired]

    def _is_wanted(self, s: Subscription) -> bool:
        return not self._only or s.route in self._only or f"{s.config}/{s.route}" in self._only

    async def _has_ended(self, execution: UUID) -> bool:
        try:
            found = await self._catalog.execution(execution)
        except Unavailable:
            return False
        return found is None or found.status != "running"

    async def _is_quiet(self) -> float | None:
        """Seconds of quiet after which nothing more will come; None while there is work."""
        try:
            if any(lane.in_hand for lane in self._lanes.values()):
                return None
            lacking = self._lacking()
            for queue in self._lanes.keys() - lacking:
                if not await self._broker.is_empty(queue):
                    return None
            running = await self._catalog.open_executions()
            for execution in running:
                found = await self._catalog.execution(execution)
                if found is None:
                    continue
                if found.counts.pending:
                    if not (self._only or lacking):
                        return None
                    counts = await self._catalog.route_counts(execution)
                    mine = self._lanes.keys() if self._only else {c.queue for c in counts}
                    if any(c.counts.pending for c in counts if c.queue in mine - lacking.keys()):
                        return None
                if await self._is_being_listed(found, lacking):
                    return None
            # A run without an open row may be listed by another process, or have its inputs stored.
            return _QUIET_SECONDS if running else 0.0
        except Unavailable:
            return None

    async def _is_being_listed(self, execution: Execution, lacking: Collection[str]) -> bool:
        """Whether it is known that messages may be added to an execution: to a run by this process, and to a
        replay by any, if a queue that this worker works gets them, or by this one, if it gets on.

        Raises `Unavailable`.
        """
        job, batch = execution.execution_id, execution.replay_batch_id
        if batch is None:
            if job not in self._driving():
                return False
        else:
            replay = await self._catalog.replay(batch)
            if replay is None or replay.state != "publishing":
                return False
            gets_on = job in self._driving() and job not in self._waiting()
            if not gets_on and replay.to_queue not in self._lanes.keys() - lacking:
                return False
        return not await self._catalog.is_listed(job)

    def _lacking(self) -> dict[str, str]:
        """Queues of which this process can't work what waits, and why."""
        return {queue: lane.missing_adapters for queue, lane in self._lanes.items() if lane.missing_adapters}

    async def _expire_loop(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_SECONDS)
            self._expire(self._all_lanes())  # one that only finishes what it has can hang, too

    def _expire(self, lanes: Sequence[Lane]) -> None:
        for lane in lanes:
            lane.slots.expire()
            hanging = lane.slots.hanging
            if hanging and 2 * len(hanging) >= lane.slots.limit:
                self.hung = next(iter(hanging.values()))

    # -- what may kill this process ----------------------------------------------------------------

    @property
    def may_start_suspect(self) -> bool:
        """Whether no suspect runs. One a process: the others of all lanes wait, as it may take them along."""
        return self._suspect is None

    def reserve_suspect_slot(self, suspect: Delivery) -> None:
        """Let no other suspect run until this one is settled."""
        self._suspect = id(suspect)

    def settled(self, delivery: Delivery) -> None:
        """Give the turn to the next suspect, if this was the one that ran."""
        if self._suspect == id(delivery):
            self._suspect = None
            for lane in self._lanes.values():
                lane.wake()

    # -- what to run -------------------------------------------------------------------------------

    async def runtime(self, claim: Claim) -> RouteRuntime:
        """The chain of a claim's route, in the config version that its row holds. Raises `UnknownAdapter`."""
        key = (claim.config, claim.config_version, claim.route)
        found = self._runtimes.get(key)
        if found is None:
            loaded = await self._catalog.config(claim.config, claim.config_version)
            if loaded is None:
                raise UnknownAdapter((), f"config {claim.config} has no version {claim.config_version}")
            route = loaded.config.routes[claim.route]
            chain = Chain(route, self._adapters)
            found = RouteRuntime(route, chain, [{"type": s.name, "version": s.version} for s in chain.specs])
            self._runtimes[key] = found
        return found

    # -- making a lane -----------------------------------------------------------------------------

    def _lane(self, subscription: Subscription, route: Route) -> Lane:
        return Lane(
            self,
            Backends(self._catalog, self._broker, self._store),
            self._attempts,
            subscription,
            route,
            visibility=self._settings.visibility,
            data_dir=self._settings.data_dir,
            sleep=self._sleep,
        )

    def _attempts(self, going_on: Callable[[], bool]) -> Attempts:
        return Attempts(
            self._catalog,
            self._broker,
            self._store,
            worker=self._settings.worker,
            working=self._working,
            max_object_bytes=self._settings.max_object_bytes,
            sleep=self._sleep,
            going_on=going_on,
            counters=self._counters,
            tracer=self._tracer,
        )

    def finished(self, count: int) -> None:
        """Count attempts that were ended."""
        self.completed += count


def raise_task_failure(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Raise the fault that ended one of these, if any. None is ever cancelled while it is asked about, so
    that it was is one: libraries raise `CancelledError` for reasons of their own."""
    for task in tasks:
        if not task.done():
            continue
        if task.cancelled():
            raise RuntimeError(f"{task.get_name()} was cancelled, though not by its worker")
        if fault := task.exception():
            raise fault
