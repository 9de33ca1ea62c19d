"""Results that a person has declared valid, although their code is not the newest.

A declaration is recorded with a replay that replaces a part of the results of a route (`Jobs.open_replay`).
It is about the other results: those that the replayed publication has for objects that the replay does not
receive. If the replay ends before it is listed, the declaration makes no result valid.

A declaration is in force while the code and the settings of its route are the newest. Which ones are, the
caller decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from playhead.model import AdapterCode, Declaration, Execution
from playhead.ports.catalog.results import MadeById

MOST_DECLARATIONS: Final = 100
"""Declarations that count: the newest ones of a dataset, or of a config, that were not undone."""


class Declare(NamedTuple):
    """What a replay declares.

    Attributes:
        dataset: number of the dataset.
        publication: number of the publication that is replayed.
        route: the target route.
        code: the newest code of its adapters.
    """

    dataset: int
    publication: int
    route: str
    code: Sequence[AdapterCode]


class Declarations(Protocol):
    async def declarations(self, config: str, dataset: str | None = None) -> list[Declaration]:
        """Return the newest declarations of a config that were not undone, the newest first.

        Args:
            dataset: only those of this dataset.
        """
        ...

    async def replays_of_publications(self, config: str, *, limit: int) -> list[Execution]:
        """Return replays of publications into routes of a config, the newest first."""
        ...

    async def undo_declarations(self, dataset: int, route: str) -> int:
        """Undo the declarations about a route of a dataset; return how many there were.

        Results that were taken over under them keep naming them. A run that begins later does not take them
        over.
        """
        ...

    async def count_declared(
        self, dataset: int, n: int, replays: Sequence[UUID], *, stage: str
    ) -> Mapping[MadeById, int]:
        """Return how many results of a stage of a publication declarations make valid, by what has made them.

        A result counts if the publication of a declaration has it too, and no replay into the route has
        received the object since the first of these declarations. While one of their replays is listed, none
        does.

        Args:
            replays: the executions of the replays of declarations, which are about one route.
        """
        ...

    async def declared_in(
        self, dataset: int, n: int, replays: Sequence[UUID], *, stage: str, after: str, last: str
    ) -> set[str]:
        """Return which results of a stage they make valid: the paths of their first objects, which are after
        `after`, and not after `last`."""
        ...
