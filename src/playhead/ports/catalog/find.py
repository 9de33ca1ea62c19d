"""What a text may name: lookups by ids, tags, keys and names. Each one uses an index."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol
from uuid import UUID

RowKind = Literal["execution", "replay", "message", "plan"]


class FoundRow(NamedTuple):
    """A row that was found by its id.

    Attributes:
        kind: `dead_letter` for a message that is dead.
        id: its id; of a replay, the batch.
        execution: the execution that it is, or belongs to; None for a plan.
        config: empty if adopted.
        route: route of a message, target of a replay or of a plan; empty for an execution.
        state: state of the row; error code of a dead letter.
        detail: kind of an execution; key of the input of a message; otherwise empty.
    """

    kind: Literal["execution", "replay", "message", "dead_letter", "plan"]
    id: UUID
    execution: UUID | None
    config: str
    route: str
    state: str
    detail: str


class RouteNames(NamedTuple):
    """The names of a route in the newest version of a config. `stage` is None if it stores nothing."""

    config: str
    route: str
    queue: str
    stage: str | None


class Find(Protocol):
    async def ids_between(self, kind: RowKind, first: UUID, last: UUID, *, limit: int) -> list[FoundRow]:
        """Return the rows of a kind with ids from `first` to `last`, both included, newest id first."""
        ...

    async def tags_from(self, prefix: str, *, limit: int) -> list[tuple[str, FoundRow]]:
        """Return the tags that begin with a text, in byte order, each with its newest execution."""
        ...

    async def route_names(self) -> list[RouteNames]:
        """Return the routes of the newest version of each config, by config, then as declared."""
        ...
