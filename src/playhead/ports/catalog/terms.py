"""The search index of Find: paths, attributes and reasons of all executions, and what is searched without it.

Terms are indexed behind the writes that they are about: no write pays for the index, and it may be built
again at any time. What is not indexed yet is not found, except the paths of the newest objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from playhead.model import RowState

TermKind = Literal["path", "attribute", "reason"]
TERM_KINDS: Final[tuple[TermKind, ...]] = ("path", "attribute", "reason")


class TermIndex(NamedTuple):
    """How far the index is.

    Attributes:
        indexed: outputs that are indexed.
        recorded: outputs that were recorded so far. Both numbers also count deleted ones.
        has_parts: whether it finds parts of texts; otherwise only beginnings.
    """

    indexed: int
    recorded: int
    has_parts: bool


class Term(NamedTuple):
    """A text that is indexed.

    Attributes:
        n: its number.
        text: `STAGE/PATH`, `NAME=VALUE`, or the reason.
        newest: number of the newest execution in which it occurs; later executions have higher ones.
    """

    n: int
    kind: TermKind
    text: str
    newest: int


class Place(NamedTuple):
    """An execution in which a term occurs. `key`: of an object with an attribute; otherwise None."""

    execution: UUID
    key: str | None


class ObjectFacts(NamedTuple):
    """A stored object.

    Attributes:
        stored_at: seconds since the epoch.
        states: the newest state of its message in each route that has received it.
        is_current: whether readers see it; None if no dataset of its config has a publication.
    """

    key: str
    stored_at: float
    is_pruned: bool
    states: Sequence[RowState]
    is_current: bool | None


class Started(NamedTuple):
    """An execution with a reason. `batch`: of a replay. `state`: of its job, or of itself."""

    id: UUID
    batch: UUID | None
    kind: str
    state: str
    config: str
    route: str
    created_at: float


class Failure(NamedTuple):
    """A dead letter whose error contains a text. `failed_at`: in seconds since the epoch."""

    id: UUID
    execution: UUID
    config: str
    route: str
    key: str
    code: str
    error: str
    failed_at: float


class RouteAdapter(NamedTuple):
    """An adapter of a route of the newest version of a config."""

    config: str
    route: str
    adapter: str


class Switched(NamedTuple):
    """A publication or a rollback of a dataset with a reason. `at`: in seconds since the epoch."""

    config: str
    dataset: str
    publication: int
    kind: str
    reason: str
    at: float


class Terms(Protocol):
    """Texts are compared without the case of ASCII letters, except beginnings. No character is special."""

    async def index_terms(self, *, limit: int = 1000) -> bool:
        """Index the next outputs and executions, in one transaction. Return whether there are more.

        Several processes may call it at the same time: each row is indexed once.
        """
        ...

    async def term_index(self) -> TermIndex:
        """Return how far the index is."""
        ...

    async def clear_terms(self) -> None:
        """Empty the index. `index_terms` fills it again from the first row."""
        ...

    async def terms_with(self, text: str, *, paths: bool, has_parts: bool, limit: int) -> list[Term]:
        """Return terms that contain a text, those of the newest executions first.

        If there are more than `limit`, these are not the newest of all.

        Args:
            paths: search paths; otherwise attributes and reasons.
            has_parts: as `term_index` returned it. If it is false, or the text has fewer than 3 characters,
                terms are found by their beginning, paths also by that of the path in the stage or of the file
                name, and attributes by that of the value. The case counts then.
        """
        ...

    async def places_of(self, terms: Sequence[int], *, limit: int) -> dict[int, list[Place]]:
        """Return the newest places of each term, at most `limit`, newest first."""
        ...

    async def uses_counted(self, terms: Sequence[int], *, most: int) -> dict[int, int]:
        """Return in how many executions terms occur. No more than `most` are counted."""
        ...

    async def newest_keys(self, text: str, *, rows: int, limit: int) -> list[str]:
        """Return keys of the newest objects with a text in their paths, newest first.

        Args:
            rows: how many of the last outputs are searched.
        """
        ...

    async def objects_found(self, keys: Sequence[str]) -> dict[str, ObjectFacts]:
        """Return the facts about stored objects. Deleted and unfinished ones are left out."""
        ...

    async def started_with(self, terms: Sequence[int], *, limit: int) -> list[tuple[int, Started]]:
        """Return the newest executions with reasons, each with the number of its reason, newest first."""
        ...

    async def failures_with(self, text: str, *, limit: int) -> list[Failure]:
        """Return the newest dead letter of each group whose error or error code contains a text.

        Up to 1,000 groups are searched, those that failed last.
        """
        ...

    async def adapters_with(self, text: str, *, limit: int) -> list[RouteAdapter]:
        """Return the adapters with a text in their types, in the newest version of each config."""
        ...

    async def switches_with(self, text: str, *, limit: int) -> list[Switched]:
        """Return publications and rollbacks with a text in their reasons, newest first."""
        ...
