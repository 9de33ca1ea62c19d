"""Why an item has no output: its trace through the routes, and where it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args
from uuid import UUID

from playhead.model.views import Problem

Outcome = Literal[
    "dead",
    "rejected",
    "cancelled",
    "uncertain",
    "retry",
    "running",
    "pending",
    "not_listed",
    "not_replayed",
    "no_output",
    "condition_false",
    "effects_skipped",
    "no_message",
    "not_reached",
    "pruned",
    "completed",
]

OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
"""The outcome of an item is the first of these that its messages have."""


@dataclass(frozen=True, slots=True)
class WhyExample:
    """One message of an item.

    Attributes:
        correlation_id: id of the message.
        input_key: key of its input object.
        output_keys: keys of up to three of its outputs.
        outputs: number of its outputs.
        attempts: number of attempts, including those that do not count towards `max_attempts`, but not those
            that were released before a step was called.
        error: the last error, shortened to 500 characters; None without an error.
        retry_at: when the next attempt is due; RFC 3339 in UTC; None unless the outcome is `retry`.
    """

    correlation_id: UUID
    input_key: str
    output_keys: list[str]
    outputs: int
    attempts: int
    error: Problem | None
    retry_at: str | None


@dataclass(frozen=True, slots=True)
class WhyRoute:
    """The messages of an item that have the same outcome in one route.

    Attributes:
        execution_id: execution of the messages; for a replay, its source may come first. Of an object of a
            publication, the execution that stored it comes first, then others whose results readers see.
        config: config of the route.
        config_version: version of that config.
        route: the route.
        outcome: what happened to the messages.
        messages: number of messages; 0 for `not_reached`, `not_replayed` and `not_listed`.
        explanation: the same in words, with the reason.
        examples: up to three of the messages.
        replaced_by: execution whose result the publication has instead; None if it has this one or none, and
            without a publication.
    """

    execution_id: UUID
    config: str
    config_version: int
    route: str
    outcome: Outcome
    messages: int
    explanation: str
    examples: list[WhyExample]
    replaced_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """What happened to one item of an execution.

    Attributes:
        execution_id: the execution; of an object of a publication, the one that stored it.
        key: key of the item's object, at which the way begins.
        outcome: the most serious outcome of its messages, or `completed`.
        explanation: the same in words, with the route and the reason.
        messages: number of messages of the item.
        is_complete: false if the item has more than 10,000 messages in an execution; then only the nearest
            are counted.
        routes: the trace of the item: its messages by execution, route and outcome, in the order of the
            config.
        publication_id: the publication that has the object, and whose results the trace follows; None if the
            execution is not a publication.
        records_deleted_at: time at which the records of the execution were deleted from which the item came,
            so the trace begins after it; RFC 3339 in UTC; None if they were not.
    """

    execution_id: UUID
    key: str
    outcome: Outcome
    explanation: str
    messages: int
    is_complete: bool
    routes: list[WhyRoute]
    publication_id: UUID | None = None
    records_deleted_at: str | None = None
