"""Receiving the two levels of a queue: each is a queue of the server, with an inbox of its own.

The two priorities of a quorum queue are not used, because a message that returns to its queue loses its
priority: RabbitMQ 4.0.5 puts it behind all messages of the lower one.

Both inboxes are asked for as many dispatches as a receiver takes. What its share does not include stays in
this process for the next receiver, so no request has to be repeated when one of the levels runs empty.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from playhead.backends._levels import Levels
from playhead.backends.broker_rabbitmq.inbox import Inbox
from playhead.ports.broker import Delivery

_Deliveries = list[Delivery]


class Receiver:
    """Shares the deliveries of one queue between its levels."""

    def __init__(self, normal: Inbox, bulk: Inbox) -> None:
        self._normal = normal
        self._bulk = bulk
        self._levels = Levels()
        self._has_bulk = True

    async def receive(self, limit: int, wait: float) -> list[Delivery]:
        """Receive up to `limit` dispatches, and wait up to `wait` seconds for the first.

        Raises `Unavailable`.
        """
        normal: _Deliveries = []
        bulk: _Deliveries = []
        if self._has_bulk or not wait:
            normal, bulk = await self._ask(limit, 0, asyncio.ALL_COMPLETED)
        if wait and not normal and not bulk:
            normal, bulk = await self._ask(limit, wait, asyncio.FIRST_COMPLETED)
        self._has_bulk = bool(bulk) or self._bulk.held[0] > 0
        share = max(self._levels.owed(limit), limit - len(normal))
        bulk, rest = bulk[:share], bulk[share:]
        self._bulk.put_back(rest)
        normal, rest = normal[: limit - len(bulk)], normal[limit - len(bulk) :]
        self._normal.put_back(rest)
        self._levels.received(len(normal), len(bulk))
        return normal + bulk

    async def _ask(
        self, limit: int, wait: float, until: Literal["FIRST_COMPLETED", "ALL_COMPLETED"]
    ) -> tuple[_Deliveries, _Deliveries]:
        """Ask both levels, and stop waiting when one or both have answered."""
        requests = {
            inbox: asyncio.create_task(inbox.receive(limit, wait)) for inbox in (self._normal, self._bulk)
        }
        try:
            pending = set(requests.values())
            found = False
            while pending and not found:  # an answer without dispatches only means that the wait is over
                done, pending = await asyncio.wait(pending, return_when=until)
                found = any(request.result() for request in done)
            normal, bulk = (request.result() if request.done() else [] for request in requests.values())
        except BaseException:
            for inbox, request in requests.items():
                if request.done() and not request.cancelled() and request.exception() is None:
                    inbox.put_back(request.result())
            raise
        else:
            return normal, bulk
        finally:
            for request in requests.values():
                request.cancel()  # an inbox keeps what a cancelled receiver would have got
