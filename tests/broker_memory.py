"""A broker in the memory of this process: the plainest implementation of the port.

It keeps nothing when the process ends. It touches the event loop only when it has to wait, so a test may
drive its coroutines by hand.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from playhead.envelope import Dispatch, Message, decode_payload
from playhead.ports.broker import CONFIRMED, Delivery, Depth, PublishResult

_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.002, 0.05


@dataclass(slots=True, eq=False)
class _Entry:
    """A dispatch in a queue.

    Attributes:
        visible_at: it is hidden until then.
        tag: names its last delivery.
    """

    message_id: str
    headers: dict[str, str]
    payload: str
    bulk: bool
    visible_at: float = 0.0
    tag: int = 0


class MemoryBroker:
    """Queues as lists, in the order of publishing.

    Of five deliveries in a row, one is bulk if both levels have ready dispatches.

    Args:
        clock: seconds since the epoch.
        visibility: seconds for which a received dispatch is hidden from other receivers.
        pause: awaited once at the start of every method; the rest of the method happens in one step, unless
            `receive` waits.
    """

    name: str = "memory"

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        visibility: float = 30.0,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._clock = clock
        self._visibility = visibility
        self._pause = pause
        self._queues: dict[str, list[_Entry]] = {}
        self._tags = itertools.count(1)
        self._in_a_row: dict[str, int] = {}

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        await self._begin()
        for dispatch in dispatches:
            headers = dispatch.headers.shared() | dispatch.own_headers()
            self._queues.setdefault(dispatch.headers.queue, []).append(
                _Entry(dispatch.message_id, headers, dispatch.payload(), dispatch.headers.bulk)
            )
        return [CONFIRMED] * len(dispatches)

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        await self._begin()
        until, poll = time.monotonic() + wait, _FIRST_POLL_SECONDS
        while not (received := self._receive(queue, limit)) and time.monotonic() < until:
            # Polled, as no event says that a visibility has ended.
            await asyncio.sleep(poll)
            poll = min(2 * poll, _LONGEST_POLL_SECONDS)
        return received

    def _receive(self, queue: str, limit: int) -> list[Delivery]:
        now = self._clock()
        latest = now + 2 * self._visibility  # a later time was set before the clock was set back
        ready = [e for e in self._queues.get(queue, []) if e.visible_at <= now or e.visible_at > latest]
        # Dispatches that were never received come first: a dispatch that kills its workers delays no other.
        ready.sort(key=lambda entry: entry.visible_at)
        first = self._share(queue, [e for e in ready if not e.bulk], [e for e in ready if e.bulk], limit)
        for entry in first:
            entry.visible_at = now + self._visibility
            entry.tag = next(self._tags)
        in_order = [e for level in (False, True) for e in self._queues.get(queue, []) if e.bulk is level]
        return [Delivery(queue, e.message_id, dict(e.headers), e.tag) for e in in_order if e in first]

    def _share(self, queue: str, normal: list[_Entry], bulk: list[_Entry], limit: int) -> list[_Entry]:
        """Return what is delivered next of the two levels."""
        in_a_row = self._in_a_row.get(queue, 0)
        owed = bulk[: (in_a_row + limit) // 5]
        normal = normal[: limit - len(owed)]
        bulk = bulk[: limit - len(normal)]
        self._in_a_row[queue] = min(max(in_a_row + len(normal) - 4 * len(bulk), 0), 4)
        return [*normal, *bulk]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._begin()
        for delivery in deliveries:
            entries = self._queues.get(delivery.queue, [])
            entries[:] = [entry for entry in entries if entry.tag != delivery.tag]

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        await self._begin()
        tags = {delivery.tag for delivery in deliveries}
        for queue in {delivery.queue for delivery in deliveries}:
            for entry in self._queues.get(queue, []):
                if entry.tag in tags:
                    entry.visible_at = self._clock() + self._visibility

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        await self._begin()
        for delivery in deliveries:
            for entry in self._queues.get(delivery.queue, []):
                if entry.tag == delivery.tag:
                    entry.visible_at, entry.tag = self._clock(), 0

    async def depth(self, queue: str) -> Depth:
        await self._begin()
        now = self._clock()
        entries = self._queues.get(queue, [])
        ready = sum(entry.visible_at <= now for entry in entries)
        return Depth(ready, len(entries) - ready)

    async def is_empty(self, queue: str) -> bool:
        return await self.depth(queue) == (0, 0)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        await self._begin()
        first = sorted(self._queues.get(queue, []), key=lambda entry: entry.bulk)[:limit]
        return [Message(dict(entry.headers), decode_payload(entry.payload)) for entry in first]

    async def check(self) -> str:
        await self._begin()
        return "memory of this process"

    async def close(self) -> None:
        await self._begin()

    async def _begin(self) -> None:
        if self._pause:
            await self._pause()
