"""A lane: how a worker consumes one queue.

One loop fetches, claims and reads; another ends what adapters have finished. Both work in batches sized
by what the lane finished in the last 100 ms, so a fast route pays one commit for hundreds of messages
and a slow one hoards nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from playhead import events
from playhead.engine.attempts import UNAVAILABLE_DELAY_SECONDS, AttemptOutcome, Attempts, ClaimedMessage
from playhead.engine.chain import Chain, Product, UnknownAdapter
from playhead.engine.failures import failure
from playhead.engine.relay import Sleep
from playhead.engine.runner import Job, Slots
from playhead.errors import Unavailable
from playhead.keys import content_type_of
from playhead.model import Route
from playhead.ports.adapter import Context, Item
from playhead.ports.broker import Broker, Delivery
from playhead.ports.catalog.upkeep import Subscription
from playhead.ports.catalog.work import Claim, Released, Result
from playhead.ports.store import Store
from playhead.ports.tracer import Span

_WINDOW_SECONDS = 0.1
_MOST_AHEAD = 256
_RECEIVE_WAIT_SECONDS = 0.5
_LOOK_SECONDS = 0.1
_LONGEST_STAND_BACK_SECONDS = 30.0
_DEPART_SECONDS = 3.0
"""For so long a lane whose process ends tries what failed again, if the backends seem to be back."""


@dataclass(slots=True)
class RouteRuntime:
    """A route of one config version, ready to run in this process."""

    route: Route
    chain: Chain
    adapters: list[Mapping[str, str]] = field(default_factory=list)


class Checked(Protocol):
    async def check(self) -> str: ...


class Backends(NamedTuple):
    """The three that all must answer before a lane goes on after an outage."""

    catalog: Checked
    broker: Broker
    store: Store


class Host(Protocol):
    """What a lane asks of its worker."""

    @property
    def may_start_suspect(self) -> bool:
        """Whether no suspect runs in this process."""
        ...

    def reserve_suspect_slot(self, suspect: Delivery) -> None:
        """Let no other suspect run until this one is settled."""
        ...

    def settled(self, delivery: Delivery) -> None:
        """A delivery is out of hand."""
        ...

    def finished(self, count: int) -> None:
        """So many attempts were ended."""
        ...

    async def runtime(self, claim: Claim) -> RouteRuntime:
        """What to run for a claim. Raises `UnknownAdapter`, `Unavailable`."""
        ...


class Lane:
    """One queue: its fetch loop, its end loop, and what is in hand.

    Attributes:
        lacks: why this process can't work what waits here: the adapters that it has not got.

    Must be made inside a running event loop; `task` ends once `stop` was called and all in hand is settled.

    Args:
        host: the worker.
        visibility: seconds; what is held is extended every third of it.
        data_dir: where adapters keep their files.
    """

    def __init__(
        self,
        host: Host,
        backends: Backends,
        attempts: Callable[[Callable[[], bool]], Attempts],
        subscription: Subscription,
        route: Route,
        *,
        visibility: float,
        data_dir: str,
        sleep: Sleep,
    ) -> None:
        self._host = host
        self._backends = backends
        self._broker = backends.broker
        self._visibility = visibility
        self._data_dir = data_dir
        self._sleep = sleep
        self.queue = subscription.queue
        self.subscription = subscription
        self.route = route
        self.stopping = False
        self.departing = False
        self.missing_adapters: str | None = None
        self.slots: Slots[tuple[ClaimedMessage, RouteRuntime]] = Slots(route.concurrency)
        self._attempts = attempts(lambda: not self.stopping)
        self.in_hand: dict[int, Delivery] = {}  # by identity: one message may come twice
        self._unanswered: list[tuple[Sequence[Delivery], bool]] = []
        self._suspects: deque[Delivery] = deque()
        self._later: list[Delivery] = []
        self._has_ended = False  # something, since `_later` was looked at
        self._finished: deque[tuple[float, int]] = deque()
        self._away: Unavailable | None = None
        self._pause = UNAVAILABLE_DELAY_SECONDS
        self._room = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"lane {self.queue}")

    def change(self, subscription: Subscription, route: Route) -> None:
        """Take up a newer version of the route: concurrency belongs to the queue."""
        self.subscription, self.route = subscription, route
        self.slots.limit = route.concurrency

    def stop(self, *, departing: bool = False) -> None:
        """Fetch nothing more; `task` ends when all that is in hand is settled.

        `departing`: so does this process. What can't be settled, as backends are away, is left, and free once
        it has departed. A process that goes on would keep that from everyone.
        """
        self.stopping = True
        self.departing = self.departing or departing
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
        self._let_go([*self._suspects, *self._later], 0)  # never claimed: they come again by themselves
        # Nor do those wait that would run after what runs now: all slots may hang.
        await self._release([job.tag[0] for job in self.slots.withdraw()], delay=0)
        for deliveries, alone in self._unanswered:
            await self._release(await self._claimed(deliveries, alone=alone), delay=0)
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
                elif self._unanswered:
                    deliveries, alone = self._unanswered.pop()
                    await self._start(deliveries, alone=alone)
                elif self._suspects and self._host.may_start_suspect:
                    await self._start_suspect()
                elif self._later and self._has_ended:
                    self._has_ended = False
                    later, self._later = self._later, []
                    await self._start(later)
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

    async def _start(self, deliveries: Sequence[Delivery], *, alone: bool = False) -> None:
        self.in_hand.update((id(d), d) for d in deliveries)
        try:
            taken = await self._attempts.take(deliveries, alone=alone)
        except Unavailable:
            # They may be claimed: then nobody else can work them, and only this lane can find out.
            self._unanswered.append((deliveries, alone))
            raise
        kept = {id(d) for d in (*(s.delivery for s in taken.started), *taken.suspects, *taken.later)}
        self._let_go([d for d in deliveries if id(d) not in kept], 0)
        self._suspects += taken.suspects
        self._later += taken.later
        started = taken.started
        if broken := [AttemptOutcome(s, result=s.problem) for s in started if s.problem]:
            await self._end(broken)
        undispatchable = [one for one in started if one.problem is None and not await self._dispatch(one)]
        if undispatchable:
            await self._release(undispatchable, delay=UNAVAILABLE_DELAY_SECONDS)
            await self._stand_back()
        elif started:
            self._pause = UNAVAILABLE_DELAY_SECONDS
            self.missing_adapters = None
        self._away = taken.away or self._away

    async def _claimed(self, deliveries: Sequence[Delivery], *, alone: bool) -> list[ClaimedMessage]:
        """Find out what was claimed when no answer came, to give it back: left as it is, it would count as
        lost with this process."""
        started: list[ClaimedMessage] = []
        until: float | None = None
        while True:
            try:
                started = (await self._attempts.take(deliveries, alone=alone)).started
                break
            except Unavailable as exc:
                until = until or self._last_try()
                if not await self._may_try_again(exc, until):
                    break  # claimed or not, they are free once this process has departed
        kept = {id(one.delivery) for one in started}
        self._let_go([d for d in deliveries if id(d) not in kept], 0)
        return started

    async def _stand_back(self) -> None:
        """Take nothing from this queue until what was given back is due and others could take it.

        The longer the more often it comes to that; a new version of the route ends it.
        """
        self._pause = min(self._pause * 2, _LONGEST_STAND_BACK_SECONDS)
        subscription, until = self.subscription, time.monotonic() + self._pause
        while not self.stopping and subscription is self.subscription and time.monotonic() < until:
            await self._sleep(_LOOK_SECONDS)

    async def _start_suspect(self) -> None:
        """Work a message that may be what kills workers: one at a time, claimed when it starts.

        What runs beside it now was not lost twice itself, so it can be lost with it once or twice more
        at the most before it is worked like this too.
        """
        suspect = self._suspects.popleft()
        self._host.reserve_suspect_slot(suspect)
        await self._start([suspect], alone=True)

    async def _dispatch(self, one: ClaimedMessage) -> bool:
        """Queue a message's work; False when this process has not got its adapters, or can't learn which."""
        claim = one.claim
        try:
            runtime = await self._host.runtime(claim)
        except (UnknownAdapter, Unavailable) as exc:
            # Another worker may have it: a new version is being rolled out, or this one is old.
            events.emit(events.ROUTE_PAUSED, logging.WARNING, queue=self.queue, detail=exc.detail)
            self.missing_adapters = exc.detail if isinstance(exc, UnknownAdapter) else None
            return False
        about = claim.source or one.told
        item = Item(
            path=claim.path,
            data=one.data or b"",
            content_type=about.content_type or content_type_of(claim.path),
            attributes=about.attributes,
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
            data_dir=self._data_dir,
            log=logging.getLogger(f"playhead.adapter.{claim.route}"),
        )
        chain = runtime.chain
        work: Callable[[Item, Context], Any] = chain.run_async if chain.is_async else chain.run
        if one.span:
            work = _below_async(one.span, chain) if chain.is_async else _below(one.span, chain)
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

    async def _release(self, messages: Sequence[ClaimedMessage], *, delay: float) -> None:
        if messages:
            await self._end([_released(one, delay) for one in messages])

    async def _end_loop(self) -> None:
        while True:
            await self.slots.ready.wait()
            jobs = self.slots.drain()
            for at in range(0, len(jobs), _MOST_AHEAD):
                await self._end([self._outcome(job) for job in jobs[at : at + _MOST_AHEAD]])

    async def _end(self, batch: Collection[AttemptOutcome]) -> None:
        """End attempts, however long the backends are away: nobody else will, while this process lives."""
        ended = list(batch)
        results: list[tuple[AttemptOutcome, Result]] | None = None
        until: float | None = None
        while ended:
            try:
                if results is None:
                    results = await self._attempts.persist(ended)
                await self._attempts.end(ended, results)
                break
            except Unavailable as exc:
                if exc.code.startswith("store") and any(e.result is None for e in ended):
                    # The products are made anew by the next attempt, which is not counted.
                    ended = [_released(e.started) if e.result is None else e for e in ended]
                    events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, detail=exc.detail)
                    self._away = exc  # no more of this route until a probe of the store succeeds
                    continue
                until = until or self._last_try()
                if not await self._may_try_again(exc, until):
                    # What is not ended is recalled once this process has departed; what is not acked
                    # comes again, and its row refuses it.
                    break
        self._let_go([e.started.delivery for e in batch], len(batch))

    def _let_go(self, deliveries: Collection[Delivery], finished: int) -> None:
        for d in deliveries:
            self.in_hand.pop(id(d), None)
            self._host.settled(d)
        if finished:
            self._has_ended = True
            self._finished.append((time.monotonic(), finished))
            self._host.finished(finished)
        self._room.set()

    def _outcome(self, job: Job[tuple[ClaimedMessage, RouteRuntime]]) -> AttemptOutcome:
        one, runtime = job.tag
        took = job.ended - job.started if job.ended is not None and job.started is not None else None
        if job.error is None:
            return AttemptOutcome(one, runtime.route.stage, job.result, runtime.adapters, seconds=took)
        return AttemptOutcome(one, result=failure(one.claim, runtime.route, job.error), seconds=took)

    # -- waiting -----------------------------------------------------------------------------------

    async def _extend_loop(self) -> None:
        """Keep what is held hidden, what waits in the buffer as well as what runs."""
        while True:
            await asyncio.sleep(self._visibility / 3)
            if self.in_hand:
                try:
                    await self._broker.extend(list(self.in_hand.values()))
                except Unavailable as exc:
                    events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, detail=exc.detail)

    def _last_try(self) -> float | None:
        """Until when what failed just now may be tried again; None: as long as it takes."""
        return time.monotonic() + _DEPART_SECONDS if self.departing else None

    async def _may_try_again(self, exc: Unavailable, until: float | None) -> bool:
        """Wait until what failed may be tried again. A lane whose process ends gives up when the backends are
        still away, or seem to be back for too long without that: a full disk can be read."""
        back = await self._wait_for_backends(exc, ending=True)
        return not self.departing or (back and (until is None or time.monotonic() < until))

    async def _wait_for_backends(self, exc: Unavailable, *, ending: bool = False) -> bool:
        """Take nothing more from this queue until all three backends answer again; False when there is no
        waiting for that any more."""
        events.emit(events.ROUTE_PAUSED, logging.WARNING, queue=self.queue, code=exc.code, detail=exc.detail)
        pause = 0.2
        while ending or not self.stopping:
            await self._sleep(pause)
            pause = min(pause * 2, 5.0)
            try:
                for backend in self._backends:
                    await backend.check()
            except Unavailable:
                if self.departing:
                    return False
                continue
            return True
        return False


def _below(span: Span, chain: Chain) -> Callable[[Item, Context], list[Product]]:
    """A chain that runs with its attempt's span as the current one of its thread."""

    def run(item: Item, context: Context) -> list[Product]:
        with span.current():
            return chain.run(item, context)

    return run


def _below_async(span: Span, chain: Chain) -> Callable[[Item, Context], Awaitable[list[Product]]]:
    """The same for one that is a task of an event loop."""

    async def run(item: Item, context: Context) -> list[Product]:
        with span.current():
            return await chain.run_async(item, context)

    return run


def _released(one: ClaimedMessage, delay: float = UNAVAILABLE_DELAY_SECONDS) -> AttemptOutcome:
    return AttemptOutcome(one, result=Released(one.claim.correlation_id, one.claim.attempt, delay))
