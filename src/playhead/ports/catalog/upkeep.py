"""What keeps the promise that every open row is called: heartbeats, the reconciler's questions, resend."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.counters import Numbers
from playhead.envelope import Dispatch
from playhead.model import WorkerInfo


class Process(NamedTuple):
    """A process of ours: `id` is unique for ever, `kind` is `worker`, `serve`, `run` or `replay`."""

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
        self, process: Process, queues: Sequence[str] = (), counters: Numbers | None = None
    ) -> bool:
        """Say that a process is alive, which queues it consumes, and what it has counted since it began
        (in place of what it said before). It is dead after five missed beats.

        False when it was not known: at its first beat, or because it was silent for so long that it was
        forgotten. Then `counters` is left aside, and what it told before is kept already: it counts on from
        there.
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
        """Return what all processes have counted that ever were, added up: those that are alive as of their
        last heartbeat."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """Return the processes that are alive, oldest first."""
        ...

    async def subscriptions(self) -> list[Subscription]:
        """Return the queues of the newest active versions and of every version that a running execution
        holds; each queue once, external ones never."""
        ...

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        """Take or renew a named lease; False while another holds it. It only says who may try."""
        ...

    async def orphans(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        """(a) Return unpublished pending rows whose publisher is dead (or was never named), now `owner`'s.

        Rows of the queues `without` are left as they are: however many there are, they take no place in what
        is returned.
        """
        ...

    async def due(self, owner: str, *, limit: int, without: Collection[str] = ()) -> list[Dispatch]:
        """(b) Return unpublished `retry` rows that are due, now `owner`'s; `without` as in `orphans`."""
        ...

    async def recall_abandoned(self, *, limit: int) -> int:
        """(c) Turn rows that are `running` by a dead worker into `retry`, due now, unpublished,
        generation + 1; in a cancelled execution into `cancelled`. Returns how many."""
        ...

    async def waiting_queues(self) -> list[str]:
        """Return the queues for which a published row of a running execution waits unclaimed (external ones
        never). Rows of a job count once they are marked."""
        ...

    async def redeliver_lost(self, owner: str, queue: str, *, limit: int) -> list[Dispatch]:
        """(d) Give published, unclaimed rows of a queue that is empty a new generation, unpublished, and
        `owner`'s; return their calls."""
        ...

    async def open_executions(self) -> list[UUID]:
        """Return executions that are `running`, oldest first."""
        ...

    async def cancel_stragglers(self) -> int:
        """Cancel open rows of cancelled executions that no live worker runs. Returns how many."""
        ...

    async def fail_unsealed(self) -> list[UUID]:
        """Fail runs whose owner died before they were sealed: root `dead` (`upload_incomplete`), execution
        `failed`. Returns them.

        Not before the lease that they were opened with has passed, counted from their opening and from the
        last beat of their owner: it may have slept, and nobody else can go on with an upload. Those of a
        process that has departed fail at once.
        """
        ...

    async def abandoned_jobs(self) -> list[UUID]:
        """Return jobs whose publishing has not ended and whose lease is free or has run out (stalled and
        unsealed ones not), oldest first."""
        ...

    async def resend(
        self,
        *,
        ids: Sequence[UUID] = (),
        execution: UUID | None = None,
        route: str | None = None,
    ) -> list[UUID]:
        """Send dead letters again: `dead` → `pending`, generation + 1, unpublished, attempts counted anew,
        execution → `running`; under the execution's lock. Returns those that were dead.

        `ids` alone, or all of an execution, of a route (a name, or `config/route`), or of both.

        Those that are named are sent all or none. All of an execution or a route may be sent in several
        transactions, so that nobody waits for long: one that fails leaves what was sent before it, and the
        rest to be sent by the next call.

        Unknown ids are left out. Raises `Conflict` (`execution_ended`) when an execution among them is
        cancelled, or a row is dead because its key is outside the grammar and was named by id.
        """
        ...

    async def maintain(self) -> None:
        """Housekeeping that only the reconciler's holder does: checkpoint, forget processes long dead
        (what they counted is kept)."""
        ...
