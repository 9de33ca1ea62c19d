"""The check of a plan: before a replay publishes anything, its plan is compared with a new listing.

Nothing is recorded meanwhile, except how far the check is. After a `kill -9`, the next owner continues there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from playhead import events, faults
from playhead.ports.catalog import Plans
from playhead.ports.store import Store
from playhead.replay import planned
from playhead.replay.lease import Lease, Lost
from playhead.work import ending


class CheckCatalog(Plans, planned.CheckCatalog, ending.EndingCatalog, Protocol): ...


async def check_plan(catalog: CheckCatalog, store: Store, lease: Lease) -> bool:
    """Compare the plan of a job with the store; refuse the replay if they differ. Return whether it goes on.

    Raises `Lost`, and what `planned.difference` raises.
    """

    async def passed(key: str) -> None:
        if not await catalog.keep_check(lease.job, key):
            raise Lost
        lease.job = replace(lease.job, checked=key)  # after an outage, this process continues there too
        faults.reach("replay.compared")

    difference = await planned.difference(catalog, store, lease.job, passed)
    if not difference.first:
        if not await catalog.pass_check(lease.job):
            raise Lost
        lease.job = replace(lease.job, state="publishing")
        faults.reach("replay.checked")
        return True
    if not await catalog.refuse_plan(lease.job, difference):
        raise Lost
    job = lease.job.job
    events.emit(events.PLAN_CHANGED, execution_id=str(job), detail=difference.text)
    await ending.end_executions(catalog, [job])
    return False
