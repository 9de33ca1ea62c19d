"""Operations that keep every open row dispatched: heartbeats, the reads of the reconciler, resend."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

from playhead.counters import Numbers, total
from playhead.envelope import Dispatch
from playhead.errors import Conflict
from playhead.ids import moment
from playhead.model import LoadedCode, Problem, WorkerInfo
from playhead.ports.catalog.upkeep import Process, Subscription
from tests.catalog_memory.rows import LeaseRow, MessageRow, ProcessRow, VersionRow
from tests.catalog_memory.tables import Tables

FORGET_SECONDS = 3_600.0
UNHURRIED_SECONDS = 60.0
"""After this time a row counts as forgotten by its live publisher, for example because its broker failed."""


class UpkeepPart(Tables):
    # -- processes ---------------------------------------------------------------------------------

    async def heartbeat(
        self,
        process: Process,
        queues: Sequence[str] = (),
        counters: Numbers | None = None,
        loaded: LoadedCode | None = None,
    ) -> bool:
        await self._begin()
        now = self._clock()
        known = self._processes.get(process.id)
        started_at = known.started_at if known else now
        told = (counters or {}) if known else {}
        if known:
            runs = known.loaded
            if loaded and runs:
                runs = replace(runs, changed=loaded.changed)
        else:
            runs = loaded
        self._processes[process.id] = ProcessRow(process, tuple(queues), started_at, now, told, runs)
        return known is not None

    async def depart(self, process: str, counters: Numbers | None = None) -> None:
        await self._begin()
        if gone := self._processes.pop(process, None):
            self._departed.append(counters or gone.counters)
        for execution in self._executions.values():
            if execution.job and execution.job.owner == process:
                execution.job.release()
                execution.job.idle_takeovers = max(execution.job.idle_takeovers - 1, 0)
        self._leases = {name: lease for name, lease in self._leases.items() if lease.owner != process}

    async def counters(self) -> Numbers:
        await self._begin()
        return total([*self._departed, *(row.counters for row in self._processes.values())])

    async def workers(self) -> list[WorkerInfo]:
        await self._begin()
        alive = [row for row in self._processes.values() if self._alive(row.process.id)]
        return [
            WorkerInfo(
                worker_id=row.process.id,
                kind=row.process.kind,
                host=row.process.host,
                pid=row.process.pid,
                queues=list(row.queues),
                started_at=moment(row.started_at),
                heartbeat_at=moment(row.heartbeat_at),
            )
            for row in sorted(alive, key=lambda row: row.started_at)
        ]

    async def subscriptions(self) -> list[Subscription]:
        await self._begin()
        wanted: set[VersionRow] = {row.newest for row in self._configs.values() if row.active}
        wanted |= {execution.ran for execution in self._running()}
        found: dict[str, Subscription] = {}
        for version in sorted(
            wanted, key=lambda version: version.n
        ):  # the newest version determines the route
            for route in version.config.routes.values():
                if not route.external:
                    found[route.queue] = Subscription(
                        route.queue, version.config.name, version.number, route.name
                    )
        return list(found.values())

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        await self._begin()
        held = self._leases.get(name)
        if held and held.owner != owner and self._clock() < held.until <= self._clock() + 2 * seconds:
            return False
        self._leases[name] = LeaseRow(owner, self._clock() + seconds)
        return True

    # -- rows that no process will dispatch --------------------------------------------------------

    async def orphans(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        await self._begin()
        rows = [
            row
            for row in self._running_messages()
            if row.state == "pending"
            and row.dispatch_state == "unpublished"
            and row.route.queue not in without
            and (not self._alive(row.publisher) or row.created_at <= self._clock() - UNHURRIED_SECONDS)
        ]
        return self._take_over(rows[:limit], owner)

    async def due(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        await self._begin()
        now = self._clock()
        rows = [
            row
            for row in self._running_messages()
            if row.state == "retry"
            and row.dispatch_state == "unpublished"
            and row.route.queue not in without
            and row.not_before <= now
        ]
        return self._take_over(rows[:limit], owner)

    def _take_over(self, rows: Sequence[MessageRow], owner: str) -> list[Dispatch]:
        for row in rows:
            row.publisher = owner
        return [row.dispatch() for row in rows]

    async def recall_abandoned(self, *, limit: int) -> int:
        await self._begin()
        rows = [m for m in self._messages.values() if m.state == "running" and not self._alive(m.worker)]
        for row in rows[:limit]:
            if row.execution.status == "cancelled":
                self._cancel(row)
            else:
                row.consecutive_crashes += 1
                row.retry(self._clock())
        return len(rows[:limit])

    async def waiting_queues(self) -> list[str]:
        await self._begin()
        return sorted({row.route.queue for row in self._unheard()})

    async def redeliver_lost(self, owner: str, queue: str, *, limit: int) -> list[Dispatch]:
        await self._begin()
        rows = [row for row in self._unheard() if row.route.queue == queue][:limit]
        for row in rows:
            row.dispatch_again(publisher=owner)
        return [row.dispatch() for row in rows]

    def _unheard(self) -> list[MessageRow]:
        """Return published rows that no worker has claimed yet."""
        return [
            row
            for row in self._running_messages()
            if row.waits and row.dispatch_state == "published" and not row.route.external
        ]

    # -- executions --------------------------------------------------------------------------------

    async def open_executions(self) -> list[UUID]:
        await self._begin()
        return [execution.id for execution in self._running()]

    async def cancel_stragglers(self) -> int:
        await self._begin()
        rows = [row for row in self._messages.values() if row.execution.status == "cancelled" and row.waits]
        for row in rows:
            self._cancel(row)
        return len(rows)

    def _cancel(self, row: MessageRow) -> None:
        row.close("cancelled", self._clock())
        self._supersede(row)

    async def fail_unsealed(self) -> list[UUID]:
        await self._begin()
        now = self._clock()
        failed = []
        for execution in self._executions.values():
            job = execution.job
            if job is None or job.phase != "uploading" or self._alive(job.owner) or job.lease_until > now:
                continue
            owner = self._processes.get(job.owner) if job.owner else None
            # The upload may continue for its lease after the last heartbeat of its owner.
            if owner and owner.heartbeat_at + job.lease_until - execution.created_at > now:
                continue
            job.end("ended", now)
            job.listing_state = "dead"
            job.error = Problem(
                "upload_incomplete",
                "the process that stored the inputs ended before all were there; nothing was published: "
                "run it again",
            )
            execution.end("failed", now)
            failed.append(execution.id)
        return failed

    async def abandoned_jobs(self) -> list[UUID]:
        await self._begin()
        now = self._clock()
        return [
            execution.id
            for execution in self._executions.values()
            if execution.job and execution.job.phase == "publishing" and execution.job.lease_until <= now
        ]

    # -- dead letters ------------------------------------------------------------------------------

    async def resend(
        self,
        *,
        ids: Sequence[UUID] = (),
        execution: UUID | None = None,
        route: str | None = None,
        code: str | None = None,
    ) -> list[UUID]:
        await self._begin()
        if not ids and execution is None and route is None and code is None:
            return []  # an empty selection is never "all"
        rows = [self._messages[i] for i in dict.fromkeys(ids) if i in self._messages]
        dead = [
            row
            for row in (rows if ids else self._messages.values())
            if row.state == "dead"
            and execution in (None, row.execution.id)
            and route in (None, row.route.name, f"{row.execution.ran.config.name}/{row.route.name}")
            and code in (None, row.error and row.error.code)
        ]
        if not ids:
            # Only a named id is refused. A selection by execution or route omits such rows.
            dead = [row for row in dead if row.error is None or row.error.code != "invalid_key"]
            if execution is None:
                dead = [
                    row
                    for row in dead
                    if row.execution.status != "cancelled"
                    and not row.execution.prunings
                    and not self._loses_its_input(row)
                ]
        for row in dead:
            self._refuse_resend(row)
        for row in dead:
            row.state = "pending"
            row.uncounted_attempts = row.attempt
            row.consecutive_crashes = 0
            row.ended_at = row.error = row.traceback = None
            row.dispatch_again(publisher=None)
            row.confirmed = True
            row.execution.status = "running"
            row.execution.ended_at = None
        return [row.id for row in dead]

    def _refuse_resend(self, row: MessageRow) -> None:
        if row.execution.status == "cancelled":
            raise Conflict(
                "execution_ended",
                f"message {row.id} can't be sent again: its execution {row.execution.id} is cancelled",
            )
        if row.execution.prunings:
            raise Conflict(
                "execution_pruned",
                f"message {row.id} can't be sent again: objects of {row.execution.id} were pruned",
            )
        if self._loses_its_input(row):
            raise Conflict(
                "execution_pruned", f"message {row.id} can't be sent again: its input is being pruned"
            )
        if row.error and row.error.code == "invalid_key":
            raise Conflict(
                "execution_ended",
                f"message {row.id} can't be sent again: its key {row.object_key!r} is outside the grammar; "
                "store the object under another key and replay that",
            )

    def _loses_its_input(self, row: MessageRow) -> bool:
        """Whether it replays an object of a stage of which a prune is in progress."""
        source = self._executions.get(row.execution.parent) if row.execution.parent else None
        if source is None or row.parent or not row.object_key:
            return False
        return any(one.deleted_at is None and one.has(row.object_key) for one in source.prunings)

    async def maintain(self) -> None:
        await self._begin()
        self._move_times_ahead()
        long_ago = self._clock() - FORGET_SECONDS - self._dead_after
        gone = [row for row in self._processes.values() if row.heartbeat_at < long_ago]
        self._departed += [row.counters for row in gone]
        for row in gone:
            del self._processes[row.process.id]

    def _move_times_ahead(self) -> None:
        now = self._clock()
        limit = now + self._dead_after
        for process in self._processes.values():
            if process.heartbeat_at > limit:
                for execution in self._executions.values():
                    if execution.job and execution.job.owner == process.process.id:
                        execution.job.lease_until -= process.heartbeat_at - now
                process.heartbeat_at = now
        self._pauses = {key: pause for key, pause in self._pauses.items() if pause[0] <= limit}
        for row in self._messages.values():
            if row.state == "retry" and row.started_at is not None and row.started_at > limit:
                row.not_before = min(row.not_before, now)
