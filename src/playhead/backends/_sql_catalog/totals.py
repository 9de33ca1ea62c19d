"""Objects and bytes of stages.

The totals of an execution that has settled are recorded once, by the first call that asks for them. They are
exact, because nothing changes them afterwards:

- An output of a stage becomes `stored` only in three transactions: of an attempt, whose row is `running`, of
  the seal of a run, and of a page that takes over results. The last two need an open listing. An execution
  settles when it has no open row and no open listing, so all of them have been committed before.
- Only a reopening makes rows open again. It clears `settled` and `totals` in one statement, and the next end
  raises `revision`.
- The outputs are counted in a snapshot that shows `settled` and a revision. The totals are written by one
  statement on condition that both are the same. So the execution was settled from the count to the write. A
  reopening that commits first makes the condition false; one that commits later deletes the totals.

No lock is held while outputs are counted, so a count of millions delays no worker.

A prune keeps the state of an output, so recorded totals also count pruned outputs. The record of a pruning,
which is committed before the first object is deleted, decides that its stages are shown as empty.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from playhead.backends._sql_catalog.executions import prunings_of
from playhead.backends._sql_catalog.lanes import below, lanes_of
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.keys import INPUT_STAGE
from playhead.model import StageTotal, StageTotals


class TotalsPart(Part):
    async def stage_totals(self, execution: UUID) -> StageTotals | None:
        async def look(db: Session) -> tuple[StageTotals, dict[str, Any] | None] | None:
            row = await db.row(SQL.execution_totals, id=execution)
            if row is None or row[1] is None:
                return None
            n, version, settled, revision, recorded, now = row
            if of := await self._aliases.publication(db, str(execution)):
                return await self._of_publication(db, of, version, moment(now)), None
            if not settled and (known := self._totals.get(execution)):
                return known, None
            counted = json.loads(recorded) if recorded else await self._count(db, execution, version)
            gone = (await prunings_of(db, [n]))[n]
            stages = [
                StageTotal(stage, *([0, 0] if any(one.overlaps(stage) for one in gone) else sizes))
                for stage, *sizes in counted
            ]
            totals = StageTotals(moment(now), bool(settled), stages)
            if not settled:
                self._totals.keep(execution, totals, sum(one.objects for one in stages))
            if recorded or not settled:
                return totals, None
            return totals, {"execution": n, "revision": revision, "totals": json.dumps(counted)}

        seen = await self._db.read(look)
        if seen is None:
            return None
        totals, record = seen
        if record:
            await self._db.run(SQL.record_totals, **record)
        return totals

    async def _of_publication(self, db: Session, of: tuple[int, int], version: int, now: str) -> StageTotals:
        stages = [INPUT_STAGE, *(lane.stage for lane in await lanes_of(db, version) if lane.stage)]
        counted = []
        for stage in stages:
            [sizes] = await db.rows(SQL.published_totals, dataset=of[0], n=of[1], stage=stage)
            counted.append(StageTotal(stage, *sizes))
        return StageTotals(now, True, counted)

    async def _count(self, db: Session, execution: UUID, version: int) -> list[Row]:
        """Return the stages with their objects and bytes."""
        counted: list[Row] = []
        for stage in [INPUT_STAGE, *(lane.stage for lane in await lanes_of(db, version) if lane.stage)]:
            [sizes] = await db.rows(SQL.count_outputs, **below(f"{execution}/{stage}"))
            counted.append((stage, *sizes))
        return counted
