"""Executions and their jobs: list a stage, and publish a dispatch for each of its objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from playhead.envelope import Dispatch
from playhead.errors import BadRequest, Conflict
from playhead.ids import moment, uuid7
from playhead.keys import INPUT_STAGE, object_key
from playhead.model import MOST_ERRORS, UNCERTAIN, Execution, Problem, Replay, ReplayState
from playhead.ports.catalog.jobs import Input, Key, LeasedJob, Listed, Opened, Since
from playhead.ports.catalog.prune import check_unpruned
from tests.catalog_memory.rows import ExecutionRow, JobRow, MessageRow, OutputRow
from tests.catalog_memory.tables import page
from tests.catalog_memory.takeover import TakeOverPart

MOST_IN_A_PAGE = 1_000
MOST_IDLE_TAKEOVERS = 5


class JobsPart(TakeOverPart):
    # -- opening -----------------------------------------------------------------------------------

    async def open_run(
        self,
        execution: UUID,
        config: str,
        version: int,
        *,
        tags: Sequence[str],
        owner: str,
        lease: float,
        traceparent: str | None = None,
        since: Since | None = None,
    ) -> Execution:
        await self._begin()
        found = self._version(config, version)
        now = self._clock()
        row = ExecutionRow(next(self._numbers), execution, "run", found, now, tags=tuple(sorted(set(tags))))
        row.traceparent = traceparent
        row.job = JobRow(
            execution=row,
            source=row.id,
            stage=INPUT_STAGE,
            path=None,
            prefix=f"{row.id}/{INPUT_STAGE}",
            to_route=found.config.entry,
            route=found.config.routes[found.config.entry],
            phase="uploading",
            owner=owner,
            lease_until=now + lease,
        )
        if since:
            self._set_since(row.job, since)
        self._insert_execution(row)
        return self._view(row)

    async def bind_inputs(
        self, execution: UUID, inputs: Sequence[Input], *, takes_over: bool = False
    ) -> set[str]:
        await self._begin()
        self._known(execution)
        row, now = self._executions[execution], self._clock()
        job = row.job
        if any(one.stage in (None, INPUT_STAGE) for one in row.prunings):
            raise Conflict("execution_ended", f"inputs of execution {execution} were pruned")
        # Bound even if the execution has ended: the bytes may still be written, and an object without a row
        # would count as an external object.
        bound: dict[str, OutputRow] = {}
        for given in inputs:
            key = object_key(execution, INPUT_STAGE, given.path)
            there = self._outputs.get(key) or bound.get(key)
            if there is None:
                bound[key] = OutputRow(
                    key=key,
                    message=None,
                    attempt=None,
                    size=given.size,
                    sha256=given.sha256,
                    fingerprint=given.sha256,
                    content_type=given.content_type,
                    attributes={},
                    created_at=now,
                )
                same = self._same_input(job, given.path, given.sha256) if takes_over and job else None
                if same and job and job.has_inputs and same.pruned_at is None:
                    bound[key].original, bound[key].created_at = same.place, same.created_at
            elif (there.size, there.sha256) != (given.size, given.sha256):
                raise BadRequest(
                    "invalid_path",
                    f"two inputs with different contents have the path {given.path!r}: name them apart",
                )
        self._outputs.update(bound)
        keys = (object_key(execution, INPUT_STAGE, given.path) for given in inputs)
        return {key for key in keys if self._outputs[key].original}

    async def seal(self, execution: UUID) -> bool:
        await self._begin()
        row = self._known(execution)
        job = row.job
        lost = job is not None and job.error is not None and job.error.code == "upload_incomplete"
        if row.status == "cancelled" or job is None or lost:
            return False
        if job.phase == "uploading":
            for output in self._outputs.values():
                if output.message is None and output.key.startswith(job.prefix + "/"):
                    output.state = "stored"
            job.phase = "publishing"
            job.release()
        return True

    async def open_replay(
        self,
        *,
        batch: UUID,
        source: UUID,
        stage: str,
        path: str | None,
        prefix: str,
        to_route: str,
        config: str,
        version: int,
        route: str,
        traceparent: str | None = None,
        managed: object = None,
        effects: object = None,
        key: object = None,
    ) -> Opened:
        await self._begin()
        check_unpruned(source, stage, self._known(source).pruned)
        found = self._version(config, version)
        row = ExecutionRow(
            next(self._numbers), uuid7(), "replay", found, self._clock(), parent=source, batch=batch
        )
        row.traceparent = traceparent
        row.job = JobRow(
            execution=row,
            source=source,
            stage=stage,
            path=path,
            prefix=prefix,
            to_route=to_route,
            route=found.config.routes[route],
            phase="publishing",
        )
        self._insert_execution(row)
        return Opened(_replay(row.job), fresh=True)

    async def keyed(self, key: Key) -> UUID | None:
        return None

    async def adopt(self, execution: UUID) -> Execution:
        await self._begin()
        row = self._executions.get(execution)
        if row is None:
            now = self._clock()
            row = ExecutionRow(next(self._numbers), execution, "adopted", None, now)
            row.end("completed", now)
            self._insert_execution(row)
        return self._view(row)

    # -- holding -----------------------------------------------------------------------------------

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        await self._begin()
        execution = self._executions.get(job)
        row = execution.job if execution else None
        if row is None or row.phase != "publishing" or row.lease_until > self._clock():
            return None
        row.epoch += 1
        row.idle_takeovers += 1
        if row.listing_state == "open" and row.idle_takeovers >= MOST_IDLE_TAKEOVERS:
            row.phase = "stalled"
            row.release()
            return None
        row.owner = owner
        row.lease_until = self._clock() + lease
        source = self._executions.get(row.source)
        stages = source.version.config.stages if source and source.version else ()
        return LeasedJob(
            job=job,
            epoch=row.epoch,
            owner=owner,
            headers=row.execution.headers[row.route.name],
            external=row.route.external,
            prefix=row.prefix,
            stages=tuple(sorted(stages, key=len, reverse=True)),
            default_stage=row.stage,
            cursor=row.cursor,
            listed=row.listing_state != "open",
            page=MOST_IN_A_PAGE if row.since else None,
            has_references=bool(source and source.job and source.job.since),
        )

    async def renew(self, held: LeasedJob, *, lease: float) -> bool:
        await self._begin()
        row = self._fenced(held)
        if row is None:
            return False
        row.owner = held.owner
        row.lease_until = self._clock() + lease
        return True

    async def release(self, held: LeasedJob) -> None:
        await self._begin()
        if row := self._fenced(held):
            row.release()
            row.idle_takeovers = max(row.idle_takeovers - 1, 0)

    def _fenced(self, held: LeasedJob) -> JobRow | None:
        """Return the job if its epoch is current and it has not ended."""
        row = self._executions[held.job].job
        return row if row and row.epoch == held.epoch and row.phase == "publishing" else None

    # -- listing -----------------------------------------------------------------------------------

    async def inputs(self, execution: UUID, *, after: str, limit: int) -> list[str]:
        await self._begin()
        prefix = f"{execution}/{INPUT_STAGE}/"
        found = [o.key for o in self._outputs.values() if o.state == "stored" and o.key.startswith(prefix)]
        return sorted([key for key in found if key > after], key=str.encode)[:limit]

    async def record(
        self, held: LeasedJob, objects: Sequence[Listed], *, cursor: str, last: bool
    ) -> list[Dispatch] | None:
        await self._begin()
        if len(objects) > MOST_IN_A_PAGE:
            raise ValueError(f"a page of {len(objects)} objects; at most {MOST_IN_A_PAGE} are allowed")
        job = self._fenced(held)
        if job is None or job.listing_state != "open":
            return None
        # An empty last page means that no key follows the cursor.
        if job.cursor >= cursor and not (last and not objects and job.cursor == cursor):
            return None
        now = self._clock()
        listed = [found for found in objects if self._is_object(found.key)]
        before = len(job.messages)
        rows = self._insert_messages(
            job.execution, "listed", [(job.route, found.key, found.stage) for found in listed]
        )
        for ordinal, (row, found) in enumerate(zip(rows, listed, strict=True), before + 1):
            row.ordinal = ordinal
            if found.problem:
                row.close("dead", now, Problem("invalid_key", f"the key {found.problem}"))
        if job.since:
            pairs = [(row, self._same_roots(job, row)) for row in rows if row.open]
            self._take_results(job.since, pairs)
        job.cursor = cursor
        job.idle_takeovers = 0
        if last:
            job.listing_state = "completed"
        return [row.dispatch() for row in rows if row.open]

    def _is_object(self, key: str) -> bool:
        """Whether the object is a stored output of Playhead or an external object."""
        output = self._outputs.get(key)
        return output is None or output.state == "stored"

    async def is_listed(self, job: UUID) -> bool:
        await self._begin()
        row = self._executions.get(job)
        return row is not None and row.job is not None and row.job.listing_state != "open"

    async def fail_listing(self, held: LeasedJob, why: str) -> bool:
        await self._begin()
        job = self._fenced(held)
        if job is None or job.listing_state != "open":
            return False
        job.listing_state = "dead"
        job.error = Problem("listing_failed", why)
        return True

    # -- publishing --------------------------------------------------------------------------------

    async def unpublished(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        await self._begin()
        job = self._fenced(held)
        return [row.dispatch() for row in _in_state(job, "listed")[:limit]] if job else []

    async def mark(
        self,
        held: LeasedJob,
        upto: int,
        *,
        uncertain: Sequence[Dispatch] = (),
        refused: Sequence[tuple[Dispatch, str]] = (),
    ) -> bool:
        await self._begin()
        job = self._fenced(held)
        if job is None:
            return False
        now = self._clock()
        for dispatch in uncertain:
            row = self._messages[UUID(dispatch.correlation_id)]
            # A claim proves that the dispatch was published.
            if row.dispatch_state == "listed" and row.wants(dispatch):
                row.dispatch_state = "uncertain"
        self._refuse(refused, now)
        for row in job.messages:
            if (
                row.ordinal is not None
                and row.ordinal <= upto
                and row.dispatch_state == "listed"
                and row.open
            ):
                row.publish(now)
        job.idle_takeovers = 0
        return True

    async def unsettled(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        await self._begin()
        job = self._fenced(held)
        return [row.dispatch() for row in _in_state(job, "uncertain")[:limit]] if job else []

    async def settle(
        self, held: LeasedJob, confirmed: Sequence[Dispatch], refused: Sequence[tuple[Dispatch, str]]
    ) -> bool:
        await self._begin()
        job = self._fenced(held)
        if job is None:
            return False
        now = self._clock()
        for dispatch in confirmed:
            row = self._messages[UUID(dispatch.correlation_id)]
            if row.wants(dispatch):
                row.publish(now)
        self._refuse(refused, now)
        if confirmed or refused:
            job.idle_takeovers = 0
        return True

    def _refuse(self, refused: Sequence[tuple[Dispatch, str]], now: float) -> None:
        for dispatch, reason in refused:
            row = self._messages[UUID(dispatch.correlation_id)]
            if row.wants(dispatch):
                row.close("dead", now, Problem("publish_refused", reason))

    async def close_job(self, held: LeasedJob) -> bool:
        await self._begin()
        job = self._fenced(held)
        if (
            job is None
            or job.listing_state == "open"
            or _in_state(job, "listed")
            or _in_state(job, "uncertain")
        ):
            return False
        job.end("ended", self._clock())
        return True

    # -- showing and stopping ----------------------------------------------------------------------

    async def replay(self, batch: UUID) -> Replay | None:
        await self._begin()
        for row in self._executions.values():
            if row.batch == batch and row.job:
                return _replay(row.job)
        return None

    async def replays(
        self, *, source: UUID | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[list[Replay], int | None]:
        await self._begin()
        rows = (e for e in self._executions.values() if e.batch and source in (None, e.parent))
        found, then = page(rows, before, limit)
        return [_replay(row.job) for row in found if row.job], then

    async def cancel(self, execution: UUID) -> Execution | None:
        await self._begin()
        row = self._executions.get(execution)
        if row is None:
            return None
        if row.status in ("completed", "failed"):
            raise Conflict("execution_ended", f"execution {execution} is {row.status}: it can't be cancelled")
        if row.status == "running":
            now = self._clock()
            row.end("cancelled", now)
            for message in row.messages:
                if message.waits:
                    message.close("cancelled", now)
            if job := row.job:
                job.epoch += 1
                if job.listing_state == "open":
                    job.listing_state = "cancelled"
                if job.phase != "ended":
                    job.end("cancelled", now)
        return self._view(row)


def _in_state(job: JobRow, dispatch_state: str) -> list[MessageRow]:
    """Return the rows whose dispatch has to be published or settled, in order."""
    return [row for row in job.messages if row.dispatch_state == dispatch_state and row.state == "pending"]


def _replay(job: JobRow) -> Replay:
    """Count rows. The numbers always add up, and the failures decrease when failed rows are resent."""
    execution = job.execution
    assert execution.batch is not None, f"execution {execution.id} is no replay"
    rows = job.messages
    published = sum(row.confirmed for row in rows)
    over = job.phase in ("ended", "cancelled")
    failed = len(rows) - published if over else sum(not row.confirmed and not row.open for row in rows)
    state: ReplayState
    if job.phase == "ended":
        state = "partial_failure" if failed or job.listing_state == "dead" else "publishing_complete"
    else:
        state = "publishing" if job.phase == "uploading" else job.phase
    return Replay(
        execution_id=execution.id,
        from_execution_id=job.source,
        from_stage=job.stage,
        from_path=job.path,
        to_route=job.to_route,
        to_queue=job.route.queue,
        objects_found=len(rows),
        objects_published=published,
        objects_failed=failed,
        # A cancelled batch has ended too, and its unlisted objects were never published.
        status="partial_failure" if state == "cancelled" else _status(state),
        replay_batch_id=execution.batch,
        errors=_errors(job, rows),
        state=state,
        to_config=execution.ran.config.name,
        to_config_version=execution.ran.number,
        created_at=moment(execution.created_at),
        ended_at=moment(job.ended_at) if job.ended_at is not None else None,
    )


def _status(state: ReplayState) -> Literal["publishing_complete", "partial_failure"] | None:
    return state if state == "publishing_complete" or state == "partial_failure" else None


def _errors(job: JobRow, rows: Sequence[MessageRow]) -> list[str] | None:
    lines = []
    if job.error:
        lines.append(f"{job.error.code}: {job.error.message}")
    for row in rows:
        if row.confirmed:
            continue
        if row.error:
            lines.append(f"{row.object_key}: {row.error.code}: {row.error.message}")
        elif row.open and row.dispatch_state == "uncertain":
            lines.append(f"{row.object_key}: {UNCERTAIN}")
        elif row.open and job.phase == "ended":
            lines.append(f"{row.object_key}: not published yet, is sent again")
    if unsent := sum(row.state == "cancelled" and not row.confirmed for row in rows):
        lines.append(f"cancelled: {unsent} objects were found and not published")
    if len(lines) > MOST_ERRORS:
        more = len(lines) - MOST_ERRORS + 1
        lines[MOST_ERRORS - 1 :] = [f"and {more} more"]
    return lines or None
