"""Drafts: how the next publication of a dataset is prepared.

A draft is prepared in pages, each one transaction that is conditional on the epoch of the draft. Any process
can continue it. Readers see decided numbers only, so they never see a part of a draft.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from playhead.model import NoteKind, OnFailure, PartRole, Publication, PublishRequest
from playhead.ports.catalog.entries import Entry, Node, Root
from playhead.ports.catalog.jobs import Key
from playhead.ports.catalog.publications import EntryCursor, Place
from playhead.ports.catalog.results import MadeById, MadeCount


class DraftPart(NamedTuple):
    """A part of a draft.

    Attributes:
        execution: its number.
        id: its id.
        is_run: it is a run; otherwise it is a replay into `route`.
        stage: stage of its roots' objects.
        source: execution whose objects it received: itself, or the source of the replay.
        publication: dataset and number of its source, if that is a publication.
        is_foreign: its source does not belong to the config of the dataset.
        adds_inputs: a layer whose objects are added to the inputs, although it is a replay.
        continues: what it may have in common with the base publication; None: nothing is known of that.
        size: messages that one root has on average, itself included.
    """

    execution: int
    id: UUID
    role: PartRole
    is_run: bool
    route: str
    stage: str
    source: UUID
    publication: tuple[int, int] | None
    size: float
    is_foreign: bool = False
    adds_inputs: bool = False
    continues: Continued | None = None

    @property
    def has_inputs(self) -> bool:
        """Whether the objects of its roots are inputs: also if it is a replay that defines or adds inputs."""
        return self.is_run or self.role == "base" or self.adds_inputs


class Continued(NamedTuple):
    """What the base publication of a run shows: results of an earlier run, and of parts applied after it.

    It has the unit of the new run already if all of the unit was taken over, each result at the same place,
    from the last of these executions that has received the input. `continued.py` of the SQL catalog has the
    conditions.

    Attributes:
        run: number of the earlier run, whose results the new run has taken over.
        layers: the parts that were applied after it, in order.
    """

    run: int
    layers: Sequence[DraftPart]


class Edge(NamedTuple):
    """Objects of a stage go into a route."""

    stage: str
    route: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft that a process holds.

    Attributes:
        dataset: number of the dataset; `name` and `config` are its names.
        n: number of the publication.
        epoch: fencing token; every write is conditional on it.
        base: publication on which it is prepared; 0: none.
        parts: in the order in which they are applied.
        edges: relevant edges of its config version.
        has_other_edges: the publication on which it is prepared, or a part, has other ones, or it has inputs
            in other stages than the base.
        request: what was asked for.
        on_failure: what happens to units that are not good.
        max_failed: units that may be not good: a number, or a share below 1; None: any number.
        max_removed: share of the inputs that may be removed.
        cursor: how far it is resolved, as JSON; empty at the start.
        counts: entries of the publication on which it is prepared, by stage; `digest` is its digest.
    """

    dataset: int
    name: str
    config: str
    n: int
    epoch: int
    base: int
    parts: Sequence[DraftPart]
    edges: frozenset[Edge]
    has_other_edges: bool
    request: PublishRequest
    on_failure: OnFailure
    max_failed: float | None
    max_removed: float
    cursor: str
    counts: Mapping[str, int] = field(default_factory=dict)
    digest: int = 0

    @property
    def routes(self) -> frozenset[str]:
        return frozenset(edge.route for edge in self.edges)


class Note(NamedTuple):
    """A note, as it is written."""

    kind: NoteKind
    place: Place
    execution: int
    message: int | None
    detail: str | None


class Difference(NamedTuple):
    """A place at which a draft adds or closes an entry, with the fingerprints of both; b"" without an object.

    Attributes:
        at: where to continue after the entry.
        before, after: None: the place has no entry before, or after.
    """

    at: EntryCursor
    place: Place
    before: bytes | None
    after: bytes | None


class DraftLost(Exception):
    """Another process holds the draft, or it has ended."""


class Drafts(Protocol):
    """Methods that write a draft raise `DraftLost` if the caller no longer holds it.

    They raise `Conflict` (`execution_changed`), and abandon the draft, if a part has run again since the
    draft began.
    """

    async def begin_publication(
        self,
        config: str,
        name: str,
        request: PublishRequest,
        *,
        owner: str,
        lease: float,
        key: Key | None = None,
    ) -> Draft | Publication:
        """Give a number to a new draft, and record its parts. Raises `Conflict` and `NotFound`.

        From then on, no prune takes objects of a part, and no other draft of the dataset can begin, until the
        draft is decided or abandoned. `owner` holds it.

        If an earlier request has the key, its publication is returned. A key belongs to one request: another
        body is a `Conflict` (`idempotency_key_reused`).

        If an automatic request is refused, its refusal is recorded as that of an abandoned draft, unless it
        may begin later: `publication_in_progress`, `publication_moved` (the dataset is held, or another
        process has begun it), `execution_running`.
        """
        ...

    async def preview_publication(self, config: str, name: str, request: PublishRequest) -> Draft:
        """Return what `begin_publication` would return, with the number 0 and the epoch 0; store nothing."""
        ...

    async def open_drafts(self) -> list[tuple[int, int]]:
        """Return dataset and number of drafts that no live process holds."""
        ...

    async def acquire_draft(self, dataset: int, n: int, *, owner: str, lease: float) -> Draft | None:
        """Hold a draft whose lease is free, expired or one of `owner`; raise its epoch. None if it is not."""
        ...

    async def renew_draft(self, draft: Draft, *, lease: float) -> bool:
        """Extend the lease. False if another process holds the draft, or if it ended."""
        ...

    async def release_draft(self, draft: Draft) -> None:
        """Release the lease, so that another process can continue at once."""
        ...

    async def undo_abandoned(self, draft: Draft, *, limit: int) -> int:
        """Remove what abandoned drafts have left, up to `limit` entries. Returns how many were changed.

        Entries with a `first` after the highest decided number are deleted; entries that were closed after it
        are opened.
        """
        ...

    async def rewind(
        self, draft: Draft, side: Literal["newer", "older"], *, after: EntryCursor, limit: int
    ) -> EntryCursor | None:
        """Make the open entries equal to those of the base publication, up to `limit` changes.

        First all pages with `newer` close what it does not have, then those with `older` open what it has.
        Entries that are in it and open already are not touched.

        Returns the `after` of the next page; None: nothing was to be changed.
        """
        ...

    async def units(
        self, draft: Draft, part: DraftPart, *, after: int, limit: int
    ) -> tuple[list[Root], list[Node]]:
        """Return the next roots of a part, and the messages at and below them in relevant routes."""
        ...

    async def roots_at(
        self, draft: Draft, part: DraftPart, places: Sequence[Place]
    ) -> tuple[list[Root], list[Node]]:
        """Return the roots of a part that received the objects at these places, and the messages below."""
        ...

    async def listed(self, part: DraftPart, places: Sequence[Place]) -> set[Place]:
        """Return those of these places whose objects the part has received."""
        ...

    async def fingerprints(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the fingerprints of recorded objects."""
        ...

    async def entries_at(self, draft: Draft, places: Sequence[Place]) -> list[Entry]:
        """Return the open entries at these places; of a preview, those of its base publication."""
        ...

    async def entries_below(self, draft: Draft, ups: Sequence[int]) -> list[Entry]:
        """Return the open entries directly below these results."""
        ...

    async def scan(self, draft: Draft, *, stage: str | None, after: Place, limit: int) -> list[Entry]:
        """Return open entries in byte order of stage and path."""
        ...

    async def write_entries(
        self,
        draft: Draft,
        *,
        close: Sequence[Entry] = (),
        add: Sequence[Entry] = (),
        notes: Sequence[Note] = (),
        cursor: str,
    ) -> bool:
        """Close and add entries, and move the cursor, in one transaction.

        An entry that the draft itself has added is deleted instead of closed; one that it has closed is
        opened again instead of added. Returns False, and writes nothing, if an object that an added entry
        names was pruned since it was read.
        """
        ...

    async def duplicates(
        self, draft: Draft, *, after: EntryCursor, limit: int
    ) -> tuple[list[Place], EntryCursor | None]:
        """Return places at which an entry of the draft and another one are open; and where to continue."""
        ...

    async def differences(
        self, draft: Draft, side: Literal["added", "closed"], *, after: EntryCursor, limit: int
    ) -> list[Difference]:
        """Return entries that the draft has added or closed."""
        ...

    async def count_made(
        self, draft: Draft, side: Literal["added", "closed"], *, after: EntryCursor, limit: int
    ) -> tuple[list[MadeCount], EntryCursor | None]:
        """Count up to `limit` entries that the draft has added to its base publication, or closed.

        An entry that was closed and opened again is on both sides. Also returns the `after` of the next page;
        None at the end.
        """
        ...

    async def finish_draft(
        self,
        draft: Draft,
        *,
        counts: Mapping[str, Mapping[str, int]],
        units: Mapping[str, int],
        digest: str,
        made: Mapping[MadeById, int],
        size: int,
    ) -> None:
        """Record that the content of a draft is complete.

        Args:
            made: change of the number of results by what made them, compared with the base publication.
            size: change of the bytes of its objects.
        """
        ...

    async def decide_draft(self, draft: Draft) -> Publication:
        """Make a prepared draft current, in one transaction. Decides once; a repeated call has no effect.

        Raises `Conflict`: `publication_moved` if another switch came first; the draft is abandoned then.
        """
        ...

    async def abandon_draft(
        self, dataset: int, n: int, *, code: str | None = None, detail: str | None = None
    ) -> None:
        """End a draft that was not decided. No effect if it has ended."""
        ...
