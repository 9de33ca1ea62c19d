"""What a replay leaves when it ends: its completion report, and the events for its webhook."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from playhead.model.datasets import DatasetEvent
from playhead.model.views import Problem

ReplayEvent = Literal[
    "replay.started",
    "replay.paused",
    "replay.resumed",
    "replay.completed",
    "replay.failed",
    "replay.cancelled",
    "replay.refused",
]
ReportOutcome = Literal["published", "failed", "cancelled", "uncertain"]
ReportWork = Literal["completed", "failed", "cancelled", "skipped", "uncertain"]


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A line of a report: what happened to one object of a replay.

    Attributes:
        key: object that was replayed.
        correlation_id: id of its message.
        outcome: of publishing. `published`: the broker has the message. `failed`: it refused the message, or
            the key is invalid. `cancelled`: the replay was cancelled before. `uncertain`: it may have been
            sent to another program before the cancellation.
        work: how the message ended. `failed`: as a dead letter. `skipped`: a condition dropped the item, or
            the route was not run.
        failed_below: number of dead letters among the messages below it.
        skipped_below: number of skipped messages below it.
        error: why it is a dead letter; None if it is not.
    """

    key: str
    correlation_id: UUID
    outcome: ReportOutcome
    work: ReportWork
    failed_below: int
    skipped_below: int
    error: Problem | None


def has_failed(outcome: ReportOutcome, work: ReportWork, failed_below: int) -> bool:
    """Whether an object of a replay has failed: its message was refused or is a dead letter, or a message
    below it is a dead letter."""
    return "failed" in (outcome, work) or failed_below > 0


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """Which lines of a report; None: any.

    Attributes:
        outcome: of publishing; see `ReportLine`.
        work: how the message ended; see `ReportLine`.
        error_code: of the dead letter.
        failed: only objects that failed, themselves or below, or only the others.
    """

    outcome: ReportOutcome | None = None
    work: ReportWork | None = None
    error_code: str | None = None
    failed: bool | None = None


@dataclass(frozen=True, slots=True)
class ReportCount:
    """How many objects of a replay ended alike.

    Attributes:
        outcome: of publishing; see `ReportLine`.
        work: how their messages ended; see `ReportLine`.
        error_code: of their dead letters; None if they are not dead letters.
        failed_below: whether a message below each of them is a dead letter.
        objects: how many.
    """

    outcome: ReportOutcome
    work: ReportWork
    error_code: str | None
    failed_below: bool
    objects: int

    @property
    def has_failed(self) -> bool:
        """Whether the objects count as failed."""
        return has_failed(self.outcome, self.work, self.failed_below)


@dataclass(frozen=True, slots=True)
class ReportPart:
    """An object with a part of a report, in JSON Lines.

    Attributes:
        key: object in the store, in the stage `_replay` of the new execution.
        lines: number of lines, one for each object of the replay.
        sha256: of its bytes, in hexadecimal digits.
    """

    key: str
    lines: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Report:
    """The completion report of a replay, for one end of its execution.

    Attributes:
        revision: which end: 1 for the first one; each resend of dead letters leads to another one.
        state: `due`: the execution has not ended, or no process has begun to write the report. `writing`.
            `stored`: it can be read. `failed`: it was abandoned; `error` has the reason.
        lines: number of lines: one for each object of the replay. 0 until it is stored.
        bytes: size of all parts. 0 until it is stored.
        parts: its parts, in order. Empty until it is stored.
        counts: number of lines by outcome, work and error code, the largest number first. Empty until it is
            stored.
        reason: of the replay, as requested.
        error: why it could not be written at the last attempt.
    """

    revision: int
    state: Literal["due", "writing", "stored", "failed"]
    lines: int
    bytes: int
    parts: list[ReportPart]
    counts: list[ReportCount] = field(default_factory=list)
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """An event of a replay or of a dataset for its webhook.

    Attributes:
        delivery_id: the same in each attempt: the header `webhook-id`.
        event: type of the event.
        revision: of a replay: how often its execution had ended at the time of the event, this end included.
            Of a dataset: number of its newest switch.
        state: `due`: it will be sent, or sent again. `sent`: the receiver has accepted it. `failed`: the
            attempts are used up, or the receiver answered 410.
        attempts: number of attempts so far.
        last_status: HTTP status of the last response; None without a response.
        last_error: why the last attempt failed; None if it succeeded.
        next_at: time of the next attempt; RFC 3339 in UTC; None if no attempt follows.
        sent_at: time at which the receiver accepted it; RFC 3339 in UTC.
    """

    delivery_id: UUID
    event: ReplayEvent | DatasetEvent
    revision: int
    state: Literal["due", "sent", "failed"]
    attempts: int
    last_status: int | None
    last_error: str | None
    next_at: str | None
    sent_at: str | None
