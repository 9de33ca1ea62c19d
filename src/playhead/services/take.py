"""Take messages out of a queue by hand: for queues that no worker of ours consumes.

Two steps, so that nothing is gone before it was seen: `take` hands messages out, `remove` removes them.
Whoever dies in between finds them in the queue again once their visibility has run out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from playhead.envelope import Message, correlation_of
from playhead.errors import NotFound
from playhead.ids import uuid7
from playhead.model import Lineage
from playhead.ports.broker import Broker, Delivery

MOST_AT_ONCE: Final = 1000
_MOST_HELD: Final = 10_000


class Rows(Protocol):
    """What taking needs of the catalog."""

    async def lineage(self, correlation_id: UUID) -> Lineage | None: ...


@dataclass(frozen=True, slots=True)
class HandOut:
    """Messages that are hidden from others for the visibility time.

    Attributes:
        items: the messages; the payload of one that the catalog does not know is empty.
        receipt: removes them, sent to the same server in time; None where there are none.
    """

    items: list[Message]
    receipt: str | None


@dataclass(frozen=True, slots=True)
class _Held:
    queue: str
    deliveries: Sequence[Delivery]
    until: float


class TakeService:
    """Hands messages out and remembers what it handed out: that is the broker's, so no other process can.

    Args:
        visibility: seconds for which a broker hides what it handed out.
        clock: seconds that grow also while the machine sleeps, as a broker's do.
    """

    def __init__(
        self,
        catalog: Rows,
        broker: Broker,
        *,
        visibility: float,
        clock: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._visibility = visibility
        self._clock = clock
        self._held: dict[str, _Held] = {}

    async def take(self, queue: str, limit: int) -> HandOut:
        """Hand out up to `limit` messages (at most `MOST_AT_ONCE`); none is removed yet.

        The payload is what the row says, as rows win over messages; empty for one without a row.
        """
        limit = min(limit, MOST_AT_ONCE)
        # From before the first is handed out: that is how long nobody else can have it.
        until = self._clock() + self._visibility
        deliveries: list[Delivery] = []
        while len(deliveries) < limit:
            some = await self._broker.receive(queue, limit - len(deliveries))
            if not some:
                break
            deliveries += some
        if not deliveries:
            return HandOut([], None)
        messages = [Message(dict(delivery.headers), await self._payload(delivery)) for delivery in deliveries]
        receipt = str(uuid7())
        self._forget(len(deliveries))
        self._held[receipt] = _Held(queue, deliveries, until)
        return HandOut(messages, receipt)

    async def remove(self, queue: str, receipt: str) -> int:
        """Remove what was handed out under a receipt, for good; returns how many that were.

        Raises:
            NotFound: `receipt_not_found`; nothing was removed.
        """
        self._forget(0)
        held = self._held.get(receipt)
        if held is None or held.queue != queue:
            raise NotFound(
                "receipt_not_found",
                f"nothing of queue {queue} is held here under the receipt {receipt!r}: it was removed "
                "already, its time has run out, or another server handed it out; "
                "what was not removed comes again",
            )
        await self._broker.ack(held.deliveries)
        # Only now: where the broker was away, the same receipt may be tried once more.
        self._held.pop(receipt, None)
        return len(held.deliveries)

    async def _payload(self, delivery: Delivery) -> Mapping[str, str]:
        identity = correlation_of(delivery.message_id, delivery.headers)
        row = await self._catalog.lineage(identity) if identity else None
        return {"object_key": row.input_key} if row else {}

    def _forget(self, room: int) -> None:
        """Let go of what others may hold by now, and of the oldest where too much is held."""
        now = self._clock()
        self._held = {receipt: held for receipt, held in self._held.items() if held.until > now}
        count = sum(len(held.deliveries) for held in self._held.values()) + room
        for receipt in list(self._held):
            if count <= _MOST_HELD:
                return
            count -= len(self._held.pop(receipt).deliveries)
