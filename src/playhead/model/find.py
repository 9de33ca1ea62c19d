"""What a text leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args
from uuid import UUID

FoundKind = Literal[
    "object",
    "attribute",
    "dead_letter",
    "message",
    "execution",
    "replay",
    "plan",
    "dataset",
    "config",
    "route",
    "queue",
    "adapter",
]
FOUND_KINDS: Final[tuple[FoundKind, ...]] = get_args(FoundKind)
"""In the order of the groups of an answer."""
Matches = Literal["parts", "beginnings"]


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a text names, nearly names, or that contains the text.

    Attributes:
        kind: what it is. A message that is dead is a `dead_letter`. The name of a stage leads to the route
            that stores it.
        id: its id: of a replay its batch, of a message its correlation id, of an object or an attribute the
            key of the object, of a route or an adapter `config/route`, of a dataset `config/dataset`, of a
            config or a queue its name.
        execution_id: execution that it is, or belongs to; None for configs, routes, queues, adapters,
            datasets and plans.
        title: one line that describes it.
        is_exact: whether the text is its name, its path, its id, or the last digits of it.
        happened_at: when it was stored, failed or started; RFC 3339 in UTC; None if it was found by its
            name or id.
        outcome: of an object, what happened to it in the routes that received it: the newest state of its
            messages, `dead` before all others; `stored` if no route received it, `pruned` if its bytes are
            deleted. Of an execution or a replay that was found by its reason, its state.
        is_current: of an object, whether readers see it in a dataset; None if its config has no published
            dataset.
        executions: of the newest object at a path, in how many executions the path occurs, up to 1,000; None
            if this is not known.
    """

    kind: FoundKind
    id: str
    execution_id: UUID | None
    title: str
    is_exact: bool
    happened_at: str | None = None
    outcome: str | None = None
    is_current: bool | None = None
    executions: int | None = None


@dataclass(frozen=True, slots=True)
class FoundGroup:
    """What was found of one kind: exact matches, then the newest.

    Attributes:
        kind: the kind of all items.
        items: exact matches, then the newest.
        has_more: there are more than `items`.
    """

    kind: FoundKind
    items: list[Found]
    has_more: bool


@dataclass(frozen=True, slots=True)
class TextSearch:
    """How much was searched for paths, attributes and reasons.

    Attributes:
        matches: `parts`: texts that contain the text. `beginnings`: texts, file names and values that begin
            with it, because it has fewer than 3 characters, or because the catalog finds no parts.
        indexed: outputs that are indexed.
        recorded: outputs that were recorded so far. Both numbers also count deleted ones. The newest objects
            are found before they are indexed.
        finds_parts: whether the catalog finds parts. SQLite does; PostgreSQL needs its extension pg_trgm.
    """

    matches: Matches
    indexed: int
    recorded: int
    finds_parts: bool


@dataclass(frozen=True, slots=True)
class FindAnswer:
    """What a text leads to.

    Attributes:
        groups: by kind. Kinds of which nothing was found are left out.
        search: how much was searched.
    """

    groups: list[FoundGroup]
    search: TextSearch
