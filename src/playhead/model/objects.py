"""Objects at the same path in several executions, and where readers see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from playhead.model.results import Declaration
from playhead.model.views import Kind


@dataclass(frozen=True, slots=True)
class PublicationRange:
    """Successive publications of a dataset.

    Attributes:
        first: number of the first one.
        last: number of the last one.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PublishedIn:
    """The publications of a dataset that have an object. Those that were never current do not count.

    Attributes:
        dataset: name of the dataset.
        config: config that declares it.
        since: first number of the range with the publication that readers see; None: they see none of these.
        ranges: their numbers, in order.
        declared_valid: the newest declaration about the result to which the object belongs in the publication
            that readers see; None: nothing was declared about it, or that was undone.
    """

    dataset: str
    config: str
    since: int | None
    ranges: list[PublicationRange]
    declared_valid: Declaration | None = None


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """An object with the same stage and path in an execution of the same family.

    The family of an execution is the run at its beginning, the replays of the run, the replays of these, and
    so on.

    Attributes:
        key: key of the object.
        execution_id: its execution.
        kind: kind of that execution.
        config: config of that execution.
        config_version: version of that config.
        created_at: time at which that execution began; RFC 3339 in UTC.
        size: size of the object in bytes.
        sha256: SHA-256 of its content in hex.
        content_type: its content type.
        published: where readers see it or have seen it, by config and dataset.
    """

    key: str
    execution_id: UUID
    kind: Kind
    config: str | None
    config_version: int | None
    created_at: str
    size: int
    sha256: str
    content_type: str
    published: list[PublishedIn] = field(default_factory=list)
