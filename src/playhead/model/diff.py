"""What differs between the outputs of two executions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

DiffState = Literal["same", "changed", "moved", "added", "missing", "not_produced"]
DiffFilter = Literal["same", "changed", "moved", "added", "missing", "not_produced", "different"]
"""A state, or `different` for `changed`, `added` and `missing`."""
DiffBy = Literal["path", "content"]
"""How the objects of two executions are paired. `content`: parts that were made from the same object are
paired by their content first, so that an inserted part is one addition."""


@dataclass(frozen=True, slots=True)
class DiffCounts:
    """Objects of two executions, by state. Objects with the same stage and path are compared.

    Attributes:
        same: both executions have the object, with equal SHA-256.
        changed: both executions have the object, and the SHA-256 differs.
        moved: if they are compared by content: both executions have the object with equal SHA-256, but under
            different paths; else 0.
        added: only the second execution has the object.
        missing: only the first execution has the object.
        not_produced: only one execution has the object, and the other is a replay that had no reason to
            produce it: it replayed other objects, or only a part of the pipeline.
        bytes_a: total size of the objects of the first execution, without those not produced.
        bytes_b: the same of the second execution.
    """

    same: int
    changed: int
    moved: int
    added: int
    missing: int
    not_produced: int
    bytes_a: int
    bytes_b: int

    @property
    def differ(self) -> bool:
        """Whether any object is changed, added or missing."""
        return bool(self.changed or self.added or self.missing)


@dataclass(frozen=True, slots=True)
class DiffStage(DiffCounts):
    """Objects of two executions in one stage, by state.

    Attributes:
        stage: `input`, or a stage of either config.
    """

    stage: str


@dataclass(frozen=True, slots=True)
class Diff:
    """A comparison of two executions.

    Attributes:
        a: first execution, for example the source of a replay.
        b: second execution, for example the replay.
        is_complete: whether both have ended; otherwise objects may be missing that will follow.
        stages: counts by stage: those of the first config in its order, then those that only the second has.
        totals: sums of all stages.
    """

    a: UUID
    b: UUID
    is_complete: bool
    stages: list[DiffStage]
    totals: DiffCounts


@dataclass(frozen=True, slots=True)
class DiffSide:
    """An object of one of two executions.

    Attributes:
        key: its key.
        size: its size in bytes.
        sha256: SHA-256 of its content in hex.
        content_type: its content type.
        pruned_at: time at which it was pruned; RFC 3339 in UTC; None if it was not.
    """

    key: str
    size: int
    sha256: str
    content_type: str
    pruned_at: str | None


@dataclass(frozen=True, slots=True)
class DiffObject:
    """An object of two executions.

    Attributes:
        stage: its stage.
        path: its path in the stage; that of the second execution, if both have the object.
        state: as in the counts of a `Diff`.
        a: the object of the first execution; None if it does not exist.
        b: the object of the second execution; None if it does not exist.
    """

    stage: str
    path: str
    state: DiffState
    a: DiffSide | None
    b: DiffSide | None
