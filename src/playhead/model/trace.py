"""Summaries of the messages above and below an object or a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from playhead.model.views import Kind, RowState


@dataclass(frozen=True, slots=True)
class ChainCount:
    """Messages of one route and state, below an object or a message.

    Attributes:
        execution_id: execution of the messages.
        config: config of the route.
        route: route that processes them.
        status: their state.
        messages: number of messages.
    """

    execution_id: UUID
    config: str
    route: str
    status: RowState
    messages: int


@dataclass(frozen=True, slots=True)
class ChainCounts:
    """How many messages are below an object or a message, also across replays.

    Attributes:
        messages: number of counted messages.
        is_complete: false if counting ended early, at 10,000 messages, or if the records of the execution of
            the object are deleted: its own messages are not counted then.
        counts: the same by execution, route and state; the nearest first.
    """

    messages: int
    is_complete: bool
    counts: list[ChainCount]


@dataclass(frozen=True, slots=True)
class ChainGroup:
    """Messages of one route of one execution, above or below an object or a message.

    Attributes:
        execution_id: execution of the messages.
        kind: kind of the execution.
        replay_batch_id: replay batch of the execution; None unless it is a replay.
        created_at: start of the execution; RFC 3339 in UTC.
        config: config of the route.
        config_version: version of the config.
        route: route that processes the messages.
        stage: stage of their outputs; None if the route stores none.
        direction: `self`: the requested message, or the one that produced the requested object. `up`: its
            ancestors. `down`: its descendants, and the messages that received the object.
        messages: number of messages.
        outputs: number of their outputs that belong to the chain. An ancestor has one, and so has the message
            that produced the requested object.
        failed: number of dead letters among the messages.
        correlation_id: id of one of the messages.
        input_key: key of its input object.
        key: key of one of its outputs that belong to the chain; None without one.
    """

    execution_id: UUID
    kind: Kind
    replay_batch_id: UUID | None
    created_at: str
    config: str
    config_version: int
    route: str
    stage: str | None
    direction: Literal["up", "self", "down"]
    messages: int
    outputs: int
    failed: int
    correlation_id: UUID
    input_key: str
    key: str | None


@dataclass(frozen=True, slots=True)
class ChainEdge:
    """A relation between two groups: outputs of the first are inputs of the second.

    Attributes:
        from_group: place of the first group in the list of groups, from 0.
        to_group: place of the second group.
        via: `parent`: within an execution; `replay`: across two executions.
        messages: number of messages of the second group for which it holds.
    """

    from_group: int
    to_group: int
    via: Literal["parent", "replay"]
    messages: int


@dataclass(frozen=True, slots=True)
class ChainSummary:
    """The messages above and below an object or a message, grouped by execution and route.

    The number of groups depends on the executions and the routes, not on the number of messages.

    Attributes:
        groups: the ancestors, the furthest first; the requested message; the descendants, the nearest first.
        edges: relations between the groups.
        messages: number of messages in all groups.
        is_complete: false if the walk ended early, at 10,000 messages.
        records_deleted_at: time at which the records of the execution were deleted from which the first group
            has its inputs, so the messages above are not known; RFC 3339 in UTC; None if they were not.
    """

    groups: list[ChainGroup]
    edges: list[ChainEdge]
    messages: int
    is_complete: bool
    records_deleted_at: str | None = None
