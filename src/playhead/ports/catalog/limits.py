"""Rate limits: state that all workers of a deployment share."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from playhead.model import RateLimit


class Reservation(NamedTuple):
    """Calls that the caller may make.

    Attributes:
        waits: seconds until each of them may begin, in order.
        retry: seconds until further calls can be reserved.
    """

    waits: list[float]
    retry: float


class Cooldown(NamedTuple):
    """Why no call of a key begins now, and the seconds until calls may begin again."""

    seconds: float
    reason: str


class Limits(Protocol):
    async def reserve_calls(self, limit: RateLimit, wanted: int) -> Reservation:
        """Reserve up to `wanted` calls that may begin within the next second (`ratelimit.grant_calls`).

        No other process gets the reserved calls. Calls that are not made are lost.
        """
        ...

    async def cool_down(self, key: str, seconds: float, reason: str) -> None:
        """Let no further call of a key begin for `seconds`. A longer cooldown that exists is kept."""
        ...

    async def cooldowns(self) -> dict[str, Cooldown]:
        """Return the cooldowns that have not ended, by key."""
        ...

    async def running(self, queue: str) -> int:
        """Return how many messages of a queue are `running` in all workers. The number may change at once."""
        ...
