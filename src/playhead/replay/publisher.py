"""How the recorded rows of a job are published: in windows, at its pace, and again until each is settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from playhead import faults
from playhead.envelope import Dispatch
from playhead.environment import Environment, Spawned
from playhead.errors import Unavailable
from playhead.ports.broker import Broker
from playhead.ports.catalog import Control, Jobs
from playhead.ports.catalog.jobs import LeasedJob, Window
from playhead.replay.jobreport import JobReport
from playhead.replay.lease import Lease, Lost
from playhead.work import relay

_LONG_WAIT_SECONDS = 0.5
_LONGEST_PACE_SECONDS = 0.25
"""Time after which a change of the pace takes effect, at most."""
_FIRST_LOOK_SECONDS = 0.02
_LOOKS_GROW = 1.25
"""How each wait for a decision compares with the one before it: so it ends late by a quarter at most."""


class PublisherCatalog(Control, Jobs, Protocol): ...


class Publisher:
    """Publishes the rows of one job under its lease, and marks them.

    Its methods raise `Lost`, and `Unavailable`.

    Args:
        page: how many rows are published in one step, at most.
        traceparent: the parent of its spans.
    """

    def __init__(
        self,
        catalog: PublisherCatalog,
        broker: Broker,
        env: Environment,
        lease: Lease,
        report: JobReport,
        *,
        page: int,
        traceparent: str | None,
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._env = env
        self._lease = lease
        self._report = report
        self._page = page
        self._traceparent = traceparent
        self._is_decided = lease.job.is_decided
        self._task: Spawned | None = None
        self._failed: Unavailable | Lost | None = None

    @property
    def _leased(self) -> LeasedJob:
        return self._lease.job

    # -- while the job is listed -------------------------------------------------------------------

    async def publish_recorded(self) -> None:
        """Publish the rows that an earlier owner recorded, if any may be sent before the listing ends."""
        if not self._leased.paced and self._is_decided:
            await self._publish_backlog()

    async def start(self, window: Window) -> None:
        """Wait until the previous page is marked, then publish the rows of a new one in the background."""
        await self.join()
        if self._leased.paced or not window.is_decided:
            self._lease.report()
        else:
            self._task = self._env.spawn(self._publish_page(window))

    async def join(self) -> None:
        """Wait until the page that is being published is marked. Raise the error of its publishing."""
        if self._task:
            await self._task
            self._task = None
        if failed := self._failed:
            self._failed = None
            raise failed

    def cancel(self) -> None:
        """Stop publishing in the background. The rows stay unmarked and are read again."""
        if self._task:
            self._task.cancel()
        self._task = self._failed = None

    async def _publish_page(self, window: Window) -> None:
        try:
            if not self._is_decided:  # until now
                await self._publish_backlog(window.upto)
            else:
                await self._publish(window)
            self._is_decided = True
        except (Unavailable, Lost) as exc:
            self._failed = exc  # raised by `join`, unless the listing fails before

    # -- after the listing -------------------------------------------------------------------------

    async def publish_rest(self) -> None:
        """Publish all rows of a listed job, and settle the uncertain ones."""
        if self._leased.paced:
            await self._publish_paced()
        else:
            await self._publish_backlog()
        await self._settle()

    async def _publish_paced(self) -> None:
        """Publish the recorded rows as the pace allows."""
        lease, look = self._lease, _FIRST_LOOK_SECONDS
        while True:
            # Of a former owner, or resent since: they count as waiting in the queue and for the canary.
            await self._settle()
            allowed = await self._catalog.allow(self._leased, want=self._page, depth=await self._depth())
            if allowed is None:
                raise Lost
            faults.reach("replay.allowed")
            if allowed.upto:
                lease.waits, look = False, _FIRST_LOOK_SECONDS
                await self._publish_next(allowed.upto)
            elif allowed.why is None:
                return
            elif allowed.why != "decision" or not await self._decide():
                lease.report()
                # Until its next message is due, a slow replay leaves its place to other ones.
                lease.waits = lease.waits or allowed.why != "rate" or allowed.wait > _LONG_WAIT_SECONDS
                is_held = allowed.why == "decision"
                await self._env.sleep(min(allowed.wait, look if is_held else _LONGEST_PACE_SECONDS))
                look *= _LOOKS_GROW
            await lease.keep()

    async def _decide(self) -> bool:
        """If the objects of the canary, or the last ones, are processed, record the verdict."""
        verdict = await self._catalog.decide(self._leased)
        if verdict is None:
            return False
        faults.reach("replay.decided")
        self._report.log_verdict(verdict)
        return True

    async def _depth(self) -> int | None:
        """Return how many messages are in the target queue, if other programs consume it."""
        if not self._leased.external:
            return None
        return (await self._broker.depth(self._leased.headers.queue)).ready

    async def _settle(self) -> None:
        """Publish uncertain rows again until the broker has confirmed or refused each."""
        while dispatches := await self._catalog.unsettled(self._leased, limit=self._page):
            sent = await self._send(dispatches)
            faults.reach("replay.published")
            self._recorded(sent, await self._catalog.settle(self._leased, sent.confirmed, sent.refused))
            if sent.uncertain:
                await self._lease.wait_longer()

    # -- windows -----------------------------------------------------------------------------------

    async def _publish_backlog(self, upto: int | None = None) -> None:
        while await self._publish_next(upto):
            await self._lease.keep()

    async def _publish_next(self, upto: int | None = None) -> bool:
        """Publish the next window, up to an ordinal. Return whether there was one."""
        window = await self._catalog.unpublished(self._leased, limit=self._page, upto=upto)
        if window is None:
            raise Lost
        await self._publish(window)
        return window.upto > 0

    async def _publish(self, window: Window) -> None:
        if not window.upto:
            return
        sent = await self._send(window.dispatches) if window.dispatches else relay.Published()
        if sent.unavailable:
            raise sent.unavailable  # nothing was sent: the rows stay unmarked and are read again
        faults.reach("replay.published")
        is_marked = await self._catalog.mark(
            self._leased, window.upto, uncertain=sent.uncertain, refused=sent.refused
        )
        self._recorded(sent, is_marked)

    async def _send(self, dispatches: Sequence[Dispatch]) -> relay.Published:
        about: dict[str, str | int] = {"playhead.messages": len(dispatches)}
        with self._env.tracer.start("publish", self._traceparent, about, "client") as span:
            sent = await relay.publish(self._broker, dispatches)
            if sent.why:
                span.fail(sent.why)
            return sent

    def _recorded(self, sent: relay.Published, is_held: bool) -> None:
        """Count what was recorded, and show what the job waits for."""
        if not is_held:
            raise Lost
        self._report.count(sent)
        self._lease.report(sent.why, "broker" if sent.uncertain else None)
        if sent.confirmed or sent.refused or not sent.uncertain:
            self._lease.made_progress()
        faults.reach("replay.marked")
