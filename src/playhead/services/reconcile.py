"""The reconciler: the only safety net. It calls again what nobody else will.

One at a time, under a lease that only says who may try: two at once cost a duplicate call, no more.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from playhead import events, faults
from playhead.engine import relay
from playhead.envelope import Call
from playhead.ports.broker import Broker
from playhead.ports.catalog import Upkeep, Work

_PAGE = 1000
_LEASE = "reconciler"


class ReconcileCatalog(Upkeep, Work, Protocol): ...


class ReconcileService:
    """Looks once, whenever `cycle` is called (each second).

    Args:
        owner: this process.
        lease: seconds for which the lease is held without being renewed.
    """

    def __init__(self, catalog: ReconcileCatalog, broker: Broker, *, owner: str, lease: float) -> None:
        self._catalog = catalog
        self._broker = broker
        self._owner = owner
        # Rows taken here belong to nobody alive: what this cycle could not publish, the next one does.
        self._publisher = f"{owner}/reconciler"
        self._lease = lease
        self._empty: set[str] = set()

    async def cycle(self) -> bool:
        """Look for what is not called, and call it. False when another process holds the lease.

        Raises `Unavailable`; the next cycle looks again.
        """
        if not await self._catalog.lease(_LEASE, self._owner, seconds=self._lease):
            self._empty.clear()
            return False
        while await self._catalog.recall_abandoned(limit=_PAGE) >= _PAGE:
            continue
        while await self._publish(await self._catalog.due(self._publisher, limit=_PAGE)):
            continue
        while await self._publish(await self._catalog.orphans(self._publisher, limit=_PAGE)):
            continue
        await self._recall_unheard()
        await self._catalog.cancel_stragglers()
        for execution in await self._catalog.fail_unsealed():
            _told_end(execution)
        for execution in await self._catalog.end_executions(await self._catalog.open_executions()):
            _told_end(execution)
        await self._catalog.maintain()
        return True

    async def _recall_unheard(self) -> None:
        """Call anew the published rows of a queue found empty twice in a row: the broker lost them."""
        empty = set()
        for queue in await self._catalog.waiting_queues():
            if sum(await self._broker.depth(queue)) == 0:
                empty.add(queue)
        for queue in sorted(empty & self._empty):
            while calls := await self._catalog.recall_unheard(self._publisher, queue, limit=_PAGE):
                events.emit(events.RECALLED, logging.WARNING, queue=queue, count=len(calls))
                if not await self._publish(calls):
                    break
        self._empty = empty

    async def _publish(self, calls: Sequence[Call]) -> bool:
        """Publish and mark; True when a whole page went through, so that there may be more."""
        if not calls:
            return False
        sent = await relay.publish(self._broker, calls)
        faults.reach("reconciler.published")
        await self._catalog.mark_published(sent.confirmed, refused=sent.refused)
        return not sent.uncertain and len(calls) >= _PAGE


def _told_end(execution: UUID) -> None:
    events.emit(events.EXECUTION_ENDED, execution_id=str(execution))
