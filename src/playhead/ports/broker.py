"""The broker: queues of calls.

It is small on purpose. Delays, retries, dead letters and the truth about a message are rows of the
catalog; a broker only has to hand out each confirmed call at least once, and may hand it out again.
It may drop doubles; nothing relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from playhead.envelope import Dispatch, Message


class PublishResult(NamedTuple):
    """What came of one publish.

    `confirmed`: the broker holds it. `refused`: it never will, because of the message itself.
    `uncertain`: no answer, or a refusal that can pass (full, alarm); publishing again settles it.
    """

    result: Literal["confirmed", "refused", "uncertain"]
    reason: str = ""


CONFIRMED = PublishResult("confirmed")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call handed to this consumer. `tag` is the broker's own: only it may look inside."""

    queue: str
    message_id: str
    headers: Mapping[str, str]
    tag: Any


class Depth(NamedTuple):
    """How many calls a queue holds: not handed out yet, and handed out but not acked."""

    ready: int
    in_flight: int


class Broker(Protocol):
    name: str
    """What health calls this backend."""

    async def publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]:
        """Put each call on the queue its headers name; queues come to be when first used.

        Returns when each has an outcome, in the order given. A confirmed call survives `kill -9` of
        every process and, where the backend's settings say so, power loss. Calls of one queue are
        handed out about in the order they were published.

        Raises `Unavailable` only when none was sent; a call that was sent and not answered is
        `uncertain`.
        """
        ...

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        """Take up to `limit` calls; they are hidden from others for the visibility time.

        Returns at once when there are any; else waits up to `wait` seconds for the first. Two
        receivers never hold one delivery at once, unless its visibility ran out. May be cancelled;
        what was taken then comes back after its visibility.

        Raises `Unavailable`.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Remove deliveries for good. One whose visibility ran out is left to its new holder, silently."""
        ...

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Start the visibility time of each anew, for all that is held, buffered or running."""
        ...

    async def depth(self, queue: str) -> Depth:
        """Return how many calls the queue holds now; (0, 0) for one that never was.

        What is confirmed is counted at once. What was acked may be counted for a moment longer.
        """
        ...

    async def peek(self, queue: str, limit: int) -> list[Message]:
        """Return the first calls of a queue, consuming and hiding nothing."""
        ...

    async def check(self) -> str:
        """Say in a few words what this broker is; raises `Unavailable` when it can't be reached."""
        ...

    async def close(self) -> None:
        """Let go of what is held. May be called twice."""
        ...
