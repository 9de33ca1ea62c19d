"""From a claimed message to a job in a slot, and from an ended job to the attempt's outcome."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from playhead.clock import ActiveClock, Clock
from playhead.environment import WorkerSettings
from playhead.keys import content_type_of
from playhead.model import Route
from playhead.ports.adapter import Context, Item
from playhead.ports.tracer import Span
from playhead.steps.chain import Chain, CooldownNeeded, Result
from playhead.steps.slots import Slots
from playhead.steps.timeouts import Job
from playhead.work.attempt import AttemptOutcome, ClaimedMessage
from playhead.work.deliveries import Deliveries, State
from playhead.work.failures import cooldown_of, failure, not_run_of

_FEW = 128
_GATHER_SECONDS = 0.005
_MORE_SECONDS = 0.01
_MOST_TURNS = 15


@dataclass(frozen=True, slots=True, eq=False)
class RouteRuntime:
    """A route of one config version, ready to run in this process.

    Attributes:
        adapters: name, version and code of each adapter, as sidecars list them.
        code: the number under which the catalog has recorded them.
        effects: the adapters that declare external effects.
        dataset: the dataset of the route.
    """

    route: Route
    chain: Chain
    adapters: Sequence[Mapping[str, str]] = ()
    code: int | None = None
    effects: Sequence[str] = ()
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a job belongs to."""

    message: ClaimedMessage
    runtime: RouteRuntime


def new_slots(limit: int, clock: Clock) -> Slots[Attempt]:
    """Return slots in which no waiting chain starts after a rejected call: its call would be rejected too."""
    return Slots(limit, clock=ActiveClock(clock), withholds=lambda error: isinstance(error, CooldownNeeded))


class Dispatcher:
    """Hands claimed messages to the slots of one consumer, and collects how their attempts ended.

    Args:
        deliveries: those of the consumer; dispatching moves them.
        settings: those that adapters get in their context.
    """

    def __init__(self, slots: Slots[Attempt], deliveries: Deliveries, settings: WorkerSettings) -> None:
        self._slots = slots
        self._deliveries = deliveries
        self._settings = settings
        self._in_use: Counter[RouteRuntime] = Counter()

    @property
    def runtimes_in_use(self) -> Set[RouteRuntime]:
        """The runtimes of the chains that wait or run."""
        return self._in_use.keys()

    def start(self, message: ClaimedMessage, runtime: RouteRuntime) -> None:
        """Queue the message's chain for a slot."""
        chain, route, span = runtime.chain, runtime.route, message.span
        item, context = _item(message), self._context(message, runtime)
        work: Callable[[Item, Context], Any] = chain.run
        if chain.is_async:
            work = partial(chain.run_async, alone=message.alone)
        if span:
            work = _inside_async(span, work) if chain.is_async else _inside(span, work)
        names = "+".join(step.type for step in route.steps)
        self._deliveries.move(message.held, State.RUNNING)
        self._in_use[runtime] += 1
        self._slots.submit(
            Job(
                Attempt(message, runtime),
                lambda: work(item, context),
                route.timeout_seconds,
                names,
                is_async=chain.is_async,
            )
        )

    async def wait(self) -> None:
        """Wait until an attempt has ended."""
        await self._slots.ready.wait()

    async def gather(self) -> None:
        """Let more chains end if only a few have, so that they share a commit.

        Other chains often end within a few milliseconds. This may take up to 0.15 s while chains wait for a
        slot, because then no slot is idle.
        """
        if not self.has_few_ended():
            return
        await asyncio.sleep(_GATHER_SECONDS)
        for _ in range(_MOST_TURNS):
            if not (self._slots.waiting_count and self.has_few_ended()):
                return
            await asyncio.sleep(_MORE_SECONDS)

    def has_few_ended(self) -> bool:
        """Whether only a few of the chains that were started have ended, so that more are about to."""
        ended = self._slots.ended_count
        return ended < _FEW and self._in_use.total() > ended

    def ended(self) -> list[AttemptOutcome]:
        """Return the attempts that have ended since the last call."""
        return [self._outcome(job) for job in self._slots.drain()]

    def withdraw(self) -> list[ClaimedMessage]:
        """Remove and return the messages whose chains have not started."""
        withdrawn = self._slots.withdraw()
        for job in withdrawn:
            self._release(job.tag.runtime)
        return [job.tag.message for job in withdrawn]

    def _release(self, runtime: RouteRuntime) -> None:
        self._in_use[runtime] -= 1
        if not self._in_use[runtime]:
            del self._in_use[runtime]

    def _outcome(self, job: Job[Attempt]) -> AttemptOutcome:
        message, runtime = job.tag.message, job.tag.runtime
        self._release(runtime)
        seconds = job.ended - job.started if job.ended is not None and job.started is not None else None
        if job.error is None:
            returned: Result = job.result
            return AttemptOutcome(
                message,
                runtime.route.stage,
                products=returned.products,
                skip=returned.skip,
                adapters=runtime.adapters,
                code=runtime.code,
                reads=None if runtime.route.stage is None else returned.reads,
                seconds=seconds,
            )
        claim, route, mask = message.claim, runtime.route, runtime.chain.mask
        return AttemptOutcome(
            message,
            result=failure(claim, route, job.error, mask, runtime.code),
            seconds=seconds,
            cooldown=cooldown_of(claim, route, job.error, mask),
            not_run=not_run_of(job.error, mask),
        )

    def _context(self, message: ClaimedMessage, runtime: RouteRuntime) -> Context:
        claim = message.claim
        return Context(
            execution_id=claim.execution_id,
            correlation_id=claim.correlation_id,
            config=claim.config,
            config_version=claim.config_version,
            route=claim.route,
            attempt=claim.attempt,
            replay=claim.replay_batch_id,
            data_dir=self._settings.data_dir,
            log=logging.getLogger(f"playhead.adapter.{claim.route}"),
            internal_hosts=self._settings.internal_hosts,
            mask=runtime.chain.mask,
            dataset=runtime.dataset,
        )


def _item(message: ClaimedMessage) -> Item:
    claim = message.claim
    described = claim.source or message.sidecar
    return Item(
        path=claim.path,
        data=message.data or b"",
        content_type=described.content_type or content_type_of(claim.path),
        attributes=described.attributes,
        stage=claim.stage,
        key=claim.object_key,
    )


def _inside(span: Span, work: Callable[[Item, Context], Result]) -> Callable[[Item, Context], Result]:
    """A chain that runs with its attempt's span as the current one of its thread."""

    def run(item: Item, context: Context) -> Result:
        with span.current():
            return work(item, context)

    return run


def _inside_async(
    span: Span, work: Callable[[Item, Context], Awaitable[Result]]
) -> Callable[[Item, Context], Awaitable[Result]]:
    """The same for a chain that is a task of an event loop."""

    async def run(item: Item, context: Context) -> Result:
        with span.current():
            return await work(item, context)

    return run
