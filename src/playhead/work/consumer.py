"""A consumer: how a worker consumes one queue.

Three loops run next to each other:

- *receive*: receive deliveries from the broker, claim their messages (`work.intake`), and start them in
  slots (`work.dispatch`);
- *end*: store the outputs of chains (`work.binding`), and end their attempts (`work.completion`); while a
  backend is unavailable, `work.recording` repeats this;
- *extend*: keep all held deliveries hidden from other consumers.

The first two work in batches, because a commit costs almost the same for one message as for dozens.
`work.ahead` decides how many deliveries the consumer holds.

`work.deliveries` lists where a delivery can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Sequence, Set
from typing import Protocol

from playhead import events
from playhead.environment import Backends, Environment, WorkerSettings
from playhead.errors import Unavailable
from playhead.model import Route
from playhead.ports.broker import Delivery
from playhead.ports.catalog.limits import Limits
from playhead.ports.catalog.upkeep import Subscription
from playhead.steps.chain import UnknownAdapter
from playhead.work.ahead import Ahead
from playhead.work.attempt import AttemptOutcome, ClaimedMessage
from playhead.work.backoff import UNAVAILABLE_DELAY_SECONDS, Backoff, Checked
from playhead.work.binding import Binder
from playhead.work.children import Children
from playhead.work.completion import MOST_ATTEMPTS, Completion, batches
from playhead.work.deliveries import Deliveries, HeldDelivery, State
from playhead.work.dispatch import Dispatcher, RouteRuntime, new_slots
from playhead.work.failures import delay_after, longest_cooldowns, not_run
from playhead.work.host import Host
from playhead.work.intake import AttemptCatalog, Intake
from playhead.work.readiness import Readiness
from playhead.work.recording import Recorder
from playhead.work.routelimits import RouteLimits
from playhead.work.skipping import Skipping

_RECEIVE_WAIT_SECONDS = 0.5
_LONGEST_UNCLAIMED_SECONDS = 600.0


class ConsumerCatalog(AttemptCatalog, Limits, Checked, Protocol): ...


class Consumer:
    """Consumes one queue until it is stopped and every delivery that it holds is settled.

    Create it inside a running event loop. `task` ends with the consumer, and raises its fault.

    Attributes:
        deliveries: the deliveries that it holds.
    """

    def __init__(
        self,
        host: Host,
        backends: Backends[ConsumerCatalog],
        env: Environment,
        settings: WorkerSettings,
        subscription: Subscription,
        route: Route,
        batch: int = 1,
    ) -> None:
        self._host = host
        self._broker = backends.broker
        self._store = backends.store
        self._env = env
        self._visibility = settings.visibility
        self.queue = subscription.queue
        self.subscription = subscription
        self.route = route
        self._batch = batch
        self.stopping = False
        self.departing = False
        self.deliveries = deliveries = Deliveries(self._settled)
        self.slots = new_slots(route.concurrency * batch, env.clock)
        children = Children(backends, env, may_wait=lambda: not self.stopping)
        processing, max_object_bytes = host.processing, settings.max_object_bytes
        self._intake = Intake(
            backends, env, deliveries, children, processing=processing, max_object_bytes=max_object_bytes
        )
        self._dispatcher = Dispatcher(self.slots, deliveries, settings)
        self._backoff = Backoff(
            backends,
            env,
            self.queue,
            is_stopping=lambda: self.stopping,
            is_departing=lambda: self.departing,
        )
        self._recorder = Recorder(
            Binder(backends, env, max_object_bytes=max_object_bytes),
            Completion(backends, env, deliveries, children, processing=processing),
            self._backoff,
            deliveries,
            withdraw=self._dispatcher.withdraw,
            ended=self._ended,
            unblocked=self.wake,
        )
        self._unavailable: Unavailable | None = None
        self._is_store_checked = False
        self._alone: HeldDelivery | None = None
        self._may_claim_deferred = False
        self._ahead = Ahead()
        self._limits = RouteLimits(backends.catalog, env.clock)
        self._readiness = Readiness(host, env, self.queue)
        self._skipping = Skipping(backends.catalog)
        self._changed = asyncio.Event()
        self._receiving: asyncio.Task[list[Delivery]] | None = None
        self.task = asyncio.create_task(self._run(), name=f"consumer of {self.queue}")

    @property
    def missing(self) -> str | None:
        """What the process lacks to run the steps of the queue; None if it lacks nothing."""
        return self._readiness.missing

    @property
    def runtimes_in_use(self) -> Set[RouteRuntime]:
        """The runtimes of the chains that wait or run."""
        return self._dispatcher.runtimes_in_use

    def change(self, subscription: Subscription, route: Route, batch: int) -> None:
        """Use a newer version of the route. Its concurrency applies to all messages of the queue."""
        self.subscription, self.route, self._batch = subscription, route, batch
        self.slots.limit = route.concurrency * batch
        self.wake()

    @property
    def cooldown_keys(self) -> Set[str]:
        """The keys whose cooldowns stop this consumer."""
        return self.route.cooldown_keys(self.subscription.config)

    def cool_down(self, seconds: float) -> bool:
        """Claim no message for some seconds, and release messages that wait for a slot.

        Return False if a cooldown lasts that long already.
        """
        if not self._limits.cool_down(seconds):
            return False
        self.wake()
        return True

    def stop(self, *, departing: bool = False) -> None:
        """Receive nothing more; `task` ends when every held delivery is settled.

        `departing`: whether the process ends too. Then unsettled deliveries need not wait for unavailable
        backends: their rows are free when the process has departed. As long as the process is alive, no
        other process can claim these rows.
        """
        self.stopping = True
        self.departing = self.departing or departing
        if self._receiving:
            self._receiving.cancel()
        self.wake()

    def wake(self) -> None:
        """Check again whether something can be received or started."""
        self._changed.set()

    async def _run(self) -> None:
        loops = [
            asyncio.create_task(loop) for loop in (self._receive(), self._end_loop(), self._extend_loop())
        ]
        try:
            # Only the first loop ends by itself. A fault of any loop ends the consumer, because without that
            # loop it would hold its messages forever.
            ended, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in ended:
                loop.result()
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            self.slots.close()
            await self.slots.wait_closed()

    # -- receive -----------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while not self.stopping:
            self._changed.clear()
            try:
                await self._receive_next()
            except Unavailable as exc:
                await self._backoff.wait(exc)
        await self._return(self.deliveries.unclaimed())
        # Messages that wait for a slot do not wait here any longer: all slots may hang.
        await self._recorder.release(self._dispatcher.withdraw(), delay=0)
        await self._recorder.release(await self._claimed_unanswered(), delay=0)
        while self.deliveries:  # running chains finish; a hanging one ends by its time-out
            self._changed.clear()
            await self._return(self.deliveries.unclaimed())  # held again, because their calls were rejected
            if self.deliveries:
                await self._changed.wait()

    async def _receive_next(self) -> None:
        """Do the first possible of these actions, or wait until one is possible."""
        target = self._ahead.target(self.route, self._batch)
        room = target - len(self.deliveries)
        has_suspects = self.deliveries.has(State.SUSPECTED)
        paced = list(self.deliveries.in_state(State.LIMITED))
        may_suspect = has_suspects and self._host.may_start_suspect
        is_paced = bool(paced) or (may_suspect and self.route.rate_limit is not None)
        if self._recorder.is_blocked:  # until the store accepts the finished outputs
            await self._changed.wait()
        elif self._readiness.is_wait_due:  # noticed while steps ran
            await self._leave_to_others(self._dispatcher.withdraw())
        elif self._unavailable:  # noticed after messages were claimed
            unavailable, self._unavailable = self._unavailable, None
            await self._backoff.wait(unavailable)
        elif self.deliveries.has(State.RECEIVED):  # the answer to their claim was lost
            await self._take(self.deliveries.in_state(State.RECEIVED))
        elif cooldown := self._limits.cooldown_left:
            await self._release_for_cooldown()
            await self._wait(cooldown)
        elif may_suspect and (self.route.rate_limit is None or await self._admit(1)):
            await self._take_suspect()
        elif paced and (count := await self._admit(len(paced))):
            admitted = [held for held in paced if held.state is State.LIMITED][:count]
            self.deliveries.move_all(admitted, State.RECEIVED)
            await self._take(admitted)
        elif self._may_claim_deferred and self.deliveries.has(State.DEFERRED):
            await self._take_deferred()
        elif room < max(1, target // 4):  # wait for room for a batch, not for a single message
            await self._wait(self._pace_seconds if is_paced else None)
        elif deliveries := await self._receive_some(
            min(room, MOST_ATTEMPTS), wait=0 if has_suspects or paced else _RECEIVE_WAIT_SECONDS
        ):
            received = self.deliveries.receive(deliveries)
            if self.route.is_limited or self._limits.had_cooldown:
                self.deliveries.move_all(received, State.LIMITED)
            else:
                await self._take(received)
        elif is_paced:
            await self._wait(min(self._pace_seconds, _RECEIVE_WAIT_SECONDS))
        elif has_suspects:  # another consumer's suspect may be settled at any time
            await self._wait(_RECEIVE_WAIT_SECONDS)

    async def _receive_some(self, limit: int, *, wait: float) -> list[Delivery]:
        """Receive from the broker, and wait for the first delivery until the consumer is stopped."""
        receiving = asyncio.create_task(self._broker.receive(self.queue, limit, wait=wait))
        self._receiving = receiving
        try:
            await asyncio.wait([receiving])
        finally:
            receiving.cancel()
            self._receiving = None
        return [] if receiving.cancelled() and self.stopping else receiving.result()

    async def _wait(self, seconds: float | None) -> None:
        """Wait until something has changed, or for some seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    @property
    def _pace_seconds(self) -> float:
        """Seconds until more messages may be claimed. While all slots are in use, one that ends wakes it."""
        return self._limits.wait_seconds if self._free_slots > 0 else _RECEIVE_WAIT_SECONDS

    async def _admit(self, waiting: int) -> int:
        """Return how many of the messages that wait may be claimed now."""
        return await self._limits.admit(self.route, waiting, self._free_slots, self._most_running)

    @property
    def _most_running(self) -> int | None:
        """How many messages of the queue may run in all workers."""
        total = self.route.concurrency_total
        return total and total * self._batch

    @property
    def _free_slots(self) -> int:
        """How many messages could start at once."""
        return self.slots.limit - len(self.deliveries.in_state(State.RUNNING))

    async def _take_suspect(self) -> None:
        """Claim a suspected poison message: one at a time per process, and only when it can start at once.

        Other messages run at the same time. If the suspect kills the process, their attempts count too, and
        they may become suspects themselves. So they end only if the process dies while they run as suspects.
        """
        suspect = next(iter(self.deliveries.in_state(State.SUSPECTED)), None)
        if suspect is None:  # returned to the broker meanwhile
            return
        self._host.reserve_suspect_slot(suspect)
        self._alone = suspect
        self.deliveries.move(suspect, State.RECEIVED)
        await self._take([suspect])

    async def _take_deferred(self) -> None:
        self._may_claim_deferred = False
        deferred = self.deliveries.in_state(State.DEFERRED)
        self.deliveries.move_all(deferred, State.RECEIVED)
        await self._take(deferred)

    async def _take(self, received: Collection[HeldDelivery]) -> None:
        """Claim messages and start their chains. Raises `Unavailable` if a claim got no answer."""
        if not self._is_store_checked:  # do not run steps whose outputs the store cannot accept
            await self._store.check()
            self._is_store_checked = True
        for some, alone in self._by_company(received):
            result = await self._intake.take(some, alone=alone, most_running=self._most_running)
            if result.is_full:
                self._limits.is_full()
            self._ahead.read(len(one.data) for one in result.claimed if one.data is not None)
            await self._start(result.claimed)
            self._unavailable = result.unavailable or self._unavailable

    def _by_company(self, received: Collection[HeldDelivery]) -> list[tuple[Sequence[HeldDelivery], bool]]:
        """Split deliveries into batches to claim, each with whether it is a suspect that runs alone."""
        suspect = [held for held in received if held is self._alone]
        others = [held for held in received if held is not self._alone]
        return [(some, alone) for some, alone in ((others, False), (suspect, True)) if some]

    async def _start(self, claimed: Sequence[ClaimedMessage]) -> None:
        """Start chains; end or release at once what cannot run."""
        await self._recorder.end([AttemptOutcome(one, result=one.problem) for one in claimed if one.problem])
        left = []
        skipped = []
        for one in claimed:
            if one.problem:
                continue
            try:
                runtime = await self._host.runtime(one.claim)
                if one.claim.skips_effects and (why := await self._skipping.reason(one.claim, runtime)):
                    skipped.append(AttemptOutcome(one, skip=why))
                else:
                    self._dispatcher.start(one, runtime)
            except (UnknownAdapter, Unavailable) as exc:
                self._readiness.cannot_run(not_run(exc))
                left.append(one)
        await self._recorder.end(skipped)
        await self._leave_to_others(left)

    async def _release_for_cooldown(self) -> None:
        """Release the messages that wait for a slot, because no call may begin now."""
        delay = delay_after(self._limits.cooldown_left)
        await self._recorder.release(self._dispatcher.withdraw(), delay=delay, is_reported=True)

    async def _leave_to_others(self, messages: Sequence[ClaimedMessage]) -> None:
        """Release messages whose steps cannot run in this process, and wait if any could not."""
        await self._recorder.release(messages, delay=UNAVAILABLE_DELAY_SECONDS, is_reported=True)
        if self._readiness.is_wait_due:
            subscription = self.subscription
            await self._readiness.wait(
                subscription.config,
                subscription.route,
                is_over=lambda: self.stopping or subscription is not self.subscription,
            )

    async def _claimed_unanswered(self) -> Sequence[ClaimedMessage]:
        """Return the messages whose claim succeeded although its answer was lost, so that they are released.

        Otherwise they would count as lost when this process ends.
        """
        retries = self._backoff.retries()
        claimed: list[ClaimedMessage] = []
        while self.deliveries.has(State.RECEIVED):
            try:
                for some, alone in self._by_company(self.deliveries.in_state(State.RECEIVED)):
                    claimed += (await self._intake.take(some, alone=alone)).claimed
            except Unavailable as exc:
                if not await retries.may_try_again(exc):
                    break  # their rows are free when this process has departed
        self.deliveries.move_all(self.deliveries.in_state(State.RECEIVED), State.SETTLED)
        await self._return(self.deliveries.unclaimed())
        return claimed

    async def _return(self, unclaimed: Collection[HeldDelivery]) -> None:
        """Return deliveries to the broker, so that any worker may receive them at once."""
        self.deliveries.move_all(unclaimed, State.SETTLED)
        if unclaimed:
            with contextlib.suppress(Unavailable):  # they come back when their visibility ends
                await self._broker.release([held.delivery for held in unclaimed])

    # -- end ---------------------------------------------------------------------------------------

    async def _end_loop(self) -> None:
        while True:
            await self._dispatcher.wait()
            await self._dispatcher.gather()
            ended = self._dispatcher.ended()
            self._ahead.ran(one.seconds for one in ended)
            self._note_readiness(ended)
            for request in longest_cooldowns(ended):
                await self._host.cool_down(request)
            if any(one.cooldown for one in ended):  # the slots withhold the messages that wait
                await self._release_for_cooldown()
            for batch in batches(ended):
                await self._recorder.end(batch)

    def _note_readiness(self, ended: Sequence[AttemptOutcome]) -> None:
        for one in ended:
            if one.not_run:
                self._readiness.cannot_run(one.not_run)
            elif one.seconds is not None:
                self._readiness.ran()

    def _ended(self, count: int) -> None:
        self._may_claim_deferred = True
        self._host.finished(count)
        self.wake()

    def _settled(self, held: HeldDelivery) -> None:
        if held is self._alone:
            self._alone = None
        self._host.settled(held)
        self.wake()

    # -- extend ------------------------------------------------------------------------------------

    async def _extend_loop(self) -> None:
        """Keep all held deliveries hidden, both waiting and running ones.

        Deliveries that wait for long are returned and received again: RabbitMQ closes the channel of a
        consumer that holds one for half an hour.
        """
        while True:
            await asyncio.sleep(min(self._visibility / 3, _LONGEST_UNCLAIMED_SECONDS / 3))
            await self._return(self.deliveries.unclaimed(longer_than=_LONGEST_UNCLAIMED_SECONDS))
            if held := [one.delivery for one in self.deliveries]:
                try:
                    await self._broker.extend(held)
                except Unavailable as exc:
                    events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, detail=exc.detail)
