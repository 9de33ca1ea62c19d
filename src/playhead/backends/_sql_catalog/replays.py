"""Replay batches as people see them: numbers and errors are read from rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog import counts, requests
from playhead.backends._sql_catalog.changes import requester
from playhead.backends._sql_catalog.counts import ByLane
from playhead.backends._sql_catalog.executions import Executions
from playhead.backends._sql_catalog.lanes import Lane, Lanes, as_uuid, as_uuid_or_none, moment_or_none
from playhead.backends._sql_catalog.rows import Sizes
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ids import moment, uuid7
from playhead.model import (
    MAY_BE_SENT,
    MOST_ERRORS,
    OPEN_REPLAY_STATES,
    ROW_STATES,
    UNCERTAIN,
    HeldBy,
    Refusal,
    Replay,
    ReplayEvent,
    ReplayPublication,
    ReplayWork,
    RowState,
    WaitsFor,
    is_skipped,
)
from playhead.wording import stopped_text

_END_EVENTS: Final[dict[str, ReplayEvent]] = {
    "completed": "replay.completed",
    "failed": "replay.failed",
    "cancelled": "replay.cancelled",
}


class Replays:
    """Reads replays, and records their events for webhooks."""

    def __init__(self, lanes: Lanes, executions: Executions, sizes: Sizes) -> None:
        self._lanes = lanes
        self._executions = executions
        self._sizes = sizes

    async def find(self, db: Session, batch: UUID, *, work: bool = False, trouble: str = "") -> Replay | None:
        rows = await db.rows(SQL.replay_of_batch, window=self._sizes.window, batch=batch)
        return (await self.of_rows(db, rows, work=work, trouble=trouble))[0] if rows else None

    async def get(self, db: Session, batch: UUID) -> Replay:
        """Return a replay that exists."""
        found = await self.find(db, batch)
        assert found, f"there is a replay {batch}"
        return found

    async def of_rows(
        self, db: Session, rows: Sequence[Row], *, work: bool, trouble: str = ""
    ) -> list[Replay]:
        """From rows with the columns of the fragment `replay`."""
        found = [_Row._make(row).as_counted() for row in rows]
        by_lane = {row.n: counts.decode(row.counts) for row in found if row.counts}
        if work and (open_ones := [row.n for row in found if not row.counts]):
            by_lane |= await self._executions.count(db, open_ones)
        lanes = await self._lanes.learn(
            db, {row.lane for row in found} | {lane for one in by_lane.values() for lane, _ in one}
        )
        return [await self._replay(db, row, lanes, by_lane.get(row.n), trouble) for row in found]

    async def _replay(
        self, db: Session, row: _Row, lanes: Mapping[int, Lane], by_lane: ByLane | None, trouble: str
    ) -> Replay:
        lane = lanes[row.lane]
        request, effects = requests.decode(row.request), requests.decode_effects(row.effects)
        found, failed, state = row.found, row.failed, row.state
        given_up = row.error if row.listing_state == "dead" else None
        uncertain = row.uncertain
        # A row behind the watermark is published if a worker has claimed it.
        published = row.watermark - (failed - row.failed_behind) - uncertain - row.given_up_uncertain
        published += row.claimed
        may_be_sent = row.may_be_sent
        if state == "cancelled" and lane.external:  # rows of a cancelled execution are cancelled in steps
            may_be_sent += uncertain + row.in_flight
        not_published = found - failed - published - may_be_sent
        status: Literal["publishing_complete", "partial_failure"] | None = None
        stopped = state in ("cancelled", "paused", "stalled")
        has_errors = failed or uncertain or may_be_sent or row.listing_state == "dead" or stopped
        withdrawn = max(_count(by_lane, "cancelled", row.lane) - not_published, 0)
        if state == "cancelled":
            uncertain = may_be_sent
            failed = found - published - uncertain
            status = "partial_failure"
        elif state == "refused":
            status = "partial_failure"
        elif state in ("publishing_complete", "partial_failure"):
            # Read from rows: resending a refused object improves it, unless its execution is cancelled then.
            uncertain += may_be_sent
            status = (
                "partial_failure"
                if failed or uncertain or row.listing_state == "dead"
                else "publishing_complete"
            )
            state = status
        elif state == "paused":
            uncertain += row.in_flight
        skipped = [lane.id for lane in lanes.values() if is_skipped(effects, lane.route)]
        replay = Replay(
            execution_id=as_uuid(row.execution),
            from_execution_id=as_uuid(row.source),
            from_stage=row.stage,
            from_path=row.path,
            to_route=row.to_route,
            to_queue=lane.queue,
            objects_found=found,
            objects_published=published,
            objects_failed=failed,
            status=status,
            replay_batch_id=as_uuid(row.batch),
            errors=None,
            state=state,
            to_config=lane.config,
            to_config_version=lane.version,
            created_at=moment(row.created_at),
            ended_at=moment_or_none(row.ended_at),
            objects_uncertain=uncertain,
            objects_skipped=_count(by_lane, "skipped", *skipped),
            withdrawn=withdrawn,
            work=_work(by_lane),
            pace=requests.pace_of(row.pace_rate, row.pace_depth),
            canary=request.canary,
            pause_if=request.pause_if,
            hold_at=row.hold_at if row.state in OPEN_REPLAY_STATES else None,
            hold_from=row.hold_from if row.hold_at and row.state in OPEN_REPLAY_STATES else None,
            waits_for=_waits_for(row),
            queue_position=row.queue_position,
            plan_id=as_uuid_or_none(row.plan),
            priority=None if row.is_bulk is None else "bulk" if row.is_bulk else "normal",
            selection=request.selection,
            selected_paths=requests.selected_paths(row.request),
            effects=effects,
            reason=request.reason,
            others_valid=bool(request.others_valid),
            publications=await self._publications(db, row.n, state) if request.publish else [],
            report="none" if row.records_deleted_at else row.report,
            revision=row.revision,
            paused_by=row.paused_by if state == "paused" else None,
            pause_reason=row.pause_reason if state == "paused" else None,
            records_deleted_at=moment_or_none(row.records_deleted_at),
            requested_by=requester(row.requested_by),
        )
        if not has_errors:
            return replay
        return replace(replay, errors=await self._errors(db, row.n, replay, given_up, trouble))

    async def _publications(self, db: Session, n: int, state: str) -> list[ReplayPublication]:
        found = []
        rows = await db.rows(SQL.publications_of_replay, execution=n)
        for dataset, number, reached, code, detail, due in rows:
            what: Literal["due", "preparing", "published", "refused", "cancelled"] = "preparing"
            if reached in ("published", "dropped"):
                what = "published"
            elif due or reached is None:
                what = "cancelled" if state in ("cancelled", "refused") else "due"
            elif reached == "abandoned":
                what = "refused" if code else "cancelled"
            refusal = Refusal(code, detail) if what == "refused" else None
            found.append(ReplayPublication(dataset, what, None if what == "due" else number, refusal))
        return found

    async def keep_numbers(self, db: Session, n: int) -> None:
        """Record what is counted in the rows of a replay, which are about to be deleted."""
        for row in await db.rows(SQL.replay_of_execution, window=self._sizes.window, execution=n):
            await db.run(SQL.keep_numbers, numbers=_Row._make(row).counted(), execution=n)

    async def _errors(
        self, db: Session, n: int, replay: Replay, given_up: str | None, trouble: str
    ) -> list[str] | None:
        """Return at most 100 lines; the last line of a longer list counts the remaining ones."""
        stopped = stopped_text(replay)
        lines = [stopped] if stopped else []
        if given_up is not None:
            ended = "plan_changed" if replay.state == "refused" else "listing was abandoned"
            lines.append(f"{ended}: {given_up}")
        if replay.records_deleted_at:
            return [*lines, f"the errors of single objects were deleted on {replay.records_deleted_at}"]
        uncertain = f"{UNCERTAIN}: {trouble}" if trouble else UNCERTAIN
        texts = {"uncertain": uncertain, "may_be_sent": MAY_BE_SENT}
        rows = await db.rows(SQL.errors_of_job, execution=n, limit=MOST_ERRORS + 1)
        lines += [f"{key}: {texts.get(code) or f'{code}: {error}'}" for key, code, error in rows]
        if len(lines) > MOST_ERRORS:
            total = await db.value(SQL.count_errors, execution=n) + len(lines) - len(rows)
            lines[MOST_ERRORS - 1 :] = [f"and {total - MOST_ERRORS + 1} more"]
        return lines or None

    # -- events ------------------------------------------------------------------------------------

    async def record_end(self, db: Session, execution_n: int) -> None:
        """Record that an execution has ended, in the transaction that ends it: a report, a publication and an
        event of a webhook are due."""
        await db.run(SQL.arm_replay_publications, execution=execution_n)
        row = await db.row(SQL.record_end, execution=execution_n)
        if row is None:
            return
        state, status, has_webhook = row
        if has_webhook:
            event = "replay.refused" if state == "refused" else _END_EVENTS[status]
            await self.record_event(db, execution_n, event)

    async def record_start(self, db: Session, execution_n: int) -> None:
        """Record that a replay got its place for the first time, in the transaction that gives it."""
        if await db.value(SQL.is_start_recorded, execution=execution_n) is None:
            await self.record_event(db, execution_n, "replay.started")

    async def record_event(self, db: Session, execution_n: int, event: ReplayEvent) -> None:
        """Record an event for the webhook of a replay, if it has one, in the transaction of the change.

        So the webhook receives each event that was committed, and no other. Call it after the change: the
        body shows the replay as this transaction leaves it.
        """
        row = await db.row(SQL.replay_with_webhook, execution=execution_n)
        if row is None:
            return
        batch, revision, request, now = row
        replay = await self.get(db, as_uuid(batch))
        body = {"type": event, "timestamp": moment(now), "data": asdict(replay)}
        await db.run(
            SQL.insert_delivery,
            id=uuid7(),
            execution=execution_n,
            dataset=None,
            revision=revision,
            event=event,
            url=requests.decode(request).webhook,
            body=json.dumps(body, default=str),
        )


class _Row(NamedTuple):
    """The columns of the fragment `replay`.

    Attributes:
        n: the number of the execution.
        claimed: rows of the window that a worker has claimed.
        in_flight: rows of the window that the publisher may have sent.
        uncertain: rows without an answer of the broker.
        given_up_uncertain: such rows that were cancelled, and those of `may_be_sent` behind the watermark.
        may_be_sent: rows that were cancelled although another program may receive them.
        failed: rows that were refused, or whose key is outside the grammar.
        failed_behind: those of them behind the watermark.
        pause_reason: why the canary or the guard has paused the replay.
        free: no process has the lease.
        counts: of an execution that has ended.
        numbers: of an execution whose records are deleted: what `counted` returned before.
    """

    n: int
    execution: UUID
    source: UUID
    stage: str
    path: str | None
    to_route: str
    lane: int
    found: int
    batch: UUID
    state: Any
    listing_state: str
    created_at: float
    ended_at: float | None
    error: str | None
    watermark: int
    claimed: int
    in_flight: int
    uncertain: int
    given_up_uncertain: int
    may_be_sent: int
    failed: int
    failed_behind: int
    request: str
    effects: str | None
    paused_by: Any
    pause_reason: str | None
    waits_for: Any
    pace_rate: float | None
    pace_depth: int | None
    paid: int | None
    hold_at: int | None
    hold_from: int
    hold_by: Any
    report: Any
    revision: int
    free: bool
    queue_position: int | None
    counts: str | None
    plan: UUID | None
    is_bulk: bool | None
    numbers: str | None
    records_deleted_at: float | None
    requested_by: str | None

    def counted(self) -> str:
        """Return what was counted in the rows of messages, for the time when these are deleted."""
        return json.dumps({name: getattr(self, name) for name in _COUNTED})

    def as_counted(self) -> _Row:
        """Return the row with what was counted before the rows of messages were deleted."""
        return self._replace(**json.loads(self.numbers)) if self.numbers else self


_COUNTED: Final = _Row._fields[_Row._fields.index("claimed") : _Row._fields.index("request")]


def _count(by_lane: ByLane | None, state: RowState, *lanes: int) -> int:
    """Return how many rows of some lanes are in a state."""
    number = ROW_STATES.index(state)
    return sum((by_lane or {}).get((lane, number), 0) for lane in lanes)


def _work(by_lane: ByLane | None) -> ReplayWork | None:
    if by_lane is None:
        return None
    all_of = counts.add_up(by_lane)
    return ReplayWork(all_of.pending, all_of.completed, all_of.failed, all_of.cancelled)


def _waits_for(row: _Row) -> WaitsFor | None:
    if row.state == "queued":
        return "queue"
    if row.state not in ("checking", "publishing"):
        return None
    if row.free:
        return "process"
    if row.waits_for:
        trouble: WaitsFor = row.waits_for
        return trouble
    # Everything that was paid for is marked, and more rows are left.
    if row.listing_state == "open" or row.paid is None or row.paid != row.watermark or row.paid == row.found:
        return None
    if row.hold_at is not None and row.paid >= row.hold_at:
        by: HeldBy = row.hold_by
        return by
    return "rate" if row.pace_rate is not None else "depth" if row.pace_depth is not None else None
