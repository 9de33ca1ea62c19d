"""The numbered publications of a dataset: what readers see, or have seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from playhead.model.results import RouteResults

PublicationState = Literal[
    "resolving", "staging", "checking", "prepared", "published", "abandoned", "dropped"
]
OPEN_PUBLICATION_STATES: Final = ("resolving", "staging", "checking", "prepared")
PartRole = Literal["base", "layer"]
NoteKind = Literal["kept", "left_out", "superseded", "removed", "older"]


@dataclass(frozen=True, slots=True)
class PublicationPart:
    """An execution from which a publication takes results.

    Attributes:
        execution_id: the execution.
        role: `base` defines the inputs; a `layer` replaces some results.
        revision: how often the execution had ended.
    """

    execution_id: UUID
    role: PartRole
    revision: int


@dataclass(frozen=True, slots=True)
class StageChanges:
    """Objects of a stage, or results of a route without a stage, compared with the publication before.

    Attributes:
        total: number in this publication.
        added, changed, removed: number of those that differ.
    """

    total: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def same(self) -> int:
        return self.total - self.added - self.changed


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """What happened to the documents and replayed objects of the parts.

    Attributes:
        good: their new results are published.
        kept: processing failed, and the earlier results are kept.
        left_out: processing failed, and there are no results.
        superseded: another version of the object is published.
        removed: the object is no longer published.
        older: the published results are newer.
        covered: a later part has the results.
    """

    good: int = 0
    kept: int = 0
    left_out: int = 0
    superseded: int = 0
    removed: int = 0
    older: int = 0
    covered: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a publication was refused.

    Attributes:
        code: as `playhead errors` lists it.
        detail: the reason, and what to do.
    """

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Publication:
    """One numbered version of a dataset.

    Attributes:
        dataset: name of the dataset.
        config: config that declares it.
        n: number, which is given once.
        execution_id: id under which it can be read like an execution.
        state: `resolving`: its content is computed. `staging`: its sinks are prepared. `prepared`: ready to
            be shown. `published`: it was current at least once. `abandoned`: it will never be current.
            `dropped`: it was published, and is no longer kept.
        base: publication on which it was prepared; None: the first one.
        parts: executions from which it takes results.
        config_version: highest config version of its parts.
        counts: changes to the publication before, by stage, and by `:ROUTE` for routes without a stage.
        units: what happened to the documents and replayed objects of its parts.
        digest: SHA-256 sums of all objects, added up; detects damage.
        refusal: why it was abandoned; None: a person cancelled it, or it was not abandoned.
        reason: as given.
        is_pinned: it is kept until it is unpinned.
        created_at: time at which it began to be prepared; RFC 3339 in UTC.
        published_at: time at which it became current for the first time; RFC 3339 in UTC; None until then.
        dropped_at: time from which it cannot be read any more; RFC 3339 in UTC; None until then.
        bytes_protected: size of its objects, which no prune deletes; None until its content is complete.
        results: its results by route, in the order of their names.
        stale: number of results that are not of the newest code; see `RouteResults`. None: it is not known of
            a route, or the content is not complete.
        is_taken_back: readers have seen it, and no longer see its results because of a rollback: it is
            `published`, and the current publication is not based on it.
    """

    dataset: str
    config: str
    n: int
    execution_id: UUID
    state: PublicationState
    base: int | None
    parts: list[PublicationPart]
    config_version: int
    counts: Mapping[str, StageChanges]
    units: UnitCounts
    digest: str | None
    refusal: Refusal | None
    reason: str | None
    is_pinned: bool
    created_at: str
    published_at: str | None
    dropped_at: str | None
    bytes_protected: int | None
    results: list[RouteResults] = field(default_factory=list)
    stale: int | None = None
    is_taken_back: bool = False


@dataclass(frozen=True, slots=True)
class PublicationPreview:
    """What a publication would change now.

    Attributes:
        dataset: name of the dataset.
        config: config that declares it.
        base: publication on which it would be prepared; None: the first one.
        expect_seq: number of the newest switch, for the request that publishes.
        counts: changes to the publication before, by stage, and by `:ROUTE` for routes without a stage.
        units: what would happen to the documents and replayed objects.
        notes: the first 100 documents and replayed objects whose new results would not be published.
    """

    dataset: str
    config: str
    base: int | None
    expect_seq: int
    counts: Mapping[str, StageChanges]
    units: UnitCounts
    notes: list[PublicationNote]


@dataclass(frozen=True, slots=True)
class PublicationNote:
    """A document or a replayed object whose new results are not published.

    Attributes:
        kind: `kept`: earlier results are published. `left_out`: none are. `superseded`: another version of
            the object is published. `removed`: the object is no longer published. `older`: the published
            results are newer.
        stage: stage of the document or the object.
        path: path in the stage.
        execution_id: part that processed it.
        correlation_id: message that failed, or that received the object; None if its records are deleted.
        detail: what failed.
    """

    kind: NoteKind
    stage: str
    path: str
    execution_id: UUID
    correlation_id: UUID | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class ReplayPublication:
    """The publication of a replay that was requested with it.

    Attributes:
        dataset: name of the dataset.
        state: `due`: messages are open, another publication is being prepared, or the dataset is held because
            of a rollback after the request. `preparing`. `published`. `refused`: not all objects were
            processed, or the dataset has changed. `cancelled`: the replay or the publication was cancelled.
        n: number of the publication; None until it begins.
        refusal: why it was refused. After a resend of dead letters, it is due again.
    """

    dataset: str
    state: Literal["due", "preparing", "published", "refused", "cancelled"]
    n: int | None
    refusal: Refusal | None
