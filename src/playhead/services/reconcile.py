"""The reconciler: the only safety net. It calls again what nobody else will.

One at a time, under a lease that only says who may try: two at once cost a duplicate call, no more.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from playhead import events, faults
from playhead.counters import Counters
from playhead.engine import ending, relay
from playhead.envelope import Dispatch
from playhead.errors import Unavailable
from playhead.ports.broker import Broker
from playhead.ports.catalog import Upkeep, Work

_PAGE = 1000
_LEASE = "reconciler"


class Take(Protocol):
    """Makes a publisher that of rows, though of none of some queues, and returns their calls."""

    async def __call__(self, owner: str, *, limit: int, without: Collection[str]) -> list[Dispatch]: ...


class ReconcileCatalog(Upkeep, Work, ending.EndingCatalog, Protocol): ...


class ReconcileService:
    """Looks once, whenever `cycle` is called (each second).

    Args:
        owner: this process.
        lease: seconds for which the lease is held without being renewed.
        counters: where this process counts.
    """

    def __init__(
        self,
        catalog: ReconcileCatalog,
        broker: Broker,
        *,
        owner: str,
        lease: float,
        counters: Counters | None = None,
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._owner = owner
        # Rows taken here belong to nobody alive: what this cycle could not publish, the next one does.
        self._publisher = f"{owner}/reconciler"
        self._lease = lease
        self._counters = counters or Counters()
        self._empty: set[str] = set()

    async def cycle(self) -> bool:
        """Look for what is not called, and call it. False when another process holds the lease.

        Raises `Unavailable`; the next cycle looks again.
        """
        if not await self._catalog.lease(_LEASE, self._owner, seconds=self._lease):
            self._empty.clear()
            return False
        away: Unavailable | None = None
        try:
            await self._call_again()
        except Unavailable as exc:
            away = exc  # perhaps the broker alone: executions end, and the log is kept short, all the same
        await self._catalog.cancel_stragglers()
        await ending.tell_ended(self._catalog, await self._catalog.fail_unsealed())
        await ending.end_executions(self._catalog, await self._catalog.open_executions())
        await self._catalog.maintain()
        if away:
            raise away
        return True

    async def _call_again(self) -> None:
        while await self._catalog.recall_abandoned(limit=_PAGE) >= _PAGE:
            continue
        away = await self._recall_unheard()
        await self._publish_all(self._catalog.due)
        await self._publish_all(self._catalog.orphans)
        if away:
            raise away

    async def _recall_unheard(self) -> Unavailable | None:
        """Want the published rows of a queue found empty twice in a row to be called anew: the broker
        lost them.

        They are not published here, page by page: a row that was called again looks like one that waits,
        and would be recalled for ever. Returns why a queue could not be looked at, if one alone is away.
        """
        empty = set()
        away: Unavailable | None = None
        for queue in await self._catalog.waiting_queues():
            try:
                if await self._broker.is_empty(queue):
                    empty.add(queue)
            except Unavailable as exc:
                # Perhaps it alone, as where what it lies on has no leader: the others must not wait for it.
                away = exc
                await self._broker.check()
        for queue in sorted(empty & self._empty):
            while count := len(await self._catalog.redeliver_lost(self._publisher, queue, limit=_PAGE)):
                events.emit(events.RECALLED, logging.WARNING, queue=queue, count=count)
        self._empty = empty
        return away

    async def _publish_all(self, take: Take) -> None:
        """Publish what is taken, page by page, until there is no more.

        A queue that does not take all of them for now is left alone until the next cycle: what it has not
        taken would stand at the head of every page, and keep all that is behind it from being published.
        """
        stuck = set[str]()
        while calls := await take(self._publisher, limit=_PAGE, without=stuck):
            sent = await relay.publish(self._broker, calls)
            faults.reach("reconciler.published")
            await self._catalog.mark_published(sent.confirmed, refused=sent.refused)
            relay.tell_marked(sent, self._counters)
            if sent.away:
                await self._broker.check()  # raises where it is the whole broker, which is told then
                relay.tell_away(sent.away)
            stuck.update(call.headers.queue for call in sent.uncertain)
            # Each page that goes on has either emptied itself or named a queue that the next one leaves out.
            if len(calls) < _PAGE:
                return
