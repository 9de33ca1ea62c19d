"""Control of replays: pause, resume, cancel, retry, pace, and places in the lines of queues.

Each operation is one transaction. It locks the execution, then the job, then message rows in the order of
their numbers, and reads the numbers of its answer after that. The state of the job is part of every fenced
read and write, so a publisher that was suspended before the operation changes nothing after it. Messages that
it still sends are those of its window, and the answer names them as uncertain, or no worker can claim their
rows.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from playhead.model import Pace, Replay
from playhead.ports.catalog.jobs import LeasedJob


class Allowance(NamedTuple):
    """How many rows of a paced job may be sent now.

    Attributes:
        upto: rows up to this ordinal may be sent; 0: nothing is left to send.
        wait: seconds after which more may be allowed, if nothing may be sent now.
        why: what the job waits for.
    """

    upto: int
    wait: float = 0.0
    why: Literal["rate", "depth", "decision"] | None = None


class Verdict(NamedTuple):
    """How the objects of a canary, or the last objects, ended.

    Attributes:
        objects: how many objects they are.
        failed: how many of them were refused, or have a dead letter at or below their message.
        passed: the others follow; else the replay is paused.
    """

    objects: int
    failed: int
    passed: bool


class Control(Protocol):
    async def pause(self, batch: UUID) -> Replay | None:
        """Suspend publishing. Returns the replay as of the commit; None if there is no such batch.

        From this commit on, only messages that the answer counts as published or uncertain can start. A
        paused replay is returned unchanged. Raises `Conflict` (`replay_ended`).
        """
        ...

    async def resume(self, batch: UUID, canary: int | None = None) -> Replay | None:
        """Let a paused or stalled replay wait for its queue again (`queued`). Others are returned unchanged.

        If its canary or its guard has paused it, the objects follow about which the next decision is, or all
        others. With `canary`, this number of objects follows, and the limit of what has paused the replay
        decides about them.

        Raises `Conflict`: `replay_ended`; with `canary`, `not_paused_by_canary` if neither its canary nor its
        guard has paused the replay.
        """
        ...

    async def cancel_replay(self, batch: UUID) -> Replay | None:
        """End publishing. Messages that were published are processed; no other one starts.

        Into an external route, no claim can refuse what a suspended publisher may have sent. These messages
        become `uncertain` and are counted as such. `failed_below` does not return their objects, so that a
        replay of the rest does not send them under other ids.

        The number of published messages in the answer is final. A cancelled replay is returned unchanged.
        Raises `Conflict` (`replay_ended`).
        """
        ...

    async def retry_replay(self, batch: UUID) -> Replay | None:
        """Publish refused messages again, and continue a listing that was abandoned: the replay is `queued`.

        A replay that has neither, or that has not ended, is returned unchanged. Raises `Conflict`:
        `replay_ended` if it was cancelled or refused; `stage_pruned`; `execution_pruned`.
        """
        ...

    async def set_pace(self, batch: UUID, pace: Pace | None) -> Replay | None:
        """Change the pace; None removes it. Raises `Conflict` (`replay_ended`)."""
        ...

    async def allow(self, held: LeasedJob, *, want: int, depth: int | None = None) -> Allowance | None:
        """Pay for the next rows of a paced job, before they are sent. Returns None if the epoch was raised.

        Rows that were paid for may be sent again without paying, so a takeover neither loses nor repeats a
        payment. A replay that is resumed sends them too, although other replays may have filled the queue
        during the pause. Nothing is paid while rows that were paid for are not marked.

        Args:
            want: how many rows at most.
            depth: messages in the target queue, if other programs consume it; None: counted from rows.
        """
        ...

    async def decide(self, held: LeasedJob) -> Verdict | None:
        """Decide about the canary of a job, or its last objects, when no message at or below them is open.

        In one transaction, either more objects may follow, or the replay is paused (`paused_by`) with the
        reason. Returns None if a message is open, nothing is to be decided, or the epoch was raised. It may
        be called several times a second: it reads rows of these objects only.
        """
        ...

    async def admit(self, *, per_queue: int) -> list[UUID]:
        """Give the oldest queued replays of each queue the places that are free; return their jobs.

        Args:
            per_queue: how many replays may check or publish into one queue; 0: no limit.
        """
        ...
