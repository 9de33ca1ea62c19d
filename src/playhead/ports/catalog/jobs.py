"""Executions and their jobs.

A job lists one stage and publishes a call for each object of it: a replay does that to the stored
stage of an earlier execution, a run to its own sealed `input`. It is worked by one process at a time
under a lease, but its exactness rests on the epoch alone: each acquisition raises it, and every write
of a job is conditional on it, so a process that was paused for an hour can wake and change nothing.

The job holds the execution's *root*: open until the listing is done, so that an execution can't end
before all its messages exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.envelope import Dispatch, Headers
from playhead.model import Execution, Replay


class Input(NamedTuple):
    """An input of a run, before its bytes are stored. `path` stands under `input`; sha256 is 32 bytes."""

    path: str
    size: int
    sha256: bytes
    content_type: str


class Listed(NamedTuple):
    """An object that a listing found: its key, the stage it counts to, and why it can't be worked, if so.

    `problem` (its key is outside the grammar) makes it a row that is `dead` with `invalid_key`.
    """

    key: str
    stage: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class LeasedJob:
    """A job in hand.

    Attributes:
        job: the id of the execution that the job belongs to.
        epoch: the fence; every write gives it back.
        owner: the process that holds it.
        headers: what its calls share.
        external: its calls go to a queue that nobody of ours consumes.
        prefix: `{execution}/{stage}` or `{execution}/{stage}/{path}`: where to list.
        stages: declared stages of the source execution (longest first), to tell stage from path.
        default_stage: the stage that was asked for.
        cursor: the last key that was looked at; "" at the start.
        listed: the listing is finished; what is left is publishing.
    """

    job: UUID
    epoch: int
    owner: str
    headers: Headers
    external: bool
    prefix: str
    stages: tuple[str, ...]
    default_stage: str
    cursor: str
    listed: bool


class Jobs(Protocol):
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
    ) -> Execution:
        """Create an execution of kind `run` whose inputs are still to come, held by `owner`.

        Its id is the caller's, who can so undo it when the answer is lost. `traceparent` is kept with it,
        and given to whoever makes calls for its messages, at any time.
        Its job can't be acquired by anyone until it is sealed. An owner that dies before that leaves
        it to `fail_unsealed`, once `lease` seconds have passed since this call and since its last beat.
        """
        ...

    async def bind_inputs(self, execution: UUID, inputs: Sequence[Input]) -> None:
        """Record inputs as bound (`writing`) before their bytes are stored. The same path again is fine
        when size and sha256 are the same; else `BadRequest` (`invalid_path`: two inputs of one path)."""
        ...

    async def seal(self, execution: UUID) -> bool:
        """Make all inputs `stored` and the job ready to be acquired, in one transaction.

        False when the execution is no longer waiting for it (cancelled, or failed as lost).
        """
        ...

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
    ) -> Replay:
        """Create the new execution, the batch, the root and the job in one transaction.

        `batch` is new: whoever did not hear the answer can ask by it (`replay`) whether this happened.

        `path` and `to_route` are kept as they were asked for; `prefix` is where to list; `config`,
        `version` and `route` are what `to_route` was resolved to. The job is free to be acquired.
        `traceparent` is kept as with `open_run`.
        """
        ...

    async def adopt(self, execution: UUID) -> Execution:
        """Record an execution that another program made: kind `adopted`, `completed`, no config.

        One that exists is returned as it is.
        """
        ...

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        """Take a job whose publishing has not ended and whose lease is free or has run out; raise its epoch.

        None when there is nothing to take. While the root is open, the fifth acquisition in a row without a
        page or a mark in between makes the job `stalled` instead (and returns None): a listing that kills
        its server must not kill every server in turn. Once it is closed, publishing may wait for as long,
        and change hands as often, as it takes.
        """
        ...

    async def renew(self, held: LeasedJob, *, lease: float) -> bool:
        """Hold the lease for `lease` seconds more; False when the epoch has passed on or the job ended."""
        ...

    async def release(self, held: LeasedJob) -> None:
        """Give the lease back, so that another may go on at once. Nothing if the epoch has passed on.

        An acquisition that ends like this, or by the holder's departure, does not count towards `stalled`:
        it was not the listing that ended it.
        """
        ...

    async def record(
        self, held: LeasedJob, objects: Sequence[Listed], *, cursor: str, last: bool
    ) -> list[Dispatch] | None:
        """Insert one page of rows and move the cursor, in one transaction conditional on the epoch.

        Keys whose outputs row is not `stored` are left out; keys without a row count. Rows get the
        next ordinals in the order given and ids in ascending order. `last` also closes the root.
        Returns the calls for the new rows (not for dead ones), or None when the epoch has passed on,
        the execution is cancelled, or the cursor is not before `cursor`: then stop.
        At most 1,000 objects.
        """
        ...

    async def unpublished(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        """Return calls for recorded rows past the watermark that still want to be published, in order.

        Empty when there are none. Rows that ended or were claimed are left out.
        """
        ...

    async def mark(
        self,
        held: LeasedJob,
        upto: int,
        *,
        uncertain: Sequence[Dispatch] = (),
        refused: Sequence[tuple[Dispatch, str]] = (),
    ) -> bool:
        """Mark rows up to ordinal `upto` as published, but for the exceptions, conditional on the epoch.

        Uncertain rows stay to be settled; refused ones become `dead` (`publish_refused`). Rows of an
        external route that are published become `completed`. False when the epoch has passed on.
        """
        ...

    async def unsettled(self, held: LeasedJob, *, limit: int) -> list[Dispatch]:
        """Return calls for rows that are uncertain still, oldest first. A claim settles a row."""
        ...

    async def settle(
        self, held: LeasedJob, confirmed: Sequence[Dispatch], refused: Sequence[tuple[Dispatch, str]]
    ) -> bool:
        """Record what became of uncertain rows. False when the epoch has passed on."""
        ...

    async def close_job(self, held: LeasedJob) -> bool:
        """End the job: listed, and no row unpublished or uncertain. Sets the batch's state from the rows:
        `publishing_complete` when none failed, else `partial_failure`. False when that is not so (yet) or
        the epoch has passed on."""
        ...

    async def is_listed(self, job: UUID) -> bool:
        """Whether the root is closed: all that will ever be found has been recorded."""
        ...

    async def fail_listing(self, held: LeasedJob, why: str) -> bool:
        """Give the listing up: the root ends `dead` (`listing_failed`), what was recorded goes on."""
        ...

    async def replay(self, batch: UUID) -> Replay | None:
        """Return a batch with numbers read from rows, `errors` at most 100 lines (the last says how many
        more), None when there is none."""
        ...

    async def replays(
        self, *, source: UUID | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[list[Replay], int | None]:
        """Return batches, newest first, and where the next page starts (None at the end)."""
        ...

    async def cancel(self, execution: UUID) -> Execution | None:
        """Cancel under the exclusive execution lock: `cancelled`, epoch + 1, root closed, every pending and
        retry row `cancelled`. No work starts after this returned. Idempotent; None when there is none.

        Raises `Conflict` (`execution_ended`) when it is completed or failed.
        """
        ...
