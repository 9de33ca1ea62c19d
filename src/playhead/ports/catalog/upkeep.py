"""Heartbeats, the reconciler's queries, and resend: they ensure that every open row is dispatched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.counters import Numbers
from playhead.envelope import Dispatch
from playhead.model import LoadedCode, WorkerInfo
from playhead.ports.catalog.browse import EVERY_DEAD_LETTER, DeadLetterFilter


class Process(NamedTuple):
    """A Playhead process. Its `id` is never reused; `kind` is the command that started it."""

    id: str
    kind: str
    host: str
    pid: int


class Subscription(NamedTuple):
    """A queue that workers are to consume, with the newest config version that names it."""

    queue: str
    config: str
    version: int
    route: str


class Upkeep(Protocol):
    async def heartbeat(
        self,
        process: Process,
        queues: Sequence[str] = (),
        counters: Numbers | None = None,
        loaded: LoadedCode | None = None,
    ) -> bool:
        """Record that a process is alive, which queues it consumes, and its counters since it started.

        The counters replace those of its last heartbeat. A process is dead after five missed heartbeats.
        `loaded` is recorded at its first heartbeat; later only `loaded.changed` is. None changes nothing.

        Returns False if the catalog did not know the process: at its first heartbeat, or after a silence so
        long that its record was deleted. Then `counters` is ignored. The counters of its earlier heartbeats
        are already kept, so it must continue from there.
        """
        ...

    async def depart(self, process: str, counters: Numbers | None = None) -> None:
        """Record that a process has ended; rows that it still holds are free at once.

        `counters`, or else the counters of its last heartbeat, are kept. Repeating the call changes nothing.

        A row that the process still runs counts as lost, as after a crash: an unhandled fault also ends a
        process, and the message that caused it must not run forever. A process that can release its rows
        does so first.
        """
        ...

    async def counters(self) -> Numbers:
        """Return the sum of the counters of all processes that ever ran. A live process counts with its last
        heartbeat."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Return the processes that are alive, oldest first."""
        ...

    async def subscriptions(self) -> list[Subscription]:
        """Return the queues that workers consume: those of the newest version of each active config, and of
        every version that a running execution uses. Each queue once; no external queues."""
        ...

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        """Take or renew a named lease. False while another owner holds it. It decides only who may try.

        A lease with more than twice `seconds` left was taken before the clock was set back: it has expired.
        """
        ...

    async def orphans(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        """(a) Return dispatches of unpublished pending rows whose publisher is dead or was never named.

        `owner` becomes their publisher. Rows of the queues in `without` are skipped, and do not count
        towards `limit`.
        """
        ...

    async def due(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        """(b) Return dispatches of unpublished `retry` rows that are due; otherwise like `orphans`."""
        ...

    async def recall_abandoned(self, *, limit: int) -> int:
        """(c) Set rows that a dead worker was running to `retry`: due now, unpublished, generation + 1.

        In a cancelled execution they become `cancelled`. Returns their number.
        """
        ...

    async def some_running(self, *, after: int, limit: int) -> tuple[list[UUID], int]:
        """Return up to `limit` running executions, oldest first, and the `after` of the next call.

        Args:
            after: 0: from the oldest one, and also what is returned with the newest ones.
        """
        ...

    async def waiting_queues(self, executions: Sequence[UUID] | None = None) -> list[str]:
        """Return the queues in which a published row of a running execution waits for a claim.

        Args:
            executions: only rows of these; None: of all.

        External queues are left out. Rows of a job count once they are marked as published.
        """
        ...

    async def redeliver_lost(self, owner: str, queue: str, *, limit: int) -> list[Dispatch]:
        """(d) Return new dispatches of the published, unclaimed rows of an empty queue.

        Each row becomes unpublished with generation + 1, and `owner` becomes its publisher.
        """
        ...

    async def open_executions(self) -> list[UUID]:
        """Return executions that are `running`, oldest first."""
        ...

    async def cancel_stragglers(self) -> int:
        """Cancel the pending and retry rows of cancelled executions. Returns their number.

        Such rows exist only if the process that cancelled an execution has died. `recall_abandoned` cancels
        the rows that a dead worker was running.
        """
        ...

    async def fail_unsealed(self) -> list[UUID]:
        """Fail runs whose owner died before they were sealed: root `dead` (`upload_incomplete`), execution
        `failed`. Returns them.

        A run fails only after its lease has passed, both since it was opened and since its owner's last
        heartbeat. The owner may have been suspended, and no other process can continue an upload. Runs of a
        process that has departed fail at once.
        """
        ...

    async def abandoned_jobs(self) -> list[UUID]:
        """Return jobs whose publishing has not ended and whose lease is free or expired, oldest first.

        Stalled and unsealed jobs are left out.
        """
        ...

    async def resend(
        self,
        *,
        ids: Sequence[UUID] = (),
        where: DeadLetterFilter = EVERY_DEAD_LETTER,
        bulk: bool = False,
    ) -> list[UUID]:
        """Send dead letters again. Returns the ids of those that were dead.

        Under the lock of the execution, each row goes from `dead` to `pending`: generation + 1, unpublished,
        with all of its attempts. The execution becomes `running`.

        Pass either `ids`, or conditions. Unknown ids are ignored. With `failed_before`, dead letters that
        failed at this time or later stay dead, also if they fail again while this call runs. It alone selects
        none.

        From then on, the messages and those that result from them have the level `bulk`, or normal.

        Messages named by `ids` are sent in one transaction. All messages of an execution or a route are sent
        in several transactions, so that other callers do not wait for long. If one of them fails, the next
        call sends the remaining messages.

        Raises `Conflict` (`execution_ended`) if one of the executions is cancelled, or if `ids` names a row
        that is dead because its key breaks the grammar. Raises `Conflict` (`execution_pruned`) if objects of
        one of the executions were pruned, or while the stage is pruned that one of the messages replays. A
        selection by route or code leaves such executions and messages out.
        """
        ...

    async def maintain(self) -> None:
        """Do the housekeeping of the process that holds the reconciler's lease.

        It checkpoints the database, and deletes the records of processes that died long ago. Their counters
        are kept.

        It also moves times that were recorded before the clock was set back. A heartbeat more than five beats
        ahead of the clock counts as recorded now, and the leases of its jobs move by the same time. A retry
        whose last attempt began that far ahead is due now.
        """
        ...
