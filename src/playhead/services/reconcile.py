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
from playhead.errors import Unavailable
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
        away: Unavailable | None = None
        try:
            await self._call_again()
        except Unavailable as exc:
            away = exc  # perhaps the broker alone: executions end, and the log is kept short, all the same
        await self._catalog.cancel_stragglers()
        for execution in await self._catalog.fail_unsealed():
            _told_end(execution)
        for execution in await self._catalog.end_executions(await self._catalog.open_executions()):
            _told_end(execution)
        await self._catalog.maintain()
        if away:
            raise away
        return True

    async def _call_again(self) -> None:
        while await self._catalog.recall_abandoned(limit=_PAGE) >= _PAGE:
            continue
        await self._recall_unheard()
        while await self._publish(await self._catalog.due(self._publisher, limit=_PAGE)):
            continue
        while await self._publish(await self._catalog.orphans(self._publisher, limit=_PAGE)):
            continue

    async def _recall_unheard(self) -> None:
        """Want the published rows of a queue found empty twice in a row to be called anew: the broker
        lost them.

        They are not published here, page by page: a row that was called again looks like one that waits,
        and would be recalled for ever.
        """
        empty = set()
        for queue in await self._catalog.waiting_queues():
            if sum(await self._broker.depth(queue)) == 0:
                empty.add(queue)
        for queue in sorted(empty & self._empty):
            while count := len(await self._catalog.recall_unheard(self._publisher, queue, limit=_PAGE)):
                events.emit(events.RECALLED, logging.WARNING, queue=queue, count=count)
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
