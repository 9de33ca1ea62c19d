"""The broker port: queues of dispatches.

The port is small on purpose. Delays, retries, dead letters and the state of each message are rows of the
catalog. A broker only delivers each confirmed dispatch at least once. It may deliver a dispatch again, and it
may drop duplicates; no other part relies on either.

A queue has two levels, *normal* and *bulk*. Dispatches of a level are delivered roughly in the order of
publishing, and normal ones before bulk ones. But at least one in five deliveries is from the bulk level while
both levels have ready dispatches, so neither starves. A queue has one name and one depth, whatever the levels
of its dispatches are.

Every method may be called from several tasks at once. Every method raises `Unavailable`
(`broker_unavailable`) when the server cannot be reached or does not answer in time, unless its own text says
more. A later call works again by itself.

Other programs may write to the same queues. A message that a broker cannot decode is delivered and shown like
any other, with an empty id, no headers or an empty payload in place of what it cannot decode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from playhead.envelope import Dispatch, Message


class PublishResult(NamedTuple):
    """The result of publishing one dispatch.

    Attributes:
        result: `confirmed`: the broker stored it. `refused`: the broker will never take it, because of the
            dispatch itself. `uncertain`: there was no answer, or a refusal that can pass (a full queue, an
            alarm). Publish an uncertain dispatch again.
        reason: human-readable; empty when confirmed.
    """

    result: Literal["confirmed", "refused", "uncertain"]
    reason: str = ""


CONFIRMED = PublishResult("confirmed")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One dispatch that this consumer received.

    Attributes:
        queue: the queue that it was received from.
        message_id: the id given to the broker; empty if another program gave none.
        headers: text by name.
        tag: identifies the delivery to the broker that made it. No other code reads it.
    """

    queue: str
    message_id: str
    headers: Mapping[str, str]
    tag: Any


class Depth(NamedTuple):
    """The number of dispatches in a queue.

    Attributes:
        ready: not received yet, or received so long ago that their visibility ended.
        in_flight: received and not acknowledged.
    """

    ready: int
    in_flight: int


class Broker(Protocol):
    name: str
    """The name of this backend in health reports."""

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        """Put each dispatch into the queue that its headers name. A queue is created at its first use.

        Called with any number of dispatches, for any queues. Blocks until each dispatch has a result.

        When it returns, there is one result for each dispatch, in the given order. Confirmed dispatches
        survive `kill -9` of every process. They survive power loss if the settings of the backend provide it.

        Raises `Unavailable` only if no dispatch was sent. A dispatch that was sent and not answered is
        `uncertain`.
        """
        ...

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        """Receive up to `limit` dispatches of a queue, which may not exist yet.

        Called as often as the caller has room. Returns at once if a dispatch is ready. Otherwise blocks for
        up to `wait` seconds until one is ready, and returns an empty list if none becomes ready.

        When it returns, the received dispatches are hidden from all other receivers for the visibility time.
        No two receivers hold one delivery at the same time, unless its visibility has ended. If the call is
        cancelled, the dispatches that it received become visible again, at the latest when their visibility
        ends.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Remove deliveries for good.

        Called once the catalog no longer needs them. Acknowledging a delivery twice, or after its visibility
        has ended, has no effect: it then belongs to its new holder.
        """
        ...

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Restart the visibility time of deliveries.

        Called regularly for every delivery that is held, whether it is buffered or running. Extending a
        delivery whose visibility has ended has no effect.
        """
        ...

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """End the visibility time of deliveries, so that any receiver may receive their dispatches at once.

        Called for deliveries that were received and not used. Releasing a delivery whose visibility has ended
        has no effect. A released delivery cannot be acknowledged, extended or released any more.
        """
        ...

    async def depth(self, queue: str) -> Depth:
        """Return the number of dispatches in a queue, of both levels; (0, 0) if it does not exist.

        Called for metrics and lists. The sum is exact; of a long queue, some dispatches in flight may be
        counted as ready. A confirmed dispatch is counted at once. An acknowledged dispatch may
        be counted for a moment longer.
        """
        ...

    async def is_empty(self, queue: str) -> bool:
        """Return whether `depth` is (0, 0), without counting.

        Called every second for each queue that should hold dispatches. A broker that cannot be sure returns
        False: the dispatches of an empty queue are taken for lost, and published again.
        """
        ...

    async def peek(self, queue: str, limit: int) -> list[Message]:
        """Return the first messages of a queue, of both levels. It removes and hides none of them."""
        ...

    async def check(self) -> str:
        """Return a short description of this broker, after the server has answered.

        Called for health reports, and to find out whether the whole broker or one queue is unavailable.
        """
        ...

    async def close(self) -> None:
        """Release all that is held. May be called twice; no other method may be called after it."""
        ...
