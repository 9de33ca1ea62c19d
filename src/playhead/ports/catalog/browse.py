"""What people look at. Lists are newest first; `before` is where the last page ended, None at the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from playhead.model import (
    DeadLetter,
    DeadLetterDetail,
    DeadLetterGroup,
    Execution,
    Lineage,
    MadeByCondition,
    RouteCounts,
    RowState,
)
from playhead.ports.catalog.work import Source

IdKind = Literal["execution", "batch", "message"]
"""Whose id: an execution's, a replay batch's or a message's."""


class Retries(NamedTuple):
    """Messages that wait for their next attempt.

    Attributes:
        messages: their number.
        seconds: until the first of them is due.
    """

    messages: int
    seconds: float


class ExecutionFilter(NamedTuple):
    """Executions that meet all given conditions.

    Attributes:
        parent: replays of this execution.
        since: created at this time or later; RFC 3339 with an offset. `ExecutionService` also accepts the
            time before now, as in `-24h`.
        until: created before this time, in the same form.
    """

    status: str | None = None
    config: str | None = None
    kind: str | None = None
    tag: str | None = None
    parent: UUID | None = None
    since: str | None = None
    until: str | None = None


class DeadLetterFilter(NamedTuple):
    """Dead letters that meet all given conditions.

    Attributes:
        route: the name of a route, or `config/route`.
        code: their error code.
        group: the id of their group. A text that is not an id of a group matches none.
        failed_before: seconds since the epoch.
    """

    execution: UUID | None = None
    route: str | None = None
    code: str | None = None
    group: str | None = None
    failed_before: float | None = None


EVERY_DEAD_LETTER: Final = DeadLetterFilter()


class Reference(NamedTuple):
    """An object of an execution whose bytes are stored under the key `location` of an earlier execution.

    `size` is in bytes; `created_at` in seconds since the epoch.
    """

    key: str
    location: str
    size: int
    created_at: float


class Browse(Protocol):
    async def execution(self, execution: UUID) -> Execution | None:
        """Return an execution with its counts (cached for up to a second while it runs)."""
        ...

    async def executions_named(self, executions: Sequence[UUID]) -> list[Execution]:
        """Return those of these that exist, each as `execution` does, in one look; in no order."""
        ...

    async def records_deleted(self, executions: Sequence[UUID]) -> dict[UUID, str]:
        """Return when the records of those of these executions were deleted that have none any more.

        Times are RFC 3339 in UTC.
        """
        ...

    async def executions(
        self, where: ExecutionFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Execution], int | None]:
        """Return executions that meet all conditions, in the order in which they were recorded.

        The times of `where` are RFC 3339.
        """
        ...

    async def newest_execution(self) -> UUID | None:
        """Return the id of the run or replay that was recorded last; None if nothing was recorded.

        Adopted executions do not count: other programs have chosen their ids.
        """
        ...

    async def ids_ending(self, kind: IdKind, digits: str, *, execution: UUID | None = None) -> list[UUID]:
        """Return all ids of a kind that end with `digits`, in no order.

        `digits` are at least four hexadecimal digits in lower case, without hyphens. Ids of messages are
        searched for among the dead letters, or with `execution` among all messages of that execution. Only
        the search in an execution costs in proportion to the messages of the execution.
        """
        ...

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        """Return counts by route, in the order of the config; their sums are the execution's."""
        ...

    async def unstored(self, keys: Sequence[str]) -> set[str]:
        """Return those of `keys` (ascending, of one listing's page) that have an outputs row that is not
        `stored`, or is pruned."""
        ...

    async def references(self, prefix: str, *, after: str = "", limit: int) -> list[Reference]:
        """Return up to `limit` references at or below a key, after the key `after`, in byte order.

        Only those that are stored and not pruned. They are in no listing of the store.
        """
        ...

    async def sources(self, keys: Sequence[str]) -> dict[str, Source]:
        """Return the rows of those of these objects that are stored and not pruned, by key.

        Objects of other programs have no row. At most a few thousand keys.
        """
        ...

    async def failed_below(
        self, keys: Sequence[str], execution: UUID, route: str, *, unfinished: bool
    ) -> set[str]:
        """Return those of these objects that an execution has not processed successfully.

        The *consuming messages* of an object are the root messages of the execution for its key. If there are
        none, they are those children of the message that produced the object that have its key, in this
        execution. If some of them belong to the route, which is `CONFIG/ROUTE`, only those count.

        Without `unfinished`, an object is returned if there is a dead letter at or below a consuming message.
        With `unfinished`, it is also returned if one of these messages is cancelled, or if there is no
        consuming message. At most a few thousand keys. The cost is proportional to the messages below them.
        """
        ...

    async def lineage(self, correlation_id: UUID) -> Lineage | None: ...

    async def keys_of_messages(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """Return the object keys of those of these messages that exist, by correlation id."""
        ...

    async def lineage_of_object(self, key: str) -> list[Lineage]:
        """Return the message that made the object; for one that no message made, those that took it, newest
        first."""
        ...

    async def lineage_list(
        self,
        *,
        execution: UUID | None = None,
        batch: UUID | None = None,
        route: str | None = None,
        status: str | None = None,
        made_by: MadeByCondition | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[Lineage], int | None]:
        """Return messages of an execution, or of a batch: its roots and all that descends from them.

        `route` is a name, or `config/route`. With `made_by`, a page may read all messages of the routes.
        """
        ...

    async def dead_letters(
        self, where: DeadLetterFilter = EVERY_DEAD_LETTER, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[DeadLetter], int | None]:
        """Return dead letters that meet all conditions."""
        ...

    async def dead_letter_groups(
        self,
        *,
        execution: UUID | None = None,
        config: str | None = None,
        route: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[DeadLetterGroup], int | None]:
        """Return groups of dead letters, by their newest message. `route` is a name, or `config/route`.

        With `execution`, only its dead letters count. The cost is proportional to the number of groups, and
        to the dead letters of those on the page, of which at most `MOST_COUNTED` are read in each group.
        """
        ...

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail | None: ...

    async def open_by_route(self) -> dict[tuple[str, str, RowState], int]:
        """Return how many messages are open by (config, route, state); only those there are any of. It costs
        in proportion to them, not to what has ended."""
        ...

    async def retries_by_route(self) -> dict[tuple[str, str], Retries]:
        """Return how many messages wait for their next attempt, by (config, route).

        At most 10,000 are counted over all routes: those that are due first.
        """
        ...

    async def dead_by_route(self) -> dict[tuple[str, str], int]:
        """Return how many dead letters there are by (config, route)."""
        ...
