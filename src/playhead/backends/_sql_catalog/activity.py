"""What happened when: counts of messages by time, and marks."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import Mark, RouteTime, TimeCounts

MOST_MARKS = 20
_SETTLED_MINUTES = 2
"""After this time, no count is added to a minute."""


class ActivityPart(Part):
    async def counts_by_time(self, *, intervals: int, minutes: int) -> list[TimeCounts]:
        async def find(db: Session) -> list[TimeCounts]:
            now = int(await db.value(SQL.minute_now))
            last = now // minutes + 1
            first = last - intervals
            known = self._settled_counts.get(minutes, {})
            start = first
            while start in known:
                start += 1
            period = {"interval": minutes, "first": start * minutes, "last": last * minutes}
            ended = {
                int(n): (int(done), int(failed))
                for n, done, failed in await db.rows(SQL.counts_by_time, **period)
            }
            waited = {int(n): int(waiting) for n, waiting in await db.rows(SQL.waiting_by_time, **period)}
            found = {
                n: known[n] if n < start else (*ended.get(n, (0, 0)), waited.get(n, 0))
                for n in range(first, last)
            }
            settled = (now - _SETTLED_MINUTES) // minutes
            self._settled_counts[minutes] = {n: counts for n, counts in found.items() if n < settled}
            return [TimeCounts(moment(n * minutes * 60.0), *counts) for n, counts in found.items()]

        return await self._db.read(find)

    async def sample_waiting(self) -> None:
        # In two steps: no writer waits for the count.
        rows = await self._db.rows(SQL.waiting_by_lane, executions=None)
        if rows:
            lanes, messages = [lane for lane, _ in rows], [int(count) for _, count in rows]
            await self._db.write(lambda db: db.run(SQL.record_waiting, lanes=lanes, messages=messages))

    async def failures_by_hour(self, causes: Sequence[int], *, hours: int) -> dict[int, list[int]]:
        if not causes:
            return {}

        async def find(db: Session) -> dict[int, list[int]]:
            first = int(await db.value(SQL.minute_now)) // 60 + 1 - hours
            found = {cause: [0] * hours for cause in causes}
            for cause, hour, messages in await db.rows(
                SQL.failures_by_hour, causes=list(causes), first=first * 60
            ):
                found[cause][int(hour) - first] += int(messages)
            return found

        return await self._db.read(find)

    async def timeline(
        self, execution: UUID, *, start: float, width: float, intervals: int, every: int = 1
    ) -> list[RouteTime]:
        async def find(db: Session) -> list[RouteTime]:
            given = {"start": start, "width": width, "intervals": intervals, "every": every}
            rows = await db.rows(SQL.timeline, execution=execution, **given)
            lanes = await self._lanes.learn(db, {row[0] for row in rows})
            return [
                RouteTime(
                    *(lanes[lane].route, int(interval), 0 if is_dead else n, n if is_dead else 0),
                    *(int(retries), float(waited), float(worked)),
                )
                for lane, interval, is_dead, n, retries, waited, worked in rows
            ]

        return await self._db.read(find)

    async def marks(self, *, since: float) -> list[Mark]:
        rows = await self._db.rows(SQL.marks, since=since, limit=MOST_MARKS)
        return [Mark(kind, name, moment(at)) for kind, name, at in rows]
