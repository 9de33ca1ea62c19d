"""How a job is worked: two loops over rows.

*List*: one page of the store becomes one transaction that inserts the rows and moves the cursor.
*Publish*: rows are called, then marked. Why this order is right after a `kill -9` at any line:

- before `record` committed: nothing of the page exists; the next owner lists it again from the cursor;
- after `record`: the rows exist, unmarked; the next owner publishes them;
- after `publish`, before `mark`: they are published a second time; a call only says "look at the row",
  and a row that was worked refuses the second call;
- after `mark`, before `close`: the next owner finds nothing to do and closes.

A replay does this to a stored stage, a run to its own sealed `input`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from playhead import events, faults
from playhead.engine import relay
from playhead.engine.listing import PAGE
from playhead.engine.relay import Rest
from playhead.envelope import Call
from playhead.errors import PlayheadError, Unavailable
from playhead.keys import INPUT_STAGE, is_aside, problem, stage_of
from playhead.ports.broker import Broker
from playhead.ports.catalog import Jobs, Work
from playhead.ports.catalog.jobs import Held, Listed
from playhead.ports.store import Store

_LISTED = 2 * PAGE
"""Keys in a page of the listing: half of what most stages hold are sidecars, which make no row."""
_SETTLE_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


class _Lost(Exception):
    """The job is another's now, or ended: stop without a word."""


class DriveCatalog(Jobs, Work, Protocol): ...


class Drive:
    """One hold of a job, from acquisition to its end.

    Args:
        lease: seconds; renewed when a third of it has passed, between two steps or by `renew`.
    """

    def __init__(
        self,
        catalog: DriveCatalog,
        store: Store,
        broker: Broker,
        held: Held,
        *,
        lease: float,
        rest: Rest,
        clock: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._broker = broker
        self._held = held
        self._lease = lease
        self._rest = rest
        self._clock = clock
        self._cursor = held.cursor
        self._renewed = clock()
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
                    events.emit(events.BACKEND_AWAY, logging.WARNING, job=str(held.job), detail=exc.detail)
                    await self._wait_longer()
        except _Lost:
            events.emit(events.JOB_LOST, logging.INFO, job=str(held.job), epoch=held.epoch)
            # Where it was lost only because an answer was, the lease is still held; let go of it.
            with contextlib.suppress(Unavailable):
                await self._catalog.release(held)
        except PlayheadError as exc:
            events.emit(events.JOB_ENDED, logging.ERROR, job=str(held.job), detail=exc.detail)
            if await self._catalog.fail_listing(held, exc.detail):
                await self._finish()

    async def _work(self) -> None:
        await self._keep()
        await self._publish_backlog()
        if not await self._catalog.is_listed(self._held.job):
            await self._list()
        await self._finish()

    async def _list(self) -> None:
        held = self._held
        whole = not held.stages or held.default_stage in (INPUT_STAGE, *held.stages)
        skip = held.prefix.find("/") + 1
        # After an outage this goes on where the last recorded page ended.
        async for page in self._store.list(held.prefix, after=self._cursor, page=_LISTED):
            faults.reach("replay.listed")
            found = []
            for key, _, _ in page:
                if is_aside(key):
                    continue
                stage = (
                    held.default_stage if whole else stage_of(key[skip:], held.stages, held.default_stage)[0]
                )
                found.append(Listed(key, stage, problem(key[skip:], room=skip)))
            await self._record(found, page[-1].key)
        if await self._catalog.record(held, [], cursor=self._cursor, last=True) is None:
            raise _Lost

    async def _record(self, found: Sequence[Listed], end: str) -> None:
        """Record and publish what was found up to the key `end`, at most a page in a transaction."""
        for at in range(0, max(len(found), 1), PAGE):
            some = found[at : at + PAGE]
            cursor = some[-1].key if at + PAGE < len(found) else end
            calls = await self._catalog.record(self._held, some, cursor=cursor, last=False)
            if calls is None:
                raise _Lost
            self._cursor = cursor
            faults.reach("replay.recorded")
            await self._publish(calls)
            await self._keep()

    async def _publish_backlog(self) -> None:
        while calls := await self._catalog.unpublished(self._held, limit=PAGE):
            await self._publish(calls)
            await self._keep()

    async def _publish(self, calls: Sequence[Call]) -> None:
        if not calls:
            return
        sent = await relay.publish(self._broker, calls)
        if sent.away:
            raise sent.away  # none was sent: they stay unmarked and are read again
        faults.reach("replay.published")
        marked = await self._catalog.mark(
            self._held, calls[-1].ordinal or 0, uncertain=sent.uncertain, refused=sent.refused
        )
        if not marked:
            raise _Lost
        self._pause = _SETTLE_PAUSE_SECONDS
        faults.reach("replay.marked")

    async def _finish(self) -> None:
        """Settle what is uncertain by publishing the same rows again, then close."""
        await self._publish_backlog()
        while calls := await self._catalog.unsettled(self._held, limit=PAGE):
            sent = await relay.publish(self._broker, calls)
            faults.reach("replay.published")
            if not await self._catalog.settle(self._held, sent.confirmed, sent.refused):
                raise _Lost
            faults.reach("replay.marked")
            if sent.uncertain:
                await self._wait_longer()
        if await self._catalog.close_job(self._held):
            faults.reach("replay.closed")
            events.emit(events.JOB_ENDED, job=str(self._held.job))
        # The workers may have closed every row before the root was closed.
        await self._catalog.end_executions([self._held.job])

    async def _wait_longer(self) -> None:
        await self._rest(self._pause)
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
        held = await self._catalog.renew(self._held, lease=self._lease)
        if held:
            self._renewed = self._clock()
        return held
