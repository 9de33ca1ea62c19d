"""When a consumer may claim messages of a route that has a limit, or whose calls were rejected lately.

Such messages are received from the broker, but not claimed. So a message that waits for its turn uses up no
attempt if its worker dies, and the worker can leave it at once when it stops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from playhead.clock import Clock
from playhead.model import RateLimit, Route, RouteWait
from playhead.ports.catalog.limits import Cooldown, Limits, is_pause, pause_key

_FULL_SECONDS: Final = 0.2
"""Time until a message is claimed again after as many messages of its queue ran as may run."""

_NO_SLOT_SECONDS: Final = 0.5
"""Time until a message is claimed while all slots are in use. A slot that becomes free ends it."""

_CAUTIOUS_SECONDS: Final = 60.0
"""How long after a cooldown only those messages are claimed that can start at once: another may follow."""

_SAME_SECONDS: Final = 0.1
"""Two ends of a cooldown that differ by less are the same one, read at different times."""


_WAIT: Final = "wait:"
"""How the key of a wait begins. No rate limit has such a key."""


def wait_key(config: str, route: str) -> str:
    """Return the key that records the wait of a worker that cannot run a route. It stops no call."""
    return f"{_WAIT}{config}/{route}"


def is_wait(key: str) -> bool:
    """Whether a key is that of a wait or of a pause, and not that of calls."""
    return key.startswith(_WAIT) or is_pause(key)


def wait_of_route(cooldowns: Mapping[str, Cooldown], config: str, route: Route) -> RouteWait | None:
    """Return the pause of a route, or else the longest cooldown that stops it, or else the wait of a worker;
    None without any."""
    if paused := cooldowns.get(pause_key(config, route.name)):
        left = None if paused.seconds is None else round(paused.seconds, 3)
        return RouteWait(left, paused.reason, f"{config}/{route.name}", is_paused=True)
    wait = wait_key(config, route.name)
    keys = [key for key in sorted(route.cooldown_keys(config)) if key in cooldowns]
    if not keys and wait in cooldowns:
        keys = [wait]
    if not keys:
        return None
    seconds, key = max((cooldowns[one].seconds or 0.0, one) for one in keys)
    return RouteWait(round(seconds, 3), cooldowns[key].reason, key.removeprefix(_WAIT))


class RouteLimits:
    """Decides how many messages may be claimed now. One for each consumer.

    Only as many messages are claimed as can start at once. A message that waited for a slot after its call
    was reserved would start later than the limit assumes.

    Args:
        free: returns how many messages could start at once.
    """

    def __init__(self, catalog: Limits, clock: Clock, free: Callable[[], int]) -> None:
        self._catalog = catalog
        self._clock = clock
        self._free = free
        self._limit: RateLimit | None = None
        self._begins: deque[float] = deque()  # when the reserved calls may begin
        self._ask_at = 0.0
        self._cooldown_until: float | None = None

    @property
    def cooldown_left(self) -> float:
        """Seconds until the cooldown of the route ends; 0 without a cooldown."""
        return 0.0 if self._cooldown_until is None else max(self._cooldown_until - self._clock(), 0.0)

    @property
    def had_cooldown(self) -> bool:
        """Whether the route has a cooldown, or had one a short time ago."""
        return self._cooldown_until is not None and self._clock() < self._cooldown_until + _CAUTIOUS_SECONDS

    def cool_down(self, seconds: float) -> bool:
        """Claim nothing for this time. Return False if a cooldown already lasts that long."""
        left = self.cooldown_left
        if left and seconds <= left + _SAME_SECONDS:
            return False
        until = self._clock() + seconds
        self._cooldown_until = until
        while self._begins and self._begins[0] < until:  # the others are still reserved
            self._begins.popleft()
        return True

    def is_full(self) -> None:
        """Note that as many messages of the queue run in all workers as may run."""
        self._ask_at = self._clock() + _FULL_SECONDS

    async def admit(self, route: Route, waiting: int, most_running: int | None = None) -> int:
        """Return how many of the messages that wait may be claimed now.

        Args:
            most_running: how many messages of the queue may run in all workers; None: any number.

        Raises `Unavailable`.
        """
        wanted = min(waiting, self._free())
        if wanted <= 0 or self.cooldown_left:
            return 0
        limit = route.rate_limit
        if limit != self._limit:  # a new version of the config
            self._limit, self._ask_at = limit, 0.0
            self._begins.clear()
        if limit is None:
            return wanted if self._clock() >= self._ask_at else 0
        lacking = wanted - len(self._begins)
        if lacking > 0 and self._clock() >= self._ask_at and most_running is not None:
            # A claim that is refused as full would lose its reserved call.
            room = most_running - await self._catalog.running(route.queue)
            lacking = min(wanted, room) - len(self._begins)
            if room <= 0:
                self.is_full()
        if lacking > 0 and self._clock() >= self._ask_at:
            reserved = await self._catalog.reserve_calls(limit, lacking)
            now = self._clock()  # after the answer, so that no call begins too early
            self._begins.extend(now + wait for wait in reserved.waits)
            self._ask_at = now + reserved.retry
        now = self._clock()
        admitted = 0
        while self._begins and admitted < wanted and self._begins[0] <= now:
            self._begins.popleft()
            admitted += 1
        return admitted

    @property
    def wait_seconds(self) -> float:
        """Seconds until `admit` may return more."""
        if self._free() <= 0:
            return _NO_SLOT_SECONDS
        at = self._begins[0] if self._begins else self._ask_at
        return max(at - self._clock(), self.cooldown_left, 0.0)
