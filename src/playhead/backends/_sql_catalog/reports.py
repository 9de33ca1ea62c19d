"""What follows from the end of a replay, and from other events of it: completion reports and webhooks.

The order of locks is executions, then reports or deliveries. The exclusive lock of an execution is needed to
resume it, so a transaction that holds the shared lock finds it ended until it commits.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import astuple
from typing import Final, Literal
from uuid import UUID

from playhead.backends._sql_catalog import counts, publishing, requests
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.executions import prunings_of, share
from playhead.backends._sql_catalog.lanes import as_uuid, below, moment_or_none, storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.rows import ABOVE_ALL
from playhead.backends.sql import CANCELLED, DEAD, SKIPPED, UNCERTAIN
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.keys import REPLAY_STAGE, content_type_of
from playhead.model import Problem, Report, ReportCount, ReportLine, ReportPart, WebhookDelivery
from playhead.ports.catalog.reports import Below, ClaimedDelivery, ClaimedReport, WrittenPart

_NOT_PUBLISHED: Final = ("publish_refused", "invalid_key")
_LOST: Final = "the processes that tried it ended before they had an answer"


class ReportsPart(Part):
    # -- reports -----------------------------------------------------------------------------------

    async def reports_due(self, *, lease: float, limit: int) -> list[UUID]:
        rows = await self._db.rows(SQL.reports_due, lease=lease, limit=limit)
        return [as_uuid(identity) for (identity,) in rows]

    async def claim_report(
        self, execution: UUID, *, owner: str, lease: float, most: int
    ) -> ClaimedReport | None:
        folder = f"{execution}/{REPLAY_STAGE}/report"

        async def claim(db: Session) -> ClaimedReport | None:
            n = await db.value(SQL.execution_number, id=execution)
            await share(db, [n])
            revision = await db.value(SQL.reportable, execution=n)
            if revision is None:
                return None
            await db.run(SQL.insert_report, execution=n, revision=revision)
            row = await db.row(SQL.lock_report, execution=n, revision=revision, lease=lease)
            if row is None or not row[2]:
                return None
            epoch, claims, _, error = row
            await db.run(SQL.supersede_reports, execution=n, revision=revision)
            await db.run(SQL.supersede_parts, **below(folder))
            gone = await self._pruned_at(db, n)
            if gone:
                error = f"objects of the execution were pruned on {gone}"
            if gone or claims >= most:
                why = error or "the processes that wrote it ended before it was stored"
                await self._end_report(db, n, revision, "failed", error=why)
                return None
            await db.run(SQL.take_report, execution=n, revision=revision, owner=owner, lease=lease)
            return ClaimedReport(execution, n, revision, epoch + 1, f"{folder}/{revision}.{epoch + 1}")

        return await self._db.write(claim)

    async def renew_report(self, held: ClaimedReport, *, lease: float) -> bool:
        return await self._db.run(SQL.renew_report, lease=lease, **_token(held)) > 0

    async def delay_report(self, held: ClaimedReport, *, seconds: float, error: str) -> None:
        await self._db.run(SQL.delay_report, seconds=seconds, error=storable(error), **_token(held))

    async def report_lines(self, held: ClaimedReport, *, after: int, limit: int) -> list[ReportLine]:
        rows = await self._db.rows(SQL.report_rows, execution=held.n, after=after, limit=limit)
        return [_report_line(row) for row in rows]

    async def failures_below(self, held: ClaimedReport, *, limit: int) -> AsyncIterator[list[Below]]:
        # From the dead and skipped rows upward: a large fan-out has few of them, and millions of other rows.
        text = await self._db.value(SQL.final_counts, execution=held.n)
        for lane, state in counts.decode(text) if text else {}:
            given = {"execution": held.n, "lane": lane, "state": state, "limit": limit}
            before: int | None = ABOVE_ALL if state in (DEAD, SKIPPED) else None
            while before is not None:
                *roots, (_, count, last) = await self._db.rows(SQL.report_below, **given, before=before)
                yield [
                    Below(ordinal, number, 0) if state == DEAD else Below(ordinal, 0, number)
                    for ordinal, number, _ in roots
                ]
                before = last if count == limit else None

    async def bind_report(self, held: ClaimedReport, part: WrittenPart) -> bool:
        async def bind(db: Session) -> bool:
            if not await self._holds(db, held):
                return False
            await db.run(
                SQL.bind_part,
                key=part.key,
                size=part.size,
                sha256=part.sha256,
                content_type=content_type_of(part.key),
            )
            return True

        return await self._db.write(bind)

    async def store_report(
        self, held: ClaimedReport, parts: Sequence[WrittenPart], counts: Sequence[ReportCount] = ()
    ) -> bool:
        async def store(db: Session) -> bool:
            if not await self._holds(db, held):
                return False
            await db.run(SQL.store_parts, keys=[part.key for part in parts])
            await self._end_report(db, held.n, held.revision, "stored", parts, counts)
            return True

        return await self._db.write(store)

    async def _holds(self, db: Session, held: ClaimedReport) -> bool:
        """Whether a report is held, and its execution is still ended and not pruned, until this transaction
        ends. If not, its parts are superseded."""
        await share(db, [held.n])
        is_held = await db.value(SQL.lock_held_report, **_token(held)) is not None
        if is_held and not await self._pruned_at(db, held.n):
            return True
        await db.run(SQL.supersede_report, **_token(held))
        await db.run(SQL.supersede_parts, **below(held.prefix))
        return False

    async def _pruned_at(self, db: Session, n: int) -> str | None:
        """Return when a prune of an execution began that deletes reports, too; None without one."""
        pruned = (await prunings_of(db, [n]))[n]
        return next((one.pruned_at for one in pruned if one.overlaps(REPLAY_STAGE)), None)

    async def _end_report(
        self,
        db: Session,
        n: int,
        revision: int,
        state: Literal["stored", "failed"],
        parts: Sequence[WrittenPart] = (),
        counts: Sequence[ReportCount] = (),
        *,
        error: str | None = None,
    ) -> None:
        described = json.dumps([(p.key, p.lines, p.size, p.sha256.hex()) for p in parts])
        counted = json.dumps([astuple(one) for one in counts])
        given = {"state": state, "parts": described, "counts": counted, "error": error}
        await db.run(SQL.end_report, execution=n, revision=revision, **given)
        await db.run(SQL.settle_report, execution=n)

    async def ask_report_again(self, batch: UUID) -> bool:
        change = Change("report.write")

        async def ask(db: Session) -> bool:
            row = await db.row(SQL.report_of_batch, batch=batch)
            if row is None:
                return False
            n, revision, _ = row
            await change.check(db, n)
            await share(db, [n])
            if not await db.run(SQL.ask_report_again, execution=n, revision=revision):
                return False
            await db.run(SQL.report_is_due, execution=n)
            await change.record(db, execution=n)
            return True

        return await change.write(self._db, ask)

    async def report(self, batch: UUID, revision: int | None = None) -> Report | None:
        async def find(db: Session) -> Report | None:
            row = await db.row(SQL.report_of_batch, batch=batch)
            if row is None:
                return None
            n, current, request = row
            wanted = current if revision is None else revision
            reason = requests.decode(request).reason
            found = await db.row(SQL.find_report, execution=n, revision=wanted)
            if found is None:
                return Report(wanted, "due", 0, 0, [], reason=reason) if wanted == current else None
            state, described, counted, error = found
            if state == "superseded":
                return None
            parts = json.loads(described)
            return Report(
                revision=wanted,
                state=state,
                lines=sum(lines for _, lines, _, _ in parts),
                bytes=sum(size for _, _, size, _ in parts),
                parts=[ReportPart(key, lines, digest) for key, lines, _, digest in parts],
                counts=[ReportCount(*one) for one in json.loads(counted)],
                reason=reason,
                error=error,
            )

        return await self._db.read(find)

    # -- webhooks ----------------------------------------------------------------------------------

    async def claim_deliveries(self, *, limit: int, lease: float, most: int) -> list[ClaimedDelivery]:
        async def claim(db: Session) -> list[ClaimedDelivery]:
            await db.run(SQL.end_deliveries, most=most, error=_LOST)
            rows = await db.rows(SQL.claim_deliveries, limit=limit, lease=lease)
            return [ClaimedDelivery(as_uuid(one), *rest) for one, *rest in rows]

        if not await self._db.value(SQL.has_due_delivery):
            return []
        return await self._db.write(claim)

    async def delivered(
        self, claimed: ClaimedDelivery, *, status: int | None, error: str | None, retry: float | None
    ) -> None:
        async def note(db: Session) -> None:
            given = {"id": claimed.delivery, "status": status}
            if error is None:
                await db.run(SQL.mark_sent, **given)
            else:
                failed = {"attempt": claimed.attempt, "error": storable(error), "retry": retry}
                await db.run(SQL.mark_unsent, **given, **failed)

        await self._db.write(note)

    async def deliveries(
        self, of: UUID | int, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[WebhookDelivery], int | None]:
        async def find(db: Session) -> tuple[list[WebhookDelivery], int | None]:
            rows = await db.rows(SQL.newest_deliveries, **_owner(of), before=before, limit=limit + 1)
            then = rows[limit - 1][0] if len(rows) > limit else None
            return [_delivery(row) for row in rows[:limit]], then

        return await self._db.read(find)

    async def send_again(self, of: UUID | int, delivery: UUID) -> WebhookDelivery | None:
        change = Change("webhook.send")

        async def send(db: Session) -> WebhookDelivery | None:
            if await db.run(SQL.send_again, **_owner(of), id=delivery):
                about = {"delivery": delivery}
                if isinstance(of, UUID):
                    n = await db.value(SQL.execution_of_batch, batch=of)
                    await change.record(db, execution=n, detail=about)
                else:
                    await change.record(db, **await publishing.audited(db, of), detail=about)
            row = await db.row(SQL.delivery, **_owner(of), id=delivery)
            return _delivery(row) if row else None

        return await change.write(self._db, send)


def _token(held: ClaimedReport) -> dict[str, int]:
    return {"execution": held.n, "revision": held.revision, "epoch": held.epoch}


def _report_line(row: Row) -> ReportLine:
    key, cid, state, code, error, attempt, is_unconfirmed = row
    outcome: Literal["published", "failed", "cancelled", "uncertain"] = "published"
    work: Literal["completed", "failed", "cancelled", "skipped", "uncertain"] = "completed"
    if state == DEAD:
        work = "failed"
        if code in _NOT_PUBLISHED and not attempt:  # a message that was claimed had been published
            outcome = "failed"
    elif state == CANCELLED:
        work = "cancelled"
        if is_unconfirmed:
            outcome = "cancelled"
    elif state == UNCERTAIN:
        outcome = work = "uncertain"
    elif state == SKIPPED:
        work = "skipped"
    return ReportLine(
        key=key,
        correlation_id=as_uuid(cid),
        outcome=outcome,
        work=work,
        failed_below=0,
        skipped_below=0,
        error=Problem(code, error or "") if state == DEAD else None,
    )


def _owner(of: UUID | int) -> dict[str, UUID | int | None]:
    return {"batch": of, "dataset": None} if isinstance(of, UUID) else {"batch": None, "dataset": of}


def _delivery(row: Row) -> WebhookDelivery:
    _, identity, event, revision, state, attempts, status, error, due, sent = row
    return WebhookDelivery(
        delivery_id=as_uuid(identity),
        event=event,
        revision=revision,
        state=state,
        attempts=attempts,
        last_status=status,
        last_error=error,
        next_at=moment(due) if state == "due" else None,
        sent_at=moment_or_none(sent),
    )
