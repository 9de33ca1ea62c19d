"""Rate limits: state that all workers of a deployment share."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from playhead.model import RateLimit, RoutePause


class Reservation(NamedTuple):
    """Calls that the caller may make.

    Attributes:
        waits: seconds until each of them may begin, in order.
        retry: seconds until further calls can be reserved.
    """

    waits: list[float]
    retry: float


class Cooldown(NamedTuple):
    """Why no call of a key begins now, and the seconds until calls may begin again.

    Attributes:
        seconds: None: until a request resumes the route.
    """

    seconds: float | None
    reason: str


PAUSE: Final = "pause:"
"""How the key of a pause begins. No rate limit has such a key."""


def pause_key(config: str, route: str) -> str:
    """Return the key in `cooldowns` of a route that a person has paused."""
    return f"{PAUSE}{config}/{route}"


def is_pause(key: str) -> bool:
    """Whether a key is that of a pause."""
    return key.startswith(PAUSE)


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
        """Return the cooldowns that have not ended, by key, and the pauses of routes (`pause_key`)."""
        ...

    async def pause_route(self, config: str, route: str, pause: RoutePause) -> None:
        """Let workers start no attempt of a route. An earlier pause is replaced."""
        ...

    async def resume_route(self, config: str, route: str) -> bool:
        """End the pause of a route. False if it is not paused."""
        ...

    async def running(self, queue: str) -> int:
        """Return how many messages of a queue are `running` in all workers. The number may change at once."""
        ...
