"""What a worker does with a message: claim, bind, finish.

The token of a claim is (correlation id, attempt). Every later write requires that the row is still `running`
at that attempt. So the writes of a worker that was declared dead change nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

from playhead.envelope import Dispatch
from playhead.model import Skip

SUSPECT_LOSSES = 2
"""After this number of consecutive attempts that ended with the death of their worker, a message is processed
alone."""


READS_PATH: Final = 1
READS_ATTRIBUTES: Final = 2
READS_MESSAGE: Final = 4
"""What a result depends on, besides the bytes and the content type of the item: its path or stage, its
attributes, or which message or execution it belongs to. Several are added."""


def fingerprint_of(sha256: bytes, content_type: str, attributes: Mapping[str, Any]) -> bytes:
    """Return the fingerprint of an output (32 bytes): it covers bytes, content type and attributes."""
    about = json.dumps([content_type, attributes], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(sha256 + about.encode("utf-8", "surrogatepass")).digest()


def runs_alone(*, spent: int, max_attempts: int, crashes: int) -> bool:
    """Whether an attempt must run alone, because the message may have ended its last workers.

    Alone means that no other such attempt runs in the process. That applies to each attempt after two crashes
    in a row, and to the last attempt after a crash: another message may have ended the worker, and must not
    use up this attempt too.

    Args:
        spent: attempts that count towards `max_attempts`, this one included.
        crashes: how many attempts directly before this one ended with the death of their worker.
    """
    return crashes >= SUSPECT_LOSSES or spent > max_attempts or (crashes > 0 and spent == max_attempts)


def is_used_up(*, spent: int, max_attempts: int, crashes: int) -> bool:
    """Whether a message may not be processed again: its worker died in its last attempt, which ran alone.

    The arguments are those of `runs_alone`, for the attempt that would follow.
    """
    ran_alone = runs_alone(spent=spent - 1, max_attempts=max_attempts, crashes=crashes - 1)
    return spent > max_attempts and crashes > 0 and ran_alone


class Source(NamedTuple):
    """What the outputs row of an object holds. `sha256` is 32 bytes; `size` is in bytes.

    `pruned_at` is set if the object was pruned; RFC 3339 in UTC. `location` is the key that has the bytes, if
    the object is a reference to one of an earlier execution.
    """

    content_type: str
    attributes: Mapping[str, Any]
    size: int
    sha256: bytes
    pruned_at: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that only this worker may process now.

    Attributes:
        attempt: the token; also how often processing was started.
        spent: attempts that count towards `max_attempts`, this one included.
        config_version: the version of the config to run.
        source: None if another program wrote the object.
        traceparent: that of the execution, if it has one.
        skips_effects: the message belongs to a replay that skips its route if the steps have external
            effects.
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
    skips_effects: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a delivery must not be processed. The catalog dispatches its message again when the message is due.

    Attributes:
        reason: `unknown` (no row), `closed`, `early` (a retry that is not due), `ended` (the execution is not
            running), `lost` (just closed as dead: `worker_lost`), `skipped` (just closed as skipped: the
            execution is a replay that skips the route). Do not ack these: `held` (by a live worker): its
            attempt may end without a new dispatch; `suspect` (see `Work.claim`): claim it again with
            `alone`; `full` (as many messages of the queue run as may run): claim it again later.
        children: unpublished dispatches of a completed row; publish them before the ack.
        execution_id: None without a row.
        config: that of a `lost` message, like `route`.
    """

    correlation_id: UUID
    reason: Literal["unknown", "closed", "held", "early", "ended", "lost", "skipped", "suspect", "full"]
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
    """The attempt cannot be stored: `output_conflict`, with a text for the operator."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """The attempt's work is done and stored under these keys (those that `bind` gave).

    Attributes:
        skip: why there are no keys, if the chain was expected to return outputs or a condition dropped
            the item; else None.
        ran: the number of the code that ran (`Code.record_code`).
        reads: what the result depends on (`READS_…`, added); None: not known.
    """

    correlation_id: UUID
    attempt: int
    keys: Sequence[str] = ()
    skip: Skip | None = None
    ran: int | None = None
    reads: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed. `delay` seconds until it is due again; None makes it a dead letter.

    `ran` is the number of the code that ran (`Code.record_code`); None if no code ran.
    """

    correlation_id: UUID
    attempt: int
    code: str
    error: str
    traceback: str | None = None
    delay: float | None = None
    ran: int | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The adapter could not run, or its result could not be stored, for a reason outside the adapter.

    The attempt does not count.

    Attributes:
        delay: seconds until the message is due again, with a new dispatch. None: it is due now and waits for
            a claim, as before this attempt. Its dispatch is not acked, so the broker still has it.
        called: whether a step was called. An attempt without a call is not one of the message's `attempts`.
    """

    correlation_id: UUID
    attempt: int
    delay: float | None
    called: bool = False


Result = Done | Failed | Released


@dataclass(frozen=True, slots=True)
class Finished:
    """This call ended the attempt.

    Attributes:
        children: to be published now.
        cancelled: the attempt failed or was released in a cancelled execution, so the message is cancelled.
    """

    children: list[Dispatch] = field(default_factory=list)
    cancelled: bool = False


class Work(Protocol):
    async def claim(
        self, worker: str, ids: Sequence[UUID], *, alone: bool = False, most_running: int | None = None
    ) -> list[Claim | Refusal]:
        """Claim rows: open → `running`, attempt + 1, held by `worker`. One answer for each id, in order.

        A row is claimed if its execution is running, the row is due, and no other live worker holds it. A row
        whose attempts are used up (`is_used_up`) is closed as `dead` (`worker_lost`) instead. A claim
        settles an uncertain row as published. If an id is passed twice, the second answer is `held`.

        A claim counts as a heartbeat. A worker whose heartbeat is overdue (the catalog was unavailable, or
        the process was suspended) is alive again from its claim on. Otherwise other processes would take its
        rows until its next heartbeat.

        A row that `worker` itself holds is claimed again, and its last attempt does not count: the worker did
        not receive the answer to that claim. So a worker passes no row that it is processing, and repeats a
        claim until it receives the answer. In a cancelled execution such a row is cancelled.

        A row whose last attempts ended with the death of their workers may have killed them (`runs_alone`).
        Such a row is claimed only with `alone`: the caller processes one such row at a time. Otherwise the
        answer is `suspect`.

        A row in a route that its replay skips (`effects` of `Jobs.open_replay`) is closed as `skipped`,
        whatever inserted it or made it pending again. Only if a live worker holds it, the answer is `held`.

        With `most_running`, all rows are of one queue. They are claimed only as long as fewer messages of
        that queue are `running` in all workers. The answer for the others is `full`. Messages of dead workers
        count until they are recalled.
        """
        ...

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        """Bind the key of each output before its first byte is stored. None for a lost token.

        A key that the same message bound with the same fingerprint is used again, in whatever state it is.
        With another fingerprint that key is superseded, and the output is bound to
        `keys.renamed(path, attempt)`. A key of another message is an `output_conflict`; then no key of the
        attempt is bound.
        """
        ...

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        """End attempts in one transaction. Returns one answer for each result; None for a lost token.

        `Done`: the row becomes `completed`, or `skipped` with a `skip`. Its outputs become `stored`,
        and its other outputs `superseded`. One child is inserted for each stored output and each route in
        `to`, in this order: pending, unpublished, with `publisher`. In a cancelled execution the children are
        inserted as `cancelled` and not returned. In a replay, children in routes that it skips are inserted
        as `skipped`, without a dispatch. In an execution with `reuse`, children for whose items there is a
        result are `taken_over`, and the messages that follow these are returned in their place.

        `Failed`: the row becomes `retry` (unpublished, generation + 1) or `dead` (its outputs superseded).
        Both record what `ran`. `Released`: the row becomes `retry`, and the attempt does not count. It has no
        new dispatch, and stays published, if its `delay` is None. In a cancelled execution both become
        `cancelled`, without the error of that attempt.

        If an earlier call ended the attempt as `Done` and its answer was lost, the answer holds the children
        that are not published yet.
        """
        ...

    async def skip_route(self, execution: UUID, route: str) -> None:
        """Record that a replay skips a route: a worker has found that its steps have external effects.

        `Replay.effects` shows it. Messages that are inserted or claimed later are `skipped`, except by
        processes that remember the replay without it; their workers find the effects themselves.
        """
        ...

    async def mark_published(
        self,
        confirmed: Sequence[Dispatch],
        *,
        refused: Sequence[tuple[Dispatch, str]] = (),
        left: Sequence[Dispatch] = (),
    ) -> None:
        """Mark rows as published if their generation is still that of the dispatch.

        Refused rows become `dead` (`publish_refused`), and published rows of an external route `completed`.
        Rows in `left` no longer have a publisher: the next `orphans` returns them.
        """
        ...

    async def end_executions(self, executions: Sequence[UUID] | None = None) -> list[UUID]:
        """End running executions that have neither an open row nor an open root. Returns those that ended.

        Without `executions` it checks all of them, in one query.

        Call it after the commit that closed a row. It checks without a lock first. Then it checks again in a
        new statement, under the lock of the execution. The execution becomes `failed` if a row or the root is
        dead, else `completed`. Its counts are frozen, and its revision is raised by 1.
        """
        ...
