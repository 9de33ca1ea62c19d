"""What a replay leaves when it ends: its completion report, and the events for its webhook."""

from __future__ import annotations

from dataclasses import dataclass
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
    outcome: Literal["published", "failed", "cancelled", "uncertain"]
    work: Literal["completed", "failed", "cancelled", "skipped", "uncertain"]
    failed_below: int
    skipped_below: int
    error: Problem | None


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
        reason: of the replay, as requested.
        error: why it could not be written at the last attempt.
    """

    revision: int
    state: Literal["due", "writing", "stored", "failed"]
    lines: int
    bytes: int
    parts: list[ReportPart]
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
