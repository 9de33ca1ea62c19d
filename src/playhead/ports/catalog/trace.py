"""What happened to an object: the messages that received it, and all messages above and below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from playhead.model import ChainLink, Declaration, RowState

LONGEST_TEXT: Final = 500
"""Characters of an error that a `Descendant` contains. There may be thousands of them."""


class Descendant(NamedTuple):
    """A message in a walk downwards.

    Attributes:
        distance: steps from the first messages, which have 0.
        config_version: version of the config.
        error_code: of the last error; of a skipped message, or one that has its result, a `SkipCode`.
        text: the reason of a skipped message, or the start of the last error's text; else None.
        retry_at: when the next attempt is due; RFC 3339 in UTC; None unless the state is `retry`.
        outputs_pruned_at: when its outputs were pruned; RFC 3339 in UTC; None if they were not.
        declared_valid: the declaration by which its result was taken over; None: its code was the newest.
    """

    correlation_id: UUID
    distance: int
    execution_id: UUID
    config: str
    config_version: int
    route: str
    input_key: str
    status: RowState
    attempts: int
    error_code: str | None
    text: str | None
    retry_at: str | None
    outputs_pruned_at: str | None = None
    declared_valid: Declaration | None = None


class PublishedBelow(NamedTuple):
    """What a publication has below one of its objects.

    Attributes:
        messages: those whose results it has, nearest first.
        places: `stage/path` of its objects: that one, and those below it.
        is_complete: whether these are all.
    """

    messages: list[Descendant]
    places: set[str]
    is_complete: bool


class Relative(NamedTuple):
    """A message in a walk in both directions.

    Attributes:
        distance: steps from the start, which has 0; negative values are ancestors.
        via: relation to its neighbour; `self` without one.
        neighbour: place of the next message towards the start in the list of relatives. None: it is the
            start, or it received the object at which the walk starts, which no message produced.
        config_version: version of the config.
        stage: stage of its outputs; None if the route has none.
        outputs: number of its stored outputs.
        output_key: key of the first one in byte order; None if there are no outputs.
    """

    correlation_id: UUID
    distance: int
    via: Literal["self", "parent", "replay"]
    neighbour: int | None
    execution_id: UUID
    config: str
    config_version: int
    route: str
    stage: str | None
    status: RowState
    input_key: str
    outputs: int
    output_key: str | None


class Trace(Protocol):
    async def takers(self, key: str, *, execution: UUID | None = None, limit: int) -> list[UUID]:
        """Return up to `limit` messages that received an object, oldest first: roots, and children of the
        message that produced it. `execution`: only its messages."""
        ...

    async def replayed(self, messages: Sequence[UUID], *, execution: UUID, limit: int) -> list[UUID]:
        """Return up to `limit` roots of an execution that received stored outputs of these messages."""
        ...

    async def chain(
        self,
        of: UUID | str,
        *,
        direction: Literal["up", "down", "both"],
        after: UUID | None = None,
        limit: int,
    ) -> tuple[list[ChainLink], UUID | None]:
        """Return messages above and below a message or an object, nearest first.

        A page has up to `limit` messages, and is itself ordered by distance. Also returns the message after
        which the next page begins.

        Of a message: the message has distance 0. Up: the parent; from a root, the message that produced its
        object (`via` replay). Down: children, and roots of other executions that took one of its outputs
        (`via` replay). `via` names the relation between the link and its neighbour nearer to the start.

        Of an object (its key): its producer has distance 0, and is left out in direction `down`; the
        messages that received the object have distance 1. Messages that received other outputs of the
        producer are not included. If no message produced the object, its receivers have distance 0.

        Empty if there is no such row. A chain only grows: a message that was added before `after` since the
        last page is not returned any more, and no message is returned twice. Costs a walk from the start to
        the end of the page.
        """
        ...

    async def descendants(
        self, messages: Sequence[UUID], *, across_replays: bool, limit: int
    ) -> tuple[list[Descendant], bool]:
        """Return up to `limit` messages: these and all below them, nearest first; also whether that is all.

        `across_replays`: also messages of other executions, which received the outputs in replays.
        """
        ...

    async def family(self, of: UUID | str, *, limit: int) -> tuple[list[Relative], bool]:
        """Return up to `limit` messages above and below a message or an object; also whether that is all.

        The same messages as those of `chain` in both directions, across replays. The start comes first, then
        its ancestors upwards, then the others, the nearest first. The messages that received an object have
        distance 1, also if no message produced it. Counts the outputs of all of them.
        """
        ...

    async def published_below(self, key: str, *, limit: int) -> PublishedBelow:
        """Return what a publication has below an object, for about `limit` messages.

        `key` has the id of the publication, and the stage and path that the object has there.
        """
        ...

    async def some_outputs(self, message: UUID, *, limit: int) -> tuple[list[str], int]:
        """Return the keys of up to `limit` stored outputs of a message, in byte order, and their number."""
        ...

    async def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Return those of these keys that are stored outputs or inputs, or objects of roots."""
        ...

    async def stored_after(self, first: str, last: str, *, limit: int) -> list[str]:
        """Return up to `limit` stored keys after `first` and before `last`, in byte order."""
        ...
