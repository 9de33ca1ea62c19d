"""The operations of a worker on a message: claim, bind, finish."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from uuid import UUID

from playhead.envelope import Dispatch
from playhead.ids import moment
from playhead.keys import object_key, renamed
from playhead.model import Problem
from playhead.ports.catalog.work import (
    Binding,
    Bound,
    Claim,
    Done,
    Failed,
    Finished,
    NewOutput,
    Refusal,
    Released,
    Result,
    Source,
    Unbound,
    is_used_up,
    runs_alone,
)
from tests.catalog_memory.rows import MessageRow, OutputRow
from tests.catalog_memory.tables import Tables


class WorkPart(Tables):
    # -- claim -------------------------------------------------------------------------------------

    async def claim(
        self, worker: str, ids: Sequence[UUID], *, alone: bool = False, most_running: int | None = None
    ) -> list[Claim | Refusal]:
        await self._begin()
        taken: set[UUID] = set()
        answers = [
            self._claim(worker, identity, taken, alone=alone, most_running=most_running) for identity in ids
        ]
        if taken and (process := self._processes.get(worker)):
            now = self._clock()
            if process.heartbeat_at < now - self._beat:
                process.heartbeat_at = now
        return answers

    def _claim(
        self, worker: str, identity: UUID, taken: set[UUID], *, alone: bool, most_running: int | None
    ) -> Claim | Refusal:
        row = self._messages.get(identity)
        if row is None:
            return Refusal(identity, "unknown")
        execution = row.execution
        now = self._clock()
        if not row.open:
            return Refusal(identity, "closed", self._unpublished_children(row), execution.id)
        if execution.status != "running":
            if row.state == "running" and row.worker == worker and identity not in taken:
                row.close("cancelled", now)  # the answer to its claim was lost, so no step runs
            return Refusal(identity, "ended", execution_id=execution.id)
        again = row.state == "running" and row.worker == worker and identity not in taken
        if row.state == "running" and not again and (identity in taken or self._alive(row.worker)):
            return Refusal(identity, "held", execution_id=execution.id)
        if row.state == "retry" and row.not_before > now:
            return Refusal(identity, "early", execution_id=execution.id)
        spent = row.attempt + 1 - row.uncounted_attempts - again
        consecutive_crashes = row.consecutive_crashes + (row.state == "running" and not again)
        at: dict[str, int] = {
            "spent": spent,
            "max_attempts": row.route.errors.max_attempts,
            "crashes": consecutive_crashes,
        }
        if is_used_up(**at):
            why = f"{spent - 1} attempts were spent, and the last was never finished: its worker was lost"
            row.close("dead", now, Problem("worker_lost", why))
            self._supersede(row)
            return Refusal(identity, "lost", (), execution.id, execution.ran.config.name, row.route.name)
        if runs_alone(**at) and not alone:
            return Refusal(identity, "suspect", execution_id=execution.id)
        room = 1 if most_running is None else most_running - self._running_in(row.route.queue)
        if room <= 0 and row.state != "running":
            return Refusal(identity, "full", execution_id=execution.id)
        row.consecutive_crashes = consecutive_crashes
        row.state = "running"
        row.attempt += 1
        row.uncounted_attempts += again
        row.worker = worker
        row.started_at = now
        # A delivery proves that the dispatch was published, even if the publisher got no confirmation.
        row.dispatch_state = "published"
        row.confirmed = True
        taken.add(identity)
        return Claim(
            correlation_id=identity,
            attempt=row.attempt,
            spent=spent,
            execution_id=execution.id,
            replay_batch_id=execution.batch,
            config=execution.ran.config.name,
            config_version=execution.ran.number,
            config_hash=execution.ran.digest,
            route=row.route.name,
            object_key=row.object_key,
            stage=row.stage,
            path=row.path,
            source=self._source(row.object_key),
            traceparent=execution.traceparent,
        )

    def _unpublished_children(self, row: MessageRow) -> tuple[Dispatch, ...]:
        if row.state != "completed":
            return ()
        return tuple(
            child.dispatch()
            for child in row.execution.messages
            if child.parent is row and child.state == "pending" and child.dispatch_state == "unpublished"
        )

    def _source(self, key: str) -> Source | None:
        output = self._outputs.get(key)
        if output is None:
            return None
        pruned = moment(output.pruned_at) if output.pruned_at is not None else None
        location = output.original.key if output.original else None
        described = (output.content_type, deepcopy(output.attributes), output.size, output.sha256)
        return Source(*described, pruned, location)

    # -- bind --------------------------------------------------------------------------------------

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        await self._begin()
        return [self._bind(binding) for binding in bindings]

    def _bind(self, binding: Binding) -> list[Bound] | Unbound | None:
        row = self._messages.get(binding.correlation_id)
        if row is None or not row.holds(binding.attempt):
            return None
        if row.route.stage is None and binding.outputs:
            raise ValueError(f"route {row.route.name!r} has no stage: its outputs can't be bound")
        planned: dict[str, OutputRow] = {}
        superseded: list[OutputRow] = []
        for new in binding.outputs:
            path = new.path
            there = self._outputs.get(self._key(row, path))
            if there and there.message is row and there.fingerprint != new.fingerprint:
                superseded.append(there)
                path = renamed(path, row.attempt, room=len(self._key(row, "").encode()))
                there = self._outputs.get(self._key(row, path))
            key = self._key(row, path)
            ours = there is None or (there.message is row and there.fingerprint == new.fingerprint)
            if not ours or key in planned:
                return Unbound("output_conflict", _conflict(key, there, row))
            planned[key] = there or self._output(row, key, new)
        # No row has changed before this line, so an attempt is bound completely or not at all.
        for output in superseded:
            output.state = "superseded"
        for output in planned.values():
            output.state = "writing"
            self._outputs[output.key] = output
        room = len(self._key(row, ""))
        return [Bound(o.key, o.key[room:], o.attempt or row.attempt, o.created_at) for o in planned.values()]

    def _key(self, row: MessageRow, path: str) -> str:
        return object_key(row.execution.id, row.route.stage or "", path)

    def _output(self, row: MessageRow, key: str, new: NewOutput) -> OutputRow:
        return OutputRow(
            key=key,
            message=row,
            attempt=row.attempt,
            size=new.size,
            sha256=new.sha256,
            fingerprint=new.fingerprint,
            content_type=new.content_type,
            attributes=deepcopy(new.attributes),
            created_at=self._clock(),
        )

    # -- finish ------------------------------------------------------------------------------------

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        await self._begin()
        return [self._finish(publisher, result) for result in results]

    def _finish(self, publisher: str, result: Result) -> Finished | None:
        row = self._messages.get(result.correlation_id)
        if row is None or not row.holds(result.attempt):
            if (
                row
                and isinstance(result, Done)
                and (row.state, row.attempt) in (("completed", result.attempt), ("skipped", result.attempt))
            ):
                return Finished(list(self._unpublished_children(row)))
            return None
        row.consecutive_crashes = 0
        if isinstance(result, Done):
            return Finished(self._complete(row, publisher, result))
        if row.execution.status == "cancelled":
            if isinstance(result, Failed):
                row.error = Problem(result.code, result.error)
                row.traceback = result.traceback
                row.ran = result.ran
            row.close("cancelled", self._clock())
            self._supersede(row)
            return Finished(cancelled=True)
        if isinstance(result, Released):
            row.uncounted_attempts += 1
            row.retry(self._clock() + result.delay)
        else:
            self._fail(row, result)
        return Finished()

    def _complete(self, row: MessageRow, publisher: str, done: Done) -> list[Dispatch]:
        now = self._clock()
        keys = done.keys
        row.close("skipped" if done.skip_reason else "completed", now)
        row.skip_reason = done.skip_reason or None
        row.ran = done.ran
        for output in self._outputs_of(row):
            output.state = "stored" if output.key in keys else "superseded"
        routes = row.execution.ran.config.routes
        children = self._insert_messages(
            row.execution,
            "unpublished",
            [(routes[name], key, row.route.stage or "") for key in keys for name in row.route.to],
            parent=row,
        )
        for child in children:
            child.publisher = publisher
            if row.execution.status == "cancelled":
                child.close("cancelled", now)
        return [child.dispatch() for child in children if child.open]

    def _fail(self, row: MessageRow, result: Failed) -> None:
        now = self._clock()
        row.ran = result.ran
        problem = Problem(result.code, result.error)
        if result.delay is None:
            row.close("dead", now, problem)
            self._supersede(row)
        else:
            row.retry(now + result.delay)
            row.error = problem
        row.traceback = result.traceback

    # -- after it ----------------------------------------------------------------------------------

    async def mark_published(
        self,
        confirmed: Sequence[Dispatch],
        *,
        refused: Sequence[tuple[Dispatch, str]] = (),
        left: Sequence[Dispatch] = (),
    ) -> None:
        await self._begin()
        now = self._clock()
        for dispatch in confirmed:
            row = self._messages.get(UUID(dispatch.correlation_id))
            if row and row.wants(dispatch):
                row.publish(now)
        for dispatch, reason in refused:
            row = self._messages.get(UUID(dispatch.correlation_id))
            if row and row.wants(dispatch):
                row.close("dead", now, Problem("publish_refused", reason))
        for dispatch in left:
            row = self._messages.get(UUID(dispatch.correlation_id))
            if row and row.wants(dispatch):
                row.publisher = None

    async def end_executions(self, executions: Sequence[UUID] | None = None) -> list[UUID]:
        await self._begin()
        ended = []
        for identity in list(self._executions) if executions is None else executions:
            row = self._executions.get(identity)
            if row is None or row.status != "running" or any(m.open for m in row.messages):
                continue
            listing_state = row.job.listing_state if row.job else "completed"
            if listing_state == "open":
                continue
            dead = listing_state == "dead" or any(m.state == "dead" for m in row.messages)
            row.end("failed" if dead else "completed", self._clock())
            ended.append(identity)
        return ended


def _conflict(key: str, there: OutputRow | None, row: MessageRow) -> str:
    if there is None or there.message is row:
        whose = "another output of this message"
    elif there.message is None:
        whose = "an input of the run"
    else:
        whose = f"message {there.message.id}, made from {there.message.object_key}"
    return (
        f"{key} is already the key of {whose}: give outputs paths of their own, "
        "for instance with the whole path of the input in them"
    )
