"""Plans of replays, and the check of a plan by the replay that uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.lanes import storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.plan_rows import encode
from playhead.backends._sql_catalog.rows import ABOVE_ALL
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import ChangedObject, ObjectState, Plan, PlanDifference
from playhead.ports.catalog.jobs import LeasedJob
from playhead.ports.catalog.plans import PlanPage

_LOST: Final = "the process that made it has ended. Make a new plan"
_NEWEST: Final = 20
"""Replays of which the largest provides the rate of an estimate."""
_DIFFERENCE: Final = "difference"
"""In `found`: why the replay of the plan was refused."""


class PlansPart(Part):
    async def open_plan(
        self,
        plan: UUID,
        *,
        owner: str,
        request: Mapping[str, Any],
        source: UUID,
        config: str,
        version: int,
        route: str,
        seconds: float,
    ) -> Plan:
        text = json.dumps(request, default=str, sort_keys=True, separators=(",", ":"))

        change = Change("replay.plan")

        async def open_it(db: Session) -> Plan:
            await change.check(db, await db.value(SQL.execution_number, id=source))
            about = {"from": source, "route": route}
            await change.record(db, config=config, object=str(plan), detail=about)
            number = await db.value(SQL.config_version, name=config, version=version)
            await db.run(
                SQL.insert_plan,
                id=plan,
                owner=owner,
                request=text,
                request_sha256=sha256(text.encode()).digest(),
                source=source,
                lane=await self._lanes.feed(db, number, route),
                seconds=seconds,
            )
            found = await self._plans.find(db, plan)
            assert found
            return found

        return await change.write(self._db, open_it)

    async def add_page(self, plan: UUID, page: PlanPage) -> bool:
        async def add(db: Session) -> bool:
            n = await db.value(SQL.lock_plan, id=plan, state="listing")
            if n is None:
                return False
            await db.insert(SQL.insert_plan_page, [(n, *page)])
            return True

        return await self._db.write(add)

    async def finish_plan(self, plan: Plan) -> Plan | None:
        async def finish(db: Session) -> Plan | None:
            n = await db.value(SQL.lock_plan, id=plan.plan_id, state="listing")
            if n is not None:
                await db.run(SQL.finish_plan, digest=plan.digest, found=encode(plan), plan=n)
            found = await self._plans.find(db, plan.plan_id)
            return found if found and found.state != "failed" else None

        return await self._db.write(finish)

    async def fail_plan(self, plan: UUID, error: str) -> bool:
        return await self._db.run(SQL.fail_plan, id=plan, error=storable(error)) > 0

    async def fail_lost_plans(self) -> int:
        seconds = self._liveness.seconds

        async def clean(db: Session) -> int:
            lost = await db.run(SQL.fail_lost_plans, seconds=seconds, error=_LOST)
            await db.run(SQL.expire_plans)
            await db.run(SQL.delete_idle_pages)
            await db.run(SQL.delete_forgotten_plans)
            return lost

        if not await self._db.row(SQL.has_plan_upkeep, seconds=seconds):
            return 0
        return await self._db.write(clean)

    async def plan(self, plan: UUID) -> Plan | None:
        return await self._db.read(lambda db: self._plans.find(db, plan))

    async def plans(self, *, before: int | None = None, limit: int = 100) -> tuple[list[Plan], int | None]:
        async def find(db: Session) -> tuple[list[Plan], int | None]:
            rows = await db.rows(SQL.newest_plans, before=before or ABOVE_ALL, limit=limit + 1)
            return await self._plans.of_rows(db, rows[:limit]), rows[limit - 1][0] if len(
                rows
            ) > limit else None

        return await self._db.read(find)

    async def plan_pages(self, plan: UUID, *, after: str = "", limit: int) -> list[PlanPage]:
        rows = await self._db.rows(SQL.plan_pages, id=plan, after=after, limit=limit)
        return [
            PlanPage(no, first, last, objects, bytes(digest), bytes(data))
            for no, first, last, objects, digest, data in rows
        ]

    async def publishing_rate(self, config: str, route: str) -> float | None:
        rows = await self._db.rows(SQL.publishing_rates, config=config, route=route, limit=_NEWEST)
        largest = max(rows, key=lambda row: row[0], default=None)
        return largest[0] / largest[1] if largest else None

    # -- the replay that uses a plan ---------------------------------------------------------------

    async def keep_check(self, held: LeasedJob, checked: str) -> bool:
        return await self._db.run(SQL.keep_check, job=held.job, epoch=held.epoch, checked=checked) > 0

    async def pass_check(self, held: LeasedJob) -> bool:
        async def pass_it(db: Session) -> bool:
            row = await db.row(SQL.lock_checking, job=held.job, epoch=held.epoch)
            if row is None:
                return False
            await db.run(SQL.pass_check, execution=row[0])
            return True

        return await self._db.write(pass_it)

    async def refuse_plan(self, held: LeasedJob, difference: PlanDifference) -> bool:
        async def refuse(db: Session) -> bool:
            row = await db.row(SQL.lock_checking, job=held.job, epoch=held.epoch)
            if row is None or row[2] != "checking":
                return False
            n, plan, _ = row
            found = json.loads(await db.value(SQL.found_of_plan, plan=plan))
            found[_DIFFERENCE] = asdict(difference)
            await db.run(SQL.set_found, found=json.dumps(found), plan=plan)
            await db.run(SQL.refuse_plan, error=storable(difference.text), execution=n)
            return True

        return await self._db.write(refuse)

    async def plan_difference(self, plan: UUID) -> PlanDifference | None:
        text = await self._db.value(SQL.found_by_plan, id=plan)
        found = json.loads(text or "{}").get(_DIFFERENCE)
        return _difference(found) if found else None


def _difference(found: Mapping[str, Any]) -> PlanDifference:
    first = [
        ChangedObject(
            one["key"],
            one["what"],
            ObjectState(**one["planned"]),
            ObjectState(**one["now"]) if one["now"] else None,
        )
        for one in found["first"]
    ]
    return PlanDifference(found["gone"], found["changed"], first)
