"""How a job is worked: two loops over rows.

*List*: one page of the store becomes one transaction that inserts the rows and moves the cursor.
*Publish*: rows are called, then marked. Why this order is right after a `kill -9` at any line:

- before `record` committed: nothing of the page exists; the next owner lists it again from the cursor;
- after `record`: the rows exist, unmarked; the next owner publishes them;
- after `publish`, before `mark`: they are published a second time; a call only says "look at the row",
  and a row that was worked refuses the second call;
- after `mark`, before `close`: the next owner finds nothing to do and closes.

While a page is published the next one is listed and recorded, so catalog and broker work at the same time.
That changes nothing of the above: pages are recorded in order, and published and marked in order; there is
only one more page whose rows exist, unmarked.

A replay does this to a stored stage, a run to its own sealed `input`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from playhead import events, faults
from playhead.counters import Counters
from playhead.engine import ending, relay
from playhead.engine.relay import Sleep
from playhead.envelope import Dispatch
from playhead.errors import PlayheadError, Unavailable
from playhead.keys import INPUT_STAGE, is_aside, problem, stage_of
from playhead.ports.broker import Broker
from playhead.ports.catalog import Jobs, Work
from playhead.ports.catalog.jobs import LeasedJob, Listed
from playhead.ports.store import Entry, List
from playhead.ports.tracer import OFF, Tracer

_SETTLE_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


class _Lost(Exception):
    """The job is another's now, or ended: stop without a word."""


class Begun(Awaitable[None], Protocol):
    """Work that was begun: its end can be awaited, or it can be given up."""

    def cancel(self) -> object: ...


Begin = Callable[[Coroutine[Any, Any, None]], Begun]
"""How work is begun beside other work: `asyncio.create_task`, or a step of a schedule in a test."""


class DriveCatalog(Jobs, Work, ending.EndingCatalog, Protocol): ...


class Drive:
    """One hold of a job, from acquisition to its end.

    Args:
        lease: seconds; renewed when a third of it has passed, between two steps or by `renew`.
        page: rows recorded or published in one step, at most.
        counters: where this process counts.
        tracer: begins a span for each page that is listed and each batch that is published.
        under: the `traceparent` of the whole.

    Attributes:
        job: the execution that is worked.
        trouble: what keeps it from getting on just now; empty as long as it does.
        waits: it does nothing just now but wait for that to be over.
    """

    def __init__(
        self,
        catalog: DriveCatalog,
        store: List,
        broker: Broker,
        held: LeasedJob,
        *,
        lease: float,
        sleep: Sleep,
        begin: Begin,
        page: int,
        clock: Callable[[], float],
        counters: Counters,
        tracer: Tracer = OFF,
        under: str | None = None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._broker = broker
        self._held = held
        self.job = held.job
        self.trouble = ""
        self.waits = False
        self._lease = lease
        self._sleep = sleep
        self._begin = begin
        self._page = page
        self._publishing: Begun | None = None
        self._failed: Unavailable | _Lost | None = None
        self._clock = clock
        self._route_counters = counters.of(held.headers.config, held.headers.route)
        self._counters = counters
        self._tracer = tracer
        self._under = under
        self._cursor = held.cursor
        self._renewed = clock()
        self._released = False
        self._pause = _SETTLE_PAUSE_SECONDS

    async def run(self) -> None:
        """Work the job until it has ended or is another's. Waits for a backend that is away."""
        held = self._held
        try:
            while True:
                try:
                    await self._work()
                    return
                except Unavailable as exc:
                    # Whatever was in hand is read from rows again, so starting over is right.
                    events.emit(
                        events.BACKEND_UNAVAILABLE,
                        logging.WARNING,
                        execution_id=str(held.job),
                        detail=exc.detail,
                    )
                    self.trouble = exc.detail
                    await self._wait_longer()
        except _Lost:
            events.emit(events.JOB_LOST, logging.INFO, execution_id=str(held.job), epoch=held.epoch)
            # Where it was lost only because an answer was, the lease is still held; let go of it. Renewed
            # after that, it would be held again, and worked by nobody.
            self._released = True
            with contextlib.suppress(Unavailable):
                await self._catalog.release(held)
        except PlayheadError as exc:
            events.emit(events.JOB_ENDED, logging.ERROR, execution_id=str(held.job), detail=exc.detail)
            if await self._catalog.fail_listing(held, exc.detail):
                await self._finish()

    async def _work(self) -> None:
        await self._keep()
        await self._publish_backlog()
        if not await self._catalog.is_listed(self._held.job):
            try:
                await self._list()
            finally:
                if self._publishing:
                    self._publishing.cancel()  # its rows stay unmarked and are read again
                self._publishing = self._failed = None
        await self._finish()

    async def _list(self) -> None:
        held = self._held
        whole = not held.stages or held.default_stage in (INPUT_STAGE, *held.stages)
        skip = held.prefix.find("/") + 1
        # After an outage this goes on where the last recorded page ended.
        # Half of what most stages hold are sidecars, which make no row.
        async for page in self._pages():
            faults.reach("replay.listed")
            found = []
            for key, _, _ in page:
                if is_aside(key) or key.find("/", skip) < 0:  # others may put objects beside the stages
                    continue
                stage = (
                    held.default_stage if whole else stage_of(key[skip:], held.stages, held.default_stage)[0]
                )
                found.append(Listed(key, stage, problem(key[skip:], room=skip)))
            await self._record(found, page[-1].key)
        await self._published()
        if await self._catalog.record(held, [], cursor=self._cursor, last=True) is None:
            raise _Lost

    async def _pages(self) -> AsyncIterator[Sequence[Entry]]:
        pages = aiter(self._store.list(self._held.prefix, after=self._cursor, page=2 * self._page))
        while True:
            with self._tracer.start("list", self._under) as span:
                page = await anext(pages, None)
                span.set({"playhead.objects": len(page or ())})
            if page is None:
                return
            yield page

    async def _record(self, found: Sequence[Listed], end: str) -> None:
        """Record what was found up to the key `end`, at most a page in a transaction, and begin to publish it
        as soon as what was recorded before is published."""
        for at in range(0, max(len(found), 1), self._page):
            some = found[at : at + self._page]
            cursor = some[-1].key if at + self._page < len(found) else end
            calls = await self._catalog.record(self._held, some, cursor=cursor, last=False)
            if calls is None:
                raise _Lost
            self._tell_refused([one for one in some if one.problem])
            self._cursor = cursor
            faults.reach("replay.recorded")
            await self._published()
            self._publishing = self._begin(self._publish_aside(calls))
            await self._keep()

    async def _publish_aside(self, calls: Sequence[Dispatch]) -> None:
        try:
            await self._publish(calls)
        except (Unavailable, _Lost) as exc:
            self._failed = exc  # told by `_published`, or by nobody if the listing failed before

    async def _published(self) -> None:
        """Wait until what was begun is published. Raises what it raised."""
        if publishing := self._publishing:
            await publishing
            self._publishing = None
        if failed := self._failed:
            self._failed = None
            raise failed

    async def _publish_backlog(self) -> None:
        while calls := await self._catalog.unpublished(self._held, limit=self._page):
            await self._publish(calls)
            await self._keep()

    async def _publish(self, calls: Sequence[Dispatch]) -> None:
        if not calls:
            return
        sent = await self._send(calls)
        if sent.away:
            raise sent.away  # none was sent: they stay unmarked and are read again
        faults.reach("replay.published")
        marked = await self._catalog.mark(
            self._held, calls[-1].ordinal or 0, uncertain=sent.uncertain, refused=sent.refused
        )
        if not marked:
            raise _Lost
        self._count(sent)
        self._pause = _SETTLE_PAUSE_SECONDS
        self.trouble = sent.why
        faults.reach("replay.marked")

    async def _send(self, calls: Sequence[Dispatch]) -> relay.Published:
        with self._tracer.start("publish", self._under, {"playhead.messages": len(calls)}, "client") as span:
            sent = await relay.publish(self._broker, calls)
            if sent.why:
                span.fail(sent.why)
            return sent

    async def _finish(self) -> None:
        """Settle what is uncertain by publishing the same rows again, then close."""
        await self._publish_backlog()
        while calls := await self._catalog.unsettled(self._held, limit=self._page):
            sent = await self._send(calls)
            faults.reach("replay.published")
            if not await self._catalog.settle(self._held, sent.confirmed, sent.refused):
                raise _Lost
            self._count(sent)
            faults.reach("replay.marked")
            self.trouble = sent.why
            if sent.uncertain:
                await self._wait_longer()
        if await self._catalog.close_job(self._held):
            faults.reach("replay.closed")
            await self._tell_end()
        # The workers may have closed every row before the root was closed.
        await ending.end_executions(self._catalog, [self._held.job])

    def _count(self, sent: relay.Published) -> None:
        """Count what was marked."""
        relay.tell_marked(sent, self._counters)
        if self._held.headers.replay_batch_id:
            self._route_counters.replay_published += len(sent.confirmed)
            self._route_counters.replay_failed += len(sent.refused)

    def _tell_refused(self, refused: Sequence[Listed]) -> None:
        """Objects whose keys are outside the grammar were recorded as dead: a line a page, as a folder of
        such names may be large."""
        if not refused:
            return
        self._route_counters.dead += len(refused)
        if self._held.headers.replay_batch_id:
            self._route_counters.replay_failed += len(refused)
        events.emit(
            events.KEYS_REFUSED,
            logging.ERROR,
            execution_id=str(self.job),
            count=len(refused),
            first_key=refused[0].key,
            error=refused[0].problem,
        )

    async def _tell_end(self) -> None:
        if not events.LOG.isEnabledFor(logging.INFO):
            return  # the numbers would be read for nobody
        headers = self._held.headers
        fields: dict[str, Any] = {
            "execution_id": str(self.job),
            "config": headers.config,
            "route": headers.route,
        }
        if batch := headers.replay_batch_id:
            fields["replay_batch_id"] = str(batch)
            with contextlib.suppress(Unavailable):
                if found := await self._catalog.replay(batch):
                    fields |= {
                        "status": found.status,
                        "objects_found": found.objects_found,
                        "objects_published": found.objects_published,
                        "objects_failed": found.objects_failed,
                    }
        events.emit(events.JOB_ENDED, **fields)

    async def _wait_longer(self) -> None:
        self.waits = True
        try:
            await self._sleep(self._pause)
        finally:
            self.waits = False
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        await self._keep()

    async def _keep(self) -> None:
        """Renew the lease when a third of it has passed."""
        if self._clock() - self._renewed < self._lease / 3:
            return
        try:
            if not await self.renew():
                raise _Lost
        except Unavailable:
            return  # the epoch fences; the lease is only politeness

    async def renew(self) -> bool:
        """Hold the lease anew, also while a step goes on; False when the job is another's, or ended.

        Raises `Unavailable`.
        """
        held = not self._released and await self._catalog.renew(self._held, lease=self._lease)
        if held:
            self._renewed = self._clock()
        return held
