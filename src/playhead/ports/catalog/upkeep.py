"""What keeps the promise that every open row is called: heartbeats, the reconciler's questions, resend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.envelope import Call
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
    async def heartbeat(self, process: Process, queues: Sequence[str] = ()) -> None:
        """Say that a process is alive, and which queues it consumes. It is dead after five missed beats."""
        ...

    async def depart(self, process: str) -> None:
        """Say that a process has ended: whatever it held is free at once."""
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

    async def orphans(self, owner: str, *, limit: int) -> list[Call]:
        """(a) Return unpublished pending rows whose publisher is dead (or was never named), now `owner`'s."""
        ...

    async def due(self, owner: str, *, limit: int) -> list[Call]:
        """(b) Return unpublished `retry` rows that are due, now `owner`'s."""
        ...

    async def recall_abandoned(self, *, limit: int) -> int:
        """(c) Turn rows that are `running` by a dead worker into `retry`, due now, unpublished,
        generation + 1; in a cancelled execution into `cancelled`. Returns how many."""
        ...

    async def waiting_queues(self) -> list[str]:
        """Return the queues for which a published row of a running execution waits unclaimed (external ones
        never). Rows of a job count once they are marked."""
        ...

    async def recall_unheard(self, owner: str, queue: str, *, limit: int) -> list[Call]:
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
        `failed`. Returns them."""
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

        Unknown ids are left out. Raises `Conflict` (`execution_ended`) when an execution among them is
        cancelled, or a row is dead because its key is outside the grammar and was named by id.
        """
        ...

    async def maintain(self) -> None:
        """Housekeeping that only the reconciler's holder does: checkpoint, forget processes long dead."""
        ...
