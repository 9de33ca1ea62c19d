"""The worker: consumes the queues of active routes, runs their chains, stores what comes out.

Each queue has a lane of its own: one loop fetches, claims and reads; another ends what adapters have
finished. Both work in batches sized by what the lane finished in the last 100 ms, so a fast route
pays one commit for hundreds of messages and a slow one hoards nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from playhead import events
from playhead.engine.attempts import AWAY_DELAY_SECONDS, Attempts, Ended, Started
from playhead.engine.chain import Chain, UnknownAdapter
from playhead.engine.relay import Rest
from playhead.engine.runner import Job, Slots, TimedOut
from playhead.errors import MessageError, Unavailable
from playhead.keys import content_type_of
from playhead.model import Route
from playhead.ports.adapter import AdapterSpec, Context, Item, Reject, Retry
from playhead.ports.broker import Broker, Delivery
from playhead.ports.catalog import Browse, Configs, Upkeep, Work
from playhead.ports.catalog.upkeep import Subscription
from playhead.ports.catalog.work import Claim, Failed, GivenBack
from playhead.ports.store import Store

_WINDOW_SECONDS = 0.1
_MOST_AHEAD = 256
_RECEIVE_WAIT_SECONDS = 0.5
_SUBSCRIBE_SECONDS = 0.5
_EXPIRE_SECONDS = 0.05
_LOOK_SECONDS = 0.1
_LONGEST_STAND_BACK_SECONDS = 30.0
_LONGEST_ERROR = 8_000
_LONGEST_TRACEBACK = 64_000
"""Characters of what an adapter raised that are kept: its text, and its traceback."""


class WorkerCatalog(Configs, Work, Upkeep, Browse, Protocol): ...


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


@dataclass(slots=True)
class _Runtime:
    """A route of one config version, ready to run in this process."""

    route: Route
    chain: Chain
    adapters: list[Mapping[str, str]] = field(default_factory=list)


class WorkerService:
    """Consumes queues until told to stop. One a process."""

    def __init__(
        self,
        catalog: WorkerCatalog,
        broker: Broker,
        store: Store,
        adapters: Mapping[str, AdapterSpec],
        settings: WorkerSettings,
        *,
        rest: Rest = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._store = store
        self._adapters = adapters
        self._settings = settings
        self._rest = rest
        self._lanes: dict[str, _Lane] = {}
        self._retired: list[_Lane] = []
        self._runtimes: dict[tuple[str, int, str], _Runtime] = {}
        self._stop = asyncio.Event()
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
        Returns 0, or 1 when adapters hang in half of a route's slots.
        """
        self._only = frozenset(routes)
        self._stop = stop or asyncio.Event()
        quiet_since: float | None = None
        expire = asyncio.create_task(self._expire_loop())
        try:
            while not self._stop.is_set() and self.hung is None:
                await self._subscribe()
                if until is not None and await self._has_ended(until):
                    break
                if until_idle:
                    quiet = await self._is_quiet()
                    quiet_since = (quiet_since or time.monotonic()) if quiet is not None else None
                    if quiet_since is not None and time.monotonic() - quiet_since >= (quiet or 0):
                        break
                await self._nap(0.05 if until or until_idle else _SUBSCRIBE_SECONDS)
        finally:
            for lane in self._lanes.values():
                lane.stop()
            ends = await asyncio.gather(*(lane.task for lane in self._all_lanes()), return_exceptions=True)
            expire.cancel()
            self._lanes.clear()
            for runtime in self._runtimes.values():
                runtime.chain.close()
            self._runtimes.clear()
        for fault in ends:
            if fault is not None:
                raise fault
        if self.hung:
            events.emit(events.ADAPTER_HANGS, logging.ERROR, adapter=self.hung)
            return 1
        return 0

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
                if lane is None or lane.task.done():
                    if lane is not None and not lane.task.cancelled() and (fault := lane.task.exception()):
                        raise fault
                    loaded = await self._catalog.config(subscription.config, subscription.version)
                    if loaded:
                        self._lanes[queue] = _Lane(
                            self, queue, subscription, loaded.config.routes[subscription.route]
                        )
                elif lane.subscription != subscription:
                    loaded = await self._catalog.config(subscription.config, subscription.version)
                    if loaded:
                        lane.change(subscription, loaded.config.routes[subscription.route])
        except Unavailable as exc:
            events.emit(events.BACKEND_AWAY, logging.WARNING, detail=exc.detail)
            return
        for queue in set(self._lanes) - set(wanted):
            lane = self._lanes.pop(queue)
            lane.stop()
            self._retired.append(lane)
        self._retired = [lane for lane in self._retired if not lane.task.done()]

    def _all_lanes(self) -> list[_Lane]:
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
            for queue in self._lanes:
                if sum(await self._broker.depth(queue)):
                    return None
            running = await self._catalog.open_executions()
            for execution in running:
                found = await self._catalog.execution(execution)
                if found is None or not found.counts.pending:
                    continue
                if not self._only:
                    return None
                counts = await self._catalog.route_counts(execution)
                mine = {lane.subscription.route for lane in self._lanes.values()}
                if any(c.counts.pending for c in counts if c.route in mine):
                    return None
            # A running execution without an open row is being listed, by this process or another.
            return 3.0 if running else 0.0
        except Unavailable:
            return None

    async def _expire_loop(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_SECONDS)
            for lane in self._all_lanes():  # one that only finishes what it has can hang, too
                lane.slots.expire()
                hanging = lane.slots.hanging
                if hanging and 2 * len(hanging) >= lane.slots.limit:
                    self.hung = next(iter(hanging.values()))

    # -- what may kill this process ----------------------------------------------------------------

    @property
    def is_calm(self) -> bool:
        """Whether no suspect runs. One a process: the others of all lanes wait, as it may take them along."""
        return self._suspect is None

    def watch(self, suspect: Delivery) -> None:
        """Let no other suspect run until this one is settled."""
        self._suspect = id(suspect)

    def settled(self, delivery: Delivery) -> None:
        """Give the turn to the next suspect, if this was the one that ran."""
        if self._suspect == id(delivery):
            self._suspect = None
            for lane in self._lanes.values():
                lane.wake()

    # -- what to run -------------------------------------------------------------------------------

    async def runtime(self, claim: Claim) -> _Runtime:
        """The chain of a claim's route, in the config version that its row holds. Raises `UnknownAdapter`."""
        key = (claim.config, claim.config_version, claim.route)
        found = self._runtimes.get(key)
        if found is None:
            loaded = await self._catalog.config(claim.config, claim.config_version)
            if loaded is None:
                raise UnknownAdapter((), f"config {claim.config} has no version {claim.config_version}")
            route = loaded.config.routes[claim.route]
            chain = Chain(route, self._adapters)
            found = _Runtime(route, chain, [{"type": s.name, "version": s.version} for s in chain.specs])
            self._runtimes[key] = found
        return found

    def attempts(self, going_on: Callable[[], bool]) -> Attempts:
        return Attempts(
            self._catalog,
            self._broker,
            self._store,
            worker=self._settings.worker,
            max_object_bytes=self._settings.max_object_bytes,
            rest=self._rest,
            going_on=going_on,
        )

    def parts(self) -> tuple[WorkerCatalog, Broker, Store, WorkerSettings, Rest]:
        return self._catalog, self._broker, self._store, self._settings, self._rest


class _Lane:
    """One queue: its fetch loop, its end loop, and what is in hand."""

    def __init__(self, worker: WorkerService, queue: str, subscription: Subscription, route: Route) -> None:
        self._worker = worker
        self._catalog, self._broker, self._store, self._settings, self._rest = worker.parts()
        self.queue = queue
        self.subscription = subscription
        self.route = route
        self.stopping = False
        self.slots: Slots[tuple[Started, _Runtime]] = Slots(route.concurrency)
        self._attempts = worker.attempts(lambda: not self.stopping)
        self.in_hand: dict[int, Delivery] = {}  # by identity: one message may come twice
        self._suspects: deque[Delivery] = deque()
        self._finished: deque[tuple[float, int]] = deque()
        self._away: Unavailable | None = None
        self._pause = AWAY_DELAY_SECONDS
        self._room = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"lane {queue}")

    def change(self, subscription: Subscription, route: Route) -> None:
        """Take up a newer version of the route: concurrency belongs to the queue."""
        self.subscription, self.route = subscription, route
        self.slots.limit = route.concurrency

    def stop(self) -> None:
        """Fetch nothing more; `task` ends when all that is in hand is settled."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """Look again whether there is something to fetch or to start."""
        self._room.set()

    async def _run(self) -> None:
        loops = [asyncio.create_task(loop) for loop in (self._fetch(), self._end_loop(), self._extend_loop())]
        try:
            # Only fetching comes to an end. A fault of any of them is the lane's: with one loop missing,
            # it would hold its messages for ever and do nothing.
            ended, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in ended:
                loop.result()
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            self.slots.close()

    async def _fetch(self) -> None:
        """Fetch until told to stop, then see to what is in hand."""
        await self._fetch_loop()
        self._let_go(self._suspects, 0)  # never claimed: they come again after their visibility
        # Nor do those wait that would run after what runs now: all slots may hang.
        await self._give_back([job.tag[0] for job in self.slots.withdraw()], delay=0)
        while self.in_hand:  # finish what runs; what hangs is settled by its time-out
            self._room.clear()
            await self._room.wait()

    # -- fetching ----------------------------------------------------------------------------------

    def _target(self) -> int:
        """How many messages to hold: what was finished in the last 100 ms, at least `concurrency`."""
        since = time.monotonic() - _WINDOW_SECONDS
        while self._finished and self._finished[0][0] < since:
            self._finished.popleft()
        lately = sum(n for _, n in self._finished)
        if self.route.prefetch is not None:
            return self.route.prefetch
        return min(max(lately, self.route.concurrency), max(_MOST_AHEAD, self.route.concurrency))

    async def _fetch_loop(self) -> None:
        while not self.stopping:
            self._room.clear()
            target = self._target()
            free = target - len(self.in_hand)
            try:
                if self._away:  # found away in the middle of things; what was in hand was given back
                    away, self._away = self._away, None
                    await self._wait_for_backends(away)
                elif self._suspects and self._worker.is_calm:
                    await self._start_suspect()
                elif free < max(1, target // 4):  # a batch's worth of room, not every single one
                    await self._room.wait()
                elif deliveries := await self._broker.receive(
                    self.queue, min(free, _MOST_AHEAD), wait=0 if self._suspects else _RECEIVE_WAIT_SECONDS
                ):
                    await self._start(deliveries)
                elif self._suspects:  # the turn of the next may come at any time
                    await self._wait_for_room(_RECEIVE_WAIT_SECONDS)
            except Unavailable as exc:
                await self._wait_for_backends(exc)

    async def _wait_for_room(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), seconds)

    async def _start(self, deliveries: Sequence[Delivery], *, beside_others: bool = True) -> None:
        self.in_hand.update((id(d), d) for d in deliveries)
        kept: set[int] = set()
        try:
            taken = await self._attempts.take(deliveries, beside_others=beside_others)
            kept = {id(s.delivery) for s in taken.started} | {id(d) for d in taken.suspects}
        finally:
            self._let_go([d for d in deliveries if id(d) not in kept], 0)
        self._suspects += taken.suspects
        started = taken.started
        if broken := [Ended(s, result=s.problem) for s in started if s.problem]:
            await self._end(broken)
        homeless = [one for one in started if one.problem is None and not await self._dispatch(one)]
        if homeless:
            await self._give_back(homeless, delay=AWAY_DELAY_SECONDS)
            await self._stand_back()
        elif started:
            self._pause = AWAY_DELAY_SECONDS
        self._away = taken.away or self._away

    async def _stand_back(self) -> None:
        """Take nothing from this queue until what was given back is due and others could take it.

        The longer the more often it comes to that; a new version of the route ends it.
        """
        self._pause = min(self._pause * 2, _LONGEST_STAND_BACK_SECONDS)
        subscription, until = self.subscription, time.monotonic() + self._pause
        while not self.stopping and subscription is self.subscription and time.monotonic() < until:
            await self._rest(_LOOK_SECONDS)

    async def _start_suspect(self) -> None:
        """Work a message that may be what kills workers: one at a time, claimed when it starts.

        What runs beside it now was not lost twice itself, so it can be lost with it once or twice more
        at the most before it is worked like this too.
        """
        suspect = self._suspects.popleft()
        self._worker.watch(suspect)
        try:
            await self._start([suspect], beside_others=False)
        except Unavailable:
            self._let_go([suspect], 0)  # it comes again by itself
            raise

    async def _dispatch(self, one: Started) -> bool:
        """Queue a message's work; False when this process has not got its adapters, or can't learn which."""
        claim = one.claim
        try:
            runtime = await self._worker.runtime(claim)
        except (UnknownAdapter, Unavailable) as exc:
            # Another worker may have it: a new version is being rolled out, or this one is old.
            events.emit(events.ROUTE_PAUSED, logging.WARNING, queue=self.queue, detail=exc.detail)
            return False
        source = claim.source
        item = Item(
            path=claim.path,
            data=one.data or b"",
            content_type=source.content_type if source else content_type_of(claim.path),
            attributes=source.attributes if source else {},
            stage=claim.stage,
            key=claim.object_key,
        )
        context = Context(
            execution_id=claim.execution_id,
            correlation_id=claim.correlation_id,
            config=claim.config,
            config_version=claim.config_version,
            route=claim.route,
            attempt=claim.attempt,
            replay=claim.replay_batch_id,
            data_dir=self._settings.data_dir,
            log=logging.getLogger(f"playhead.adapter.{claim.route}"),
        )
        chain = runtime.chain
        work = chain.run_async if chain.is_async else chain.run
        names = "+".join(step.type for step in runtime.route.steps)
        self.slots.submit(
            Job(
                (one, runtime),
                lambda: work(item, context),
                runtime.route.timeout_seconds,
                names,
                is_async=chain.is_async,
            )
        )
        return True

    # -- ending ------------------------------------------------------------------------------------

    async def _give_back(self, messages: Sequence[Started], *, delay: float) -> None:
        if messages:
            await self._end([_given_back(one, delay) for one in messages])

    async def _end_loop(self) -> None:
        while True:
            await self.slots.ready.wait()
            jobs = self.slots.drain()
            for at in range(0, len(jobs), _MOST_AHEAD):
                await self._end([self._outcome(job) for job in jobs[at : at + _MOST_AHEAD]])

    async def _end(self, batch: Collection[Ended]) -> None:
        """End attempts, however long the backends are away: nobody else will, while this process lives."""
        ended = list(batch)
        while ended:
            try:
                await self._attempts.end(ended)
                break
            except Unavailable as exc:
                if exc.code.startswith("store") and any(e.result is None for e in ended):
                    # The products are made anew by the next attempt, which is not counted.
                    ended = [_given_back(e.started) if e.result is None else e for e in ended]
                    events.emit(events.BACKEND_AWAY, logging.WARNING, detail=exc.detail)
                    self._away = exc  # no more of this route until a probe of the store succeeds
                    continue
                await self._wait_for_backends(exc, ending=True)
                if self.stopping:
                    # What is not ended is recalled once this process has departed; what is not acked
                    # comes again, and its row refuses it.
                    break
        self._let_go([e.started.delivery for e in batch], len(batch))

    def _let_go(self, deliveries: Collection[Delivery], finished: int) -> None:
        for d in deliveries:
            self.in_hand.pop(id(d), None)
            self._worker.settled(d)
        if finished:
            self._finished.append((time.monotonic(), finished))
            self._worker.completed += finished
        self._room.set()

    def _outcome(self, job: Job[tuple[Started, _Runtime]]) -> Ended:
        one, runtime = job.tag
        if job.error is None:
            return Ended(one, runtime.route.stage, job.result, runtime.adapters)
        return Ended(one, result=_failure(one.claim, runtime.route, job.error))

    # -- waiting -----------------------------------------------------------------------------------

    async def _extend_loop(self) -> None:
        """Keep what is held hidden, what waits in the buffer as well as what runs."""
        while True:
            await asyncio.sleep(self._settings.visibility / 3)
            if self.in_hand:
                try:
                    await self._broker.extend(list(self.in_hand.values()))
                except Unavailable as exc:
                    events.emit(events.BACKEND_AWAY, logging.WARNING, detail=exc.detail)

    async def _wait_for_backends(self, exc: Unavailable, *, ending: bool = False) -> None:
        """Take nothing more from this queue until all three backends answer again."""
        events.emit(events.ROUTE_PAUSED, logging.WARNING, queue=self.queue, code=exc.code, detail=exc.detail)
        pause = 0.2
        while ending or not self.stopping:
            await self._rest(pause)
            pause = min(pause * 2, 5.0)
            try:
                await self._catalog_check()
                await self._broker.check()
                await self._store.check()
            except Unavailable:
                if self.stopping:
                    return
                continue
            return

    async def _catalog_check(self) -> None:
        await self._catalog.workers()


def _given_back(one: Started, delay: float = AWAY_DELAY_SECONDS) -> Ended:
    return Ended(one, result=GivenBack(one.claim.correlation_id, one.claim.attempt, delay))


def _failure(claim: Claim, route: Route, error: BaseException) -> Failed:
    """What an attempt's error means: a dead letter, or a time to try again."""

    def failed(code: str, text: str, *, trace: bool, delay: float | None) -> Failed:
        if claim.spent >= route.errors.max_attempts:
            delay = None
        lines = _storable("".join(traceback.format_exception(error)), _LONGEST_TRACEBACK) if trace else None
        return Failed(
            claim.correlation_id, claim.attempt, code, _storable(text, _LONGEST_ERROR), lines, delay
        )

    again = route.errors.delay(claim.spent)
    if isinstance(error, TimedOut):
        text = f"no result within {route.timeout_seconds:g} s (timeout_seconds of route {route.name!r})"
        return failed("adapter_timeout", text, trace=False, delay=again)
    if isinstance(error, Reject):
        return failed("rejected", _said(error) or "rejected without a reason", trace=False, delay=None)
    if isinstance(error, Retry):
        after = error.after if error.after is not None else again
        return failed("adapter_error", _said(error) or "retry without a reason", trace=True, delay=after)
    if isinstance(error, MessageError):
        return failed(error.code, error.detail, trace=False, delay=None)
    return failed("adapter_error", f"{type(error).__name__}: {_said(error)}", trace=True, delay=again)


def _said(error: BaseException) -> str:
    """The words of an adapter's error. They are its own code, which may fail too."""
    try:
        return str(error)
    except Exception as exc:
        return f"(its text can't be read: {type(exc).__name__})"


def _storable(text: str, most: int) -> str:
    """What of a text a database takes and a reader wants: Unicode without surrogates, head and tail."""
    if len(text) > most:
        text = (
            f"{text[: most // 4]}\n… {len(text) - most} characters left out …\n{text[-(most - most // 4) :]}"
        )
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
