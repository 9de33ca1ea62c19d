"""The worker: consumes the queues of active routes, with one consumer for each queue.

It decides which queues are consumed (`_subscribe`, twice a second), when to stop, and what runs in this
process. `work.consumer` describes how one queue is consumed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from playhead import events
from playhead.clock import ActiveClock
from playhead.environment import Backends, Environment, WorkerSettings
from playhead.errors import Unavailable
from playhead.model import Route
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Browse, Code, Configs, Jobs, Limits, Upkeep, Work
from playhead.ports.catalog.limits import is_pause, pause_key
from playhead.ports.catalog.upkeep import Subscription
from playhead.ports.catalog.work import Claim
from playhead.steps.ratelimits import CallLimits
from playhead.steps.slots import HANG_SECONDS
from playhead.work.attempt import CooldownRequest
from playhead.work.backoff import Checked
from playhead.work.consumer import Consumer
from playhead.work.deliveries import HeldDelivery
from playhead.work.dispatch import RouteRuntime
from playhead.work.idle import QUIET_SECONDS, IdleCheck
from playhead.work.routelimits import wait_key
from playhead.work.runtimes import Runtimes

_SUBSCRIBE_SECONDS = 0.5
_IDLE_CHECK_SECONDS = 0.05
_EXPIRE_SECONDS = 0.05


class WorkerCatalog(Configs, Jobs, Work, Limits, Upkeep, Browse, Code, Checked, Protocol): ...


class WorkerService:
    """Consumes queues until it is stopped. One for each process.

    Args:
        adapters: those of this process, by name.
        driving: the jobs that this process lists and publishes.
        waiting: those of them that only wait, for example for a queue that is full.

    Attributes:
        processing: the messages that this process works on, with their executions.
        hung: the adapter that hangs in half of a route's slots, or that blocks the event loop of a route;
            None as long as none does.
        completed: how many attempts were made.
    """

    def __init__(
        self,
        backends: Backends[WorkerCatalog],
        adapters: Mapping[str, AdapterSpec],
        settings: WorkerSettings,
        env: Environment,
        *,
        driving: Callable[[], Collection[UUID]] = tuple,
        waiting: Callable[[], Collection[UUID]] = tuple,
    ) -> None:
        self._backends = backends
        self._catalog = backends.catalog
        self._adapters = adapters
        self._settings = settings
        self._env = env
        self._clock = ActiveClock(env.clock)
        self._idle = IdleCheck(
            backends.catalog, backends.broker, process=env.process, driving=driving, waiting=waiting
        )
        self._consumers: dict[str, Consumer] = {}
        self._retired: list[Consumer] = []
        self._runtimes = Runtimes(
            backends.catalog,
            adapters,
            env,
            self._clock,
            in_use=self._runtimes_in_use,
            newest=lambda: {
                (one.subscription.config, one.subscription.version) for one in self._consumers.values()
            },
        )
        self._stop = asyncio.Event()
        self._call_limits: CallLimits | None = None
        self._pauses: Mapping[str, str] = {}
        self._only: frozenset[str] = frozenset()
        self._suspect: HeldDelivery | None = None
        self.processing: dict[UUID, UUID] = {}
        self.hung: str | None = None
        self.completed = 0

    @property
    def queues(self) -> list[str]:
        """The queues that this worker consumes now."""
        return sorted(self._consumers)

    async def run(
        self,
        *,
        routes: Sequence[str] = (),
        until_idle: bool = False,
        until: UUID | None = None,
        stop: asyncio.Event | None = None,
    ) -> int:
        """Consume until `stop` is set, there is no work left, or the execution `until` has ended.

        Running chains finish first; messages that wait for a slot are released.

        Args:
            routes: names of the routes to consume (`route` or `config/route`); empty for all.

        Returns 0. Returns 1 if adapters hang in half of a route's slots or block its event loop, or if the
        only work that is left needs adapters or secrets that this process does not have.
        """
        self._only = frozenset(routes)
        self._stop = stop or asyncio.Event()
        self._call_limits = CallLimits(self._catalog, self._env.clock, self._env.sleep)
        self._runtimes.call_limits = self._call_limits
        expire = asyncio.create_task(self._expire_loop(), name="the time-out loop")
        try:
            left = await self._consume(expire, until_idle=until_idle, until=until)
        finally:
            consumers = self._all_consumers()
            for consumer in consumers:
                consumer.stop(departing=True)
            self._call_limits.stop()
            await self._end_of(consumers, expire)
            expire.cancel()
            self._consumers.clear()
            self._runtimes.close()
        raise_task_failure([expire, *(consumer.task for consumer in consumers)])
        await self._find_hung(consumers)
        if self.hung:
            events.emit(events.ADAPTER_HANGS, adapter=self.hung)
            return 1
        for queue, why in left.items():
            events.emit(events.WORK_LEFT, queue=queue, detail=why)
        return 1 if left else 0

    async def _consume(
        self, expire: asyncio.Task[None], *, until_idle: bool, until: UUID | None
    ) -> dict[str, str]:
        """Start and stop consumers until the worker must end; return the queues with work that is left."""
        quiet_since = self._clock()
        while not self._stop.is_set() and self.hung is None:
            raise_task_failure([expire, *(consumer.task for consumer in self._all_consumers())])
            self._retired = [consumer for consumer in self._retired if not consumer.task.done()]
            # First: a new consumer must not start messages of a route that is paused.
            if await self._learn_cooldowns():
                await self._subscribe()
            if until is not None and await self._has_ended(until):
                break
            if until_idle or until is not None:
                needed = await (self._quiet_needed() if until is None else self._patience_with(until))
                if needed is None:
                    quiet_since = self._clock()
                elif self._clock() - quiet_since >= needed:
                    if needed and not (until or self._only or self._unable()):
                        await self._idle.log_open()
                    return self._unable()
            await self._wait_for_stop(_IDLE_CHECK_SECONDS if until or until_idle else _SUBSCRIBE_SECONDS)
        return {}

    async def _end_of(self, consumers: Sequence[Consumer], expire: asyncio.Task[None]) -> None:
        """Wait until stopped consumers have ended."""
        ends = asyncio.gather(*(consumer.task for consumer in consumers), return_exceptions=True)
        # Without time-outs, this would wait forever for an adapter that hangs.
        expire.add_done_callback(lambda _: ends.cancel())
        try:
            await ends
        except asyncio.CancelledError:
            if not expire.done():
                raise

    async def _wait_for_stop(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def _find_hung(self, consumers: Sequence[Consumer]) -> None:
        """Give chains that are past their time-out a moment to return, and find those that do not."""
        until = self._clock() + 2 * HANG_SECONDS
        while not self.hung and any(one.slots.is_late for one in consumers) and self._clock() < until:
            await asyncio.sleep(_EXPIRE_SECONDS)
            self._expire(consumers)

    # -- which queues ------------------------------------------------------------------------------

    async def _subscribe(self) -> None:
        """Start a consumer for each queue that is wanted, and stop the others."""
        try:
            wanted = {s.queue: s for s in await self._catalog.subscriptions() if self._is_wanted(s)}
            for queue, subscription in wanted.items():
                consumer = self._consumers.get(queue)
                if consumer and consumer.subscription == subscription:
                    continue
                loaded = await self._catalog.config(subscription.config, subscription.version)
                if loaded is None:
                    continue
                route = loaded.config.routes[subscription.route]
                if consumer:
                    consumer.change(subscription, route, self._batch_of(route))
                else:
                    self._consumers[queue] = consumer = self._consumer(subscription, route)
                    self._apply_pause(consumer)
        except Unavailable as exc:
            events.emit(events.BACKEND_UNAVAILABLE, detail=exc.detail)
            return
        for queue in self._consumers.keys() - wanted.keys():
            consumer = self._consumers.pop(queue)
            consumer.stop()
            self._retired.append(consumer)

    async def _learn_cooldowns(self) -> bool:
        """Apply the pauses of routes, and the cooldowns that other workers have started. False if the catalog
        is unavailable."""
        try:
            cooldowns = await self._catalog.cooldowns()
        except Unavailable as exc:
            events.emit(events.BACKEND_UNAVAILABLE, detail=exc.detail)
            return False
        self._pauses = {key: one.reason for key, one in cooldowns.items() if is_pause(key)}
        for consumer in self._consumers.values():
            self._apply_pause(consumer)
        for key, cooldown in cooldowns.items():
            if cooldown.seconds is not None and key not in self._pauses:
                self._cool_down_here(key, cooldown.seconds)
        return True

    def _apply_pause(self, consumer: Consumer) -> None:
        of = consumer.subscription
        consumer.pause(self._pauses.get(pause_key(of.config, of.route)))

    def _cool_down_here(self, key: str, seconds: float) -> bool:
        """Start a cooldown in this process; return False if one lasts that long already."""
        if self._call_limits:
            self._call_limits.cool_down(key, seconds)
        is_new = False
        for consumer in self._all_consumers():
            if key in consumer.cooldown_keys:
                is_new = consumer.cool_down(seconds) or is_new
        return is_new

    def _consumer(self, subscription: Subscription, route: Route) -> Consumer:
        return Consumer(
            self, self._backends, self._env, self._settings, subscription, route, self._batch_of(route)
        )

    def _batch_of(self, route: Route) -> int:
        """Return how many messages share a call of a route; 1 without batches."""
        specs = [self._adapters[step.type] for step in route.steps if step.type in self._adapters]
        return max((spec.batch or 1 for spec in specs), default=1)

    def _all_consumers(self) -> list[Consumer]:
        return [*self._consumers.values(), *self._retired]

    def _is_wanted(self, s: Subscription) -> bool:
        return not self._only or s.route in self._only or f"{s.config}/{s.route}" in self._only

    # -- when to end -------------------------------------------------------------------------------

    async def _has_ended(self, execution: UUID) -> bool:
        try:
            found = await self._catalog.execution(execution)
        except Unavailable:
            return False
        return found is None or found.status != "running"

    async def _quiet_needed(self) -> float | None:
        """Return after how many seconds without work nothing more will come; None while there is work."""
        if any(consumer.deliveries for consumer in self._consumers.values()):
            return None
        return await self._idle.quiet_needed(
            self._consumers.keys(), self._unable(), is_limited=bool(self._only)
        )

    async def _patience_with(self, execution: UUID) -> float | None:
        """Return how long an execution may wait for other processes alone; None while it does not."""
        return QUIET_SECONDS if await self._idle.is_stuck(execution, self._unable()) else None

    def _unable(self) -> dict[str, str]:
        """The queues whose messages this process cannot process, and why."""
        return {queue: consumer.missing for queue, consumer in self._consumers.items() if consumer.missing}

    async def _expire_loop(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_SECONDS)
            self._clock()  # so that the clock sees this process run, however long the catalog takes
            self._expire(self._all_consumers())  # also stopped ones: their chains can hang too

    def _expire(self, consumers: Sequence[Consumer]) -> None:
        for consumer in consumers:
            consumer.slots.expire()
            self.hung = consumer.slots.blocked_by or self.hung
            hanging = consumer.slots.hanging
            if hanging and 2 * len(hanging) >= consumer.slots.limit:
                self.hung = next(iter(hanging.values()))
            # Calls with batches occupy no slot after their time-out, but each that hangs keeps a thread.
            for runtime in consumer.runtimes_in_use:
                if runtime.chain.hanging >= 2 * runtime.route.concurrency:
                    self.hung = "+".join(step.type for step in runtime.route.steps)

    # -- what consumers need from their worker -----------------------------------------------------

    @property
    def may_start_suspect(self) -> bool:
        """Whether no suspected poison message runs. One runs at a time in a process, as it may end it."""
        return self._suspect is None

    def reserve_suspect_slot(self, suspect: HeldDelivery) -> None:
        """Start no other suspected poison message until this one is settled."""
        self._suspect = suspect

    def settled(self, held: HeldDelivery) -> None:
        """Let the next suspected poison message start, if this was the one that ran."""
        if self._suspect is held:
            self._suspect = None
            for consumer in self._consumers.values():
                consumer.wake()

    def finished(self, count: int) -> None:
        """Count attempts that were made."""
        self.completed += count

    async def cool_down(self, request: CooldownRequest) -> None:
        """Start a cooldown: first in this process, then in all others."""
        if not self._cool_down_here(request.key, request.seconds):
            return
        events.emit(
            events.COOLDOWN_STARTED, key=request.key, seconds=round(request.seconds, 3), detail=request.reason
        )
        try:
            await self._catalog.cool_down(*request)
        except Unavailable as exc:
            events.emit(events.BACKEND_UNAVAILABLE, detail=exc.detail)

    async def show_wait(self, config: str, route: str, seconds: float, reason: str) -> None:
        """Record in readable words why this worker cannot run a route, and when it tries again."""
        why = f"{self._env.process}: {reason}"
        with contextlib.suppress(Unavailable):  # the log has the reason
            await self._catalog.cool_down(wait_key(config, route), seconds, why)

    async def runtime(self, claim: Claim) -> RouteRuntime:
        """Return the chain of a claim's route, in the config version of its row.

        Raises `UnknownAdapter`, `Unavailable`.
        """
        return await self._runtimes.of(claim)

    def _runtimes_in_use(self) -> set[RouteRuntime]:
        return {runtime for consumer in self._all_consumers() for runtime in consumer.runtimes_in_use}


def raise_task_failure(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Raise the fault that ended one of these tasks, if any.

    The worker cancels none of them before it calls this. So a cancelled task is a fault as well: libraries
    raise `CancelledError` for their own reasons.
    """
    for task in tasks:
        if not task.done():
            continue
        if task.cancelled():
            raise RuntimeError(f"{task.get_name()} was cancelled unexpectedly")
        if fault := task.exception():
            raise fault
