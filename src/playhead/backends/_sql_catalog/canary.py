"""The canary of a replay: what its first objects came to decides whether the others follow."""

from __future__ import annotations

from typing import NamedTuple

from playhead.backends._sql_catalog import requests
from playhead.backends._sql_catalog.jobs import JobsPart
from playhead.backends._sql_catalog.locks import exclude
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import Canary
from playhead.ports.catalog.control import Verdict
from playhead.ports.catalog.jobs import LeasedJob


class _Held(NamedTuple):
    """A job whose canary is not decided."""

    n: int
    lane: int
    version: int
    canary: Canary

    @property
    def rows(self) -> dict[str, int]:
        """Parameters of the statements over the rows of the canary."""
        return {
            "execution": self.n,
            "hold": self.canary.objects,
            "lane": self.lane,
            "version": self.version,
        }


class CanaryPart(JobsPart):
    async def decide(self, held: LeasedJob) -> Verdict | None:
        # Without a lock first: this is asked twice a second, and workers share the execution.
        if not await self._db.read(lambda db: self._is_closed(db, held)):
            return None

        async def decide_it(db: Session) -> Verdict | None:
            # An execution that ends closes its job. All objects behind the canary may be dead: then it ends
            # either before this transaction, which finds no job, or after it.
            n = await db.value(SQL.execution_number, id=held.job)
            await exclude(db, [n])
            job = await self._held(db, held, lock=True)
            if job is None or await db.value(SQL.canary_is_open, **job.rows):
                return None
            objects, most = job.canary.objects, job.canary.max_failed
            failed = int(await db.value(SQL.failed_canary_objects, **job.rows))
            passed = failed <= most if most >= 1 else failed / objects <= most
            if passed:
                await db.run(SQL.lift_hold, execution=n)
            else:
                reason = f"{failed} of {objects} canary objects failed"
                await db.run(SQL.pause_job, by="canary", reason=reason, execution=n)
                await self._record_event(db, n, "replay.paused")
            return Verdict(objects, failed, passed)

        return await self._db.write(decide_it)

    async def _is_closed(self, db: Session, held: LeasedJob) -> bool:
        job = await self._held(db, held, lock=False)
        return job is not None and not await db.value(SQL.canary_is_open, **job.rows)

    async def _held(self, db: Session, held: LeasedJob, *, lock: bool) -> _Held | None:
        """Return the job if its epoch is current and it has a canary."""
        job = await self._leased(db, held, lock=lock)
        if job is None:
            return None
        row = await db.row(SQL.canary_of_job, execution=job.n)
        assert row
        hold_at, request, version = row
        canary = requests.decode(request).canary if hold_at is not None else None
        return _Held(job.n, job.lane, version, canary) if canary else None
