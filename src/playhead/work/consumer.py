"""A consumer: how a worker consumes one queue.

Three loops run next to each other:

- *receive*: receive deliveries from the broker, claim their messages (`work.intake`), and start them in
  slots (`work.dispatch`);
- *end*: store the outputs of chains (`work.binding`), and end their attempts (`work.completion`); while a
  backend is unavailable, `work.recording` repeats this;
- *extend*: keep all held deliveries hidden from other consumers (`work.inbox`).

The first two work in batches, because a commit costs almost the same for one message as for dozens.
`work.ahead` decides how many deliveries the consumer holds.

`work.deliveries` lists where a delivery can be.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence, Set
from typing import Protocol

from playhead.environment import Backends, Environment, WorkerSettings
from playhead.errors import Unavailable
from playhead.model import Route
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
from playhead.work.inbox import Inbox
from playhead.work.intake import AttemptCatalog, Intake
from playhead.work.readiness import Readiness
from playhead.work.recording import Recorder
from playhead.work.routelimits import RouteLimits
from playhead.work.skipping import Skipping
from playhead.work.suspects import Suspects

_RECEIVE_WAIT_SECONDS = 0.5


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
        self._store = backends.store
        self._env = env
        self.queue = subscription.queue
        self.subscription = subscription
        self.route = route
        self._batch = batch
        self.stopping = False
        self.departing = False
        self.deliveries = deliveries = Deliveries(self._settled)
        self.slots = new_slots(route.concurrency * batch, env.clock)
        self._inbox = Inbox(backends.broker, subscription.queue, deliveries, settings.visibility)
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
        self._pause: str | None = None
        self._is_store_checked = False
        self._suspects = Suspects(host, deliveries)
        self._may_claim_deferred = False
        self._ahead = Ahead()
        self._limits = RouteLimits(backends.catalog, env.clock, self._free_slots)
        self._readiness = Readiness(host, env, self.queue)
        self._skipping = Skipping(backends.catalog)
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"consumer of {self.queue}")

    @property
    def missing(self) -> str | None:
        """Why this process runs no step of the queue: the route is paused, or the process lacks something."""
        return f"the route is paused: {self._pause}" if self._pause else self._readiness.missing

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

    def pause(self, reason: str | None) -> None:
        """Claim no message, and return those that are not claimed, until the reason is None."""
        if reason != self._pause:
            self._pause = reason
            self.wake()

    def stop(self, *, departing: bool = False) -> None:
        """Receive nothing more; `task` ends when every held delivery is settled.

        `departing`: whether the process ends too. Then unsettled deliveries need not wait for unavailable
        backends: their rows are free when the process has departed. As long as the process is alive, no
        other process can claim these rows.
        """
        self.stopping = True
        self.departing = self.departing or departing
        self._inbox.stop()
        self.wake()

    def wake(self) -> None:
        """Check again whether something can be received or started."""
        self._changed.set()

    async def _run(self) -> None:
        loops = [
            asyncio.create_task(loop)
            for loop in (self._receive(), self._end_loop(), self._inbox.keep_hidden())
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
        await self._inbox.release(self.deliveries.unclaimed())
        # Messages that wait for a slot do not wait here any longer: all slots may hang.
        await self._recorder.release(self._dispatcher.withdraw(), delay=0)
        await self._recorder.release(await self._claimed_unanswered(), delay=0)
        while self.deliveries:  # running chains finish; a hanging one ends by its time-out
            self._changed.clear()
            # They are held again, because their calls were rejected.
            await self._inbox.release(self.deliveries.unclaimed())
            if self.deliveries:
                await self._changed.wait()

    async def _receive_next(self) -> None:
        """Take the first step that is possible: recover, claim messages that wait here, or receive others."""
        if await self._recover() or await self._take_waiting():
            return
        is_rated = self._suspects.may_start and self.route.rate_limit is not None
        is_limited = self.deliveries.has(State.LIMITED) or is_rated
        target = self._ahead.target(self.route, self._batch)
        room = target - len(self.deliveries)
        if room < max(1, target // 4):  # wait for room for a batch, not for a single message
            await self._wait(self._limits.wait_seconds if is_limited else None)
            return
        is_waiting = is_limited or self.deliveries.has(State.SUSPECTED)
        wait = 0 if is_waiting else _RECEIVE_WAIT_SECONDS
        received = await self._inbox.receive(min(room, MOST_ATTEMPTS), wait=wait)
        if self.route.is_limited or self._limits.had_cooldown:
            self.deliveries.move_all(received, State.LIMITED)
        elif received:
            await self._take(received)
        if is_waiting and not received:  # another consumer's suspect may be settled at any time
            seconds = self._limits.wait_seconds if is_limited else _RECEIVE_WAIT_SECONDS
            await self._wait(min(seconds, _RECEIVE_WAIT_SECONDS))

    async def _recover(self) -> bool:
        """Wait while nothing may be claimed, or claim again without an answer; False without a reason."""
        if self._recorder.is_blocked:  # until the store accepts the finished outputs
            await self._changed.wait()
        elif self._readiness.is_wait_due:  # noticed while steps ran
            await self._leave_to_others(self._dispatcher.withdraw())
        elif self.deliveries.has(State.RECEIVED):  # the answer to their claim was lost
            await self._take(self.deliveries.in_state(State.RECEIVED))
        elif self._pause:
            await self._inbox.release(self.deliveries.unclaimed())
            await self._recorder.release(self._dispatcher.withdraw(), delay=0, is_reported=True)
            await self._wait(None)
        elif cooldown := self._limits.cooldown_left:
            await self._release_for_cooldown()
            await self._wait(cooldown)
        else:
            return False
        return True

    async def _take_waiting(self) -> bool:
        """Claim messages whose deliveries wait here; return False if none may be claimed now."""
        if self._suspects.may_start and (self.route.rate_limit is None or await self._admit(1)):
            if suspect := self._suspects.reserve():
                await self._take([suspect])
            return True
        limited = self.deliveries.in_state(State.LIMITED)
        if limited and (count := await self._admit(len(limited))):
            admitted = [held for held in limited if held.state is State.LIMITED][:count]
            self.deliveries.move_all(admitted, State.RECEIVED)
            await self._take(admitted)
            return True
        if self._may_claim_deferred and self.deliveries.has(State.DEFERRED):
            self._may_claim_deferred = False
            deferred = self.deliveries.in_state(State.DEFERRED)
            self.deliveries.move_all(deferred, State.RECEIVED)
            await self._take(deferred)
            return True
        return False

    async def _wait(self, seconds: float | None) -> None:
        """Wait until something has changed, or for some seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _admit(self, waiting: int) -> int:
        """Return how many of the messages that wait may be claimed now."""
        return await self._limits.admit(self.route, waiting, self.route.most_running(self._batch))

    def _free_slots(self) -> int:
        """Return how many messages could start at once."""
        return self.slots.limit - self.deliveries.count(State.RUNNING)

    async def _take(self, received: Collection[HeldDelivery]) -> None:
        """Claim messages and start their chains.

        Raises `Unavailable`. Deliveries whose claim got no answer stay `RECEIVED`.
        """
        unavailable: Unavailable | None = None
        if not self._is_store_checked:  # do not run steps whose outputs the store cannot accept
            await self._store.check()
            self._is_store_checked = True
        most_running = self.route.most_running(self._batch)
        for some, alone in self._suspects.batches(received):
            result = await self._intake.take(some, alone=alone, most_running=most_running)
            if result.is_full:
                self._limits.is_full()
            self._ahead.read(len(one.data) for one in result.claimed if one.data is not None)
            await self._start(result.claimed)
            unavailable = result.unavailable or unavailable
        if unavailable:
            raise unavailable

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
                for some, alone in self._suspects.batches(self.deliveries.in_state(State.RECEIVED)):
                    claimed += (await self._intake.take(some, alone=alone)).claimed
            except Unavailable as exc:
                if not await retries.may_try_again(exc):
                    break  # their rows are free when this process has departed
        self.deliveries.move_all(self.deliveries.in_state(State.RECEIVED), State.SETTLED)
        await self._inbox.release(self.deliveries.unclaimed())
        return claimed

    # -- end ---------------------------------------------------------------------------------------

    async def _end_loop(self) -> None:
        while True:
            await self._dispatcher.wait()
            await self._dispatcher.gather()
            ended = self._dispatcher.ended()
            self._ahead.ran(one.seconds for one in ended)
            self._readiness.note(ended)
            for request in longest_cooldowns(ended):
                await self._host.cool_down(request)
            if any(one.cooldown for one in ended):  # the slots withhold the messages that wait
                await self._release_for_cooldown()
            for batch in batches(ended):
                await self._recorder.end(batch)

    def _ended(self, count: int) -> None:
        self._may_claim_deferred = True
        self._host.finished(count)
        self.wake()

    def _settled(self, held: HeldDelivery) -> None:
        self._suspects.settled(held)
        self._host.settled(held)
        self.wake()
