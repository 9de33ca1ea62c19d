"""The reconciler: the only safety net. It dispatches rows that no other process will dispatch.

One process at a time does this, under a lease that only decides which one tries. Two at once would cost a
duplicate dispatch, nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from playhead import events, faults
from playhead.envelope import Dispatch
from playhead.environment import Environment
from playhead.errors import Unavailable
from playhead.ports.broker import Broker
from playhead.ports.catalog import Upkeep, Work
from playhead.work import ending, relay

_PAGE = 1000
_MOST_PAGES = 10
"""Pages that are published before everything else has its turn again: all together take a few seconds."""
_MOST_ASKED = 50
"""Queues that are asked for their depth at once."""
RUNNING_EACH_SECOND = 500
"""Running executions that are looked at in each second. The process that closes the last row of an execution
ends it. This only repeats what a dead process did not do, so a turn of all executions may take longer."""
_LEASE = "reconciler"


class Take(Protocol):
    """Makes a process the publisher of rows, except those of some queues, and returns their dispatches."""

    async def __call__(self, owner: str, *, limit: int, without: Collection[str]) -> list[Dispatch]: ...


class ReconcileCatalog(Upkeep, Work, ending.EndingCatalog, Protocol):
    async def fail_lost_plans(self) -> int: ...


class ReconcileService:
    """Runs one cycle at each call of `cycle` and one search at each call of `find_lost` (every second).

    They are separate because a queue may take seconds to answer, which must delay neither retries nor the
    ends of executions.

    Args:
        lease: seconds after which another process takes over if the lease is not renewed.
        page: how many rows are taken at once.
        executions: how many running executions are looked at in each second.

    Attributes:
        failed_runs: how many runs it has failed because their processes died during the upload.
    """

    def __init__(
        self,
        catalog: ReconcileCatalog,
        broker: Broker,
        env: Environment,
        *,
        lease: float,
        page: int = _PAGE,
        executions: int = RUNNING_EACH_SECOND,
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._env = env
        self._lease = lease
        self._page = page
        self._executions = executions
        self._ended_up_to = self._searched_up_to = 0
        # This name belongs to no live process: what one cycle cannot publish, the next one takes again.
        self._publisher = f"{env.process}/reconciler"
        self._dispatching = asyncio.Lock()
        self._has_lease = False
        self.failed_runs = 0
        self._empty: set[str] = set()

    @property
    def has_lease(self) -> bool:
        """Whether this process is the reconciler, as far as its last cycle found."""
        return self._has_lease

    async def cycle(self) -> bool:
        """Find rows that are not dispatched, and dispatch them. False if another process has the lease.

        Raises `Unavailable`; the next cycle tries again.
        """
        stuck = (set[str](), set[str]())
        while True:
            self._has_lease = await self._catalog.lease(_LEASE, self._env.process, seconds=self._lease)
            if not self._has_lease:
                return False
            if not await self._round(*stuck):
                return True

    async def _round(self, stuck_due: set[str], stuck_orphans: set[str]) -> bool:
        """Return whether rows are left that could be dispatched now.

        They may be many: the children of results that a run takes over have no other publisher.
        """
        unavailable: Unavailable | None = None
        is_more = False
        try:
            async with self._dispatching:
                is_more = await self._dispatch_again(stuck_due, stuck_orphans)
        except Unavailable as exc:
            unavailable = exc  # if it is the broker alone, executions still end and the log is still trimmed
        await self._catalog.cancel_stragglers()
        unsealed = await self._catalog.fail_unsealed()
        self.failed_runs += len(unsealed)
        await ending.log_ended(self._catalog, unsealed)
        some, after = await self._catalog.some_running(after=self._ended_up_to, limit=self._executions)
        await ending.end_executions(self._catalog, some)
        self._ended_up_to = after
        await self._catalog.fail_lost_plans()
        await self._catalog.maintain()
        if unavailable:
            raise unavailable
        return is_more

    async def _dispatch_again(self, stuck_due: set[str], stuck_orphans: set[str]) -> bool:
        """Dispatch rows of dead workers, due retries and orphans. Return whether some are left."""
        while await self._catalog.recall_abandoned(limit=self._page) >= self._page:
            continue
        are_due = await self._publish_some(self._catalog.due, stuck_due)
        return await self._publish_some(self._catalog.orphans, stuck_orphans) or are_due

    async def find_lost(self) -> None:
        """Dispatch the published rows of queues that were found empty twice in a row: the broker lost them.

        Does nothing if another process has the lease. Raises `Unavailable`, even if only one queue cannot be
        read.
        """
        if not self._has_lease:
            self._empty.clear()
            return
        after = self._searched_up_to
        some, then = await self._catalog.some_running(after=after, limit=self._executions)
        empty, unavailable = await self._find_empty(await self._catalog.waiting_queues(some))
        lost = sorted(empty & self._empty)
        is_busy = bool(lost) and self._dispatching.locked()  # then the next call finds them
        # The same executions are looked at twice in a row if one of their queues is empty.
        if not is_busy and (self._empty or not empty):
            self._searched_up_to = then
        self._empty = empty if self._searched_up_to == after else set()
        if lost and not is_busy:
            async with self._dispatching:
                await self._redeliver(lost)
        if unavailable:
            raise unavailable

    async def _redeliver(self, queues: Sequence[str]) -> None:
        # Take all pages before any is published, and let no cycle publish meanwhile. Otherwise the same rows
        # would be taken forever, because a row that was dispatched again looks like a waiting row.
        lost = 0
        for queue in queues:
            while dispatches := await self._catalog.redeliver_lost(self._publisher, queue, limit=self._page):
                lost += len(dispatches)
                events.emit(events.RECALLED, queue=queue, count=len(dispatches))
        if lost:
            await self._publish_all(self._catalog.due)
            await self._publish_all(self._catalog.orphans)

    async def _find_empty(self, queues: Sequence[str]) -> tuple[set[str], Unavailable | None]:
        """Return the queues that are empty, and why one could not be read. Many are asked at once, as each
        may take seconds to answer."""
        empty: set[str] = set()
        failed: list[Unavailable] = []

        async def ask(queue: str) -> None:
            try:
                if await self._broker.is_empty(queue):
                    empty.add(queue)
            except Unavailable as exc:
                failed.append(exc)

        for at in range(0, len(queues), _MOST_ASKED):
            for asked in [self._env.spawn(ask(queue)) for queue in queues[at : at + _MOST_ASKED]]:
                await asked
        if failed:
            # It may be one queue alone, for example because its stream has no leader: raises if it is not.
            await self._broker.check()
        return empty, failed[-1] if failed else None

    async def _publish_all(self, take: Take) -> None:
        stuck = set[str]()
        while await self._publish_some(take, stuck):
            continue

    async def _publish_some(self, take: Take, stuck: set[str]) -> bool:
        """Publish what is taken, page by page. Return whether something may be left.

        A queue that does not take all of its dispatches becomes one of the `stuck` ones, which are left out
        until the next cycle. Otherwise its rows would fill every page, and no rows behind them would be
        published.
        """
        for _ in range(_MOST_PAGES):
            dispatches = await take(self._publisher, limit=self._page, without=stuck)
            if dispatches:
                await self._publish(dispatches, stuck)
            # Each further page has either been published or names a queue that the next page leaves out.
            if len(dispatches) < self._page:
                return False
        return True

    async def _publish(self, dispatches: Sequence[Dispatch], stuck: set[str]) -> None:
        sent = await relay.publish(self._broker, dispatches)
        faults.reach("reconciler.published")
        await self._catalog.mark_published(sent.confirmed, refused=sent.refused)
        relay.report_marked(sent, self._env.counters)
        if sent.unavailable:
            await self._broker.check()  # raises if the whole broker is unavailable; the caller logs that
            relay.log_unavailable(sent.unavailable)
        stuck.update(dispatch.headers.queue for dispatch in sent.uncertain)
