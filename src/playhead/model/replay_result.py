"""What a replay has changed: each replayed object before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Before = Literal["done", "failed", "none"]
"""What had happened to an object: all of its messages were done, one of them had failed, or neither."""
After = Literal["same", "other", "same_error", "other_error", "undecided"]
"""What has happened to an object since: done with the same or with other bytes, failed with the same or with
another error, or not decided yet."""
GroupedBy = Literal["error", "folder", "stage"]


@dataclass(frozen=True, slots=True)
class Review:
    """What a person thinks of the new outputs of an object.

    Attributes:
        is_right: whether they look right.
        reviewed_by: name of the person.
        reviewed_at: when; RFC 3339 in UTC.
    """

    is_right: bool
    reviewed_by: str
    reviewed_at: str


@dataclass(frozen=True, slots=True)
class ResultCell:
    """Objects with the same outcome before and after.

    Attributes:
        before: `done`: all messages of the object were done. `failed`: one of them is a dead letter. `none`:
            neither; the object was not sent, its messages were cancelled, or some are still open.
        after: `same`: done, with the same outputs. `other`: done, with other outputs. `same_error`: failed,
            only with errors that it had before. `other_error`: failed with another error. `undecided`: some
            of its messages are still open, were not published, or were cancelled.
        objects: number of objects.
        right: number of those that look right to a person.
        wrong: number of those that look wrong to a person.
    """

    before: Before
    after: After
    objects: int
    right: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The objects of a replay, before and after it.

    Attributes:
        a: the execution before, for example the source of the replay.
        b: the execution after, for example that of the replay.
        is_complete: whether both have ended; otherwise objects may change their cells.
        objects: number of objects.
        cells: all combinations of before and after, also those without objects.
    """

    a: UUID
    b: UUID
    is_complete: bool
    objects: int
    cells: list[ResultCell]

    def of(self, before: Before | None = None, after: After | None = None) -> int:
        """Return how many objects are in a cell, or in a row or a column of cells."""
        return sum(
            one.objects for one in self.cells if before in (None, one.before) and after in (None, one.after)
        )


@dataclass(frozen=True, slots=True)
class ResultFailure:
    """Why an object failed.

    Attributes:
        correlation_id: its first dead letter.
        route: route of the dead letter.
        error_code: its code.
        error: its error.
        group: id of its group of dead letters.
    """

    correlation_id: UUID
    route: str
    error_code: str
    error: str
    group: str


@dataclass(frozen=True, slots=True)
class ResultGroup:
    """Objects of a cell with the same error, in the same folder, or in the same stage.

    Attributes:
        name: group of dead letters, path of the folder (`/`: the top folder), or stage. An object that failed
            or that is not decided counts for the route in which it failed or waits.
        objects: number of objects.
        first: path of the first of them.
        folders: some of their folders: the first ones, and the last one.
        failure: for errors: the failure of one of them; None if it was resent since.
    """

    name: str
    objects: int
    first: str
    folders: list[str]
    failure: ResultFailure | None


@dataclass(frozen=True, slots=True)
class ReplayedObject:
    """An object before and after.

    Attributes:
        ordinal: its place in the listing of the execution after, from 1.
        key: its key.
        stage: its stage.
        path: its path in the stage.
        correlation_id: the message that received it in the execution after.
        before: as in `ResultCell`.
        after: as in `ResultCell`.
        stages: stages in which its outputs differ.
        old_failure: why it failed before; None if it did not.
        new_failure: why it failed after; None if it did not.
        review: what a person thinks of its new outputs; None: not reviewed.
    """

    ordinal: int
    key: str
    stage: str
    path: str
    correlation_id: UUID
    before: Before
    after: After
    stages: list[str]
    old_failure: ResultFailure | None
    new_failure: ResultFailure | None
    review: Review | None = None


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Objects of a result that meet all given conditions.

    Attributes:
        before: with this outcome before.
        after: with this outcome after.
        error: in this group of errors, as `ResultGroup.name` has it.
        folder: in this folder; `/`: in the top folder.
        stage: that differ first in this stage, or that failed or wait in this route.
    """

    before: Before | None = None
    after: After | None = None
    error: str | None = None
    folder: str | None = None
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class ResultStep:
    """An object of a list with its neighbours.

    Attributes:
        object: the object.
        position: its place in the list, from 1; None if the list does not have it.
        objects: number of objects in the list.
        previous: ordinal of the one before it; None at the beginning.
        next: ordinal of the next one; None at the end.
    """

    object: ReplayedObject
    position: int | None
    objects: int
    previous: int | None
    next: int | None
