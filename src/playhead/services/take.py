"""Take messages out of a queue by hand, for queues that no Playhead worker consumes.

There are two steps, so that no message is removed before the client has received it. `take` returns
messages, and `remove` removes them. If the client dies in between, the broker delivers the messages again
after the visibility time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol
from uuid import UUID

from playhead import acting, faults
from playhead.envelope import Message, correlation_of
from playhead.errors import NotFound, PlayheadError
from playhead.ids import uuid7
from playhead.ports.broker import Broker, Delivery
from playhead.ports.catalog.access import Audits

MOST_AT_ONCE: Final = 1000
_MOST_HELD: Final = 10_000


class Rows(Audits, Protocol):
    """The part of the catalog that `TakeService` needs."""

    async def queue_owners(
        self, queues: Sequence[str], *, except_config: str
    ) -> dict[str, tuple[str, str]]: ...

    async def keys_of_messages(self, ids: Sequence[UUID]) -> dict[UUID, str]: ...


@dataclass(frozen=True, slots=True)
class HandOut:
    """Messages that the broker hides from other consumers for the visibility time.

    Attributes:
        items: the messages; the payload of a message that is not in the catalog is empty.
        receipt: pass it to `remove`, on the same server and within the visibility time; None if `items` is
            empty.
    """

    items: list[Message]
    receipt: str | None


@dataclass(frozen=True, slots=True)
class _Held:
    queue: str
    deliveries: Sequence[Delivery]
    until: float


class TakeService:
    """Takes messages and holds their deliveries until they are removed or expire.

    Deliveries belong to the broker connection of this process, so no other process can remove them.

    Args:
        visibility: seconds for which the broker hides a delivered message.
        clock: returns seconds, including the time during which the machine sleeps: a broker on another
            machine counts that time.
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
        """Return up to `limit` messages (at most `MOST_AT_ONCE`) without removing them.

        Each payload is read from the message's row in the catalog, because a row overrides its dispatch. The
        payload of a message without a row is empty.

        Raises:
            Forbidden: `outside_limit`.
        """
        config = await self._config(queue)
        acting.current().check_limit(config)
        limit = min(limit, MOST_AT_ONCE)
        # Computed before the first receive: the broker's visibility time cannot end earlier than this.
        until = self._clock() + self._visibility
        deliveries: list[Delivery] = []
        while len(deliveries) < limit:
            some = await self._broker.receive(queue, limit - len(deliveries))
            if not some:
                break
            deliveries += some
        if not deliveries:
            return HandOut([], None)
        ids = [correlation_of(delivery.message_id, delivery.headers) for delivery in deliveries]
        keys = await self._catalog.keys_of_messages([one for one in ids if one])
        messages = [
            Message(dict(delivery.headers), {"object_key": keys[one]} if one in keys else {})
            for delivery, one in zip(deliveries, ids, strict=True)
        ]
        faults.reach("take.received")
        # Nothing is lost if this process ends before the record: the messages are delivered again.
        await self._catalog.record_audit(
            "queue.take", object=queue, config=config, detail={"count": len(messages)}
        )
        receipt = str(uuid7())
        self._forget(len(deliveries))
        self._held[receipt] = _Held(queue, deliveries, until)
        return HandOut(messages, receipt)

    async def remove(self, queue: str, receipt: str) -> int:
        """Remove the messages of a receipt from the queue permanently; return their number.

        Raises:
            Forbidden: `outside_limit`.
            NotFound: `receipt_not_found`; nothing was removed.
        """
        self._forget(0)
        held = self._held.get(receipt)
        if held is None or held.queue != queue:
            raise NotFound(
                "receipt_not_found",
                f"no messages of queue {queue} are held for receipt {receipt!r}: they were removed already, "
                "the visibility time is over, or another server issued the receipt. Call `take` again: "
                "messages that were not removed are delivered again",
            )
        record = partial(
            self._catalog.record_audit,
            "queue.remove",
            object=queue,
            config=await self._config(queue),
            detail={"count": len(held.deliveries)},
        )
        await record(outcome="intended")
        faults.reach("take.intended")
        try:
            await self._broker.ack(held.deliveries)
        except PlayheadError as exc:
            await record(outcome="failed", error_code=exc.code)
            raise
        faults.reach("take.removed")
        # After the ack: if the broker was unavailable, the client may use the same receipt again.
        self._held.pop(receipt, None)
        await record(outcome="done")
        return len(held.deliveries)

    async def _config(self, queue: str) -> str | None:
        """Return the active config that owns a queue."""
        owner = (await self._catalog.queue_owners([queue], except_config="")).get(queue)
        return owner[0] if owner else None

    def _forget(self, room: int) -> None:
        """Drop expired deliveries, then the oldest ones until `room` more fit within `_MOST_HELD`."""
        now = self._clock()
        self._held = {receipt: held for receipt, held in self._held.items() if held.until > now}
        count = sum(len(held.deliveries) for held in self._held.values()) + room
        for receipt in list(self._held):
            if count <= _MOST_HELD:
                return
            count -= len(self._held.pop(receipt).deliveries)
