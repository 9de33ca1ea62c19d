"""Entries of publications, and the messages from which they result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from playhead.ports.catalog.publications import Place


class Slot(NamedTuple):
    """A route, and the stage and path of the object that it received."""

    route: str
    stage: str
    path: str


class Identity(NamedTuple):
    """What makes two entries the same: the place, and the results that are there and above.

    Attributes:
        up: what `Entry.above` is of the result whose object this one received; None for an input.
        above: the same of this one.
    """

    stage: str
    path: str
    up: int | None
    above: int


class Entry(NamedTuple):
    """An entry, as it is read and written.

    Attributes:
        attempt: attempt that completed the message; None for an input.
        execution: number of the execution of the message, or of the input.
        output: number of the outputs row that has the object; None for a result without objects.
        fingerprint: of the object: its SHA-256, content type and attributes.
        slot: what the message received; None for an input.
        n: number of the row; None if it is not stored yet.
        is_first: of the entries of its result. Each result has one, and always the same.
        processed: number of the message that was processed: another one if `message` was taken over at
            another place. None for an input.
    """

    stage: str
    path: str
    up: int | None
    message: int | None
    attempt: int | None
    execution: int
    output: int | None
    fingerprint: bytes | None
    slot: Slot | None
    n: int | None = None
    is_first: bool = True
    processed: int | None = None

    @property
    def identity(self) -> Identity:
        return Identity(self.stage, self.path, self.up, self.above)

    @property
    def above(self) -> int:
        """What `up` is of the results below this one: the message, or for an input the negative `output`."""
        return self.message if self.message is not None else -(self.output or 0)


class Made(NamedTuple):
    """An object that a message produced, as an entry names it."""

    place: Place
    output: int
    fingerprint: bytes


class Node(NamedTuple):
    """A message of a part.

    Attributes:
        n, parent: numbers of the message, and of the one above; None for a root.
        slot: its route, and the object that it received.
        key: key of that object.
        is_good: it has a result: it is completed, was taken over, or was skipped by a condition or for lack
            of output.
        is_cancelled: it was cancelled.
        message, attempt, execution: of the message that publications name: the earlier one, if this one was
            taken over at the same place.
        processed: number of the message that was processed: another one if this one was taken over.
        detail: its error.
        outputs: its objects.
    """

    n: int
    parent: int | None
    slot: Slot
    key: str
    is_good: bool
    is_cancelled: bool
    message: int
    attempt: int
    execution: int
    processed: int
    detail: str | None
    outputs: Sequence[Made]


class Root(NamedTuple):
    """The root of a unit.

    Attributes:
        node: its message.
        ordinal: its place in the listing of its execution.
        object: outputs row and fingerprint of the object that it received; None if there is no record of it.
        execution: number of the execution that has the object; 0 if there is no record of it.
        is_unchanged: the base publication has exactly the results of the unit, so no node below it is read.
    """

    node: Node
    ordinal: int
    object: Made | None
    execution: int = 0
    is_unchanged: bool = False
