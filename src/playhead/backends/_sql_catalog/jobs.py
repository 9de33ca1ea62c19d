"""Jobs: lease one, record the pages of its listing, publish and mark its rows.

Each write of a job first locks the job's row (`Rows.leased`), so writes and changes of the epoch come one
after the other: what was read under an epoch holds until the transaction ends. A transaction that also locks
the execution (cancel) locks the execution first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Literal
from uuid import UUID

from playhead.backends._sql_catalog import requests
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.failing import record_failures
from playhead.backends._sql_catalog.lanes import DispatchMaker, as_uuid, below, storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.rates import saved
from playhead.backends._sql_catalog.reusing import Wanted
from playhead.backends._sql_catalog.rows import LONG_SECONDS, refuse_dispatches
from playhead.backends._sql_catalog.sampling import draw_sample
from playhead.backends._sql_catalog.takeover_plan import Plan
from playhead.backends._sql_catalog.unchanged import KeyTaken, Root
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.envelope import Dispatch
from playhead.failures import cause_of, group_of
from playhead.ids import mint, text
from playhead.keys import INPUT_STAGE
from playhead.ports.catalog.jobs import MOST_NORMAL, LeasedJob, LeasedPlan, Listed, Window

MAX_IDLE_TAKEOVERS: Final = 5
"""A job is stalled when this many processes in a row have died without progress while they listed it."""


class JobsPart(Part):
    # -- lease and fence ---------------------------------------------------------------------------

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        change = Change("execution.take_over")

        async def take(db: Session) -> LeasedJob | None:
            row = await db.row(SQL.acquirable_job, job=job)
            if row is None:
                return None
            n, batch, traceparent, source, stage, prefix, lane, epoch, cursor, listing_state, *rest = row
            (
                idle,
                since,
                plan,
                state,
                request,
                paths,
                paid,
                is_bulk,
                has_references,
                planned,
                checked,
                former,
            ) = rest
            if listing_state == "open" and idle >= MAX_IDLE_TAKEOVERS:
                await db.run(SQL.stall_job, execution=n)
                return None
            if former not in (None, owner):
                await change.record(db, execution=n, detail={"from": former, "to": owner}, checks=False)
            await db.run(SQL.acquire_job, owner=owner, lease=lease, execution=n)
            if paid is not None:
                await self._limit_saved(db, n)  # the former owner may have sent rows just before it died
            maker = DispatchMaker(await self._lanes.learn(db, (lane,)))
            headers, external = maker.headers(n, lane, job, batch, traceparent, bool(is_bulk))
            stages = [stage for (stage,) in await db.rows(SQL.declared_stages, execution=source)]
            return LeasedJob(
                job=job,
                epoch=epoch + 1,
                owner=owner,
                headers=headers,
                external=external,
                prefix=prefix,
                stages=tuple(sorted(stages, key=len, reverse=True)),
                default_stage=stage,
                cursor=cursor,
                checked=checked,
                is_decided=is_bulk is not None,
                page=Plan.decode(since, plan).page if plan else None,
                has_references=bool(has_references),
                state=state,
                selection=requests.decode_selection(request, paths) if request else None,
                paced=paid is not None,
                plan=await _planned(db, planned) if planned is not None else None,
            )

        return await change.write(self._db, take)

    async def renew(
        self, held: LeasedJob, *, lease: float, waits_for: Literal["broker", "store"] | None = None
    ) -> bool:
        given = {"job": held.job, "epoch": held.epoch, "owner": held.owner}
        return await self._db.run(SQL.renew_lease, lease=lease, waits_for=waits_for, **given) > 0

    async def release(self, held: LeasedJob) -> None:
        await self._db.run(SQL.release_lease, job=held.job, epoch=held.epoch)

    # -- listing -----------------------------------------------------------------------------------

    async def inputs(self, execution: UUID, *, after: str, limit: int) -> list[str]:
        inputs = f"{execution}/{INPUT_STAGE}"
        rows = await self._db.rows(SQL.stored_between, **below(inputs, after), limit=limit)
        return [key for (key,) in rows]

    async def record(
        self, held: LeasedJob, objects: Sequence[Listed], *, cursor: str, last: bool, most: int | None = None
    ) -> Window | None:
        limit = held.selection.limit if held.selection else None
        if limit is not None and most is not None and limit <= most:
            most = None
        # Ids are minted in order, outside the lock; rows of another process may come between them.
        raw = mint(len(objects))
        ids = [text(cid) for cid in raw]

        async def record_page(db: Session, *, by_input: bool) -> Window | None:
            job = await self._rows.leased(db, held)
            if job is None or job.listing_state != "open":
                return None
            # An empty last page only records that nothing follows the cursor.
            nothing_more = last and not objects and job.cursor == cursor
            if job.cursor >= cursor and not nothing_more:
                return None
            # The check of a plan has found that all of its objects are stored.
            kept = objects if held.plan else await self._without_unstored(db, objects)
            real = await self._aliases.real(db, [o.key for o in kept])
            listed, end, is_full = last, cursor, False
            if most is not None and job.ordinals + len(kept) > most:
                kept, listed, is_full = kept[: max(most - job.ordinals, 0)], False, True
                end = kept[-1].key if kept else job.cursor
            elif limit is not None and job.ordinals + len(kept) >= limit:
                kept, listed = kept[: limit - job.ordinals], True
            ordinals = range(job.ordinals + 1, job.ordinals + 1 + len(kept))
            # A canary or a pace holds back roots, and so must hold back what follows them.
            takes_over = held.page is not None and kept and not held.paced
            unchanged = set[bytes]()
            if takes_over and by_input:
                inputs = [
                    Root(cid, real[o.key], o.stage, ordinal)
                    for ordinal, cid, o in zip(ordinals, raw, kept, strict=False)
                    if not o.problem
                ]
                unchanged = await self._take_over.take_unchanged(db, job.n, held.job, job.lane, inputs)
            new = [
                (cid, name, o, ordinal)
                for ordinal, cid, name, o in zip(ordinals, raw, ids, kept, strict=False)
                if cid not in unchanged
            ]
            await db.insert(
                SQL.insert_listed,
                [
                    (cid if db.raw_ids else name, job.n, job.lane, real[o.key], o.stage, ordinal)
                    for cid, name, o, ordinal in new
                ],
            )
            taken = set[str]()
            if takes_over and new:
                roots = [
                    Wanted(name, job.lane, real[o.key], o.stage) for _, name, o, _ in new if not o.problem
                ]
                taken, _ = await self._take_over.take_results(db, job.n, held.job, roots, None)
            bad = [(cid, f"the key {o.problem}") for _, cid, o, _ in new if o.problem]
            if bad:
                at = held.headers.config, held.headers.route
                await db.run(
                    SQL.close_invalid,
                    ids=[cid for cid, _ in bad],
                    errors=[storable(error) for _, error in bad],
                    groups=[group_of(*at, "invalid_key", error) for _, error in bad],
                )
                await record_failures(
                    db, self._tally, [(cid, cause_of("invalid_key", error)) for cid, error in bad]
                )
            is_bulk = job.is_bulk
            if is_bulk is None and job.ordinals + len(kept) > MOST_NORMAL:
                is_bulk = True
            elif is_bulk is None and listed:
                is_bulk = False
            if listed and held.paced:
                await draw_sample(db, job.n, ordinals.stop - 1)
            await db.run(
                SQL.move_cursor,
                cursor=end,
                ordinals=job.ordinals + len(kept),
                listing_state="completed" if listed else "open",
                bulk=is_bulk,
                execution=job.n,
            )
            headers, external = replace(held.headers, bulk=bool(is_bulk)), held.external
            dispatches = [
                Dispatch(headers, cid, 0, None, real[o.key], external, ordinal)
                for _, cid, o, ordinal in new
                if not o.problem and cid not in taken
            ]
            return Window(dispatches, ordinals.stop - 1, listed, is_full, is_bulk is not None)

        seconds = 30.0 if held.page is None else LONG_SECONDS
        try:
            return await self._db.write(partial(record_page, by_input=True), seconds=seconds)
        except KeyTaken:
            return await self._db.write(partial(record_page, by_input=False), seconds=seconds)

    async def _without_unstored(self, db: Session, objects: Sequence[Listed]) -> Sequence[Listed]:
        if not objects:
            return objects
        rows = await db.rows(SQL.unstored_between, first=objects[0].key, last=objects[-1].key)
        hidden = {key for (key,) in rows}
        return [o for o in objects if o.key not in hidden] if hidden else objects

    async def is_listed(self, job: UUID) -> bool:
        return bool(await self._db.value(SQL.is_listed, job=job))

    async def fail_listing(self, held: LeasedJob, why: str, *, code: str = "listing_failed") -> bool:
        async def fail(db: Session) -> bool:
            job = await self._rows.leased(db, held, SQL.lock_listing)
            if job is None or job.listing_state != "open":
                return False
            await db.run(SQL.fail_listing, code=code, error=storable(why), execution=job.n)
            return True

        return await self._db.write(fail)

    # -- publishing --------------------------------------------------------------------------------

    async def unpublished(self, held: LeasedJob, *, limit: int, upto: int | None = None) -> Window | None:
        async def find(db: Session) -> Window | None:
            job = await self._rows.leased(db, held, SQL.find_leased)
            if job is None:
                return None
            end = min(job.watermark + limit, job.ordinals if upto is None else upto)
            if end <= job.watermark:
                return Window([], 0)
            rows = await db.rows(SQL.unpublished_rows, execution=job.n, watermark=job.watermark, upto=end)
            return Window(await self._lanes.dispatches(db, rows), end)

        return await self._db.read(find)

    async def unsettled(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        async def find(db: Session) -> list[Dispatch]:
            job = await self._rows.leased(db, held, SQL.find_leased)
            if job is None:
                return []
            rows = await db.rows(SQL.uncertain_rows, execution=job.n, limit=limit)
            return await self._lanes.dispatches(db, rows)

        return await self._db.read(find)

    async def mark(
        self,
        held: LeasedJob,
        upto: int,
        *,
        uncertain: Sequence[Dispatch] = (),
        refused: Sequence[tuple[Dispatch, str]] = (),
    ) -> bool:
        async def mark_rows(db: Session) -> bool:
            job = await self._rows.leased(db, held)
            if job is None:
                return False
            if uncertain:
                await db.run(
                    SQL.mark_uncertain,
                    ids=[dispatch.correlation_id for dispatch in uncertain],
                    watermark=job.watermark,
                )
            await refuse_dispatches(db, self._tally, refused)
            if held.external and upto > job.watermark:
                await db.run(SQL.complete_external, execution=job.n, watermark=job.watermark, upto=upto)
            await db.run(SQL.move_watermark, upto=upto, execution=job.n)
            if held.paced:
                await self._limit_saved(db, job.n)
            return True

        return await self._db.write(mark_rows)

    async def settle(
        self, held: LeasedJob, confirmed: Sequence[Dispatch], refused: Sequence[tuple[Dispatch, str]]
    ) -> bool:
        async def settle_rows(db: Session) -> bool:
            job = await self._rows.leased(db, held)
            if job is None:
                return False
            if confirmed:
                ids = [dispatch.correlation_id for dispatch in confirmed]
                await db.run(SQL.settle_confirmed, ids=ids, external=held.external)
            await refuse_dispatches(db, self._tally, refused)
            if confirmed or refused:
                await db.run(SQL.move_watermark, upto=job.watermark, execution=job.n)
            if held.paced:
                # Also of unanswered rows: they may be in the queue, and are settled once they are claimed.
                await self._limit_saved(db, job.n)
            return True

        return await self._db.write(settle_rows)

    async def _limit_saved(self, db: Session, n: int) -> None:
        """Limit to one burst what the rate saved up while rows that were paid for were perhaps not sent."""
        row = await db.row(SQL.pace_of_job, execution=n)
        assert row
        rate, _, tokens, tokens_at, paid, _, now = row
        if rate is not None:
            tokens = saved(rate, tokens, tokens_at, now, is_sent=False)
            await db.run(SQL.pay, paid=paid, tokens=tokens, execution=n)

    async def close_job(self, held: LeasedJob) -> bool:
        async def close(db: Session) -> bool:
            job = await self._rows.leased(db, held)
            if job is None:
                return bool(await db.value(SQL.is_closed, job=held.job, epoch=held.epoch))
            if job.listing_state == "open":
                return False
            ((unconfirmed, failed),) = await db.rows(SQL.job_outcome, execution=job.n)
            if unconfirmed:
                return False
            partial = failed or job.listing_state == "dead"
            state = "partial_failure" if partial else "publishing_complete"
            await db.run(SQL.close_job, state=state, execution=job.n)
            return True

        return await self._db.write(close)


async def _planned(db: Session, plan: int) -> LeasedPlan:
    found = await db.row(SQL.plan_of_number, plan=plan)
    assert found, "a plan stays as long as its replay"
    return LeasedPlan(as_uuid(found[0]), json.loads(found[1])["last_key"])
