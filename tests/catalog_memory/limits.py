"""Rate limits."""

from __future__ import annotations

from playhead.model import RateLimit
from playhead.ports.catalog.limits import Pause, Reservation
from playhead.ratelimit import grant_calls
from tests.catalog_memory.tables import Tables


class LimitsPart(Tables):
    async def reserve_calls(self, limit: RateLimit, wanted: int) -> Reservation:
        await self._begin()
        _, paused_until, _ = self._pauses.get(limit.key, (0.0, 0.0, ""))
        grant = grant_calls(
            calls=limit.calls,
            seconds=limit.seconds,
            burst=limit.burst,
            next_at=self._next_calls.get(limit.key, 0.0),
            paused_until=paused_until,
            now=self._clock(),
            wanted=wanted,
        )
        if grant.waits:
            self._next_calls[limit.key] = grant.next_at
        return Reservation(grant.waits, grant.retry)

    async def pause_calls(self, key: str, seconds: float, reason: str) -> None:
        await self._begin()
        now = self._clock()
        if self._pauses.get(key, (0.0, 0.0, ""))[1] < now + seconds:
            self._pauses[key] = (now, now + seconds, reason)

    async def pauses(self) -> dict[str, Pause]:
        await self._begin()
        now = self._clock()
        return {
            key: Pause(until - now, reason)
            for key, (_, until, reason) in sorted(self._pauses.items())
            if until > now
        }

    async def running(self, queue: str) -> int:
        await self._begin()
        return self._running_in(queue)
