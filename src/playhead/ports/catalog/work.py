"""What a worker does with a message: claim, bind, finish.

The token of a claim is (correlation id, attempt): every later write is conditional on the row still
being `running` at that attempt, so a zombie's writes change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

from playhead.envelope import Dispatch

SUSPECT_LOSSES = 2
"""After so many attempts in a row that took their worker with them, a message is worked alone."""


class Source(NamedTuple):
    """What the catalog knows of an object: from its outputs row. sha256 is 32 bytes, size in bytes."""

    content_type: str
    attributes: Mapping[str, Any]
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that this worker, and nobody else, may work on now.

    Attributes:
        attempt: the token, and how often work was started.
        spent: attempts that count towards `max_attempts`, this one included.
        config_version: which version of the config to run.
        source: None when the object was put there by others.
        traceparent: that of the execution; None where it has none.
    """

    correlation_id: UUID
    attempt: int
    spent: int
    execution_id: UUID
    replay_batch_id: UUID | None
    config: str
    config_version: int
    config_hash: str
    route: str
    object_key: str
    stage: str
    path: str
    source: Source | None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a delivery is not to be worked. The catalog needs nothing from this copy: it calls again when due.

    Attributes:
        reason: `unknown` (no row), `closed`, `held` (by a live worker), `early` (a retry that is not due),
            `ended` (the execution is not running), `lost` (just closed as dead: `worker_lost`),
            `suspect` (see `Work.claim`): the one that is not to be acked; claim it again, `alone`.
        children: calls of a completed row that are not published yet; publish them before the ack.
        execution_id: None when there is no row.
        config: of a `lost` one, as is `route`.
    """

    correlation_id: UUID
    reason: Literal["unknown", "closed", "held", "early", "ended", "lost", "suspect"]
    children: tuple[Dispatch, ...] = ()
    execution_id: UUID | None = None
    config: str = ""
    route: str = ""


class NewOutput(NamedTuple):
    """An output that is to be bound. `fingerprint` covers sha256, content type and attributes (32 bytes)."""

    path: str
    size: int
    sha256: bytes
    fingerprint: bytes
    content_type: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Binding:
    """All outputs of one attempt, in order, under its route's stage. Their paths differ."""

    correlation_id: UUID
    attempt: int
    outputs: Sequence[NewOutput]


class Bound(NamedTuple):
    """Where an output goes: the key now bound to it.

    `attempt` and `created_at` (seconds) are of the binding, so a redelivery writes the same sidecar.
    """

    key: str
    path: str
    attempt: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Unbound:
    """The attempt can't be stored: `output_conflict` with words for the reader."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """The attempt's work is done and stored under these keys (those that `bind` gave)."""

    correlation_id: UUID
    attempt: int
    keys: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed. `delay` seconds until it is due again; None makes it a dead letter."""

    correlation_id: UUID
    attempt: int
    code: str
    error: str
    traceback: str | None = None
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The attempt could not be made, by no fault of the adapter: due again in `delay` s, not spent."""

    correlation_id: UUID
    attempt: int
    delay: float


Result = Done | Failed | Released


@dataclass(frozen=True, slots=True)
class Finished:
    """The attempt was ended by this call.

    Attributes:
        children: to be published now.
        cancelled: it failed or was given back, and its execution is cancelled: so is the message.
    """

    children: list[Dispatch] = field(default_factory=list)
    cancelled: bool = False


class Work(Protocol):
    async def claim(self, worker: str, ids: Sequence[UUID], *, alone: bool = False) -> list[Claim | Refusal]:
        """Claim rows: open → `running`, attempt + 1, held by `worker`; one answer an id, in order.

        Only if the execution is running, the row is due, and no other live worker holds it. A row that
        has spent its route's `max_attempts` is closed as `dead` (`worker_lost`) instead. Settles an
        uncertain row as published. The same id twice in one call: the second is `held`.

        It is a sign of life, too: whose beat is overdue when it claims something, as the catalog was away or
        the process asleep, lives from then on like one that beat just now. Else others would take what it
        holds for lost, until it beats again.

        A row that `worker` holds itself is claimed anew, and the attempt before does not count: the answer
        to that claim was lost on its way. So a worker names no row that it is working on, and asks again
        until it is answered, as to others the row is held. In a cancelled execution such a row is cancelled.

        A row whose workers died in its last two attempts is claimed only when the caller works nothing
        beside it (`alone`; else `suspect`): it may be what kills them, and its neighbours must not pay for
        it with theirs.
        """
        ...

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        """Bind each output's key before its first byte is stored; None where the token is lost.

        A key bound by the same message with the same fingerprint is used again (whatever became of it);
        with another fingerprint it is superseded, and the output is bound as `keys.renamed(path, attempt)`.
        A key of another message is an `output_conflict`, and nothing of that attempt is bound.
        """
        ...

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        """End attempts: one transaction, one answer a result, None where the token was lost.

        Done: the row `completed`, its outputs `stored` and its other outputs rows `superseded`, and one child
        for each stored output and each route of `to`, in that order: pending, unpublished, to be published
        by `publisher`. In a cancelled execution children are inserted as `cancelled` and not returned.
        Failed: `retry` (unpublished, generation + 1) or `dead` (its outputs superseded). GivenBack: `retry`,
        and the attempt does not count. In a cancelled execution a failed or given back row ends `cancelled`.

        Done again, under a token that a call before has ended as done (its answer was lost): those of the
        children that are not published yet.
        """
        ...

    async def mark_published(
        self,
        confirmed: Sequence[Dispatch],
        *,
        refused: Sequence[tuple[Dispatch, str]] = (),
        left: Sequence[Dispatch] = (),
    ) -> None:
        """Mark rows as published if their generation is still that of the call; refused ones end `dead`
        (`publish_refused`). A row of an external route becomes `completed` by this. Those `left` are nobody's
        to publish any more: the next `orphans` gives them."""
        ...

    async def end_executions(self, executions: Sequence[UUID]) -> list[UUID]:
        """End those executions that are running and have no open row and no open root.

        Called after the commit that closed a row. Looks without a lock; then, under the execution's
        lock and in a new statement, looks again; `failed` if any row or the root is dead, else
        `completed`; freezes the counts, revision + 1. Returns those that were ended by this call.
        """
        ...
