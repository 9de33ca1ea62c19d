"""Recorded outputs: what executions have stored, and which objects it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID


class RecordedOutput(NamedTuple):
    """A stored output or input.

    Attributes:
        size: in bytes.
        sha256: of its content; 32 bytes.
        pruned_at: when it was pruned; seconds since the epoch; None if it was not.
    """

    key: str
    size: int
    sha256: bytes
    content_type: str
    pruned_at: float | None


class InputOf(NamedTuple):
    """The object from which an output was made.

    Attributes:
        key: its key.
        stage: stage in the key; the rest of the key is its path.
    """

    key: str
    stage: str


class Outputs(Protocol):
    async def recorded(self, first: str, last: str, *, limit: int) -> list[RecordedOutput]:
        """Return up to `limit` stored inputs and outputs from key `first` to before `last`, in byte order.

        Pruned ones and references are included. Objects of other programs have no row.
        """
        ...

    async def inputs_of(self, keys: Sequence[str]) -> dict[str, InputOf]:
        """Return the object that the message of each of these outputs received.

        Inputs of runs, and objects of other programs, are left out. At most a few thousand keys.
        """
        ...

    async def sent_by(self, execution: UUID, keys: Sequence[str]) -> set[str]:
        """Return those of these objects for which a run or a replay has sent a root message.

        Messages that a paused or cancelled replay has not sent do not count.
        At most a few thousand keys.
        """
        ...
