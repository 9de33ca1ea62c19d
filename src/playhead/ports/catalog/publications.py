"""Datasets and their publications: what readers see.

A publication is a set of *entries*. An entry is one object of a result, or a result without objects, and the
numbers from `first` to before `last` that contain it. So a publication costs as much as its changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from playhead.model import (
    ChangeKind,
    Dataset,
    NoteKind,
    Placement,
    Publication,
    PublicationNote,
    PublishedIn,
    Switch,
)

SINK: Final = ":"
"""The stage of results without objects is this and the name of their route; no stage begins with it."""


class Place(NamedTuple):
    """A stage and a path."""

    stage: str
    path: str


EntryCursor = tuple[int, int]
"""The publication that has added or closed an entry, and the number of the entry; (0, 0): the start."""


class PublishedObject(NamedTuple):
    """An object of a publication.

    Attributes:
        key: key that it has in the execution of its result.
        created_at: seconds since the epoch.
        location: key under which the bytes are stored: that of an earlier execution, if its result was taken
            over.
    """

    stage: str
    path: str
    key: str
    size: int
    sha256: bytes
    content_type: str
    created_at: float
    location: str


class Changed(NamedTuple):
    """See `playhead.model.DatasetChange`."""

    stage: str
    path: str
    change: ChangeKind
    key: str | None
    sha256: bytes | None
    was: bytes | None


class Dropping(NamedTuple):
    """A dataset with dropped publications whose entries still exist."""

    dataset: int
    numbers: Sequence[int]


class Publications(Protocol):
    """Every method that names a dataset takes its number."""

    # -- what there is -----------------------------------------------------------------------------

    async def datasets(self, name: str | None = None, *, config: str | None = None) -> list[Dataset]:
        """Return the datasets of all configs, ordered by config and name; only those with a name, if given.

        A dataset that its config no longer declares is returned as long as something of it is published.
        """
        ...

    async def dataset_number(self, config: str, name: str) -> int:
        """Return the number of an existing dataset."""
        ...

    async def publication(self, dataset: int, n: int) -> Publication | None: ...

    async def publication_of_dataset(self, config: str, name: str, n: int) -> Publication | None: ...

    async def publication_of(self, execution: UUID) -> Publication | None:
        """Return the publication with this execution id; None if it is not one."""
        ...

    async def publications(
        self, dataset: int, *, before: int | None = None, every: bool = False, limit: int = 100
    ) -> list[Publication]:
        """Return publications, newest first.

        Args:
            every: also those that were abandoned or dropped.
        """
        ...

    async def switches(self, dataset: int, *, before: int | None = None, limit: int = 100) -> list[Switch]:
        """Return switches, newest first."""
        ...

    async def notes(
        self, dataset: int, n: int, *, kind: NoteKind | None = None, after: int = 0, limit: int
    ) -> tuple[list[PublicationNote], int | None]:
        """Return notes in the order in which they were written, and the `after` of the next page."""
        ...

    async def published(
        self, dataset: int, n: int, *, stage: str, first: str = "", last: str | None = None, limit: int
    ) -> list[PublishedObject]:
        """Return objects of a stage with paths after `first` and before `last`, in byte order."""
        ...

    async def published_at(self, dataset: int, n: int, places: Sequence[Place]) -> list[PublishedObject]:
        """Return the objects at these places."""
        ...

    async def changes(
        self, dataset: int, since: int, until: int, *, stage: str | None, after: Place | None, limit: int
    ) -> list[Changed]:
        """Return the objects that differ between two publications, in byte order of stage and path.

        `since` may be later than `until`, and 0 is the empty publication before the first one. Objects with
        the same SHA-256, content type and attributes are the same.
        """
        ...

    # -- afterwards --------------------------------------------------------------------------------

    async def roll_back(
        self, dataset: int, *, to: int | None, expect_seq: int | None, reason: str | None
    ) -> int:
        """Make an earlier publication current again; return its number. None: the one that was before.

        Automatic publication is held from then on. Raises `Conflict` (`publication_moved`,
        `nothing_published`) and `NotFound` (`publication_not_found`, `publication_dropped`).
        """
        ...

    async def automatic_runs(self) -> list[tuple[str, str, UUID]]:
        """Return runs to be published automatically, each with config and name of the dataset.

        It is the newest settled run of the config, once each time it has ended. None while the dataset has a
        draft, or is held.
        """
        ...

    async def replays_to_publish(self) -> list[tuple[str, str, UUID, str | None]]:
        """Return replays that are to be published, each with config and name of the dataset, and its reason.

        They have ended since, and no draft has tried them. None while the dataset has a draft, or is held by
        a rollback after the request.
        """
        ...

    async def release_dataset(self, dataset: int) -> None:
        """End the hold of automatic publication."""
        ...

    async def pin_publication(self, dataset: int, n: int, pinned: bool) -> None:
        """Keep a publication until it is unpinned. No effect if it is not published."""
        ...

    async def mark_dropped(self) -> list[Dropping]:
        """Drop publications that are no longer kept; return datasets with entries to delete."""
        ...

    async def drop_page(self, dropping: Dropping, *, after: EntryCursor, limit: int) -> EntryCursor | None:
        """Delete entries of dropped publications only; return the `after` of the next page, None at the end.

        If an output is named by no entry any more, and its stage was pruned, that pruning opens again.
        """
        ...

    async def end_drop(self, dropping: Dropping) -> None:
        """Record that the entries of dropped publications are deleted."""
        ...

    async def placements(self, config: str, execution: UUID) -> list[Placement]:
        """Return where the results of an execution are in each dataset of its config, by name."""
        ...

    async def published_in(self, keys: Sequence[str]) -> dict[str, list[PublishedIn]]:
        """Return by key in which publications objects are, by config and dataset."""
        ...

    async def refused_automatic(self) -> list[Publication]:
        """Return the automatic publications that were refused, and are the newest of their datasets."""
        ...
