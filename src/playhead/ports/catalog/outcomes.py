"""What happened to the objects that a run or a replay has listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from playhead.model import Review, RowState
from playhead.ports.catalog.outputs import RecordedOutput


class ListedObject(NamedTuple):
    """An object that a run or a replay has listed, with its message.

    Attributes:
        ordinal: its place in the listing, from 1.
        stage: stage in the key; the rest of the key is its path.
    """

    ordinal: int
    key: str
    stage: str
    correlation_id: UUID


class OutcomesBelow(NamedTuple):
    """Messages at or below an object, in one route and one state.

    Attributes:
        is_top: whether the messages received the object itself.
        route: name of the route.
        stage: stage that the route stores; None without one.
        failure_group: of dead messages: their group of failures.
        messages: their number.
        first: number of the first of them.
        digest: depends on the stages, the paths and the contents of their outputs, in no order; 0 without
            outputs.
    """

    is_top: bool
    route: str
    stage: str | None
    state: RowState
    failure_group: int | None
    messages: int
    first: int
    digest: int


class OutputBelow(NamedTuple):
    """A stored output of a message at or below an object. The fields are those of `OutcomesBelow`."""

    output: RecordedOutput
    is_top: bool
    route: str
    stage: str


class MessagesBelow(NamedTuple):
    """Messages at or below an object, in one route.

    Attributes:
        is_top: whether the messages received the object itself.
        messages: their number.
        undone: how many of them were not processed successfully.
        seconds: how long their last attempts took, added up.
    """

    is_top: bool
    route: str
    messages: int
    undone: int
    seconds: float


class Failure(NamedTuple):
    """Why a message is dead."""

    correlation_id: UUID
    route: str
    error_code: str
    error: str


MOST_REVIEWS: Final = 100_000
"""Reviews of two executions that are read. People write them one by one."""


class Outcomes(Protocol):
    async def listed_after(self, execution: UUID, ordinal: int, *, limit: int) -> list[ListedObject]:
        """Return up to `limit` objects that an execution has listed, in the order of the listing."""
        ...

    async def listed_at(self, execution: UUID, ordinals: Sequence[int]) -> list[ListedObject]:
        """Return the objects at these places of the listing, in its order. At most a few thousand."""
        ...

    async def outcomes_below(
        self, keys: Sequence[str], execution: UUID, route: str
    ) -> Mapping[str, Sequence[OutcomesBelow]]:
        """Return what happened to these objects in an execution, by key.

        The messages that received an object are its consuming messages, as in `Browse.failed_below`; `route`
        is CONFIG/ROUTE. An object without them is left out. At most a few thousand keys. The cost is
        proportional to the messages below them and to their outputs.

        A publication has its own objects only, by the keys that it has in listings. Their messages are those
        whose results it has, from any execution. So none of them is dead.
        """
        ...

    async def messages_below(
        self, keys: Sequence[str], execution: UUID, route: str
    ) -> Mapping[str, Sequence[MessagesBelow]]:
        """Count the messages that `outcomes_below` counts, without their outputs, which cost more to read."""
        ...

    async def outputs_below(self, key: str, execution: UUID, route: str, *, limit: int) -> list[OutputBelow]:
        """Return up to `limit` stored outputs of the messages that `outcomes_below` counts for an object.

        They are in the byte order of their keys. Pruned ones are included.
        """
        ...

    async def failures(self, messages: Sequence[int]) -> Mapping[int, Failure]:
        """Return why those of these messages are dead that are, by their numbers in `OutcomesBelow.first`."""
        ...

    async def record_review(
        self, execution: UUID, against: UUID, ordinal: int, *, is_right: bool, reviewed_by: str
    ) -> None:
        """Record what a person thinks of an object of an execution, compared with another execution.

        It replaces the review before. It is deleted with the records of the execution. Nothing happens if one
        of the executions does not exist, or if those records are deleted.
        """
        ...

    async def reviews(self, execution: UUID, against: UUID) -> Mapping[int, Review]:
        """Return the reviews of two executions, by the ordinals of the objects. At most `MOST_REVIEWS`."""
        ...
