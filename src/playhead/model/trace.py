"""What became of an object or a message: counts of the messages below it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from playhead.model.views import RowState


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
        is_complete: false if counting ended early, at 10,000 messages.
        counts: the same by execution, route and state; the nearest first.
    """

    messages: int
    is_complete: bool
    counts: list[ChainCount]
