"""What a consumer receives from the broker, hides from other consumers, and returns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Final

from playhead import events
from playhead.errors import Unavailable
from playhead.ports.broker import Broker, Delivery
from playhead.work.deliveries import Deliveries, HeldDelivery, State

_LONGEST_UNCLAIMED_SECONDS: Final = 600.0


class Inbox:
    """The queue of one consumer.

    Args:
        deliveries: those that the consumer holds.
        visibility: seconds for which the broker hides a delivery that is not extended.
    """

    def __init__(self, broker: Broker, queue: str, deliveries: Deliveries, visibility: float) -> None:
        self._broker = broker
        self._queue = queue
        self._deliveries = deliveries
        self._visibility = visibility
        self._receiving: asyncio.Task[list[Delivery]] | None = None
        self._is_stopped = False

    def stop(self) -> None:
        """Receive nothing more, and end a `receive` that waits."""
        self._is_stopped = True
        if self._receiving:
            self._receiving.cancel()

    async def receive(self, limit: int, *, wait: float) -> list[HeldDelivery]:
        """Receive deliveries, and wait some seconds for the first one. Raises `Unavailable`."""
        self._receiving = receiving = asyncio.create_task(self._broker.receive(self._queue, limit, wait=wait))
        try:
            await asyncio.wait([receiving])
        finally:
            receiving.cancel()
            self._receiving = None
        if receiving.cancelled() and self._is_stopped:
            return []
        return self._deliveries.receive(receiving.result())

    async def release(self, unclaimed: Collection[HeldDelivery]) -> None:
        """Return deliveries to the broker, so that any worker may receive them at once."""
        self._deliveries.move_all(unclaimed, State.SETTLED)
        if unclaimed:
            with contextlib.suppress(Unavailable):  # they come back when their visibility ends
                await self._broker.release([held.delivery for held in unclaimed])

    async def keep_hidden(self) -> None:
        """Keep all held deliveries hidden, both waiting and running ones, until the task is cancelled.

        Deliveries that wait for long are released and received again: RabbitMQ closes the channel of a
        consumer that holds one for half an hour.
        """
        while True:
            await asyncio.sleep(min(self._visibility, _LONGEST_UNCLAIMED_SECONDS) / 3)
            await self.release(self._deliveries.unclaimed(longer_than=_LONGEST_UNCLAIMED_SECONDS))
            if held := [one.delivery for one in self._deliveries]:
                try:
                    await self._broker.extend(held)
                except Unavailable as exc:
                    events.emit(events.BACKEND_UNAVAILABLE, detail=exc.detail)
