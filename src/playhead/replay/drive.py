"""How a job is processed: two loops over rows.

*List*: one page of the store becomes one transaction that inserts the rows and moves the cursor.
*Publish*: rows are dispatched, then marked. Why this order is right if the process is killed (`kill -9`):

- before `record` has committed: nothing of the page exists; the next owner lists it again from the cursor;
- after `record`: the rows exist, unmarked; the next owner publishes them;
- after `publish`, before `mark`: they are published a second time; a dispatch only points at its row, and
  a row that was processed refuses the second dispatch;
- after `mark`, before `close`: the next owner finds nothing to do and closes the job.

A job with a pace or a canary lists to its end first. Then `allow` says how many rows may be sent, and pays
for them before they are sent. After a `kill -9`, the next owner sends what was paid for, and pays no more.
Rows without an answer of the broker are settled before more are paid for.

A replay that was started from a plan is `checking` first (`check`). Then the plan is its listing, whichever
process drives it.

The level of a replay's messages depends on how many objects it has (`Jobs.record`). Nothing is sent until the
listing has found more than fit the normal level, or has ended. A level chosen page by page would let the
first objects of many large replays delay all others. The level is recorded before the first message is sent,
so each process that sends it, now or again, uses the same.

While a page is published, the next one is listed and recorded, so that catalog and broker work at the same
time. This does not affect the reasons above: pages are still recorded, published and marked in order. At most
one more page of rows can be unmarked.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Protocol

from playhead import events, faults
from playhead.environment import Backends, Environment
from playhead.errors import EXECUTION_CODES, NotFound, PlayheadError, Unavailable
from playhead.keys import INPUT_STAGE, is_aside, problem, stage_of
from playhead.ports.catalog import Control, Jobs, Plans, Work
from playhead.ports.catalog.jobs import LeasedJob, Listed
from playhead.replay.check import check_plan
from playhead.replay.jobreport import JobReport
from playhead.replay.lease import Lease, Lost
from playhead.replay.pages import Page, PagesCatalog, pages_of
from playhead.replay.publisher import Publisher
from playhead.work import ending


class DriveCatalog(Control, Jobs, Plans, Work, ending.EndingCatalog, PagesCatalog, Protocol): ...


class Drive:
    """Processes one job from its acquisition to its end.

    Args:
        leased: the job, with its epoch and its cursor.
        lease: seconds; the lease is renewed when a third of it has passed, between two steps or by `renew`.
        page: how many rows are recorded or published in one step, at most.
        max_objects: the listing of a replay ends here with `too_many_objects`; None: no limit.
        traceparent: the parent span of the spans of pages and batches.

    Attributes:
        job: the execution.
        lease: that of the job.
    """

    def __init__(
        self,
        backends: Backends[DriveCatalog],
        env: Environment,
        leased: LeasedJob,
        *,
        lease: float,
        page: int,
        max_objects: int | None = None,
        traceparent: str | None = None,
    ) -> None:
        self._catalog, broker, self._store = backends
        self._env = env
        self.lease = Lease(self._catalog, env, leased, lease)
        self.job = leased.job
        self._page = page
        self._record_page = min(page, leased.page or page)
        self._max_objects = max_objects if leased.headers.replay_batch_id else None
        self._traceparent = traceparent
        self._cursor = leased.cursor
        self._report = JobReport(self._catalog, env.counters, leased)
        self._publisher = Publisher(
            self._catalog, broker, env, self.lease, self._report, page=page, traceparent=traceparent
        )

    @property
    def _leased(self) -> LeasedJob:
        return self.lease.job

    async def run(self) -> None:
        """Process the job until it has ended or another process owns it. Waits for unavailable backends."""
        leased = self._leased
        failed: PlayheadError | None = None
        try:
            while True:
                try:
                    if failed and not await self._fail_listing(failed):
                        return
                    failed = None
                    await self._process()
                    return
                except Unavailable as exc:
                    # All state is in rows, so the job can start over.
                    events.emit(events.BACKEND_UNAVAILABLE, execution_id=str(leased.job), detail=exc.detail)
                    self.lease.report(exc.detail, "broker" if exc.code.startswith("broker") else "store")
                    await self.lease.wait_longer()
                except PlayheadError as exc:
                    events.emit(
                        events.JOB_ENDED, logging.ERROR, execution_id=str(leased.job), detail=exc.detail
                    )
                    failed = exc  # give the listing up; what was listed is published
        except Lost:
            with contextlib.suppress(Unavailable):
                # Workers may have processed everything before the last page was marked.
                if await self._catalog.close_job(leased):
                    await self._report.log_end()
                    return
            events.emit(events.JOB_LOST, execution_id=str(leased.job), epoch=leased.epoch)
            await self.lease.release()  # if only an answer was lost, this process still has it

    async def _fail_listing(self, why: PlayheadError) -> bool:
        code = why.code if why.code in EXECUTION_CODES else "listing_failed"
        failed = await self._catalog.fail_listing(self._leased, why.detail, code=code)
        self.lease.job = replace(self._leased, state="publishing")  # a plan is not compared any more
        return failed

    async def _process(self) -> None:
        await self.lease.keep()
        if self._leased.state == "checking" and not await self._check():
            return
        if not await self._catalog.is_listed(self._leased.job):
            try:
                await self._publisher.publish_recorded()
                await self._list()
            finally:
                self._publisher.cancel()
        await self._publisher.publish_rest()
        if await self._catalog.close_job(self._leased):
            faults.reach("replay.closed")
            await self._report.log_end()
        # Workers may have closed every row before the root row was closed.
        await ending.end_executions(self._catalog, [self._leased.job])

    async def _check(self) -> bool:
        with self._env.tracer.start("check", self._traceparent):
            return await check_plan(self._catalog, self._store, self.lease)

    # -- list --------------------------------------------------------------------------------------

    async def _list(self) -> None:
        leased = self._leased
        is_stage = not leased.stages or leased.default_stage in (INPUT_STAGE, *leased.stages)
        skip = leased.prefix.find("/") + 1
        # After an outage this continues where the last recorded page ended. Half of what most stages contain
        # are sidecars, which get no row.
        async for page in self._pages():
            faults.reach("replay.listed")
            found = []
            for key in page.keys:
                if is_aside(key) or key.find("/", skip) < 0:  # external objects may lie next to the stages
                    continue
                stage = (
                    leased.default_stage
                    if is_stage
                    else stage_of(key[skip:], leased.stages, leased.default_stage)[0]
                )
                found.append(Listed(key, stage, problem(key[skip:], room=skip)))
            if await self._record(found, page.end):  # the limit of the selection was reached
                await self._publisher.join()
                return
        await self._publisher.join()
        if leased.headers.replay_batch_id and not self._cursor:
            raise NotFound(
                "no_objects",
                f"{leased.prefix} has no object in the store of {leased.owner}, but had one when the replay "
                "was created: check that all processes have the same PLAYHEAD_STORE",
            )
        if await self._catalog.record(leased, [], cursor=self._cursor, last=True) is None:
            raise Lost

    async def _pages(self) -> AsyncIterator[Page]:
        size = self._page
        pages = pages_of(self._catalog, self._store, self._leased, after=self._cursor, size=size)
        while True:
            with self._env.tracer.start("list", self._traceparent) as span:
                page = await anext(pages, None)
                span.set({"playhead.objects": len(page.keys) if page else 0})
            if page is None:
                return
            yield page

    async def _record(self, found: Sequence[Listed], end: str) -> bool:
        """Record the listed objects up to the key `end`, in transactions of at most one page.

        The publishing of a page starts when the previous page is published. Returns whether the listing has
        ended, because the limit of the selection was reached.
        """
        size = self._record_page
        for at in range(0, max(len(found), 1), size):
            some = found[at : at + size]
            cursor = some[-1].key if at + size < len(found) else end
            window = await self._catalog.record(
                self._leased, some, cursor=cursor, last=False, most=self._max_objects
            )
            if window is None:
                raise Lost
            self._report.count_invalid([one for one in some if one.problem])
            if not window.is_full:
                self._cursor = cursor
            faults.reach("replay.recorded")
            await self._publisher.start(window)
            await self.lease.keep()
            if window.listed:
                return True
            if window.is_full:
                raise PlayheadError(
                    "too_many_objects",
                    f"the replay has more than {self._max_objects} objects (PLAYHEAD_MAX_REPLAY_OBJECTS); "
                    "the first ones are processed. Replay the others by folder, or raise the limit of all "
                    f"processes and run `playhead replays retry {self._leased.headers.replay_batch_id}`",
                )
        return False
