"""Rate limits, and the limit of running messages of a queue."""

from __future__ import annotations

from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.lanes import storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import RateLimit, RoutePause
from playhead.ports.catalog.limits import PAUSE, Cooldown, Reservation
from playhead.ratelimit import grant_calls


class LimitsPart(Part):
    async def reserve_calls(self, limit: RateLimit, wanted: int) -> Reservation:
        async def reserve(db: Session) -> Reservation:
            await db.run(SQL.ensure_limit, key=limit.key)
            ((next_at, cooldown_until, now),) = await db.rows(SQL.lock_limit, key=limit.key)
            grant = grant_calls(
                calls=limit.calls,
                seconds=limit.seconds,
                burst=limit.burst,
                next_at=next_at,
                cooldown_until=cooldown_until,
                now=now,
                wanted=wanted,
            )
            if grant.waits or grant.next_at < next_at:
                await db.run(SQL.set_next_call, key=limit.key, next_at=grant.next_at)
            return Reservation(grant.waits, grant.retry)

        return await self._db.write(reserve)

    async def cool_down(self, key: str, seconds: float, reason: str) -> None:
        await self._db.run(SQL.start_cooldown, key=key, seconds=seconds, reason=storable(reason))

    async def cooldowns(self) -> dict[str, Cooldown]:
        rows = await self._db.rows(SQL.cooldowns, pause=PAUSE)
        return {key: Cooldown(seconds, reason) for key, seconds, reason in rows}

    async def pause_route(self, config: str, route: str, pause: RoutePause) -> None:
        given = {"reason": storable(pause.reason), "seconds": pause.seconds}
        change = Change("route.pause")

        async def pause_it(db: Session) -> None:
            about = {"seconds": pause.seconds} if pause.seconds is not None else None
            await change.record(db, config=config, object=route, reason=pause.reason, detail=about)
            await db.run(SQL.pause_route, config=config, route=route, **given)

        await change.write(self._db, pause_it)

    async def resume_route(self, config: str, route: str) -> bool:
        change = Change("route.resume")
        change.check_configs([config])

        async def resume_it(db: Session) -> bool:
            is_resumed = bool(await db.value(SQL.resume_route, config=config, route=route))
            if is_resumed:
                await change.record(db, config=config, object=route)
            return is_resumed

        return await change.write(self._db, resume_it)

    async def running(self, queue: str) -> int:
        count: int = await self._db.value(SQL.count_running, queue=queue)
        return count
